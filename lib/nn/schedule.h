/* schedule.h: which records make up each step of an epoch, and how fast each step learns.
 *
 * Records are shuffled, sorted by length within pools of about 50 batches, cut into batches by a
 * token budget, and the batches shuffled: nearly equal lengths within a batch (attention and
 * dropout cost follow the longest), random enough across batches.
 */
#ifndef MILLET_NN_SCHEDULE_H
#define MILLET_NN_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct schedule {
    uint32_t *record; /* [n], in order of use */
    size_t n;
    size_t *first; /* [n_batches + 1]: batch b is record[first[b]] … record[first[b+1]-1] */
    size_t n_batches;
};

/* length[i]: tokens of record i; rank (NULL: none): records from easy to hard, [n]. With a rank the
 * pass goes from easy to hard with the competence of Platanios et al. 2019: after a share f of the
 * records the next is any of the easiest c(f) = sqrt(f (1 - c0²) + c0²) that was not yet used, c0 =
 * 0.1; pools are of 8 batches, which alone are shuffled. The same arguments give the same plan. A
 * record longer than the budget is a batch by itself. */
bool schedule_plan(struct schedule *schedule, const uint32_t *length, const uint32_t *rank,
                   size_t n, size_t batch_tokens, uint64_t seed, struct error *err) MUST_CHECK;
void schedule_free(struct schedule *schedule); /* safe on a zeroed struct */

/* That c(f): the share of the records that may be drawn after a share of the first pass. */
double schedule_competence(double share);

/* Linear warm-up over the first `warmup` share of `total` steps, then linear decay to 0; step
 * counts from 0. */
double schedule_lr(double lr, double warmup, size_t step, size_t total);

#endif
