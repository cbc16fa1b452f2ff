/* bench_forward: whole passes through nn's encoder with random weights against this machine's peak,
 * a tab-separated table on stdout; medians, pass and peak taking turns.
 *
 *   forward   packed weights, the lanes of the device sharing the sequences, as classification
 *             does; fp32, bf16 and int8
 *   train     forward, loss, backward and optimizer on one batch; `products` is the same work by
 *             the time spent in products with weights alone, and by their operations
 *
 * GF/s counts the operations that are done (the last layer runs for first tokens only), products
 * only, as shape_macs does.
 *
 * usage: bench_forward [THREADS]   (default: all there are)
 */
#include <math.h>
#include <stdio.h>

#include "core/memory.h"
#include "kernels/cpu/linear.h"
#include "nn/encoder.h"
#include "nn/optimizer.h"
#include "nn/params.h"
#include "tests/bench/peak.h"

enum { RUNS = 21, MOST_LANES = 64, TOKENS = 20 };

/* One lane of inference. */
struct lane {
    struct encoder *encoder;
    struct batch batch;
};

struct bench {
    struct device *dev;
    struct threads *team;
    enum isa isa;
    struct params params;
    struct weights packed;
    struct lane lane[MOST_LANES];
    size_t n_lanes;
};

/* ---- weights ---- */

/* Symmetric int8 per row of w [out, in]. */
static bool quantise(const struct linear *from, int8_t **q, float **scale, struct error *err)
{
    *q = memory_array(from->out * from->in, 1, err);
    *scale = memory_array(from->out, sizeof **scale, err);
    for (size_t o = 0; *q && *scale && o < from->out; o++) {
        const float *row = from->w + o * from->in;
        float most = 1e-6f;
        for (size_t i = 0; i < from->in; i++)
            most = fabsf(row[i]) > most ? fabsf(row[i]) : most;
        (*scale)[o] = most / 127;
        for (size_t i = 0; i < from->in; i++)
            (*q)[o * from->in + i] = (int8_t)lrintf(row[i] * 127 / most);
    }
    return *q && *scale;
}

/* The bound matrix, packed as an inference would have it in that format. */
static bool pack(struct bench *b, struct weights_matrix *matrix, enum dtype format,
                 struct error *err)
{
    const struct linear *from = matrix->linear;
    if (!from)
        return true;
    int8_t *q = NULL;
    float *scale = NULL;
    uint16_t *half = NULL;
    size_t n = from->out * from->in;
    const float *bias = from->b;
    struct weight part = {.data = from->w, .type = DTYPE_F32, .rows = from->out, .cols = from->in};
    bool ok = format != DTYPE_I8 || quantise(from, &q, &scale, err);
    if (format == DTYPE_I8)
        part = (struct weight){
            .data = q, .type = format, .scale = scale, .rows = from->out, .cols = from->in};
    if (format == DTYPE_BF16 && (ok = (half = memory_array(n, sizeof *half, err)) != NULL)) {
        dtype_from_float(format, from->w, n, half);
        part.data = half;
        part.type = format;
    }
    *matrix = (struct weights_matrix){0};
    if (ok)
        matrix->linear = b->dev->op->linear_prepare(b->dev, &part, &bias, 1, err);
    free(q);
    free(scale);
    free(half);
    return matrix->linear != NULL;
}

static bool pack_all(struct bench *b, enum dtype format, struct error *err)
{
    size_t n = b->params.shape.n_layers;
    struct weights *w = &b->packed;
    *w = b->params.weights;
    if (!(w->layer = memory_array(n, sizeof *w->layer, err)))
        return false;
    memcpy(w->layer, b->params.weights.layer, n * sizeof *w->layer);
    bool ok = pack(b, &w->pooler, format, err) && pack(b, &w->classifier, DTYPE_F32, err);
    for (size_t l = 0; ok && l < n; l++) {
        struct weights_layer *layer = &w->layer[l];
        ok = pack(b, &layer->qkv, format, err) && pack(b, &layer->q, format, err) &&
             pack(b, &layer->kv, format, err) && pack(b, &layer->o, format, err) &&
             pack(b, &layer->ffn[0].in, format, err) && pack(b, &layer->ffn[0].out, format, err);
    }
    return ok;
}

static void unpack_all(struct bench *b)
{
    struct linear *list[WEIGHTS_OF_LAYER * 64 + WEIGHTS_BESIDE];
    size_t n = weights_linears(&b->packed, list);
    for (size_t i = 0; i < n; i++)
        b->dev->op->linear_free(b->dev, list[i]);
    free(b->packed.layer);
}

/* ---- batches ---- */

static bool fill(struct batch *batch, size_t n, struct error *err)
{
    int32_t id[TOKENS];
    bool ok = true;
    for (size_t s = 0; ok && s < n; s++) {
        for (size_t t = 0; t < TOKENS; t++)
            id[t] = (int32_t)((s * 131 + t * 17) % 1000);
        ok = batch_add(batch, id, TOKENS, (int32_t)(s % 4), NULL, err);
    }
    return ok && batch_upload(batch, err);
}

/* ---- forward ---- */

static void forward(void *context, size_t member, size_t n_members)
{
    struct bench *b = context;
    (void)n_members;
    if (member < b->n_lanes)
        encoder_forward(b->lane[member].encoder, &b->packed, &b->lane[member].batch, NULL);
}

static void report(const struct bench *b, const char *what, const char *shape, size_t sequences,
                   double operations, struct peak_series *series, struct peak_series *peak,
                   enum dtype format)
{
    struct peak_time median = peak_median(series);
    printf("%s\t%s\t%zux%d\t%zu\t%.2f\t%.2f\t%.1f\t", what, shape, sequences, TOKENS, b->n_lanes,
           1e3 * median.wall, 1e3 * series->wall[0], (double)sequences / median.wall);
    peak_report(operations, series, peak_kernel(b->isa, format), peak, b->n_lanes);
}

static bool bench_inference(struct bench *b, const char *shape, size_t sequences, enum dtype format,
                            struct error *err)
{
    struct peak_series series = {0}, peak = {0};
    struct peak_kernel kernel = peak_kernel(b->isa, format);
    bool ok = pack_all(b, format, err);
    for (size_t i = 0; ok && i < b->n_lanes; i++) {
        struct lane *lane = &b->lane[i];
        struct device *dev = b->dev->op->lane(b->dev, i);
        size_t begin, end;
        threads_share(sequences, i, b->n_lanes, &begin, &end);
        batch_init(&lane->batch, dev, &b->params.shape, 0, false);
        lane->encoder = encoder_open(dev, &b->params.shape, false, err);
        ok = lane->encoder && fill(&lane->batch, end - begin, err) &&
             encoder_reserve(lane->encoder, lane->batch.n_tokens, lane->batch.n, err);
    }
    for (size_t i = 0; ok && i < RUNS; i++) {
        peak_measure(b->team, &kernel, &peak);
        if (i == 0)
            threads_run(b->team, forward, b); /* warm up */
        struct peak_time begin = peak_now();
        threads_run(b->team, forward, b);
        peak_add(&series, peak_since(begin));
    }
    const char *what = format == DTYPE_I8     ? "forward int8"
                       : format == DTYPE_BF16 ? "forward bf16"
                                              : "forward fp32";
    if (ok)
        report(b, what, shape, sequences,
               2 * shape_macs(&b->params.shape, TOKENS) * (double)sequences, &series, &peak,
               format);
    for (size_t i = 0; i < b->n_lanes; i++) {
        encoder_close(b->lane[i].encoder);
        batch_free(&b->lane[i].batch);
        b->lane[i] = (struct lane){0};
    }
    unpack_all(b);
    return ok && b->dev->op->sync(b->dev, err);
}

/* ---- training ---- */

/* The device's products, timed: the operation table is copied and these two are put into the copy.
 */
static const struct device_ops *plain;
static struct peak_time product_time;

static void add_product(struct peak_time begin)
{
    struct peak_time time = peak_since(begin);
    product_time.wall += time.wall;
    product_time.cpu += time.cpu;
}

static void timed_linear(struct device *dev, const struct linear *linear, const act *x,
                         size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                         size_t y_stride)
{
    struct peak_time begin = peak_now();
    plain->linear(dev, linear, x, x_stride, rows, epilogue, pre, y, y_stride);
    add_product(begin);
}

static void timed_backward(struct device *dev, const struct linear *linear, const act *x,
                           size_t x_stride, const act *dy, size_t dy_stride, size_t rows, act *dx,
                           size_t dx_stride, float *dw, float *db, unsigned how)
{
    struct peak_time begin = peak_now();
    plain->linear_backward(dev, linear, x, x_stride, dy, dy_stride, rows, dx, dx_stride, dw, db,
                           how);
    add_product(begin);
}

struct training {
    struct encoder *encoder;
    struct batch batch;
    struct optimizer optimizer;
    float *row_loss;
};

static bool step(struct bench *b, struct training *t, struct error *err)
{
    struct encoder_dropout dropout = {.hidden = 0.1f, .attention = 0.1f, .classifier = 0.1f};
    struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1 / (float)t->batch.n};
    struct encoder_rows_grad rows;
    if (!params_zero_grad(&b->params, &t->batch, &rows, err))
        return false;
    const act *logits = encoder_forward(t->encoder, &b->params.weights, &t->batch, &dropout);
    b->dev->op->loss(b->dev, &loss, logits, t->batch.device_label, NULL, t->batch.n,
                     b->params.shape.n_labels, t->row_loss, encoder_dlogits(t->encoder));
    encoder_backward(t->encoder, &b->params.weights, &t->batch, &dropout, &rows, NULL);
    optimizer_step(&t->optimizer, &t->batch, 1e-4);
    params_refresh(&b->params);
    return true;
}

static bool train_open(struct bench *b, struct training *t, size_t sequences, struct error *err)
{
    batch_init(&t->batch, b->dev, &b->params.shape, 0, true);
    return (t->encoder = encoder_open(b->dev, &b->params.shape, true, err)) &&
           optimizer_open(&t->optimizer, &b->params, 1, 0.01, 1, err) &&
           fill(&t->batch, sequences, err) &&
           encoder_reserve(t->encoder, t->batch.n_tokens, t->batch.n, err) &&
           (t->row_loss = b->dev->op->alloc(b->dev, sequences * sizeof(float), err));
}

/* Multiply-adds of one text that are no products with weights: queries with keys, probabilities
 * with values. */
static double attention_macs(const struct shape *shape)
{
    double macs = 0;
    for (size_t l = 0; l < shape->n_layers; l++)
        macs += (l + 1 == shape->n_layers ? 1 : TOKENS) * 2.0 * TOKENS *
                (double)(shape->layer[l].heads * shape->head_size);
    return macs;
}

static bool bench_training(struct bench *b, const char *shape, size_t sequences, struct error *err)
{
    struct peak_series series = {0}, product = {0}, peak = {0};
    struct peak_kernel kernel = peak_kernel(b->isa, DTYPE_F32);
    struct training t = {0};
    bool ok = train_open(b, &t, sequences, err) && step(b, &t, err);
    plain = b->dev->op;
    struct device_ops timed = *plain;
    timed.linear = timed_linear;
    timed.linear_backward = timed_backward;
    b->dev->op = &timed;
    for (size_t i = 0; ok && i < RUNS; i++) {
        peak_measure(b->team, &kernel, &peak);
        product_time = (struct peak_time){0};
        struct peak_time begin = peak_now();
        ok = step(b, &t, err);
        peak_add(&series, peak_since(begin));
        peak_add(&product, product_time);
    }
    b->dev->op = plain;
    double texts = 6 * (double)sequences, macs = shape_macs(&b->params.shape, TOKENS);
    double operations = texts * macs, products = texts * (macs - attention_macs(&b->params.shape));
    if (ok) {
        report(b, "train", shape, sequences, operations, &series, &peak, DTYPE_F32);
        report(b, "train products", shape, sequences, products, &product, &peak, DTYPE_F32);
    }
    b->dev->op->free(b->dev, t.row_loss);
    encoder_close(t.encoder);
    batch_free(&t.batch);
    optimizer_close(&t.optimizer);
    return ok && b->dev->op->sync(b->dev, err);
}

static bool run_shape(struct bench *b, const char *text, size_t sequences, size_t train_sequences,
                      struct error *err)
{
    struct shape shape;
    if (!shape_from_text(&shape, text, 1000, 4, err))
        return false;
    bool ok = params_open(&b->params, &shape, NULL, true, 1, b->dev, err) &&
              bench_inference(b, text, sequences, DTYPE_F32, err) &&
              bench_inference(b, text, sequences, DTYPE_BF16, err) &&
              bench_inference(b, text, sequences, DTYPE_I8, err) &&
              (train_sequences == 0 || bench_training(b, text, train_sequences, err));
    params_close(&b->params);
    b->params = (struct params){0};
    shape_free(&shape);
    return ok;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct bench b = {0};
    size_t given = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    b.n_lanes = given > 0 ? given : threads_available();
    b.n_lanes = b.n_lanes > MOST_LANES ? MOST_LANES : b.n_lanes;
    printf("pass\tmodel\ttexts\tthreads\tms\tbest ms\ttexts/s\t" PEAK_COLUMNS "\n");
    bool ok = isa_choose(&b.isa, &err) && (b.dev = device_cpu_open(b.n_lanes, &err)) &&
              (b.team = threads_open(b.n_lanes, &err)) &&
              run_shape(&b, "layers=12,hidden=768,heads=12,ffn=3072", 16, 0, &err) &&
              run_shape(&b, "layers=6,hidden=384,heads=12,ffn=1536", 64, 0, &err) &&
              run_shape(&b, "layers=4,hidden=256,heads=4,ffn=1024", 64, 51, &err);
    threads_close(b.team);
    if (b.dev)
        b.dev->op->close(b.dev);
    if (!ok)
        fprintf(stderr, "bench_forward: %s\n", err.text);
    return ok ? 0 : 1;
}
