/* linear_int8.cu: products with int8 weights: rows, rotated where the weights are, are quantised on
 * the device as quantise.h defines, multiplied in integers by cuBLAS, and scaled back with bias and
 * activation function in one kernel. Every float operation is rounded by itself, as on the CPU: the
 * same bytes. */
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/rotate.h"

/* Bytes as cuBLAS wants them, signed: code + zero - SIGN. */
enum { SIGN = 128 };

/* Columns of a row, at most, that are kept between the range and the codes when they had to be
 * rotated: 32 KiB of shared memory a block. The rest of a longer row is rotated twice. */
constexpr size_t KEPT = 1024;

/* Of the ROTATE_BLOCK columns of a row from `at` on the lane's own and the one WARP further, 0
 * behind its end. */
template <class T>
static __device__ inline void fetch(const T *__restrict__ row, size_t at, size_t cols, bool rotated,
                                    float *first, float *second)
{
    size_t c = at + threadIdx.x % WARP;
    *first = c < cols ? load(row + c) : 0.0f;
    *second = c + WARP < cols ? load(row + c + WARP) : 0.0f;
    if (rotated)
        rotate_columns(cols - at, first, second);
}

static __device__ inline int8_t code_byte(float value, float fixed, const struct quantise *how)
{
    int32_t code = how->factor <= 0.0f ? 0
                   : fixed > 0.0f      ? quantise_cut(value, how->factor)
                                       : quantise_value(value, how);
    return (int8_t)(code + how->zero - SIGN);
}

/* A warp for each row; the room behind a row meets weights of zero. `kept` columns, whole
 * ROTATE_BLOCKs, of each row have a place in shared memory, which their lane alone touches. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    quantise(const T *__restrict__ x, size_t stride, size_t rows, size_t cols, size_t room,
             bool rotated, size_t kept, float fixed, int8_t *__restrict__ q,
             float *__restrict__ scales, int32_t *__restrict__ zeros)
{
    SHARED_DYNAMIC(float, keep);
    size_t row = blockIdx.x * (size_t)(CUDA_BLOCK / WARP) + threadIdx.x / WARP;
    size_t lane = threadIdx.x % WARP;
    if (row >= rows)
        return; /* the whole warp; there is no block barrier */
    const T *from = x + row * stride;
    float *mine = keep + threadIdx.x / WARP * kept + lane;
    float depth = 0.0f, high = 0.0f, bad = 0.0f, first, second;
    for (size_t at = 0; at < cols; at += ROTATE_BLOCK) {
        fetch(from, at, cols, rotated, &first, &second);
        bad = fabsf(first) <= FLT_MAX && fabsf(second) <= FLT_MAX ? bad : 1.0f; /* NaN, too */
        depth = fmaxf(depth, fmaxf(-first, -second));
        high = fmaxf(high, fmaxf(first, second));
        if (at < kept) {
            mine[at] = first;
            mine[at + WARP] = second;
        }
    }
    high = warp_max(bad) > 0.0f ? NAN : warp_max(high);
    struct quantise how = quantise_range(-warp_max(depth), high);
    if (fixed > 0.0f && !isnan(how.scale)) {
        how.scale = fixed;
        how.factor = __fdiv_rn(1.0f, fixed);
        how.zero = QUANTISE_FIXED_ZERO;
    }
    for (size_t at = 0; at < cols; at += ROTATE_BLOCK) {
        size_t c = at + lane;
        if (at < kept) {
            first = mine[at];
            second = mine[at + WARP];
        } else
            fetch(from, at, cols, rotated, &first, &second);
        if (c < room)
            q[row * room + c] = code_byte(first, fixed, &how);
        if (c + WARP < room)
            q[row * room + c + WARP] = code_byte(second, fixed, &how);
    }
    if (lane == 0) {
        scales[row] = how.scale;
        zeros[row] = how.zero;
    }
}

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    finish_int8(const int32_t *__restrict__ sum, size_t room, const float *__restrict__ scales,
                const int32_t *__restrict__ zeros, const float *__restrict__ w_scale,
                const int32_t *__restrict__ w_sum, const float *__restrict__ bias, int epilogue,
                T *pre, T *y, size_t y_stride, size_t rows, size_t out)
{
    size_t col = grid_first();
    if (col >= out)
        return;
    float b = bias ? bias[col] : 0.0f, w = w_scale[col];
    int32_t of_one = w_sum[col]; /* what each step of a zero adds to a sum */
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        int32_t exact = sum[row * room + col] - (zeros[row] - SIGN) * of_one;
        float value = __fmul_rn((float)exact, scales[row]);
        value = __fadd_rn(__fmul_rn(value, w), b);
        if (pre)
            store(pre + row * out + col, value);
        store(y + row * y_stride + col, epilogue_value((enum epilogue)epilogue, value));
    }
}

size_t cuda_int8_bytes(size_t rows, size_t out_room, size_t in_room)
{
    return rows * (out_room * sizeof(int32_t) + in_room + sizeof(float) + sizeof(int32_t));
}

/* Sums [rows, out_room], then quantised rows, their scales and their zeros, in one piece of scratch. */
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
    int32_t *zeros = (int32_t *)(void *)(scales + rows);
    size_t each = CUDA_BLOCK / WARP, blocks = (linear->in + ROTATE_BLOCK - 1) / ROTATE_BLOCK;
    size_t kept = !linear->rotated               ? 0
                  : blocks < KEPT / ROTATE_BLOCK ? blocks * ROTATE_BLOCK
                                                 : KEPT;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "linear", quantise<T>, cuda_ceil(rows, each), CUDA_BLOCK,
                                   each * kept * sizeof(float), cuda_values<T>(x), x_stride, rows,
                                   linear->in, linear->in_room, linear->rotated, kept,
                                   linear->x_scale, q, scales, zeros));
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
                             CUDA_BLOCK, 0, sum, linear->out_room, scales, zeros, linear->q_scale,
                             linear->q_sum, linear->b, (int)epilogue, cuda_values<T>(pre),
                             cuda_values<T>(y), y_stride, rows, linear->out));
}
