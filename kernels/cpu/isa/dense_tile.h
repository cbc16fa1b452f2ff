/* dense_tile.h: register tiles of products whose factors change from call to call. A tile's sums stay
 * in registers over a block of k; each is one chain of multiply-adds in order.
 *
 * A cell is 32 bits, what one step multiplies of a row: a float, or a pair of 16-bit floats; lengths
 * k here count cells. Who includes this says before what that is:
 *     cells            a register of VEC_N cells
 *     load_cells()     VEC_N cells of a panel: one of each column
 *     spread_cell()    one cell of A, VEC_N times
 *     multiply_add()   sums of VEC_N columns and what a step adds to them
 */
#ifndef MILLET_KERNELS_CPU_ISA_DENSE_TILE_H
#define MILLET_KERNELS_CPU_ISA_DENSE_TILE_H

#include "kernels/cpu/dense_product.h"
#include "kernels/cpu/isa/turn.h"
#include "kernels/cpu/isa/vec_part.h"

#if defined(__AVX512F__)
enum { TILE = 8, PANEL_VECS = 3 };
#elif defined(__AVX2__)
enum { TILE = 6, PANEL_VECS = 2 };
#elif defined(__aarch64__)
enum { TILE = 8, PANEL_VECS = 3 };
#else
enum { TILE = 4, PANEL_VECS = 2 };
#endif

#define DENSE_INLINE static inline __attribute__((always_inline))

DENSE_INLINE size_t vecs_of(size_t cols)
{
    return (cols + VEC_N - 1) / VEC_N;
}

/* rows, vecs and the step of A are constants; cols = vecs * VEC_N. */
DENSE_INLINE void multiply(const struct dense_tile *t, size_t rows, size_t vecs, size_t row,
                           size_t step)
{
    vec c[TILE][PANEL_VECS];
    const float *a = t->a.at, *panel = t->panel;
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        VEC_UNROLL
    for (size_t v = 0; v < vecs; v++)
        c[r][v] = vec_load(t->from + r * t->from_stride + v * VEC_N);
    for (size_t l = 0; l < t->k; l++) {
        cells b[PANEL_VECS];
        VEC_UNROLL
        for (size_t v = 0; v < vecs; v++)
            b[v] = load_cells(panel + (l * vecs + v) * VEC_N);
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++) {
            cells left = spread_cell(a + r * row + l * step);
            VEC_UNROLL
            for (size_t v = 0; v < vecs; v++)
                c[r][v] = multiply_add(left, b[v], c[r][v]);
        }
    }
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        VEC_UNROLL
    for (size_t v = 0; v < vecs; v++)
        vec_store(t->c + r * t->c_stride + v * VEC_N, c[r][v]);
}

DENSE_INLINE void multiply_rows(const struct dense_tile *t, size_t rows, size_t vecs)
{
    if (t->a.step == 1)
        multiply(t, rows, vecs, t->a.row, 1);
    else
        multiply(t, rows, vecs, 1, TILE);
}

#if defined(__AVX512F__) || defined(__aarch64__)
#define WIDEST(n) else if (vecs == 3) multiply_rows(t, n, 3)
#else
#define WIDEST(n)
#endif
#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        if (vecs == 1)                                                                             \
            multiply_rows(t, n, 1);                                                                \
        else if (vecs == 2)                                                                        \
            multiply_rows(t, n, 2);                                                                \
        WIDEST(n);                                                                                 \
        break

static void run_whole(const struct dense_tile *t, size_t vecs)
{
    switch (t->rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
#if defined(__AVX2__) || defined(__aarch64__)
        ROWS(5);
        ROWS(6);
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
        ROWS(7);
        ROWS(8);
#endif
    default:
        break;
    }
}

/* Where columns end within a register, C goes through memory that has room for whole ones. */
static void run(const struct dense_tile *t)
{
    size_t vecs = vecs_of(t->cols);
    if (t->cols % VEC_N == 0) {
        run_whole(t, vecs);
        return;
    }
    float room[TILE * PANEL_VECS * VEC_N] = {0};
    struct dense_tile inside = *t;
    inside.from = inside.c = room;
    inside.from_stride = inside.c_stride = vecs * VEC_N;
    for (size_t r = 0; r < t->rows; r++)
        memcpy(room + r * inside.c_stride, t->from + r * t->from_stride, t->cols * sizeof *room);
    run_whole(&inside, vecs);
    for (size_t r = 0; r < t->rows; r++)
        memcpy(t->c + r * t->c_stride, room + r * inside.c_stride, t->cols * sizeof *room);
}

#endif
