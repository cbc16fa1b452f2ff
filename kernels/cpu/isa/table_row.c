/* table_row.c: codes widened a register at a time; what is left, and the portable set, through the
 * plain loops. */
#include "kernels/cpu/table_row.h"

#include "core/int4.h"
#include "kernels/cpu/isa/vec.h"

#if defined(__AVX2__)
/* The first VEC_N of 16 bytes. */
static vec widened(__m128i bytes)
{
#if defined(__AVX512F__)
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
#else
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
#endif
}
#endif

static void int8(const int8_t *code, float scale, size_t n, float *to)
{
    size_t i = 0;
#if defined(__AVX2__)
    for (; i + 16 <= n; i += VEC_N)
        vec_store(to + i, widened(_mm_loadu_si128((const void *)(code + i))) * scale);
#endif
    for (; i < n; i++)
        to[i] = (float)code[i] * scale;
}

static void int4(const uint8_t *codes, const float *scale, size_t n, float *to)
{
    size_t i = 0;
#if defined(__AVX2__)
    for (; i + 16 <= n; i += 16) { /* a group is a multiple of 16 */
        __m128i pairs = _mm_loadl_epi64((const void *)(codes + i / 2)), low = _mm_set1_epi8(15);
        __m128i code = _mm_unpacklo_epi8(_mm_and_si128(pairs, low),
                                         _mm_and_si128(_mm_srli_epi16(pairs, 4), low));
        code = _mm_sub_epi8(code, _mm_set1_epi8(8));
        for (size_t part = 0; part < 16; part += VEC_N, code = _mm_srli_si128(code, 8))
            vec_store(to + i + part, widened(code) * scale[i / INT4_GROUP]);
    }
#endif
    int4_decode(codes, scale, i, n - i, to + i);
}

const struct table_row ISA_SYMBOL(table_row) = {.int8 = int8, .int4 = int4};
