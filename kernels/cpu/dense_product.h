/* dense_product.h: the inner part of products of matrices that change from call to call (dense.h),
 * one version per instruction set (isa/dense_product.c): B is packed into panels of a few registers'
 * width, A is read where it lies or from slices of a tile's rows.
 *
 *   panel   [k][width], width = columns filled up with zeros to whole registers
 *   slices  [slices] of [k][tile], the last one filled with zeros
 */
#ifndef MILLET_KERNELS_CPU_DENSE_PRODUCT_H
#define MILLET_KERNELS_CPU_DENSE_PRODUCT_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

/* A matrix read along either side: element (i, l) is at[i * row + l * step]. */
struct dense_view {
    const float *at;
    size_t row, step; /* one of them is 1 */
};

/* Some rows of C over one panel and a block of k: c = from + A · panel. */
struct dense_tile {
    size_t rows;         /* 1 … the kernel's tile */
    struct dense_view a; /* step 1, or one slice: row 1, step the kernel's tile */
    const float *panel;
    size_t cols, k;
    const float *from; /* what the sums begin with */
    size_t from_stride;
    float *c;
    size_t c_stride;
};

struct dense_product {
    size_t tile;           /* most rows of a tile */
    size_t panel;          /* most columns of a panel */
    size_t register_width; /* a panel's columns are filled up to a multiple of it */
    /* `rows` rows of a, whose row is 1, as slices that begin `distance` floats apart. */
    void (*pack_slices)(struct dense_view a, size_t rows, size_t k, float *to, size_t distance);
    /* Columns of B: element (l, j) is b.at[j * b.row + l * b.step]. */
    void (*pack_panel)(struct dense_view b, size_t cols, size_t k, float *to);
    void (*run)(const struct dense_tile *tile);
};

ISA_TABLE(struct dense_product, dense_product);

#endif
