#include "core/rng.h"

#include <stdlib.h>

#include "tests/tap.h"

/* xoshiro256++ from state {1, 2, 3, 4}: first outputs of the authors' reference code. */
static void test_reference(void)
{
    struct rng rng = {.state = {1, 2, 3, 4}};
    static const uint64_t expected[] = {41943041, 58720359, UINT64_C(3588806011781223),
                                        UINT64_C(3591011842654386)};
    bool same = true;
    for (int i = 0; i < 4; i++)
        same = rng_next(&rng) == expected[i] && same;
    tap_ok(same, "the reference sequence");
    rng_seed(&rng, 0);
    tap_ok(rng.state[0] == UINT64_C(0xE220A8397B1DCDAF) &&
               rng.state[1] == UINT64_C(0x6E789E6AA1B965F4),
           "seeded by splitmix64, the reference sequence of seed 0");
}

static void test_distributions(void)
{
    enum { N = 200000 };
    struct rng rng;
    rng_seed(&rng, 42);
    double sum = 0, squares = 0, uniform = 0;
    bool inside = true;
    for (int i = 0; i < N; i++) {
        double x = rng_normal(&rng), u = rng_uniform(&rng);
        sum += x;
        squares += x * x;
        uniform += u;
        inside = inside && u >= 0 && u < 1;
    }
    /* Deviations of the estimates are 1/sqrt(N) = 0.0022, sqrt(2/N) and 0.29/sqrt(N); 5 of them. */
    tap_ok(fabs(sum / N) < 0.0112, "normal: mean %.4f", sum / N);
    tap_ok(fabs(squares / N - 1) < 0.0158, "normal: variance %.4f", squares / N);
    tap_ok(inside && fabs(uniform / N - 0.5) < 0.0033, "uniform: mean %.4f", uniform / N);

    int count[7] = {0};
    for (int i = 0; i < 70000; i++)
        count[rng_below(&rng, 7)]++;
    bool even = true;
    for (int i = 0; i < 7; i++)
        even = even && abs(count[i] - 10000) < 500; /* 5 deviations of 93 */
    tap_ok(even, "below 7: even");
    bool below = true;
    uint64_t huge = (UINT64_C(1) << 63) + 1; /* half of all draws are refused */
    for (int i = 0; i < 100; i++)
        below = below && rng_below(&rng, huge) < huge;
    tap_ok(below && rng_below(&rng, 1) == 0, "bounds hold");
}

static void test_shuffle(void)
{
    struct rng a, b;
    rng_seed(&a, 7);
    b = a;
    uint32_t x[100], y[100], seen[100] = {0};
    for (uint32_t i = 0; i < 100; i++)
        x[i] = y[i] = i;
    rng_shuffle(&a, x, 100);
    rng_shuffle(&b, y, 100);
    tap_ok(memcmp(x, y, sizeof x) == 0, "a copied generator gives the same order");
    uint32_t moved = 0;
    for (uint32_t i = 0; i < 100; i++) {
        seen[x[i]]++;
        moved += x[i] != i;
    }
    bool once = true;
    for (int i = 0; i < 100; i++)
        once = once && seen[i] == 1;
    tap_ok(once && moved > 80, "a permutation that moves things");
    rng_shuffle(&a, x, 0);
    tap_ok(rng_hash(1, 2) == rng_hash(1, 2) && rng_hash(1, 2) != rng_hash(1, 3) &&
               rng_hash(1, 2) != rng_hash(2, 2) && rng_hash(1, 2) != rng_hash(2, 1),
           "the hash depends on seed and counter");
    int bits = 0;
    for (uint64_t i = 0; i < 1000; i++)
        bits += __builtin_popcountll(rng_hash(5, i) ^ rng_hash(5, i + 1));
    tap_ok(bits > 31000 && bits < 33000,
           "neighbouring counters differ in half the bits (%d of 64000)", bits);
}

int main(void)
{
    test_reference();
    test_distributions();
    test_shuffle();
    return tap_done();
}
