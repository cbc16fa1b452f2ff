/* ahead.h: packed weights are fetched into the L2 cache before the product comes to them, and the
 * lines that results go to before there are any. A product of few rows takes all its weights from
 * memory, and would wait after each panel; one of many rows writes to lines that the last layer left
 * to an outer cache, and would wait for each tile.
 */
#ifndef MILLET_KERNELS_CPU_ISA_AHEAD_H
#define MILLET_KERNELS_CPU_ISA_AHEAD_H

#include <stddef.h>

#include "kernels/cpu/isa/vec.h"

#define AHEAD_INLINE static inline __attribute__((always_inline))

enum {
    AHEAD_LINE = 64, /* bytes of a cache line */
    AHEAD_STEPS = 2  /* log2 of the fewest steps for which is asked at once: to ask costs a loop */
};

/* What is fetched while a tile is computed: a share of the panel that comes next. While 2^shift steps
 * of the tile read as many bytes each of its own panel, it asks for those of one step of the next.
 * It does not ask for whole lines twice: that takes as long as asking for others. */
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

/* Before step number `step` of `bytes`; gives the step before which to call it again. */
AHEAD_INLINE size_t ahead_fetch(struct ahead ahead, size_t step, size_t bytes)
{
    unsigned shift = ahead.shift > AHEAD_STEPS ? ahead.shift : AHEAD_STEPS;
    size_t part = step >> shift, share = bytes << (shift - ahead.shift);
    for (size_t j = 0; j < share; j += AHEAD_LINE)
        __builtin_prefetch(ahead.at + part * share + j, 0, 2);
    return (part + 1) << shift;
}

/* y [rows, vecs registers] will be written. */
AHEAD_INLINE void ahead_write(float *y, size_t stride, size_t rows, size_t vecs)
{
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        VEC_UNROLL
    for (size_t v = 0; v < vecs; v++)
        __builtin_prefetch(y + r * stride + v * VEC_N, 1, 3);
}

#endif
