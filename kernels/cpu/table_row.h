/* table_row.h: rows of a table of codes as floats, one version per instruction set
 * (isa/table_row.c). */
#ifndef MILLET_KERNELS_CPU_TABLE_ROW_H
#define MILLET_KERNELS_CPU_TABLE_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/isa.h"

struct table_row {
    /* to [n] = code * scale */
    void (*int8)(const int8_t *code, float scale, size_t n, float *to);
    /* to [n] = (code - 8) * scale of its group, as core/int4.h says, from the first column of a
     * group on. */
    void (*int4)(const uint8_t *codes, const float *scale, size_t n, float *to);
};

ISA_TABLE(struct table_row, table_row);

#endif
