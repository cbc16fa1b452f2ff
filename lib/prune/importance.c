/* importance.c: forward, loss, backward with a probe that takes every record's slopes to the
 * host. */
#include "prune/importance.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/records_draw.h"
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
    enum importance_measure measure;
    double *score; /* heads of layer 0, neurons of layer 0, heads of layer 1, … as search_units()
                      orders them */
    size_t *first; /* [n_layers]: where a layer's begin */
    size_t n_scores, n_widest;
    float *row_loss; /* device [room] */
    float *slope;    /* device [room, n_widest] */
    float *host;     /* the same on the host */
    size_t room;
    float *kept; /* see struct importance_result; NULL: not wanted */
    size_t n_sample, done;
    double loss;
    uint8_t *seen; /* [n_labels] */
};

static void see(void *context, struct device *dev, size_t layer, enum encoder_place place,
                const act *x, const act *dx, const struct seqs *seqs, size_t cols, size_t group)
{
    struct work *work = context;
    size_t n = cols / group, at = work->first[layer];
    if (place == ENCODER_NEURONS)
        at += work->shape->layer[layer].heads;
    dev->op->unit_slope(dev, x, dx, seqs, cols, group, work->slope);
    dev->op->download(dev, work->host, work->slope, seqs->n * n * sizeof *work->host);
    for (size_t s = 0; s < seqs->n; s++) {
        const float *slope = work->host + s * n;
        for (size_t u = 0; u < n; u++)
            work->score[at + u] += work->measure == IMPORTANCE_FISHER
                                       ? (double)slope[u] * (double)slope[u]
                                       : fabs((double)slope[u]);
    }
    if (work->kept)
        memcpy(work->kept + work->n_sample * at + work->done * n, work->host,
               seqs->n * n * sizeof *work->kept);
}

uint32_t *importance_draw(const struct records_set *records, size_t samples, uint64_t seed,
                          size_t *n, struct error *err)
{
    bool labelled = records_any_labelled(records);
    *n = 0;
    if (records->n > 0 && !labelled && !records->has_logits) {
        error_set(err,
                  "none of the %zu records has a label, nor have all a teacher's logits: gradients "
                  "need either (mtok --label COLUMN, mteach)",
                  records->n);
        return NULL;
    }
    uint32_t *sample = records_draw(records, labelled, samples, seed, n, err);
    if (sample)
        records_draw_sort(sample, *n);
    return sample;
}

/* A record without a label, as its teacher would label it; `label_id` has room for all. */
static void take_teachers(struct record *record, size_t n_labels, bool several, int32_t *label_id)
{
    size_t best = 0;
    record->labelled = true;
    record->n_label_ids = 0;
    for (size_t c = 0; c < n_labels; c++) {
        if (record->logits[c] > record->logits[best])
            best = c;
        if (record->logits[c] > 0)
            label_id[record->n_label_ids++] = (int32_t)c;
    }
    if (several)
        record->label_id = label_id;
    else
        record->label = (int32_t)best;
    record->n_label_ids = several ? record->n_label_ids : 0;
}

bool importance_not_finite(const struct model *model, struct error *err)
{
    return error_set(err,
                     "%s: the loss of the sample is not finite: the model is damaged or its "
                     "training diverged",
                     model->name);
}

static bool check_record(const struct shape *shape, const struct record *record, size_t i,
                         struct error *err)
{
    int32_t last = record->n_label_ids ? record->label_id[record->n_label_ids - 1] : record->label;
    if (!record->labelled || (last >= 0 && (size_t)last >= shape->n_labels))
        return error_set(err, "record %zu has label %" PRId32 ", the model has %zu labels", i + 1,
                         last, shape->n_labels);
    return batch_check_record(shape, record, i, err);
}

bool importance_add(struct batch *batch, const struct shape *shape, struct record *record, size_t i,
                    int32_t *label_id, bool *taught, struct error *err)
{
    if (!record->labelled && record->logits) {
        take_teachers(record, shape->n_labels, batch->n_targets > 0, label_id);
        *taught = true;
    }
    return check_record(shape, record, i, err) && objective_add(batch, record, NULL, err);
}

static bool work_open(struct work *work, struct model *model, const struct shape *shape,
                      const struct records_header *header, struct device *dev, struct error *err)
{
    work->dev = dev;
    work->shape = shape;
    work->first = memory_array(shape->n_layers, sizeof *work->first, err);
    if (!work->first)
        return false;
    for (size_t l = 0; l < shape->n_layers; l++) {
        const struct layer_shape *layer = &shape->layer[l];
        work->first[l] = work->n_scores;
        work->n_scores += layer->heads + layer->ffn;
        work->n_widest = layer->heads > work->n_widest ? layer->heads : work->n_widest;
        work->n_widest = layer->ffn > work->n_widest ? layer->ffn : work->n_widest;
    }
    batch_init(&work->batch, dev, shape, 0, true);
    objective_init(&work->batch, header, shape->n_labels);
    work->score = memory_zeroed(work->n_scores, sizeof *work->score, err);
    work->seen = memory_zeroed(shape->n_labels, 1, err);
    if (!work->score || !work->seen ||
        !params_open(&work->params, shape, model, false, 0, dev, err))
        return false;
    /* Those of the weights would cost a third of the time. */
    weights_drop_gradients(&work->params.weights);
    work->encoder = encoder_open(dev, shape, true, err);
    return work->encoder != NULL;
}

static void free_room(struct work *work)
{
    if (work->row_loss)
        work->dev->op->free(work->dev, work->row_loss);
    if (work->slope)
        work->dev->op->free(work->dev, work->slope);
    free(work->host);
    work->row_loss = work->slope = work->host = NULL;
    work->room = 0;
}

static void work_close(struct work *work)
{
    encoder_close(work->encoder);
    batch_free(&work->batch);
    params_close(&work->params);
    if (work->dev)
        free_room(work);
    free(work->score);
    free(work->seen);
    free(work->first);
}

/* Room for the losses and slopes of n records. */
static bool reserve(struct work *work, size_t n, struct error *err)
{
    size_t elements;
    if (n <= work->room)
        return true;
    free_room(work);
    if (!memory_multiply(n, work->n_widest, &elements))
        return error_set(err, "%zu records at a time are too many for this machine", n);
    work->row_loss = work->dev->op->alloc(work->dev, n * sizeof(float), err);
    work->slope = work->dev->op->alloc(work->dev, elements * sizeof(float), err);
    work->host = memory_array(elements > n ? elements : n, sizeof(float), err);
    work->room = n;
    return work->row_loss && work->slope && work->host;
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
    bool ok = reserve(work, batch->n, err) && batch_upload(batch, err) &&
              encoder_reserve(encoder, batch->n_tokens, batch->n, err);
    if (ok) {
        const act *logits = encoder_forward(encoder, weights, batch, NULL);
        objective_loss(work->dev, &loss, batch, logits, work->shape->n_labels, work->row_loss,
                       encoder_dlogits(encoder));
        encoder_backward(encoder, weights, batch, NULL, NULL, &probe);
        op->download(work->dev, work->host, work->row_loss, batch->n * sizeof *work->host);
        ok = op->sync(work->dev, err);
    }
    for (size_t i = 0; ok && i < batch->n; i++)
        work->loss += (double)work->host[i];
    work->done += batch->n;
    return ok;
}

/* For the largest batch, before the first: a device with too little memory says so at once. */
static bool reserve_all(struct work *work, const struct records_set *records,
                        const uint32_t *sample, size_t n, size_t batch_tokens, struct error *err)
{
    const struct shape *shape = work->shape;
    const struct batch_size most =
        batch_largest(records, sample, n, batch_tokens, shape_max_tokens(shape));
    return reserve(work, most.records, err) && batch_reserve(&work->batch, &most, shape, err) &&
           encoder_reserve(work->encoder, most.tokens, most.records, err);
}

static void count_labels(struct work *work, const struct record *record)
{
    if (record->label >= 0)
        work->seen[record->label] = 1;
    for (size_t i = 0; i < record->n_label_ids; i++)
        work->seen[record->label_id[i]] = 1;
}

static bool run_sample(struct work *work, const struct records_set *records, const uint32_t *sample,
                       size_t n, size_t batch_tokens, const struct progress *progress,
                       struct importance_result *result, struct error *err)
{
    struct batch *batch = &work->batch;
    int32_t *label_id = memory_array(work->shape->n_labels, sizeof *label_id, err);
    bool ok = label_id != NULL;
    for (size_t i = 0; ok && i < n;) {
        batch_clear(batch);
        for (; ok && i < n; i++) {
            struct record record = records_get(records, sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > batch_tokens)
                break;
            ok = importance_add(batch, work->shape, &record, sample[i], label_id, &result->taught,
                                err);
            if (ok)
                count_labels(work, &record);
        }
        result->n_tokens += batch->n_tokens;
        ok = ok && run_batch(work, err);
        struct progress_event event = {.stage = "gradients",
                                       .done = i,
                                       .total = n,
                                       .unit = "records",
                                       .loss = work->loss / (double)i};
        if (ok)
            progress_report(progress, &event);
    }
    free(label_id);
    return ok;
}

bool importance_score(struct model *model, const struct shape *shape,
                      const struct records_set *records, const struct importance_options *options,
                      struct device *dev, const struct progress *progress, struct unit *unit,
                      size_t n_units, struct importance_result *result, struct error *err)
{
    struct work work = {.measure = options->measure};
    struct importance_result unwanted;
    if (!result)
        result = &unwanted;
    size_t n = 0, batch_tokens = options->batch_tokens ? options->batch_tokens : BATCH_TOKENS;
    *result = (struct importance_result){.slope = NULL};
    if (!shape->has_pooler || !shape->has_classifier)
        return error_set(err, "%s: the model has no trained %s; fine-tune it with mstudent first",
                         model->name, shape->has_pooler ? "classifier" : "pooler");
    uint32_t *sample = importance_draw(records, options->samples, options->seed, &n, err);
    if (!sample)
        return false;
    bool ok = work_open(&work, model, shape, &records->header, dev, err) &&
              reserve_all(&work, records, sample, n, batch_tokens, err);
    work.n_sample = n;
    size_t slopes;
    if (ok && options->keep_slopes) {
        ok = memory_multiply(n, work.n_scores, &slopes) ||
             error_set(err, "%zu records are too many for this machine", n);
        work.kept = result->slope = ok ? memory_array(slopes, sizeof(float), err) : NULL;
        ok = work.kept != NULL;
    }
    ok = ok && run_sample(&work, records, sample, n, batch_tokens, progress, result, err) &&
         (isfinite(work.loss) || importance_not_finite(model, err));
    if (ok) {
        for (size_t i = 0; i < n_units && i < work.n_scores; i++)
            unit[i].score =
                options->measure == IMPORTANCE_FISHER ? work.score[i] : work.score[i] / (double)n;
        for (size_t c = 0; c < shape->n_labels; c++)
            result->n_labels += work.seen[c];
        result->n_records = n;
        result->loss = work.loss / (double)n;
    } else {
        free(result->slope);
        result->slope = NULL;
    }
    work_close(&work);
    free(sample);
    return ok;
}

void importance_normalise(struct unit *unit, size_t n_units)
{
    for (size_t i = 0, end; i < n_units; i = end) {
        double sum = 0;
        for (end = i;
             end < n_units && unit[end].layer == unit[i].layer && unit[end].kind == unit[i].kind;
             end++)
            sum += unit[end].score * unit[end].score;
        for (size_t k = i; sum > 0 && k < end; k++)
            unit[k].score /= sqrt(sum);
    }
}
