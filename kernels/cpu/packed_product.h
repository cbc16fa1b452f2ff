/* packed_product.h: products of activations with packed weights, y [rows, out] = epilogue(x Wᵀ +
 * b), one version per instruction set (isa/product_f32.c, isa/product_int8.c); of bf16 by bf16 just
 * one, where the processor has an instruction for it (isa/product_bf16.c).
 *
 * W [out, in] is cut into panels of `panel` outputs (the last one filled with zeros):
 *   float       [n_panels][k][panel]
 *   bf16, int8  [n_panels][k / group][panel][group], k filled up to a multiple of `group` with zeros
 * Where enough of a panel's slices [panel] of one k (bf16, int8: [panel][group]) are zeros, `run`
 * names those that are not: leaving a product with zero out of a sum of finite terms changes no bit
 * of it.
 *
 * A result is the sum over k in order, in one accumulator (fp32, bf16) or in exact integers (int8):
 * it depends neither on the number of rows, nor on the tile a row falls in, nor on who computes it.
 */
#ifndef MILLET_KERNELS_CPU_PACKED_PRODUCT_H
#define MILLET_KERNELS_CPU_PACKED_PRODUCT_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

enum {
    PRODUCT_BLOCK_ROWS = 192
}; /* most rows of one call: their partial sums stay in the L2 cache */

/* k from begin to end - 1; bf16, int8: multiples of the group. */
struct product_run {
    size_t begin, end;
};

/* Rows × some panels of one product. Pointers to x, x_scale, x_zero, pre and y are those of the first
 * row. */
struct product {
    const void *x;         /* float, rounded or quantised rows */
    size_t x_stride, rows; /* elements */
    const float *x_scale;  /* int8: [rows] */
    const int32_t *x_zero; /* int8: [rows] */
    const void *panels;    /* all panels of W */
    size_t k;              /* as packed */
    size_t out;            /* rows of W */
    size_t begin, end;     /* panels to compute */
    const void *after;     /* what is probably wanted next, fetched in place of a next panel */
    /* Panel p has runs run[run_first[p]] … run[run_first[p + 1] - 1], in order, and zeros between
     * them; NULL: look at all of k. */
    const struct product_run *run;
    const size_t *run_first;
    const float *bias;    /* filled up with zeros to whole panels, as are the next two */
    const float *w_scale; /* int8 */
    const int32_t *w_sum; /* int8: of each row of W; times x_zero what is taken off the products */
    enum epilogue epilogue;
    float *pre; /* NULL or [rows, pre_stride] */
    size_t pre_stride;
    float *y;
    size_t y_stride;
};

struct product_f32 {
    size_t panel;
    void (*run)(const struct product *product); /* rows <= PRODUCT_BLOCK_ROWS */
};

struct product_int8 {
    size_t panel, group;
    size_t x_bytes; /* of one quantised activation */
    /* One row [n] into q [k], n <= k filled up with anything; its scale and zero
     * (kernels/quantise.h). fixed: the scale that was found beforehand; 0: the row's own. */
    float (*quantise)(const float *x, size_t n, size_t k, float fixed, void *q, int32_t *zero);
    void (*run)(const struct product *product);
};

struct product_bf16 {
    size_t panel, group;
    /* One row [n] into `to` [k], n <= k filled up with zeros: nearest, ties to even. */
    void (*round)(const float *x, size_t n, size_t k, uint16_t *to);
    void (*run)(const struct product *product);
};

ISA_TABLE(struct product_f32, product_f32);
ISA_TABLE(struct product_int8, product_int8);

/* NULL: bf16 weights are widened, and fp32 products take them. */
#if defined(__x86_64__)
extern const struct product_bf16 product_bf16_avx512bf16;
#endif
static inline const struct product_bf16 *product_bf16_of(enum isa isa)
{
#if defined(__x86_64__)
    return isa == ISA_AVX512BF16 ? &product_bf16_avx512bf16 : NULL;
#else
    (void)isa;
    return NULL;
#endif
}

#endif
