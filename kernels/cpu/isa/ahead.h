/* ahead.h: packed weights are fetched into the L2 cache before the product comes to them. A product
 * of few rows takes all its weights from memory, and would wait after each panel.
 */
#ifndef MILLET_KERNELS_CPU_ISA_AHEAD_H
#define MILLET_KERNELS_CPU_ISA_AHEAD_H

#include <stddef.h>

#include "kernels/cpu/isa/vec.h"

#define AHEAD_INLINE static inline __attribute__((always_inline))

enum { AHEAD_LINE = 64 /* bytes of a cache line */ };

/* What is fetched while a tile is computed: a share of the panel that comes next. While a step of
 * the tile reads `step` bytes of its own panel, it asks for step / 2^shift of the next one. */
struct ahead {
    const char *at;
    unsigned shift;
};

/* Of tile number t of n: the panel is shared out to the first 2^shift of them; the others ask for
 * its first share again, which costs nothing. */
AHEAD_INLINE struct ahead ahead_of(const void *next, size_t bytes, size_t t, size_t n)
{
    struct ahead ahead = {next, 0};
    while (ahead.shift < 5 && (size_t)2 << ahead.shift <= n)
        ahead.shift++;
    size_t share = bytes >> ahead.shift;
    ahead.at += (t >> ahead.shift ? 0 : t) * share;
    return ahead;
}

AHEAD_INLINE void ahead_fetch(struct ahead ahead, size_t at, size_t step)
{
    VEC_UNROLL
    for (size_t j = 0; j < step; j += AHEAD_LINE)
        __builtin_prefetch(ahead.at + (at >> ahead.shift) + j, 0, 2);
}

#endif
