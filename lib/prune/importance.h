/* importance.h: how much each head and feed-forward neuron matters, from gradients: a mask of 1 is
 * thought on every unit, and a unit's score is the sum over records of the squared derivative of
 * the record's cross-entropy (on its label, or its labels as in training) by that mask, the diagonal Fisher information (Kwon et
 * al. 2022; per record, not per batch). Dropout is off and the weights do not move.
 *
 * One forward and one backward pass over the sample. Results depend on seed and device, not on how
 * records are batched, up to rounding.
 */
#ifndef MILLET_PRUNE_IMPORTANCE_H
#define MILLET_PRUNE_IMPORTANCE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/shape.h"
#include "prune/search.h"

struct importance_options {
    size_t samples;      /* labelled records, drawn without replacement; all when there are fewer */
    uint64_t seed;       /* of the draw */
    size_t batch_tokens; /* of one pass; 0: 512. Memory follows it */
};

struct importance_result {
    size_t n_records, n_tokens; /* the sample's */
    double loss;                /* mean cross-entropy of the sample */
};

/* Fill the scores of the units that search_units() made of `shape`, the model's. The model must
 * have a pooler and a classifier, records their labels among the classifier's. result may be NULL.
 */
bool importance_score(struct model *model, const struct shape *shape,
                      const struct records_set *records, const struct importance_options *options,
                      struct device *dev, const struct progress *progress, struct unit *unit,
                      size_t n_units, struct importance_result *result,
                      struct error *err) MUST_CHECK;

#endif
