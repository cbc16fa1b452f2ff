/* train_state.h: a run to and from a checkpoint: weights, moments, the touched rows of the tables,
 * the best epoch's copy, where in the records the run stands, and the hooks' buffers. A run that
 * goes on from it does the same steps, bit for bit, as one that was never interrupted: order of
 * records and dropout are functions of seed and step.
 *
 * Parts "weights", "moment1", "moment2": "block" and the touched rows of "word" and "position";
 * "best" the same of the best epoch; "hook.NAME" the bytes of each buffer. The state has "identity"
 * (what the run depends on: options, model, records), "run" (numbers) and "device".
 */
#ifndef MILLET_NN_TRAIN_STATE_H
#define MILLET_NN_TRAIN_STATE_H

#include "nn/trainer.h"

/* Find out what checkpoints of this run are of. A file that is there is an error unless the run is
 * to resume. */
bool train_state_open(struct trainer *trainer, struct model *model, struct error *err) MUST_CHECK;
/* Before the first step: go on where the checkpoint is, or begin. One of another run is refused,
 * with what differs. */
bool train_state_begin(struct trainer *trainer, struct train_result *result,
                       struct error *err) MUST_CHECK;
/* Is it time? */
bool train_state_due(const struct trainer *trainer);
/* Does nothing where no checkpoints are made. Refuses to save a run that diverged. */
bool train_state_save(struct trainer *trainer, struct error *err) MUST_CHECK;

#endif
