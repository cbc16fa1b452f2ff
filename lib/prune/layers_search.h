/* layers_search.h: which layers to drop, by trying: the one without which a sample's mean
 * cross-entropy is lowest goes, then of those that are left again one, and so on, until as many
 * stay as the budget says. Nothing is trained in between. Of layers that are worth the same the
 * upper one goes. (Greedy dropping as Sajjad et al., "Poor Man's BERT", compare it with fixed
 * rules.)
 *
 * The weights are prepared once, layers are left out as they run, and what lies below a dropped
 * layer is computed once for all choices above it: dropping one of k layers costs k (k + 1) / 2
 * passes through a layer over the sample. Memory: the weights as the engine runs them, the ids of
 * the sample, the hidden states of a batch.
 */
#ifndef MILLET_PRUNE_LAYERS_SEARCH_H
#define MILLET_PRUNE_LAYERS_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/shape.h"
#include "prune/budget.h"

struct layers_search_options {
    size_t samples; /* records, drawn and labelled as in importance.h */
    uint64_t seed;
    size_t batch_tokens; /* that run at a time; 0: 512 */
};

struct layers_search_result {
    size_t n_records; /* of the sample */
    bool taught;      /* its labels are a teacher's */
    bool one_label;   /* all of it has the same */
    double whole;     /* mean cross-entropy with all layers */
};

/* drop [n_drops], fewer than there are layers: layers of the model in the order they go; loss
 * [n_drops]: the mean cross-entropy after each. */
bool layers_search(struct model *model, const struct shape *shape,
                   const struct records_set *records, const struct layers_search_options *options,
                   struct device *dev, const struct progress *progress, size_t n_drops,
                   size_t *drop, double *loss, struct layers_search_result *result,
                   struct error *err) MUST_CHECK;

struct plan;

/* The plan of plan.h: as many layers as the budget says. */
bool layers_search_plan(struct plan *plan, struct model *model, const struct records_set *records,
                        struct budget *budget, const struct layers_search_options *options,
                        struct device *dev, const struct progress *progress,
                        struct error *err) MUST_CHECK;

#endif
