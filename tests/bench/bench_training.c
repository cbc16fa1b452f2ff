/* bench_training: training steps (forward, loss, backward, AdamW with clipping; dropout 0.1) of three
 * models against this machine's peak, in fp32 with one thread and with THREADS, then with products of
 * bf16; the time of each kind of operation, and what THREADS gain; tab-separated tables on stdout.
 * Peak and steps take turns; medians. The peak is that of fp32, or of bf16 where the set multiplies
 * it. GF/s count a multiplication and an addition as two, of the products alone. `rest` is the time
 * outside of operations: batches, and whatever else runs on one thread.
 *
 * usage: bench_training [THREADS [STEPS [SHAPE]]]   (default: all there are, 15, all shapes)
 */
#include <stdio.h>
#include <string.h>

#include "core/rng.h"
#include "nn/encoder.h"
#include "nn/optimizer.h"
#include "nn/params.h"
#include "tests/bench/peak.h"

enum { VOCAB = 16000, LABELS = 12, WARM = 3, MOST_SIDES = 3 };

static const struct bench_model {
    const char *name, *shape;
    size_t records, tokens; /* of each */
} models[] = {
    {"BERT-base 16x20", "layers=12,hidden=768,heads=12,ffn=3072", 16, 20},
    {"6x384 64x20", "layers=6,hidden=384,heads=12,ffn=1536", 64, 20},
    {"2x256 64x20", "layers=2,hidden=256,heads=4,ffn=1024", 64, 20},
};

/* ---- time of each operation: the device's table is replaced by one that measures ---- */

enum timed {
    FORWARD,
    BACKWARD,
    ATTENTION,
    ATTENTION_BACKWARD,
    NORM,
    NORM_BACKWARD,
    EPILOGUE,
    DROPOUT,
    EMBEDDING,
    SQUARES,
    OPTIMIZER,
    TRANSFER,
    TIMED_KINDS
};
static const char *const timed_names[TIMED_KINDS] = {"products forward",
                                                     "products backward",
                                                     "attention",
                                                     "attention backward",
                                                     "norm",
                                                     "norm backward",
                                                     "GELU backward",
                                                     "dropout, add",
                                                     "embeddings",
                                                     "gradient norm",
                                                     "AdamW",
                                                     "upload, zero"};

/* A device's table, then what it measures. */
struct timed_table {
    struct device_ops op;
    const struct device_ops *inner;
    struct peak_time spent[TIMED_KINDS];
};

static struct timed_table *table_of(struct device *dev)
{
    return (struct timed_table *)(uintptr_t)dev->op;
}

#define TIME(kind, call)                                                                           \
    do {                                                                                           \
        struct timed_table *table = table_of(dev);                                                 \
        const struct device_ops *inner = table->inner;                                             \
        struct peak_time begin = peak_now();                                                       \
        call;                                                                                      \
        struct peak_time took = peak_since(begin);                                                 \
        table->spent[kind].wall += took.wall;                                                      \
        table->spent[kind].cpu += took.cpu;                                                        \
    } while (0)

static void timed_linear(struct device *dev, const struct linear *linear, const act *x,
                         size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                         size_t y_stride)
{
    TIME(FORWARD, inner->linear(dev, linear, x, x_stride, rows, epilogue, pre, y, y_stride));
}

static void timed_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                                  size_t x_stride, const act *dy, size_t dy_stride, size_t rows,
                                  act *dx, size_t dx_stride, float *dw, float *db, unsigned how)
{
    TIME(BACKWARD, inner->linear_backward(dev, linear, x, x_stride, dy, dy_stride, rows, dx,
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
    TIME(ATTENTION_BACKWARD,
         inner->attention_backward(dev, attention, q, k, v, out, lse, dout, dq, dk, dv));
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
    TIME(NORM_BACKWARD, inner->add_norm_backward(dev, norm, sum, stats, gain, dy, dropout, rows,
                                                 cols, dz, dx, dgain, dbias, db));
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
    TIME(SQUARES, inner->sum_squares(dev, x, n, sum));
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

static void measure_operations(struct device *dev, struct timed_table *timed)
{
    struct device_ops *table = &timed->op;
    timed->op = *dev->op;
    timed->inner = dev->op;
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

/* ---- the steps ---- */

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

/* One model on so many threads. */
struct side {
    size_t n_threads;
    enum dtype format; /* of what products multiply */
    struct peak_kernel peak;
    struct device *dev;
    struct threads *team;
    const struct device_ops *own;
    struct timed_table table;
    struct params params;
    struct optimizer optimizer;
    struct encoder *encoder;
    struct batch batch;
    float *row_loss;
    struct peak_series series, top;
    struct peak_time whole;
};

static bool fill_batch(struct batch *batch, const struct bench_model *model, size_t salt,
                       struct error *err)
{
    int32_t id[64];
    batch_clear(batch);
    for (size_t r = 0; r < model->records; r++) {
        for (size_t t = 0; t < model->tokens; t++)
            id[t] = (int32_t)(rng_hash(salt, r * model->tokens + t) % VOCAB);
        if (!batch_add(batch, id, model->tokens, (int32_t)(r % LABELS), NULL, err))
            return false;
    }
    return batch_upload(batch, err);
}

static bool training_step(struct side *s, const struct bench_model *model, size_t step,
                          struct error *err)
{
    struct device *dev = s->dev;
    struct encoder_rows_grad rows;
    const struct encoder_dropout dropout = {0.1f, 0.1f, 0.1f, step};
    if (!fill_batch(&s->batch, model, step, err) ||
        !encoder_reserve(s->encoder, s->batch.n_tokens, s->batch.n, err) ||
        !params_zero_grad(&s->params, &s->batch, &rows, err))
        return false;
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1 / (float)s->batch.n};
    const act *logits = encoder_forward(s->encoder, &s->params.weights, &s->batch, &dropout);
    dev->op->loss(dev, &loss, logits, s->batch.device_label, NULL, s->batch.n, LABELS, s->row_loss,
                  encoder_dlogits(s->encoder));
    encoder_backward(s->encoder, &s->params.weights, &s->batch, &dropout, &rows, NULL);
    optimizer_step(&s->optimizer, &s->batch, 1e-4);
    return dev->op->sync(dev, err);
}

static bool open_side(struct side *s, const struct bench_model *model, enum isa isa,
                      struct error *err)
{
    struct shape shape;
    s->peak = peak_kernel(isa, s->format);
    s->dev = device_cpu_open(s->n_threads, err);
    s->team = threads_open(s->n_threads, err);
    if (!s->dev || !s->team || !shape_from_text(&shape, model->shape, VOCAB, LABELS, err))
        return false;
    batch_init(&s->batch, s->dev, &shape, 0, true);
    bool ok = params_open(&s->params, &shape, NULL, false, 1, s->dev, err);
    shape_free(&shape);
    ok = ok && (s->format == DTYPE_F32 || params_round(&s->params, s->format, err));
    if (!ok || !optimizer_open(&s->optimizer, &s->params, 1, 0.01, 1, err))
        return false;
    s->encoder = encoder_open(s->dev, &s->params.shape, true, err);
    s->row_loss = s->dev->op->alloc(s->dev, model->records * sizeof(float), err);
    s->own = s->dev->op;
    return s->encoder && s->row_loss;
}

static void close_side(struct side *s)
{
    threads_close(s->team);
    if (!s->dev)
        return;
    if (s->row_loss)
        s->dev->op->free(s->dev, s->row_loss);
    encoder_close(s->encoder);
    batch_free(&s->batch);
    optimizer_close(&s->optimizer);
    params_close(&s->params);
    s->dev->op->close(s->dev);
}

/* A step beside the peak; step numbers below WARM are first touches of memory and not counted. */
static bool measure_step(struct side *s, const struct bench_model *model, size_t step,
                         struct error *err)
{
    if (step < WARM)
        return training_step(s, model, step, err);
    peak_measure(s->team, &s->peak, &s->top);
    measure_operations(s->dev, &s->table);
    struct peak_time begin = peak_now();
    bool ok = training_step(s, model, step, err);
    struct peak_time took = peak_since(begin);
    s->dev->op = s->own;
    peak_add(&s->series, took);
    s->whole.wall += took.wall;
    s->whole.cpu += took.cpu;
    return ok;
}

static void report_parts(const struct side *side, size_t n_sides, size_t steps)
{
    printf("part");
    for (const struct side *s = side; s < side + n_sides; s++)
        printf("\tms, %s, %zu thr.\t%% of step", dtype_name(s->format), s->n_threads);
    printf("\tone / all threads\tfp32 / bf16\n");
    for (size_t k = 0; k <= TIMED_KINDS; k++) {
        double wall[MOST_SIDES] = {0};
        printf("%s", k < TIMED_KINDS ? timed_names[k] : "rest");
        for (size_t i = 0; i < n_sides; i++) {
            double all = 0;
            for (size_t j = 0; j < TIMED_KINDS; j++)
                all += side[i].table.spent[j].wall;
            wall[i] = k < TIMED_KINDS ? side[i].table.spent[k].wall : side[i].whole.wall - all;
            printf("\t%.3f\t%.1f", 1e3 * wall[i] / (double)steps,
                   100 * wall[i] / side[i].whole.wall);
        }
        printf("\t%.2f\t%.2f\n", wall[0] / wall[n_sides - 2],
               wall[n_sides - 2] / wall[n_sides - 1]);
    }
}

static void report(struct side *side, size_t n_sides, const struct bench_model *model, size_t steps)
{
    double operations =
        3 * product_operations(&side->params.shape, model->records,
                               model->records * model->tokens); /* backward twice the forward */
    printf("%s\tformat\tthreads\tms a step\ttokens/s\t" PEAK_COLUMNS "\n", model->name);
    for (struct side *s = side; s < side + n_sides; s++) {
        struct peak_series copy = s->series;
        double wall = peak_median(&copy).wall;
        printf("step\t%s\t%zu\t%.2f\t%.0f\t", dtype_name(s->format), s->n_threads, 1e3 * wall,
               (double)(model->records * model->tokens) / wall);
        peak_report(operations, &s->series, s->peak, &s->top, s->n_threads);
    }
    report_parts(side, n_sides, steps);
    for (struct side *s = side; s < side + n_sides; s++) {
        double n = operations * (double)steps * 1e-9, cpus = (double)s->n_threads;
        const struct peak_time *spent = s->table.spent;
        printf("products alone, %s, %zu threads: %.1f GF/s forward, %.1f backward; per second of "
               "processor time %.1f, %.1f\n",
               dtype_name(s->format), s->n_threads, n / 3 / spent[FORWARD].wall,
               2 * n / 3 / spent[BACKWARD].wall, n / 3 / spent[FORWARD].cpu / cpus,
               2 * n / 3 / spent[BACKWARD].cpu / cpus);
    }
    if (n_sides == MOST_SIDES)
        printf(
            "%zu threads: steps of F32 are %.2f times as fast as with one, the peak %.2f times\n",
            side[1].n_threads,
            peak_median(&side[0].series).wall / peak_median(&side[1].series).wall,
            peak_median(&side[0].top).wall / peak_median(&side[1].top).wall *
                (double)side[1].n_threads);
    printf("\n");
}

static bool bench_model(const struct bench_model *model, enum isa isa, size_t n_threads,
                        size_t steps, struct error *err)
{
    struct side all[MOST_SIDES] = {{.n_threads = 1, .format = DTYPE_F32},
                                   {.n_threads = n_threads, .format = DTYPE_F32},
                                   {.n_threads = n_threads, .format = DTYPE_BF16}};
    struct side *side = n_threads > 1 ? all : all + 1;
    size_t n_sides = n_threads > 1 ? MOST_SIDES : MOST_SIDES - 1;
    bool ok = true;
    for (size_t i = 0; ok && i < n_sides; i++)
        ok = open_side(&side[i], model, isa, err);
    for (size_t step = 0; ok && step < WARM + steps; step++)
        for (size_t i = 0; ok && i < n_sides; i++)
            ok = measure_step(&side[i], model, step, err);
    if (ok)
        report(side, n_sides, model, steps);
    for (size_t i = 0; i < n_sides; i++)
        close_side(&side[i]);
    return ok;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    size_t n_threads = argc > 1 ? strtoul(argv[1], NULL, 10) : threads_available();
    size_t steps = argc > 2 ? strtoul(argv[2], NULL, 10) : 15;
    enum isa isa;
    bool ok = isa_choose(&isa, &err);
    if (n_threads < 1 || n_threads > 64)
        n_threads = 1;
    if (steps < 1 || steps > PEAK_MOST_RUNS)
        steps = 15;
    for (size_t m = 0; ok && m < sizeof models / sizeof *models; m++)
        if (argc < 4 || strcmp(argv[3], models[m].name) == 0)
            ok = bench_model(&models[m], isa, n_threads, steps, &err);
    if (!ok)
        fprintf(stderr, "bench_training: %s\n", err.text);
    return ok ? 0 : 1;
}
