/* product_bf16.c: products of bf16 with packed bf16 weights, sums in fp32, by vdpbf16ps: a file of
 * the set avx512bf16 alone (isa.mk). The instruction multiplies pairs exactly, adds them in a fixed
 * order, rounds to nearest even and takes subnormal numbers for 0 (Intel, Software Developer's
 * Manual, VDPBF16PS). */
#include "kernels/cpu/isa/vec.h"

typedef uint16_t element;
typedef vec_int cells;
enum { GROUP = 2 };

static inline cells load_cells(const element *from)
{
    cells v;
    memcpy(&v, from, sizeof v);
    return v;
}

static inline cells spread_cell(const element *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair - (cells){0};
}

static inline vec multiply_add(cells a, cells b, vec sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

#include "kernels/cpu/isa/packed_tile.h"

/* vcvtneps2bf16: to nearest, ties to even, NaN stays NaN. */
static void narrow(vec v, size_t n, element *to)
{
    __m256i half = (__m256i)_mm512_cvtneps_pbh(v);
    if (n >= VEC_N)
        _mm256_storeu_si256((__m256i *)(void *)to, half);
    else
        _mm256_mask_storeu_epi16(to, (__mmask16)((1u << n) - 1), half);
}

static void round_row(const float *x, size_t n, size_t k, element *to)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        narrow(vec_load(x + i), VEC_N, to + i);
    if (i < k)
        narrow(vec_load_n(x + i, n - i), k - i, to + i);
}

const struct product_bf16 ISA_SYMBOL(product_bf16) = {
    .panel = PANEL, .group = GROUP, .round = round_row, .run = run};
