/* dense_product.c: packing and tiles of fp32 products whose factors change from call to call. */
#include "kernels/cpu/isa/cells_f32.h"
#include "kernels/cpu/isa/vec_part.h"

static inline cells cells_along(const float *from, size_t n)
{
    return vec_load_part(from, n);
}

static inline cells cells_across(const float *from, size_t step, size_t k, size_t cols)
{
    (void)step;
    (void)k;
    return vec_load_part(from, cols);
}

#include "kernels/cpu/isa/dense_pack.h"

/* Along the rows of memory, so that each is read once. */
static void pack_slices(struct dense_view a, size_t rows, size_t k, float *to, size_t distance)
{
    size_t whole = rows / TILE, left = rows % TILE;
    if (left > 0)
        memset(to + whole * distance, 0, TILE * k * sizeof *to);
    for (size_t l = 0; l < k; l++) {
        const float *from = a.at + l * a.step;
        float *at = to + l * TILE;
        ask_ahead(a, l, rows, k);
        for (size_t s = 0; s < whole; s++)
            memcpy(at + s * distance, from + s * TILE, TILE * sizeof *to);
        if (left > 0)
            memcpy(at + whole * distance, from + whole * TILE, left * sizeof *to);
    }
}

const struct dense_product ISA_SYMBOL(dense_product) = {
    .tile = TILE,
    .panel = PANEL_VECS * VEC_N,
    .register_width = VEC_N,
    .group = GROUP,
    .pack_slices = pack_slices,
    .pack_panel = pack_panel,
    .run = run,
};
