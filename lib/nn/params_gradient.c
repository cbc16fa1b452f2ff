/* params_gradient.c: which gradients hold something. Of most weights the gradient is written by one
 * product of a step: zeroing it before, to add to it then, would move 12 bytes for each weight
 * where 4 do.
 */
#include "nn/params.h"

/* A matrix in parts, stacked otherwise in another layer that shares it: whatever is written first
 * is not all of it. */
static bool join(struct params_range *range, size_t begin, size_t end)
{
    if (end <= range->begin || begin >= range->end)
        return false;
    range->begin = begin < range->begin ? begin : range->begin;
    range->end = end > range->end ? end : range->end;
    if (range->stale)
        *range->stale = false;
    range->stale = NULL;
    return true;
}

bool *params_add_range(struct params *params, size_t begin, size_t end)
{
    size_t i = 0;
    for (; i < params->n_ranges; i++)
        if (join(&params->range[i], begin, end))
            return NULL;
    bool *stale = &params->stale[params->n_ranges++];
    for (; i > 0 && params->range[i - 1].begin > begin; i--)
        params->range[i] = params->range[i - 1];
    params->range[i] = (struct params_range){begin, end, stale};
    return stale;
}

static void zero(struct params *params, size_t begin, size_t end)
{
    if (begin < end)
        params->dev->op->zero(params->dev, params->grad + begin,
                              (end - begin) * sizeof *params->grad);
}

void params_zero_rest(struct params *params)
{
    size_t at = 0;
    for (size_t i = 0; i < params->n_ranges; i++) {
        struct params_range *range = &params->range[i];
        if (!range->stale)
            continue;
        zero(params, at, range->begin);
        at = range->end;
        *range->stale = true;
    }
    zero(params, at, params->n);
}

void params_settle_grad(struct params *params)
{
    for (size_t i = 0; i < params->n_ranges; i++) {
        struct params_range *range = &params->range[i];
        if (!range->stale || !*range->stale)
            continue;
        zero(params, range->begin, range->end);
        *range->stale = false;
    }
}
