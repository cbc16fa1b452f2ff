/* moments.c: one pass over the sample, a scatter.h for each place. */
#include "prune/moments.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "io/records_draw.h"
#include "nn/batch.h"
#include "nn/weights.h"
#include "prune/scatter.h"

enum { BATCH_TOKENS = 512 };

struct work {
    struct device *dev;
    const struct shape *shape;
    struct weights weights;
    struct encoder *encoder;
    struct batch batch;
    struct scatter *scatter; /* [n_places] */
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

static bool run_batch(struct work *work, const struct moments *moments, struct error *err)
{
    struct device *dev = work->dev;
    struct batch *batch = &work->batch;
    if (!encoder_prepare(work->encoder, &work->weights, batch, err))
        return false;
    encoder_forward(work->encoder, &work->weights, batch, NULL);
    for (size_t l = 0; l < work->shape->n_layers; l++) {
        size_t rows = shape_first_only(work->shape, l) ? batch->n : batch->n_tokens;
        for (enum encoder_place p = ENCODER_HEADS; p <= ENCODER_NEURONS; p++) {
            size_t i = (size_t)(moments_of(moments, l, p) - moments->place);
            scatter_add(&work->scatter[i], encoder_units(work->encoder, l, p), rows);
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
    moments->n_places = 2 * shape->n_layers;
    moments->place = memory_zeroed(moments->n_places, sizeof *moments->place, err);
    work->scatter = memory_zeroed(moments->n_places, sizeof *work->scatter, err);
    bool ok = moments->place && work->scatter;
    for (size_t i = 0; ok && i < moments->n_places; i++) {
        const struct layer_shape *layer = &shape->layer[i / 2];
        size_t cols = i % 2 ? layer->ffn : layer->heads * shape->head_size;
        moments->place[i].cols = cols;
        ok = scatter_open(&work->scatter[i], work->dev, cols, err);
    }
    return ok;
}

static bool take_sums(const struct work *work, struct moments *moments, struct error *err)
{
    for (size_t i = 0; i < moments->n_places; i++) {
        struct moments_place *place = &moments->place[i];
        struct scatter *scatter = &work->scatter[i];
        size_t n = place->cols;
        place->rows = scatter->rows;
        place->covariance = memory_array(n * n, sizeof(float), err);
        place->mean = memory_array(n, sizeof(float), err);
        if (!place->covariance || !place->mean || !scatter_take(scatter, place->covariance, err))
            return false;
        place->rounding = scatter_centre(scatter, place->covariance);
        for (size_t k = 0; k < n; k++)
            place->mean[k] = (float)(scatter->sum[k] / place->rows);
        scatter_close(scatter);
    }
    return true;
}

static void work_close(struct work *work, const struct moments *moments)
{
    for (size_t i = 0; work->scatter && i < moments->n_places; i++)
        scatter_close(&work->scatter[i]);
    free(work->scatter);
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
    const struct batch_size most =
        batch_largest(records, sample, n, batch_tokens, shape_max_tokens(shape));
    ok = ok && open_sums(&work, moments, err) && batch_reserve(&work.batch, &most, shape, err) &&
         encoder_reserve(work.encoder, most.tokens, most.records, err) &&
         run_sample(&work, moments, records, sample, n, batch_tokens, progress, err) &&
         take_sums(&work, moments, err);
    work_close(&work, moments);
    free(sample);
    if (!ok)
        moments_free(moments);
    return ok;
}
