/* rearrange.h: better sets of units than the diagonal Fisher information finds, for it knows
 * nothing of how units stand in for one another. Pure arithmetic.
 *
 * Removing the units P of one layer and kind raises the loss by half the sum over records of (sum
 * of P's slopes)², to second order, with Fisher's matrix for the Hessian: half of sum F[i][j] over
 * P × P, F the Gram matrix of the slopes. From the set that the search kept, units are exchanged
 * while that sum falls (Kwon et al. 2022, "A Fast Post-Training Pruning Framework for
 * Transformers", section 4.2; there one round, here rounds until nothing moves).
 */
#ifndef MILLET_PRUNE_REARRANGE_H
#define MILLET_PRUNE_REARRANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* fisher [n, n], symmetric. keep [n]: changed; as many stay as stayed before. Costs n² a round. */
bool rearrange(const float *fisher, size_t n, bool *keep, struct error *err) MUST_CHECK;

/* Sum of fisher over pairs of units that are not kept. */
double rearrange_loss(const float *fisher, size_t n, const bool *keep);

#endif
