/* vec.h: one register of floats in the width of the instruction set this file is compiled for (16,
 * 8 or 4), as a compiler vector, so that arithmetic and comparisons are ordinary C; and the
 * functions a transformer needs on it, as polynomials.
 *
 * Only files of kernels/cpu/isa/ include this. Products and sums are fused only where vec_fma says
 * so (the build has -ffp-contract=off), hence a value does not depend on what the compiler did with
 * its neighbours. Every function works lane by lane.
 *
 * Error bounds (tests/unit/test_vec.c holds them against libm for all sets):
 *   vec_exp        relative 3e-7 where the result is a normal number; exact 0 and infinity outside
 *   vec_tanh       relative 4e-7
 *   vec_gelu       absolute 4e-7 * max(1, |x|); derivative the same
 *   vec_gelu_tanh  absolute 4e-7 * max(1, |x|); derivative 1e-6
 * NaN gives NaN.
 */
#ifndef MILLET_KERNELS_CPU_ISA_VEC_H
#define MILLET_KERNELS_CPU_ISA_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* name_portable, name_avx2, name_avx512: ISA comes from isa.mk. */
#define ISA_PASTE2(name, set) name##_##set
#define ISA_PASTE(name, set)  ISA_PASTE2(name, set)
#define ISA_SYMBOL(name)      ISA_PASTE(name, ISA)

#if defined(__AVX512F__)
enum { VEC_N = 16 };
#elif defined(__AVX2__)
enum { VEC_N = 8 };
#else
enum { VEC_N = 4 };
#endif

/* Before a loop over registers: it must unroll, for them to stay registers. */
#if defined(__clang__)
#define VEC_UNROLL _Pragma("clang loop unroll(full)")
#else
#define VEC_UNROLL _Pragma("GCC unroll 16")
#endif

typedef float vec __attribute__((vector_size(VEC_N * 4)));
typedef int32_t vec_int __attribute__((vector_size(VEC_N * 4)));
typedef uint32_t vec_uint __attribute__((vector_size(VEC_N * 4)));

static inline vec vec_load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void vec_store(float *p, vec v)
{
    memcpy(p, &v, sizeof v);
}

/* The first n < VEC_N elements; the others are zero, and nothing beyond p + n is touched. */
static inline vec vec_load_n(const float *p, size_t n)
{
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
    vec v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
#endif
}

static inline void vec_store_n(float *p, vec v, size_t n)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
#else
    memcpy(p, &v, n * sizeof *p);
#endif
}

static inline vec vec_set(float x)
{
    return x - (vec){0}; /* folds to a broadcast; keeps -0 */
}

/* a * b + c, rounded once where the set has the instruction. */
static inline vec vec_fma(vec a, vec b, vec c)
{
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_NEON)
    return (vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* a where the mask (of a comparison) is set, b elsewhere. */
static inline vec vec_select(vec_int mask, vec a, vec b)
{
    return (vec)((mask & (vec_int)a) | (~mask & (vec_int)b));
}

/* When either is NaN the result is b, in every set. */
static inline vec vec_max(vec a, vec b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#elif defined(__x86_64__)
    return _mm_max_ps(a, b);
#else
    return vec_select(a > b, a, b);
#endif
}

static inline vec vec_min(vec a, vec b)
{
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#elif defined(__x86_64__)
    return _mm_min_ps(a, b);
#else
    return vec_select(a < b, a, b);
#endif
}

static inline vec_int vec_int_max(vec_int a, vec_int b)
{
#if defined(__AVX512F__)
    return (vec_int)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vec_int)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
    vec_int mask = a > b;
    return (mask & a) | (~mask & b);
#endif
}

static inline vec_uint vec_uint_max(vec_uint a, vec_uint b)
{
#if defined(__AVX512F__)
    return (vec_uint)_mm512_max_epu32((__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
    return (vec_uint)_mm256_max_epu32((__m256i)a, (__m256i)b);
#else
    vec_uint mask = (vec_uint)(a > b);
    return (mask & a) | (~mask & b);
#endif
}

static inline vec vec_abs(vec a)
{
    return (vec)((vec_int)a & 0x7fffffff);
}

/* Element i becomes i + half, for the first `half` (a power of two below VEC_N, constant); what the
 * others become does not matter. */
static inline vec vec_upper(vec v, size_t half)
{
#if defined(__AVX512F__)
    if (half == 8)
        return __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    if (half == 4)
        return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    if (half == 2)
        return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#elif defined(__AVX2__)
    if (half == 4)
        return __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    if (half == 2)
        return __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6);
#else
    if (half == 2)
        return __builtin_shufflevector(v, v, 2, 3, 0, 1);
    return __builtin_shufflevector(v, v, 1, 0, 3, 2);
#endif
}

/* Halves are added, then quarters, …: the same tree in every run. */
static inline float vec_sum(vec v)
{
    if (VEC_N > 8)
        v += vec_upper(v, 8);
    if (VEC_N > 4)
        v += vec_upper(v, 4);
    v += vec_upper(v, 2);
    v += vec_upper(v, 1);
    return v[0];
}

static inline float vec_highest(vec v)
{
    if (VEC_N > 8)
        v = vec_max(v, vec_upper(v, 8));
    if (VEC_N > 4)
        v = vec_max(v, vec_upper(v, 4));
    v = vec_max(v, vec_upper(v, 2));
    v = vec_max(v, vec_upper(v, 1));
    return v[0];
}

static inline int32_t vec_int_highest(vec_int v)
{
    if (VEC_N > 8)
        v = vec_int_max(v, (vec_int)vec_upper((vec)v, 8));
    if (VEC_N > 4)
        v = vec_int_max(v, (vec_int)vec_upper((vec)v, 4));
    v = vec_int_max(v, (vec_int)vec_upper((vec)v, 2));
    v = vec_int_max(v, (vec_int)vec_upper((vec)v, 1));
    return v[0];
}

/* 1.5 * 2^23: adding it leaves the nearest integer (ties to even) of |x| < 2^22 in the low bits. */
#define VEC_ROUNDER 12582912.0f

/* 2^n p(r) with x = n ln 2 + r, |r| <= ln(2)/2; p of degree 7 with the coefficients of Cephes' expf
 * (Moshier), ln 2 in two parts. 2^n in two factors, so that results down to the denormals and up to
 * infinity come out by themselves. */
static inline vec vec_exp(vec x)
{
    x = vec_min(vec_set(89.0f), vec_max(vec_set(-104.0f), x));
    vec shifted = vec_fma(x, vec_set(1.44269504f), vec_set(VEC_ROUNDER));
    vec whole = shifted - VEC_ROUNDER;
    vec r = vec_fma(whole, vec_set(-0.693359375f), x);
    r = vec_fma(whole, vec_set(2.12194440e-4f), r);
    vec p = vec_set(1.9875691500e-4f);
    p = vec_fma(p, r, vec_set(1.3981999507e-3f));
    p = vec_fma(p, r, vec_set(8.3334519073e-3f));
    p = vec_fma(p, r, vec_set(4.1665795894e-2f));
    p = vec_fma(p, r, vec_set(1.6666665459e-1f));
    p = vec_fma(p, r, vec_set(5.0000001201e-1f));
    p = vec_fma(p * r, r, r + 1.0f);
#if defined(__AVX512F__)
    return _mm512_scalef_ps(p, whole);
#else
    vec_int n = (vec_int)shifted - (vec_int)vec_set(VEC_ROUNDER), half = n >> 1;
    vec scaled = p * (vec)((half + 127) << 23);
    return scaled * (vec)((n - half + 127) << 23);
#endif
}

/* Below 0.625 an odd polynomial (coefficients of Cephes' tanhf), above 1 - 2 / (e^2|x| + 1): no
 * cancellation on either side. */
static inline vec vec_tanh(vec x)
{
    vec a = vec_abs(x), z = x * x;
    vec p = vec_set(-5.70498872745e-3f);
    p = vec_fma(p, z, vec_set(2.06390887954e-2f));
    p = vec_fma(p, z, vec_set(-5.37397155531e-2f));
    p = vec_fma(p, z, vec_set(1.33314422036e-1f));
    p = vec_fma(p, z, vec_set(-3.33332819422e-1f));
    vec small = vec_fma(p * z, x, x);
    vec large = 1.0f - 2.0f / (vec_exp(a + a) + 1.0f);
    large = (vec)((vec_int)large | ((vec_int)x & INT32_MIN));
    return vec_select(a < 0.625f, small, large);
}

/* Φ(x) of the normal distribution, given gauss = e^(-x²/2). The tail Φ(-|x|) = erfc(|x|/√2)/2 is
 * formula 7.1.26 of Abramowitz and Stegun (absolute error 1.5e-7 in erf); the other side is 1 minus
 * it. */
static inline vec vec_normal_cdf(vec x, vec gauss)
{
    vec t = 1.0f / vec_fma(vec_abs(x), vec_set(0.3275911f * 0.70710678f), vec_set(1.0f));
    vec p = vec_set(0.5f * 1.061405429f);
    p = vec_fma(p, t, vec_set(0.5f * -1.453152027f));
    p = vec_fma(p, t, vec_set(0.5f * 1.421413741f));
    p = vec_fma(p, t, vec_set(0.5f * -0.284496736f));
    p = vec_fma(p, t, vec_set(0.5f * 0.254829592f));
    vec tail = p * t * gauss;
    return vec_select(x < 0.0f, tail, 1.0f - tail);
}

#if defined(__AVX2__)
enum { VEC_PIECES = 16, VEC_PIECE_DEGREE = 4 };

/* Φ(a) - 1/2 of 0 <= a < 5.6 in pieces of 0.35: coefficients of r^0, r^1, …, r from -1/2 to 1/2
 * across a piece, fitted for the least largest error (1e-7). */
static const float vec_normal_pieces[VEC_PIECE_DEGREE + 1][VEC_PIECES] = {
    {0.0694601834f, 0.200208396f, 0.309213042f, 0.389712393f, 0.442371786f, 0.472885311f,
     0.488547027f, 0.495667547f, 0.498535067f, 0.499557912f, 0.499881089f, 0.499971509f,
     0.49999392f, 0.499998838f, 0.499999791f, 0.49999997f},
    {0.137507066f, 0.121653721f, 0.095219478f, 0.0659364387f, 0.0403945968f, 0.0218936261f,
     0.010498005f, 0.00445336523f, 0.00167131948f, 0.000554903119f, 0.000162988843f,
     4.23523488e-05f, 9.73580063e-06f, 1.97986401e-06f, 3.56174809e-07f, 5.66825165e-08f},
    {-0.00421105279f, -0.0111766849f, -0.0145802051f, -0.0141349277f, -0.0111336913f,
     -0.00737544568f, -0.00417959178f, -0.0020458377f, -0.00087018183f, -0.000322912587f,
     -0.000104835177f, -2.98369614e-05f, -7.45563375e-06f, -1.63757306e-06f, -3.16444215e-07f,
     -5.38378693e-08f},
    {-0.00270639732f, -0.00179244101f, -0.000459347793f, 0.000664314779f, 0.00121206825f,
     0.00120467634f, 0.000894448429f, 0.000537181739f, 0.000269742217f, 0.000115216448f,
     4.22918965e-05f, 1.34291904e-05f, 3.70569728e-06f, 8.9154355e-07f, 1.87470107e-07f,
     3.45188305e-08f},
    {0.000126528277f, 0.000308348506f, 0.000330471579f, 0.000215771739f, 5.97653998e-05f,
     -5.20113499e-05f, -9.20705352e-05f, -8.10121128e-05f, -5.20474096e-05f, -2.67124306e-05f,
     -1.13636524e-05f, -4.08467213e-06f, -1.2549109e-06f, -3.3199845e-07f, -7.60300338e-08f,
     -1.51287569e-08f},
};

/* Of 16 numbers those that the low 4 bits of the index name. */
static inline vec vec_pick(const float *from, vec_int index)
{
#if defined(__AVX512F__)
    return _mm512_permutexvar_ps((__m512i)index, vec_load(from));
#else
    vec low = _mm256_permutevar8x32_ps(vec_load(from), (__m256i)index);
    vec high = _mm256_permutevar8x32_ps(vec_load(from + VEC_N), (__m256i)index);
    return _mm256_blendv_ps(low, high, (vec)(index << 28)); /* by bit 3 */
#endif
}

/* x Φ(x) = x/2 + |x| (Φ(|x|) - 1/2), without the exponential and the division of
 * vec_normal_cdf(). */
static inline vec vec_gelu(vec x)
{
    vec a = vec_abs(x), half = vec_set(0.5f);
    /* The middle of piece i is i; a NaN stays one. */
    vec at = vec_min(vec_set(15.499f), vec_fma(a, vec_set(16 / 5.6f), -half));
    vec shifted = at + VEC_ROUNDER, r = at - (shifted - VEC_ROUNDER);
    vec p = vec_pick(vec_normal_pieces[VEC_PIECE_DEGREE], (vec_int)shifted);
    VEC_UNROLL
    for (size_t i = VEC_PIECE_DEGREE; i-- > 0;)
        p = vec_fma(p, r, vec_pick(vec_normal_pieces[i], (vec_int)shifted));
    return vec_fma(a, p, x * half);
}
#else
/* x Φ(x) */
static inline vec vec_gelu(vec x)
{
    return x * vec_normal_cdf(x, vec_exp(-0.5f * x * x));
}
#endif

/* Φ(x) + x φ(x) */
static inline vec vec_gelu_derivative(vec x)
{
    vec gauss = vec_exp(-0.5f * x * x);
    return vec_fma(x * 0.39894228f, gauss, vec_normal_cdf(x, gauss));
}

/* The tanh form of GELU, x (1 + tanh u) / 2 with u = √(2/π) (x + 0.044715 x³), written as x s, s =
 * 1 / (1 + e^-2u). */
static inline vec vec_gelu_tanh_gate(vec x)
{
    vec u = x * vec_fma(x * x, vec_set(0.7978845608f * 0.044715f), vec_set(0.7978845608f));
    return 1.0f / (1.0f + vec_exp(-2.0f * u));
}

static inline vec vec_gelu_tanh(vec x)
{
    return x * vec_gelu_tanh_gate(x);
}

/* s + x s (1 - s) 2 u' */
static inline vec vec_gelu_tanh_derivative(vec x)
{
    vec s = vec_gelu_tanh_gate(x);
    vec slope =
        vec_fma(x * x, vec_set(6.0f * 0.7978845608f * 0.044715f), vec_set(2.0f * 0.7978845608f));
    return vec_fma(x * s * (1.0f - s), slope, s);
}

#endif
