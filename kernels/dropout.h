/* dropout.h: the one definition of which elements are dropped, shared by every device, so that all
 * draw the same masks.
 *
 * 32-bit arithmetic only, because it must run in vector registers and on a GPU: the seed is spread
 * into two 32-bit keys once per operation; per element two rounds of a 32-bit finaliser (the
 * constants of MurmurHash3's fmix32), with a key before each, so that masks of different seeds are
 * not shifted copies of one another. The index counts modulo 2^32.
 */
#ifndef MILLET_KERNELS_DROPOUT_H
#define MILLET_KERNELS_DROPOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/rng.h"
#include "kernels/kernels.h"

#ifndef KERNELS_ANYWHERE /* kernels/cuda defines it: its kernels call these functions, too */
#define KERNELS_ANYWHERE
#endif

struct dropout_key {
    uint32_t first, second;
    uint32_t threshold; /* of 24 bits: dropped when the hash is below; 0 = nothing is dropped */
    float keep_scale;   /* 1 / (1 - rate) */
};

/* Rates outside (0, 1) drop nothing. */
static inline struct dropout_key dropout_key(struct dropout dropout)
{
    struct dropout_key key = {0, 0, 0, 1.0F};
    if (dropout.rate > 0.0F && dropout.rate < 1.0F) {
        uint64_t hash = rng_hash(dropout.seed, 0);
        key.first = (uint32_t)hash;
        key.second = (uint32_t)(hash >> 32);
        key.threshold = (uint32_t)((double)dropout.rate * (1U << 24));
        key.keep_scale = (float)(1.0 / (1.0 - (double)dropout.rate));
    }
    return key;
}

KERNELS_ANYWHERE static inline uint32_t dropout_mix(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x85ebca6bU;
    x = (x ^ (x >> 13)) * 0xc2b2ae35U;
    return x ^ (x >> 16);
}

/* 24 bits that decide on element `index`. */
KERNELS_ANYWHERE static inline uint32_t dropout_bits(uint32_t first, uint32_t second,
                                                     uint32_t index)
{
    return dropout_mix(dropout_mix(index + first) ^ second) >> 8;
}

/* What element `index` is multiplied by: 0 or 1/(1-rate). */
static inline float dropout_factor(const struct dropout_key *key, uint64_t index)
{
    bool dropped = dropout_bits(key->first, key->second, (uint32_t)index) < key->threshold;
    return dropped ? 0.0F : key->keep_scale;
}

#endif
