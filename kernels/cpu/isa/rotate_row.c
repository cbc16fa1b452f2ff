/* rotate_row.c: a block in registers; sums of far columns between registers, of near ones within. */
#include "kernels/cpu/rotate_row.h"

#include "kernels/cpu/isa/vec.h"
#include "kernels/rotate.h"

/* Columns `far` apart, a constant below VEC_N, change places. */
#if defined(__AVX512F__)
#define PARTNER(x, far)                                                                            \
    __builtin_shufflevector(x, x, 0 ^ (far), 1 ^ (far), 2 ^ (far), 3 ^ (far), 4 ^ (far),           \
                            5 ^ (far), 6 ^ (far), 7 ^ (far), 8 ^ (far), 9 ^ (far), 10 ^ (far),     \
                            11 ^ (far), 12 ^ (far), 13 ^ (far), 14 ^ (far), 15 ^ (far))
#elif defined(__AVX2__)
#define PARTNER(x, far)                                                                            \
    __builtin_shufflevector(x, x, 0 ^ (far), 1 ^ (far), 2 ^ (far), 3 ^ (far), 4 ^ (far),           \
                            5 ^ (far), 6 ^ (far), 7 ^ (far))
#else
#define PARTNER(x, far) __builtin_shufflevector(x, x, 0 ^ (far), 1 ^ (far), 2 ^ (far), 3 ^ (far))
#endif

/* 1 where a column is the first of its two, else -1. */
static inline __attribute__((always_inline)) vec sign(int far)
{
    vec of;
    VEC_UNROLL
    for (int i = 0; i < VEC_N; i++)
        of[i] = i & far ? -1.0f : 1.0f;
    return of;
}

/* Products with 1 and -1 are exact: a sum or difference, rounded once. */
#define NEAR(x, far) vec_fma(x, sign(far), PARTNER(x, far))

static inline __attribute__((always_inline)) vec near(vec x)
{
#if defined(__AVX512F__)
    x = NEAR(x, 8);
#endif
#if defined(__AVX2__)
    x = NEAR(x, 4);
#endif
    x = NEAR(x, 2);
    return NEAR(x, 1);
}

/* `vecs`, a constant, registers that hold a block. */
static inline __attribute__((always_inline)) void block(size_t vecs, const float *x, float *to)
{
    vec v[ROTATE_BLOCK / VEC_N];
    VEC_UNROLL
    for (size_t i = 0; i < vecs; i++)
        v[i] = vec_load(x + i * VEC_N);
    VEC_UNROLL
    for (size_t far = vecs / 2; far > 0; far /= 2)
        VEC_UNROLL
    for (size_t i = 0; i < vecs; i++)
        if (!(i & far)) {
            vec a = v[i], b = v[i + far];
            v[i] = a + b;
            v[i + far] = a - b;
        }
    VEC_UNROLL
    for (size_t i = 0; i < vecs; i++)
        vec_store(to + i * VEC_N, near(v[i]) * rotate_scale(vecs * VEC_N));
}

static void run(const float *x, size_t n, float *to)
{
    size_t at = 0;
    for (; rotate_block(n - at) == ROTATE_BLOCK; at += ROTATE_BLOCK)
        block(ROTATE_BLOCK / VEC_N, x + at, to + at);
    for (; rotate_block(n - at) == ROTATE_SMALL_BLOCK; at += ROTATE_SMALL_BLOCK)
        block(ROTATE_SMALL_BLOCK / VEC_N, x + at, to + at);
    if (to != x)
        memcpy(to + at, x + at, (n - at) * sizeof *to);
}

const struct rotate_row ISA_SYMBOL(rotate_row) = {.run = run};
