/* widen.h: 16-bit floats to floats, one version per instruction set (isa/widen.c). */
#ifndef MILLET_KERNELS_CPU_WIDEN_H
#define MILLET_KERNELS_CPU_WIDEN_H

#include <stddef.h>

#include "core/dtype.h"
#include "kernels/cpu/isa.h"

struct widen {
    /* n elements of a float type at any alignment; the same values as dtype_to_float(). */
    void (*run)(enum dtype type, const void *x, size_t n, float *y);
};

ISA_TABLE(struct widen, widen);

#endif
