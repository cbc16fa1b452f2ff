/* plan.c: whole layers; what every plan ends in, and its figures as JSON. */
#include "prune/plan.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/parts.h"

size_t plan_tokens(const struct records_set *records)
{
    if (!records)
        return PLAN_TOKENS;
    double mean = records->n ? (double)records->n_tokens / (double)records->n : 1;
    return mean > 1 ? (size_t)(mean + 0.5) : 1;
}

bool plan_finish(struct plan *plan, struct error *err)
{
    if (!plan->how)
        return error_set(err, "no memory for the report");
    if (!keep_shape(&plan->keep, &plan->before, &plan->after, err))
        return false;
    plan->macs_before = shape_macs(&plan->before, plan->n_tokens);
    plan->macs_after = shape_macs(&plan->after, plan->n_tokens);
    return true;
}

static bool choose_layers(struct plan *plan, const struct model *model, struct budget *budget,
                          enum layers_rule rule, const char *list, struct error *err)
{
    size_t n_layers = plan->before.n_layers, k = 0, *layer = NULL;
    if (list) {
        if (!layers_parse(list, n_layers, &layer, &k, err))
            return false;
    } else {
        if (!budget_layers(budget, model, &plan->before, plan->n_tokens, &k, err))
            return false;
        layer = memory_array(k, sizeof *layer, err);
        if (!layer)
            return false;
        layers_choose(n_layers, k, rule, layer);
    }
    bool ok = keep_of_layers(&plan->keep, &plan->before, layer, k, err);
    free(layer);
    return ok;
}

bool plan_check_layers(const struct shape *shape, const struct model *model, struct error *err)
{
    return shape->n_layers > 0 ||
           error_set(err,
                     "%s: is an embedding bag, it has no layers to prune; its word table can be "
                     "trimmed (--vocab-from) and quantised (mquant)",
                     model->name);
}

bool plan_layers(struct plan *plan, const struct model *model, struct budget *budget,
                 enum layers_rule rule, const char *list, struct error *err)
{
    *plan = (struct plan){.n_tokens = PLAN_TOKENS};
    bool ok = shape_from_model(&plan->before, model, err) &&
              plan_check_layers(&plan->before, model, err) &&
              choose_layers(plan, model, budget, rule, list, err);
    if (ok) {
        plan->how = json_pack("{s:s, s:s}", "method", "layers", "which",
                              list ? list : layers_rule_name(rule));
        ok = (list || budget_tell(budget, plan->how)) ? plan_finish(plan, err)
                                                      : error_set(err, "no memory for the report");
    }
    if (!ok)
        plan_free(plan);
    return ok;
}

bool plan_whole(struct plan *plan, const struct model *model, struct error *err)
{
    *plan = (struct plan){.n_tokens = PLAN_TOKENS};
    bool ok = shape_from_model(&plan->before, model, err);
    size_t n = plan->before.n_layers, *layer = ok ? memory_array(n, sizeof *layer, err) : NULL;
    for (size_t l = 0; layer && l < n; l++)
        layer[l] = l;
    ok = layer && keep_of_layers(&plan->keep, &plan->before, layer, n, err);
    free(layer);
    if (ok) {
        plan->how = json_pack("{s:s}", "method", "vocabulary");
        ok = plan_finish(plan, err);
    }
    if (!ok)
        plan_free(plan);
    return ok;
}

void plan_vocabulary(struct plan *plan, const struct vocabulary *vocabulary)
{
    plan->keep.vocabulary = vocabulary;
    plan->after.vocab = vocabulary->trim.n_kept;
}

bool plan_check_units(const struct shape *shape, const struct model *model, struct error *err)
{
    const char *why =
        family_shares_layers(shape->family) ? "all its layers share one set of heads and neurons"
        : shape->family->bottleneck ? "its heads and neurons lie inside bottlenecks, narrow already"
                                    : NULL;
    if (!why)
        return plan_check_layers(shape, model, err);
    return error_set(err,
                     "%s: heads and neurons of \"%s\" are not pruned: %s; drop whole "
                     "layers with --method layers",
                     model->name, shape->family->model_type, why);
}

float *plan_patch(struct plan *plan, const char *name, size_t n, struct error *err)
{
    size_t count = plan->n_patches, capacity = count;
    if (!memory_grow(&plan->patch, &capacity, count + 1, sizeof *plan->patch, err))
        return NULL;
    char *copy = memory_copy(name, strlen(name), err);
    float *value = copy ? memory_array(n, sizeof *value, err) : NULL;
    if (!value) {
        free(copy);
        return NULL;
    }
    plan->patch[plan->n_patches++] = (struct compact_patch){copy, value, n};
    return value;
}

void plan_free(struct plan *plan)
{
    shape_free(&plan->before);
    shape_free(&plan->after);
    keep_free(&plan->keep);
    json_decref(plan->how);
    for (size_t i = 0; i < plan->n_patches; i++) {
        free((void *)(uintptr_t)plan->patch[i].name);
        free((void *)(uintptr_t)plan->patch[i].value);
    }
    free(plan->patch);
    *plan = (struct plan){.n_tokens = 0};
}

json_t *plan_pruned(const struct plan *plan, struct error *err)
{
    json_t *pruned = json_deep_copy(plan->how), *kept = keep_json(&plan->keep, err);
    if (pruned && kept && json_object_set(pruned, "layers", kept) == 0) {
        json_decref(kept);
        return pruned;
    }
    json_decref(pruned);
    json_decref(kept);
    error_set(err, "no memory for the report");
    return NULL;
}

static json_t *figures(const struct shape *shape, double macs)
{
    json_int_t heads = 0, neurons = 0;
    for (size_t l = 0; l < shape->n_layers; l++) {
        heads += (json_int_t)shape->layer[l].heads;
        neurons += (json_int_t)shape->layer[l].ffn;
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:f}", "layers", (json_int_t)shape->n_layers, "heads",
                     heads, "neurons", neurons, "parameters", (json_int_t)parts_parameters(shape),
                     "multiply_adds", macs);
}

json_t *plan_report(const struct plan *plan, struct error *err)
{
    json_t *report = plan_pruned(plan, err);
    if (!report)
        return NULL;
    bool ok =
        !plan->keep.vocabulary ||
        json_object_set_new(report, "vocabulary", vocabulary_json(plan->keep.vocabulary)) == 0;
    if (ok &&
        json_object_set_new(report, "n_tokens", json_integer((json_int_t)plan->n_tokens)) == 0 &&
        json_object_set_new(report, "before", figures(&plan->before, plan->macs_before)) == 0 &&
        json_object_set_new(report, "after", figures(&plan->after, plan->macs_after)) == 0)
        return report;
    json_decref(report);
    error_set(err, "no memory for the report");
    return NULL;
}
