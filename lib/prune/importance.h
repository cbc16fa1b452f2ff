/* importance.h: how much each head and feed-forward neuron matters, from gradients: a mask of 1 is
 * thought on every unit, and a record's slope at a unit is the derivative of the record's
 * cross-entropy (on its label, or its labels as in training) by that mask. Per record, not per
 * batch; dropout is off and the weights do not move. A stream in which no record has a label but
 * all have a teacher's logits is taken at the teacher's word: the label of the largest logit, of
 * several labels those above 0.
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
#include "nn/batch.h"
#include "nn/shape.h"
#include "prune/search.h"

enum importance_measure {
    /* Sum of squared slopes: the diagonal Fisher information (Kwon et al. 2022, "A Fast
     * Post-Training Pruning Framework for Transformers"). */
    IMPORTANCE_FISHER,
    /* Mean of absolute slopes (Michel et al. 2019, "Are Sixteen Heads Really Better than One?"). */
    IMPORTANCE_ABSOLUTE
};

struct importance_options {
    enum importance_measure measure;
    size_t samples;      /* records, drawn without replacement; all when there are fewer */
    uint64_t seed;       /* of the draw */
    size_t batch_tokens; /* of one pass; 0: 512. Memory follows it */
    bool keep_slopes;    /* see struct importance_result */
};

struct importance_result {
    size_t n_records, n_tokens; /* the sample's */
    size_t n_labels;            /* different labels in it */
    bool taught;                /* labels are a teacher's */
    double loss;                /* mean cross-entropy of the sample */
    /* keep_slopes: slopes [n_records, heads of layer 0], then [n_records, neurons of layer 0], then
     * heads of layer 1 …: owned by the caller, free(). Else NULL. */
    float *slope;
};

/* Indices of the records that importance_score() would look at, in order of the stream; free(). */
uint32_t *importance_draw(const struct records_set *records, size_t samples, uint64_t seed,
                          size_t *n, struct error *err) MUST_CHECK;

/* One of them, number i of the stream, checked, into a batch whose objective is set. Without a
 * label it becomes what its teacher says, and *taught true; label_id has room for all labels. */
bool importance_add(struct batch *batch, const struct shape *shape, struct record *record, size_t i,
                    int32_t *label_id, bool *taught, struct error *err) MUST_CHECK;

/* The error of a model whose loss on a sample is NaN or infinite. Returns false. */
bool importance_not_finite(const struct model *model, struct error *err);

/* Fill the scores of the units that search_units() made of `shape`, the model's. The model must
 * have a pooler and a classifier, records their labels among the classifier's. result may be NULL
 * unless slopes are kept. */
bool importance_score(struct model *model, const struct shape *shape,
                      const struct records_set *records, const struct importance_options *options,
                      struct device *dev, const struct progress *progress, struct unit *unit,
                      size_t n_units, struct importance_result *result,
                      struct error *err) MUST_CHECK;

/* Divide the scores of each layer and kind by their Euclidean norm (Michel et al., after Molchanov
 * et al. 2017); all zero stays so. */
void importance_normalise(struct unit *unit, size_t n_units);

#endif
