/* sequence.cu: operations along the rows of packed sequences: first rows, neighbours, means. */
#include "kernels/cuda/rows.h"

/* ---- first rows: a block for each sequence ---- */

template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    gather_first(const T *__restrict__ x, const int32_t *__restrict__ offset, size_t cols,
                 T *__restrict__ y)
{
    size_t s = blockIdx.x, row = (size_t)offset[s];
    for (size_t c = threadIdx.x; c < cols; c += ROW_BLOCK)
        y[s * cols + c] = x[row * cols + c];
}

void cuda_gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                       act *y)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "gather_first", gather_first<T>, cuda_ceil(seqs->n, 1),
                                   ROW_BLOCK, 0, cuda_values<T>(x), seqs->offset, cols,
                                   cuda_values<T>(y)));
}

template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    scatter_first_add(const T *__restrict__ dy, const int32_t *__restrict__ offset, size_t cols,
                      T *__restrict__ x)
{
    size_t s = blockIdx.x, row = (size_t)offset[s];
    for (size_t c = threadIdx.x; c < cols; c += ROW_BLOCK) {
        T *to = x + row * cols + c;
        store(to, load(to) + load(dy + s * cols + c));
    }
}

void cuda_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                            act *x)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "scatter_first_add", scatter_first_add<T>,
                                   cuda_ceil(seqs->n, 1), ROW_BLOCK, 0, cuda_values<T>(dy),
                                   seqs->offset, cols, cuda_values<T>(x)));
}

/* ---- neighbours: a block for each row ---- */

/* Part 0, 1 or 2 of row t is row t + 1 - part. */
template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    trigram(const T *__restrict__ x, const int32_t *__restrict__ offset, size_t cols,
            T *__restrict__ y)
{
    size_t first = (size_t)offset[blockIdx.x], end = (size_t)offset[blockIdx.x + 1];
    for (size_t t = first + blockIdx.y; t < end; t += gridDim.y)
        for (size_t part = 0; part < 3; part++) {
            bool there = t + 1 >= first + part && t + 1 - part < end;
            for (size_t c = threadIdx.x; c < cols; c += ROW_BLOCK)
                store(y + (3 * t + part) * cols + c,
                      there ? load(x + (t + 1 - part) * cols + c) : 0.0f);
        }
}

/* Row t is the next part of row t - 1, the own part of row t, the previous part of row t + 1. */
template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    trigram_backward(const T *__restrict__ dy, const int32_t *__restrict__ offset, size_t cols,
                     T *__restrict__ dx)
{
    size_t first = (size_t)offset[blockIdx.x], end = (size_t)offset[blockIdx.x + 1];
    for (size_t t = first + blockIdx.y; t < end; t += gridDim.y)
        for (size_t c = threadIdx.x; c < cols; c += ROW_BLOCK) {
            float sum = load(dy + (3 * t + 1) * cols + c);
            if (t > first)
                sum += load(dy + 3 * (t - 1) * cols + c);
            if (t + 1 < end)
                sum += load(dy + (3 * (t + 1) + 2) * cols + c);
            store(dx + t * cols + c, sum);
        }
}

void cuda_trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "trigram", trigram<T>, cuda_grid_seqs(seqs, 1), ROW_BLOCK,
                                   0, cuda_values<T>(x), seqs->offset, cols, cuda_values<T>(y)));
}

void cuda_trigram_backward(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                           act *dx)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "trigram_backward", trigram_backward<T>,
                                   cuda_grid_seqs(seqs, 1), ROW_BLOCK, 0, cuda_values<T>(dy),
                                   seqs->offset, cols, cuda_values<T>(dx)));
}

/* ---- means ---- */

/* A block for each sequence and ROW_BLOCK columns, a thread for each column: rows are added in
 * order, whatever other sequences there are. */
template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    mean_pool(const T *__restrict__ x, const int32_t *__restrict__ offset, size_t cols,
              T *__restrict__ y)
{
    size_t s = blockIdx.x, c = blockIdx.y * (size_t)ROW_BLOCK + threadIdx.x;
    size_t first = (size_t)offset[s], end = (size_t)offset[s + 1];
    float sum = 0.0f;
    if (c >= cols)
        return;
    for (size_t t = first; t < end; t++)
        sum += load(x + t * cols + c);
    store(y + s * cols + c, end > first ? sum / (float)(end - first) : 0.0f);
}

template <class T>
static __global__ void __launch_bounds__(ROW_BLOCK)
    mean_pool_backward(const T *__restrict__ dy, const int32_t *__restrict__ offset, size_t cols,
                       T *__restrict__ dx)
{
    size_t s = blockIdx.x, first = (size_t)offset[s], end = (size_t)offset[s + 1];
    for (size_t t = first + blockIdx.y; t < end; t += gridDim.y)
        for (size_t c = threadIdx.x; c < cols; c += ROW_BLOCK)
            store(dx + t * cols + c, load(dy + s * cols + c) / (float)(end - first));
}

void cuda_mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    dim3 grid(cuda_ceil(seqs->n, 1), cuda_ceil(cols, ROW_BLOCK));
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "mean_pool", mean_pool<T>, grid, ROW_BLOCK, 0,
                                   cuda_values<T>(x), seqs->offset, cols, cuda_values<T>(y)));
}

void cuda_mean_pool_backward(struct device *dev, const act *dy, const struct seqs *seqs,
                             size_t cols, act *dx)
{
    struct cuda *cuda = cuda_of(dev);
    if (seqs->n == 0 || cols == 0)
        return;
    CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "mean_pool_backward", mean_pool_backward<T>,
                                   cuda_grid_seqs(seqs, 1), ROW_BLOCK, 0, cuda_values<T>(dy),
                                   seqs->offset, cols, cuda_values<T>(dx)));
}
