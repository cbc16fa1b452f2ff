/* plan.h: from a method and its options to what is kept, with the figures before and after; the
 * work of mprune up to writing (compact.h does that).
 */
#ifndef MILLET_PRUNE_PLAN_H
#define MILLET_PRUNE_PLAN_H

#include <jansson.h>
#include <stddef.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/shape.h"
#include "prune/budget.h"
#include "prune/compact.h"
#include "prune/importance.h"
#include "prune/keep.h"
#include "prune/layers.h"
#include "prune/tune.h"

/* Tokens of the text that multiply-adds are counted for where there is no stream to tell. */
enum { PLAN_TOKENS = 32 };

/* The mean length of a stream's texts, to the nearest token; PLAN_TOKENS for NULL. */
size_t plan_tokens(const struct records_set *records);

struct plan {
    struct shape before, after;
    struct keep keep;
    size_t n_tokens;                /* multiply-adds below are of a text of so many tokens */
    double macs_before, macs_after; /* whole model, as shape_macs() */
    json_t *how;    /* {"method": …, "keep": …}: method, its options and what it measured */
    bool one_label; /* a sample was drawn, and all of it has the same label */
    struct compact_patch *patch; /* weights that changed: names and values are owned */
    size_t n_patches;
};

/* Room for one more changed tensor of n values, which the caller fills; each name once. NULL: no
 * memory. */
float *plan_patch(struct plan *plan, const char *name, size_t n, struct error *err) MUST_CHECK;

/* list NULL: as many layers as the budget says, by the rule; else it names the layers to keep
 * ("0,2,5") and budget and rule do not matter. */
bool plan_layers(struct plan *plan, const struct model *model, struct budget *budget,
                 enum layers_rule rule, const char *list, struct error *err) MUST_CHECK;

enum plan_score {
    PLAN_FISHER,     /* importance.h: squared slopes */
    PLAN_IMPORTANCE, /* absolute slopes */
    PLAN_MAGNITUDE   /* magnitude.h: no records needed */
};
struct plan_units_options {
    enum plan_score score;
    bool normalise;                   /* scores by layer and kind: importance_normalise() */
    bool rearrange;                   /* rearrange.h, after the search; not with PLAN_MAGNITUDE */
    struct tune_options tune;         /* tune.h, last; not with PLAN_MAGNITUDE */
    struct importance_options sample; /* its measure and keep_slopes do not matter */
};

/* Heads and neurons; the budget's share is of the encoder's multiply-adds for a text of the
 * stream's mean length, without a stream of PLAN_TOKENS. records and dev may be NULL for
 * PLAN_MAGNITUDE. */
bool plan_units(struct plan *plan, struct model *model, const struct records_set *records,
                struct budget *budget, const struct plan_units_options *options, struct device *dev,
                const struct progress *progress, struct error *err) MUST_CHECK;

/* For methods with files of their own. Where a unit is not a layer's own there is nothing to remove
 * in that layer: refused. */
bool plan_check_units(const struct shape *shape, const struct model *model,
                      struct error *err) MUST_CHECK;
bool plan_check_layers(const struct shape *shape, const struct model *model,
                       struct error *err) MUST_CHECK;
/* before, keep, n_tokens and how are set (how NULL: no memory for it): what follows from them. */
bool plan_finish(struct plan *plan, struct error *err) MUST_CHECK;
/* Nothing of the encoder goes: for trimming the vocabulary alone. */
bool plan_whole(struct plan *plan, const struct model *model, struct error *err) MUST_CHECK;
/* The words that stay, borrowed, join what a method has decided. */
void plan_vocabulary(struct plan *plan, const struct vocabulary *vocabulary);

void plan_free(struct plan *plan); /* safe on a zeroed struct */

/* For millet.json: how, and the kept layers, heads and neurons. New reference. */
json_t *plan_pruned(const struct plan *plan, struct error *err) MUST_CHECK;

/* The same with "before" and "after": layers, heads and neurons (of all layers), parameters,
 * multiply_adds. New reference. */
json_t *plan_report(const struct plan *plan, struct error *err) MUST_CHECK;

#endif
