/* objective.c: see objective.h. */
#include "nn/objective.h"

void objective_init(struct batch *batch, const struct records_header *header, size_t n_labels)
{
    batch->n_targets = header->separator ? n_labels : 0;
}

bool objective_add(struct batch *batch, const struct record *record, const float *teacher,
                   struct error *err)
{
    return batch_add(batch, record->id, record->n_ids, record->label, teacher, err) &&
           (!batch->n_targets ||
            batch_add_targets(batch, record->label_id, record->n_label_ids, record->labelled, err));
}

void objective_loss(struct device *dev, const struct loss *loss, const struct batch *batch,
                    const act *logits, size_t n_labels, float *row_loss, act *dlogits)
{
    if (batch->n_targets)
        dev->op->loss_multi_label(dev, loss, logits, batch->device_target, batch->device_teacher,
                                  batch->n, n_labels, row_loss, dlogits);
    else
        dev->op->loss(dev, loss, logits, batch->device_label, batch->device_teacher, batch->n,
                      n_labels, row_loss, dlogits);
}
