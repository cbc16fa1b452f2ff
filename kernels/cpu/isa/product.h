/* product.h: small matrix products inside attention, where one operand is a handful of rows and
 * everything is in cache.
 *
 * C [m, n] = A [m, k] B [k, n], or += it. A may be transposed in place (strides for both
 * directions, since its elements are broadcast one by one); B is read along its rows. Each element
 * of C is one chain of multiply-adds over k in order, so its value does not depend on m, n or its
 * place in a tile.
 */
#ifndef MILLET_KERNELS_CPU_ISA_PRODUCT_H
#define MILLET_KERNELS_CPU_ISA_PRODUCT_H

#include <stdbool.h>

#include "kernels/cpu/isa/turn.h"
#include "kernels/cpu/isa/vec_part.h"

enum {
    PRODUCT_ROWS = 4,
    PRODUCT_VECS = 2,  /* with 4 rows 8 sums: latency 4 × 2 units, in 16 registers */
    PRODUCT_DEPTH = 64 /* rows of a panel of B at a time: 8 KB of 64-byte vectors */
};

struct product_a {
    const float *at;
    size_t row, step; /* distance of two rows, and of two elements of a row */
};

/* One tile of `rows` × `vecs` registers; the last register holds `last` <= VEC_N columns. With
 * rows, vecs and whole constant the loops unroll and the sums stay in registers. */
static inline __attribute__((always_inline)) void
product_tile(size_t rows, size_t vecs, bool whole, size_t last, struct product_a a, size_t k,
             const float *b, size_t b_stride, bool add, float *c, size_t c_stride)
{
    vec sum[PRODUCT_ROWS][PRODUCT_VECS];
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vecs; v++) {
            const float *from = c + r * c_stride + v * VEC_N;
            sum[r][v] = (vec){0};
            if (add)
                sum[r][v] = whole || v + 1 < vecs ? vec_load(from) : vec_load_part(from, last);
        }
    for (size_t i = 0; i < k; i++) {
        vec right[PRODUCT_VECS];
        for (size_t v = 0; v < vecs; v++) {
            const float *from = b + i * b_stride + v * VEC_N;
            right[v] = whole || v + 1 < vecs ? vec_load(from) : vec_load_part(from, last);
        }
        for (size_t r = 0; r < rows; r++) {
            vec left = vec_set(a.at[r * a.row + i * a.step]);
            for (size_t v = 0; v < vecs; v++)
                sum[r][v] = vec_fma(left, right[v], sum[r][v]);
        }
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t v = 0; v < vecs; v++) {
            float *to = c + r * c_stride + v * VEC_N;
            if (whole || v + 1 < vecs)
                vec_store(to, sum[r][v]);
            else
                vec_store_part(to, sum[r][v], last);
        }
}

/* All rows of one panel of columns, whose `b` stays in the first-level cache meanwhile. */
static inline __attribute__((always_inline)) void
product_panel(size_t vecs, bool whole, size_t last, size_t m, struct product_a a, size_t k,
              const float *b, size_t b_stride, bool add, float *c, size_t c_stride)
{
    for (; m >= 4; m -= 4, a.at += 4 * a.row, c += 4 * c_stride)
        product_tile(4, vecs, whole, last, a, k, b, b_stride, add, c, c_stride);
    if (m == 3)
        product_tile(3, vecs, whole, last, a, k, b, b_stride, add, c, c_stride);
    else if (m == 2)
        product_tile(2, vecs, whole, last, a, k, b, b_stride, add, c, c_stride);
    else if (m == 1)
        product_tile(1, vecs, whole, last, a, k, b, b_stride, add, c, c_stride);
}

static inline void product(size_t m, size_t n, size_t k, struct product_a a, const float *b,
                           size_t b_stride, bool add, float *c, size_t c_stride)
{
    for (size_t done = 0; done < k; done += PRODUCT_DEPTH) {
        size_t depth = k - done < PRODUCT_DEPTH ? k - done : PRODUCT_DEPTH, j = 0;
        for (; j + 2 * VEC_N <= n; j += 2 * VEC_N)
            product_panel(2, true, VEC_N, m, a, depth, b + j, b_stride, add, c + j, c_stride);
        if (n - j > VEC_N)
            product_panel(2, false, n - j - VEC_N, m, a, depth, b + j, b_stride, add, c + j,
                          c_stride);
        else if (n - j == VEC_N)
            product_panel(1, true, VEC_N, m, a, depth, b + j, b_stride, add, c + j, c_stride);
        else if (n > j)
            product_panel(1, false, n - j, m, a, depth, b + j, b_stride, add, c + j, c_stride);
        add = true; /* the chains go on */
        a.at += depth * a.step;
        b += depth * b_stride;
    }
}

/* to [cols, to_stride] = transpose of from [rows, cols]; to_stride is a multiple of VEC_N, >= rows;
 * columns beyond `rows` up to the next multiple of VEC_N become 0. */
static inline void product_transpose(const float *from, size_t from_stride, size_t rows,
                                     size_t cols, float *to, size_t to_stride)
{
    for (size_t r = 0; r < rows; r += VEC_N)
        for (size_t c = 0; c < cols; c += VEC_N) {
            vec square[VEC_N];
            for (size_t i = 0; i < VEC_N; i++)
                square[i] = r + i < rows ? vec_load_part(from + (r + i) * from_stride + c, cols - c)
                                         : (vec){0};
            turn_square(square);
            for (size_t i = 0; i < VEC_N && c + i < cols; i++)
                vec_store(to + (c + i) * to_stride + r, square[i]);
        }
}

#endif
