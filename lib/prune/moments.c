/* moments.c: sums on the device, one pass; centred at the end. */
#include "prune/moments.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "io/records_draw.h"
#include "nn/batch.h"
#include "nn/weights.h"

enum { BATCH_TOKENS = 512 };

struct work {
    struct device *dev;
    const struct shape *shape;
    struct weights weights;
    struct encoder *encoder;
    struct batch batch;
    float **gram, **sum; /* [n_places], device */
};

void moments_free(struct moments *moments)
{
    for (size_t i = 0; moments->place && i < moments->n_places; i++) {
        free(moments->place[i].covariance);
        free(moments->place[i].mean);
    }
    free(moments->place);
    *moments = (struct moments){.place = NULL};
}

/* ---- passes ---- */

static bool run_batch(struct work *work, struct moments *moments, struct error *err)
{
    struct device *dev = work->dev;
    struct batch *batch = &work->batch;
    if (!weights_verify_rows(&work->weights, batch->id, batch->n_tokens, err) ||
        !batch_upload(batch, err) ||
        !encoder_reserve(work->encoder, batch->n_tokens, batch->n, err))
        return false;
    encoder_forward(work->encoder, &work->weights, batch, NULL);
    for (size_t l = 0; l < work->shape->n_layers; l++) {
        size_t rows = shape_first_only(work->shape, l) ? batch->n : batch->n_tokens;
        for (enum encoder_place p = ENCODER_HEADS; p <= ENCODER_NEURONS; p++) {
            struct moments_place *place = moments_of(moments, l, p);
            size_t i = (size_t)(place - moments->place);
            const act *x = encoder_units(work->encoder, l, p);
            place->rows += (double)rows;
            dev->op->gram(dev, x, rows, place->cols, work->gram[i]);
            dev->op->column_sum(dev, x, rows, place->cols, work->sum[i]);
        }
    }
    return dev->op->sync(dev, err);
}

static bool run_sample(struct work *work, struct moments *moments,
                       const struct records_set *records, const uint32_t *sample, size_t n,
                       size_t batch_tokens, const struct progress *progress, struct error *err)
{
    struct batch *batch = &work->batch;
    for (size_t i = 0; i < n;) {
        batch_clear(batch);
        do {
            struct record record = records_get(records, sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > batch_tokens)
                break;
            if (!batch_check_record(work->shape, &record, sample[i], err) ||
                !batch_add(batch, record.id, record.n_ids, -1, NULL, err))
                return false;
            i++;
        } while (i < n);
        moments->n_tokens += batch->n_tokens;
        if (!run_batch(work, moments, err))
            return false;
        progress_report(
            progress,
            &(struct progress_event){
                .stage = "calibrate", .done = i, .total = n, .unit = "records", .loss = NAN});
    }
    moments->n_records = n;
    return true;
}

/* ---- sums ---- */

static bool open_sums(struct work *work, struct moments *moments, struct error *err)
{
    const struct shape *shape = work->shape;
    struct device *dev = work->dev;
    moments->n_places = 2 * shape->n_layers;
    moments->place = memory_zeroed(moments->n_places, sizeof *moments->place, err);
    work->gram = memory_zeroed(moments->n_places, sizeof *work->gram, err);
    work->sum = memory_zeroed(moments->n_places, sizeof *work->sum, err);
    bool ok = moments->place && work->gram && work->sum;
    for (size_t i = 0; ok && i < moments->n_places; i++) {
        const struct layer_shape *layer = &shape->layer[i / 2];
        size_t cols = i % 2 ? layer->ffn : layer->heads * shape->head_size;
        moments->place[i].cols = cols;
        work->gram[i] = dev->op->alloc(dev, cols * cols * sizeof(float), err);
        work->sum[i] = dev->op->alloc(dev, cols * sizeof(float), err);
        ok = work->gram[i] && work->sum[i];
        if (ok) {
            dev->op->zero(dev, work->gram[i], cols * cols * sizeof(float));
            dev->op->zero(dev, work->sum[i], cols * sizeof(float));
        }
    }
    return ok;
}

/* Sum of x xᵀ less rows times mean meanᵀ. */
static void centre(struct moments_place *place)
{
    size_t n = place->cols;
    for (size_t i = 0; i < n; i++)
        place->mean[i] = (float)((double)place->mean[i] / place->rows);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            float *at = &place->covariance[i * n + j];
            *at = (float)((double)*at -
                          place->rows * (double)place->mean[i] * (double)place->mean[j]);
        }
}

static bool take_sums(const struct work *work, struct moments *moments, struct error *err)
{
    struct device *dev = work->dev;
    for (size_t i = 0; i < moments->n_places; i++) {
        struct moments_place *place = &moments->place[i];
        size_t n = place->cols;
        place->covariance = memory_array(n * n, sizeof(float), err);
        place->mean = memory_array(n, sizeof(float), err);
        if (!place->covariance || !place->mean)
            return false;
        dev->op->download(dev, place->covariance, work->gram[i], n * n * sizeof(float));
        dev->op->download(dev, place->mean, work->sum[i], n * sizeof(float));
        if (!dev->op->sync(dev, err))
            return false;
        dev->op->free(dev, work->gram[i]);
        work->gram[i] = NULL;
        centre(place);
    }
    return true;
}

static void work_close(struct work *work, const struct moments *moments)
{
    for (size_t i = 0; i < moments->n_places; i++) {
        if (work->gram && work->gram[i])
            work->dev->op->free(work->dev, work->gram[i]);
        if (work->sum && work->sum[i])
            work->dev->op->free(work->dev, work->sum[i]);
    }
    free(work->gram);
    free(work->sum);
    encoder_close(work->encoder);
    batch_free(&work->batch);
    weights_free(&work->weights);
}

bool moments_gather(struct moments *moments, struct model *model, const struct shape *shape,
                    const struct records_set *records, const struct moments_options *options,
                    struct device *dev, const struct progress *progress, struct error *err)
{
    struct work work = {.dev = dev, .shape = shape};
    size_t n = 0, batch_tokens = options->batch_tokens ? options->batch_tokens : BATCH_TOKENS;
    *moments = (struct moments){.place = NULL};
    uint32_t *sample = records_draw(records, false, options->samples, options->seed, &n, err);
    if (!sample)
        return false;
    records_draw_sort(sample, n);
    batch_init(&work.batch, dev, shape, 0, false);
    bool ok = weights_prepare(&work.weights, shape, model, dev, err);
    if (ok)
        ok = (work.encoder = encoder_open(dev, shape, true, err)) != NULL;
    ok = ok && open_sums(&work, moments, err) &&
         run_sample(&work, moments, records, sample, n, batch_tokens, progress, err) &&
         take_sums(&work, moments, err);
    work_close(&work, moments);
    free(sample);
    if (!ok)
        moments_free(moments);
    return ok;
}
