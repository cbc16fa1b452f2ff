/* budget.h: how much of a model may stay, and the units or layers that make the best of it: a share
 * of the multiply-adds (of the layers), or a speed-up on this machine, which is then timed.
 */
#ifndef MILLET_PRUNE_BUDGET_H
#define MILLET_PRUNE_BUDGET_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/shape.h"
#include "prune/latency.h"
#include "prune/layers.h"
#include "prune/search.h"
#include "prune/speedup.h"

struct budget {
    double share;   /* that may stay; or … */
    double speedup; /* … above 0, how many times as fast the rest is to be */
    /* for a speed-up */
    bool remeasure;        /* whatever the cache says */
    const char *directory; /* of the cache; NULL: the user's */
    struct device *dev;    /* borrowed, as team and progress */
    struct threads *team;  /* NULL: one lane */
    const struct progress *progress;
    /* results */
    double kept; /* share of the cost that stayed, in whatever costs were counted in */
    struct latency latency;
    struct latency_source source;        /* key NULL: no table was needed */
    struct speedup_result result;        /* asked 0: nothing was timed */
    double layer_seconds, fixed_seconds; /* of a text, when layers were to be chosen */
};
void budget_free(struct budget *budget); /* what the results own; safe on a zeroed struct */

/* Set `keep` of the units of `shape`, which is the model's; their scores are set. Costs are
 * multiply-adds as search_units() gave them, or become seconds (latency.h). n_tokens: of a text. */
bool budget_keep(struct budget *budget, const struct model *model, const struct shape *shape,
                 size_t n_tokens, struct unit *unit, size_t n_units, struct error *err) MUST_CHECK;

/* How many layers stay. */
bool budget_layers(struct budget *budget, const struct model *model, const struct shape *shape,
                   size_t n_tokens, size_t *n_layers, struct error *err) MUST_CHECK;

/* Add what was asked for and what it gave to `how` (a method's entry in millet.json): "keep" and
 * "kept", or "speedup", "predicted_speedup" and "measured_speedup". false: no memory. */
bool budget_tell(const struct budget *budget, json_t *how);

#endif
