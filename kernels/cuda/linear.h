/* linear.h: a matrix of weights as the CUDA device keeps it, for linear*.cu. */
#ifndef MILLET_KERNELS_CUDA_LINEAR_H
#define MILLET_KERNELS_CUDA_LINEAR_H

#include "kernels/cuda/cuda.h"

struct linear {
    enum { LINEAR_PREPARED, LINEAR_INT8, LINEAR_BOUND } kind;
    size_t out, in;
    enum dtype format; /* of what products multiply: that of activations, or linear_round's */
    /* [out, in] in that format: owned, `master` itself where it is F32, or a part of the copies that
     * cuda_block_bind made */
    void *w;
    bool of_block;
    float *master; /* bound: the caller's; else NULL */
    float *b;      /* [out] or NULL; owned unless bound */
    /* int8: rows and columns are filled up with zeros, as cuBLAS demands */
    int8_t *q; /* [out_room, in_room] */
    size_t out_room, in_room;
    float *q_scale; /* [out] */
    int32_t *q_sum; /* [out]: of each row of q */
    float x_scale;  /* of all x; 0: each row's own */
    bool rotated;   /* as struct weight says */
};

/* y [rows, out] = x Wᵀ, without the bias; of weights that are not int8. */
bool cuda_linear_plain(struct cuda *cuda, const struct linear *linear, const act *x,
                       size_t x_stride, size_t rows, act *y, size_t y_stride);

/* The product of int8 weights: linear_int8.cu. */
void cuda_linear_int8(struct cuda *cuda, const struct linear *linear, const act *x, size_t x_stride,
                      size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride);

/* rows × cols of activations in the 16-bit format of `linear`, without gaps, into `to`. */
void cuda_round_into(struct cuda *cuda, const char *operation, const struct linear *linear,
                     const act *x, size_t stride, size_t rows, size_t cols, void *to);

/* A grid of CUDA_BLOCK columns by as many rows as keep a device busy; kernels go on by gridDim.y
 * rows. */
static inline dim3 cuda_grid_rows(size_t rows, size_t cols)
{
    unsigned across = cuda_ceil(cols, CUDA_BLOCK), down = across < 8192 ? 8192 / across : 1;
    return dim3(across, rows < down ? (unsigned)rows : down);
}

#endif
