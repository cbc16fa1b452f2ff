/* mixed_trial.h: models that differ from one in the format of some tensors, and how their answers
 * to the same records differ; part of mixed.c. */
#ifndef MILLET_QUANT_MIXED_TRIAL_H
#define MILLET_QUANT_MIXED_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "quant/format.h"

/* Records, drawn in a random order once, and the model's own answers to them. */
struct mixed_trial {
    struct model *model; /* borrowed */
    struct device *dev;
    struct threads *team;
    int64_t *offset, *gram_offset; /* [n + 1] */
    int32_t *id, *gram;
    int64_t *truth; /* [n] what mixed_trial_answer() should be; -1: unknown */
    size_t n, n_labels;
    bool several;  /* any number of labels: truth and answers are sets of the first 63 */
    bool labelled; /* truth is known of all n; otherwise it is the model's own answer */
    float *base;   /* [n, n_labels] logits */
    double right;  /* of base, share */
};

/* Of a stream with labels, the records that have them. */
bool mixed_trial_open(struct mixed_trial *trial, struct model *model,
                      const struct records_set *records, uint64_t seed, struct device *dev,
                      struct threads *team, struct error *err) MUST_CHECK;
void mixed_trial_close(struct mixed_trial *trial); /* safe on a zeroed struct */

/* The model with `made[i]` (NULL: as it is) in place of its tensor i, on the first n records: the
 * mean divergence of its answers from base, and the points it loses. */
bool mixed_trial_run(const struct mixed_trial *trial, const struct format_made *const *made,
                     size_t n, double *divergence, double *points, struct error *err) MUST_CHECK;

#endif
