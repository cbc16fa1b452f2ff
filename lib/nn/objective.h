/* objective.h: what a record teaches: its one label, or any number of labels, on the way into a
 * batch, and the loss that goes with them. */
#ifndef MILLET_NN_OBJECTIVE_H
#define MILLET_NN_OBJECTIVE_H

#include "core/error.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/batch.h"

/* Batches of a multi-label stream need a target for each of the n_labels classes; after
 * batch_init(). */
void objective_init(struct batch *batch, const struct records_header *header, size_t n_labels);
/* The record with its labels (ids checked by the caller); teacher as batch_add() takes it. */
bool objective_add(struct batch *batch, const struct record *record, const float *teacher,
                   struct error *err) MUST_CHECK;
/* Losses of the rows [batch->n] and the gradient of the logits (NULL: not wanted), both on the
 * device. */
void objective_loss(struct device *dev, const struct loss *loss, const struct batch *batch,
                    const act *logits, size_t n_labels, float *row_loss, act *dlogits);

#endif
