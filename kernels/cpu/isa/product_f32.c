/* product_f32.c: fp32 products with packed weights. */
#include "kernels/cpu/isa/cells_f32.h"

typedef float element;

#include "kernels/cpu/isa/packed_tile.h"

const struct product_f32 ISA_SYMBOL(product_f32) = {.panel = PANEL, .run = run};
