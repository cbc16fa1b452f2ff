#include "core/rng.h"

#include <math.h>

static uint64_t rotate(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

/* The output function of splitmix64 (Steele, Lea, Flood 2014; constants of Stafford's variant 13).
 */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static const uint64_t golden = UINT64_C(0x9E3779B97F4A7C15); /* 2^64 / golden ratio */

void rng_seed(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += golden;
        rng->state[i] = mix(seed);
    }
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double rng_uniform(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    /* Of the 2^64 values the first (2^64 mod bound) are refused; the rest divide evenly. */
    uint64_t refused = (0 - bound) % bound, value;
    do
        value = rng_next(rng);
    while (value < refused);
    return value % bound;
}

/* Ratio of uniforms (Kinderman and Monahan 1977). The value itself comes from one division, which
 * IEEE fixes to the bit; log() only decides acceptance, so mathematics libraries that differ in a
 * last bit give the same numbers. */
double rng_normal(struct rng *rng)
{
    for (;;) {
        double u = 1.0 - rng_uniform(rng);                            /* (0, 1] */
        double x = 1.7155277699214135 * (rng_uniform(rng) - 0.5) / u; /* sqrt(8/e) */
        if (x * x <= -4.0 * log(u))
            return x;
    }
}

void rng_shuffle(struct rng *rng, uint32_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rng_below(rng, i);
        uint32_t swap = items[i - 1];
        items[i - 1] = items[j];
        items[j] = swap;
    }
}

uint64_t rng_hash(uint64_t seed, uint64_t counter)
{
    return mix(mix(seed + golden) + (counter + 1) * golden);
}
