/* solve.cu: symmetric positive definite systems by Cholesky's factors in doubles, in tiles of 32
 * columns: the tile on the diagonal, the rows beside it, what is left of the matrix. Then the right
 * sides, a few to a block. */
#include "kernels/cuda/linear.h"

constexpr size_t TILE = WARP, SIDES = 4;

/* to [room] = from [n] and zeros. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    widen(double *__restrict__ to, size_t room, const float *__restrict__ from, size_t n)
{
    for (size_t i = grid_first(); i < room; i += grid_stride())
        to[i] = i < n ? (double)from[i] : 0.0;
}

static __global__ void __launch_bounds__(CUDA_BLOCK)
    narrow(float *__restrict__ to, const double *__restrict__ from, size_t n)
{
    for (size_t i = grid_first(); i < n; i += grid_stride())
        to[i] = (float)from[i];
}

/* One block of 32 × 32 threads: the tile at (at, at) becomes its factor; *failed is set where it is
 * not positive definite. Beyond the matrix the tile is that of the identity. */
static __global__ void __launch_bounds__(TILE *TILE)
    factor_tile(double *__restrict__ a, size_t n, size_t at, int32_t *failed)
{
    SHARED(double, tile, [TILE][TILE + 1]);
    size_t row = threadIdx.y, col = threadIdx.x;
    bool inside = at + row < n && at + col < n;
    tile[row][col] = inside ? a[(at + row) * n + at + col] : row == col ? 1.0 : 0.0;
    for (size_t k = 0; k < TILE; k++) {
        __syncthreads();
        double pivot = tile[k][k];
        if (!(pivot > 0)) { /* the same for all threads */
            if (row == 0 && col == 0)
                *failed = 1;
            return;
        }
        __syncthreads();
        if (row == k && col >= k)
            tile[k][col] /= sqrt(pivot);
        __syncthreads();
        if (row > k && col >= row)
            tile[row][col] -= tile[k][row] * tile[k][col];
    }
    if (inside && col >= row)
        a[(at + row) * n + at + col] = tile[row][col];
}

/* The rows of the tile at (at, at) right of it, by columns. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    factor_rows(double *__restrict__ a, size_t n, size_t at)
{
    SHARED(double, tile, [TILE][TILE]);
    for (size_t i = threadIdx.x; i < TILE * TILE; i += CUDA_BLOCK)
        tile[i / TILE][i % TILE] = a[(at + i / TILE) * n + at + i % TILE];
    __syncthreads();
    size_t col = at + TILE + grid_first();
    if (col >= n)
        return;
    for (size_t k = 0; k < TILE; k++) {
        double sum = a[(at + k) * n + col];
        for (size_t i = 0; i < k; i++)
            sum -= tile[i][k] * a[(at + i) * n + col];
        a[(at + k) * n + col] = sum / tile[k][k];
    }
}

/* What is right of and below the tile, upper triangle: a block of 32 × 8 threads for each tile. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    factor_rest(double *__restrict__ a, size_t n, size_t at)
{
    SHARED(double, of_row, [TILE][TILE + 1]);
    SHARED(double, of_col, [TILE][TILE + 1]);
    size_t top = at + TILE * (1 + blockIdx.y), left = at + TILE * (1 + blockIdx.x);
    if (left < top)
        return;
    size_t col = left + threadIdx.x;
    for (size_t k = threadIdx.y; k < TILE; k += blockDim.y) {
        of_row[k][threadIdx.x] = top + threadIdx.x < n ? a[(at + k) * n + top + threadIdx.x] : 0.0;
        of_col[k][threadIdx.x] = col < n ? a[(at + k) * n + col] : 0.0;
    }
    __syncthreads();
    for (size_t i = threadIdx.y; i < TILE; i += blockDim.y) {
        double sum = 0;
        for (size_t k = 0; k < TILE; k++)
            sum += of_row[k][i] * of_col[k][threadIdx.x];
        if (top + i < n && col < n)
            a[(top + i) * n + col] -= sum;
    }
}

/* A warp solves the tile at (at, at) for x [n]: with Uᵀ, first to last, or with U, last to first. */
static __device__ void solve_tile(const double *__restrict__ u, size_t n, size_t at, bool forward,
                                  double *x)
{
    size_t lane = threadIdx.x % WARP, size = n - at < TILE ? n - at : TILE;
    double value = lane < size ? x[at + lane] : 0.0;
    for (size_t step = 0; step < size; step++) {
        size_t k = forward ? step : size - 1 - step;
        double solved = __shfl_sync(FULL_WARP, value, (int)k) / u[(at + k) * n + at + k];
        if (lane == k)
            value = solved;
        else if (forward ? lane > k && lane < size : lane < k)
            value -= u[(at + (forward ? k : lane)) * n + at + (forward ? lane : k)] * solved;
    }
    if (lane < size)
        x[at + lane] = value;
}

/* x [SIDES of each block, n] = (Uᵀ U)⁻¹ x. */
static __global__ void __launch_bounds__(CUDA_BLOCK)
    solve_sides(const double *__restrict__ u, size_t n, double *all)
{
    double *x = all + blockIdx.x * SIDES * n;
    size_t warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, n_warps = CUDA_BLOCK / WARP;
    for (size_t at = 0; at < n; at += TILE) {
        if (warp < SIDES)
            solve_tile(u, n, at, true, x + warp * n);
        __syncthreads();
        for (size_t col = at + TILE + threadIdx.x; col < n; col += CUDA_BLOCK) {
            double sum[SIDES] = {};
            for (size_t k = at; k < at + TILE; k++)
                for (size_t s = 0; s < SIDES; s++)
                    sum[s] += u[k * n + col] * x[s * n + k];
            for (size_t s = 0; s < SIDES; s++)
                x[s * n + col] -= sum[s];
        }
        __syncthreads();
    }
    for (size_t at = (n - 1) / TILE * TILE;; at -= TILE) {
        for (size_t k = at + warp; k < at + TILE && k < n; k += n_warps) {
            double sum[SIDES] = {};
            for (size_t col = at + TILE + lane; col < n; col += WARP)
                for (size_t s = 0; s < SIDES; s++)
                    sum[s] += u[k * n + col] * x[s * n + col];
            for (size_t s = 0; s < SIDES; s++) {
                double whole = warp_sum(sum[s]);
                if (lane == 0)
                    x[s * n + k] -= whole;
            }
        }
        __syncthreads();
        if (warp < SIDES)
            solve_tile(u, n, at, false, x + warp * n);
        __syncthreads();
        if (at == 0)
            return;
    }
}

/* u [n, n], a's triangle, becomes its factor; false: it was not positive definite, or a failure. */
static bool factor(struct cuda *cuda, double *u, size_t n, int32_t *failed)
{
    int32_t found = 1;
    cuda_zero(&cuda->device, failed, sizeof *failed);
    for (size_t at = 0; at < n; at += TILE) {
        CUDA_LAUNCH(cuda, "solve", factor_tile, 1, dim3(TILE, TILE), 0, u, n, at, failed);
        if (at + TILE >= n)
            break;
        size_t left = n - at - TILE;
        unsigned tiles = cuda_ceil(left, TILE);
        CUDA_LAUNCH(cuda, "solve", factor_rows, cuda_ceil(left, CUDA_BLOCK), CUDA_BLOCK, 0, u, n,
                    at);
        CUDA_LAUNCH(cuda, "solve", factor_rest, dim3(tiles, tiles), dim3(TILE, CUDA_BLOCK / TILE),
                    0, u, n, at);
    }
    cuda_download(&cuda->device, &found, failed, sizeof found);
    return !cuda->error.set &&
           (!found || cuda_fail(cuda, "solve: the matrix is not positive definite"));
}

void cuda_solve(struct device *dev, float *a, size_t n, float *b, size_t m)
{
    struct cuda *cuda = cuda_of(dev);
    size_t squares, values, bytes, sides = (m + SIDES - 1) / SIDES;
    if (n == 0)
        return;
    if (n / TILE >= 0xffff || !memory_multiply(n, n, &squares) ||
        !memory_multiply(n, sides * SIDES, &values) ||
        !memory_multiply(squares + values + 1, sizeof(double), &bytes)) {
        cuda_fail(cuda, "solve: %zu unknowns, %zu right sides are too many", n, m);
        return;
    }
    double *u = (double *)cuda_scratch(cuda, "solve", bytes);
    if (!u)
        return;
    double *x = u + squares;
    CUDA_LAUNCH(cuda, "solve", widen, cuda_blocks(squares), CUDA_BLOCK, 0, u, squares, a, squares);
    if (!factor(cuda, u, n, (int32_t *)(void *)(x + values)) || m == 0)
        return;
    CUDA_LAUNCH(cuda, "solve", widen, cuda_blocks(values), CUDA_BLOCK, 0, x, values, b, n * m);
    CUDA_LAUNCH(cuda, "solve", solve_sides, cuda_ceil(sides, 1), CUDA_BLOCK, 0, u, n, x);
    CUDA_LAUNCH(cuda, "solve", narrow, cuda_blocks(n * m), CUDA_BLOCK, 0, b, x, n * m);
}
