/* cells_f32.h: the cells of packed_tile.h and dense_tile.h as floats. */
#ifndef MILLET_KERNELS_CPU_ISA_CELLS_F32_H
#define MILLET_KERNELS_CPU_ISA_CELLS_F32_H

#include "kernels/cpu/isa/vec.h"

typedef vec cells;
enum { GROUP = 1 };

static inline cells load_cells(const float *from)
{
    return vec_load(from);
}

static inline cells spread_cell(const float *x)
{
    return vec_set(*x);
}

static inline vec multiply_add(cells a, cells b, vec sum)
{
    return vec_fma(a, b, sum);
}

#endif
