/* peak.c: chains of multiply-adds, as many as the latency of one needs, kept from the compiler by an
 * empty asm that it cannot look into. */
#include "kernels/cpu/peak.h"

#include "kernels/cpu/isa/vec.h"

enum { LOOPS = 400000, CHAINS = 12 };

#if defined(__x86_64__)
#define REGISTER "v"
#else
#define REGISTER "w"
#endif

#if defined(__AVX512F__)
typedef __m512i wide;
#elif defined(__AVX2__)
typedef __m256i wide;
#endif

#define CHAIN(TYPE, ZERO, STEP)                                                                    \
    TYPE a = ZERO, b = ZERO, c[CHAINS];                                                            \
    for (int i = 0; i < CHAINS; i++)                                                               \
        c[i] = ZERO;                                                                               \
    for (int loop = 0; loop < LOOPS; loop++) {                                                     \
        __asm__ volatile("" : "+" REGISTER(a), "+" REGISTER(b));                                   \
        VEC_UNROLL                                                                                 \
        for (int i = 0; i < CHAINS; i++)                                                           \
            c[i] = STEP(c[i], a, b);                                                               \
    }                                                                                              \
    for (int i = 0; i < CHAINS; i++)                                                               \
    __asm__ volatile("" : : REGISTER(c[i]))

#define STEP_F32(c, a, b) vec_fma(a, b, c)
static void run_f32(void)
{
    CHAIN(vec, (vec){0}, STEP_F32);
}

#if defined(__AVX512VNNI__)
#define STEP_INT8(c, a, b) _mm512_dpbusd_epi32(c, a, b)
static void run_int8(void)
{
    CHAIN(wide, _mm512_setzero_si512(), STEP_INT8);
}
#define INT8                                                                                       \
    {                                                                                              \
        .run = run_int8, .operations = 2.0 * LOOPS * CHAINS * 64                                   \
    }

#define STEP_BF16(c, a, b) _mm512_dpbf16_ps(c, (__m512bh)(a), (__m512bh)(b))
__attribute__((target("avx512bf16"))) static void run_bf16(void)
{
    CHAIN(__m512, _mm512_setzero_ps(), STEP_BF16);
}
#define BF16                                                                                       \
    {                                                                                              \
        .run = run_bf16, .operations = 2.0 * LOOPS * CHAINS * 32                                   \
    }
#elif defined(__AVX2__)
/* int8 widened to 16 bits, as product_int8.c does it. */
#define STEP_INT8(c, a, b) _mm256_add_epi32(c, _mm256_madd_epi16(a, b))
static void run_int8(void)
{
    CHAIN(wide, _mm256_setzero_si256(), STEP_INT8);
}
#define INT8                                                                                       \
    {                                                                                              \
        .run = run_int8, .operations = 2.0 * LOOPS * CHAINS * 16                                   \
    }
#endif

#if !defined(INT8)
#define INT8                                                                                       \
    {                                                                                              \
        .run = NULL                                                                                \
    }
#endif
#if !defined(BF16)
#define BF16                                                                                       \
    {                                                                                              \
        .run = NULL                                                                                \
    }
#endif

const struct peak ISA_SYMBOL(peak) = {
    .f32 = {.run = run_f32, .operations = 2.0 * LOOPS * CHAINS * VEC_N},
    .bf16 = BF16,
    .int8 = INT8,
};
