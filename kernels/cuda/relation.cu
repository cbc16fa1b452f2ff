/* relation.cu: self-relations (contract in kernels.h) without an L × L matrix in memory. Scores of
 * a tile of 32 × 32 rows are made in shared memory when they are wanted, twice:
 *   1. norms: the log-sum-exp of each row's scores, of student and teacher;
 *   2. spread: with S symmetric, the gradient by S of row i and column j and that of row j and
 *      column i follow from the same score, s, and the norms of both rows:
 *          d_ij + d_ji = exp(s - norm_i) + exp(s - norm_j) - the same of the teacher's
 *      and dx_i = factor sum over j of (d_ij + d_ji) x_j.
 * A block does 32 rows of one slice of one sequence: 8 warps with 4 rows each, a lane for each of
 * the 32 rows j of a tile, then for each of 32 columns. Tiles follow one another in order, so
 * results have no other bytes with other sequences beside.
 */
#include "kernels/cuda/match.h"

constexpr int TILE = 32, WARPS = 8, ROWS_EACH = TILE / WARPS; /* rows of a warp */

/* score[r] = scale times the product of rows i + warp's r and j + lane of x, `cols` columns with
 * the row stride `stride`; rows from `end` on count as zeros. own, other: [TILE][TILE + 1] of
 * shared memory, free after the last barrier. All threads of the block take part. */
template <class T>
static __device__ inline void
score_tile(const T *__restrict__ x, size_t stride, size_t cols, size_t i, size_t j, size_t end,
           float scale, float (*own)[TILE + 1], float (*other)[TILE + 1], float *score)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    for (int r = 0; r < ROWS_EACH; r++)
        score[r] = 0.0f;
    for (size_t c = 0; c < cols; c += TILE) {
        for (int r = 0; r < ROWS_EACH; r++) {
            size_t row = (size_t)(warp * ROWS_EACH + r), col = c + (size_t)lane;
            own[row][lane] =
                i + row < end && col < cols ? load(x + (i + row) * stride + col) : 0.0f;
            other[row][lane] =
                j + row < end && col < cols ? load(x + (j + row) * stride + col) : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < TILE; k++)
            for (int r = 0; r < ROWS_EACH; r++)
                score[r] += own[warp * ROWS_EACH + r][k] * other[lane][k];
        __syncthreads();
    }
    for (int r = 0; r < ROWS_EACH; r++)
        score[r] *= scale;
}

/* norm [rows, heads] of one slice. */
template <class T>
static __device__ inline void slice_norms(const T *x, size_t stride, size_t cols, size_t i,
                                          size_t begin, size_t end, float (*own)[TILE + 1],
                                          float (*other)[TILE + 1], size_t heads, float *norm)
{
    size_t lane = threadIdx.x % WARP, first = i + threadIdx.x / WARP * ROWS_EACH;
    float largest[ROWS_EACH], sum[ROWS_EACH], score[ROWS_EACH];
    for (int r = 0; r < ROWS_EACH; r++) {
        largest[r] = -INFINITY;
        sum[r] = 0.0f;
    }
    for (size_t j = begin; j < end; j += TILE) {
        score_tile(x, stride, cols, i, j, end, 1.0f / sqrtf((float)cols), own, other, score);
        for (int r = 0; r < ROWS_EACH; r++) {
            float most = fmaxf(largest[r], warp_max(j + lane < end ? score[r] : -INFINITY));
            sum[r] =
                sum[r] * expf(largest[r] - most) + (j + lane < end ? expf(score[r] - most) : 0.0f);
            largest[r] = most;
        }
    }
    for (int r = 0; r < ROWS_EACH; r++) {
        float total = warp_sum(sum[r]);
        if (lane == 0 && first + (size_t)r < end)
            norm[(first + (size_t)r) * heads] = largest[r] + logf(total);
    }
}

/* Blocks: sequences × tiles of rows × heads of x, then of target. norm: [rows, heads] of x, then
 * of target. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP)
    relation_norms(const T *__restrict__ x, size_t stride, size_t cols,
                   const T *__restrict__ target, size_t target_stride, size_t target_cols,
                   const int32_t *__restrict__ offset, size_t rows, float *__restrict__ norm)
{
    SHARED(float, own, [TILE][TILE + 1]);
    SHARED(float, other, [TILE][TILE + 1]);
    size_t begin = (size_t)offset[blockIdx.x], end = (size_t)offset[blockIdx.x + 1];
    size_t heads = gridDim.z / 2, head = blockIdx.z % heads;
    if (blockIdx.z >= heads) { /* the whole block */
        x = target;
        stride = target_stride;
        cols = target_cols;
        norm += rows * heads;
    }
    for (size_t i = begin + blockIdx.y * (size_t)TILE; i < end; i += gridDim.y * (size_t)TILE)
        slice_norms(x + head * cols, stride, cols, i, begin, end, own, other, heads, norm + head);
}

/* One tile: the warp's rows of `both` = (d_ij + d_ji) of the tile from j on; the lane's share of
 * each row's divergence is added to part. Scores p of x and q of target; norms of slices. */
static __device__ inline void tile_slopes(const float *p, const float *q, size_t first, size_t j,
                                          size_t end, size_t heads, const float *norm_x,
                                          const float *norm_t, float (*both)[TILE + 1], float *part)
{
    size_t lane = threadIdx.x % WARP, row = threadIdx.x / WARP * ROWS_EACH;
    bool there = j + lane < end;
    float x_j = there ? norm_x[(j + lane) * heads] : 0.0f;
    float t_j = there ? norm_t[(j + lane) * heads] : 0.0f;
    for (size_t r = 0; r < ROWS_EACH; r++) {
        float sum = 0.0f;
        if (there && first + r < end) {
            float x_i = norm_x[(first + r) * heads], t_i = norm_t[(first + r) * heads];
            float share = expf(q[r] - t_i);
            part[r] += share * ((q[r] - t_i) - (p[r] - x_i));
            sum = (expf(p[r] - x_i) - share) + (expf(p[r] - x_j) - expf(q[r] - t_j));
        }
        both[row + r][lane] = sum;
    }
}

/* The same blocks. sum [rows, heads * cols]: dx on the way where a sequence has several tiles;
 * a block adds only to its own rows. loss [rows, heads]: divergences. */
template <class T>
static __global__ void __launch_bounds__(WARPS *WARP)
    relation_spread(const T *__restrict__ x, size_t stride, size_t cols,
                    const T *__restrict__ target, size_t target_stride, size_t target_cols,
                    const int32_t *__restrict__ offset, const float *__restrict__ norm_x,
                    const float *__restrict__ norm_t, float factor, float *__restrict__ sum,
                    float *__restrict__ loss, T *__restrict__ dx)
{
    SHARED(float, own, [TILE][TILE + 1]);
    SHARED(float, other, [TILE][TILE + 1]);
    SHARED(float, both, [TILE][TILE + 1]);
    size_t begin = (size_t)offset[blockIdx.x], end = (size_t)offset[blockIdx.x + 1];
    size_t head = blockIdx.z, heads = gridDim.z, lane = threadIdx.x % WARP;
    size_t row = threadIdx.x / WARP * ROWS_EACH; /* the warp's first in the tile */
    const T *slice = x + head * cols, *target_slice = target + head * target_cols;
    factor /= (float)(end - begin);
    for (size_t i = begin + blockIdx.y * (size_t)TILE; i < end; i += gridDim.y * (size_t)TILE) {
        float part[ROWS_EACH] = {}, p[ROWS_EACH], q[ROWS_EACH];
        for (size_t j = begin; j < end; j += TILE) {
            score_tile(slice, stride, cols, i, j, end, 1.0f / sqrtf((float)cols), own, other, p);
            score_tile(target_slice, target_stride, target_cols, i, j, end,
                       1.0f / sqrtf((float)target_cols), own, other, q);
            tile_slopes(p, q, i + row, j, end, heads, norm_x + head, norm_t + head, both, part);
            __syncwarp(); /* a warp reads only what it wrote of both */
            size_t n = end - j < TILE ? end - j : TILE;
            for (size_t c = lane; c < cols; c += WARP) {
                float d[ROWS_EACH] = {};
                for (size_t k = 0; k < n; k++) {
                    float value = load(slice + (j + k) * stride + c);
                    for (size_t r = 0; r < ROWS_EACH; r++)
                        d[r] += both[row + r][k] * value;
                }
                for (size_t r = 0; r < ROWS_EACH && i + row + r < end; r++) {
                    float *so_far = sum + ((i + row + r) * heads + head) * cols + c;
                    d[r] += j > begin ? *so_far : 0.0f;
                    if (j + TILE < end)
                        *so_far = d[r];
                    else
                        store(dx + (i + row + r) * stride + head * cols + c, factor * d[r]);
                }
            }
            __syncwarp();
        }
        for (size_t r = 0; r < ROWS_EACH; r++) {
            float divergence = warp_sum(part[r]);
            if (lane == 0 && i + row + r < end)
                loss[(i + row + r) * heads + head] = divergence;
        }
    }
}

size_t cuda_relation_bytes(size_t rows, size_t heads, size_t cols)
{
    return rows * (3 * heads + cols) * sizeof(float);
}

void cuda_relation(struct device *dev, const struct relation *relation, const act *x,
                   const act *target, float *row_loss, act *dx)
{
    struct cuda *cuda = cuda_of(dev);
    const struct seqs *seqs = &relation->seqs;
    size_t heads = relation->heads, rows = seqs->n_tokens;
    if (seqs->n == 0 || rows == 0 || heads == 0 || relation->cols == 0)
        return;
    size_t cols = relation->cols / heads, target_cols = relation->target_cols / heads;
    float *norm_x =
        (float *)cuda_scratch(cuda, "relation", cuda_relation_bytes(rows, heads, relation->cols));
    if (!norm_x)
        return;
    float *norm_t = norm_x + rows * heads, *loss = norm_t + rows * heads;
    float *sum = loss + rows * heads;
    float factor = relation->weight * relation->scale / ((float)heads * sqrtf((float)cols));
    dim3 grid = cuda_grid_seqs(seqs, TILE);
    grid.z = (unsigned)(2 * heads);
    CUDA_PER_ACT(cuda,
                 CUDA_LAUNCH(cuda, "relation", relation_norms<T>, grid, WARPS * WARP, 0,
                             cuda_values<T>(x), relation->stride, cols, cuda_values<T>(target),
                             relation->target_stride, target_cols, seqs->offset, rows, norm_x));
    grid.z = (unsigned)heads;
    CUDA_PER_ACT(cuda,
                 CUDA_LAUNCH(cuda, "relation", relation_spread<T>, grid, WARPS * WARP, 0,
                             cuda_values<T>(x), relation->stride, cols, cuda_values<T>(target),
                             relation->target_stride, target_cols, seqs->offset, norm_x, norm_t,
                             factor, sum, loss, cuda_values<T>(dx)));
    cuda_add_means(cuda, "relation", seqs, loss, heads, relation->weight, row_loss);
}
