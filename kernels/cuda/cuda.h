/* cuda.h: the inside of the CUDA device, for the files of kernels/cuda/. One file per group of
 * operations; an operation foo of the table is cuda_foo here, with the contract of kernels.h.
 *
 * Everything runs on one stream, in order; nothing but download and sync waits for the device. act
 * is float, __half or __nv_bfloat16, chosen when the device is opened; kernels are templates on it
 * (CUDA_PER_ACT). Parameters, gradients of parameters, statistics, losses and all arithmetic are
 * float.
 */
#ifndef MILLET_KERNELS_CUDA_CUDA_H
#define MILLET_KERNELS_CUDA_CUDA_H

#include "kernels/cuda/gpu.h"

/* Before extern "C": what the C headers below include. */
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* dropout.h, quantise.h and rotate.h mark with it what kernels call, too. */
#define KERNELS_ANYWHERE __host__ __device__

extern "C" {
#include "core/memory.h"
#include "kernels/dropout.h"
#include "kernels/kernels.h"
#include "kernels/loss_scale.h"
#include "kernels/quantise.h"
#include "kernels/weight.h"
}

#include "kernels/cuda/blas.h"

struct cuda_memory {
    size_t most, used, most_used; /* bytes; most 0: what there is */
    size_t allocations;
    struct cuda_block {
        void *address;
        size_t bytes;
    } * block; /* what alloc gave */
    size_t n_blocks, room;
    void *scratch;
    size_t scratch_bytes;
    /* Pinned memory through which uploads go, so that the caller's may be gone at once: halves
     * filled in turn, `at` bytes of the current one. */
    char *staging;
    cudaEvent_t emptied[2];
    bool waited[2]; /* nothing of that half is under way */
    size_t half, at;
};

/* What a kernel found wrong with its input, in device memory: the first report stays, for sync. */
enum cuda_fault_kind {
    CUDA_FAULT_TOKEN, /* value: id, limit: rows of the table */
    CUDA_FAULT_PLACE,
    CUDA_FAULT_FEATURE,
    CUDA_FAULT_LABEL,
    CUDA_FAULT_SEQUENCE /* value: tokens, limit: those of seqs.longest, and 1 */
};
struct cuda_fault {
    int reports, kind, value, limit;
};

/* A block of parameters and the 16-bit copies of its matrices, at the same places. */
struct cuda_weights {
    float *w;
    size_t n;
    void *copy;
};

struct cuda {
    struct device device;           /* first: a struct device * of this device is a struct cuda * */
    struct error error;             /* first failure, for sync */
    struct cuda_fault *fault, seen; /* on the device, and where sync fetches it */
    const char *latest;             /* operation launched last, for failures that show later */
    int index, capability;          /* 75: compute capability 7.5 */
    enum dtype precision;           /* of act: DTYPE_F32, DTYPE_F16, DTYPE_BF16 */
    char name[16];                  /* "cuda:0" */
    char model[96];                 /* "NVIDIA T4, sm_75" */
    cudaStream_t stream;
    struct cuda_blas blas;
    struct cuda_memory memory;
    struct cuda_weights *blocks; /* that are bound */
    size_t n_blocks, room_blocks;
};

static inline struct cuda *cuda_of(struct device *dev)
{
    return (struct cuda *)(void *)dev;
}

/* Keep the first failure, for sync. Always false. */
bool cuda_fail(struct cuda *cuda, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes the device the calling thread's current one: others may be open beside it, and the caller
 * may be another thread than before. false: there was a failure, nothing more is to be queued. */
bool cuda_enter(struct cuda *cuda);

/* false: status is a failure, kept with the name of the operation. */
bool cuda_check(struct cuda *cuda, const char *operation, cudaError_t status);
/* The same for launches: failures that show later name the latest one. */
bool cuda_launched(struct cuda *cuda, const char *operation, cudaError_t status);

/* Device memory within the limits of the device; NULL and err, with what to do, when there is none.
 */
void *cuda_alloc(struct device *dev, size_t bytes, struct error *err);
void cuda_free(struct device *dev, void *memory);
void cuda_memory_told(struct device *dev, struct device_memory *memory);
size_t cuda_work_bytes(const struct device *dev, const struct device_job *job);
size_t cuda_weight_bytes(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                         bool table);
bool cuda_reserve(struct device *dev, size_t work_bytes, struct error *err);
/* Working memory of operations, next to what takes it. */
size_t cuda_column_sum_bytes(size_t rows, size_t cols);
size_t cuda_sum_squares_bytes(void);
size_t cuda_norm_backward_bytes(size_t rows, size_t cols);
size_t cuda_relation_bytes(size_t rows, size_t heads, size_t cols);
size_t cuda_int8_bytes(size_t rows, size_t out_room, size_t in_room);

/* Device memory for the inside of one operation, undefined contents, 256-byte aligned, good until
 * the next operation: everything is in stream order. NULL after cuda_fail. */
void *cuda_scratch(struct cuda *cuda, const char *operation, size_t bytes);

/* ---- fault.cu ---- */
bool cuda_fault_open(struct cuda *cuda, struct error *err) MUST_CHECK;
void cuda_fault_close(struct cuda *cuda);
/* Waits for the stream; false and a failure kept when that fails or a kernel has reported. */
bool cuda_fault_check(struct cuda *cuda);

/* ---- memory.cu ---- */
bool cuda_memory_open(struct cuda *cuda, struct error *err) MUST_CHECK;
void cuda_memory_close(struct cuda *cuda);
void cuda_zero(struct device *dev, void *memory, size_t bytes);
void cuda_upload(struct device *dev, void *to, const void *from_host, size_t bytes);
void cuda_download(struct device *dev, void *to_host, const void *from, size_t bytes);
void cuda_act_upload(struct device *dev, act *to, const float *from_host, size_t n);
void cuda_act_download(struct device *dev, float *to_host, const act *from, size_t n);

/* ---- launches ---- */

/* Launch on the device's stream; the value is false after a failure, which is kept with the
 * operation's name. Not for empty grids: return before. */
#define CUDA_LAUNCH(cuda, operation, kernel, grid, block, shmem, ...)                              \
    (!cuda_enter(cuda)                                                                             \
         ? false                                                                                   \
         : cuda_launched((cuda), (operation),                                                      \
                         LAUNCH(kernel, grid, block, shmem, (cuda)->stream, __VA_ARGS__)))

/* CUDA_PER_ACT(cuda, CUDA_LAUNCH(cuda, "add", add<T>, …)): the statement with T the device's
 * element type. */
#define CUDA_PER_ACT(cuda, ...)                                                                    \
    do {                                                                                           \
        if ((cuda)->precision == DTYPE_F16) {                                                      \
            typedef __half T;                                                                      \
            __VA_ARGS__;                                                                           \
        } else if ((cuda)->precision == DTYPE_BF16) {                                              \
            typedef __nv_bfloat16 T;                                                               \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            typedef float T;                                                                       \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)

template <class T> static inline T *cuda_values(act *x)
{
    return (T *)(void *)x;
}
template <class T> static inline const T *cuda_values(const act *x)
{
    return (const T *)(const void *)x;
}

/* Threads of an element-wise block, and blocks for n elements: kernels go on by grid_stride(). */
constexpr unsigned CUDA_BLOCK = 256, CUDA_MAX_BLOCKS = 1 << 16;
static inline unsigned cuda_blocks(size_t n)
{
    size_t blocks = (n + CUDA_BLOCK - 1) / CUDA_BLOCK;
    return blocks < CUDA_MAX_BLOCKS ? (unsigned)blocks : CUDA_MAX_BLOCKS;
}
/* Blocks for n things of which a block does `each`; more than 2^31 - 1 are refused by the launch.
 */
static inline unsigned cuda_ceil(size_t n, size_t each)
{
    size_t blocks = (n + each - 1) / each;
    return blocks > 0x7fffffff ? 0x80000000u : (unsigned)blocks;
}

/* ---- inside kernels ---- */

/* for (size_t i = grid_first(); i < n; i += grid_stride()) */
static __device__ inline size_t grid_first(void)
{
    return blockIdx.x * (size_t)blockDim.x + threadIdx.x;
}
static __device__ inline size_t grid_stride(void)
{
    return gridDim.x * (size_t)blockDim.x;
}

static __device__ inline float load(const float *x)
{
    return *x;
}
static __device__ inline float load(const __half *x)
{
    return __half2float(*x);
}
static __device__ inline float load(const __nv_bfloat16 *x)
{
    return __bfloat162float(*x);
}
/* Rounded to nearest even. */
static __device__ inline void store(float *to, float x)
{
    *to = x;
}
static __device__ inline void store(__half *to, float x)
{
    *to = __float2half(x);
}
static __device__ inline void store(__nv_bfloat16 *to, float x)
{
    *to = __float2bfloat16(x);
}

/* Every lane gets the sum (largest) of all, or of the LANES of its part of the warp; in a fixed order,
 * for doubles, too. */
template <int LANES = WARP, class V> static __device__ inline V warp_sum(V x)
{
    for (int bit = LANES / 2; bit; bit /= 2)
        x += __shfl_xor_sync(FULL_WARP, x, bit);
    return x;
}
template <int LANES = WARP> static __device__ inline float warp_max(float x)
{
    for (int bit = LANES / 2; bit; bit /= 2)
        x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, bit));
    return x;
}

/* Every thread gets the sum over the block. partial: WARP values of shared memory; a barrier
 * before and after, so that it can be used again at once. */
template <class V> static __device__ inline V block_sum(V x, V *partial)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int n_warps = (int)blockDim.x / WARP;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0)
        partial[warp] = x;
    __syncthreads();
    V sum = 0;
    for (int i = 0; i < n_warps; i++)
        sum += partial[i];
    return sum;
}
static __device__ inline float block_max(float x, float *partial)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    int n_warps = (int)blockDim.x / WARP;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0)
        partial[warp] = x;
    __syncthreads();
    float largest = partial[0];
    for (int i = 1; i < n_warps; i++)
        largest = fmaxf(largest, partial[i]);
    return largest;
}

/* Keep for sync that `value` is not below `limit`, or else is wrong. */
static __device__ inline void report(struct cuda_fault *fault, int kind, int value, size_t limit)
{
    if (atomicAdd(&fault->reports, 1) > 0)
        return;
    fault->kind = kind;
    fault->value = value;
    fault->limit = (int)limit;
}

/* dropout_factor() of kernels/dropout.h with the key's fields as kernel parameters. */
static __device__ inline float dropped(uint32_t first, uint32_t second, uint32_t threshold,
                                       float keep_scale, size_t index)
{
    return dropout_bits(first, second, (uint32_t)index) < threshold ? 0.0f : keep_scale;
}

/* ---- weights and products: linear.cu, linear_int8.cu; sums of columns: column_sum.cu ---- */
struct linear *cuda_linear_prepare(struct device *dev, const struct weight *part,
                                   const float *const *bias, size_t n_parts, struct error *err);
void cuda_linear_scale(struct device *dev, struct linear *linear, float scale);
struct linear *cuda_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                                struct error *err);
void cuda_linear_refresh(struct device *dev, struct linear *linear);
bool cuda_block_bind(struct device *dev, float *w, size_t n, struct error *err);
void cuda_block_unbind(struct device *dev, float *w);
/* The copies of the matrices of a block [n] from w on; NULL: it is not bound, or all is float. */
void *cuda_block_copy(const struct cuda *cuda, const float *w, size_t n);
bool cuda_linear_round(struct device *dev, struct linear *linear, enum dtype format,
                       struct error *err);
void cuda_linear_free(struct device *dev, struct linear *linear);
void cuda_linear_size(const struct linear *linear, struct linear_size *size);
void cuda_linear(struct device *dev, const struct linear *linear, const act *x, size_t x_stride,
                 size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride);
void cuda_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                          size_t x_stride, const act *dy, size_t dy_stride, size_t rows, act *dx,
                          size_t dx_stride, float *dw, float *db, unsigned how);
void cuda_column_sum(struct device *dev, const act *d, size_t rows, size_t cols, float *grad);
/* The same for rows `stride` apart, in the name of `operation`; uses the scratch. */
void cuda_column_sum_of(struct cuda *cuda, const char *operation, const act *d, size_t stride,
                        size_t rows, size_t cols, float *grad);
/* For operations that sum columns on the way: room for partial sums [runs, cols] of *run rows each,
 * in the scratch (NULL: there is none), and the addition of these to grad. */
double *cuda_column_partial(struct cuda *cuda, const char *operation, size_t rows, size_t cols,
                            size_t *run);
void cuda_column_add(struct cuda *cuda, const char *operation, const double *partial, size_t rows,
                     size_t cols, float *grad);

/* ---- sparse features: bag.cu; tables and rows: rows.cu, sequence.cu ---- */
struct bag_weights *cuda_bag_prepare(struct device *dev, const struct weight *weight,
                                     struct error *err);
void cuda_bag_free(struct device *dev, struct bag_weights *bag);
void cuda_bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
              const float *value, const int32_t *offset, size_t n, act *out);
struct table_weights *cuda_table_prepare(struct device *dev, const struct weight *weight,
                                         struct error *err);
struct table_weights *cuda_table_bind(struct device *dev, float *w, size_t rows, size_t cols,
                                      struct error *err);
void cuda_table_free(struct device *dev, struct table_weights *table);
void cuda_embed(struct device *dev, const struct table_weights *word,
                const struct table_weights *position, const struct table_weights *type,
                const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols, act *out);
void cuda_rows_sum(struct device *dev, const act *d, const int32_t *order, const int32_t *bound,
                   size_t n_slots, size_t cols, float *grad);
void cuda_add(struct device *dev, const act *x, size_t n, act *y);
void cuda_gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                       act *y);
void cuda_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                            act *x);
void cuda_trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y);
void cuda_trigram_backward(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                           act *dx);
void cuda_mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y);
void cuda_mean_pool_backward(struct device *dev, const act *dy, const struct seqs *seqs,
                             size_t cols, act *dx);

/* ---- norm.cu ---- */
void cuda_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                   struct dropout dropout, const float *gain, const float *bias, float eps,
                   size_t rows, size_t cols, act *sum, float *stats, act *y);
void cuda_linear_norm(struct device *dev, const struct linear *linear, const act *x,
                      size_t x_stride, size_t rows, act *product, enum norm norm,
                      const act *residual, struct dropout dropout, const float *gain,
                      const float *bias, float eps, size_t cols, act *sum, float *stats, act *y);
void cuda_add_norm_backward(struct device *dev, enum norm norm, const act *sum, const float *stats,
                            const float *gain, const act *dy, struct dropout dropout, size_t rows,
                            size_t cols, act *dz, act *dx, float *dgain, float *dbias, float *db);
void cuda_dropout(struct device *dev, act *x, size_t n, struct dropout dropout);
void cuda_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                            const act *dy, size_t rows, size_t cols, act *dpre, float *db);

/* ---- attention.cu ---- */
void cuda_attention(struct device *dev, const struct attention *attention, const act *q,
                    const act *k, const act *v, act *out, float *lse);
void cuda_attention_backward(struct device *dev, const struct attention *attention, const act *q,
                             const act *k, const act *v, const act *out, const float *lse,
                             const act *dout, act *dq, act *dk, act *dv);

/* ---- loss.cu; a teacher's states: match.cu, relation.cu ---- */
void cuda_loss(struct device *dev, const struct loss *loss, const act *logits, const int32_t *label,
               const float *teacher, size_t rows, size_t classes, float *row_loss, act *dlogits);
void cuda_loss_multi_label(struct device *dev, const struct loss *loss, const act *logits,
                           const float *target, const float *teacher, size_t rows, size_t classes,
                           float *row_loss, act *dlogits);
void cuda_match(struct device *dev, const struct match *match, const act *x, const act *target,
                const struct seqs *seqs, size_t cols, float *row_loss, act *dx);
void cuda_relation(struct device *dev, const struct relation *relation, const act *x,
                   const act *target, float *row_loss, act *dx);

/* ---- optimizer.cu ---- */
void cuda_sum_squares(struct device *dev, const float *x, size_t n, double *sum);
void cuda_clip_factor(struct device *dev, double *sum, float max_norm, struct loss_scale *scaled,
                      float *factor);
void cuda_adamw(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
                const float *grad, float *m, float *v, float *w);
void cuda_adamw_block(struct device *dev, const struct adamw *adamw,
                      const struct adamw_group *group, size_t n_groups, const float *factor,
                      const float *grad, float *m, float *v, float *w, struct linear *const *linear,
                      size_t n_linears);
void cuda_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                     const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                     const float *grad, float *m, float *v, float *w);

/* ---- prune.cu; solve.cu ---- */
void cuda_solve(struct device *dev, float *a, size_t n, float *b, size_t m);
void cuda_unit_slope(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                     size_t cols, size_t group, float *slope);
void cuda_gram(struct device *dev, const act *x, size_t rows, size_t cols, float *g);
void cuda_block_mask(struct device *dev, const struct blocks *blocks, const float *keep,
                     const float *from, float *to);
void cuda_block_sum(struct device *dev, const struct blocks *blocks, const float *x, const float *y,
                    float *sum);
void cuda_round_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to);
void cuda_rotate_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to);

#endif
