/* linear.h: a matrix of weights as the CPU device keeps it: packed for inference (linear.c), or
 * bound to trainable memory (bound.c). */
#ifndef MILLET_KERNELS_CPU_LINEAR_H
#define MILLET_KERNELS_CPU_LINEAR_H

#include "kernels/cpu/cpu.h"

struct product_run;

struct linear {
    size_t out, in;
    /* packed, and not empty: prepared after it on the same device, or the first there; its product
     * most likely comes next */
    struct linear *next;
    enum { LINEAR_F32, LINEAR_BF16, LINEAR_INT8, LINEAR_BOUND } kind;
    /* packed, as kernels/cpu/packed_product.h says; owned */
    size_t panel, group;
    size_t k, n_panels; /* k: `in`, for bf16 and int8 filled up to the group */
    void *panels;
    float *bias;    /* filled up with zeros to whole panels, zeros when there is none */
    float *w_scale; /* int8 */
    int32_t *w_sum; /* int8 */
    float x_scale;  /* int8: of all x; 0: each row's own */
    bool rotated;   /* int8: as struct weight says */
    struct product_run
        *run; /* NULL: too few zeros to be worth it; owned, as run_first [n_panels + 1] */
    size_t *run_first;
    /* bound; not owned */
    float *w, *b;
    struct rounded *rounded; /* owned; NULL: products multiply w as it is */
};

/* Bytes of a packed weight. */
static inline size_t linear_element(const struct linear *linear)
{
    return linear->kind == LINEAR_INT8   ? sizeof(int8_t)
           : linear->kind == LINEAR_BF16 ? sizeof(uint16_t)
                                         : sizeof(float);
}

/* A product, as the operation gets it, in floats. */
struct linear_call {
    struct cpu *cpu;
    const struct linear *linear;
    const float *x;
    size_t x_stride, rows;
    enum epilogue epilogue;
    float *pre; /* NULL or [rows, out] */
    float *y;
    size_t y_stride;
};

/* Below this many multiplications a product is not worth waking the team for. */
enum { LINEAR_ALONE = 1 << 16 };

/* The forward product of a bound matrix. */
void linear_bound_run(const struct linear_call *call);

#endif
