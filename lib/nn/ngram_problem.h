/* ngram_problem.h: what a fit of the n-gram part minimises (ngram_fit.h), as a function of its
 * weights: features of the chosen records, loss and gradient.
 */
#ifndef MILLET_NN_NGRAM_PROBLEM_H
#define MILLET_NN_NGRAM_PROBLEM_H

#include "nn/ngram_fit.h"

struct ngram_problem;

/* Of records record[0 … n) of the set (NULL: all). options and set stay the caller's and must
 * outlive it. */
struct ngram_problem *ngram_problem_open(const struct records_set *set, const uint32_t *record,
                                         size_t n, const struct ngram_fit_options *options,
                                         struct error *err) MUST_CHECK;
void ngram_problem_close(struct ngram_problem *problem); /* NULL is fine */

/* Rows of a problem of these records, or of some of them, at most. */
bool ngram_problem_most_rows(const struct records_set *set, const struct ngram_fit_options *options,
                             size_t *rows, struct error *err) MUST_CHECK;

/* Weights are w [rows, stride] by feature, then biases [stride]. */
size_t ngram_problem_stride(size_t classes);
size_t ngram_problem_size(const struct ngram_problem *problem); /* floats of w */
size_t ngram_problem_rows(const struct ngram_problem *problem);
size_t ngram_problem_records(const struct ngram_problem *problem); /* that teach anything */

/* A lbfgs_function; context: the problem. */
bool ngram_problem_value(void *problem, const float *w, double *value, float *gradient,
                         struct error *err) MUST_CHECK;

/* The part of the solution w, with the problem's buckets, which are gone from it then: once. */
bool ngram_problem_take(struct ngram_problem *problem, const float *w, struct ngram_part *part,
                        struct error *err) MUST_CHECK;

#endif
