/* dense_pack.h: panels of B, in the cells of dense_tile.h. Who includes this says before, besides
 * what that asks for:
 *     GROUP            elements of k in a cell
 *     cells_along()    VEC_N cells of a row: elements from[0 … n-1], zeros beyond
 *     cells_across()   one cell of each of VEC_N columns: elements from[j + l * step] for l below k,
 *                      of the first `cols` columns; zeros beyond
 */
#ifndef MILLET_KERNELS_CPU_ISA_DENSE_PACK_H
#define MILLET_KERNELS_CPU_ISA_DENSE_PACK_H

#include "kernels/cpu/isa/dense_tile.h"

enum {
    AHEAD = 16, /* rows that are asked for before they are copied */
    LINE = 16   /* floats of a cache line */
};

/* Rows lie far apart, on a page each: no processor guesses the next one. */
DENSE_INLINE void ask_for(const float *row, size_t cols)
{
    for (size_t j = 0; j < cols; j += LINE)
        __builtin_prefetch(row + j);
}

/* The rows of a cell, AHEAD rows on from row l of k. */
DENSE_INLINE void ask_ahead(struct dense_view rows, size_t l, size_t cols, size_t k)
{
    for (size_t i = l + AHEAD; i < l + AHEAD + GROUP && i < k; i++)
        ask_for(rows.at + i * rows.step, cols);
}

static void copy_rows(struct dense_view b, size_t cols, size_t k, float *to)
{
    size_t vecs = vecs_of(cols);
    for (size_t l = 0; l < k; l += GROUP) {
        const float *from = b.at + l * b.step;
        ask_ahead(b, l, cols, k);
        for (size_t v = 0; v < vecs; v++, to += VEC_N)
            vec_store(to, cells_across(from + v * VEC_N, b.step, k - l, cols - v * VEC_N));
    }
}

/* VEC_N columns of B, each of which lies in one row, in squares that turn over in registers. */
static void turn_columns(struct dense_view b, size_t cols, size_t k, float *to, size_t width)
{
    enum { DEEP = VEC_N * GROUP };
    for (size_t l = 0; l < k; l += DEEP, to += VEC_N * width) {
        vec square[VEC_N];
        if (cols == VEC_N && k - l >= DEEP) {
            VEC_UNROLL
            for (size_t j = 0; j < VEC_N; j++)
                square[j] = cells_along(b.at + j * b.row + l, DEEP);
            turn_square(square);
            VEC_UNROLL
            for (size_t i = 0; i < VEC_N; i++)
                vec_store(to + i * width, square[i]);
            continue;
        }
        for (size_t j = 0; j < VEC_N; j++)
            square[j] = j < cols ? cells_along(b.at + j * b.row + l, k - l) : (vec){0};
        turn_square(square);
        for (size_t i = 0; i < VEC_N && l + i * GROUP < k; i++)
            vec_store(to + i * width, square[i]);
    }
}

static void pack_panel(struct dense_view b, size_t cols, size_t k, float *to)
{
    size_t width = vecs_of(cols) * VEC_N;
    if (b.row == 1) {
        copy_rows(b, cols, k, to);
        return;
    }
    for (size_t j = 0; j < cols; j += VEC_N) {
        struct dense_view part = {b.at + j * b.row, b.row, b.step};
        turn_columns(part, cols - j < VEC_N ? cols - j : VEC_N, k, to + j, width);
    }
}

#endif
