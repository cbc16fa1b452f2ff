/* bench_gpu: products on a GPU as the engine runs them, bias, rounding and int8 quantising
 * included, beside what one large product by cuBLAS reaches there in the same precision; a
 * tab-separated table on stdout. TF/s counts a multiplication and an addition as two.
 *
 *   forward, backward   trainable weights (linear_bind): y; dx, dw and db
 *   int8                prepared int8 weights, with activations in the precision named
 *
 * usage: bench_gpu [ROWS [WIDTH]]   (tokens of a batch, 2048; sides of the large product, 8192)
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/memory.h"
#include "core/rng.h"
#include "kernels/kernels.h"

enum { RUNS = 15, TOGETHER = 10 };

struct shape {
    const char *name;
    size_t out, in;
};

static const struct shape shapes[] = {
    {"base qkv", 2304, 768},  {"base out", 768, 768}, {"base ffn1", 3072, 768},
    {"base ffn2", 768, 3072}, {"384 qkv", 1152, 384}, {"384 ffn1", 1536, 384},
    {"384 ffn2", 384, 1536},  {"256 qkv", 768, 256},  {"256 ffn1", 1024, 256},
};

enum kind { FORWARD, BACKWARD, INT8, KINDS };
static const char *const kind_names[KINDS] = {"forward", "backward", "int8"};

struct bench {
    struct device *dev;
    float *w, *dw, *db;
    act *x, *y, *dy, *dx;
    double peak; /* multiplications and additions a second */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool allocate(struct bench *b, size_t rows, size_t out, size_t in, struct error *err)
{
    const struct device_ops *op = b->dev->op;
    size_t width = b->dev->act_bytes;
    return (b->w = op->alloc(b->dev, out * in * sizeof(float), err)) &&
           (b->dw = op->alloc(b->dev, out * in * sizeof(float), err)) &&
           (b->db = op->alloc(b->dev, out * sizeof(float), err)) &&
           (b->x = op->alloc(b->dev, rows * in * width, err)) &&
           (b->dx = op->alloc(b->dev, rows * in * width, err)) &&
           (b->y = op->alloc(b->dev, rows * out * width, err)) &&
           (b->dy = op->alloc(b->dev, rows * out * width, err));
}

/* Not zeros: multiplying these takes less power, so that the clock may rise. */
static void fill(struct bench *b, size_t rows, size_t out, size_t in)
{
    static float noise[1 << 16];
    const size_t most = sizeof noise / sizeof *noise;
    const struct device_ops *op = b->dev->op;
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < most; i++)
        noise[i] = (float)rng_normal(&rng);
    for (size_t at = 0, n; at < out * in; at += n) {
        n = out * in - at < most ? out * in - at : most;
        op->upload(b->dev, b->w + at, noise, n * sizeof *noise);
    }
    for (size_t at = 0, n; at < rows * in; at += n) {
        n = rows * in - at < most ? rows * in - at : most;
        op->act_upload(b->dev, act_at(b->dev, b->x, at), noise, n);
    }
    for (size_t at = 0, n; at < rows * out; at += n) {
        n = rows * out - at < most ? rows * out - at : most;
        op->act_upload(b->dev, act_at(b->dev, b->dy, at), noise, n);
    }
    op->zero(b->dev, b->dw, out * in * sizeof(float));
    op->zero(b->dev, b->db, out * sizeof(float));
}

static void release(struct bench *b)
{
    void *all[] = {b->w, b->dw, b->db, b->x, b->dx, b->y, b->dy};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        b->dev->op->free(b->dev, all[i]);
    b->w = b->dw = b->db = NULL;
    b->x = b->dx = b->y = b->dy = NULL;
}

/* Median seconds of a product. */
static double time_product(struct bench *b, enum kind kind, const struct linear *linear,
                           size_t rows, size_t out, size_t in, struct error *err)
{
    const struct device_ops *op = b->dev->op;
    double seconds[RUNS];
    for (int run = -1; run < RUNS; run++) { /* one to warm up */
        double start = now();
        for (int i = 0; i < TOGETHER; i++)
            if (kind == BACKWARD)
                op->linear_backward(b->dev, linear, b->x, in, b->dy, out, rows, b->dx, in, b->dw,
                                    b->db, 0);
            else
                op->linear(b->dev, linear, b->x, in, rows, EPILOGUE_NONE, NULL, b->y, out);
        if (!op->sync(b->dev, err))
            return 0;
        double taken = (now() - start) / TOGETHER;
        int at = run;
        for (; at > 0 && seconds[at - 1] > taken; at--)
            seconds[at] = seconds[at - 1];
        if (run >= 0)
            seconds[at] = taken;
    }
    return seconds[RUNS / 2];
}

static struct linear *make(struct bench *b, enum kind kind, size_t out, size_t in,
                           struct error *err)
{
    if (kind != INT8)
        return b->dev->op->linear_bind(b->dev, b->w, b->db, out, in, err);
    int8_t *codes = memory_zeroed(out * in, 1, err);
    float *scale = memory_zeroed(out, sizeof *scale, err);
    for (size_t i = 0; codes && scale && i < out * in; i++)
        codes[i] = (int8_t)((int)(rng_hash(i, 0) % 255) - 127);
    for (size_t i = 0; codes && scale && i < out; i++)
        scale[i] = 0.01F;
    const struct weight weight = {codes, DTYPE_I8, scale, out, in};
    struct linear *linear =
        codes && scale ? b->dev->op->linear_prepare(b->dev, &weight, NULL, 1, err) : NULL;
    free(codes);
    free(scale);
    return linear;
}

/* peak 0: this is the product that sets it. */
static bool measure(struct bench *b, enum kind kind, const char *name, size_t rows, size_t out,
                    size_t in, struct error *err)
{
    struct linear *linear = NULL;
    double seconds = 0, work = 2.0 * (double)rows * (double)out * (double)in;
    if (allocate(b, rows, out, in, err)) {
        fill(b, rows, out, in);
        linear = make(b, kind, out, in, err);
    }
    if (linear)
        seconds = time_product(b, kind, linear, rows, out, in, err);
    b->dev->op->linear_free(b->dev, linear);
    release(b);
    if (!(seconds > 0))
        return false;
    double speed = work * (kind == BACKWARD ? 2 : 1) / seconds;
    if (!(b->peak > 0))
        b->peak = speed;
    printf("%s\t%s\t%zu x %zu x %zu\t%.1f\t%.3f\t%.0f\n", kind_names[kind], name, rows, in, out,
           seconds * 1e6, speed * 1e-12, 100 * speed / b->peak);
    fflush(stdout);
    return true;
}

static bool precision(enum dtype type, size_t rows, size_t width, struct error *err)
{
    char text[200];
    struct bench b = {.dev = device_cuda_open(0, type, 0, err)};
    if (!b.dev)
        return false;
    b.dev->op->describe(b.dev, text, sizeof text);
    printf("# %s\nproduct\tshape\trows x in x out\tmicroseconds\tTF/s\t%% of the large one\n",
           text);
    bool ok = measure(&b, FORWARD, "large", width, width, width, err);
    for (int kind = FORWARD; ok && kind < KINDS; kind++)
        for (size_t i = 0; ok && i < sizeof shapes / sizeof *shapes; i++)
            ok = measure(&b, (enum kind)kind, shapes[i].name, rows, shapes[i].out, shapes[i].in,
                         err);
    b.dev->op->close(b.dev);
    return ok;
}

int main(int argc, char **argv)
{
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    long rows = argc > 1 ? strtol(argv[1], NULL, 10) : 2048;
    long width = argc > 2 ? strtol(argv[2], NULL, 10) : 8192;
    if (rows < 1 || width < 1 || rows > 1 << 20 || width > 1 << 15) {
        fprintf(stderr, "usage: bench_gpu [ROWS [WIDTH]]\n");
        return 2;
    }
    for (size_t i = 0; i < 3; i++) {
        struct error err = ERROR_INIT;
        if (precision(types[i], (size_t)rows, (size_t)width, &err))
            continue;
        fprintf(stderr, "bench_gpu: %s\n", err.text);
        if (types[i] != DTYPE_BF16) /* which Turing does not have */
            return i == 0 ? 77 : 1;
    }
    return 0;
}
