/* widen.c: half precision by the processor's own conversion where the set has one, bfloat16 by a
 * shift. */
#include "kernels/cpu/widen.h"

#include "kernels/cpu/isa/vec.h"

typedef uint16_t narrow __attribute__((vector_size(VEC_N * 2)));

static inline vec from_bf16(narrow v)
{
    return (vec)(__builtin_convertvector(v, vec_int) << 16);
}

#if defined(__AVX512F__)
static inline vec from_half(narrow v)
{
    return _mm512_cvtph_ps((__m256i)v);
}
#elif defined(__F16C__)
static inline vec from_half(narrow v)
{
    return _mm256_cvtph_ps((__m128i)v);
}
#endif

static void run(enum dtype type, const void *x, size_t n, float *y)
{
    const char *from = x;
    size_t i = 0;
    narrow v;
    if (type == DTYPE_BF16)
        for (; i + VEC_N <= n; i += VEC_N) {
            memcpy(&v, from + 2 * i, sizeof v);
            vec_store(y + i, from_bf16(v));
        }
#if defined(__F16C__)
    if (type == DTYPE_F16)
        for (; i + VEC_N <= n; i += VEC_N) {
            memcpy(&v, from + 2 * i, sizeof v);
            vec_store(y + i, from_half(v));
        }
#endif
    dtype_to_float(type, from + i * dtype_bytes(type), n - i, y + i);
}

const struct widen ISA_SYMBOL(widen) = {.run = run};
