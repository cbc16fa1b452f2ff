/* layers_search.c: batches of the sample on the device, layers run one by one. */
#include "prune/layers_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/objective.h"
#include "nn/weights.h"
#include "prune/importance.h"
#include "prune/keep.h"
#include "prune/plan.h"

enum { BATCH_TOKENS = 512 };

struct search {
    struct device *dev;
    struct shape shape; /* the model's, with all rows, so that any layer can be the last */
    struct weights weights;
    struct encoder *encoder;
    struct batch *batch;
    size_t n_batches, n_records;
    size_t *kept, n_kept; /* layers that are left */
    double *trial;        /* [n_layers] summed losses, by place in `kept` of the one left out */
    void *state;          /* host: hidden states of a batch */
    float *device_loss, *loss; /* of a batch's rows, device and host */
    const struct progress *progress;
    size_t done, total; /* batches, over all drops */
    int32_t label;      /* of the first record */
    bool differ;        /* others have another, or records may have several */
};

/* ---- the sample ---- */

static bool add_batches(struct search *s, const struct records_set *records, const uint32_t *sample,
                        size_t batch_tokens, int32_t *label_id, bool *taught, struct error *err)
{
    for (size_t i = 0; i < s->n_records;) {
        struct batch *batch = &s->batch[s->n_batches++];
        batch_init(batch, s->dev, &s->shape, 0, true);
        objective_init(batch, &records->header, s->shape.n_labels);
        for (; i < s->n_records; i++) {
            struct record record = records_get(records, sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > batch_tokens)
                break;
            if (!importance_add(batch, &s->shape, &record, sample[i], label_id, taught, err) ||
                !weights_verify_rows(&s->weights, record.id, record.n_ids, err))
                return false;
            s->label = i == 0 ? record.label : s->label;
            s->differ = s->differ || batch->n_targets > 0 || record.label != s->label;
        }
        if (!batch_upload(batch, err))
            return false;
    }
    return true;
}

static bool open_sample(struct search *s, const struct records_set *records,
                        const struct layers_search_options *options, bool *taught,
                        struct error *err)
{
    uint32_t *sample =
        importance_draw(records, options->samples, options->seed, &s->n_records, err);
    int32_t *label_id = sample ? memory_array(s->shape.n_labels, sizeof *label_id, err) : NULL;
    s->batch = label_id ? memory_zeroed(s->n_records, sizeof *s->batch, err) : NULL;
    bool ok = s->batch && add_batches(s, records, sample,
                                      options->batch_tokens ? options->batch_tokens : BATCH_TOKENS,
                                      label_id, taught, err);
    free(label_id);
    free(sample);
    return ok;
}

/* Room for the largest batch. */
static bool reserve(struct search *s, struct error *err)
{
    size_t tokens = 0, rows = 0, values;
    for (size_t b = 0; b < s->n_batches; b++) {
        tokens = s->batch[b].n_tokens > tokens ? s->batch[b].n_tokens : tokens;
        rows = s->batch[b].n > rows ? s->batch[b].n : rows;
    }
    if (!memory_multiply(tokens, s->shape.hidden, &values))
        return error_set(err, "a batch of %zu tokens is too large for this machine", tokens);
    s->state = memory_array(values, s->dev->act_bytes, err);
    s->loss = memory_array(rows, sizeof *s->loss, err);
    s->device_loss = s->dev->op->alloc(s->dev, rows * sizeof *s->device_loss, err);
    return s->state && s->loss && s->device_loss && encoder_reserve(s->encoder, tokens, rows, err);
}

static bool search_open(struct search *s, struct model *model, const struct shape *shape,
                        const struct records_set *records,
                        const struct layers_search_options *options, bool *taught,
                        struct error *err)
{
    if (!shape_copy(shape, &s->shape, err))
        return false;
    s->shape.all_rows = true;
    s->kept = memory_array(shape->n_layers, sizeof *s->kept, err);
    s->trial = memory_array(shape->n_layers, sizeof *s->trial, err);
    if (!s->kept || !s->trial || !weights_prepare(&s->weights, &s->shape, model, s->dev, err))
        return false;
    for (size_t l = 0; l < shape->n_layers; l++)
        s->kept[s->n_kept++] = l;
    s->encoder = encoder_open(s->dev, &s->shape, false, err);
    return s->encoder && open_sample(s, records, options, taught, err) && reserve(s, err);
}

static void search_close(struct search *s)
{
    for (size_t b = 0; b < s->n_batches; b++)
        batch_free(&s->batch[b]);
    free(s->batch);
    if (s->device_loss)
        s->dev->op->free(s->dev, s->device_loss);
    free(s->loss);
    free(s->state);
    encoder_close(s->encoder);
    weights_free(&s->weights);
    free(s->trial);
    free(s->kept);
    shape_free(&s->shape);
}

/* ---- running ---- */

/* The kept layers from place `from` up to before `to`. */
static void run_layers(struct search *s, const struct batch *batch, size_t from, size_t to)
{
    for (size_t p = from; p < to; p++)
        encoder_run_layer(s->encoder, &s->weights, batch, s->kept[p]);
}

/* The losses of the batch's records as the state stands, added to *sum. */
static bool add_loss(struct search *s, const struct batch *batch, double *sum, struct error *err)
{
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    const act *logits = encoder_classify(s->encoder, &s->weights, batch);
    objective_loss(s->dev, &loss, batch, logits, s->shape.n_labels, s->device_loss, NULL);
    s->dev->op->download(s->dev, s->loss, s->device_loss, batch->n * sizeof *s->loss);
    if (!s->dev->op->sync(s->dev, err))
        return false;
    for (size_t i = 0; i < batch->n; i++)
        *sum += (double)s->loss[i];
    return true;
}

static bool run_whole(struct search *s, double *mean, struct error *err)
{
    double sum = 0;
    for (size_t b = 0; b < s->n_batches; b++) {
        encoder_embed(s->encoder, &s->weights, &s->batch[b]);
        run_layers(s, &s->batch[b], 0, s->n_kept);
        if (!add_loss(s, &s->batch[b], &sum, err))
            return false;
    }
    *mean = sum / (double)s->n_records;
    return true;
}

/* Each kept layer left out in turn, from below: what lies under it has run once. */
static bool try_batch(struct search *s, const struct batch *batch, struct error *err)
{
    const struct device_ops *op = s->dev->op;
    size_t bytes = batch->n_tokens * s->shape.hidden * s->dev->act_bytes;
    act *state = encoder_state(s->encoder);
    encoder_embed(s->encoder, &s->weights, batch);
    for (size_t p = 0; p < s->n_kept; p++) {
        op->download(s->dev, s->state, state, bytes);
        run_layers(s, batch, p + 1, s->n_kept);
        if (!add_loss(s, batch, &s->trial[p], err))
            return false;
        op->upload(s->dev, state, s->state, bytes);
        if (p + 1 < s->n_kept)
            run_layers(s, batch, p, p + 1);
    }
    return true;
}

/* One layer goes: *drop, and *loss without it. */
static bool drop_one(struct search *s, size_t *drop, double *loss, struct error *err)
{
    size_t worst = s->n_kept - 1;
    for (size_t p = 0; p < s->n_kept; p++)
        s->trial[p] = 0;
    for (size_t b = 0; b < s->n_batches; b++) {
        if (!try_batch(s, &s->batch[b], err))
            return false;
        struct progress_event event = {.stage = "layers",
                                       .done = ++s->done,
                                       .total = s->total,
                                       .unit = "batches",
                                       .loss = (double)NAN};
        progress_report(s->progress, &event);
    }
    for (size_t p = s->n_kept - 1; p-- > 0;)
        worst = s->trial[p] < s->trial[worst] || isnan(s->trial[worst]) ? p : worst;
    *drop = s->kept[worst];
    *loss = s->trial[worst] / (double)s->n_records;
    if (!isfinite(*loss)) /* where one of the trials is finite, that one is taken */
        return error_set(err, "no layer can go: without any of them the loss is not finite");
    s->n_kept--;
    memmove(s->kept + worst, s->kept + worst + 1, (s->n_kept - worst) * sizeof *s->kept);
    return true;
}

bool layers_search(struct model *model, const struct shape *shape,
                   const struct records_set *records, const struct layers_search_options *options,
                   struct device *dev, const struct progress *progress, size_t n_drops,
                   size_t *drop, double *loss, struct layers_search_result *result,
                   struct error *err)
{
    struct search s = {.dev = dev, .progress = progress};
    *result = (struct layers_search_result){.n_records = 0};
    bool ok = search_open(&s, model, shape, records, options, &result->taught, err) &&
              run_whole(&s, &result->whole, err) &&
              (isfinite(result->whole) || importance_not_finite(model, err));
    s.total = n_drops * s.n_batches;
    for (size_t i = 0; ok && i < n_drops; i++)
        ok = drop_one(&s, &drop[i], &loss[i], err);
    result->n_records = s.n_records;
    result->one_label = !s.differ;
    search_close(&s);
    return ok;
}

/* ---- the plan ---- */

static json_t *drops_json(size_t n, const size_t *drop, const double *loss)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < n; i++) {
        json_t *entry = json_pack("{s:I, s:f}", "layer", (json_int_t)drop[i], "loss", loss[i]);
        if (!entry || json_array_append_new(list, entry) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* All layers but those dropped, into `layer`. */
static void leave(size_t n_layers, const size_t *drop, size_t n_drops, size_t *layer)
{
    size_t k = 0;
    for (size_t l = 0; l < n_layers; l++) {
        bool goes = false;
        for (size_t i = 0; i < n_drops; i++)
            goes = goes || drop[i] == l;
        if (!goes)
            layer[k++] = l;
    }
}

static bool choose(struct plan *plan, struct model *model, const struct records_set *records,
                   const struct layers_search_options *options, struct device *dev,
                   const struct progress *progress, size_t k, struct error *err)
{
    size_t n = plan->before.n_layers;
    struct layers_search_result result;
    size_t *drop = memory_array(n, sizeof *drop, err), *layer = memory_array(k, sizeof *layer, err);
    double *loss = memory_array(n, sizeof *loss, err);
    bool ok = drop && layer && loss &&
              layers_search(model, &plan->before, records, options, dev, progress, n - k, drop,
                            loss, &result, err);
    if (ok) {
        leave(n, drop, n - k, layer);
        plan->one_label = result.one_label;
        plan->how =
            json_pack("{s:s, s:s, s:I, s:b, s:f, s:o}", "method", "layers", "which", "search",
                      "samples", (json_int_t)result.n_records, "taught", (int)result.taught, "loss",
                      result.whole, "dropped", drops_json(n - k, drop, loss));
        ok = keep_of_layers(&plan->keep, &plan->before, layer, k, err);
    }
    free(drop);
    free(layer);
    free(loss);
    return ok;
}

bool layers_search_plan(struct plan *plan, struct model *model, const struct records_set *records,
                        struct budget *budget, const struct layers_search_options *options,
                        struct device *dev, const struct progress *progress, struct error *err)
{
    size_t k = 0;
    *plan = (struct plan){.n_tokens = plan_tokens(records)};
    bool ok = shape_from_model(&plan->before, model, err) &&
              plan_check_layers(&plan->before, model, err) &&
              budget_layers(budget, model, &plan->before, plan->n_tokens, &k, err) &&
              choose(plan, model, records, options, dev, progress, k, err);
    if (ok)
        ok = plan->how && budget_tell(budget, plan->how)
                 ? plan_finish(plan, err)
                 : error_set(err, "no memory for the report");
    if (!ok)
        plan_free(plan);
    return ok;
}
