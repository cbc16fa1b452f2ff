/* norm.cu: residual sum, dropout and layer normalisation in one pass over memory, forward and
 * backward, and the element-wise operations beside them.
 *
 * A warp takes a row and keeps it in registers, up to 1024 columns; of wider rows nothing is kept,
 * and what a later pass needs is read again, from the cache. An element is written by the thread
 * that read it, after all its reads, so arrays may coincide.
 */
#include "kernels/cuda/epilogue.h"
#include "kernels/cuda/linear.h"

constexpr size_t WIDE = 32 * WARP;                          /* rows of more columns are not kept */
constexpr int NORM_WARPS = 4;                               /* rows of a block at a time */
constexpr size_t ROWS_OF_WARP = 4, MOST_PARTIAL_SUMS = 512; /* of gradients by gain and bias */
constexpr int SUMS = 3;                                     /* dgain, dbias, and of dx */

/* The statement with PER columns for each lane, 0: any number. */
#define PER_WIDTH(cols, ...)                                                                       \
    do {                                                                                           \
        if ((cols) <= 8 * WARP) {                                                                  \
            constexpr int PER = 8;                                                                 \
            __VA_ARGS__;                                                                           \
        } else if ((cols) <= 24 * WARP) {                                                          \
            constexpr int PER = 24;                                                                \
            __VA_ARGS__;                                                                           \
        } else if ((cols) <= 32 * WARP) {                                                          \
            constexpr int PER = 32;                                                                \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            constexpr int PER = 0;                                                                 \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)

/* Columns of a lane: lane, lane + 32 …; `i` counts them. f(i, column). */
template <int PER, class F> static __device__ inline void each_column(size_t cols, F f)
{
    size_t lane = threadIdx.x % WARP;
    if constexpr (PER > 0) {
        UNROLL
        for (int i = 0; i < PER; i++)
            if (lane + (size_t)(i * WARP) < cols)
                f(i, lane + (size_t)(i * WARP));
    } else
        for (size_t c = lane; c < cols; c += WARP)
            f(0, c);
}

/* A lane's part of a row: kept where PER says so, else made anew. */
template <int PER> struct kept {
    float value[PER > 0 ? PER : 1];
    template <class F> __device__ inline void fill(size_t cols, F make)
    {
        if constexpr (PER > 0)
            each_column<PER>(cols, [&](int i, size_t c) { value[i] = make(c); });
    }
    template <class F> __device__ inline float at(int i, size_t c, F make) const
    {
        if constexpr (PER > 0)
            return value[i];
        else
            return make(c);
    }
};

static __device__ inline float factor_of(uint32_t first, uint32_t second, uint32_t threshold,
                                         float keep_scale, size_t index)
{
    return threshold ? dropped(first, second, threshold, keep_scale, index) : 1.0f;
}

/* ---- forward ---- */

template <class T, int PER>
static __global__ void __launch_bounds__(NORM_WARPS *WARP)
    add_norm(bool layer, const T *x, const float *__restrict__ before, const T *residual,
             uint32_t first, uint32_t second, uint32_t threshold, float keep_scale,
             const float *__restrict__ gain, const float *__restrict__ bias, float eps, size_t rows,
             size_t cols, T *sum, float *stats, T *y)
{
    size_t row = blockIdx.x * (size_t)NORM_WARPS + threadIdx.x / WARP, at = row * cols;
    if (row >= rows)
        return;
    auto make = [&](size_t c) {
        float factor = factor_of(first, second, threshold, keep_scale, at + c);
        float value = load(x + at + c) + (before ? before[c] : 0.0f);
        return value * factor + (residual ? load(residual + at + c) : 0.0f);
    };
    kept<PER> z;
    float mean = 0.0f, rstd = 1.0f, total = 0.0f, squares = 0.0f;
    z.fill(cols, make);
    if (layer) {
        each_column<PER>(cols, [&](int i, size_t c) { total += z.at(i, c, make); });
        mean = warp_sum(total) / (float)cols;
        each_column<PER>(cols, [&](int i, size_t c) {
            float d = z.at(i, c, make) - mean;
            squares += d * d;
        });
        rstd = 1.0f / sqrtf(warp_sum(squares) / (float)cols + eps);
    }
    each_column<PER>(cols, [&](int i, size_t c) {
        float value = z.at(i, c, make);
        if (sum)
            store(sum + at + c, value);
        store(y + at + c, (value - mean) * rstd * gain[c] + bias[c]);
    });
    if (stats && layer && threadIdx.x % WARP == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = rstd;
    }
}

/* before: a bias that x lacks, or NULL. */
static void run_norm(struct cuda *cuda, enum norm norm, const act *x, const float *before,
                     const act *residual, struct dropout dropout, const float *gain,
                     const float *bias, float eps, size_t rows, size_t cols, act *sum, float *stats,
                     act *y)
{
    struct dropout_key key = dropout_key(dropout);
    if (rows == 0 || cols == 0)
        return;
    CUDA_PER_ACT(cuda,
                 PER_WIDTH(cols, CUDA_LAUNCH(cuda, "add_norm", (add_norm<T, PER>),
                                             cuda_ceil(rows, NORM_WARPS), NORM_WARPS * WARP, 0,
                                             norm == NORM_LAYER, cuda_values<T>(x), before,
                                             cuda_values<T>(residual), key.first, key.second,
                                             key.threshold, key.keep_scale, gain, bias, eps, rows,
                                             cols, cuda_values<T>(sum), stats, cuda_values<T>(y))));
}

void cuda_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                   struct dropout dropout, const float *gain, const float *bias, float eps,
                   size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    run_norm(cuda_of(dev), norm, x, NULL, residual, dropout, gain, bias, eps, rows, cols, sum,
             stats, y);
}

void cuda_linear_norm(struct device *dev, const struct linear *linear, const act *x,
                      size_t x_stride, size_t rows, act *product, enum norm norm,
                      const act *residual, struct dropout dropout, const float *gain,
                      const float *bias, float eps, size_t cols, act *sum, float *stats, act *y)
{
    struct cuda *cuda = cuda_of(dev);
    bool whole = linear->kind == linear::LINEAR_INT8; /* scaling it back adds the bias */
    if (rows == 0 || cols == 0)
        return;
    if (whole)
        cuda_linear_int8(cuda, linear, x, x_stride, rows, EPILOGUE_NONE, NULL, product, cols);
    else if (!cuda_linear_plain(cuda, linear, x, x_stride, rows, product, cols))
        return;
    run_norm(cuda, norm, product, whole ? NULL : linear->b, residual, dropout, gain, bias, eps,
             rows, cols, sum, stats, y);
}

/* ---- backward ---- */

/* Adds the warps' sums of the gradients by gain (which 0), by bias (1) or of dx (2), in the order of
 * warps, into partial [blocks, SUMS, cols]. total: NORM_WARPS * cols floats, free before and after. */
template <int PER>
static __device__ inline void add_warps(const kept<PER> &own, int which, size_t cols, float *total,
                                        float *partial)
{
    size_t warp = threadIdx.x / WARP;
    each_column<PER>(cols, [&](int i, size_t c) { total[warp * cols + c] = own.value[i]; });
    __syncthreads();
    for (size_t c = threadIdx.x; c < cols; c += NORM_WARPS * WARP) {
        float sum = 0.0f;
        for (size_t w = 0; w < NORM_WARPS; w++)
            sum += total[w * cols + c];
        partial[(blockIdx.x * (size_t)SUMS + (size_t)which) * cols + c] = sum;
    }
    __syncthreads();
}

/* A block takes `run` rows. With xhat = (z - mean) rstd and g = dy gain:
 *   dz = rstd (g - mean(g) - xhat mean(g xhat)),  and dy gain for NORM_AFFINE.
 * partial NULL: gradients by gain and bias are not wanted (here). */
template <class T, int PER>
static __global__ void __launch_bounds__(NORM_WARPS *WARP)
    backward_rows(bool layer, const T *__restrict__ z, const float *__restrict__ stats,
                  const float *__restrict__ gain, const T *dy, uint32_t first, uint32_t second,
                  uint32_t threshold, float keep_scale, size_t rows, size_t run, size_t cols, T *dz,
                  T *dx, float *partial)
{
    SHARED_DYNAMIC(float, total);
    size_t begin = blockIdx.x * run, end = begin + run < rows ? begin + run : rows;
    kept<PER> by_gain, by_bias, of_dx, d, xhat;
    by_gain.fill(cols, [](size_t) { return 0.0f; });
    by_bias.fill(cols, [](size_t) { return 0.0f; });
    of_dx.fill(cols, [](size_t) { return 0.0f; });
    for (size_t row = begin + threadIdx.x / WARP; row < end; row += NORM_WARPS) {
        size_t at = row * cols;
        float mean = layer ? stats[2 * row] : 0.0f, rstd = layer ? stats[2 * row + 1] : 1.0f;
        float mean_g = 0.0f, mean_gx = 0.0f;
        auto make_d = [&](size_t c) { return load(dy + at + c); };
        auto make_xhat = [&](size_t c) { return (load(z + at + c) - mean) * rstd; };
        d.fill(cols, make_d);
        xhat.fill(cols, make_xhat);
        if (layer) {
            each_column<PER>(cols, [&](int i, size_t c) {
                float g = d.at(i, c, make_d) * gain[c];
                mean_g += g;
                mean_gx += g * xhat.at(i, c, make_xhat);
            });
            mean_g = warp_sum(mean_g) / (float)cols;
            mean_gx = warp_sum(mean_gx) / (float)cols;
        }
        each_column<PER>(cols, [&](int i, size_t c) {
            float d_y = d.at(i, c, make_d), x = xhat.at(i, c, make_xhat), value = d_y * gain[c];
            if (layer)
                value = rstd * (value - mean_g - x * mean_gx);
            store(dz + at + c, value);
            value *= factor_of(first, second, threshold, keep_scale, at + c);
            if (dx)
                store(dx + at + c, value);
            if constexpr (PER > 0) {
                by_gain.value[i] += d_y * x;
                by_bias.value[i] += d_y;
                of_dx.value[i] += value;
            }
        });
    }
    if constexpr (PER > 0) {
        if (partial) {
            add_warps(by_gain, 0, cols, total, partial);
            add_warps(by_bias, 1, cols, total, partial);
            add_warps(of_dx, 2, cols, total, partial);
        }
    }
}

/* The gradients by gain and bias of wide rows; partial as above. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    backward_columns(bool layer, const T *__restrict__ z, const float *__restrict__ stats,
                     const T *__restrict__ dy, size_t rows, size_t run, size_t cols,
                     float *__restrict__ partial)
{
    size_t c = grid_first(), begin = blockIdx.y * run;
    size_t end = begin + run < rows ? begin + run : rows;
    float by_gain = 0.0f, by_bias = 0.0f;
    if (c >= cols)
        return;
    for (size_t row = begin; row < end; row++) {
        float mean = layer ? stats[2 * row] : 0.0f, rstd = layer ? stats[2 * row + 1] : 1.0f;
        float d = load(dy + row * cols + c);
        by_gain += d * ((load(z + row * cols + c) - mean) * rstd);
        by_bias += d;
    }
    partial[blockIdx.y * (size_t)SUMS * cols + c] = by_gain;
    partial[(blockIdx.y * (size_t)SUMS + 1) * cols + c] = by_bias;
}

constexpr unsigned SLICES = 8;

/* Blocks of WARP columns × SLICES; blockIdx.y 0 adds to dgain, 1 to dbias, 2 to db (NULL: not
 * wanted). */
static __global__ void __launch_bounds__(WARP *SLICES)
    add_partial(const float *__restrict__ partial, size_t n, size_t cols, float *dgain,
                float *dbias, float *db)
{
    SHARED(float, slice, [SLICES][WARP]);
    size_t c = blockIdx.x * (size_t)WARP + threadIdx.x;
    float *grad = blockIdx.y == 0 ? dgain : blockIdx.y == 1 ? dbias : db, sum = 0.0f;
    if (!grad)
        return;
    for (size_t i = threadIdx.y; i < n && c < cols; i += SLICES)
        sum += partial[(i * SUMS + blockIdx.y) * cols + c];
    slice[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || c >= cols)
        return;
    sum = 0.0f;
    for (unsigned i = 0; i < SLICES; i++)
        sum += slice[i][threadIdx.x];
    grad[c] += sum;
}

static size_t rows_of_partial_sum(size_t rows)
{
    size_t run = NORM_WARPS * ROWS_OF_WARP;
    return rows > run * MOST_PARTIAL_SUMS ? (rows + MOST_PARTIAL_SUMS - 1) / MOST_PARTIAL_SUMS
                                          : run;
}

size_t cuda_norm_backward_bytes(size_t rows, size_t cols)
{
    size_t run = rows_of_partial_sum(rows);
    size_t bytes = (rows + run - 1) / run * SUMS * cols * sizeof(float);
    size_t columns = cols > WIDE ? cuda_column_sum_bytes(rows, cols) : 0;
    return bytes > columns ? bytes : columns;
}

void cuda_add_norm_backward(struct device *dev, enum norm norm, const act *sum, const float *stats,
                            const float *gain, const act *dy, struct dropout dropout, size_t rows,
                            size_t cols, act *dz, act *dx, float *dgain, float *dbias, float *db)
{
    struct cuda *cuda = cuda_of(dev);
    struct dropout_key key = dropout_key(dropout);
    bool layer = norm == NORM_LAYER, wide = cols > WIDE, wanted = dgain || dbias || (db && !wide);
    size_t run = wanted ? rows_of_partial_sum(rows) : NORM_WARPS * ROWS_OF_WARP;
    float *partial = NULL;
    if (rows == 0 || cols == 0)
        return;
    size_t n = (rows + run - 1) / run;
    if (wanted && !(partial = (float *)cuda_scratch(cuda, "add_norm_backward",
                                                    cuda_norm_backward_bytes(rows, cols))))
        return;
    if (wanted && wide) { /* before dy is written over */
        dim3 grid(cuda_ceil(cols, CUDA_BLOCK), (unsigned)n);
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "add_norm_backward", backward_columns<T>, grid,
                                       CUDA_BLOCK, 0, layer, cuda_values<T>(sum), stats,
                                       cuda_values<T>(dy), rows, run, cols, partial));
    }
    bool fused = wanted && !wide;
    size_t of_block = fused ? run : NORM_WARPS;
    CUDA_PER_ACT(cuda,
                 PER_WIDTH(cols, CUDA_LAUNCH(cuda, "add_norm_backward", (backward_rows<T, PER>),
                                             cuda_ceil(rows, of_block), NORM_WARPS * WARP,
                                             fused ? NORM_WARPS * cols * sizeof(float) : 0, layer,
                                             cuda_values<T>(sum), stats, gain, cuda_values<T>(dy),
                                             key.first, key.second, key.threshold, key.keep_scale,
                                             rows, of_block, cols, cuda_values<T>(dz),
                                             cuda_values<T>(dx), fused ? partial : NULL)));
    if (wanted)
        CUDA_LAUNCH(cuda, "add_norm_backward", add_partial,
                    dim3(cuda_ceil(cols, WARP), db && !wide ? 3 : 2), dim3(WARP, SLICES), 0,
                    partial, n, cols, dgain, dbias, db);
    if (db && wide)
        cuda_column_sum_of(cuda, "add_norm_backward", dx ? dx : dz, cols, rows, cols, db);
}

/* ---- element by element ---- */

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    drop(T *x, size_t n, uint32_t first, uint32_t second, uint32_t threshold, float keep_scale)
{
    for (size_t i = grid_first(); i < n; i += grid_stride())
        store(x + i, load(x + i) * dropped(first, second, threshold, keep_scale, i));
}

void cuda_dropout(struct device *dev, act *x, size_t n, struct dropout dropout)
{
    struct cuda *cuda = cuda_of(dev);
    struct dropout_key key = dropout_key(dropout);
    if (n > 0 && key.threshold > 0)
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "dropout", drop<T>, cuda_blocks(n), CUDA_BLOCK, 0,
                                       cuda_values<T>(x), n, key.first, key.second, key.threshold,
                                       key.keep_scale));
}

template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    multiply_slope(int epilogue, const T *__restrict__ pre, const T *dy, size_t n, T *dpre)
{
    for (size_t i = grid_first(); i < n; i += grid_stride())
        store(dpre + i, load(dy + i) * epilogue_slope((enum epilogue)epilogue, load(pre + i)));
}

/* The same for `run` rows of each column, which are summed into partial [runs, cols]. */
template <class T>
static __global__ void __launch_bounds__(CUDA_BLOCK)
    multiply_slope_sum(int epilogue, const T *__restrict__ pre, const T *dy, size_t rows,
                       size_t run, size_t cols, T *dpre, double *__restrict__ partial)
{
    size_t col = grid_first(), begin = blockIdx.y * run;
    size_t end = begin + run < rows ? begin + run : rows;
    double sum = 0;
    if (col >= cols)
        return;
    for (size_t row = begin; row < end; row++) {
        size_t i = row * cols + col;
        float d = load(dy + i) * epilogue_slope((enum epilogue)epilogue, load(pre + i));
        store(dpre + i, d);
        sum += (double)d;
    }
    partial[blockIdx.y * cols + col] = sum;
}

void cuda_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                            const act *dy, size_t rows, size_t cols, act *dpre, float *db)
{
    struct cuda *cuda = cuda_of(dev);
    size_t n = rows * cols, run;
    double *partial;
    if (n == 0)
        return;
    if (db) {
        if (!(partial = cuda_column_partial(cuda, "epilogue_backward", rows, cols, &run)))
            return;
        dim3 grid(cuda_ceil(cols, CUDA_BLOCK), cuda_ceil(rows, run));
        CUDA_PER_ACT(cuda,
                     CUDA_LAUNCH(cuda, "epilogue_backward", multiply_slope_sum<T>, grid, CUDA_BLOCK,
                                 0, (int)epilogue, cuda_values<T>(pre), cuda_values<T>(dy), rows,
                                 run, cols, cuda_values<T>(dpre), partial));
        cuda_column_add(cuda, "epilogue_backward", partial, rows, cols, db);
    } else
        CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "epilogue_backward", multiply_slope<T>, cuda_blocks(n),
                                       CUDA_BLOCK, 0, (int)epilogue, cuda_values<T>(pre),
                                       cuda_values<T>(dy), n, cuda_values<T>(dpre)));
}
