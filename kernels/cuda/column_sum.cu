/* column_sum.cu: sums of columns in a fixed order: blocks sum runs of rows, a second kernel adds
 * the runs, all in double, which costs nothing beside reading the rows. */
#include "kernels/cuda/linear.h"

constexpr size_t RUN = 64, MOST_RUNS = 4096;

/* grad: NULL, or where the sums go at once, of a single run. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    sum_runs(const T *__restrict__ d, size_t stride, size_t rows, size_t run, size_t cols,
             double *__restrict__ partial, float *__restrict__ grad)
{
    size_t col = grid_first(), begin = blockIdx.y * run;
    size_t end = begin + run < rows ? begin + run : rows;
    double sum = 0;
    if (col >= cols)
        return;
    for (size_t row = begin; row < end; row++)
        sum += (double)load(d + row * stride + col);
    if (grad)
        grad[col] += (float)sum;
    else
        partial[blockIdx.y * cols + col] = sum;
}

static __global__ void __launch_bounds__(CUDA_BLOCK)
    add_runs(const double *__restrict__ partial, size_t n_runs, size_t cols,
             float *__restrict__ grad)
{
    size_t col = grid_first();
    double sum = 0;
    if (col >= cols)
        return;
    for (size_t run = 0; run < n_runs; run++)
        sum += partial[run * cols + col];
    grad[col] += (float)sum;
}

static size_t rows_of_run(size_t rows)
{
    return rows > RUN * MOST_RUNS ? (rows + MOST_RUNS - 1) / MOST_RUNS : RUN;
}

size_t cuda_column_sum_bytes(size_t rows, size_t cols)
{
    size_t run = rows_of_run(rows);
    return (rows + run - 1) / run * cols * sizeof(double);
}

double *cuda_column_partial(struct cuda *cuda, const char *operation, size_t rows, size_t cols,
                            size_t *run)
{
    *run = rows_of_run(rows);
    return (double *)cuda_scratch(cuda, operation, cuda_column_sum_bytes(rows, cols));
}

void cuda_column_add(struct cuda *cuda, const char *operation, const double *partial, size_t rows,
                     size_t cols, float *grad)
{
    size_t run = rows_of_run(rows);
    CUDA_LAUNCH(cuda, operation, add_runs, cuda_ceil(cols, CUDA_BLOCK), CUDA_BLOCK, 0, partial,
                (rows + run - 1) / run, cols, grad);
}

void cuda_column_sum_of(struct cuda *cuda, const char *operation, const act *d, size_t stride,
                        size_t rows, size_t cols, float *grad)
{
    size_t run;
    double *partial = NULL;
    if (rows == 0 || cols == 0)
        return;
    bool few = rows <= RUN; /* one kernel does */
    if (!(partial = cuda_column_partial(cuda, operation, rows, cols, &run)))
        return;
    dim3 grid(cuda_ceil(cols, CUDA_BLOCK), cuda_ceil(rows, run));
    CUDA_PER_ACT(cuda,
                 CUDA_LAUNCH(cuda, operation, sum_runs<T>, grid, CUDA_BLOCK, 0, cuda_values<T>(d),
                             stride, rows, run, cols, partial, few ? grad : NULL));
    if (!few)
        cuda_column_add(cuda, operation, partial, rows, cols, grad);
}

void cuda_column_sum(struct device *dev, const act *d, size_t rows, size_t cols, float *grad)
{
    cuda_column_sum_of(cuda_of(dev), "column_sum", d, cols, rows, cols, grad);
}
