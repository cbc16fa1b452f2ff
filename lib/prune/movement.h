/* movement.h: block movement pruning: a model is fine-tuned while scores on blocks of its matrices
 * learn which of them to keep (Sanh et al. 2020, "Movement Pruning"; Lagunas et al. 2021, "Block
 * Pruning For Faster Transformers"). What each file does: movement_layout.h which scores there are,
 * movement_mask.h rules and schedule, movement_hook.h the steps.
 */
#ifndef MILLET_PRUNE_MOVEMENT_H
#define MILLET_PRUNE_MOVEMENT_H

#include "nn/train.h"
#include "prune/movement_hook.h"
#include "prune/plan.h"

struct movement_options {
    enum movement_variant variant;
    size_t block_rows, block_cols;
    struct movement_schedule schedule; /* fill and curriculum_epochs are set */
    size_t fill_epochs;                /* MOVEMENT_FILLED: joined to the epochs of `train` */
    struct train_options train;
};
/* hybrid, 32 x 32, top-k, keep 0 (to be set), start 0.1, settle 0.3, scores 0.01, and
 * train_defaults(). */
void movement_defaults(struct movement_options *options);

bool movement_variant_from_name(const char *name, enum movement_variant *variant);
const char *movement_variant_name(enum movement_variant variant);
bool movement_rule_from_name(const char *name, enum movement_rule *rule);
const char *movement_rule_name(enum movement_rule rule);

/* Train under masks, and fill a zeroed plan: the heads and neurons whose weights give anything, and
 * every tensor as trained, zeros where blocks are masked. A head gives nothing where all of its
 * value (bias included) or all of its columns of the output projection are 0, a neuron where its
 * row and bias or its column are: the smaller model computes what the masked one does. One head and
 * one neuron of each layer stay in any case. The model needs a classifier (and a pooler if its
 * family has one) and float tensors.
 *
 * Time: that of training, and of moving the encoder's weights eight times a step. Memory:
 * train.h's, 4 bytes more for each of the block's parameters, 28 for each score; at the end all
 * weights once more on the host. */
bool movement_prune(struct plan *plan, struct model *model, const struct records_set *records,
                    const struct movement_options *options, struct device *dev,
                    const struct progress *progress, struct train_result *result,
                    struct error *err) MUST_CHECK;

#endif
