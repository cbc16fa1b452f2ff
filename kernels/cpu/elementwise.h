/* elementwise.h: functions of one array, one version per instruction set (isa/elementwise.c).
 * Arrays may coincide, any alignment. */
#ifndef MILLET_KERNELS_CPU_ELEMENTWISE_H
#define MILLET_KERNELS_CPU_ELEMENTWISE_H

#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

struct elementwise {
    void (*exp)(const float *x, size_t n, float *y); /* for test_vec.c, which holds its bound */
    void (*add)(const float *x, size_t n, float *y); /* y += x */
    /* y = epilogue(pre) */
    void (*epilogue)(enum epilogue epilogue, const float *pre, size_t n, float *y);
    /* dpre = dy * epilogue'(pre) */
    void (*epilogue_backward)(enum epilogue epilogue, const float *pre, const float *dy, size_t n,
                              float *dpre);
};

ISA_TABLE(struct elementwise, elementwise);

#endif
