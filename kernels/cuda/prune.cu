/* prune.cu: what pruning and quantising ask of activations, gradients and weights. Sums are doubles
 * in a fixed order, but for those of Gram matrices, which are products. The systems of solve() are
 * in solve.cu. */
#include "kernels/cuda/linear.h"
#include "kernels/cuda/rotate.h"

#include <float.h>

/* ---- slopes ---- */

/* partial [N, cols]: of sequence blockIdx.y and each column the sum over rows of x·dx. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    slope_columns(const T *__restrict__ x, const T *__restrict__ dx,
                  const int32_t *__restrict__ offset, size_t n, size_t cols,
                  double *__restrict__ partial)
{
    size_t col = grid_first();
    if (col >= cols)
        return;
    for (size_t s = blockIdx.y; s < n; s += gridDim.y) {
        double sum = 0;
        for (size_t t = (size_t)offset[s]; t < (size_t)offset[s + 1]; t++)
            sum += (double)load(x + t * cols + col) * (double)load(dx + t * cols + col);
        partial[s * cols + col] = sum;
    }
}

/* A thread per unit of all sequences: cols is a multiple of group. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    slope_units(const double *__restrict__ partial, size_t n, size_t group,
                float *__restrict__ slope)
{
    for (size_t i = grid_first(); i < n; i += grid_stride()) {
        double sum = 0;
        for (size_t c = 0; c < group; c++)
            sum += partial[i * group + c];
        slope[i] = (float)sum;
    }
}

void cuda_unit_slope(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                     size_t cols, size_t group, float *slope)
{
    struct cuda *cuda = cuda_of(dev);
    size_t n = seqs->n;
    if (n == 0 || cols == 0)
        return;
    double *partial = (double *)cuda_scratch(cuda, "unit_slope", n * cols * sizeof *partial);
    if (!partial)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "unit_slope", slope_columns<T>, cuda_grid_rows(n, cols),
                                   CUDA_BLOCK, 0, cuda_values<T>(x), cuda_values<T>(dx),
                                   seqs->offset, n, cols, partial));
    CUDA_LAUNCH(cuda, "unit_slope", slope_units, cuda_blocks(n * (cols / group)), CUDA_BLOCK, 0,
                partial, n * (cols / group), group, slope);
}

/* ---- Gram matrices ---- */

static __global__ void __launch_bounds__(CUDA_BLOCK) mirror(float *g, size_t cols)
{
    size_t col = grid_first();
    for (size_t row = blockIdx.y; row < cols; row += gridDim.y)
        if (col < row)
            g[row * cols + col] = g[col * cols + row];
}

/* Strips of rows from the diagonal on: with many, nearly half of the work is saved. */
void cuda_gram(struct device *dev, const act *x, size_t rows, size_t cols, float *g)
{
    constexpr size_t STRIP = 512;
    struct cuda *cuda = cuda_of(dev);
    for (size_t top = 0; top < cols && rows > 0; top += STRIP) {
        struct cuda_product product = {};
        product.plain = true;
        product.m = cols - top < STRIP ? cols - top : STRIP;
        product.n = cols - top;
        product.k = rows;
        product.a_transposed = true;
        product.type = cuda->precision;
        product.c_type = DTYPE_F32;
        product.a = product.b = act_at_const(dev, x, top);
        product.c = g + top * cols + top;
        product.a_stride = product.b_stride = product.c_stride = cols;
        product.alpha = product.beta = 1.0f;
        if (!cuda_blas_run(cuda, "gram", &product))
            return;
    }
    if (cols > 1)
        CUDA_LAUNCH(cuda, "gram", mirror, cuda_grid_rows(cols, cols), CUDA_BLOCK, 0, g, cols);
}

/* ---- blocks of a matrix ---- */

static __global__ void __launch_bounds__(CUDA_BLOCK)
    mask(const float *__restrict__ keep, size_t rows, size_t cols, size_t block_rows,
         size_t block_cols, size_t across, const float *from, float *to)
{
    size_t col = grid_first(), block = col / block_cols;
    if (col >= cols)
        return;
    for (size_t row = blockIdx.y; row < rows; row += gridDim.y) {
        size_t at = row * cols + col;
        to[at] = keep[row / block_rows * across + block] != 0 ? from[at] : 0;
    }
}

void cuda_block_mask(struct device *dev, const struct blocks *blocks, const float *keep,
                     const float *from, float *to)
{
    if (blocks->rows > 0 && blocks->cols > 0)
        CUDA_LAUNCH(cuda_of(dev), "block_mask", mask, cuda_grid_rows(blocks->rows, blocks->cols),
                    CUDA_BLOCK, 0, keep, blocks->rows, blocks->cols, blocks->block_rows,
                    blocks->block_cols, blocks_across(blocks), from, to);
}

/* Of block `block`, elements first, first + step, …, row by row: the sum of x·y. */
static __device__ double part_of_block(const float *__restrict__ x, const float *__restrict__ y,
                                       size_t rows, size_t cols, size_t block_rows,
                                       size_t block_cols, size_t across, size_t block, size_t first,
                                       size_t step)
{
    size_t top = block / across * block_rows, left = block % across * block_cols;
    size_t height = rows - top < block_rows ? rows - top : block_rows;
    size_t width = cols - left < block_cols ? cols - left : block_cols;
    size_t row = first / width, col = first % width;
    size_t down = step / width, right = step % width;
    double sum = 0;
    while (row < height) {
        size_t at = (top + row) * cols + left + col;
        sum += (double)x[at] * (double)y[at];
        row += down;
        col += right;
        if (col >= width) {
            col -= width;
            row++;
        }
    }
    return sum;
}

/* A warp per block, or a whole CUDA block where they are large. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    sum_small(const float *__restrict__ x, const float *__restrict__ y, size_t rows, size_t cols,
              size_t block_rows, size_t block_cols, size_t across, size_t n,
              float *__restrict__ sum)
{
    size_t block = grid_first() / WARP, lane = threadIdx.x % WARP;
    if (block >= n)
        return;
    double total = warp_sum(
        part_of_block(x, y, rows, cols, block_rows, block_cols, across, block, lane, WARP));
    if (lane == 0)
        sum[block] += (float)total;
}

static __global__ void __launch_bounds__(CUDA_BLOCK)
    sum_large(const float *__restrict__ x, const float *__restrict__ y, size_t rows, size_t cols,
              size_t block_rows, size_t block_cols, size_t across, float *__restrict__ sum)
{
    SHARED(double, warps, [WARP]);
    double total = block_sum(part_of_block(x, y, rows, cols, block_rows, block_cols, across,
                                           blockIdx.x, threadIdx.x, CUDA_BLOCK),
                             warps);
    if (threadIdx.x == 0)
        sum[blockIdx.x] += (float)total;
}

void cuda_block_sum(struct device *dev, const struct blocks *blocks, const float *x, const float *y,
                    float *sum)
{
    constexpr size_t LARGE = 8 * CUDA_BLOCK;
    struct cuda *cuda = cuda_of(dev);
    size_t across = blocks_across(blocks), n = across * blocks_down(blocks);
    if (n == 0)
        return;
    if (blocks->block_rows >= LARGE || blocks->block_cols >= LARGE ||
        blocks->block_rows * blocks->block_cols >= LARGE)
        CUDA_LAUNCH(cuda, "block_sum", sum_large, cuda_ceil(n, 1), CUDA_BLOCK, 0, x, y,
                    blocks->rows, blocks->cols, blocks->block_rows, blocks->block_cols, across,
                    sum);
    else
        CUDA_LAUNCH(cuda, "block_sum", sum_small, cuda_ceil(n, CUDA_BLOCK / WARP), CUDA_BLOCK, 0, x,
                    y, blocks->rows, blocks->cols, blocks->block_rows, blocks->block_cols, across,
                    n, sum);
}

/* ---- rounding, rotation ---- */

/* A row per block: the largest, then each value, with the CPU's roundings. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    round_to_int8(const float *from, size_t rows, size_t cols, float *to)
{
    SHARED(float, warps, [WARP]);
    for (size_t row = blockIdx.x; row < rows; row += gridDim.x) {
        const float *x = from + row * cols;
        float largest = 0;
        for (size_t c = threadIdx.x; c < cols; c += CUDA_BLOCK)
            largest = fmaxf(largest, fabsf(x[c]));
        float scale = __fdiv_rn(block_max(largest, warps), 127.0f);
        for (size_t c = threadIdx.x; c < cols; c += CUDA_BLOCK)
            to[row * cols + c] =
                scale < FLT_MIN ? 0 : __fmul_rn((float)lrintf(__fdiv_rn(x[c], scale)), scale);
    }
}

void cuda_round_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to)
{
    if (rows > 0 && cols > 0)
        CUDA_LAUNCH(cuda_of(dev), "round_rows", round_to_int8,
                    (unsigned)(rows < CUDA_MAX_BLOCKS ? rows : CUDA_MAX_BLOCKS), CUDA_BLOCK, 0,
                    from, rows, cols, to);
}

/* A block of the rotation per warp. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    rotate(const float *from, size_t rows, size_t cols, float *to)
{
    size_t lane = threadIdx.x % WARP, across = (cols + ROTATE_BLOCK - 1) / ROTATE_BLOCK;
    for (size_t i = grid_first() / WARP; i < rows * across; i += grid_stride() / WARP) {
        size_t at = i % across * ROTATE_BLOCK, left = cols - at,
               first = i / across * cols + at + lane;
        float x = lane < left ? from[first] : 0.0f;
        float y = lane + WARP < left ? from[first + WARP] : 0.0f;
        rotate_columns(left, &x, &y);
        if (lane < left)
            to[first] = x;
        if (lane + WARP < left)
            to[first + WARP] = y;
    }
}

void cuda_rotate_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to)
{
    size_t across = (cols + ROTATE_BLOCK - 1) / ROTATE_BLOCK;
    if (rows > 0 && cols > 0)
        CUDA_LAUNCH(cuda_of(dev), "rotate_rows", rotate, cuda_blocks(rows * across * WARP),
                    CUDA_BLOCK, 0, from, rows, cols, to);
}
