/* movement.c: the run, and what its weights say of heads and neurons. */
#include "prune/movement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/parts.h"

void movement_defaults(struct movement_options *options)
{
    *options =
        (struct movement_options){.block_rows = 32,
                                  .block_cols = 32,
                                  .fill_epochs = 1,
                                  .schedule = {.start = 0.1, .settle = 0.3, .score_lr = 1e-2}};
    train_defaults(&options->train);
}

/* ---- names ---- */

static const char *const variant_name[] = {[MOVEMENT_HYBRID] = "hybrid",
                                           [MOVEMENT_STRUCT] = "struct",
                                           [MOVEMENT_FILLED] = "filled",
                                           [MOVEMENT_UNSTRUCTURED] = "unstructured"};
static const char *const rule_name[] = {
    [MOVEMENT_TOPK] = "topk", [MOVEMENT_GLOBAL] = "global", [MOVEMENT_THRESHOLD] = "threshold"};

bool movement_variant_from_name(const char *name, enum movement_variant *variant)
{
    for (size_t i = 0; i < sizeof variant_name / sizeof variant_name[0]; i++)
        if (strcmp(name, variant_name[i]) == 0) {
            *variant = (enum movement_variant)i;
            return true;
        }
    return false;
}

const char *movement_variant_name(enum movement_variant variant)
{
    return variant_name[variant];
}

bool movement_rule_from_name(const char *name, enum movement_rule *rule)
{
    for (size_t i = 0; i < sizeof rule_name / sizeof rule_name[0]; i++)
        if (strcmp(name, rule_name[i]) == 0) {
            *rule = (enum movement_rule)i;
            return true;
        }
    return false;
}

const char *movement_rule_name(enum movement_rule rule)
{
    return rule_name[rule];
}

/* ---- what is asked of the model ---- */

static bool check_model(const struct shape *shape, const struct model *model, struct error *err)
{
    if (shape->n_layers == 0)
        return error_set(err, "%s: the encoder has no layers to prune", model->name);
    if (!shape->has_pooler || !shape->has_classifier)
        return error_set(err,
                         "%s has no %s: movement pruning starts from a model that does the task; "
                         "fine-tune it with mstudent first",
                         model->name, shape->has_classifier ? "pooler" : "classifier");
    for (size_t i = 0; i < model->n_tensors; i++) {
        struct family_tensor tensor;
        enum dtype type = model->tensor[i].type;
        if ((type == DTYPE_I8 || type == DTYPE_U8) &&
            family_parse(shape->family, model->tensor[i].name, &tensor))
            return error_set(err,
                             "%s: tensor %s is int%d, which does not train; mquant --to fp32 first",
                             model->name, model->tensor[i].name, type == DTYPE_I8 ? 8 : 4);
    }
    return true;
}

/* ---- harvest ---- */

/* The weights of the model as trained, by role and layer. */
struct harvest {
    const struct params *params;
    const float *block; /* host copy of the block */
};

static const float *values(const struct harvest *harvest, size_t layer, enum family_role role,
                           bool matrix)
{
    for (size_t i = 0; i < harvest->params->n_entries; i++) {
        const struct params_entry *e = &harvest->params->entry[i];
        if (e->part.role == role && e->part.layer == layer && (e->cols > 0) == matrix)
            return harvest->block + e->offset;
    }
    return NULL;
}

static bool all_zero(const float *x, size_t rows, size_t stride, size_t cols)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            if (x[r * stride + c] != 0)
                return false;
    return true;
}

/* Units first … of `size` rows of `in` [*, hidden] and columns of `out` [hidden, all]. */
static bool unit_lives(const float *in, const float *bias, const float *out, size_t hidden,
                       size_t all, size_t first, size_t size)
{
    return (!all_zero(in + first * hidden, size, hidden, hidden) ||
            !all_zero(bias + first, 1, 0, size)) &&
           !all_zero(out + first, hidden, all, size);
}

/* Where no unit of a kind lives, the first stays, and gives as little as it did. */
static void find_units(const struct harvest *harvest, size_t layer, enum family_role in,
                       enum family_role out, size_t n, size_t size, struct unit *unit)
{
    size_t hidden = harvest->params->shape.hidden, living = 0;
    const float *w = values(harvest, layer, in, true), *b = values(harvest, layer, in, false);
    const float *to = values(harvest, layer, out, true);
    for (size_t i = 0; i < n; i++) {
        unit[i].keep = unit_lives(w, b, to, hidden, n * size, i * size, size);
        living += unit[i].keep;
    }
    if (!living)
        unit[0].keep = true;
}

/* Units lie layer by layer, heads before neurons. */
static bool find_keep(struct plan *plan, const struct harvest *harvest, struct error *err)
{
    const struct shape *shape = &plan->before;
    size_t n_units, at = 0;
    struct unit *unit = search_units(shape, plan->n_tokens, &n_units, err);
    if (!unit)
        return false;
    for (size_t l = 0; l < shape->n_layers; l++) {
        size_t heads = shape->layer[l].heads, ffn = shape->layer[l].ffn;
        find_units(harvest, l, FAMILY_VALUE, FAMILY_CONTEXT, heads, shape->head_size, unit + at);
        find_units(harvest, l, FAMILY_FFN_IN, FAMILY_FFN_OUT, ffn, 1, unit + at + heads);
        at += heads + ffn;
    }
    bool ok = keep_of_units(&plan->keep, shape, unit, n_units, err);
    free(unit);
    return ok;
}

static bool add_patch(struct plan *plan, const struct model *model, const char *name,
                      const float *from, size_t n, struct error *err)
{
    const struct tensor_view *view = parts_find_tensor(model, name);
    if (!view)
        return error_set(err, "%s: tensor %s is missing", model->name, name);
    float *value = plan_patch(plan, view->name, n, err);
    if (!value)
        return false;
    memcpy(value, from, n * sizeof *value);
    return true;
}

/* A table's rows straight from the device. */
static bool add_table(struct plan *plan, const struct model *model, struct device *dev,
                      const struct params_table *table, struct error *err)
{
    const struct tensor_view *view = parts_find_tensor(model, table->name);
    size_t n = table->rows * table->cols; /* it is in memory */
    float *value = view ? plan_patch(plan, view->name, n, err) : NULL;
    if (!view)
        return error_set(err, "%s: tensor %s is missing", model->name, table->name);
    if (value)
        dev->op->download(dev, value, table->w, n * sizeof *value);
    return value != NULL;
}

static bool add_patches(struct plan *plan, const struct model *model, const struct harvest *harvest,
                        struct error *err)
{
    const struct params *params = harvest->params;
    bool ok = add_table(plan, model, params->dev, &params->word, err) &&
              add_table(plan, model, params->dev, &params->position, err);
    for (size_t i = 0; ok && i < params->n_entries; i++) {
        const struct params_entry *e = &params->entry[i];
        ok = add_patch(plan, model, e->name, harvest->block + e->offset,
                       e->rows * (e->cols ? e->cols : 1), err);
    }
    return ok && params->dev->op->sync(params->dev, err);
}

static size_t count_nonzero(const float *x, size_t rows, size_t stride, size_t cols)
{
    size_t n = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            n += x[r * stride + c] != 0 ? 1 : 0;
    return n;
}

/* Weights that are not 0 of one unit: rows of the matrices `in`, columns of `out`. */
static size_t count_unit(const struct harvest *harvest, size_t layer, bool head, size_t first,
                         size_t size, size_t all)
{
    static const enum family_role in[] = {FAMILY_QUERY, FAMILY_KEY, FAMILY_VALUE, FAMILY_FFN_IN};
    size_t hidden = harvest->params->shape.hidden;
    const float *out = values(harvest, layer, head ? FAMILY_CONTEXT : FAMILY_FFN_OUT, true);
    size_t n = count_nonzero(out + first, hidden, all, size);
    for (size_t i = head ? 0 : 3; i < (head ? 3 : 4); i++)
        n += count_nonzero(values(harvest, layer, in[i], true) + first * hidden, size, hidden,
                           hidden);
    return n;
}

/* Of the encoder's linear weights: those of units that stay, without zeros. */
static double share_left(const struct plan *plan, const struct movement_layout *layout,
                         const struct harvest *harvest)
{
    const struct shape *shape = &plan->before;
    size_t head = shape->head_size, left = 0;
    for (size_t k = 0; k < plan->keep.n_layers; k++) {
        const struct keep_layer *kept = &plan->keep.layer[k];
        const struct layer_shape *all = &shape->layer[kept->layer];
        for (size_t i = 0; i < kept->n_heads; i++)
            left += count_unit(harvest, kept->layer, true, kept->head[i] * head, head,
                               all->heads * head);
        for (size_t i = 0; i < kept->n_neurons; i++)
            left += count_unit(harvest, kept->layer, false, kept->neuron[i], 1, all->ffn);
    }
    return (double)left / (double)movement_all_weights(layout);
}

/* "block" is what model_blocks.h stores zeros by. */
static json_t *how_of(const struct movement_options *o, const struct movement_layout *layout,
                      const struct train_result *result, double left)
{
    const struct movement_schedule *s = &o->schedule;
    json_t *how =
        json_pack("{s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:I, s:I, s:f}", "method", "movement",
                  "variant", movement_variant_name(o->variant), "mask", movement_rule_name(s->rule),
                  "kept", left, "start", s->start, "settle", s->settle, "score_lr", s->score_lr,
                  "steps", (json_int_t)result->steps, "best_epoch", (json_int_t)result->best_epoch,
                  "loss", result->train_loss);
    bool ok = how != NULL;
    if (ok && s->rule == MOVEMENT_THRESHOLD)
        ok = json_object_set_new(how, "lambda", json_real(s->lambda)) == 0;
    else if (ok)
        ok = json_object_set_new(how, "keep", json_real(s->keep)) == 0;
    if (ok && o->train.curriculum)
        ok = json_object_set_new(how, "curriculum", json_true()) == 0;
    const struct blocks *blocks = &layout->set[0].use[0].blocks;
    if (ok && (o->variant == MOVEMENT_HYBRID || o->variant == MOVEMENT_FILLED))
        ok = json_object_set_new(how, "block",
                                 json_pack("[I, I]", (json_int_t)blocks->block_rows,
                                           (json_int_t)blocks->block_cols)) == 0;
    if (ok && isfinite(result->dev_score))
        ok = json_object_set_new(how, "dev_score", json_real(result->dev_score)) == 0;
    if (ok)
        return how;
    json_decref(how);
    return NULL;
}

static bool harvest_run(struct plan *plan, const struct model *model, struct training *training,
                        const struct movement_hook *hook, const struct movement_options *options,
                        struct error *err)
{
    const struct params *params = &train_trainer(training)->params;
    float *block = memory_array(params->n, sizeof *block, err);
    if (!block)
        return false;
    params->dev->op->download(params->dev, block, params->w, params->n * sizeof *block);
    const struct harvest harvest = {.params = params, .block = block};
    bool ok = params->dev->op->sync(params->dev, err) && find_keep(plan, &harvest, err);
    if (ok) {
        plan->how = how_of(options, &hook->layout, train_result(training),
                           share_left(plan, &hook->layout, &harvest));
        ok = add_patches(plan, model, &harvest, err) && plan_finish(plan, err);
    }
    free(block);
    return ok;
}

/* ---- the run ---- */

/* What a checkpoint of the run is of, beside what train_options say. */
static json_t *identity_of(const struct movement_options *o, struct error *err)
{
    const struct movement_schedule *s = &o->schedule;
    json_t *identity =
        json_pack("{s:s, s:s, s:[I, I], s:f, s:f, s:f, s:f, s:f, s:I}", "--variant",
                  movement_variant_name(o->variant), "--mask", movement_rule_name(s->rule),
                  "--block", (json_int_t)o->block_rows, (json_int_t)o->block_cols, "--keep",
                  s->keep, "--lambda", s->lambda, "--start", s->start, "--settle", s->settle,
                  "--score-lr", s->score_lr, "--fill-epochs", (json_int_t)o->fill_epochs);
    if (!identity)
        error_set(err, "no memory for a checkpoint's identity");
    return identity;
}

static bool run(struct plan *plan, struct model *model, const struct records_set *records,
                const struct movement_options *options, struct movement_hook *hook,
                struct device *dev, const struct progress *progress, struct train_result *result,
                struct error *err)
{
    const struct trainer_hook *const hooks[] = {&hook->hook};
    json_t *identity = identity_of(options, err);
    if (!identity)
        return false;
    hook->hook.identity = identity;
    struct train_options train = options->train;
    train.hook = hooks;
    train.n_hooks = 1;
    if (options->variant == MOVEMENT_FILLED)
        train.epochs += options->fill_epochs;
    struct training *training = train_open(model, NULL, records, &train, dev, progress, err);
    bool ok = training && train_run(training, err) &&
              harvest_run(plan, model, training, hook, options, err);
    if (ok)
        *result = *train_result(training);
    train_close(training);
    hook->hook.identity = NULL;
    json_decref(identity);
    return ok;
}

bool movement_prune(struct plan *plan, struct model *model, const struct records_set *records,
                    const struct movement_options *options, struct device *dev,
                    const struct progress *progress, struct train_result *result, struct error *err)
{
    struct movement_hook hook = {.dev = NULL};
    struct movement_schedule schedule = options->schedule;
    *plan = (struct plan){.n_tokens = plan_tokens(records)};
    *result = (struct train_result){0};
    if (options->variant == MOVEMENT_FILLED)
        schedule.fill =
            (double)options->fill_epochs / (double)(options->fill_epochs + options->train.epochs);
    if (options->train.curriculum)
        schedule.curriculum_epochs =
            options->train.epochs +
            (options->variant == MOVEMENT_FILLED ? options->fill_epochs : 0);
    bool ok = shape_from_model(&plan->before, model, err) &&
              plan_check_units(&plan->before, model, err) &&
              check_model(&plan->before, model, err) &&
              movement_hook_open(&hook, &plan->before, options->variant, options->block_rows,
                                 options->block_cols, &schedule, dev, err) &&
              run(plan, model, records, options, &hook, dev, progress, result, err);
    movement_hook_close(&hook);
    if (!ok)
        plan_free(plan);
    return ok;
}
