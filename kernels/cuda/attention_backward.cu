/* attention_backward.cu: gradients of attention in two kernels. Both make the probabilities anew
 * from the log-sum-exps of the forward pass (Dao et al. 2022, FlashAttention). The first owns
 * queries and goes over keys: dq; the second owns keys and goes over queries: dk and dv. So each
 * sum has one owner: no atomics, one order.
 *
 * With p the probabilities, w the dropout factors and u_j = dout · v_j:
 *   ds_j = p_j (w_j u_j − inner) scale,   inner = Σ p w u = dout · out.
 */
#include "kernels/cuda/attention.h"

/* dout · out of the thread's own rows; the lanes share the columns. dout: the tile. */
template <int ROWS, int D, class T>
static __device__ inline void inner_products(const float (*dout)[D + 1], const T *out,
                                             size_t stride, int n, size_t size, float *inner)
{
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        int row = own_row<ROWS>() + r;
        float dot = 0.0f;
        for (int c = own_lane(); c < (int)size && row < n; c += ROW_LANES)
            dot += dout[row][c] * load(out + (size_t)row * stride + c);
        inner[r] = warp_sum<ROW_LANES>(dot);
    }
}

/* ds of a tile of n keys from the sequence's `at` on, for own queries. */
template <int ROWS, int COLS>
static __device__ inline void
slopes_of_queries(const struct attention_sizes &a, const struct attention_part &part, size_t at,
                  int n, const float (*s)[COLS], const float (*u)[COLS], const float *lse,
                  const float *inner, float (*ds)[COLS * ROW_LANES + 1])
{
    int row = own_row<ROWS>();
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int j = 0; j < COLS; j++) {
            int col = own_lane() + j * ROW_LANES;
            if (col >= n) /* nor read by tile_add */
                continue;
            float p = expf(s[r][j] * a.scale - lse[r]);
            float w = attention_dropped(a, part, part.begin + (size_t)(row + r), at + (size_t)col);
            ds[row + r][col] = p * (w * u[r][j] - inner[r]) * a.scale;
        }
    }
}

/* ds and p w of a tile of n queries from the sequence's `at` on, for own keys. */
template <int ROWS, int COLS>
static __device__ inline void
slopes_of_keys(const struct attention_sizes &a, const struct attention_part &part, size_t at, int n,
               const float (*s)[COLS], const float (*u)[COLS], const float *lse, const float *inner,
               float (*kept)[COLS * ROW_LANES + 1], float (*ds)[COLS * ROW_LANES + 1])
{
    int row = own_row<ROWS>();
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int j = 0; j < COLS; j++) {
            int col = own_lane() + j * ROW_LANES;
            if (col >= n)
                continue;
            float p = expf(s[r][j] * a.scale - lse[col]);
            float w = attention_dropped(a, part, at + (size_t)col, part.begin + (size_t)(row + r));
            kept[row + r][col] = p * w;
            ds[row + r][col] = p * (w * u[r][j] - inner[col]) * a.scale;
        }
    }
}

/* Into inner [query rows, heads], for backward_keys, and dq. */
template <class T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    backward_queries(struct attention_sizes a, const int32_t *__restrict__ offset,
                     const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v,
                     const T *__restrict__ out, const float *__restrict__ lse,
                     const T *__restrict__ dout, T *__restrict__ dq, float *__restrict__ inner,
                     struct cuda_fault *fault)
{
    constexpr int ROWS = attention_shape<D>::ROWS, COLS = attention_shape<D>::COLS,
                  OWN = attention_shape<D>::OWN, TILE = attention_shape<D>::TILE;
    SHARED(float, query, [OWN][D + 1]);
    SHARED(float, dquery, [OWN][D + 1]); /* rows of dout */
    SHARED(float, key, [TILE][D + 1]);
    SHARED(float, value, [TILE][D + 1]);
    SHARED(float, ds, [OWN][TILE + 1]);
    struct attention_part part = attention_part_of(a, offset, a.n_queries, OWN);
    if (!attention_length_fits(a, part, fault) || part.begin >= part.n_queries)
        return;
    int n_own = at_most(OWN, part.n_queries - part.begin), row = own_row<ROWS>();
    size_t first = part.query + part.begin, own_out = first * a.out_stride + part.column;
    bool busy = warp_has_rows<ROWS>(n_own);
    float own_lse[ROWS], own_inner[ROWS], factor[ROWS], sum[ROWS][D / ROW_LANES];
    clear_sums<ROWS, D>(sum);
    load_tile<OWN, D>(query, q + first * a.q_stride + part.column, a.q_stride, n_own, a.size);
    load_tile<OWN, D>(dquery, dout + own_out, a.out_stride, n_own, a.size);
    __syncthreads();
    inner_products<ROWS, D>(dquery, out + own_out, a.out_stride, n_own, a.size, own_inner);
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        size_t at = (first + (size_t)(row + r)) * a.heads + part.head;
        bool inside = row + r < n_own;
        own_lse[r] = inside ? lse[at] : 0.0f;
        factor[r] = 1.0f;
        if (inside && own_lane() == 0)
            inner[at] = own_inner[r];
    }
    for (size_t at = 0; at < part.n_keys; at += TILE) {
        int n = at_most(TILE, part.n_keys - at);
        size_t from = (part.key + at) * a.kv_stride + part.column;
        __syncthreads();
        load_tile<TILE, D>(key, k + from, a.kv_stride, n, a.size);
        load_tile<TILE, D>(value, v + from, a.kv_stride, n, a.size);
        __syncthreads();
        if (!busy)
            continue;
        float s[ROWS][COLS], u[ROWS][COLS];
        tile_dots<ROWS, COLS, D>(query, key, a.size, s);
        tile_dots<ROWS, COLS, D>(dquery, value, a.size, u);
        slopes_of_queries<ROWS, COLS>(a, part, at, n, s, u, own_lse, own_inner, ds);
        __syncwarp();
        tile_add<ROWS, TILE, D>(ds, key, n, sum);
    }
    store_sums<ROWS, D>(sum, factor, dq + first * a.q_stride + part.column, a.q_stride, n_own,
                        a.size);
}

template <class T, int D>
static __global__ void __launch_bounds__(ATTENTION_THREADS)
    backward_keys(struct attention_sizes a, const int32_t *__restrict__ offset,
                  const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v,
                  const float *__restrict__ lse, const T *__restrict__ dout,
                  const float *__restrict__ inner, T *__restrict__ dk, T *__restrict__ dv,
                  struct cuda_fault *fault)
{
    constexpr int ROWS = attention_shape<D>::ROWS, COLS = attention_shape<D>::COLS,
                  OWN = attention_shape<D>::OWN, TILE = attention_shape<D>::TILE;
    SHARED(float, key, [OWN][D + 1]);
    SHARED(float, value, [OWN][D + 1]);
    SHARED(float, query, [TILE][D + 1]);
    SHARED(float, dquery, [TILE][D + 1]); /* rows of dout */
    SHARED(float, kept, [OWN][TILE + 1]); /* p w */
    SHARED(float, ds, [OWN][TILE + 1]);
    SHARED(float, tile_lse, [TILE]);
    SHARED(float, tile_inner, [TILE]);
    struct attention_part part = attention_part_of(a, offset, a.n_keys, OWN);
    if (!attention_length_fits(a, part, fault) || part.begin >= part.n_keys)
        return;
    int n_own = at_most(OWN, part.n_keys - part.begin);
    size_t own = (part.key + part.begin) * a.kv_stride + part.column;
    bool busy = warp_has_rows<ROWS>(n_own);
    float factor[ROWS], sum_k[ROWS][D / ROW_LANES], sum_v[ROWS][D / ROW_LANES];
    clear_sums<ROWS, D>(sum_k);
    clear_sums<ROWS, D>(sum_v);
    UNROLL
    for (int r = 0; r < ROWS; r++)
        factor[r] = 1.0f;
    load_tile<OWN, D>(key, k + own, a.kv_stride, n_own, a.size);
    load_tile<OWN, D>(value, v + own, a.kv_stride, n_own, a.size);
    for (size_t at = 0; at < part.n_queries; at += TILE) {
        int n = at_most(TILE, part.n_queries - at), i = (int)threadIdx.x;
        size_t from = part.query + at;
        __syncthreads();
        load_tile<TILE, D>(query, q + from * a.q_stride + part.column, a.q_stride, n, a.size);
        load_tile<TILE, D>(dquery, dout + from * a.out_stride + part.column, a.out_stride, n,
                           a.size);
        if (i < n) {
            tile_lse[i] = lse[(from + (size_t)i) * a.heads + part.head];
            tile_inner[i] = inner[(from + (size_t)i) * a.heads + part.head];
        }
        __syncthreads();
        if (!busy)
            continue;
        float s[ROWS][COLS], u[ROWS][COLS];
        tile_dots<ROWS, COLS, D>(key, query, a.size, s);
        tile_dots<ROWS, COLS, D>(value, dquery, a.size, u);
        slopes_of_keys<ROWS, COLS>(a, part, at, n, s, u, tile_lse, tile_inner, kept, ds);
        __syncwarp();
        tile_add<ROWS, TILE, D>(kept, dquery, n, sum_v);
        tile_add<ROWS, TILE, D>(ds, query, n, sum_k);
    }
    store_sums<ROWS, D>(sum_k, factor, dk + own, a.kv_stride, n_own, a.size);
    store_sums<ROWS, D>(sum_v, factor, dv + own, a.kv_stride, n_own, a.size);
}

void cuda_attention_backward(struct device *dev, const struct attention *attention, const act *q,
                             const act *k, const act *v, const act *out, const float *lse,
                             const act *dout, act *dq, act *dk, act *dv)
{
    static const char name[] = "attention_backward";
    struct cuda *cuda = cuda_of(dev);
    if (!attention_any(cuda, name, attention))
        return;
    struct attention_sizes a = attention_sizes_of(attention);
    const int32_t *offset = attention->seqs.offset;
    size_t rows = a.first_only ? attention->seqs.n : attention->seqs.n_tokens;
    float *inner = (float *)cuda_scratch(cuda, name, rows * a.heads * sizeof *inner);
    if (!inner)
        return;
    CUDA_PER_ACT(
        cuda,
        PER_HEAD_SIZE(a.size,
                      CUDA_LAUNCH(cuda, name, (backward_queries<T, D>),
                                  attention_grid(attention, a.n_queries, attention_shape<D>::OWN),
                                  ATTENTION_THREADS, 0, a, offset, cuda_values<T>(q),
                                  cuda_values<T>(k), cuda_values<T>(v), cuda_values<T>(out), lse,
                                  cuda_values<T>(dout), cuda_values<T>(dq), inner, cuda->fault);
                      CUDA_LAUNCH(cuda, name, (backward_keys<T, D>),
                                  attention_grid(attention, a.n_keys, attention_shape<D>::OWN),
                                  ATTENTION_THREADS, 0, a, offset, cuda_values<T>(q),
                                  cuda_values<T>(k), cuda_values<T>(v), lse, cuda_values<T>(dout),
                                  inner, cuda_values<T>(dk), cuda_values<T>(dv), cuda->fault)));
}
