/* dense_bf16.c: packing and tiles of products whose factors change from call to call, of numbers
 * rounded to bf16 on the way into panels, rows and slices: of the set avx512bf16 alone, as
 * product_bf16.c, which tells what the instruction does. */
#include "kernels/cpu/isa/vec_part.h"

typedef vec cells; /* a pair of bf16 in each 32 bits: moved as floats, never computed with */
enum { GROUP = 2 };

static inline cells load_cells(const float *from)
{
    return vec_load(from);
}

static inline cells spread_cell(const float *a)
{
    int32_t pair;
    memcpy(&pair, a, sizeof pair);
    return (cells)(pair - (vec_int){0});
}

static inline vec multiply_add(cells a, cells b, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

/* vcvtne2ps2bf16: to nearest, ties to even, subnormal numbers to 0; NaN stays NaN. */
static inline cells cells_along(const float *from, size_t n)
{
    vec low = vec_load_part(from, n);
    vec high = n > VEC_N ? vec_load_part(from + VEC_N, n - VEC_N) : (vec){0};
    return (cells)_mm512_cvtne2ps_pbh(high, low);
}

static inline cells cells_across(const float *from, size_t step, size_t k, size_t cols)
{
    const __m512i pairs =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    vec low = vec_load_part(from, cols);
    vec high = k > 1 ? vec_load_part(from + step, cols) : (vec){0};
    return (cells)_mm512_permutexvar_epi16(pairs, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

#include "kernels/cpu/isa/dense_pack.h"

static void pack_rows(struct dense_view a, size_t rows, size_t k, float *to, size_t distance)
{
    size_t deep = (k + GROUP - 1) / GROUP;
    for (size_t r = 0; r < rows; r++) {
        const float *from = a.at + r * a.row;
        float *at = to + r * distance;
        for (size_t l = 0; l < deep; l += VEC_N)
            vec_store_part(at + l, cells_along(from + l * GROUP, k - l * GROUP), deep - l);
    }
}

/* Along the rows of memory, so that each is read once; a register is the cells of two slices. */
static void pack_slices(struct dense_view a, size_t rows, size_t k, float *to, size_t distance)
{
    for (size_t l = 0; l < k; l += GROUP, to += TILE) {
        const float *from = a.at + l * a.step;
        float *at = to;
        ask_ahead(a, l, rows, k);
        for (size_t r = 0; r < rows; r += VEC_N, at += 2 * distance) {
            vec both = cells_across(from + r, a.step, k - l, rows - r);
            _mm256_storeu_ps(at, _mm512_castps512_ps256(both));
            if (rows - r > TILE)
                _mm256_storeu_ps(at + distance, _mm512_extractf32x8_ps(both, 1));
        }
    }
}

const struct dense_product ISA_SYMBOL(dense_bf16) = {
    .tile = TILE,
    .panel = PANEL_VECS * VEC_N,
    .register_width = VEC_N,
    .group = GROUP,
    .pack_rows = pack_rows,
    .pack_slices = pack_slices,
    .pack_panel = pack_panel,
    .run = run,
};
