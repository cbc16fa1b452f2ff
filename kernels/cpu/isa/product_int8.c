/* product_int8.c: int8 products with exact int32 sums, so that every set gives the same numbers.
 *
 *   avx512    vpdpbusd on u8 × s8: activations are stored as code + zero, and what that adds is
 *             taken off the sums
 *   avx2      codes and weights as 16 bits, pmaddwd; vpmaddubsw would saturate
 *   portable  plain C
 */
#include "kernels/cpu/isa/ahead.h"
#include "kernels/cpu/isa/finish.h"
#include "kernels/quantise.h"

#if defined(__AVX512F__)
typedef uint8_t quantised;
enum { TILE_ROWS = 8, PANEL_VECS = 3, GROUP = 4, SHIFTED = 1 };
#elif defined(__AVX2__)
typedef int16_t quantised;
enum { TILE_ROWS = 6, PANEL_VECS = 2, GROUP = 2, SHIFTED = 0 };
#else
typedef int16_t quantised;
enum { TILE_ROWS = 4, PANEL_VECS = 4, GROUP = 1, SHIFTED = 0 };
#endif
enum { PANEL = PANEL_VECS * VEC_N };
#if !defined(__AVX2__)
typedef quantised quantised_vec __attribute__((vector_size(VEC_N * sizeof(quantised))));
#endif

static float bits_value(int32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The lowest and the highest of a row's values and 0; a NaN is either. Floats are ordered as the
 * integers of their bits, above infinity NaNs: with their signs positive ones, unsigned negative
 * ones, the lowest last. Four at a time, so that none waits for the one before. */
FINISH_INLINE struct quantise range(const float *x, size_t n)
{
    const uint32_t sign = 0x80000000u;
    vec_int high[4] = {{0}};
    vec_uint low[4];
    size_t i = 0;
    VEC_UNROLL
    for (size_t v = 0; v < 4; v++)
        low[v] = sign - (vec_uint){0};
    for (; i + 4 * VEC_N <= n; i += 4 * VEC_N)
        VEC_UNROLL
    for (size_t v = 0; v < 4; v++) {
        vec value = vec_load(x + i + v * VEC_N);
        high[v] = vec_int_max(high[v], (vec_int)value);
        low[v] = vec_uint_max(low[v], (vec_uint)value);
    }
    for (; i < n; i += VEC_N) {
        vec value = vec_load_part(x + i, n - i);
        high[0] = vec_int_max(high[0], (vec_int)value);
        low[0] = vec_uint_max(low[0], (vec_uint)value);
    }
    high[0] = vec_int_max(vec_int_max(high[0], high[1]), vec_int_max(high[2], high[3]));
    low[0] = vec_uint_max(vec_uint_max(low[0], low[1]), vec_uint_max(low[2], low[3]));
    float depth = bits_value(vec_int_highest((vec_int)(low[0] ^ sign)));
    return quantise_range(-depth, bits_value(vec_int_highest(high[0])));
}

static void set_zero(quantised *to, size_t k, int32_t *zero)
{
    memset(to, 0, k * sizeof *to);
    *zero = 0;
}

/* VEC_ROUNDER less what is added to a code. */
FINISH_INLINE vec_int stored_from(int32_t zero)
{
    return (vec_int)vec_set(VEC_ROUNDER) - (SHIFTED ? zero : 0);
}

/* The first n <= VEC_N of them. Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, as
 * lrintf does. What is above 255 is 255. */
FINISH_INLINE void put_rounded(vec value, vec_int from, size_t n, quantised *to)
{
    vec_int integer = (vec_int)(value + VEC_ROUNDER) - from;
#if defined(__AVX512F__)
    if (n < VEC_N)
        _mm512_mask_cvtusepi32_storeu_epi8(to, (__mmask16)((1u << n) - 1), (__m512i)integer);
    else
        _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtusepi32_epi8((__m512i)integer));
#else
#if defined(__AVX2__)
    __m256i pairs = _mm256_packs_epi32((__m256i)integer, (__m256i)integer);
    __m128i narrow = _mm256_castsi256_si128(_mm256_permute4x64_epi64(pairs, 0x08));
#else
    quantised_vec narrow = __builtin_convertvector(integer, quantised_vec);
#endif
    if (n < VEC_N)
        memcpy(to, &narrow, n * sizeof *to);
    else
        memcpy(to, &narrow, sizeof narrow);
#endif
}

/* With a scale found beforehand: one pass. k is a multiple of the group, and so is VEC_N: what
 * fills a row up fits the register of its last elements. */
static float quantise_fixed(const float *x, size_t n, size_t k, float scale, quantised *to,
                            int32_t *zero)
{
    float factor = 1.0f / scale;
    vec highest = vec_set(127.0f), lowest = vec_set(-127.0f);
    vec_int top = {0}, from = stored_from(QUANTISE_FIXED_ZERO);
    size_t i = 0;
    *zero = QUANTISE_FIXED_ZERO;
    for (; i + VEC_N <= n; i += VEC_N) {
        vec v = vec_load(x + i);
        top = vec_int_max(top, (vec_int)vec_abs(v));
        put_rounded(vec_max(vec_min(v * factor, highest), lowest), from, VEC_N, to + i);
    }
    if (i < n) {
        vec v = vec_load_n(x + i, n - i);
        top = vec_int_max(top, (vec_int)vec_abs(v));
        put_rounded(vec_max(vec_min(v * factor, highest), lowest), from, k - i, to + i);
    }
    if (bits_value(vec_int_highest(top)) <= FLT_MAX)
        return scale;
    set_zero(to, k, zero);
    return NAN;
}

/* x in steps; bytes need not be cut, for put_rounded() does it. */
FINISH_INLINE vec in_steps(vec x, const struct quantise *how)
{
    vec value = x * how->factor;
    return SHIFTED ? value : vec_min(value, vec_set(how->most));
}

static float quantise(const float *x, size_t n, size_t k, float fixed, void *q, int32_t *zero)
{
    if (fixed > 0)
        return quantise_fixed(x, n, k, fixed, q, zero);
    const struct quantise how = range(x, n);
    quantised *to = q;
    size_t i = 0;
    if (!(how.factor > 0.0f)) {
        set_zero(to, k, zero);
        return how.scale;
    }
    vec_int from = stored_from(how.zero);
    *zero = how.zero;
    for (; i + VEC_N <= n; i += VEC_N)
        put_rounded(in_steps(vec_load(x + i), &how), from, VEC_N, to + i);
    if (i < n)
        put_rounded(in_steps(vec_load_n(x + i, n - i), &how), from, k - i, to + i);
    return how.scale;
}

/* A panel of weights and the columns it gives. */
struct panel {
    const int8_t *w;
    struct ahead ahead;
    const struct product_run *run;
    size_t n_runs, column, cols;
};

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

FINISH_INLINE void step(size_t rows, size_t vecs, const quantised *x, size_t x_stride,
                        const int8_t *w, vec_int c[TILE_ROWS][PANEL_VECS])
{
    vec_int b[PANEL_VECS];
    VEC_UNROLL
    for (size_t v = 0; v < vecs; v++)
        b[v] = load_weights(w + v * VEC_N * GROUP);
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        int32_t group; /* GROUP activations, 32 bits in all */
        memcpy(&group, x + r * x_stride, sizeof group);
        vec_int a = group - (vec_int){0};
        VEC_UNROLL
        for (size_t v = 0; v < vecs; v++)
            c[r][v] = multiply_add(c[r][v], a, b[v]);
    }
}

FINISH_INLINE void multiply(size_t rows, size_t vecs, const quantised *x, size_t x_stride,
                            const struct panel *panel, vec_int c[TILE_ROWS][PANEL_VECS])
{
    for (const struct product_run *at = panel->run; at < panel->run + panel->n_runs; at++)
        for (size_t i = at->begin; i < at->end;) {
            size_t stop = ahead_fetch(panel->ahead, i / GROUP, PANEL * GROUP) * GROUP;
            for (stop = stop < at->end ? stop : at->end; i < stop; i += GROUP)
                step(rows, vecs, x + i, x_stride, panel->w + i * PANEL, c);
        }
}
#else
FINISH_INLINE void multiply(size_t rows, size_t vecs, const quantised *x, size_t x_stride,
                            const struct panel *panel, vec_int c[TILE_ROWS][PANEL_VECS])
{
    int32_t sum[TILE_ROWS][PANEL];
    memcpy(sum, c, sizeof sum);
    for (const struct product_run *at = panel->run; at < panel->run + panel->n_runs; at++)
        for (size_t i = at->begin; i < at->end; i++)
            for (size_t r = 0; r < rows; r++)
                for (size_t j = 0; j < vecs * VEC_N; j++)
                    sum[r][j] += x[r * x_stride + i] * panel->w[i * PANEL + j];
    memcpy(c, sum, sizeof sum);
}
#endif

/* Sums become floats with their bias; the last register has `last` columns. */
FINISH_INLINE void put(size_t rows, size_t vecs, size_t last, vec_int c[TILE_ROWS][PANEL_VECS],
                       const float *x_scale, const vec *w_scale, const vec *bias, float *y,
                       size_t y_stride)
{
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        vec scale = vec_set(x_scale[r]);
        VEC_UNROLL
        for (size_t v = 0; v < vecs; v++) {
            vec value = __builtin_convertvector(c[r][v], vec) * scale * w_scale[v] + bias[v];
            vec_store_part(y + r * y_stride + v * VEC_N, value, v + 1 < vecs ? VEC_N : last);
        }
    }
}

/* Sums begin with what the zeros of their rows add to them, taken off: -2^31 < it < 2^31, and the sum
 * is exact modulo 2^32. */
FINISH_INLINE void take_off_zeros(size_t rows, size_t vecs, const struct product *p, size_t row,
                                  const struct panel *panel, vec_int c[TILE_ROWS][PANEL_VECS])
{
    VEC_UNROLL
    for (size_t v = 0; v < vecs; v++) {
        vec_int sum;
        memcpy(&sum, p->w_sum + panel->column + v * VEC_N, sizeof sum);
        VEC_UNROLL
        for (size_t r = 0; r < rows; r++)
            c[r][v] = -p->x_zero[row + r] * sum;
    }
}

/* Rows from number `row` on by `vecs` registers of columns, all that the panel has; the sums stay in
 * registers until they are floats with their bias. rows and vecs are constants. */
FINISH_INLINE void tile(size_t rows, size_t vecs, const struct product *p, size_t row,
                        const struct panel *panel)
{
    vec_int c[TILE_ROWS][PANEL_VECS] = {{{0}}};
    float *y = p->y + row * p->y_stride + panel->column;
    size_t y_stride = p->y_stride;
    ahead_write(y, y_stride, rows, vecs);
    if (SHIFTED)
        take_off_zeros(rows, vecs, p, row, panel, c);
    multiply(rows, vecs, (const quantised *)p->x + row * p->x_stride, p->x_stride, panel, c);
    size_t last = panel->cols - (vecs - 1) * VEC_N; /* columns of the last register */
    const float *x_scale = p->x_scale + row;
    vec w_scale[PANEL_VECS], bias[PANEL_VECS];
    VEC_UNROLL
    for (size_t v = 0; v < vecs; v++) {
        w_scale[v] = vec_load(p->w_scale + panel->column + v * VEC_N);
        bias[v] = vec_load(p->bias + panel->column + v * VEC_N);
    }
    if (last == VEC_N)
        put(rows, vecs, VEC_N, c, x_scale, w_scale, bias, y, y_stride);
    else
        put(rows, vecs, last, c, x_scale, w_scale, bias, y, y_stride);
}

#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        tile(n, vecs, p, row, panel);                                                              \
        break

FINISH_INLINE void run_rows(size_t vecs, const struct product *p, size_t row, size_t rows,
                            const struct panel *panel)
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

/* A last panel that is not full has as many registers as it needs. */
static void run_tile(const struct product *p, size_t row, size_t rows, const struct panel *panel)
{
    size_t vecs = (panel->cols + VEC_N - 1) / VEC_N;
    if (vecs == 1)
        run_rows(1, p, row, rows, panel);
    else if (PANEL_VECS > 2 && vecs == 2)
        run_rows(2, p, row, rows, panel);
    else if (PANEL_VECS > 3 && vecs == 3)
        run_rows(3, p, row, rows, panel);
    else
        run_rows(PANEL_VECS, p, row, rows, panel);
}

static void run(const struct product *p)
{
    const struct product_run whole = {0, p->k};
    size_t n_tiles = (p->rows + TILE_ROWS - 1) / TILE_ROWS;
    for (size_t i = p->begin; i < p->end; i++) {
        struct panel panel = {
            .w = (const int8_t *)p->panels + i * p->k * PANEL,
            .run = p->run ? p->run + p->run_first[i] : &whole,
            .n_runs = p->run ? p->run_first[i + 1] - p->run_first[i] : 1,
            .column = i * PANEL,
            .cols = finish_columns(p, i, 1, PANEL),
        };
        const void *next = i + 1 < p->end ? panel.w + p->k * PANEL : p->after;
        for (size_t t = 0; t < n_tiles; t++) {
            size_t row = p->rows * t / n_tiles, rows = p->rows * (t + 1) / n_tiles - row;
            panel.ahead = ahead_of(next, p->k * PANEL, t, n_tiles);
            run_tile(p, row, rows, &panel);
            if (p->epilogue != EPILOGUE_NONE || p->pre)
                finish(p, p->y + row * p->y_stride + panel.column, p->y_stride, row, rows,
                       panel.column, panel.cols, true);
        }
    }
}

const struct product_int8 ISA_SYMBOL(product_int8) = {
    .panel = PANEL,
    .group = GROUP,
    .x_bytes = sizeof(quantised),
    .quantise = quantise,
    .run = run,
};
