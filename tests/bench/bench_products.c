/* bench_products: speed of the CPU device's products against this machine's peak, a tab-separated
 * table on stdout. Products and peak take turns, medians of both; weights stay in the cache between
 * runs as far as they fit. GF/s counts a multiplication and an addition as two.
 *
 *   f32, bf16, int8   packed weights (linear_prepare)
 *   rotated           int8 as mquant makes it: activations are rotated, too (kernels/rotate.h)
 *   forward           trainable weights (linear_bind), packed anew in each product
 *   backward          dx, dw and db of these
 *
 * usage: bench_products [THREADS [PRODUCT]]   (default: 1, and all there are; all products)
 */
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/kernels.h"
#include "tests/bench/peak.h"

enum { RUNS = 21 };

struct shape {
    const char *name;
    size_t out, in;
};

static const struct shape shapes[] = {
    {"base qkv", 2304, 768},  {"base out", 768, 768}, {"base ffn1", 3072, 768},
    {"base ffn2", 768, 3072}, {"384 qkv", 1152, 384}, {"384 ffn1", 1536, 384},
    {"384 ffn2", 384, 1536},  {"256 qkv", 768, 256},  {"256 ffn1", 1024, 256},
    {"256 ffn2", 256, 1024},
};
static const size_t row_counts[] = {1, 8, 20, 128, 320};
enum { MOST_ROWS = 320, MOST_WIDTH = 3072 };

enum kind { F32, BF16, INT8, ROTATED, FORWARD, BACKWARD, KINDS };
static const char *const kind_names[KINDS] = {"f32",     "bf16",    "int8",
                                              "rotated", "forward", "backward"};

struct bench {
    struct device *dev;
    struct threads *team;
    enum isa isa;
    size_t n_threads;
    const char *only; /* product; NULL: all */
    float *w, *dw, *db, *x, *y, *dy, *dx, *scale;
    int8_t *w8;
    uint16_t *w16;
};

static void once(struct bench *b, enum kind kind, const struct linear *linear,
                 const struct shape *shape, size_t rows)
{
    const struct device_ops *op = b->dev->op;
    if (kind == BACKWARD)
        op->linear_backward(b->dev, linear, (const act *)b->x, shape->in, (const act *)b->dy,
                            shape->out, rows, (act *)b->dx, shape->in, b->dw, b->db, 0);
    else
        op->linear(b->dev, linear, (const act *)b->x, shape->in, rows, EPILOGUE_NONE, NULL,
                   (act *)b->y, shape->out);
}

static bool measure(struct bench *b, enum kind kind, const struct shape *shape, size_t rows,
                    struct error *err)
{
    const struct device_ops *op = b->dev->op;
    const struct weight parts[] = {
        [F32] = {b->w, DTYPE_F32, NULL, shape->out, shape->in, false},
        [BF16] = {b->w16, DTYPE_BF16, NULL, shape->out, shape->in, false},
        [INT8] = {b->w8, DTYPE_I8, b->scale, shape->out, shape->in, false},
        [ROTATED] = {b->w8, DTYPE_I8, b->scale, shape->out, shape->in, true},
    };
    struct weight part = parts[kind <= ROTATED ? kind : F32];
    struct peak_kernel peak = peak_kernel(b->isa, part.type);
    struct linear *linear =
        kind <= ROTATED ? op->linear_prepare(b->dev, &part, NULL, 1, err)
                        : op->linear_bind(b->dev, b->w, b->scale, shape->out, shape->in, err);
    if (!linear)
        return false;
    struct peak_series series = {0}, top = {0};
    double operations = 2.0 * (double)(rows * shape->out * shape->in) * (kind == BACKWARD ? 2 : 1);
    size_t repeat =
        (size_t)(2e7 / operations) + 1; /* a measurement is no shorter than some 0.1 ms */
    once(b, kind, linear, shape, rows);
    for (size_t i = 0; i < RUNS; i++) {
        peak_measure(b->team, &peak, &top);
        struct peak_time begin = peak_now();
        for (size_t j = 0; j < repeat; j++)
            once(b, kind, linear, shape, rows);
        peak_add(&series, peak_since(begin));
    }
    printf("%s\t%s\t%zux%zu\t%zu\t%zu\t", kind_names[kind], shape->name, shape->out, shape->in,
           rows, b->n_threads);
    peak_report(operations * (double)repeat, &series, peak, &top, b->n_threads);
    op->linear_free(b->dev, linear);
    return op->sync(b->dev, err);
}

static bool make_data(struct bench *b, struct error *err)
{
    size_t most = (size_t)MOST_WIDTH * 1024, n = (size_t)MOST_ROWS * MOST_WIDTH;
    float **array[] = {&b->w, &b->dw, &b->x, &b->y, &b->dy, &b->dx, &b->db, &b->scale};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++) {
        size_t length = i < 2 ? most : i < 6 ? n : MOST_WIDTH;
        if (!(*array[i] = memory_aligned(length, sizeof(float), err)))
            return false;
        for (size_t j = 0; j < length; j++)
            (*array[i])[j] = (float)((j * 7919 + i) % 2001) * 1e-3f - 1.0f;
    }
    if (!(b->w8 = memory_aligned(most, 1, err)) ||
        !(b->w16 = memory_aligned(most, sizeof *b->w16, err)))
        return false;
    dtype_from_float(DTYPE_BF16, b->w, most, b->w16);
    for (size_t j = 0; j < most; j++)
        b->w8[j] = (int8_t)((j * 7919) % 255 - 127);
    return true;
}

static bool run(struct bench *b, size_t n_threads, struct error *err)
{
    b->n_threads = n_threads;
    b->dev = device_cpu_open(n_threads, err);
    b->team = threads_open(n_threads, err);
    bool ok = b->dev && b->team && isa_choose(&b->isa, err);
    for (enum kind kind = F32; ok && kind < KINDS; kind++) {
        if (b->only && strcmp(b->only, kind_names[kind]) != 0)
            continue;
        for (size_t s = 0; ok && s < sizeof shapes / sizeof *shapes; s++)
            for (size_t r = 0; ok && r < sizeof row_counts / sizeof *row_counts; r++)
                ok = measure(b, kind, &shapes[s], row_counts[r], err);
    }
    char text[200];
    if (ok) {
        b->dev->op->describe(b->dev, text, sizeof text);
        printf("# %s\n", text);
    }
    threads_close(b->team);
    if (b->dev)
        b->dev->op->close(b->dev);
    return ok;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    struct bench b = {.only = argc > 2 ? argv[2] : NULL};
    size_t most = threads_available(), given = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    bool ok = make_data(&b, &err);
    printf("product\tlayer\tshape\trows\tthreads\t" PEAK_COLUMNS "\n");
    if (ok && given > 0)
        ok = run(&b, given, &err);
    else
        ok = ok && run(&b, 1, &err) && (most == 1 || run(&b, most, &err));
    float *array[] = {b.w, b.dw, b.x, b.y, b.dy, b.dx, b.db, b.scale};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++)
        free(array[i]);
    free(b.w8);
    free(b.w16);
    if (!ok)
        fprintf(stderr, "bench_products: %s\n", err.text);
    return ok ? 0 : 1;
}
