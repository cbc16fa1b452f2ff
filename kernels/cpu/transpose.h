/* transpose.h: blocks of floats turned over in registers, one version per instruction set
 * (isa/transpose.c). */
#ifndef MILLET_KERNELS_CPU_TRANSPOSE_H
#define MILLET_KERNELS_CPU_TRANSPOSE_H

#include <stddef.h>

#include "kernels/cpu/isa.h"

struct transpose {
    /* y [cols, y_stride] = transpose of x [rows, x_stride]; rows is a multiple of the register. */
    void (*run)(const float *x, size_t x_stride, size_t rows, size_t cols, float *y,
                size_t y_stride);
};

ISA_TABLE(struct transpose, transpose);

#endif
