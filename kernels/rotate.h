/* rotate.h: the one definition of how rows are rotated before they become int8, shared by every
 * device and by whoever writes or reads such weights.
 *
 * A few columns of activations are many times larger than the rest, and a row's int8 steps must
 * reach them. Multiplied by an orthogonal matrix R without large entries, every column holds a
 * share of all, the largest is about as large as in noise, and the steps are finer. y = x Wᵀ =
 * (x R)(W R)ᵀ: weights are rotated once, before they are rounded, activations at work (QuaRot,
 * Ashkboos et al. 2024).
 *
 * R is block diagonal: as many blocks of 64 columns as fit, then of 16, then columns as they are.
 * A block is a Sylvester Hadamard matrix divided by the root of its size, a power of 2. R is
 * symmetric and its own inverse: rotating twice gives what there was, but for rounding.
 *
 * In single precision, each sum rounded: for each distance from half a block down to 1, columns
 * that lie so far apart become their sum and their difference; then the division.
 */
#ifndef MILLET_KERNELS_ROTATE_H
#define MILLET_KERNELS_ROTATE_H

#include <stddef.h>

enum { ROTATE_BLOCK = 64, ROTATE_SMALL_BLOCK = 16 };

#ifndef KERNELS_ANYWHERE /* kernels/cuda defines it: its kernels call these functions, too */
#define KERNELS_ANYWHERE
#endif

/* Of the block that begins where `left` columns are left. */
KERNELS_ANYWHERE static inline size_t rotate_block(size_t left)
{
    return left >= ROTATE_BLOCK         ? ROTATE_BLOCK
           : left >= ROTATE_SMALL_BLOCK ? ROTATE_SMALL_BLOCK
                                        : 1;
}

/* What its sums are multiplied with. */
KERNELS_ANYWHERE static inline float rotate_scale(size_t block)
{
    return block == ROTATE_BLOCK ? 0.125F : block == ROTATE_SMALL_BLOCK ? 0.25F : 1.0F;
}

/* One row, plainly, in place. */
static inline void rotate_row(float *x, size_t n)
{
    for (size_t at = 0, block; at < n; at += block) {
        float *of = x + at, scale;
        block = rotate_block(n - at);
        scale = rotate_scale(block);
        for (size_t far = block / 2; far > 0; far /= 2)
            for (size_t i = 0; i < block; i++)
                if (!(i & far)) {
                    float a = of[i], b = of[i + far];
                    of[i] = a + b;
                    of[i + far] = a - b;
                }
        for (size_t i = 0; i < block; i++)
            of[i] *= scale;
    }
}

#endif
