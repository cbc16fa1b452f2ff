/* mixed_search.h: which of several changes to make to a model, each of which saves bytes and costs
 * something, so that all together cost no more than a budget. Knows nothing of models.
 */
#ifndef MILLET_QUANT_MIXED_SEARCH_H
#define MILLET_QUANT_MIXED_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct mixed_change {
    uint64_t saved; /* bytes, when made alone */
    double cost;    /* measured alone; for the order only */
    bool chosen;    /* out */
};

/* What the changes that are chosen cost together. */
typedef bool mixed_measure(void *context, const struct mixed_change *change, size_t n, double *cost,
                           struct error *err);

/* Changes are tried in the order of bytes saved per cost, the best first. As many as fit the budget
 * are taken at once (found by halving, for costs of many together cannot be foretold from those of
 * each); the one that breaks it is left out and the search goes on behind it, MIXED_SKIPS times at
 * most. About log2(n) measurements each time. *cost: of the choice, measured; no choice at all is
 * measured too, and is the result where nothing fits. */
enum { MIXED_SKIPS = 4 };
bool mixed_search(struct mixed_change *change, size_t n, double budget, mixed_measure *measure,
                  void *context, double *cost, struct error *err) MUST_CHECK;

#endif
