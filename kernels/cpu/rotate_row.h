/* rotate_row.h: a row rotated (kernels/rotate.h), one version per instruction set
 * (isa/rotate_row.c), the same values in all. */
#ifndef MILLET_KERNELS_CPU_ROTATE_ROW_H
#define MILLET_KERNELS_CPU_ROTATE_ROW_H

#include <stddef.h>

#include "kernels/cpu/isa.h"

struct rotate_row {
    void (*run)(const float *x, size_t n, float *to); /* x and to may coincide */
};

ISA_TABLE(struct rotate_row, rotate_row);

#endif
