/* product_int8.c: int8 products with exact int32 sums, so that every set gives the same numbers.
 *
 *   avx512    vpdpbusd on u8 × s8: activations are stored as q + 128, and what that adds is taken
 *             off the sums
 *   avx2      weights and activations widened to 16 bits, pmaddwd; vpmaddubsw would saturate
 *   portable  plain C
 */
#include "kernels/cpu/isa/finish.h"
#include "kernels/quantise.h"

#if defined(__AVX512F__)
typedef uint8_t quantised;
enum { TILE_ROWS = 8, PANEL_VECS = 3, GROUP = 4, OFFSET = 128 };
#elif defined(__AVX2__)
typedef int16_t quantised;
enum { TILE_ROWS = 6, PANEL_VECS = 2, GROUP = 2, OFFSET = 0 };
#else
typedef int8_t quantised;
enum { TILE_ROWS = 4, PANEL_VECS = 4, GROUP = 1, OFFSET = 0 };
#endif
enum { PANEL = PANEL_VECS * VEC_N };
typedef quantised quantised_vec __attribute__((vector_size(VEC_N * sizeof(quantised))));

/* Largest |x|; infinity when any element is NaN or infinite. */
static float largest(const float *x, size_t n)
{
    vec best = {0};
    vec_int finite = ~(vec_int){0};
    for (size_t i = 0; i < n; i += VEC_N) {
        vec size = vec_abs(i + VEC_N <= n ? vec_load(x + i) : vec_load_n(x + i, n - i));
        best = vec_max(best, size);
        finite &= size <= 3.0e38f;
    }
    for (size_t i = 0; i < VEC_N; i++)
        if (!finite[i])
            return INFINITY;
    return vec_highest(best);
}

static void set_zero(quantised *to, size_t k)
{
    for (size_t i = 0; i < k; i++)
        to[i] = OFFSET;
}

/* Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, as lrintf does. */
FINISH_INLINE void put_rounded(vec value, quantised *to)
{
    vec_int integer = (vec_int)(value + VEC_ROUNDER) - (vec_int)vec_set(VEC_ROUNDER) + OFFSET;
    quantised_vec narrow = __builtin_convertvector(integer, quantised_vec);
    memcpy(to, &narrow, sizeof narrow);
}

/* With a scale found beforehand: one pass. */
static float quantise_fixed(const float *x, size_t n, size_t k, float scale, quantised *to)
{
    float factor = 1.0f / scale;
    vec_int finite = ~(vec_int){0};
    bool all = true;
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N) {
        vec v = vec_load(x + i);
        finite &= vec_abs(v) <= 3.0e38f;
        put_rounded(vec_max(vec_min(v * factor, vec_set(127.0f)), vec_set(-127.0f)), to + i);
    }
    for (; i < n; i++) {
        all = all && fabsf(x[i]) <= 3.0e38f;
        to[i] = (quantised)(quantise_cut(x[i], factor) + OFFSET);
    }
    for (size_t lane = 0; lane < VEC_N; lane++)
        all = all && finite[lane];
    set_zero(to + n, k - n);
    if (all)
        return scale;
    set_zero(to, n);
    return NAN;
}

static float quantise(const float *x, size_t n, size_t k, float fixed, void *q)
{
    if (fixed > 0)
        return quantise_fixed(x, n, k, fixed, q);
    float factor, scale = quantise_scale(largest(x, n), &factor);
    quantised *to = q;
    size_t i = 0;
    if (!(factor > 0.0f)) {
        set_zero(to, k);
        return scale;
    }
    for (; i + VEC_N <= n; i += VEC_N)
        put_rounded(vec_load(x + i) * factor, to + i);
    for (; i < n; i++)
        to[i] = (quantised)(quantise_value(x[i], factor) + OFFSET);
    set_zero(to + n, k - n);
    return scale;
}

/* sum [rows, PANEL] = x · panel over the k of the runs; rows is a constant. */
#if defined(__AVX512F__) || defined(__AVX2__)
FINISH_INLINE vec_int multiply_add(vec_int sum, vec_int x, vec_int w)
{
#if defined(__AVX512F__)
    return (vec_int)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)w);
#else
    return sum + (vec_int)_mm256_madd_epi16((__m256i)x, (__m256i)w);
#endif
}

FINISH_INLINE vec_int load_weights(const int8_t *w)
{
#if defined(__AVX512F__)
    return (vec_int)_mm512_loadu_si512(w);
#else
    return (vec_int)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w));
#endif
}

FINISH_INLINE void tile(size_t rows, const quantised *x, size_t x_stride, const int8_t *panel,
                        const struct product_run *run, size_t n_runs, int32_t *sum)
{
    vec_int c[TILE_ROWS][PANEL_VECS];
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        VEC_UNROLL
    for (size_t v = 0; v < PANEL_VECS; v++)
        c[r][v] = (vec_int){0};
    for (const struct product_run *at = run; at < run + n_runs; at++)
        for (size_t i = at->begin; i < at->end; i += GROUP) {
            vec_int b[PANEL_VECS];
            VEC_UNROLL
            for (size_t v = 0; v < PANEL_VECS; v++)
                b[v] = load_weights(panel + i * PANEL + v * VEC_N * GROUP);
            VEC_UNROLL
            for (size_t r = 0; r < rows; r++) {
                int32_t group; /* GROUP activations, 32 bits in all */
                memcpy(&group, x + r * x_stride + i, sizeof group);
                vec_int a = group - (vec_int){0};
                VEC_UNROLL
                for (size_t v = 0; v < PANEL_VECS; v++)
                    c[r][v] = multiply_add(c[r][v], a, b[v]);
            }
        }
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        memcpy(sum + r * PANEL, c[r], sizeof c[r]);
}
#else
FINISH_INLINE void tile(size_t rows, const quantised *x, size_t x_stride, const int8_t *panel,
                        const struct product_run *run, size_t n_runs, int32_t *sum)
{
    memset(sum, 0, rows * PANEL * sizeof *sum);
    for (const struct product_run *at = run; at < run + n_runs; at++)
        for (size_t i = at->begin; i < at->end; i++)
            for (size_t r = 0; r < rows; r++)
                for (size_t j = 0; j < PANEL; j++)
                    sum[r * PANEL + j] += x[r * x_stride + i] * panel[i * PANEL + j];
}
#endif

#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        tile(n, x, p->x_stride, panel, run, n_runs, sum);                                          \
        break

static void run_tile(const struct product *p, size_t rows, const quantised *x, const int8_t *panel,
                     const struct product_run *run, size_t n_runs, int32_t *sum)
{
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
#if defined(__AVX2__)
        ROWS(5);
        ROWS(6);
#endif
#if defined(__AVX512F__)
        ROWS(7);
        ROWS(8);
#endif
    default:
        break;
    }
}

static void run(const struct product *p)
{
    _Alignas(64) int32_t sum[PRODUCT_BLOCK_ROWS * PANEL];
    const struct product_run whole = {0, p->k};
    size_t n_tiles = (p->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t panel = p->begin; panel < p->end; panel++) {
        const int8_t *w = (const int8_t *)p->panels + panel * p->k * PANEL;
        const struct product_run *runs = p->run ? p->run + p->run_first[panel] : &whole;
        size_t n_runs = p->run ? p->run_first[panel + 1] - p->run_first[panel] : 1;
        for (size_t t = 0; t < n_tiles; t++) {
            size_t r0 = p->rows * t / n_tiles, r1 = p->rows * (t + 1) / n_tiles;
            run_tile(p, r1 - r0, (const quantised *)p->x + r0 * p->x_stride, w, runs, n_runs,
                     sum + r0 * PANEL);
        }
        finish(p, sum, PANEL, panel, 1, PANEL, true);
    }
}

const struct product_int8 ISA_SYMBOL(product_int8) = {
    .panel = PANEL,
    .group = GROUP,
    .x_bytes = sizeof(quantised),
    .offset = OFFSET,
    .quantise = quantise,
    .run = run,
};
