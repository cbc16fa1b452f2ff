#include "quant/inputs.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "io/records_draw.h"
#include "nn/ngram.h"

enum { BATCH_TOKENS = 512 };

struct pass {
    struct inputs *inputs;
    const struct inputs_watch *watch;
    struct error *err;
};

static size_t place_of(const struct inputs *inputs, const struct linear *linear)
{
    for (size_t i = 0; i < inputs->n_linears; i++)
        if (inputs->linear[i] == linear)
            return inputs->place[i];
    return inputs->n;
}

size_t inputs_place(const struct inputs *inputs, const struct part *part)
{
    return place_of(inputs, weights_matrix_of(&inputs->weights, part)->linear);
}

/* ---- passes ---- */

static void see(void *context, struct device *dev, const struct linear *linear, const act *x,
                size_t n)
{
    struct pass *pass = context;
    struct linear_size size;
    size_t place = place_of(pass->inputs, linear);
    if (place == pass->inputs->n || pass->err->set)
        return;
    dev->op->linear_size(linear, &size);
    /* A failure is in err: the pass ends after this batch. */
    (void)pass->watch->see(pass->watch->context, dev, place, x, n / size.in, size.in, pass->err);
}

static bool run_batch(struct inputs *inputs, struct error *err)
{
    struct batch *batch = &inputs->batch;
    if (!encoder_prepare(inputs->encoder, &inputs->weights, batch, err))
        return false;
    encoder_forward(inputs->encoder, &inputs->weights, batch, NULL);
    return inputs->dev->op->sync(inputs->dev, err) && !err->set;
}

bool inputs_run(struct inputs *inputs, const struct inputs_watch *watch,
                const struct progress *progress, struct error *err)
{
    struct pass pass = {inputs, watch, err};
    struct batch *batch = &inputs->batch;
    size_t n = inputs->n_records;
    encoder_watch(inputs->encoder, (struct encoder_watch){see, &pass});
    for (size_t i = 0; i < n;) {
        batch_clear(batch);
        for (; i < n; i++) {
            struct record record = records_get(inputs->records, inputs->sample[i]);
            if (batch->n > 0 && batch->n_tokens + record.n_ids > BATCH_TOKENS)
                break;
            if (!batch_check_record(&inputs->shape, &record, inputs->sample[i], err) ||
                !batch_add(batch, record.id, record.n_ids, -1, NULL, err))
                return false;
        }
        if (!run_batch(inputs, err))
            return false;
        progress_report(
            progress,
            &(struct progress_event){
                .stage = "calibrate", .done = i, .total = n, .unit = "records", .loss = NAN});
    }
    return true;
}

/* ---- life ---- */

/* Layers that share their tensors have watched the same matrix. The last one's query, key and value
 * may be cut otherwise. */
static void list_places(struct inputs *inputs)
{
    const struct weights *w = &inputs->weights;
    size_t n = inputs->shape.n_layers, of_first = 0;
    bool shared = family_shares_layers(inputs->shape.family) && n > 1 && w->layer[n - 1].kv.linear;
    inputs->n = inputs->n_linears = weights_linears(w, inputs->linear);
    for (size_t i = 0; i < inputs->n; i++) {
        inputs->place[i] = i;
        of_first = inputs->linear[i] == w->layer[0].qkv.linear ? i : of_first;
    }
    for (size_t i = 0; shared && i < inputs->n; i++)
        if (inputs->linear[i] == w->layer[n - 1].q.linear ||
            inputs->linear[i] == w->layer[n - 1].kv.linear)
            inputs->place[i] = of_first;
}

bool inputs_open(struct inputs *inputs, struct model *model, const struct records_set *records,
                 size_t samples, uint64_t seed, struct device *dev, struct error *err)
{
    *inputs = (struct inputs){.dev = dev, .records = records};
    inputs->sample = records_draw(records, false, samples, seed, &inputs->n_records, err);
    if (!inputs->sample)
        return false;
    if (ngram_alone(model))
        return error_set(
            err,
            "%s: is an n-gram part alone; what it multiplies is not rounded, and needs "
            "no calibration",
            model->name);
    if (!shape_from_model(&inputs->shape, model, err))
        return false;
    batch_init(&inputs->batch, dev, &inputs->shape, 0, false);
    if (!weights_prepare(&inputs->weights, &inputs->shape, model, dev, err))
        return false;
    size_t room = WEIGHTS_OF_LAYER * inputs->shape.n_layers + WEIGHTS_BESIDE;
    inputs->linear = memory_array(room, sizeof *inputs->linear, err);
    inputs->place = memory_array(room, sizeof *inputs->place, err);
    inputs->encoder = encoder_open(dev, &inputs->shape, false, err);
    if (!inputs->linear || !inputs->place || !inputs->encoder)
        return false;
    list_places(inputs);
    return true;
}

void inputs_close(struct inputs *inputs)
{
    encoder_close(inputs->encoder);
    batch_free(&inputs->batch);
    weights_free(&inputs->weights);
    shape_free(&inputs->shape);
    free(inputs->linear);
    free(inputs->place);
    free(inputs->sample);
    *inputs = (struct inputs){.dev = NULL};
}
