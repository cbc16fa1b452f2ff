/* gram.c: Gram matrices by OpenBLAS, tile by tile of one triangle; a tile is one product whoever
 * computes it, so that threads do not change the result. */
#include <limits.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/openblas.h"

enum { TILE = 128 }; /* columns: large enough for OpenBLAS, small enough to share out evenly */

struct gram {
    struct cpu *cpu;
    const float *x;
    size_t rows, cols;
    float *g;
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Tile (i, j), i <= j, and its mirror. */
static void tile(const struct gram *call, size_t i, size_t j)
{
    size_t cols = call->cols, top = i * TILE, left = j * TILE;
    size_t m = least(TILE, cols - top), n = least(TILE, cols - left);
    struct openblas_product product = {.a_transposed = true,
                                       .m = m,
                                       .n = n,
                                       .k = call->rows,
                                       .a = call->x + top,
                                       .a_stride = cols,
                                       .b = call->x + left,
                                       .b_stride = cols,
                                       .beta = 1.0F,
                                       .c = call->g + top * cols + left,
                                       .c_stride = cols};
    openblas_run(call->cpu->openblas, &product);
    for (size_t r = top; r < top + m; r++)
        for (size_t c = i == j ? r + 1 : left; c < left + n; c++)
            call->g[c * cols + r] = call->g[r * cols + c];
}

static void gram_job(void *context, size_t member, size_t n_members)
{
    const struct gram *call = context;
    size_t n = (call->cols + TILE - 1) / TILE, at = 0, begin, end;
    threads_share(n * (n + 1) / 2, member, n_members, &begin, &end);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i; j < n; j++, at++)
            if (at >= begin && at < end)
                tile(call, i, j);
}

void cpu_gram(struct device *dev, const act *x, size_t rows, size_t cols, float *g)
{
    struct cpu *cpu = cpu_of(dev);
    struct gram call = {.cpu = cpu, .x = (const float *)x, .rows = rows, .cols = cols, .g = g};
    struct error err = ERROR_INIT;
    if (rows > INT_MAX || cols > INT_MAX) {
        cpu_fail(cpu, "gram: %zu rows of %zu columns; OpenBLAS takes at most %d", rows, cols,
                 INT_MAX);
        return;
    }
    if (!cpu->openblas && !(cpu->openblas = openblas_open(&err))) {
        cpu_fail(cpu, "gram: %s", err.text);
        return;
    }
    if (rows * cols * cols < LINEAR_ALONE)
        gram_job(&call, 0, 1);
    else
        cpu_run(cpu, gram_job, &call);
}
