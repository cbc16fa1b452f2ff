/* tune.c: two encoders side by side, a layer at a time; between layers the texts' hidden states
 * wait on the host. */
#include "prune/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/parts.h"
#include "nn/weights.h"
#include "prune/compact.h"
#include "prune/fit.h"
#include "prune/importance.h"
#include "prune/plan.h"

enum { BATCH_TOKENS = 512 };

/* One of the two models as it runs. */
struct side {
    const struct shape *shape;
    struct weights weights;
    struct encoder *encoder;
    float *hidden; /* [tokens, H] what the next layer is given */
};

struct tune {
    struct plan *plan;
    struct model *model, small;
    struct compact *compact;
    struct shape left;
    const struct tune_options *options;
    struct device *dev;
    struct side whole, pruned;
    struct batch *batch;
    size_t n_batches, n_records, n_tokens;
    size_t *first_token, *first_record; /* [n_batches] */
    float *wanted;                      /* [tokens, H] the whole model's sum */
    float *joined; /* [tokens, H] the pruned model's, between attention and feed-forward */
    float *lack;   /* [rows of a batch, H] */
    act *device_lack;
    size_t limited; /* factors that were */
    json_t *layers; /* squared errors */
    json_t *scales; /* by layer: of the kept heads, and the mean of the kept neurons' */
};

bool tune_check(const struct model *model, const struct shape *shape, struct error *err)
{
    char name[PARTS_NAME_BYTES], found[128];
    family_name(shape->family, FAMILY_FFN_OUT, 0, 0, "weight", name, sizeof name);
    const struct tensor_view *view = parts_find_tensor(model, name);
    if (!view || dtype_is_float(view->type))
        return true;
    tensor_view_describe(view, found, sizeof found);
    return error_set(err,
                     "%s: tensor %s is %s; weights of int8 models are not changed: mquant --to "
                     "fp32 first, or prune with --tune none",
                     model->name, view->name, found);
}

/* ---- the sample ---- */

static bool add_batches(struct tune *t, const struct records_set *records, const uint32_t *sample,
                        size_t n, struct error *err)
{
    size_t most = t->options->batch_tokens ? t->options->batch_tokens : BATCH_TOKENS;
    for (size_t i = 0; i < n;) {
        size_t b = t->n_batches++;
        struct batch *batch = &t->batch[b];
        t->first_token[b] = t->n_tokens;
        t->first_record[b] = i;
        batch_init(batch, t->dev, t->whole.shape, 0, false);
        for (; i < n; i++) {
            struct record record = records_get(records, sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > most)
                break;
            if (!batch_check_record(t->whole.shape, &record, sample[i], err) ||
                !weights_verify_rows(&t->whole.weights, record.id, record.n_ids, err) ||
                !batch_add(batch, record.id, record.n_ids, RECORDS_LABEL_UNKNOWN, NULL, err))
                return false;
        }
        t->n_tokens += batch->n_tokens;
    }
    t->n_records = n;
    return true;
}

/* The batches, and room for hidden states and the largest batch. */
static bool open_batches(struct tune *t, const struct records_set *records, struct error *err)
{
    size_t n = 0, values, tokens = 0, texts = 0, hidden = t->left.hidden;
    uint32_t *sample = importance_draw(records, t->options->samples, t->options->seed, &n, err);
    t->batch = memory_zeroed(n, sizeof *t->batch, err);
    t->first_token = memory_array(n, sizeof *t->first_token, err);
    t->first_record = memory_array(n, sizeof *t->first_record, err);
    bool ok = sample && t->batch && t->first_token && t->first_record &&
              add_batches(t, records, sample, n, err);
    free(sample);
    if (!ok)
        return false;
    for (size_t b = 0; b < t->n_batches; b++) {
        tokens = t->batch[b].n_tokens > tokens ? t->batch[b].n_tokens : tokens;
        texts = t->batch[b].n > texts ? t->batch[b].n : texts;
        if (!batch_upload(&t->batch[b], err))
            return false;
    }
    if (!memory_multiply(t->n_tokens, hidden, &values))
        return error_set(err, "%zu tokens are too many for this machine", t->n_tokens);
    t->whole.hidden = memory_array(values, sizeof(float), err);
    t->pruned.hidden = memory_array(values, sizeof(float), err);
    t->wanted = memory_array(values, sizeof(float), err);
    t->joined = memory_array(values, sizeof(float), err);
    t->lack = memory_array(tokens * hidden, sizeof(float), err);
    t->device_lack = t->dev->op->alloc(t->dev, tokens * hidden * t->dev->act_bytes, err);
    return t->whole.hidden && t->pruned.hidden && t->wanted && t->joined && t->lack &&
           t->device_lack && encoder_reserve(t->whole.encoder, tokens, texts, err) &&
           encoder_reserve(t->pruned.encoder, tokens, texts, err);
}

/* ---- running a batch ---- */

static size_t rows_of(const struct tune *t, size_t layer, size_t b)
{
    return shape_first_only(&t->left, layer) ? t->batch[b].n : t->batch[b].n_tokens;
}

/* Where the rows of batch b lie among those of all. */
static size_t at_row(const struct tune *t, size_t layer, size_t b)
{
    return (shape_first_only(&t->left, layer) ? t->first_record[b] : t->first_token[b]) *
           t->left.hidden;
}

static void give(const struct tune *t, act *to, const float *from, size_t rows)
{
    t->dev->op->act_upload(t->dev, to, from, rows * t->left.hidden);
}

static void take(const struct tune *t, float *to, const act *from, size_t rows)
{
    t->dev->op->act_download(t->dev, to, from, rows * t->left.hidden);
}

static void step(const struct tune *t, struct side *side, size_t layer, size_t b,
                 enum encoder_step which)
{
    encoder_step(side->encoder, &side->weights, &t->batch[b], layer, which);
}

static void start(const struct tune *t)
{
    for (size_t b = 0; b < t->n_batches; b++) {
        size_t at = t->first_token[b] * t->left.hidden, n = t->batch[b].n_tokens;
        encoder_embed(t->whole.encoder, &t->whole.weights, &t->batch[b]);
        take(t, t->whole.hidden + at, encoder_places(t->whole.encoder, 0).x, n);
        memcpy(t->pruned.hidden + at, t->whole.hidden + at, n * t->left.hidden * sizeof(float));
    }
}

/* lack = wanted - what `sum` has, for the rows of batch b, into the fit. */
static void compare(const struct tune *t, struct fit *fit, const act *x, const act *sum,
                    const float *wanted, size_t rows)
{
    size_t n = rows * t->left.hidden;
    take(t, t->lack, sum, rows);
    for (size_t i = 0; i < n; i++)
        t->lack[i] = wanted[i] - t->lack[i];
    give(t, t->device_lack, t->lack, rows);
    fit_add(fit, x, t->device_lack, t->lack, rows);
}

/* ---- changing a matrix ---- */

/* An output matrix of the pruned model in the making. */
struct output_matrix {
    enum family_role role;
    size_t layer, n, group; /* inputs; inputs of a unit */
    float *w, *b;           /* [hidden, n], [hidden] */
};

static bool read_matrix(const struct tune *t, struct output_matrix *matrix, struct error *err)
{
    char name[PARTS_NAME_BYTES];
    size_t m = t->left.hidden;
    const struct family *family = t->left.family;
    family_name(family, matrix->role, matrix->layer, 0, "weight", name, sizeof name);
    const struct tensor_view *w = parts_require_tensor(&t->small, name, m, matrix->n, err);
    family_name(family, matrix->role, matrix->layer, 0, "bias", name, sizeof name);
    const struct tensor_view *b = w ? parts_require_tensor(&t->small, name, m, 0, err) : NULL;
    matrix->w = memory_array(m * matrix->n, sizeof *matrix->w, err);
    matrix->b = memory_array(m, sizeof *matrix->b, err);
    if (!b || !matrix->w || !matrix->b)
        return false;
    dtype_to_float(w->type, w->data, m * matrix->n, matrix->w);
    dtype_to_float(b->type, b->data, m, matrix->b);
    return true;
}

/* Full-size values for compaction: the kept columns are the new ones. */
static bool patch_matrix(struct tune *t, const struct output_matrix *matrix, struct error *err)
{
    char name[PARTS_NAME_BYTES];
    const struct keep_layer *kept = &t->plan->keep.layer[matrix->layer];
    bool heads = matrix->role == FAMILY_CONTEXT;
    const size_t *index = heads ? kept->head : kept->neuron;
    family_name(t->left.family, matrix->role, matrix->layer, 0, "weight", name, sizeof name);
    const struct tensor_view *view = parts_find_tensor(t->model, name);
    size_t m = t->left.hidden, cols = (size_t)view->dim[1];
    float *value = plan_patch(t->plan, view->name, m * cols, err);
    if (!value)
        return false;
    dtype_to_float(view->type, view->data, m * cols, value);
    for (size_t o = 0; o < m; o++)
        for (size_t i = 0; i < matrix->n; i++)
            value[o * cols + index[i / matrix->group] * matrix->group + i % matrix->group] =
                matrix->w[o * matrix->n + i];
    if (t->options->what == TUNE_SCALES)
        return true;
    family_name(t->left.family, matrix->role, matrix->layer, 0, "bias", name, sizeof name);
    view = parts_find_tensor(t->model, name);
    value = plan_patch(t->plan, view->name, m, err);
    if (value)
        memcpy(value, matrix->b, m * sizeof *value);
    return value != NULL;
}

static bool note_scales(struct tune *t, const struct output_matrix *matrix, const float *scale,
                        struct error *err)
{
    bool ok = true;
    size_t n = matrix->n / matrix->group;
    double sum = 0;
    json_t *list = json_array(), *entry = json_array_get(t->scales, matrix->layer);
    for (size_t i = 0; i < n; i++) {
        sum += (double)scale[i];
        ok = json_array_append_new(list, json_real((double)scale[i])) == 0 && ok;
    }
    if (!entry && json_array_append_new(t->scales, entry = json_object()) != 0)
        entry = NULL;
    if (matrix->role == FAMILY_CONTEXT)
        ok = json_object_set(entry, "heads", list) == 0 && ok;
    else
        ok = json_object_set_new(entry, "neurons_mean", json_real(sum / (double)n)) == 0 && ok;
    json_decref(list);
    return ok || error_set(err, "no memory for the report");
}

/* The fitted change, into w and b. */
static bool change_matrix(struct tune *t, struct output_matrix *matrix, struct fit *fit,
                          struct fit_error *error, struct error *err)
{
    size_t m = t->left.hidden, n = matrix->n, limited = 0;
    double ridge = t->options->ridge;
    bool scales = t->options->what == TUNE_SCALES;
    float *change = memory_array(scales ? n : m * n, sizeof *change, err);
    float *bias = memory_array(m, sizeof *bias, err);
    bool ok =
        change && bias &&
        (scales ? fit_scales(fit, matrix->w, matrix->group, ridge, change, &limited, error, err)
                : fit_weights(fit, ridge, change, bias, error, err));
    ok = ok && (!scales || note_scales(t, matrix, change, err));
    for (size_t o = 0; ok && o < m; o++) {
        for (size_t i = 0; i < n; i++)
            if (scales)
                matrix->w[o * n + i] *= change[i / matrix->group];
            else
                matrix->w[o * n + i] += change[o * n + i];
        if (!scales)
            matrix->b[o] += bias[o];
    }
    t->limited += limited;
    free(change);
    free(bias);
    return ok;
}

/* Fit, change the running model, and note the change for the one that will be written. */
static bool fit_matrix(struct tune *t, enum family_role role, size_t layer, struct fit *fit,
                       struct fit_error *error, struct error *err)
{
    bool heads = role == FAMILY_CONTEXT;
    const struct layer_shape *left = &t->left.layer[layer];
    struct output_matrix matrix = {.role = role,
                                   .layer = layer,
                                   .n = heads ? left->heads * t->left.head_size : left->ffn,
                                   .group = heads ? t->left.head_size : 1};
    struct weights_layer *weights = &t->pruned.weights.layer[layer];
    struct weights_matrix *running = heads ? &weights->o : &weights->ffn[0].out;
    struct linear *linear = NULL;
    bool ok = read_matrix(t, &matrix, err) && change_matrix(t, &matrix, fit, error, err) &&
              patch_matrix(t, &matrix, err);
    if (ok) {
        const struct weight weight = {
            .data = matrix.w, .type = DTYPE_F32, .rows = t->left.hidden, .cols = matrix.n};
        const float *bias = matrix.b;
        linear = t->dev->op->linear_prepare(t->dev, &weight, &bias, 1, err);
        ok = linear != NULL;
    }
    if (ok) {
        t->dev->op->linear_free(t->dev, running->linear);
        running->linear = linear;
    }
    free(matrix.w);
    free(matrix.b);
    return ok;
}

/* ---- a layer ---- */

static bool tune_attention(struct tune *t, size_t layer, struct fit_error *error, struct error *err)
{
    size_t inner = t->left.layer[layer].heads * t->left.head_size;
    struct fit *fit = fit_open(t->dev, inner, t->left.hidden, err);
    bool last = layer + 1 == t->left.n_layers;
    for (size_t b = 0; fit && b < t->n_batches; b++) {
        size_t at = t->first_token[b] * t->left.hidden, n = t->batch[b].n_tokens;
        size_t rows = rows_of(t, layer, b), here = at_row(t, layer, b);
        struct encoder_places whole = encoder_places(t->whole.encoder, layer);
        struct encoder_places pruned = encoder_places(t->pruned.encoder, layer);
        give(t, whole.x, t->whole.hidden + at, n);
        for (int s = ENCODER_ATTEND; s <= ENCODER_REDUCE; s++)
            step(t, &t->whole, layer, b, (enum encoder_step)s);
        give(t, pruned.x, t->pruned.hidden + at, n);
        step(t, &t->pruned, layer, b, ENCODER_ATTEND);
        step(t, &t->pruned, layer, b, ENCODER_JOIN);
        take(t, t->wanted + here, whole.joined_sum, rows);
        compare(t, fit, pruned.context, pruned.joined_sum, t->wanted + here, rows);
        take(t, t->wanted + here, whole.sum, rows);
        if (!last)
            take(t, t->whole.hidden + at, whole.y, rows);
    }
    bool ok = fit && fit_matrix(t, FAMILY_CONTEXT, layer, fit, error, err);
    fit_close(fit);
    return ok;
}

static bool tune_feed_forward(struct tune *t, size_t layer, struct fit_error *error,
                              struct error *err)
{
    struct fit *fit = fit_open(t->dev, t->left.layer[layer].ffn, t->left.hidden, err);
    bool last = layer + 1 == t->left.n_layers;
    struct encoder_places pruned = encoder_places(t->pruned.encoder, layer);
    for (size_t b = 0; fit && b < t->n_batches; b++) {
        size_t rows = rows_of(t, layer, b), here = at_row(t, layer, b);
        give(t, pruned.x, t->pruned.hidden + t->first_token[b] * t->left.hidden,
             t->batch[b].n_tokens);
        for (int s = ENCODER_ATTEND; s <= ENCODER_REDUCE; s++)
            step(t, &t->pruned, layer, b, (enum encoder_step)s);
        take(t, t->joined + here, pruned.joined, rows);
        compare(t, fit, pruned.neurons, pruned.sum, t->wanted + here, rows);
    }
    bool ok = fit && fit_matrix(t, FAMILY_FFN_OUT, layer, fit, error, err);
    fit_close(fit);
    for (size_t b = 0; ok && !last && b < t->n_batches; b++) {
        size_t rows = rows_of(t, layer, b), here = at_row(t, layer, b);
        give(t, pruned.joined, t->joined + here, rows);
        step(t, &t->pruned, layer, b, ENCODER_EXPAND);
        step(t, &t->pruned, layer, b, ENCODER_REDUCE);
        take(t, t->pruned.hidden + here, pruned.y, rows);
    }
    return ok && t->dev->op->sync(t->dev, err);
}

static bool tune_layers(struct tune *t, const struct progress *progress, struct error *err)
{
    start(t);
    for (size_t l = 0; l < t->left.n_layers; l++) {
        struct fit_error heads = {0, 0}, neurons = {0, 0};
        if (!tune_attention(t, l, &heads, err) || !tune_feed_forward(t, l, &neurons, err))
            return false;
        double values = (double)t->left.hidden *
                        (double)(shape_first_only(&t->left, l) ? t->n_records : t->n_tokens);
        json_t *entry =
            json_pack("{s:[f,f], s:[f,f]}", "heads", heads.before / values, heads.after / values,
                      "neurons", neurons.before / values, neurons.after / values);
        if (!entry || json_array_append_new(t->layers, entry) != 0)
            return error_set(err, "no memory for the report");
        struct progress_event event = {.stage = "tune",
                                       .done = l + 1,
                                       .total = t->left.n_layers,
                                       .unit = "layers",
                                       .loss = NAN};
        progress_report(progress, &event);
    }
    return true;
}

/* ---- all of it ---- */

static bool open_side(struct tune *t, struct side *side, const struct shape *shape,
                      struct model *model, struct error *err)
{
    side->shape = shape;
    if (!weights_prepare(&side->weights, shape, model, t->dev, err))
        return false;
    side->encoder = encoder_open(t->dev, shape, true, err);
    return side->encoder != NULL;
}

static void close_side(struct side *side)
{
    encoder_close(side->encoder);
    weights_free(&side->weights);
    free(side->hidden);
}

static void tune_close(struct tune *t)
{
    for (size_t b = 0; b < t->n_batches; b++)
        batch_free(&t->batch[b]);
    close_side(&t->pruned);
    close_side(&t->whole);
    compact_close(t->compact);
    shape_free(&t->left);
    if (t->device_lack)
        t->dev->op->free(t->dev, t->device_lack);
    free(t->batch);
    free(t->first_token);
    free(t->first_record);
    free(t->wanted);
    free(t->joined);
    free(t->lack);
    json_decref(t->layers);
    json_decref(t->scales);
}

static bool tune_open(struct tune *t, const struct records_set *records, struct error *err)
{
    t->layers = json_array();
    t->scales = json_array();
    if (!t->layers || !t->scales)
        return error_set(err, "no memory for the report");
    t->compact = keep_shape(&t->plan->keep, &t->plan->before, &t->left, err)
                     ? compact_open(t->model, &t->plan->before, &t->plan->keep, &t->small, err)
                     : NULL;
    return t->compact && open_side(t, &t->whole, &t->plan->before, t->model, err) &&
           open_side(t, &t->pruned, &t->left, &t->small, err) && open_batches(t, records, err);
}

bool tune_plan(struct plan *plan, struct model *model, const struct records_set *records,
               const struct tune_options *options, struct device *dev,
               const struct progress *progress, json_t **how, struct error *err)
{
    struct tune t = {.plan = plan, .model = model, .options = options, .dev = dev};
    bool ok = tune_open(&t, records, err) && tune_layers(&t, progress, err);
    if (ok) {
        *how = json_pack("{s:s, s:f, s:I, s:I, s:O}", "what",
                         options->what == TUNE_SCALES ? "scales" : "weights", "ridge",
                         options->ridge, "samples", (json_int_t)t.n_records, "sample_tokens",
                         (json_int_t)t.n_tokens, "squared_errors", t.layers);
        ok = *how &&
             (options->what != TUNE_SCALES ||
              (json_object_set_new(*how, "limited", json_integer((json_int_t)t.limited)) == 0 &&
               json_object_set(*how, "scales", t.scales) == 0));
        if (!ok)
            error_set(err, "no memory for the report");
    }
    tune_close(&t);
    return ok;
}
