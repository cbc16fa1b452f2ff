/* lbfgs.h: limited-memory BFGS for smooth functions of many variables (Nocedal 1980; Liu and
 * Nocedal 1989), with a bisecting line search for the weak Wolfe conditions (Lewis and Overton
 * 2013).
 *
 * Variables and gradients are floats, sums are doubles over blocks of fixed size, so that results
 * do not depend on the number of threads. Memory: 2 memory + 4 vectors.
 */
#ifndef MILLET_NN_LBFGS_H
#define MILLET_NN_LBFGS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"

struct lbfgs_options {
    size_t memory;     /* pairs kept; 0: 10 */
    size_t iterations; /* at most */
    double tolerance;  /* stops when the gradient's norm is below this times max(1, |x|) */
    struct threads *team;
    const struct progress *progress;
    const char *stage; /* of the progress events */
};

/* value and gradient [n] at x. */
typedef bool lbfgs_function(void *context, const float *x, double *value, float *gradient,
                            struct error *err);

struct lbfgs_result {
    size_t iterations, evaluations;
    double value, gradient_norm;
};

/* Minimise from x, in place. It ends at the tolerance, after the iterations, or where floats show
 * no further descent. A value that is not finite at the start is an error. */
bool lbfgs_minimise(lbfgs_function *function, void *context, float *x, size_t n,
                    const struct lbfgs_options *options, struct lbfgs_result *result,
                    struct error *err) MUST_CHECK;

#endif
