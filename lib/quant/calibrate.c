#include "quant/calibrate.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/records_draw.h"
#include "kernels/rotate.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/ngram.h"
#include "nn/weights.h"

enum { BATCH_TOKENS = 512 };

struct work {
    struct device *dev;
    struct shape shape;
    struct weights weights;
    struct encoder *encoder;
    struct batch batch;
    struct linear **linear; /* [n] */
    float *largest; /* [n] |x| seen, NaN or infinity once seen, of what linear[i] multiplies */
    size_t n;
    bool rotate; /* what is watched, as it will be where it is rounded */
    float *host;
    size_t host_capacity;
    struct error *err; /* of a pass */
};

/* ---- watching ---- */

static void see(void *context, struct device *dev, const struct linear *linear, const act *x,
                size_t n)
{
    struct work *work = context;
    size_t at = 0;
    while (at < work->n && work->linear[at] != linear)
        at++;
    if (at == work->n || isnan(work->largest[at]) ||
        !memory_grow(&work->host, &work->host_capacity, n, sizeof *work->host, work->err))
        return;
    struct linear_size size;
    dev->op->linear_size(linear, &size);
    dev->op->act_download(dev, work->host, x, n);
    if (!dev->op->sync(dev, work->err))
        return;
    for (size_t i = 0; work->rotate && i + size.in <= n; i += size.in)
        rotate_row(work->host + i, size.in);
    float largest = work->largest[at];
    for (size_t i = 0; i < n; i++) {
        float magnitude = fabsf(work->host[i]);
        largest = magnitude <= largest ? largest : magnitude;
        if (isnan(largest))
            break;
    }
    work->largest[at] = largest;
}

/* ---- passes ---- */

static bool run_batch(struct work *work, struct error *err)
{
    struct batch *batch = &work->batch;
    if (!encoder_prepare(work->encoder, &work->weights, batch, err))
        return false;
    encoder_forward(work->encoder, &work->weights, batch, NULL);
    return work->dev->op->sync(work->dev, err) && !err->set;
}

static bool run_sample(struct work *work, const struct records_set *records, const uint32_t *sample,
                       size_t n, const struct progress *progress, struct error *err)
{
    struct batch *batch = &work->batch;
    for (size_t i = 0; i < n;) {
        batch_clear(batch);
        for (; i < n; i++) {
            struct record record = records_get(records, sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > BATCH_TOKENS)
                break;
            if (!batch_check_record(&work->shape, &record, sample[i], err) ||
                !batch_add(batch, record.id, record.n_ids, -1, NULL, err))
                return false;
        }
        if (!run_batch(work, err))
            return false;
        progress_report(
            progress,
            &(struct progress_event){
                .stage = "calibrate", .done = i, .total = n, .unit = "records", .loss = NAN});
    }
    return true;
}

/* ---- results ---- */

static bool add_input(struct calibrate *calibrate, const struct work *work, const struct part *part,
                      const struct model *model, struct error *err)
{
    const struct weights_matrix *matrix = weights_matrix_of(&work->weights, part);
    char name[PARTS_NAME_BYTES];
    size_t at = 0;
    parts_name(&work->shape, part, "weight", name);
    const struct tensor_view *view = parts_find_tensor(model, name);
    while (at < work->n && work->linear[at] != matrix->linear)
        at++;
    if (!view || at == work->n)
        return error_set(err, "%s: %s was not used", model->name, name);
    if (!(work->largest[at] <= FLT_MAX))
        return error_set(err,
                         "%s: what %s multiplies is not finite; the model is damaged or its "
                         "training diverged",
                         model->name, view->name);
    struct format_input *to = &calibrate->input[calibrate->n];
    to->scale = work->largest[at] / 127;
    if (to->scale < FLT_MIN)
        return true; /* zeros alone say nothing of other texts */
    to->name = memory_copy(view->name, strlen(view->name), err);
    calibrate->n += to->name != NULL;
    return to->name != NULL;
}

/* Layers that share their tensors have watched the same matrix: the largest of all. The last one's
 * query, key and value may be cut otherwise, and are matrices of their own. */
static void join_shared(struct work *work)
{
    const struct weights *w = &work->weights;
    size_t n = work->shape.n_layers, of_first = work->n, of_last[2] = {work->n, work->n};
    if (!family_shares_layers(work->shape.family) || n < 2 || !w->layer[n - 1].kv.linear)
        return;
    for (size_t i = 0; i < work->n; i++) {
        of_first = work->linear[i] == w->layer[0].qkv.linear ? i : of_first;
        of_last[0] = work->linear[i] == w->layer[n - 1].q.linear ? i : of_last[0];
        of_last[1] = work->linear[i] == w->layer[n - 1].kv.linear ? i : of_last[1];
    }
    for (size_t k = 0; k < 2 && of_first < work->n; k++)
        if (of_last[k] < work->n && !(work->largest[of_last[k]] <= work->largest[of_first]))
            work->largest[of_first] = work->largest[of_last[k]];
}

static bool list_inputs(struct calibrate *calibrate, struct work *work, const struct model *model,
                        struct error *err)
{
    size_t n = 0;
    struct part *part = parts_list(&work->shape, &n, err);
    calibrate->input = part ? memory_zeroed(n, sizeof *calibrate->input, err) : NULL;
    bool ok = calibrate->input != NULL;
    join_shared(work);
    for (size_t i = 0; ok && i < n; i++)
        ok = part[i].kind != PART_MATRIX || add_input(calibrate, work, &part[i], model, err);
    free(part);
    return ok;
}

static bool work_open(struct work *work, struct model *model, struct device *dev, struct error *err)
{
    if (ngram_alone(model))
        return error_set(
            err,
            "%s: is an n-gram part alone; what it multiplies is not rounded, and needs "
            "no calibration",
            model->name);
    if (!shape_from_model(&work->shape, model, err))
        return false;
    batch_init(&work->batch, dev, &work->shape, 0, false);
    if (!weights_prepare(&work->weights, &work->shape, model, dev, err))
        return false;
    size_t room = WEIGHTS_OF_LAYER * work->shape.n_layers + WEIGHTS_BESIDE;
    work->linear = memory_array(room, sizeof *work->linear, err);
    work->largest = memory_zeroed(room, sizeof *work->largest, err);
    work->encoder = encoder_open(dev, &work->shape, false, err);
    if (!work->linear || !work->largest || !work->encoder)
        return false;
    work->n = weights_linears(&work->weights, work->linear);
    encoder_watch(work->encoder, (struct encoder_watch){see, work});
    return true;
}

static void work_close(struct work *work)
{
    encoder_close(work->encoder);
    batch_free(&work->batch);
    weights_free(&work->weights);
    shape_free(&work->shape);
    free(work->linear);
    free(work->largest);
    free(work->host);
}

bool calibrate_measure(struct calibrate *calibrate, struct model *model,
                       const struct records_set *records, size_t samples, uint64_t seed,
                       struct device *dev, const struct progress *progress, struct error *err)
{
    struct work work = {.dev = dev, .rotate = format_rotates(model), .err = err};
    *calibrate = (struct calibrate){.n = 0};
    uint32_t *list = records_draw(records, false, samples, seed, &calibrate->n_records, err);
    bool ok = list && work_open(&work, model, dev, err) &&
              run_sample(&work, records, list, calibrate->n_records, progress, err) &&
              list_inputs(calibrate, &work, model, err);
    free(list);
    work_close(&work);
    if (!ok)
        calibrate_free(calibrate);
    return ok;
}

void calibrate_free(struct calibrate *calibrate)
{
    for (size_t i = 0; i < calibrate->n; i++)
        free(calibrate->input[i].name);
    free(calibrate->input);
    *calibrate = (struct calibrate){.n = 0};
}
