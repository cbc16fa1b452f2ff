/* trace.c: see trace.h. */
#include "kernels/trace.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/progress.h"

/* A device or lane. Its table is the first member, so that an entry finds the rest from dev->op. */
struct traced {
    struct device_ops op;
    const struct device_ops *own;
    struct device *dev;
    double threads; /* that work on an operation */
    struct trace_count count[TRACE_KINDS];
};

struct trace {
    size_t n;
    double threads; /* of the device */
    struct traced traced[];
};

const char *trace_name(enum trace_kind kind)
{
    static const char *const name[] = {
        [TRACE_EMBED] = "embedding rows",
        [TRACE_LINEAR_F32] = "product, fp32",
        [TRACE_LINEAR_BF16] = "product, bf16",
        [TRACE_LINEAR_I8] = "product, int8",
        [TRACE_ATTENTION] = "attention",
        [TRACE_NORM] = "residual and norm",
        [TRACE_SEQUENCE] = "rows of sequences",
        [TRACE_BAG] = "n-grams",
        [TRACE_COPY] = "copies",
    };
    return name[kind];
}

static struct traced *traced_of(const struct device *dev)
{
    return (struct traced *)(void *)dev->op;
}

static void add(struct traced *traced, enum trace_kind kind, double begin, double operations,
                double bytes)
{
    struct trace_count *count = &traced->count[kind];
    count->calls++;
    count->seconds += (progress_clock() - begin) * traced->threads;
    count->operations += operations;
    count->bytes += bytes;
}

/* Bytes of so many activations. */
static double acts(const struct device *dev, size_t rows, size_t cols)
{
    return (double)rows * (double)cols * (double)dev->act_bytes;
}

/* ---- the entries ---- */

static void embed(struct device *dev, const struct table_weights *word,
                  const struct table_weights *position, const struct table_weights *type,
                  const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols, act *out)
{
    struct traced *t = traced_of(dev);
    double n = (double)n_tokens * (double)cols;
    int tables = (word != NULL) + (position != NULL) + (type != NULL);
    double begin = progress_clock();
    t->own->embed(dev, word, position, type, id, place, n_tokens, cols, out);
    add(t, TRACE_EMBED, begin, n * (tables - (word != NULL)),
        n * tables * (double)sizeof(float) + acts(dev, n_tokens, cols));
}

static void linear(struct device *dev, const struct linear *linear, const act *x, size_t x_stride,
                   size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride)
{
    struct traced *t = traced_of(dev);
    struct linear_size size;
    double begin = progress_clock();
    t->own->linear(dev, linear, x, x_stride, rows, epilogue, pre, y, y_stride);
    t->own->linear_size(linear, &size);
    enum trace_kind kind = size.format == DTYPE_I8    ? TRACE_LINEAR_I8
                           : size.format == DTYPE_F32 ? TRACE_LINEAR_F32
                                                      : TRACE_LINEAR_BF16;
    double weights = (double)size.out * (double)size.in;
    add(t, kind, begin, 2 * (double)rows * weights,
        acts(dev, rows, size.in) + acts(dev, rows, size.out) +
            weights * (double)dtype_bytes(size.format));
}

static void add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                     struct dropout dropout, const float *gain, const float *bias, float eps,
                     size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    struct traced *t = traced_of(dev);
    /* Sum, mean, squares of the differences, factor and summand. */
    double each = (residual != NULL) + (norm == NORM_LAYER ? 7 : 2);
    double begin = progress_clock();
    t->own->add_norm(dev, norm, x, residual, dropout, gain, bias, eps, rows, cols, sum, stats, y);
    add(t, TRACE_NORM, begin, (double)rows * (double)cols * each,
        acts(dev, rows, cols) * (2 + (residual != NULL)));
}

/* Multiply-adds of both products, and the rows of queries. */
static double attention_work(const struct attention *attention, double *queries)
{
    const struct seqs *seqs = &attention->seqs;
    double pairs = 0;
    *queries = attention->first_only ? (double)seqs->n : (double)seqs->n_tokens;
    for (size_t s = 0; s < seqs->n; s++) {
        double length = seqs->offset[s + 1] - seqs->offset[s];
        pairs += length * (attention->first_only ? 1 : length);
    }
    return 2 * pairs * (double)attention->heads * (double)attention->head_size;
}

static void attention(struct device *dev, const struct attention *attention, const act *q,
                      const act *k, const act *v, act *out, float *lse)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock(), queries;
    t->own->attention(dev, attention, q, k, v, out, lse);
    double macs = attention_work(attention, &queries);
    double rows = 2 * queries + 2 * (double)attention->seqs.n_tokens; /* q, out; k, v */
    add(t, TRACE_ATTENTION, begin, 2 * macs,
        rows * acts(dev, attention->heads, attention->head_size));
}

static void gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                         act *y)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->gather_first(dev, x, seqs, cols, y);
    add(t, TRACE_SEQUENCE, begin, 0, 2 * acts(dev, seqs->n, cols));
}

static void mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                      act *y)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->mean_pool(dev, x, seqs, cols, y);
    add(t, TRACE_SEQUENCE, begin, (double)seqs->n_tokens * (double)cols,
        acts(dev, seqs->n_tokens + seqs->n, cols));
}

static void trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->trigram(dev, x, seqs, cols, y);
    add(t, TRACE_SEQUENCE, begin, 0, 4 * acts(dev, seqs->n_tokens, cols));
}

static void bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
                const float *value, const int32_t *offset, size_t n, act *out)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->bag(dev, bag, feature, value, offset, n, out);
    add(t, TRACE_BAG, begin, 0, 0);
}

static void act_upload(struct device *dev, act *to, const float *from_host, size_t n)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->act_upload(dev, to, from_host, n);
    add(t, TRACE_COPY, begin, 0, acts(dev, n, 1) + (double)(n * sizeof(float)));
}

static void act_download(struct device *dev, float *to_host, const act *from, size_t n)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->act_download(dev, to_host, from, n);
    add(t, TRACE_COPY, begin, 0, acts(dev, n, 1) + (double)(n * sizeof(float)));
}

static void upload(struct device *dev, void *to, const void *from_host, size_t bytes)
{
    struct traced *t = traced_of(dev);
    double begin = progress_clock();
    t->own->upload(dev, to, from_host, bytes);
    add(t, TRACE_COPY, begin, 0, 2 * (double)bytes);
}

/* ---- life ---- */

static void attach(struct trace *trace, struct device *dev, double threads)
{
    struct traced *t = &trace->traced[trace->n++];
    *t = (struct traced){.op = *dev->op, .own = dev->op, .dev = dev, .threads = threads};
    t->op.embed = embed;
    t->op.linear = linear;
    t->op.add_norm = add_norm;
    t->op.attention = attention;
    t->op.gather_first = gather_first;
    t->op.mean_pool = mean_pool;
    t->op.trigram = trigram;
    t->op.bag = bag;
    t->op.act_upload = act_upload;
    t->op.act_download = act_download;
    t->op.upload = upload;
    dev->op = &t->op;
}

struct trace *trace_open(struct device *dev, struct error *err)
{
    if (strcmp(dev->name, "cpu") != 0 && strcmp(dev->name, "reference") != 0) {
        error_set(err,
                  "what single operations take is not measured on device %s, which works on while "
                  "the program does; take --device cpu, or a profiler of the GPU's maker",
                  dev->name);
        return NULL;
    }
    size_t n = dev->n_lanes + 1;
    struct trace *trace = NULL;
    if (n < SIZE_MAX / sizeof trace->traced[0] / 2)
        trace = memory_zeroed(1, sizeof *trace + n * sizeof trace->traced[0], err);
    if (!trace)
        return NULL;
    trace->threads = (double)dev->n_lanes;
    for (size_t i = 0; i < dev->n_lanes; i++) {
        struct device *lane = dev->op->lane(dev, i);
        if (lane != dev)
            attach(trace, lane, 1);
    }
    attach(trace, dev, trace->threads);
    return trace;
}

void trace_close(struct trace *trace)
{
    if (!trace)
        return;
    for (size_t i = 0; i < trace->n; i++)
        trace->traced[i].dev->op = trace->traced[i].own;
    free(trace);
}

void trace_sum(const struct trace *trace, struct trace_count count[TRACE_KINDS])
{
    memset(count, 0, TRACE_KINDS * sizeof *count);
    for (size_t i = 0; i < trace->n; i++)
        for (size_t k = 0; k < TRACE_KINDS; k++) {
            const struct trace_count *own = &trace->traced[i].count[k];
            count[k].calls += own->calls;
            count[k].seconds += own->seconds;
            count[k].operations += own->operations;
            count[k].bytes += own->bytes;
        }
}

double trace_least_seconds(const struct trace *trace, const struct device_peak *peak,
                           enum trace_kind kind, const struct trace_count *count, bool *by_bytes)
{
    double rate = kind == TRACE_LINEAR_I8     ? peak->int8
                  : kind == TRACE_LINEAR_BF16 ? peak->bf16
                                              : peak->f32;
    double operations = rate > 0 ? count->operations / rate : 0;
    double bytes = peak->bytes > 0 ? count->bytes / peak->bytes : 0;
    *by_bytes = bytes > operations;
    if (count->operations > 0 && rate <= 0)
        return 0;
    return (*by_bytes ? bytes : operations) * trace->threads;
}
