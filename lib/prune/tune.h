/* tune.h: what is left of a pruned model made to answer more like the whole one, without training:
 * layer by layer, from below, attention then feed-forward, the output matrix of the kept units is
 * fitted so that the sum it feeds (residual included) comes as near as can be to the whole model's
 * sum there, on a sample of texts that runs through both (Kwon et al. 2022, section 4.3, for
 * factors of units; whole matrices as in K-prune, Park et al. 2024). In a last layer of first rows
 * only those count.
 *
 * Cost: the sample once through the whole model, about twice through the pruned one, and the fits.
 * Memory: 16 hidden bytes for each token of the sample, the tapes of two encoders of one batch, and
 * matrices of the kept units squared.
 */
#ifndef MILLET_PRUNE_TUNE_H
#define MILLET_PRUNE_TUNE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/shape.h"

enum tune_what { TUNE_NONE, TUNE_SCALES, TUNE_WEIGHTS };

struct tune_options {
    enum tune_what what;
    double ridge; /* of fit.h */
    size_t samples, batch_tokens;
    uint64_t seed;
};

struct plan;

/* Refused where weights cannot be changed: int8. Before any work. */
bool tune_check(const struct model *model, const struct shape *shape, struct error *err) MUST_CHECK;

/* plan->before and plan->keep (all layers) are set; the changed tensors join plan->patch. *how: new
 * reference, what was done and the errors by layer, before and after; of scales the kept heads' and
 * the mean of the kept neurons', too. */
bool tune_plan(struct plan *plan, struct model *model, const struct records_set *records,
               const struct tune_options *options, struct device *dev,
               const struct progress *progress, json_t **how, struct error *err) MUST_CHECK;

#endif
