/* The encoder as a whole: first rows only against all rows, the CPU against the reference, one
 * record alone against all together, dropout masks that depend on the seed alone. */
#include "tests/tap.h"
#include "tests/unit/tiny_model.h"

#include "nn/encoder.h"
#include "nn/encoder_buffers.h"

enum { MAX_ROWS = 64, TINY_LOGITS = TINY_RECORDS * TINY_LABELS };

/* Products of at most 12 terms through three layers: rounding grows to some 1e-6 of values of
 * order 1. */
static const double float_tolerance = 2e-5;

static void forward(struct device *dev, const struct params *params, bool tape,
                    const struct encoder_dropout *dropout, float *logits)
{
    struct error err = ERROR_INIT;
    struct batch batch;
    tiny_batch(&batch, dev, &params->shape, false);
    struct encoder *encoder = encoder_open(dev, &params->shape, tape, &err);
    tiny_need(encoder && encoder_reserve(encoder, batch.n_tokens, batch.n, &err), &err);
    const act *out = encoder_forward(encoder, &params->weights, &batch, dropout);
    dev->op->act_download(dev, logits, out, TINY_LOGITS);
    tiny_need(dev->op->sync(dev, &err), &err);
    encoder_close(encoder);
    batch_free(&batch);
}

static act *room(struct device *dev, size_t rows, size_t cols)
{
    struct error err = ERROR_INIT;
    act *memory = dev->op->alloc(dev, rows * cols * dev->act_bytes, &err);
    tiny_need(memory, &err);
    return memory;
}

/* The last layer as Hugging Face computes it, for all rows, from the layer's input; then the first
 * rows: y [N, H]. */
static void all_rows(struct device *dev, const struct params *params, const struct batch *batch,
                     const act *x, act *y)
{
    const struct device_ops *op = dev->op;
    size_t l = params->shape.n_layers - 1, h = TINY_HIDDEN, n = batch->n_tokens;
    const struct weights_layer *w = &params->weights.layer[l];
    size_t a = params->shape.layer[l].heads * params->shape.head_size,
           f = params->shape.layer[l].ffn;
    act *q = room(dev, n, a), *kv = room(dev, n, 2 * a), *context = room(dev, n, a);
    act *t = room(dev, n, h), *y1 = room(dev, n, h), *inner = room(dev, n, f);
    const struct attention attention = {.seqs = batch->seqs,
                                        .heads = params->shape.layer[l].heads,
                                        .head_size = params->shape.head_size,
                                        .scale = 1 / sqrtf((float)params->shape.head_size),
                                        .q_stride = a,
                                        .kv_stride = 2 * a,
                                        .out_stride = a};
    op->linear(dev, w->q.linear, x, h, n, EPILOGUE_NONE, NULL, q, a);
    op->linear(dev, w->kv.linear, x, h, n, EPILOGUE_NONE, NULL, kv, 2 * a);
    op->attention(dev, &attention, q, kv, act_at(dev, kv, a), context, NULL);
    op->linear(dev, w->o.linear, context, a, n, EPILOGUE_NONE, NULL, t, h);
    op->add_norm(dev, NORM_LAYER, t, x, (struct dropout){0}, w->norm1.gain, w->norm1.bias,
                 params->shape.eps, n, h, NULL, NULL, y1);
    op->linear(dev, w->ffn[0].in.linear, y1, h, n, params->shape.activation, NULL, inner, f);
    op->linear(dev, w->ffn[0].out.linear, inner, f, n, EPILOGUE_NONE, NULL, t, h);
    op->add_norm(dev, NORM_LAYER, t, y1, (struct dropout){0}, w->ffn[0].norm.gain,
                 w->ffn[0].norm.bias, params->shape.eps, n, h, NULL, NULL, t);
    op->gather_first(dev, t, &batch->seqs, h, y);
    act *mine[] = {q, kv, context, t, y1, inner};
    for (size_t i = 0; i < sizeof mine / sizeof mine[0]; i++)
        op->free(dev, mine[i]);
}

static void test_first_rows(void)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    tiny_need(dev, &err);
    struct shape shape = tiny_shape(2);
    struct params params;
    struct batch batch;
    float found[TINY_RECORDS * TINY_HIDDEN], expected[TINY_RECORDS * TINY_HIDDEN];
    tiny_params(&params, &shape, dev);
    tiny_batch(&batch, dev, &shape, false);
    struct encoder *encoder = encoder_open(dev, &params.shape, true, &err);
    tiny_need(encoder && encoder_reserve(encoder, batch.n_tokens, batch.n, &err), &err);
    encoder_forward(encoder, &params.weights, &batch, NULL);
    act *y = room(dev, TINY_RECORDS, TINY_HIDDEN);
    all_rows(dev, &params, &batch, encoder->layer[1].x, y);
    dev->op->act_download(dev, found, encoder->top, TINY_RECORDS * TINY_HIDDEN);
    dev->op->act_download(dev, expected, y, TINY_RECORDS * TINY_HIDDEN);
    tap_close(found, expected, TINY_RECORDS * TINY_HIDDEN, 0,
              "the last layer of first rows equals that of all rows");
    dev->op->free(dev, y);
    encoder_close(encoder);
    batch_free(&batch);
    params_close(&params);
    shape_free(&shape);
    dev->op->close(dev);
}

/* transformers' layers, with dropout everywhere: where theirs have none, ours have none. */
static void test_dropout_places(void)
{
    static const struct {
        const char *model_type;
        bool attention, ffn;
    } row[] = {{"bert", true, true},
               {"distilbert", true, true},
               {"electra", true, true},
               {"albert", true, false},
               {"mobilebert", false, false}};
    const struct encoder_dropout dropout = {.hidden = 0.5f, .attention = 0.25f, .seed = 3};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const struct shape shape = {.family = family_find(row[i].model_type)};
        struct dropout one = encoder_inside_dropout(&dropout, &shape, 1, DROP_ATTENTION);
        struct dropout two = encoder_inside_dropout(&dropout, &shape, 1, DROP_FFN);
        tap_ok((one.rate > 0) == row[i].attention && (two.rate > 0) == row[i].ffn,
               "%s drops after attention: %d, after the feed-forward network: %d",
               row[i].model_type, row[i].attention, row[i].ffn);
    }
}

static void test_devices(size_t n_layers)
{
    struct error err = ERROR_INIT;
    struct shape shape = tiny_shape(n_layers);
    float logits[3][TINY_LOGITS], dropped[2][TINY_LOGITS];
    const struct encoder_dropout dropout = {
        .hidden = 0.3f, .attention = 0.3f, .classifier = 0.3f, .seed = 5};
    struct device *device[] = {device_reference_open(&err), device_cpu_open(1, &err),
                               device_cpu_open(2, &err)};
    for (size_t i = 0; i < 3; i++) {
        struct params params;
        tiny_need(device[i], &err);
        tiny_params(&params, &shape, device[i]);
        forward(device[i], &params, false, NULL, logits[i]);
        if (i < 2)
            forward(device[i], &params, true, &dropout, dropped[i]);
        if (i == 0) {
            float taped[TINY_LOGITS];
            forward(device[0], &params, true, NULL, taped);
            tap_close(taped, logits[0], TINY_LOGITS, 0, "the tape changes nothing");
            tap_ok(memcmp(dropped[0], logits[0], sizeof logits[0]) != 0,
                   "dropout changes the logits");
        }
        params_close(&params);
        device[i]->op->close(device[i]);
    }
    tap_close(logits[1], logits[0], TINY_LOGITS, float_tolerance, "cpu equals reference");
    tap_close(dropped[1], dropped[0], TINY_LOGITS, float_tolerance, "with dropout, too");
    tap_close(logits[2], logits[1], TINY_LOGITS, 0, "two threads equal one");
    shape_free(&shape);
}

/* All gradients of one step. */
static void gradients(struct device *dev, const struct shape *shape, float *grad, size_t n)
{
    struct error err = ERROR_INIT;
    struct params params;
    struct batch batch;
    struct encoder_rows_grad rows;
    const struct encoder_dropout dropout = {.hidden = 0.2f, .attention = 0.2f, .seed = 8};
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 0.25f};
    tiny_params(&params, shape, dev);
    tiny_batch(&batch, dev, shape, false);
    struct encoder *encoder = encoder_open(dev, &params.shape, true, &err);
    float *row_loss = dev->op->alloc(dev, TINY_RECORDS * sizeof *row_loss, &err);
    tiny_need(encoder && row_loss && encoder_reserve(encoder, batch.n_tokens, batch.n, &err) &&
                  params_zero_grad(&params, &batch, &rows, &err) &&
                  params.n + batch.word.n * TINY_HIDDEN <= n,
              &err);
    const act *logits = encoder_forward(encoder, &params.weights, &batch, &dropout);
    dev->op->loss(dev, &loss, logits, batch.device_label, NULL, batch.n, TINY_LABELS, row_loss,
                  encoder_dlogits(encoder));
    encoder_backward(encoder, &params.weights, &batch, &dropout, &rows, NULL);
    memset(grad, 0, n * sizeof *grad);
    dev->op->download(dev, grad, params.grad, params.n * sizeof *grad);
    dev->op->download(dev, grad + params.n, rows.word, batch.word.n * TINY_HIDDEN * sizeof *grad);
    tiny_need(dev->op->sync(dev, &err), &err);
    dev->op->free(dev, row_loss);
    encoder_close(encoder);
    batch_free(&batch);
    params_close(&params);
}

static void test_backward(void)
{
    enum { ROOM = 8192 };
    struct error err = ERROR_INIT;
    static float found[ROOM], expected[ROOM];
    struct shape shape = tiny_shape(3);
    struct device *device[] = {device_reference_open(&err), device_cpu_open(2, &err)};
    tiny_need(device[0] && device[1], &err);
    gradients(device[0], &shape, expected, ROOM);
    gradients(device[1], &shape, found, ROOM);
    tap_close(found, expected, ROOM, float_tolerance, "gradients of cpu equal those of reference");
    for (size_t i = 0; i < 2; i++)
        device[i]->op->close(device[i]);
    shape_free(&shape);
}

struct seen {
    size_t calls, heads_rows, neurons;
};

static void see(void *context, struct device *dev, size_t layer, enum encoder_place place,
                const act *x, const act *dx, const struct seqs *seqs, size_t cols, size_t group)
{
    struct seen *seen = context;
    (void)dev, (void)x, (void)dx;
    seen->calls++;
    if (place == ENCODER_HEADS && layer == 1)
        seen->heads_rows = seqs->n_tokens * (cols / group);
    if (place == ENCODER_NEURONS && layer == 0)
        seen->neurons = cols;
}

static void test_probe(void)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    tiny_need(dev, &err);
    struct shape shape = tiny_shape(2);
    struct params params;
    struct batch batch;
    struct seen seen = {0};
    const struct encoder_probe probe = {see, &seen};
    tiny_params(&params, &shape, dev);
    tiny_batch(&batch, dev, &shape, false);
    struct encoder *encoder = encoder_open(dev, &params.shape, true, &err);
    tiny_need(encoder && encoder_reserve(encoder, batch.n_tokens, batch.n, &err), &err);
    encoder_forward(encoder, &params.weights, &batch, NULL);
    dev->op->zero(dev, encoder_dlogits(encoder), TINY_LOGITS * dev->act_bytes);
    encoder_backward(encoder, &params.weights, &batch, NULL, NULL, &probe);
    tap_ok(seen.calls == 4, "the probe sees heads and neurons of each layer");
    tap_ok(seen.heads_rows == TINY_RECORDS * 3, "in the last layer, one row per record");
    tap_ok(seen.neurons == 10, "neurons of a pruned layer");
    encoder_close(encoder);
    batch_free(&batch);
    params_close(&params);
    shape_free(&shape);
    dev->op->close(dev);
}

int main(void)
{
    test_dropout_places();
    test_first_rows();
    test_devices(1);
    test_devices(3);
    test_backward();
    test_probe();
    return tap_done();
}
