/* classifier.h: a model ready to answer: weights prepared on a device, records in, logits out.
 *
 * Parallel over sequences: each lane of the device takes runs of records (cut by a token budget)
 * through all layers by itself; an atomic counter hands them out. The result for a record does not
 * depend on lanes, batches or neighbours.
 */
#ifndef MILLET_NN_CLASSIFIER_H
#define MILLET_NN_CLASSIFIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/shape.h"

struct classifier;

/* Borrows model and device, which must outlive it. team has at least dev->n_lanes members (NULL:
 * one lane). batch_tokens 0: 512 per run. Weights that are not finite are refused with the tensor's
 * name. */
struct classifier *classifier_open(struct model *model, struct device *dev, struct threads *team,
                                   size_t batch_tokens, struct error *err) MUST_CHECK;
void classifier_close(struct classifier *classifier);
const struct shape *classifier_shape(const struct classifier *classifier);

/* logits [n, n_labels] of n records given as ids [offset[0] … offset[n]). Ids outside the
 * vocabulary and records longer than the positions are errors that name the record. */
bool classifier_run(struct classifier *classifier, const int64_t *offset, const int32_t *id,
                    size_t n, float *logits, struct error *err) MUST_CHECK;

#endif
