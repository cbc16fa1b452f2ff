/* second_order.h: pruning by second-order reconstruction, after ZipLM (Kurtic et al. 2023): from
 * the covariance of a layer's inputs, heads and neurons go in the order in which the layer's output
 * changes least when what is left makes up for it, and then it does: output matrices and biases are
 * those of least squares. Nothing is trained.
 *
 * Each layer's order gives an error for every number of units gone. Across layers the search of
 * search.h shares out the budget: a unit's score is what its going added to the error (made convex
 * along the order, so that the search takes units in it), weighed by how much the matrix matters.
 * ZipLM searches over such levels with a dynamic programme and trial runs.
 */
#ifndef MILLET_PRUNE_SECOND_ORDER_H
#define MILLET_PRUNE_SECOND_ORDER_H

#include "prune/budget.h"
#include "prune/moments.h"
#include "prune/plan.h"

enum second_order_weight {
    /* Errors count relative to the variance of what the matrix gives; no labels needed. */
    SECOND_ORDER_VARIANCE,
    /* By gradients on a few labelled records (importance.h): the diagonal Fisher information of the
     * matrix's units, all of them, for each unit of squared error that masking them makes. */
    SECOND_ORDER_GRADIENTS
};
struct second_order_options {
    struct moments_options sample;
    enum second_order_weight weight;
};

/* Fill the plan (zeroed), patches included. Weights must be floating-point: int8 codes cannot be
 * adjusted. Time: a forward pass over the sample, its Gram matrices, and about columns³ for each
 * matrix, matrices shared out among the team. */
bool second_order_plan(struct plan *plan, struct model *model, const struct records_set *records,
                       struct budget *budget, const struct second_order_options *options,
                       struct error *err) MUST_CHECK;

#endif
