/* budget.c: shares go straight to the search; speed-ups through prediction and clock. */
#include "prune/budget.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "nn/parts.h"
#include "prune/keep.h"
#include "prune/pace.h"

enum { BISECTIONS = 24, LEAST_ROUNDS = 5, MOST_ROUNDS = 21 };
static const double timing_seconds = 1.5;

/* What a speed-up is sought for: units, or where unit is NULL a number of layers. */
struct seek {
    struct budget *budget;
    const struct shape *shape;
    struct pace_options pace;
    struct pace *whole;
    struct unit *unit;
    size_t n_units, n_layers;
    double least; /* the search's smallest budget */
};

void budget_free(struct budget *budget)
{
    latency_source_free(&budget->source);
}

static bool is_int8(const struct model *model, const struct shape *shape)
{
    char name[PARTS_NAME_BYTES];
    family_name(shape->family, FAMILY_QUERY, 0, 0, "weight", name, sizeof name);
    const struct tensor_view *view = parts_find_tensor(model, name);
    return view && view->type == DTYPE_I8;
}

/* ---- the clock ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Whole and part in turns; the first quartile of each, for neighbours on the machine only ever
 * add. */
static bool time_against(const struct seek *seek, struct pace *part, double *factor,
                         struct error *err)
{
    double whole_s[MOST_ROUNDS], part_s[MOST_ROUNDS], begin = progress_clock();
    size_t n = 0;
    while (n < LEAST_ROUNDS || (n < MOST_ROUNDS && progress_clock() - begin < timing_seconds)) {
        bool part_first = n % 2;
        if ((part_first && !pace_run(part, &part_s[n], err)) ||
            !pace_run(seek->whole, &whole_s[n], err) ||
            (!part_first && !pace_run(part, &part_s[n], err)))
            return false;
        n++;
    }
    qsort(whole_s, n, sizeof *whole_s, compare);
    qsort(part_s, n, sizeof *part_s, compare);
    *factor = whole_s[n / 4] / part_s[n / 4];
    return true;
}

static bool time_shape(const struct seek *seek, const struct shape *shape, double *factor,
                       struct error *err)
{
    const struct budget *budget = seek->budget;
    struct pace *part = pace_open(shape, &seek->pace, budget->dev, budget->team, err);
    bool ok = part && time_against(seek, part, factor, err);
    pace_close(part);
    return ok;
}

static bool seek_open(struct seek *seek, struct budget *budget, const struct model *model,
                      const struct shape *shape, size_t n_tokens, struct error *err)
{
    size_t longest = shape_max_tokens(shape);
    if (shape->n_layers == 0)
        return error_set(err, "%s has no layers; there is nothing to make faster", model->name);
    *seek = (struct seek){
        .budget = budget,
        .shape = shape,
        .pace = {.n_tokens = n_tokens < longest ? n_tokens : longest,
                 .int8 = is_int8(model, shape)},
    };
    seek->whole = pace_open(shape, &seek->pace, budget->dev, budget->team, err);
    return seek->whole != NULL;
}

/* ---- units ---- */

/* The shape of the kept units; layer [n_layers] is the caller's. */
static struct shape kept_shape(const struct seek *seek, struct layer_shape *layer)
{
    struct shape shape = *seek->shape;
    shape.layer = layer;
    for (size_t l = 0; l < shape.n_layers; l++)
        layer[l] = (struct layer_shape){0, 0};
    for (size_t i = 0; i < seek->n_units; i++) {
        struct layer_shape *of = &layer[seek->unit[i].layer];
        *(seek->unit[i].kind == UNIT_HEAD ? &of->heads : &of->ffn) += seek->unit[i].keep;
    }
    return shape;
}

static bool search(const struct seek *seek, double cost, double *predicted,
                   struct layer_shape *layer, struct error *err)
{
    if (!search_keep(seek->unit, seek->n_units, cost, err))
        return false;
    struct shape shape = kept_shape(seek, layer);
    *predicted = latency_total(&seek->budget->latency, &shape);
    return true;
}

/* The largest budget of the search whose choice is predicted to fit. */
static bool choose_units(void *context, double seconds, double *predicted, struct error *err)
{
    struct seek *seek = context;
    double low = seek->least, high = search_cost(seek->unit, seek->n_units);
    struct layer_shape *layer = memory_array(seek->shape->n_layers, sizeof *layer, err);
    bool ok = layer && search(seek, high, predicted, layer, err);
    if (ok && *predicted <= seconds * (1 + 1e-9))
        low = high;
    for (size_t i = 0; ok && low < high && i < BISECTIONS; i++) {
        double middle = (low + high) / 2;
        ok = search(seek, middle, predicted, layer, err);
        *(*predicted <= seconds ? &low : &high) = middle;
    }
    ok = ok && search(seek, low, predicted, layer, err);
    free(layer);
    return ok;
}

static bool measure_units(void *context, double *factor, struct error *err)
{
    const struct seek *seek = context;
    struct layer_shape *layer = memory_array(seek->shape->n_layers, sizeof *layer, err);
    if (!layer)
        return false;
    struct shape shape = kept_shape(seek, layer);
    bool ok = time_shape(seek, &shape, factor, err);
    free(layer);
    return ok;
}

/* One head and one neuron of each layer. A little more, for sums that round. */
static double least_cost(const struct unit *unit, size_t n_units)
{
    double sum = 0;
    for (size_t i = 0; i < n_units; i++)
        if (unit[i].index == 0)
            sum += unit[i].cost;
    return sum * (1 + 1e-9);
}

static bool keep_fast(struct budget *budget, const struct model *model, const struct shape *shape,
                      size_t n_tokens, struct unit *unit, size_t n_units, struct error *err)
{
    struct seek seek;
    struct layer_shape *layer = memory_array(shape->n_layers, sizeof *layer, err);
    bool ok = layer && seek_open(&seek, budget, model, shape, n_tokens, err);
    if (!ok) {
        free(layer);
        return false;
    }
    const struct latency_options options = {.n_tokens = seek.pace.n_tokens,
                                            .int8 = seek.pace.int8,
                                            .remeasure = budget->remeasure,
                                            .directory = budget->directory};
    seek.unit = unit;
    seek.n_units = n_units;
    struct speedup_job job = {.context = &seek,
                              .smallest = "one head and one neuron in each layer",
                              .remedy = ", or drop layers first (--method layers)",
                              .choose = choose_units,
                              .measure = measure_units};
    ok = latency_open(&budget->latency, shape, &options, budget->dev, budget->team,
                      budget->progress, &budget->source, err);
    if (ok) {
        latency_costs(&budget->latency, shape, unit, n_units);
        seek.least = least_cost(unit, n_units);
        job.before = latency_total(&budget->latency, shape);
        ok = search(&seek, seek.least, &job.least, layer, err) &&
             speedup_seek(&job, budget->speedup, &budget->result, err);
    }
    pace_close(seek.whole);
    free(layer);
    return ok;
}

bool budget_keep(struct budget *budget, const struct model *model, const struct shape *shape,
                 size_t n_tokens, struct unit *unit, size_t n_units, struct error *err)
{
    bool ok = budget->speedup > 0
                  ? keep_fast(budget, model, shape, n_tokens, unit, n_units, err)
                  : search_keep(unit, n_units, budget->share * search_cost(unit, n_units), err);
    if (ok)
        budget->kept = search_cost_kept(unit, n_units) / search_cost(unit, n_units);
    return ok;
}

/* ---- layers ---- */

static double layers_seconds(const struct seek *seek, size_t n)
{
    return seek->budget->fixed_seconds + (double)(n - 1) * seek->budget->layer_seconds;
}

static bool choose_layers(void *context, double seconds, double *predicted, struct error *err)
{
    struct seek *seek = context;
    (void)err;
    size_t n = seek->shape->n_layers;
    while (n > 1 && layers_seconds(seek, n) > seconds * (1 + 1e-9))
        n--;
    seek->n_layers = n;
    *predicted = layers_seconds(seek, n);
    return true;
}

/* The last n layers: how large those are that a rule keeps differs only in models pruned before. */
static struct shape last_layers(const struct shape *shape, size_t n)
{
    struct shape part = *shape;
    part.layer += shape->n_layers - n;
    part.n_layers = n;
    return part;
}

static bool measure_layers(void *context, double *factor, struct error *err)
{
    const struct seek *seek = context;
    struct shape part = last_layers(seek->shape, seek->n_layers);
    return time_shape(seek, &part, factor, err);
}

/* From the times of all layers and of one. */
static bool time_layers(struct seek *seek, struct error *err)
{
    struct shape one = last_layers(seek->shape, 1);
    double factor = 1, seconds = 0;
    if (!time_shape(seek, &one, &factor, err) || !pace_run(seek->whole, &seconds, err))
        return false;
    seek->budget->fixed_seconds = seconds / factor;
    seek->budget->layer_seconds =
        seek->shape->n_layers > 1
            ? fmax(0, seconds - seconds / factor) / (double)(seek->shape->n_layers - 1)
            : 0;
    return true;
}

bool budget_layers(struct budget *budget, const struct model *model, const struct shape *shape,
                   size_t n_tokens, size_t *n_layers, struct error *err)
{
    struct seek seek;
    *n_layers = layers_count(shape->n_layers, budget->speedup > 0 ? 1 : budget->share);
    if (!(budget->speedup > 0))
        return true;
    if (!seek_open(&seek, budget, model, shape, n_tokens, err))
        return false;
    bool ok = time_layers(&seek, err);
    if (ok) {
        const struct speedup_job job = {.context = &seek,
                                        .smallest = "one layer",
                                        .remedy = ", or cut heads and neurons as well",
                                        .choose = choose_layers,
                                        .measure = measure_layers,
                                        .before = layers_seconds(&seek, shape->n_layers),
                                        .least = layers_seconds(&seek, 1)};
        ok = speedup_seek(&job, budget->speedup, &budget->result, err);
        *n_layers = seek.n_layers;
    }
    pace_close(seek.whole);
    return ok;
}

bool budget_tell(const struct budget *budget, json_t *how)
{
    const struct speedup_result *result = &budget->result;
    if (result->asked > 0)
        return json_object_set_new(how, "speedup", json_real(result->asked)) == 0 &&
               json_object_set_new(how, "predicted_speedup", json_real(result->predicted)) == 0 &&
               json_object_set_new(how, "measured_speedup", json_real(result->measured)) == 0;
    return json_object_set_new(how, "keep", json_real(budget->share)) == 0 &&
           (!(budget->kept > 0) || json_object_set_new(how, "kept", json_real(budget->kept)) == 0);
}
