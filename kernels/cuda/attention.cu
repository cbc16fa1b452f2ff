/* attention.cu: softmax(q kᵀ scale) v per sequence and head in one kernel: the probabilities exist
 * for a tile of keys at a time, with the largest score and the sum so far (online softmax;
 * Milakov and Gimelshein 2018; Dao et al. 2022, FlashAttention). Products are float arithmetic, not
 * tensor cores.
 */
#include "kernels/cuda/attention.h"

/* A tile of n keys from the sequence's `at` on: the scores s of the thread's rows become weights; the
 * largest score of each row so far, and what was summed relative to it, are brought up to date. */
template <int ROWS, int COLS, int D>
static __device__ inline void
online_softmax(const struct attention_sizes &a, const struct attention_part &part, size_t at, int n,
               float (*s)[COLS], float *largest, float *total, float (*sum)[D / ROW_LANES],
               float (*weight)[COLS * ROW_LANES + 1])
{
    int row = own_row<ROWS>();
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        float best = largest[r];
        UNROLL
        for (int j = 0; j < COLS; j++) {
            s[r][j] = own_lane() + j * ROW_LANES < n ? s[r][j] * a.scale : -INFINITY;
            best = fmaxf(best, s[r][j]);
        }
        best = warp_max<ROW_LANES>(best);
        float shrink = expf(largest[r] - best);
        largest[r] = best;
        total[r] *= shrink;
        UNROLL
        for (int i = 0; i < D / ROW_LANES; i++)
            sum[r][i] *= shrink;
        UNROLL
        for (int j = 0; j < COLS; j++) {
            int col = own_lane() + j * ROW_LANES;
            float p = expf(s[r][j] - best);
            total[r] += p;
            weight[row + r][col] =
                p * attention_dropped(a, part, part.begin + (size_t)(row + r), at + (size_t)col);
        }
    }
}

template <class T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    attend(struct attention_sizes a, const int32_t *__restrict__ offset, const T *__restrict__ q,
           const T *__restrict__ k, const T *__restrict__ v, T *__restrict__ out,
           float *__restrict__ lse, struct cuda_fault *fault)
{
    constexpr int ROWS = attention_shape<D>::ROWS, COLS = attention_shape<D>::COLS,
                  OWN = attention_shape<D>::OWN, TILE = attention_shape<D>::TILE;
    SHARED(float, query, [OWN][D + 1]);
    SHARED(float, key, [TILE][D + 1]);
    SHARED(float, value, [TILE][D + 1]);
    SHARED(float, weight, [OWN][TILE + 1]);
    struct attention_part part = attention_part_of(a, offset, a.n_queries, OWN);
    if (!attention_length_fits(a, part, fault) || part.begin >= part.n_queries)
        return;
    int n_own = at_most(OWN, part.n_queries - part.begin), row = own_row<ROWS>();
    size_t first = part.query + part.begin;
    float largest[ROWS], total[ROWS], sum[ROWS][D / ROW_LANES], s[ROWS][COLS];
    clear_sums<ROWS, D>(sum);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        largest[r] = -INFINITY;
        total[r] = 0.0f; /* of the lane's columns */
    }
    load_tile<OWN, D>(query, q + first * a.q_stride + part.column, a.q_stride, n_own, a.size);
    for (size_t at = 0; at < part.n_keys; at += TILE) {
        int n = at_most(TILE, part.n_keys - at);
        size_t from = (part.key + at) * a.kv_stride + part.column;
        __syncthreads();
        load_tile<TILE, D>(key, k + from, a.kv_stride, n, a.size);
        load_tile<TILE, D>(value, v + from, a.kv_stride, n, a.size);
        __syncthreads();
        if (!warp_has_rows<ROWS>(n_own))
            continue;
        tile_dots<ROWS, COLS, D>(query, key, a.size, s);
        online_softmax<ROWS, COLS, D>(a, part, at, n, s, largest, total, sum, weight);
        __syncwarp();
        tile_add<ROWS, TILE, D>(weight, value, n, sum);
    }
    if (!warp_has_rows<ROWS>(n_own))
        return;
    float factor[ROWS];
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        total[r] = warp_sum<ROW_LANES>(total[r]);
        factor[r] = total[r] == 0.0f ? 0.0f : 1.0f / total[r]; /* 0: no keys */
        if (lse && own_lane() == 0 && row + r < n_own)
            lse[(first + (size_t)(row + r)) * a.heads + part.head] = largest[r] + logf(total[r]);
    }
    store_sums<ROWS, D>(sum, factor, out + first * a.out_stride + part.column, a.out_stride, n_own,
                        a.size);
}

void cuda_attention(struct device *dev, const struct attention *attention, const act *q,
                    const act *k, const act *v, act *out, float *lse)
{
    struct cuda *cuda = cuda_of(dev);
    if (!attention_any(cuda, "attention", attention))
        return;
    struct attention_sizes a = attention_sizes_of(attention);
    CUDA_PER_ACT(cuda, PER_HEAD_SIZE(a.size, CUDA_LAUNCH(cuda, "attention", (attend<T, D>),
                                                         attention_grid(attention, a.n_queries,
                                                                        attention_shape<D>::OWN),
                                                         ATTENTION_THREADS, 0, a,
                                                         attention->seqs.offset, cuda_values<T>(q),
                                                         cuda_values<T>(k), cuda_values<T>(v),
                                                         cuda_values<T>(out), lse, cuda->fault)));
}
