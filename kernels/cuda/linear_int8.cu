/* linear_int8.cu: products with int8 weights: rows are quantised on the device as quantise.h
 * defines, multiplied in integers by cuBLAS, and scaled back with bias and activation function in
 * one kernel. Every float operation is rounded by itself, as on the CPU: the same bytes. */
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/linear.h"

/* A warp for each row; the room behind a row is filled with zeros. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    quantise(const T *__restrict__ x, size_t stride, size_t rows, size_t cols, size_t room,
             float fixed, int8_t *__restrict__ q, float *__restrict__ scales)
{
    size_t row = blockIdx.x * (size_t)(CUDA_BLOCK / WARP) + threadIdx.x / WARP;
    size_t lane = threadIdx.x % WARP;
    if (row >= rows)
        return; /* the whole warp; there is no block barrier */
    const T *from = x + row * stride;
    float largest = 0.0f, bad = 0.0f, factor;
    for (size_t i = lane; i < cols; i += WARP) {
        float size = fabsf(load(from + i));
        bad = size <= 3.0e38f ? bad : 1.0f; /* NaN, too */
        largest = fmaxf(largest, size);
    }
    largest = warp_max(bad) > 0.0f ? NAN : warp_max(largest);
    float scale = quantise_scale(largest, &factor);
    if (fixed > 0.0f) {
        scale = isnan(scale) ? scale : fixed;
        factor = isnan(scale) ? 0.0f : __fdiv_rn(1.0f, fixed);
    }
    for (size_t i = lane; i < room; i += WARP) {
        float value = i < cols ? load(from + i) : 0.0f;
        q[row * room + i] = factor <= 0.0f ? (int8_t)0
                            : fixed > 0.0f ? quantise_cut(value, factor)
                                           : quantise_value(value, factor);
    }
    if (lane == 0)
        scales[row] = scale;
}

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    finish_int8(const int32_t *__restrict__ sum, size_t room, const float *__restrict__ scales,
                const float *__restrict__ w_scale, const float *__restrict__ bias, int epilogue,
                T *pre, T *y, size_t y_stride, size_t rows, size_t out)
{
    size_t col = grid_first();
    if (col >= out)
        return;
    float b = bias ? bias[col] : 0.0f, w = w_scale[col];
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        float value = __fmul_rn((float)sum[row * room + col], scales[row]);
        value = __fadd_rn(__fmul_rn(value, w), b);
        if (pre)
            store(pre + row * out + col, value);
        store(y + row * y_stride + col, epilogue_value((enum epilogue)epilogue, value));
    }
}

size_t cuda_int8_bytes(size_t rows, size_t out_room, size_t in_room)
{
    return rows * (out_room * sizeof(int32_t) + in_room + sizeof(float));
}

/* Sums [rows, out_room], then quantised rows, then their scales, in one piece of scratch. */
void cuda_linear_int8(struct cuda *cuda, const struct linear *linear, const act *x, size_t x_stride,
                      size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride)
{
    size_t sum_bytes = rows * linear->out_room * sizeof(int32_t), q_bytes = rows * linear->in_room;
    char *room = (char *)cuda_scratch(cuda, "linear",
                                      cuda_int8_bytes(rows, linear->out_room, linear->in_room));
    if (!room)
        return;
    int32_t *sum = (int32_t *)(void *)room;
    int8_t *q = (int8_t *)(room + sum_bytes);
    float *scales = (float *)(void *)(room + sum_bytes + q_bytes);
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "linear", quantise<T>, cuda_ceil(rows, CUDA_BLOCK / WARP),
                                   CUDA_BLOCK, 0, cuda_values<T>(x), x_stride, rows, linear->in,
                                   linear->in_room, linear->x_scale, q, scales));
    struct cuda_product product = {};
    product.m = rows;
    product.n = linear->out_room;
    product.k = linear->in_room;
    product.type = DTYPE_I8;
    product.c_type = DTYPE_I32;
    product.a = q;
    product.a_stride = linear->in_room;
    product.b = linear->q;
    product.b_stride = linear->in_room;
    product.b_transposed = true;
    product.c = sum;
    product.c_stride = linear->out_room;
    if (!cuda_blas_run(cuda, "linear", &product))
        return;
    CUDA_PER_ACT(cuda,
                 CUDA_LAUNCH(cuda, "linear", finish_int8<T>, cuda_grid_rows(rows, linear->out),
                             CUDA_BLOCK, 0, sum, linear->out_room, scales, linear->q_scale,
                             linear->b, (int)epilogue, cuda_values<T>(pre), cuda_values<T>(y),
                             y_stride, rows, linear->out));
}
