/* importance.c: forward, loss, backward with a probe that adds up squared mask derivatives on the
 * device. */
#include "prune/importance.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/objective.h"
#include "nn/params.h"

enum { BATCH_TOKENS = 512 };

struct work {
    struct device *dev;
    const struct shape *shape;
    struct params params;
    struct encoder *encoder;
    struct batch batch;
    float *score;  /* device: heads of layer 0, neurons of layer 0, heads of layer 1, … as
                      search_units() orders them */
    size_t *first; /* [n_layers]: where a layer's begin */
    size_t n_scores;
    float *row_loss; /* device [room] */
    size_t room;
    double loss;
};

static void see(void *context, struct device *dev, size_t layer, enum encoder_place place,
                const act *x, const act *dx, const struct seqs *seqs, size_t cols, size_t group)
{
    const struct work *work = context;
    float *score = work->score + work->first[layer];
    if (place == ENCODER_NEURONS)
        score += work->shape->layer[layer].heads;
    dev->op->unit_fisher(dev, x, dx, seqs, cols, group, score);
}

/* Only labelled records count; their indices in order of the stream, at most `samples`, drawn at
 * random so that a file sorted by label is no trap. */
static uint32_t *draw(const struct records_set *records, const struct importance_options *options,
                      size_t *n, struct error *err)
{
    if (records->n > UINT32_MAX) {
        error_set(err, "%zu records are more than can be drawn from; cut the stream", records->n);
        return NULL;
    }
    uint32_t *all = memory_array(records->n, sizeof *all, err);
    uint8_t *chosen = memory_zeroed(records->n, 1, err);
    size_t labelled = 0;
    struct rng rng;
    if (!all || !chosen) {
        free(all);
        free(chosen);
        return NULL;
    }
    for (size_t i = 0; i < records->n; i++)
        if (records_get(records, i).labelled)
            all[labelled++] = (uint32_t)i;
    rng_seed(&rng, options->seed);
    rng_shuffle(&rng, all, labelled);
    for (size_t i = 0; i < labelled && i < options->samples; i++)
        chosen[all[i]] = 1;
    *n = 0;
    for (size_t i = 0; i < records->n; i++)
        if (chosen[i])
            all[(*n)++] = (uint32_t)i;
    free(chosen);
    if (*n > 0)
        return all;
    free(all);
    error_set(err,
              "none of the %zu records has a label; importance needs labelled records "
              "(mtok --label COLUMN)",
              records->n);
    return NULL;
}

static bool check_record(const struct shape *shape, const struct record *record, size_t i,
                         struct error *err)
{
    if (record->n_ids == 0 || record->n_ids > shape_max_tokens(shape))
        return error_set(
            err, "record %zu has %zu tokens, the model takes 1 to %zu; use mtok --max-tokens",
            i + 1, record->n_ids, shape_max_tokens(shape));
    int32_t last = record->n_label_ids ? record->label_id[record->n_label_ids - 1] : record->label;
    if (!record->labelled || (last >= 0 && (size_t)last >= shape->n_labels))
        return error_set(err, "record %zu has label %" PRId32 ", the model has %zu labels", i + 1,
                         last, shape->n_labels);
    for (size_t t = 0; t < record->n_ids; t++)
        if (record->id[t] < 0 || (size_t)record->id[t] >= shape->vocab)
            return error_set(err, "record %zu: id %" PRId32 " is outside the vocabulary of %zu",
                             i + 1, record->id[t], shape->vocab);
    return true;
}

static bool work_open(struct work *work, struct model *model, const struct shape *shape,
                      const struct records_header *header, struct device *dev, struct error *err)
{
    *work = (struct work){.dev = dev, .shape = shape};
    work->first = memory_array(shape->n_layers, sizeof *work->first, err);
    if (!work->first)
        return false;
    for (size_t l = 0; l < shape->n_layers; l++) {
        work->first[l] = work->n_scores;
        work->n_scores += shape->layer[l].heads + shape->layer[l].ffn;
    }
    batch_init(&work->batch, dev, shape, 0, true);
    objective_init(&work->batch, header, shape->n_labels);
    work->score = dev->op->alloc(dev, work->n_scores * sizeof(float), err);
    if (!work->score || !params_open(&work->params, shape, model, false, 0, dev, err))
        return false;
    /* Those of the weights would cost a third of the time. */
    weights_drop_gradients(&work->params.weights);
    dev->op->zero(dev, work->score, work->n_scores * sizeof(float));
    work->encoder = encoder_open(dev, shape, true, err);
    return work->encoder != NULL;
}

static void work_close(struct work *work)
{
    encoder_close(work->encoder);
    batch_free(&work->batch);
    params_close(&work->params);
    if (work->score)
        work->dev->op->free(work->dev, work->score);
    if (work->row_loss)
        work->dev->op->free(work->dev, work->row_loss);
    free(work->first);
}

/* Device memory and a copy of it on the host for n row losses. */
static bool reserve_losses(struct work *work, size_t n, float **host, struct error *err)
{
    if (n > work->room) {
        if (work->row_loss)
            work->dev->op->free(work->dev, work->row_loss);
        work->room = 0;
        work->row_loss = work->dev->op->alloc(work->dev, n * sizeof(float), err);
        if (!work->row_loss)
            return false;
        work->room = n;
    }
    *host = memory_array(n, sizeof **host, err);
    return *host != NULL;
}

/* The batch that was filled: gradients of every record's own loss, so nothing is divided by the
 * batch. */
static bool run_batch(struct work *work, struct error *err)
{
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    const struct encoder_probe probe = {.see = see, .context = work};
    const struct device_ops *op = work->dev->op;
    struct batch *batch = &work->batch;
    struct encoder *encoder = work->encoder;
    const struct weights *weights = &work->params.weights;
    float *row_loss = NULL;
    if (!reserve_losses(work, batch->n, &row_loss, err))
        return false;
    bool ok = batch_upload(batch, err) && encoder_reserve(encoder, batch->n_tokens, batch->n, err);
    if (ok) {
        const act *logits = encoder_forward(encoder, weights, batch, NULL);
        objective_loss(work->dev, &loss, batch, logits, work->shape->n_labels, work->row_loss,
                       encoder_dlogits(encoder));
        encoder_backward(encoder, weights, batch, NULL, NULL, &probe);
        op->download(work->dev, row_loss, work->row_loss, batch->n * sizeof *row_loss);
        ok = op->sync(work->dev, err);
    }
    for (size_t i = 0; ok && i < batch->n; i++)
        work->loss += (double)row_loss[i];
    free(row_loss);
    return ok;
}

static bool run_sample(struct work *work, const struct records_set *records, const uint32_t *sample,
                       size_t n, size_t batch_tokens, const struct progress *progress,
                       size_t *n_tokens, struct error *err)
{
    struct batch *batch = &work->batch;
    for (size_t i = 0; i < n;) {
        batch_clear(batch);
        do {
            struct record record = records_get(records, sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > batch_tokens)
                break;
            if (!check_record(work->shape, &record, sample[i], err) ||
                !objective_add(batch, &record, NULL, err))
                return false;
            i++;
        } while (i < n);
        *n_tokens += batch->n_tokens;
        if (!run_batch(work, err))
            return false;
        struct progress_event event = {.stage = "importance",
                                       .done = i,
                                       .total = n,
                                       .unit = "records",
                                       .loss = work->loss / (double)i};
        progress_report(progress, &event);
    }
    return true;
}

static bool take_scores(const struct work *work, struct unit *unit, size_t n_units,
                        struct error *err)
{
    float *score = memory_array(work->n_scores, sizeof *score, err);
    if (!score)
        return false;
    work->dev->op->download(work->dev, score, work->score, work->n_scores * sizeof *score);
    for (size_t i = 0; i < n_units && i < work->n_scores; i++)
        unit[i].score = (double)score[i];
    free(score);
    return work->dev->op->sync(work->dev, err);
}

bool importance_score(struct model *model, const struct shape *shape,
                      const struct records_set *records, const struct importance_options *options,
                      struct device *dev, const struct progress *progress, struct unit *unit,
                      size_t n_units, struct importance_result *result, struct error *err)
{
    struct work work;
    size_t n = 0, n_tokens = 0, batch_tokens = options->batch_tokens;
    if (!shape->has_pooler || !shape->has_classifier)
        return error_set(err, "%s: the model has no trained %s; fine-tune it with mstudent first",
                         model->name, shape->has_pooler ? "classifier" : "pooler");
    uint32_t *sample = draw(records, options, &n, err);
    if (!sample)
        return false;
    bool ok = work_open(&work, model, shape, &records->header, dev, err) &&
              run_sample(&work, records, sample, n, batch_tokens ? batch_tokens : BATCH_TOKENS,
                         progress, &n_tokens, err) &&
              take_scores(&work, unit, n_units, err);
    if (ok && result)
        *result = (struct importance_result){
            .n_records = n, .n_tokens = n_tokens, .loss = work.loss / (double)n};
    work_close(&work);
    free(sample);
    return ok;
}
