/* attention.h: what attention on the device is made of, for attention*.cu.
 *
 * A block of threads owns `OWN` rows, of queries or of keys, of one head of one sequence, and goes
 * over the rows of the other side in tiles, which all its threads bring into shared memory as
 * floats. Eight lanes share an own row: a thread has ROWS own rows and, of each, the columns lane,
 * lane + 8, …, of scores as of heads. The scores of a row stay inside a warp.
 */
#ifndef MILLET_KERNELS_CUDA_ATTENTION_H
#define MILLET_KERNELS_CUDA_ATTENTION_H

#include "kernels/cuda/cuda.h"

constexpr int ATTENTION_THREADS = 128, ROW_LANES = 8,
              ROW_GROUPS = ATTENTION_THREADS / ROW_LANES; /* threads of one lane number */

/* Rows of a block and of a tile for heads of at most D columns: as many as 48 KiB and the registers
 * hold. */
template <int D> struct attention_shape {
    static constexpr int ROWS = D > 64 ? 1 : 2, COLS = D > 64 ? 2 : 4, OWN = ROWS * ROW_GROUPS,
                         TILE = COLS * ROW_LANES;
};

/* The statement with D a bound of the head size. */
constexpr size_t MOST_HEAD_SIZE = 128;
#define PER_HEAD_SIZE(size, ...)                                                                   \
    do {                                                                                           \
        if ((size) <= 16) {                                                                        \
            constexpr int D = 16;                                                                  \
            __VA_ARGS__;                                                                           \
        } else if ((size) <= 32) {                                                                 \
            constexpr int D = 32;                                                                  \
            __VA_ARGS__;                                                                           \
        } else if ((size) <= 64) {                                                                 \
            constexpr int D = 64;                                                                  \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            constexpr int D = 128;                                                                 \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)

/* struct attention without its pointer, as kernels take it, and the dropout key. */
struct attention_sizes {
    size_t heads, size, longest, q_stride, kv_stride, out_stride;
    size_t n_queries, n_keys; /* of the longest sequence */
    float scale;
    bool first_only;
    uint32_t first, second, threshold;
    float keep_scale;
};

static inline struct attention_sizes attention_sizes_of(const struct attention *attention)
{
    struct dropout_key key = dropout_key(attention->dropout);
    struct attention_sizes a = {};
    a.heads = attention->heads;
    a.size = attention->head_size;
    a.longest = attention->seqs.longest;
    a.q_stride = attention->q_stride;
    a.kv_stride = attention->kv_stride;
    a.out_stride = attention->out_stride;
    a.n_keys = attention->seqs.longest;
    a.n_queries = attention->first_only ? 1 : a.n_keys;
    a.scale = attention->scale;
    a.first_only = attention->first_only;
    a.first = key.first;
    a.second = key.second;
    a.threshold = key.threshold;
    a.keep_scale = key.keep_scale;
    return a;
}

/* false: there is nothing to do, or, after cuda_fail, it cannot be done. */
static inline bool attention_any(struct cuda *cuda, const char *operation,
                                 const struct attention *a)
{
    if (a->head_size > MOST_HEAD_SIZE)
        return cuda_fail(cuda,
                         "%s: heads of %zu columns; a CUDA device takes at most %zu: use "
                         "--device cpu",
                         operation, a->head_size, MOST_HEAD_SIZE);
    return a->seqs.n > 0 && a->seqs.longest > 0 && a->heads > 0 && a->head_size > 0;
}

/* Blocks for `rows` own rows of each head of each sequence. */
static inline dim3 attention_grid(const struct attention *a, size_t rows, size_t own)
{
    return dim3(cuda_ceil(a->seqs.n * ((rows + own - 1) / own), 1), (unsigned)a->heads);
}

/* ---- inside kernels ---- */

/* One head of one sequence: its rows of q (lse, out) and of k and v, and its columns. */
struct attention_part {
    size_t query, n_queries, key, n_keys, head, column;
    size_t begin; /* of the block's own rows */
};

/* `rows`: the longest sequence's of the own side. */
static __device__ inline struct attention_part
attention_part_of(const struct attention_sizes &a, const int32_t *offset, size_t rows, size_t own)
{
    size_t blocks = (rows + own - 1) / own, sequence = blockIdx.x / blocks;
    struct attention_part part;
    part.key = (size_t)offset[sequence];
    part.n_keys = (size_t)offset[sequence + 1] - part.key;
    part.query = a.first_only ? sequence : part.key;
    part.n_queries = a.first_only ? 1 : part.n_keys;
    part.head = blockIdx.y;
    part.column = part.head * a.size;
    part.begin = blockIdx.x % blocks * own;
    return part;
}

/* The number of blocks rests on seqs.longest, which came from the host, the lengths themselves on
 * offsets in device memory. false for all threads, and a report, where they do not agree: queries
 * would be left out in silence. */
static __device__ inline bool attention_length_fits(const struct attention_sizes &a,
                                                    const struct attention_part &part,
                                                    struct cuda_fault *fault)
{
    if (part.n_keys <= a.longest) /* offsets that fall make it huge */
        return true;
    if (threadIdx.x == 0)
        report(fault, CUDA_FAULT_SEQUENCE, (int)part.n_keys, a.longest + 1);
    return false;
}

static __device__ inline int at_most(int limit, size_t n)
{
    return n < (size_t)limit ? (int)n : limit;
}

static __device__ inline int own_lane(void)
{
    return (int)threadIdx.x % ROW_LANES;
}
/* Of the thread's own rows the first, counted from the block's first. */
template <int ROWS> static __device__ inline int own_row(void)
{
    return (int)threadIdx.x / ROW_LANES * ROWS;
}
/* The warp has some of the block's n rows. */
template <int ROWS> static __device__ inline bool warp_has_rows(int n)
{
    return (int)threadIdx.x / WARP * (WARP / ROW_LANES) * ROWS < n;
}

/* What the probability of `key` for `query`, both counted from the sequence's first, is multiplied
 * by. */
static __device__ inline float attention_dropped(const struct attention_sizes &a,
                                                 const struct attention_part &part, size_t query,
                                                 size_t key)
{
    size_t row = (part.query + query) * a.heads + part.head;
    return a.threshold
               ? dropped(a.first, a.second, a.threshold, a.keep_scale, row * a.longest + key)
               : 1.0f;
}

/* The first n of N rows of a head, and zeros up to N rows of D columns. */
template <int N, int D, class T>
static __device__ inline void load_tile(float (*tile)[D + 1], const T *from, size_t stride, int n,
                                        size_t size)
{
    for (int i = (int)threadIdx.x; i < N * D; i += ATTENTION_THREADS) {
        int row = i / D, col = i % D;
        bool inside = row < n && (size_t)col < size;
        tile[row][col] = inside ? load(from + (size_t)row * stride + col) : 0.0f;
    }
}

/* s = own · other of the thread's rows and columns. */
template <int ROWS, int COLS, int D>
static __device__ inline void tile_dots(const float (*own)[D + 1], const float (*other)[D + 1],
                                        size_t size, float (*s)[COLS])
{
    int row = own_row<ROWS>(), lane = own_lane();
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int j = 0; j < COLS; j++)
            s[r][j] = 0.0f;
    }
    for (int c = 0; c < (int)size; c++) {
        float x[COLS];
        UNROLL
        for (int j = 0; j < COLS; j++)
            x[j] = other[lane + j * ROW_LANES][c];
        UNROLL
        for (int r = 0; r < ROWS; r++) {
            float y = own[row + r][c];
            UNROLL
            for (int j = 0; j < COLS; j++)
                s[r][j] += y * x[j];
        }
    }
}

/* sum += weight · other, over the tile's n rows: of the thread's rows, columns of the head. */
template <int ROWS, int TILE, int D>
static __device__ inline void tile_add(const float (*weight)[TILE + 1], const float (*other)[D + 1],
                                       int n, float (*sum)[D / ROW_LANES])
{
    int row = own_row<ROWS>(), lane = own_lane();
    for (int j = 0; j < n; j++) {
        float w[ROWS];
        UNROLL
        for (int r = 0; r < ROWS; r++)
            w[r] = weight[row + r][j];
        UNROLL
        for (int i = 0; i < D / ROW_LANES; i++) {
            float x = other[j][lane + i * ROW_LANES];
            UNROLL
            for (int r = 0; r < ROWS; r++)
                sum[r][i] += w[r] * x;
        }
    }
}

template <int ROWS, int D> static __device__ inline void clear_sums(float (*sum)[D / ROW_LANES])
{
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        UNROLL
        for (int i = 0; i < D / ROW_LANES; i++)
            sum[r][i] = 0.0f;
    }
}

/* The thread's sums, row r times factor[r], into the n own rows from `to` on. */
template <int ROWS, int D, class T>
static __device__ inline void store_sums(const float (*sum)[D / ROW_LANES], const float *factor,
                                         T *to, size_t stride, int n, size_t size)
{
    UNROLL
    for (int r = 0; r < ROWS; r++) {
        int row = own_row<ROWS>() + r;
        UNROLL
        for (int i = 0; i < D / ROW_LANES; i++) {
            size_t col = (size_t)(own_lane() + i * ROW_LANES);
            if (row < n && col < size)
                store(to + (size_t)row * stride + col, sum[r][i] * factor[r]);
        }
    }
}

#endif
