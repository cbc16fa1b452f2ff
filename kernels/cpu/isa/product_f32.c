/* product_f32.c: fp32 products with packed weights. */
#include "kernels/cpu/isa/vec.h"

typedef float element;
typedef vec cells;
enum { GROUP = 1 };

static inline cells load_cells(const element *from)
{
    return vec_load(from);
}

static inline cells spread_cell(const element *x)
{
    return vec_set(*x);
}

static inline vec multiply_add(cells a, cells b, vec sum)
{
    return vec_fma(a, b, sum);
}

#include "kernels/cpu/isa/packed_tile.h"

const struct product_f32 ISA_SYMBOL(product_f32) = {.panel = PANEL, .run = run};
