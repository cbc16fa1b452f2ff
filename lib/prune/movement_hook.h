/* movement_hook.h: what movement pruning adds to the steps of a training run (Sanh et al. 2020;
 * Lagunas et al. 2021). Between steps the parameters are dense. Before a forward pass each masked
 * matrix W becomes M W, and biases of rows without a weight become 0; after the backward pass a
 * block's score gets the gradient sum of dL/d(MW) W over the block, dL/dW is M dL/d(MW), and W
 * comes back for the optimizer; scores have an AdamW of their own.
 *
 * Owns scores, masks and a copy of the weights, on the device.
 */
#ifndef MILLET_PRUNE_MOVEMENT_HOOK_H
#define MILLET_PRUNE_MOVEMENT_HOOK_H

#include "nn/trainer.h"
#include "prune/movement_mask.h"

struct movement_schedule {
    enum movement_rule rule;
    double keep;   /* share of the weights in the end; not with MOVEMENT_THRESHOLD */
    double lambda; /* MOVEMENT_THRESHOLD: weight of the mean sigmoid of scores */
    double start,
        settle; /* shares of the steps at the start without and at the end with all pruning */
    double score_lr;
    /* The rate follows a curriculum: its first pass is one of so many epochs; 0: cubic. */
    size_t curriculum_epochs;
    double fill; /* share of the run's steps, at its end, that train without masks on blocks */
};

struct movement_hook {
    struct trainer_hook hook; /* to give to the run */
    struct movement_schedule schedule;
    struct movement_layout layout;
    struct device *dev; /* borrowed */
    /* device, [n_scores] each; band [n_bands] */
    float *score, *grad, *m, *v, *keep, *band;
    float *one;   /* device: 1 */
    float *dense; /* device: the parameters' block; NULL before the first step */
    /* host */
    float *host_score, *host_keep, *host_band;
    struct movement_place *place; /* [uses], NULL likewise */
};

/* Before the run is opened; `shape` is the model's and must outlive it. */
bool movement_hook_open(struct movement_hook *hook, const struct shape *shape,
                        enum movement_variant variant, size_t block_rows, size_t block_cols,
                        const struct movement_schedule *schedule, struct device *dev,
                        struct error *err) MUST_CHECK;
void movement_hook_close(struct movement_hook *hook); /* safe on a zeroed struct */

#endif
