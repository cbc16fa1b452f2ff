/* compact.h: a really smaller model. What is not kept is cut out of the tensors, layers are
 * renumbered, and config.json is of the shape that is left; the number format of every tensor stays
 * (int8 rows take their scales along).
 *
 *   attention.self.{query,key,value}.{weight,bias}  rows of the kept heads
 *   attention.output.dense.weight                   columns of the kept heads
 *   intermediate.dense.{weight,bias}                rows of the kept neurons
 *   output.dense.weight                             columns of the kept neurons
 *
 * A head or neuron that is cut out adds nothing to its layer's sum, exactly as if its activation
 * were multiplied by zero.
 */
#ifndef MILLET_PRUNE_COMPACT_H
#define MILLET_PRUNE_COMPACT_H

#include <jansson.h>

#include "core/error.h"
#include "io/model.h"
#include "io/output.h"
#include "nn/shape.h"
#include "prune/keep.h"

/* Values that replace a tensor's, F32, of the model's full size, before cutting: what tuning after
 * pruning, second-order updates and training under masks have changed. The tensor is written F32
 * and cut like any other; one of a layer that goes is gone. Borrowed. */
struct compact_patch {
    const char *name; /* as the model spells it */
    const float *value;
    size_t n; /* values: the tensor's elements */
};

/* The smaller model in memory, for who wants to run it before it is written: *small is a view of
 * `model`, which lives longer, with the tensors cut (all layers must be kept; their memory is given
 * back with the model's) and `model`'s config. NULL: failed. */
struct compact;
struct compact *compact_open(struct model *model, const struct shape *shape,
                             const struct keep *keep, struct model *small,
                             struct error *err) MUST_CHECK;
void compact_close(struct compact *compact); /* ends *small; NULL is fine */

/* The smaller model, written. Patches of names the model lacks, twice the same, of another size, or
 * for int8 codes are refused. `pruned` goes to millet.json under that name, with what the model
 * said there before as its "before"; pruned and stage are stolen in any case. Bytes are verified
 * against the model's checksums. Memory: the cut tensors. */
bool compact_write(struct model *model, const struct shape *shape, const struct keep *keep,
                   const struct compact_patch *patch, size_t n_patches, json_t *pruned,
                   json_t *stage, struct output *output, struct error *err) MUST_CHECK;

#endif
