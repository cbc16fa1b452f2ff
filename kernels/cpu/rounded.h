/* rounded.h: the inputs of a bound product, rounded to a 16-bit format and kept as floats:
 * training's numerics of bf16 and fp16 on a processor that multiplies floats. Where bf16 is
 * multiplied as it is (dense_bf16_of), products round what they pack, and no copies are kept. */
#ifndef MILLET_KERNELS_CPU_ROUNDED_H
#define MILLET_KERNELS_CPU_ROUNDED_H

#include "kernels/cpu/cpu.h"

struct rounded {
    enum dtype format;
    bool by_products; /* they round; w, x and dy are unused */
    float *w;         /* [out, in] */
    float *x, *dy;    /* room for the rows of the last products */
    size_t room_x, room_dy;
};

void rounded_free(struct rounded *rounded); /* NULL is fine */
/* Rows of x, contiguous, rounded, into *to, which grows. NULL after cpu_fail: no memory. */
const float *rounded_rows(struct cpu *cpu, enum dtype format, const float *x, size_t stride,
                          size_t rows, size_t cols, float **to, size_t *room);

#endif
