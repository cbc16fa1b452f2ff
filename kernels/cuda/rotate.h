/* rotate.h: blocks of rows rotated by a warp, for kernels: the sums of kernels/rotate.h in its order,
 * each rounded by itself, so the same values as on the CPU. */
#ifndef MILLET_KERNELS_CUDA_ROTATE_H
#define MILLET_KERNELS_CUDA_ROTATE_H

#include "kernels/cuda/cuda.h"

extern "C" {
#include "kernels/rotate.h"
}

static_assert(ROTATE_BLOCK == 2 * WARP && WARP % ROTATE_SMALL_BLOCK == 0,
              "a lane holds two columns of a block, a warp whole small blocks");

/* The sum or the difference of columns `far` lanes apart. */
static __device__ inline float rotate_near(float x, unsigned far)
{
    float other = __shfl_xor_sync(FULL_WARP, x, (int)far);
    return threadIdx.x & far ? __fsub_rn(other, x) : __fadd_rn(x, other);
}

/* Of a row's next ROTATE_BLOCK columns, of which there are `left` or fewer than that, every lane
 * brings its own as *first and the one WARP further as *second; anything where there is none. For
 * whole warps. */
static __device__ inline void rotate_columns(size_t left, float *first, float *second)
{
    size_t block = rotate_block(left), of = threadIdx.x % WARP / ROTATE_SMALL_BLOCK;
    float x = *first, y = *second, scale = rotate_scale(block);
    if (block == 1)
        return;
    if (block == ROTATE_BLOCK) {
        x = __fadd_rn(*first, *second);
        y = __fsub_rn(*first, *second);
    }
    for (unsigned far = block == ROTATE_BLOCK ? WARP / 2 : ROTATE_SMALL_BLOCK / 2; far; far /= 2) {
        x = rotate_near(x, far);
        y = rotate_near(y, far);
    }
    if ((of + 1) * ROTATE_SMALL_BLOCK <= left) /* else columns stay as they are */
        *first = __fmul_rn(x, scale);
    if ((of + 1) * ROTATE_SMALL_BLOCK + WARP <= left)
        *second = __fmul_rn(y, scale);
}

#endif
