/* bench_blocks: products with weights of which some blocks of 32 x 32 are zero, against the same product
 * without zeros, a tab-separated table on stdout: by share of blocks that stay, microseconds of
 * processor time of one thread, medians of both, taken in turns. What pack_runs.c calls worth it is
 * read off here.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/memory.h"
#include "core/rng.h"
#include "kernels/kernels.h"

enum { RUNS = 41, OUT = 1152, IN = 384, ROWS = 320, SIDE = 32 };

static struct error err = ERROR_INIT;

static void need(bool ok)
{
    if (!ok) {
        fprintf(stderr, "bench_blocks: %s\n", err.text);
        exit(1);
    }
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct linear *prepare(struct device *dev, enum dtype type, unsigned kept)
{
    float *w = memory_array((size_t)OUT * IN, sizeof *w, &err);
    float *scale = memory_array(OUT, sizeof *scale, &err);
    char *raw = malloc((size_t)OUT * IN * dtype_bytes(type));
    need(w && scale && raw);
    for (size_t r = 0; r < OUT; r++)
        for (size_t c = 0; c < IN; c++) {
            size_t block = r / SIDE * (IN / SIDE) + c / SIDE;
            w[r * IN + c] = rng_hash(1, block) % 100 < kept ? (float)(rng_hash(r, c) % 100) + 1 : 0;
        }
    for (size_t r = 0; r < OUT; r++)
        scale[r] = 0.01F;
    dtype_from_float(type, w, (size_t)OUT * IN, raw);
    const struct weight part = {raw, type, type == DTYPE_I8 ? scale : NULL, OUT, IN, false};
    struct linear *linear = dev->op->linear_prepare(dev, &part, NULL, 1, &err);
    need(linear != NULL);
    free(w);
    free(scale);
    free(raw);
    return linear;
}

static double once(struct device *dev, const struct linear *linear, const float *x, float *y)
{
    double start = now();
    dev->op->linear(dev, linear, (const act *)x, IN, ROWS, EPILOGUE_NONE, NULL, (act *)y, OUT);
    return now() - start;
}

int main(void)
{
    static const unsigned shares[] = {100, 95, 90, 80, 70, 60, 50, 40, 30, 25, 20, 10, 5};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_I8};
    struct device *dev = device_cpu_open(1, &err);
    need(dev != NULL);
    float *x = memory_zeroed((size_t)ROWS * IN, sizeof *x, &err);
    float *y = memory_array((size_t)ROWS * OUT, sizeof *y, &err);
    need(x && y);
    for (size_t i = 0; i < (size_t)ROWS * IN; i++)
        x[i] = (float)(i % 17) / 17;
    printf("type\tkept\tdense_us\tblocks_us\tspeedup\n");
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++)
        for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
            struct linear *dense = prepare(dev, types[t], 100);
            struct linear *blocks = prepare(dev, types[t], shares[s]);
            double a[RUNS], b[RUNS];
            for (size_t i = 0; i < RUNS; i++) {
                a[i] = once(dev, dense, x, y);
                b[i] = once(dev, blocks, x, y);
            }
            qsort(a, RUNS, sizeof *a, by_size);
            qsort(b, RUNS, sizeof *b, by_size);
            printf("%s\t%u%%\t%.1f\t%.1f\t%.2f\n", dtype_name(types[t]), shares[s], a[RUNS / 2],
                   b[RUNS / 2], a[RUNS / 2] / b[RUNS / 2]);
            dev->op->linear_free(dev, dense);
            dev->op->linear_free(dev, blocks);
        }
    need(dev->op->sync(dev, &err));
    free(x);
    free(y);
    dev->op->close(dev);
    return 0;
}
