/* bench_training: one training step of a 4-layer, 256-wide model with a vocabulary of 119 547
 * against this machine's peak, and the time of each kind of operation, a tab-separated table on
 * stdout. Steps and peak take turns; medians of both. GF/s count a multiplication and an addition
 * as two, of the products alone.
 *
 * usage: bench_training [THREADS]   (default: all there are)
 */
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "nn/encoder.h"
#include "nn/optimizer.h"
#include "nn/params.h"
#include "tests/bench/peak.h"

enum { RUNS = 21, VOCAB = 119547, LABELS = 12, BATCH_TOKENS = 1024 };

/* ---- time of each operation: the device's table is replaced by one that measures ---- */

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
static struct peak_time spent[TIMED_KINDS];
static const struct device_ops *inner;

#define TIME(kind, call)                                                                           \
    do {                                                                                           \
        struct peak_time begin = peak_now();                                                       \
        call;                                                                                      \
        struct peak_time took = peak_since(begin);                                                 \
        spent[kind].wall += took.wall;                                                             \
        spent[kind].cpu += took.cpu;                                                               \
    } while (0)

static void timed_linear(struct device *dev, const struct linear *linear, const act *x,
                         size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                         size_t y_stride)
{
    TIME(PRODUCTS, inner->linear(dev, linear, x, x_stride, rows, epilogue, pre, y, y_stride));
}

static void timed_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                                  size_t x_stride, const act *dy, size_t dy_stride, size_t rows,
                                  act *dx, size_t dx_stride, float *dw, float *db, unsigned how)
{
    TIME(PRODUCTS, inner->linear_backward(dev, linear, x, x_stride, dy, dy_stride, rows, dx,
                                          dx_stride, dw, db, how));
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

static void timed_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                           struct dropout dropout, const float *gain, const float *bias, float eps,
                           size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    TIME(NORM, inner->add_norm(dev, norm, x, residual, dropout, gain, bias, eps, rows, cols, sum,
                               stats, y));
}

static void timed_add_norm_backward(struct device *dev, enum norm norm, const act *sum,
                                    const float *stats, const float *gain, const act *dy,
                                    struct dropout dropout, size_t rows, size_t cols, act *dz,
                                    act *dx, float *dgain, float *dbias, float *db)
{
    TIME(NORM, inner->add_norm_backward(dev, norm, sum, stats, gain, dy, dropout, rows, cols, dz,
                                        dx, dgain, dbias, db));
}

static void timed_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                                    const act *dy, size_t rows, size_t cols, act *dpre, float *db)
{
    TIME(EPILOGUE, inner->epilogue_backward(dev, epilogue, pre, dy, rows, cols, dpre, db));
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
                        const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols,
                        act *out)
{
    TIME(EMBEDDING, inner->embed(dev, word, position, type, id, place, n_tokens, cols, out));
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
                             const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                             const float *grad, float *m, float *v, float *w)
{
    TIME(OPTIMIZER, inner->adamw_rows(dev, adamw, factor, row, n_rows, cols, place, grad, m, v, w));
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

/* ---- the passes ---- */

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
};

/* Records of 16 to 47 tokens up to the budget. As in text, most tokens are frequent ones. */
static bool fill_batch(struct batch *batch, size_t salt, struct error *err)
{
    size_t used = 0;
    batch_clear(batch);
    while (used + 48 < BATCH_TOKENS) {
        int32_t id[64];
        size_t n = 16 + rng_hash(salt, used) % 32;
        for (size_t t = 0; t < n; t++)
            id[t] = (int32_t)(rng_hash(salt, used + t) % 4 ? rng_hash(salt + 1, used + t) % 3000
                                                           : rng_hash(salt + 2, used + t) % VOCAB);
        if (!batch_add(batch, id, n, (int32_t)(used % LABELS), NULL, err))
            return false;
        used += n;
    }
    return batch_upload(batch, err);
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
    if (!fill_batch(&t->batch, step, err) ||
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

static bool open_training(struct training *t, struct device *dev, struct error *err)
{
    struct shape shape;
    if (!shape_from_text(&shape, "layers=4,hidden=256,heads=4,ffn=1024", VOCAB, LABELS, err))
        return false;
    batch_init(&t->batch, dev, &shape, 0, true);
    bool ok = params_open(&t->params, &shape, NULL, false, 1, dev, err);
    shape_free(&shape);
    if (!ok || !optimizer_open(&t->optimizer, &t->params, 1, 0.01, 1, err))
        return false;
    t->encoder = encoder_open(dev, &t->params.shape, true, err);
    t->row_loss = dev->op->alloc(dev, BATCH_TOKENS * sizeof(float), err);
    return t->encoder && t->row_loss;
}

static void close_training(struct training *t, struct device *dev)
{
    if (t->row_loss)
        dev->op->free(dev, t->row_loss);
    encoder_close(t->encoder);
    batch_free(&t->batch);
    optimizer_close(&t->optimizer);
    params_close(&t->params);
}

/* whole: of all measured steps; operations: of the products of all of them. */
static void report_kinds(struct peak_time whole, double operations)
{
    printf("part\tms a step\t%% of wall\t%% of CPU time\n");
    for (size_t k = 0; k < TIMED_KINDS; k++)
        printf("%s\t%.3f\t%.1f\t%.1f\n", timed_names[k], 1e3 * spent[k].wall / RUNS,
               100 * spent[k].wall / whole.wall, 100 * spent[k].cpu / whole.cpu);
    printf("products alone: %.1f GF/s, %.1f GF per second of CPU time\n",
           1e-9 * operations / spent[PRODUCTS].wall, 1e-9 * operations / spent[PRODUCTS].cpu);
}

static bool bench_training(struct bench *b, struct training *t, struct error *err)
{
    struct peak_series series = {0}, top = {0};
    struct peak_time whole = {0};
    struct device_ops table;
    double operations = 0, tokens = 0;
    for (size_t i = 0; i < 5; i++) /* first touches of memory */
        if (!training_step(t, b->dev, i, err))
            return false;
    const struct device_ops *own = b->dev->op;
    measure_operations(b->dev, &table);
    bool ok = true;
    for (size_t i = 0; ok && i < RUNS; i++) {
        peak_measure(b->team, &b->peak, &top);
        struct peak_time begin = peak_now();
        ok = training_step(t, b->dev, 5 + i, err);
        struct peak_time took = peak_since(begin);
        peak_add(&series, took);
        whole.wall += took.wall;
        whole.cpu += took.cpu;
        /* forward once, backward twice the operations */
        operations += 3 * product_operations(&t->params.shape, t->batch.n, t->batch.n_tokens);
        tokens += (double)t->batch.n_tokens;
    }
    b->dev->op = own;
    if (!ok)
        return false;
    printf("training step, 4 x 256\tthreads\ttokens/s\t" PEAK_COLUMNS "\n");
    printf("all of it\t%zu\t%.0f\t", b->n_threads, tokens / whole.wall);
    peak_report(operations / RUNS, &series, b->peak, &top, b->n_threads);
    report_kinds(whole, operations);
    return true;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct bench b = {.n_threads = argc > 1 ? (size_t)atoi(argv[1]) : threads_available()};
    struct training t = {0};
    enum isa isa;
    if (b.n_threads < 1 || b.n_threads > 64)
        b.n_threads = 1;
    b.dev = device_cpu_open(b.n_threads, &err);
    b.team = threads_open(b.n_threads, &err);
    bool ok = b.dev && b.team && isa_choose(&isa, &err);
    if (ok) {
        b.peak = peak_kernel(isa, DTYPE_F32);
        ok = open_training(&t, b.dev, &err) && bench_training(&b, &t, &err);
        close_training(&t, b.dev);
    }
    if (!ok)
        fprintf(stderr, "bench_training: %s\n", err.text);
    threads_close(b.team);
    if (b.dev)
        b.dev->op->close(b.dev);
    return ok ? 0 : 1;
}
