/* vec_part.h: vec.h for arrays of any length: loops step by VEC_N and hand over how many elements
 * are left.
 *
 *     for (size_t i = 0; i < n; i += VEC_N)
 *         vec_store_part(y + i, 2.0f * vec_load_part(x + i, n - i), n - i);
 */
#ifndef MILLET_KERNELS_CPU_ISA_VEC_PART_H
#define MILLET_KERNELS_CPU_ISA_VEC_PART_H

#include <math.h>

#include "kernels/cpu/isa/vec.h"
#include "kernels/dropout.h"

/* min(n, VEC_N) elements; the others are zero. */
static inline vec vec_load_part(const float *p, size_t n)
{
    return n >= VEC_N ? vec_load(p) : vec_load_n(p, n);
}

static inline void vec_store_part(float *p, vec v, size_t n)
{
    if (n >= VEC_N)
        vec_store(p, v);
    else
        vec_store_n(p, v, n);
}

/* 0, 1, 2, … */
static inline vec_int vec_lanes(void)
{
#if defined(__AVX512F__)
    return (vec_int){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
    return (vec_int){0, 1, 2, 3, 4, 5, 6, 7};
#else
    return (vec_int){0, 1, 2, 3};
#endif
}

/* The first n elements of v, `other` beyond. */
static inline vec vec_first(vec v, size_t n, vec other)
{
    return n >= VEC_N ? v : vec_select(vec_lanes() < (int32_t)n, v, other);
}

static inline vec vec_sqrt(vec v)
{
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(v);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(v);
#elif defined(__x86_64__)
    return _mm_sqrt_ps(v);
#else
    for (size_t i = 0; i < VEC_N; i++)
        v[i] = sqrtf(v[i]);
    return v;
#endif
}

/* dropout_factor of elements index, index + 1, … */
static inline vec vec_dropout(const struct dropout_key *key, uint32_t index)
{
    vec_uint x = (vec_uint)vec_lanes() + (index + key->first);
    x = (x ^ (x >> 16)) * 0x85ebca6bU;
    x = (x ^ (x >> 13)) * 0xc2b2ae35U;
    x = x ^ (x >> 16) ^ key->second;
    x = (x ^ (x >> 16)) * 0x85ebca6bU;
    x = (x ^ (x >> 13)) * 0xc2b2ae35U;
    x = (x ^ (x >> 16)) >> 8; /* 24 bits: signed comparison will do */
    return vec_select((vec_int)x < (int32_t)key->threshold, (vec){0}, vec_set(key->keep_scale));
}

#endif
