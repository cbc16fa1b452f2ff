/* plan_units.c: heads and neurons: scores, search, rearrangement. */
#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "nn/parts.h"
#include "prune/magnitude.h"
#include "prune/plan.h"
#include "prune/rearrange.h"
#include "prune/search.h"

/* One plan of units in the making. */
struct work {
    struct plan *plan;
    struct model *model;
    const struct records_set *records; /* NULL: none needed */
    struct budget *budget;
    const struct plan_units_options *options;
    struct device *dev;
    const struct progress *progress;
    struct unit *unit;
    size_t n_units;
    struct importance_result result;
    size_t moved; /* by the rearrangement */
    double loss_before, loss_after;
};

static bool score(struct work *work, struct error *err)
{
    const struct plan_units_options *options = work->options;
    struct importance_options sample = options->sample;
    sample.measure = options->score == PLAN_FISHER ? IMPORTANCE_FISHER : IMPORTANCE_ABSOLUTE;
    sample.keep_slopes = options->rearrange;
    bool ok =
        options->score == PLAN_MAGNITUDE
            ? magnitude_score(work->model, &work->plan->before, work->unit, work->n_units, err)
            : importance_score(work->model, &work->plan->before, work->records, &sample, work->dev,
                               work->progress, work->unit, work->n_units, &work->result, err);
    if (ok && options->normalise)
        importance_normalise(work->unit, work->n_units);
    return ok;
}

/* The units [begin, end) of one layer and kind, whose slopes are [records, end - begin]. */
static bool rearrange_run(struct work *work, size_t begin, size_t end, struct error *err)
{
    const struct device_ops *op = work->dev->op;
    size_t n = end - begin, records = work->result.n_records;
    float *fisher = memory_array(n * n, sizeof *fisher, err);
    bool *keep = memory_array(n, sizeof *keep, err);
    float *gram = op->alloc(work->dev, n * n * sizeof *gram, err);
    act *slope = op->alloc(work->dev, records * n * work->dev->act_bytes, err);
    bool ok = fisher && keep && gram && slope;
    if (ok) {
        op->zero(work->dev, gram, n * n * sizeof *gram);
        op->act_upload(work->dev, slope, work->result.slope + records * begin, records * n);
        op->gram(work->dev, slope, records, n, gram);
        op->download(work->dev, fisher, gram, n * n * sizeof *fisher);
        ok = op->sync(work->dev, err);
    }
    for (size_t i = 0; ok && i < n; i++)
        keep[i] = work->unit[begin + i].keep;
    if (ok) {
        work->loss_before += rearrange_loss(fisher, n, keep);
        ok = rearrange(fisher, n, keep, err);
        work->loss_after += rearrange_loss(fisher, n, keep);
    }
    for (size_t i = 0; ok && i < n; i++) {
        work->moved += keep[i] && !work->unit[begin + i].keep;
        work->unit[begin + i].keep = keep[i];
    }
    if (slope)
        op->free(work->dev, slope);
    if (gram)
        op->free(work->dev, gram);
    free(keep);
    free(fisher);
    return ok;
}

static bool rearrange_all(struct work *work, struct error *err)
{
    const struct unit *unit = work->unit;
    for (size_t begin = 0, end; begin < work->n_units; begin = end) {
        for (end = begin; end < work->n_units && unit[end].layer == unit[begin].layer &&
                          unit[end].kind == unit[begin].kind;)
            end++;
        if (!rearrange_run(work, begin, end, err))
            return false;
        struct progress_event event = {.stage = "rearrange",
                                       .done = end,
                                       .total = work->n_units,
                                       .unit = "units",
                                       .loss = NAN};
        progress_report(work->progress, &event);
    }
    return true;
}

/* Method, options and what was measured, for millet.json and the report. */
static json_t *how(const struct work *work)
{
    static const char *const name[] = {
        [PLAN_FISHER] = "fisher", [PLAN_IMPORTANCE] = "importance", [PLAN_MAGNITUDE] = "magnitude"};
    const struct plan_units_options *options = work->options;
    const struct importance_result *result = &work->result;
    json_t *how = json_pack("{s:s, s:s}", "method", name[options->score], "normalise",
                            options->normalise ? "layer" : "none");
    json_t *sample = NULL, *swap = NULL;
    if (options->score != PLAN_MAGNITUDE)
        sample = json_pack(
            "{s:I, s:I, s:s, s:I, s:I, s:f}", "samples", (json_int_t)result->n_records,
            "sample_tokens", (json_int_t)result->n_tokens, "labels",
            result->taught ? "teacher" : "stream", "sample_labels", (json_int_t)result->n_labels,
            "seed", (json_int_t)options->sample.seed, "sample_loss", result->loss);
    if (options->rearrange)
        swap = json_pack("{s:{s:I, s:f, s:f}}", "rearranged", "exchanges", (json_int_t)work->moved,
                         "loss_before", work->loss_before / (2 * (double)result->n_records),
                         "loss_after", work->loss_after / (2 * (double)result->n_records));
    bool ok =
        how && budget_tell(work->budget, how) &&
        (options->score == PLAN_MAGNITUDE || (sample && json_object_update(how, sample) == 0)) &&
        (!options->rearrange || (swap && json_object_update(how, swap) == 0));
    json_decref(sample);
    json_decref(swap);
    if (ok)
        return how;
    json_decref(how);
    return NULL;
}

/* Before all is scored: columns that rotation joined cannot be cut (compact.c). */
static bool check_columns(const struct model *model, const struct shape *shape, struct error *err)
{
    static const enum family_role role[] = {FAMILY_CONTEXT, FAMILY_FFN_OUT};
    for (size_t i = 0; i < 2 * shape->n_layers; i++) {
        char name[PARTS_NAME_BYTES];
        family_name(shape->family, role[i % 2], i / 2, shape->stack - 1, "weight", name,
                    sizeof name);
        const struct tensor_view *view = parts_find_tensor(model, name);
        if (view && !parts_check_columns(model, view, err))
            return error_at(err, "%s: ", model->name);
    }
    return true;
}

static bool decide(struct work *work, struct error *err)
{
    struct plan *plan = work->plan;
    if (!shape_from_model(&plan->before, work->model, err) ||
        !plan_check_units(&plan->before, work->model, err) ||
        !check_columns(work->model, &plan->before, err) ||
        (work->options->tune.what != TUNE_NONE && !tune_check(work->model, &plan->before, err)))
        return false;
    work->unit = search_units(&plan->before, plan->n_tokens, &work->n_units, err);
    if (!work->unit || !score(work, err) ||
        !budget_keep(work->budget, work->model, &plan->before, plan->n_tokens, work->unit,
                     work->n_units, err) ||
        (work->options->rearrange && !rearrange_all(work, err)) ||
        !keep_of_units(&plan->keep, &plan->before, work->unit, work->n_units, err))
        return false;
    json_t *tuned = NULL;
    if (work->options->tune.what != TUNE_NONE &&
        !tune_plan(plan, work->model, work->records, &work->options->tune, work->dev,
                   work->progress, &tuned, err))
        return false;
    plan->one_label = work->result.n_labels == 1;
    plan->how = how(work);
    if (tuned && plan->how && json_object_set(plan->how, "tuned", tuned) != 0) {
        json_decref(plan->how);
        plan->how = NULL;
    }
    json_decref(tuned);
    return plan_finish(plan, err);
}

bool plan_units(struct plan *plan, struct model *model, const struct records_set *records,
                struct budget *budget, const struct plan_units_options *options, struct device *dev,
                const struct progress *progress, struct error *err)
{
    struct work work = {.plan = plan,
                        .model = model,
                        .records = records,
                        .budget = budget,
                        .options = options,
                        .dev = dev,
                        .progress = progress};
    *plan = (struct plan){.n_tokens = plan_tokens(records)};
    bool ok = decide(&work, err);
    free(work.unit);
    free(work.result.slope);
    if (!ok)
        plan_free(plan);
    return ok;
}
