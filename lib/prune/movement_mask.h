/* movement_mask.h: the schedule of movement pruning and the rules by which scores become masks.
 * Pure arithmetic on the host.
 */
#ifndef MILLET_PRUNE_MOVEMENT_MASK_H
#define MILLET_PRUNE_MOVEMENT_MASK_H

#include "prune/movement_layout.h"

enum movement_rule {
    MOVEMENT_TOPK,     /* of each set of scores the best, `share` of its weights */
    MOVEMENT_GLOBAL,   /* of all scores the best, `share` of all weights */
    MOVEMENT_THRESHOLD /* those with sigmoid(score) above a threshold */
};

/* How far pruning has come, 0 to 1, before step `step` (from 0) of `total`: 0 during the first
 * `start` share of the steps, 1 in the last `settle` share, 1 - (1 - x)³ between (Sanh et al.
 * 2020). */
double movement_progress(double start, double settle, size_t step, size_t total);

/* The same with a curriculum whose first pass are the first `pass` steps: it rises as the share of
 * the records that were admitted does (schedule_competence()), and is 1 when all are; but 0 before
 * `start` in any case. */
double movement_progress_admitted(double start, double settle, double pass, size_t step,
                                  size_t total);

struct movement_choice {
    enum movement_rule rule;
    double share;     /* of the weights, to the nearest block */
    double threshold; /* of the sigmoid */
};

/* keep[i] = 1 or 0 for each score. The best of equal scores are the earlier ones; NaN is the worst.
 * Whatever the rule, the best 0.5 % of each set's scores, and at least one, stay. In every layer
 * the head whose best blocks in query, key, value and output projection have the largest sum keeps
 * these, unless some head has a block in each already. A head without one in query, key or output
 * projection loses those of its value, too: its output is 0, and it can be cut out. band[j] = 1 or
 * 0 for each row of blocks of the uses: has it a block that stays? */
void movement_choose(const struct movement_layout *layout, const struct movement_choice *choice,
                     const float *score, float *keep, float *band);

/* Of a choice: all blocks stay, but for those of a head whose value has none. Neurons stay as they
 * were. */
void movement_fill(const struct movement_layout *layout, float *keep, float *band);

#endif
