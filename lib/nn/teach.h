/* teach.h: a record stream through one or more teachers: the stream with `logits` in every part.
 * The work of mteach.
 *
 * Streaming, one part in memory at a time. Each teacher's logits are looked up by content in the
 * cache first; what is missing is computed and stored in blocks of TEACH_BLOCK records, one
 * transaction each, so that a kill loses at most one block. Several teachers give the logarithm of
 * the mean of their probabilities. Logits the input carries are replaced.
 */
#ifndef MILLET_NN_TEACH_H
#define MILLET_NN_TEACH_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/output.h"
#include "kernels/kernels.h"

enum { TEACH_BLOCK = 256 };

struct teach_options {
    const char *const *model; /* paths of the teachers */
    size_t n_models;          /* at least 1 */
    const char *cache;        /* path; NULL: none */
    /* The n-gram parts of the teachers answer out of fold: fitted again on the labels of the input
     * without each of so many folds, with the settings the models record (ngram_fit.h). What they
     * say of texts they were fitted on is too sure to learn from. The input is kept and read twice;
     * these teachers are not cached. 0: as they are. */
    size_t folds;
    uint64_t seed;       /* of the folds */
    const char *program; /* for error.json, when the work fails after the stream has begun */
    json_t *stage;       /* history stage; stolen; the teachers' fingerprints are added */
};

struct teach_counts {
    uint64_t records;
    uint64_t cached, computed; /* lookups, summed over teachers; a record repeated in a part is
                                  computed once and counted as cached after */
};

/* Paths (n 0: standard input) to output, which the caller commits or abandons. On failure the
 * stream ends in error.json. */
bool teach(const char *const *path, size_t n_paths, const struct teach_options *options,
           struct device *dev, struct threads *team, const struct progress *progress,
           struct output *output, struct teach_counts *counts, struct error *err) MUST_CHECK;

/* One record's logits of n_models teachers (teacher m's at logits[m * stride]) to the logarithm of
 * the mean probability, in `mean`; one teacher's are copied. sum: scratch [n_labels]. */
void teach_mean(const float *logits, size_t n_models, size_t stride, size_t n_labels, double *sum,
                float *mean);
/* The same for labels that hold independently: the logit of each label's mean probability. */
void teach_mean_multi_label(const float *logits, size_t n_models, size_t stride, size_t n_labels,
                            float *mean);

#endif
