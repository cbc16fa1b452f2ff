/* head.c: attention of one head. Queries go through in blocks of BLOCK rows, so that scores take
 * BLOCK × keys floats whatever the length; keys (and values, in the backward pass) are transposed
 * once per head, which turns every product into rows of vectors. Probabilities are recomputed from
 * lse in the backward pass (Dao et al. 2022, FlashAttention, section 3.1).
 */
#include "kernels/cpu/head.h"

#include "kernels/cpu/isa/product.h"

enum {
    BLOCK = 32,
    FAR = 64,  /* keys: from here on rows of k and v are gathered, for they lie on more pages than a
                 TLB holds */
    LINE = 16, /* floats of a cache line */
    SOFTMAX_ROWS = 4
};

static size_t padded(size_t n)
{
    return (n + VEC_N - 1) / VEC_N * VEC_N;
}

/* Distance of rows of n floats in scratch: an odd number of cache lines, so that a column of rows
 * uses all sets of a cache. */
static size_t spread(size_t n)
{
    return ((n + LINE - 1) / LINE | 1) * LINE;
}

static size_t forward_scratch(size_t longest, size_t size)
{
    return (size + BLOCK) * spread(longest) + longest * spread(size);
}

static size_t backward_scratch(size_t longest, size_t size)
{
    return (2 * size + 2 * BLOCK) * spread(longest) + longest * spread(size);
}

/* Rows [n, size] to read along: where they are, or in `room` when there are many. */
struct rows {
    const float *at;
    size_t stride;
};

static struct rows gathered(const float *from, size_t from_stride, size_t n, size_t size,
                            float *room)
{
    if (n < FAR)
        return (struct rows){from, from_stride};
    for (size_t i = 0; i < n; i++)
        memcpy(room + i * spread(size), from + i * from_stride, size * sizeof *room);
    return (struct rows){room, spread(size)};
}

static struct product_a rows_of(const float *at, size_t stride)
{
    return (struct product_a){at, stride, 1};
}

static struct product_a columns_of(const float *at, size_t stride)
{
    return (struct product_a){at, 1, stride};
}

/* Scores of `rows` queries, a constant, become probabilities times dropout factors, 0 beyond the
 * last key. Side by side, for each is a chain of steps that wait for one another. Writes the
 * log-sum-exp where it is wanted. */
static inline __attribute__((always_inline)) void
softmax_rows(const struct head *head, size_t query, size_t rows, float *scores, size_t stride)
{
    size_t n = head->n_keys, whole = n - n % VEC_N;
    vec most[SOFTMAX_ROWS], total[SOFTMAX_ROWS] = {{0}};
    float top[SOFTMAX_ROWS], sum[SOFTMAX_ROWS];
    for (size_t r = 0; r < rows; r++)
        most[r] = vec_set(scores[r * stride]);
    for (size_t j = 0; j < whole; j += VEC_N)
        VEC_UNROLL
    for (size_t r = 0; r < rows; r++)
        most[r] = vec_max(vec_load(scores + r * stride + j), most[r]);
    for (size_t r = 0; r < rows; r++) {
        if (whole < n)
            most[r] = vec_max(vec_first(vec_load(scores + r * stride + whole), n - whole, most[r]),
                              most[r]);
        top[r] = vec_highest(most[r]) * head->scale;
    }
    for (size_t j = 0; j < n; j += VEC_N)
        VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        float *at = scores + r * stride + j;
        vec e = vec_exp(vec_load(at) * head->scale - top[r]);
        e = vec_first(e, n - j, (vec){0});
        total[r] += e;
        vec_store(at, e);
    }
    for (size_t r = 0; r < rows; r++) {
        sum[r] = vec_sum(total[r]);
        total[r] = vec_set(1.0F / sum[r]);
    }
    for (size_t j = 0; j < n; j += VEC_N)
        VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        float *at = scores + r * stride + j;
        vec p = vec_load(at) * total[r];
        if (head->key.threshold)
            p *= vec_dropout(&head->key, head->dropout_first +
                                             (uint32_t)(query + r) * head->dropout_step +
                                             (uint32_t)j);
        vec_store(at, p);
    }
    for (size_t r = 0; head->lse && r < rows; r++)
        head->lse[(query + r) * head->lse_stride] = top[r] + logf(sum[r]);
}

static void softmax(const struct head *head, size_t query, size_t rows, float *scores,
                    size_t stride)
{
    size_t r = 0;
    for (; r + SOFTMAX_ROWS <= rows; r += SOFTMAX_ROWS)
        softmax_rows(head, query + r, SOFTMAX_ROWS, scores + r * stride, stride);
    for (; r < rows; r++)
        softmax_rows(head, query + r, 1, scores + r * stride, stride);
}

static size_t block_rows(const struct head *head, size_t query)
{
    size_t left = head->n_queries - query;
    return left < BLOCK ? left : BLOCK;
}

/* to [m, n] = a (row, step 1) times the transpose of from [n, size]. `from` is turned into `room`
 * [size], rows `stride` apart, when `turn` is set: once for all blocks of a. A single row is not
 * worth that: dot products. Columns of `to` up to padded(n) are written, 0. */
static void product_turned(size_t m, struct product_a a, const float *from, size_t from_stride,
                           size_t n, size_t size, bool turn, float *room, float *to, size_t stride)
{
    if (m > 1 || !turn) {
        if (turn)
            product_transpose(from, from_stride, n, size, room, stride);
        product(m, padded(n), size, a, room, stride, false, to, stride);
        return;
    }
    for (size_t j = 0; j < padded(n); j++) {
        vec sum = {0};
        for (size_t i = 0; i < size && j < n; i += VEC_N)
            sum = vec_fma(vec_load_part(a.at + i, size - i),
                          vec_load_part(from + j * from_stride + i, size - i), sum);
        to[j] = vec_sum(sum);
    }
}

static void forward(const struct head *head, float *scratch)
{
    size_t n = head->n_keys, size = head->size, stride = spread(n);
    float *keys = scratch, *scores = keys + size * stride; /* [size], [BLOCK] × stride */
    struct rows v = gathered(head->v, head->kv_stride, n, size, scores + BLOCK * stride);
    for (size_t query = 0; query < head->n_queries; query += BLOCK) {
        size_t rows = block_rows(head, query);
        const float *q = head->q + query * head->q_stride;
        product_turned(rows, rows_of(q, head->q_stride), head->k, head->kv_stride, n, size,
                       query == 0, keys, scores, stride);
        softmax(head, query, rows, scores, stride);
        product(rows, size, n, rows_of(scores, stride), v.at, v.stride, false,
                head->out + query * head->out_stride, head->out_stride);
    }
}

/* From scores s and u = dout vᵀ of a query, with p the probabilities and w the dropout factors: s
 * becomes ds = p (w u - Σ p w u) scale, u becomes p w. */
static void softmax_backward_row(const struct head *head, size_t query, float *s, float *u)
{
    size_t n = head->n_keys;
    float lse = head->lse[query * head->lse_stride];
    uint32_t index = head->dropout_first + (uint32_t)query * head->dropout_step;
    vec total = {0};
    for (size_t j = 0; j < n; j += VEC_N) {
        vec p = vec_exp(vec_load(s + j) * head->scale - lse);
        vec wu = vec_load(u + j);
        if (head->key.threshold)
            wu *= vec_dropout(&head->key, index + (uint32_t)j);
        p = vec_first(p, n - j, (vec){0});
        total = vec_fma(p, wu, total);
        vec_store(s + j, p);
        vec_store(u + j, wu);
    }
    float inner = vec_sum(total);
    for (size_t j = 0; j < n; j += VEC_N) {
        vec p = vec_load(s + j), pw = p;
        vec_store(s + j, p * (vec_load(u + j) - inner) * head->scale);
        if (head->key.threshold)
            pw *= vec_dropout(&head->key, index + (uint32_t)j);
        vec_store(u + j, pw);
    }
}

static void backward(const struct head *head, float *scratch)
{
    size_t n = head->n_keys, size = head->size, stride = spread(n);
    float *keys = scratch, *values = keys + size * stride; /* transposed */
    float *s = values + size * stride, *u = s + BLOCK * stride;
    struct rows k = gathered(head->k, head->kv_stride, n, size, u + BLOCK * stride);
    for (size_t query = 0; query < head->n_queries; query += BLOCK) {
        size_t rows = block_rows(head, query);
        const float *q = head->q + query * head->q_stride;
        const float *dout = head->dout + query * head->out_stride;
        bool add = query > 0; /* dk and dv gather over blocks */
        product_turned(rows, rows_of(q, head->q_stride), head->k, head->kv_stride, n, size,
                       query == 0, keys, s, stride);
        product_turned(rows, rows_of(dout, head->out_stride), head->v, head->kv_stride, n, size,
                       query == 0, values, u, stride);
        for (size_t i = 0; i < rows; i++)
            softmax_backward_row(head, query + i, s + i * stride, u + i * stride);
        product(n, size, rows, columns_of(u, stride), dout, head->out_stride, add, head->dv,
                head->kv_stride);
        product(n, size, rows, columns_of(s, stride), q, head->q_stride, add, head->dk,
                head->kv_stride);
        product(rows, size, n, rows_of(s, stride), k.at, k.stride, false,
                head->dq + query * head->q_stride, head->q_stride);
    }
}

const struct head_kernel ISA_SYMBOL(head_kernel) = {
    .forward_scratch = forward_scratch,
    .backward_scratch = backward_scratch,
    .forward = forward,
    .backward = backward,
};
