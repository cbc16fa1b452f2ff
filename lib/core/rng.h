/* rng.h: random numbers that are the same on every machine: xoshiro256++ seeded through splitmix64
 * (Blackman and Vigna 2019), and a counter-based hash for values that must be recomputed (dropout
 * masks). */
#ifndef MILLET_CORE_RNG_H
#define MILLET_CORE_RNG_H

#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state[4]; /* plain data: copy it to save and restore a generator */
};

void rng_seed(struct rng *rng, uint64_t seed);
uint64_t rng_next(struct rng *rng);
double rng_uniform(struct rng *rng);                 /* [0, 1), 53 bits */
uint64_t rng_below(struct rng *rng, uint64_t bound); /* [0, bound), no modulo bias; bound > 0 */
double rng_normal(struct rng *rng);                  /* mean 0, deviation 1 */
void rng_shuffle(struct rng *rng, uint32_t *items, size_t n);

/* A well-mixed 64-bit function of (seed, counter), stateless. */
uint64_t rng_hash(uint64_t seed, uint64_t counter);

#endif
