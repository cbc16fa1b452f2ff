/* bench_model: whole passes against this machine's peak, as text on stdout: the fp32 forward of
 * BERT-base on 16 texts of 20 tokens, and a training step of a 4-layer, 256-wide model with a
 * vocabulary of 119 547, with the time of each operation. Passes and peak take turns; medians of
 * both. GF/s count a multiplication and an addition as two, of the products alone (attention is not
 * counted).
 *
 * usage: bench_model [THREADS]   (default: all there are)
 */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"
#include "nn/encoder.h"
#include "nn/optimizer.h"
#include "nn/params.h"
#include "nn/weights.h"
#include "tests/bench/peak.h"

enum { RUNS = 15, VOCAB = 119547, LABELS = 12, BATCH_TOKENS = 1024 };

/* ---- time of each operation: the device's table is replaced by one that measures
 * ----------------------------------- */

enum timed {
    PRODUCTS,
    ATTENTION,
    NORM,
    EPILOGUE,
    DROPOUT,
    EMBEDDING,
    OPTIMIZER,
    TRANSFER,
    TIMED_KINDS
};
static const char *const timed_names[TIMED_KINDS] = {
    "products",     "attention",  "norms",     "activation backward",
    "dropout, add", "embeddings", "optimizer", "upload, zero"};
static double spent[TIMED_KINDS];
static const struct device_ops *inner;

#define TIME(kind, call)                                                                           \
    do {                                                                                           \
        double begin = peak_now();                                                                 \
        call;                                                                                      \
        spent[kind] += peak_now() - begin;                                                         \
    } while (0)

static void timed_linear(struct device *dev, const struct linear *linear, const act *x,
                         size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                         size_t y_stride)
{
    TIME(PRODUCTS, inner->linear(dev, linear, x, x_stride, rows, epilogue, pre, y, y_stride));
}

static void timed_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                                  size_t x_stride, const act *dy, size_t dy_stride, size_t rows,
                                  act *dx, size_t dx_stride, float *dw, float *db)
{
    TIME(PRODUCTS, inner->linear_backward(dev, linear, x, x_stride, dy, dy_stride, rows, dx,
                                          dx_stride, dw, db));
}

static void timed_attention(struct device *dev, const struct attention *attention, const act *q,
                            const act *k, const act *v, act *out, float *lse)
{
    TIME(ATTENTION, inner->attention(dev, attention, q, k, v, out, lse));
}

static void timed_attention_backward(struct device *dev, const struct attention *attention,
                                     const act *q, const act *k, const act *v, const act *out,
                                     const float *lse, const act *dout, act *dq, act *dk, act *dv)
{
    TIME(ATTENTION, inner->attention_backward(dev, attention, q, k, v, out, lse, dout, dq, dk, dv));
}

static void timed_add_norm(struct device *dev, const act *x, const act *residual,
                           struct dropout dropout, const float *gain, const float *bias, float eps,
                           size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    TIME(NORM,
         inner->add_norm(dev, x, residual, dropout, gain, bias, eps, rows, cols, sum, stats, y));
}

static void timed_add_norm_backward(struct device *dev, const act *sum, const float *stats,
                                    const float *gain, const act *dy, struct dropout dropout,
                                    size_t rows, size_t cols, act *dz, act *dx, float *dgain,
                                    float *dbias)
{
    TIME(NORM, inner->add_norm_backward(dev, sum, stats, gain, dy, dropout, rows, cols, dz, dx,
                                        dgain, dbias));
}

static void timed_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                                    const act *dy, size_t n, act *dpre)
{
    TIME(EPILOGUE, inner->epilogue_backward(dev, epilogue, pre, dy, n, dpre));
}

static void timed_dropout(struct device *dev, act *x, size_t n, struct dropout dropout)
{
    TIME(DROPOUT, inner->dropout(dev, x, n, dropout));
}

static void timed_add(struct device *dev, const act *x, size_t n, act *y)
{
    TIME(DROPOUT, inner->add(dev, x, n, y));
}

static void timed_embed(struct device *dev, const struct table_weights *word,
                        const struct table_weights *position, const struct table_weights *type,
                        const int32_t *id, const struct seqs *seqs, size_t position_offset,
                        size_t cols, act *out)
{
    TIME(EMBEDDING, inner->embed(dev, word, position, type, id, seqs, position_offset, cols, out));
}

static void timed_rows_sum(struct device *dev, const act *d, const int32_t *order,
                           const int32_t *bound, size_t n_slots, size_t cols, float *grad)
{
    TIME(EMBEDDING, inner->rows_sum(dev, d, order, bound, n_slots, cols, grad));
}

static void timed_sum_squares(struct device *dev, const float *x, size_t n, double *sum)
{
    TIME(OPTIMIZER, inner->sum_squares(dev, x, n, sum));
}

static void timed_adamw(struct device *dev, const struct adamw *adamw, const float *factor,
                        size_t n, const float *grad, float *m, float *v, float *w)
{
    TIME(OPTIMIZER, inner->adamw(dev, adamw, factor, n, grad, m, v, w));
}

static void timed_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                             const int32_t *row, size_t n_rows, size_t cols, const float *grad,
                             float *m, float *v, float *w)
{
    TIME(OPTIMIZER, inner->adamw_rows(dev, adamw, factor, row, n_rows, cols, grad, m, v, w));
}

static void timed_refresh(struct device *dev, struct linear *linear)
{
    TIME(OPTIMIZER, inner->linear_refresh(dev, linear));
}

static void timed_zero(struct device *dev, void *memory, size_t bytes)
{
    TIME(TRANSFER, inner->zero(dev, memory, bytes));
}

static void timed_upload(struct device *dev, void *to, const void *from, size_t bytes)
{
    TIME(TRANSFER, inner->upload(dev, to, from, bytes));
}

static void measure_operations(struct device *dev, struct device_ops *table)
{
    inner = dev->op;
    *table = *inner;
    table->linear = timed_linear;
    table->linear_backward = timed_linear_backward;
    table->attention = timed_attention;
    table->attention_backward = timed_attention_backward;
    table->add_norm = timed_add_norm;
    table->add_norm_backward = timed_add_norm_backward;
    table->epilogue_backward = timed_epilogue_backward;
    table->dropout = timed_dropout;
    table->add = timed_add;
    table->embed = timed_embed;
    table->rows_sum = timed_rows_sum;
    table->sum_squares = timed_sum_squares;
    table->adamw = timed_adamw;
    table->adamw_rows = timed_adamw_rows;
    table->linear_refresh = timed_refresh;
    table->zero = timed_zero;
    table->upload = timed_upload;
    dev->op = table;
}

/* ---- the passes
 * ----------------------------------------------------------------------------------------------------
 */

/* Operations of the products of one forward pass as the engine runs it. */
static double product_operations(const struct shape *shape, size_t n_records, size_t n_tokens)
{
    double h = (double)shape->hidden, n = (double)n_records, t = (double)n_tokens;
    double macs = n * h * (h + (double)shape->n_labels);
    for (size_t l = 0; l < shape->n_layers; l++) {
        double a = (double)(shape->layer[l].heads * shape->head_size);
        double rows = l + 1 == shape->n_layers ? n : t;
        macs += 2 * t * h * a + rows * h * (2 * a + 2 * (double)shape->layer[l].ffn);
    }
    return 2 * macs;
}

struct bench {
    struct device *dev;
    struct threads *team;
    struct peak_kernel peak;
    size_t n_threads;
    double seconds[RUNS], peak_seconds[RUNS];
};

static void fill_batch(struct batch *batch, size_t n_records, size_t n_tokens, bool equal,
                       size_t salt)
{
    struct error err = ERROR_INIT;
    size_t used = 0;
    batch_clear(batch);
    while (equal ? batch->n < n_records : used + 48 < n_tokens) {
        int32_t id[64];
        size_t n = equal ? n_tokens / n_records : 16 + rng_hash(salt, used) % 32;
        for (size_t t = 0; t < n; t++) /* as in text, most tokens are frequent ones */
            id[t] = (int32_t)(rng_hash(salt, used + t) % 4 ? rng_hash(salt + 1, used + t) % 3000
                                                           : rng_hash(salt + 2, used + t) % VOCAB);
        if (!batch_add(batch, id, n, (int32_t)(used % LABELS), NULL, &err))
            abort();
        used += n;
    }
}

/* Weights for inference, as a classifier has them, but made up. */
static struct weights_matrix prepare(struct device *dev, const float *noise, size_t out, size_t in,
                                     struct error *err)
{
    const struct weight part = {.data = noise, .type = DTYPE_F32, .rows = out, .cols = in};
    const float *bias = noise;
    return (struct weights_matrix){.linear = dev->op->linear_prepare(dev, &part, &bias, 1, err)};
}

static bool prepare_weights(struct weights *w, const struct shape *shape, struct device *dev,
                            float *noise, struct error *err)
{
    size_t h = shape->hidden;
    const struct weight table = {.data = noise, .type = DTYPE_F32, .rows = 512, .cols = h};
    const struct weights_norm norm = {.gain = noise, .bias = noise};
    *w = (struct weights){.shape = shape, .dev = dev, .embed_norm = norm};
    w->word = dev->op->table_prepare(dev, &table, err);
    w->position = dev->op->table_prepare(dev, &table, err);
    w->type = dev->op->table_prepare(dev, &table, err);
    w->layer = memory_zeroed(shape->n_layers, sizeof *w->layer, err);
    if (!w->word || !w->position || !w->type || !w->layer)
        return false;
    for (size_t l = 0; l < shape->n_layers; l++) {
        struct weights_layer *layer = &w->layer[l];
        size_t a = shape->layer[l].heads * shape->head_size, f = shape->layer[l].ffn;
        if (l + 1 < shape->n_layers) {
            layer->qkv = prepare(dev, noise, 3 * a, h, err);
        } else {
            layer->q = prepare(dev, noise, a, h, err);
            layer->kv = prepare(dev, noise, 2 * a, h, err);
        }
        layer->o = prepare(dev, noise, h, a, err);
        layer->f1 = prepare(dev, noise, f, h, err);
        layer->f2 = prepare(dev, noise, h, f, err);
        layer->norm1 = layer->norm2 = norm;
    }
    w->pooler = prepare(dev, noise, h, h, err);
    w->classifier = prepare(dev, noise, shape->n_labels, h, err);
    return !err->set;
}

/* A lane's share of the texts. */
struct lane {
    struct device *dev;
    struct encoder *encoder;
    struct batch batch;
};
struct forward {
    struct lane lane[64];
    const struct weights *weights;
};

static void forward_job(void *context, size_t member, size_t n_members)
{
    struct forward *forward = context;
    struct lane *lane = &forward->lane[member];
    (void)n_members;
    encoder_forward(lane->encoder, forward->weights, &lane->batch, NULL);
}

static void report(struct bench *b, const char *what, double operations, double texts,
                   double tokens)
{
    double seconds = peak_median(b->seconds, RUNS);
    double peak = b->peak.operations * (double)b->n_threads / peak_median(b->peak_seconds, RUNS);
    printf(
        "%s, %zu threads: %.2f ms, %.0f texts/s, %.0f tokens/s; products at %.1f GF/s of the whole "
        "time, peak %.1f: %.0f %%\n",
        what, b->n_threads, 1e3 * seconds, texts / seconds, tokens / seconds,
        1e-9 * operations / seconds, 1e-9 * peak, 100 * operations / seconds / peak);
}

static bool bench_forward(struct bench *b, struct error *err)
{
    struct shape shape;
    struct weights weights = {0};
    static struct forward forward;
    size_t lanes = b->n_threads < 16 ? b->n_threads : 16, per_lane = 16 / lanes;
    float *noise = memory_aligned(4096 * 1024, sizeof *noise, err);
    for (size_t i = 0; noise && i < 4096 * 1024; i++)
        noise[i] = (float)(i * 7919 % 2001) * 4e-5f - 0.04f;
    if (!noise || !shape_from_text(&shape, "layers=12,hidden=768,heads=12", 512, LABELS, err))
        return false;
    bool ok = prepare_weights(&weights, &shape, b->dev, noise, err);
    for (size_t i = 0; ok && i < lanes; i++) {
        struct lane *lane = &forward.lane[i];
        lane->dev = b->dev->op->lane(b->dev, i);
        lane->encoder = encoder_open(lane->dev, &shape, false, err);
        batch_init(&lane->batch, lane->dev, 0, false);
        for (size_t r = 0; ok && r < per_lane; r++) {
            int32_t id[20];
            for (size_t t = 0; t < 20; t++)
                id[t] = (int32_t)(rng_hash(i, r * 20 + t) % 512);
            ok = batch_add(&lane->batch, id, 20, -1, NULL, err);
        }
        ok = ok && lane->encoder && batch_upload(&lane->batch, err) &&
             encoder_reserve(lane->encoder, per_lane * 20, per_lane, err);
    }
    forward.weights = &weights;
    for (size_t i = 0; ok && i < RUNS; i++) {
        b->peak_seconds[i] = peak_once(b->team, &b->peak);
        double begin = peak_now();
        threads_run(b->team, forward_job, &forward);
        b->seconds[i] = peak_now() - begin;
    }
    if (ok)
        report(b, "forward, BERT-base, 16 texts of 20 tokens",
               product_operations(&shape, per_lane * lanes, 20 * per_lane * lanes),
               (double)(per_lane * lanes), (double)(20 * per_lane * lanes));
    for (size_t i = 0; i < lanes; i++) {
        encoder_close(forward.lane[i].encoder);
        if (forward.lane[i].dev)
            batch_free(&forward.lane[i].batch);
    }
    weights_free(&weights);
    shape_free(&shape);
    free(noise);
    return ok;
}

struct training {
    struct params params;
    struct optimizer optimizer;
    struct encoder *encoder;
    struct batch batch;
    float *row_loss;
};

static bool training_step(struct training *t, struct device *dev, size_t step, struct error *err)
{
    struct encoder_rows_grad rows;
    const struct encoder_dropout dropout = {0.1f, 0.1f, 0.1f, step};
    fill_batch(&t->batch, 0, BATCH_TOKENS, false, step);
    if (!batch_upload(&t->batch, err) ||
        !encoder_reserve(t->encoder, t->batch.n_tokens, t->batch.n, err) ||
        !params_zero_grad(&t->params, &t->batch, &rows, err))
        return false;
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1 / (float)t->batch.n};
    const act *logits = encoder_forward(t->encoder, &t->params.weights, &t->batch, &dropout);
    dev->op->loss(dev, &loss, logits, t->batch.device_label, NULL, t->batch.n, LABELS, t->row_loss,
                  encoder_dlogits(t->encoder));
    encoder_backward(t->encoder, &t->params.weights, &t->batch, &dropout, &rows, NULL);
    optimizer_step(&t->optimizer, &t->batch, 1e-4);
    return dev->op->sync(dev, err);
}

static bool bench_training(struct bench *b, struct error *err)
{
    struct shape shape;
    struct training t = {0};
    struct device_ops table;
    if (!shape_from_text(&shape, "layers=4,hidden=256,heads=4,ffn=1024", VOCAB, LABELS, err))
        return false;
    bool ok = params_open(&t.params, &shape, NULL, false, 1, b->dev, err) &&
              optimizer_open(&t.optimizer, &t.params, 1, 0.01, 1, err);
    batch_init(&t.batch, b->dev, 0, true);
    t.encoder = ok ? encoder_open(b->dev, &t.params.shape, true, err) : NULL;
    t.row_loss = ok ? b->dev->op->alloc(b->dev, BATCH_TOKENS * sizeof(float), err) : NULL;
    ok = ok && t.encoder && t.row_loss;
    for (size_t i = 0; ok && i < 5; i++) /* first touches of memory */
        ok = training_step(&t, b->dev, i, err);
    const struct device_ops *own = b->dev->op;
    measure_operations(b->dev, &table);
    double whole = 0;
    for (size_t i = 0; ok && i < RUNS; i++) {
        b->peak_seconds[i] = peak_once(b->team, &b->peak);
        double begin = peak_now();
        ok = training_step(&t, b->dev, 5 + i, err);
        b->seconds[i] = peak_now() - begin;
        whole += b->seconds[i];
    }
    b->dev->op = own;
    if (ok) {
        /* forward once, backward twice the operations */
        double operations = 3 * product_operations(&shape, t.batch.n, t.batch.n_tokens);
        double peak =
            b->peak.operations * (double)b->n_threads / peak_median(b->peak_seconds, RUNS);
        report(b, "training step, 4 x 256, vocabulary 119547", operations, (double)t.batch.n,
               (double)t.batch.n_tokens);
        printf("  products alone: %.1f GF/s, %.0f %% of peak\n",
               1e-9 * operations * RUNS / spent[PRODUCTS],
               100 * operations * RUNS / spent[PRODUCTS] / peak);
        double rest = whole;
        for (size_t k = 0; k < TIMED_KINDS; k++) {
            printf("  %-20s %5.1f %%  %.3f ms\n", timed_names[k], 100 * spent[k] / whole,
                   1e3 * spent[k] / RUNS);
            rest -= spent[k];
        }
        printf("  %-20s %5.1f %%  %.3f ms\n", "the rest", 100 * rest / whole, 1e3 * rest / RUNS);
    }
    if (t.row_loss)
        b->dev->op->free(b->dev, t.row_loss);
    encoder_close(t.encoder);
    batch_free(&t.batch);
    optimizer_close(&t.optimizer);
    params_close(&t.params);
    shape_free(&shape);
    return ok;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct bench b = {.n_threads = argc > 1 ? (size_t)atoi(argv[1]) : threads_available()};
    enum isa isa;
    if (b.n_threads < 1 || b.n_threads > 64)
        b.n_threads = 1;
    b.dev = device_cpu_open(b.n_threads, &err);
    b.team = threads_open(b.n_threads, &err);
    bool ok = b.dev && b.team && isa_choose(&isa, &err);
    if (ok) {
        b.peak = peak_kernel(isa, false);
        ok = bench_forward(&b, &err) && bench_training(&b, &err);
    }
    if (!ok)
        fprintf(stderr, "bench_model: %s\n", err.text);
    threads_close(b.team);
    if (b.dev)
        b.dev->op->close(b.dev);
    return ok ? 0 : 1;
}
