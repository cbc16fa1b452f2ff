/* dense_product.h: the inner part of products of matrices that change from call to call (dense.h),
 * one version per instruction set (isa/dense_product.c); of factors rounded to bf16 just one, where
 * the processor has an instruction for it (isa/dense_bf16.c). B is packed into panels of a few
 * registers' width, A is read where it lies, or from packed rows or slices of a tile's rows.
 *
 * What is packed consists of cells of 32 bits, of one float, or of two bf16: elements 2 l and 2 l + 1
 * of k in the lower and upper half, 0 beyond k.
 *
 *   panel   [cells][width], width = columns filled up with zeros to whole registers
 *   rows    [rows] of [cells]
 *   slices  [slices] of [cells][tile], the last one filled with zeros
 *
 * bf16: factors are rounded to the nearest, ties to even. Their products are exact; the two of a
 * step are added to the fp32 sum one after the other, each time rounded as by an fp32 multiply-add,
 * but that subnormal factors and sums become 0 (Intel, Software Developer's Manual, VDPBF16PS,
 * VCVTNE2PS2BF16). NaN and infinity stay what they are.
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

/* Some rows of C over one panel and a block of k: c = from + A · panel. Packed, A has cells for
 * elements. */
struct dense_tile {
    size_t rows;         /* 1 … the kernel's tile */
    struct dense_view a; /* step 1, or one slice: row 1, step the kernel's tile */
    const float *panel;
    size_t cols, k;    /* k: cells */
    const float *from; /* what the sums begin with */
    size_t from_stride;
    float *c;
    size_t c_stride;
};

struct dense_product {
    size_t tile;           /* most rows of a tile */
    size_t panel;          /* most columns of a panel */
    size_t register_width; /* a panel's columns are filled up to a multiple of it */
    size_t group;          /* elements of k in a cell; k below counts elements */
    /* `rows` rows of a, whose step is 1, as rows that begin `distance` cells apart. NULL: a is read
     * where it lies. */
    void (*pack_rows)(struct dense_view a, size_t rows, size_t k, float *to, size_t distance);
    /* `rows` rows of a, whose row is 1, as slices that begin `distance` cells apart. */
    void (*pack_slices)(struct dense_view a, size_t rows, size_t k, float *to, size_t distance);
    /* Columns of B: element (l, j) is b.at[j * b.row + l * b.step]. */
    void (*pack_panel)(struct dense_view b, size_t cols, size_t k, float *to);
    void (*run)(const struct dense_tile *tile);
};

ISA_TABLE(struct dense_product, dense_product);

/* NULL: no set of instructions for it. */
#if defined(__x86_64__)
extern const struct dense_product dense_bf16_avx512bf16;
#endif
static inline const struct dense_product *dense_bf16_of(enum isa isa)
{
#if defined(__x86_64__)
    return isa == ISA_AVX512BF16 ? &dense_bf16_avx512bf16 : NULL;
#else
    (void)isa;
    return NULL;
#endif
}

#endif
