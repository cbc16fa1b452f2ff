/* kernels.h: the table of operations. What lib/nn needs of a machine, as plain C; each device
 * (kernels/reference, kernels/cpu, kernels/cuda) fills one struct device_ops. Nothing here
 * knows of models.
 *
 * Memory belongs to a device: pointers passed to operations come from op->alloc of the same device
 * (on the CPU that is ordinary memory, elsewhere it is not readable by the host). Small host-side
 * arguments are passed by value.
 *
 * Activations are `act`: the device's own element type (float on the CPU; a GPU may choose 16
 * bits). Parameters, gradients of parameters, statistics and losses are `float` on every device.
 *
 * Shapes: T tokens of a batch, N sequences, H hidden width, A = heads × head_size, F feed-forward
 * width, C classes. Matrices are row-major; "stride" is the distance of two rows in elements.
 * Sequences are packed without padding: sequence s is rows offset[s] … offset[s+1]-1.
 *
 * Errors: operations return nothing; the first failure inside a device is kept (with the
 * operation's name) and returned by op->sync. Allocation and weight preparation return errors at
 * once.
 *
 * Results: the same device, thread count and arguments give the same bytes; a row's result does not
 * depend on the rows beside it (of a product with bound weights, it may in its last bits).
 * kernels/reference is the specification: plain loops, double accumulators; every other device is
 * tested against it.
 */
#ifndef MILLET_KERNELS_H
#define MILLET_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/dtype.h"
#include "core/error.h"

typedef struct act act; /* incomplete on purpose: only a device looks inside */

struct device_ops;

struct device {
    const struct device_ops *op;
    const char *name; /* "cpu", "reference" */
    size_t act_bytes; /* bytes of one activation element */
    size_t n_lanes;   /* independent lanes (op->lane) to run side by side; 1 on a GPU */
    /* Tokens of a pass that suit a lane: on a CPU few enough for a near cache, on a GPU enough to
     * keep it busy. */
    size_t pass_tokens;
};

/* act + n elements. */
static inline act *act_at(const struct device *dev, act *x, size_t n)
{
    return (act *)((char *)x + n * dev->act_bytes);
}
static inline const act *act_at_const(const struct device *dev, const act *x, size_t n)
{
    return (const act *)((const char *)x + n * dev->act_bytes);
}

/* A matrix as it lies in a model file: row-major, host memory (perhaps mapped), any alignment. */
struct weight {
    const void *data;
    enum dtype type;    /* F32 F16 BF16 I8 (with scale); of tables also U8: core/int4.h */
    const float *scale; /* [rows] for I8: value = scale[row] * data; [rows, groups] for U8 */
    size_t rows, cols;
    /* I8: the rows are rotated (rotate.h). Products rotate what they multiply, tables give rows as
     * they were before. */
    bool rotated;
};

/* Prepared by a device. linear: y = x Wᵀ + b, W [out, in]. table: rows to gather. */
struct linear;
struct table_weights;
/* Of features that few of a text are not 0: W [classes, features], summed by columns. */
struct bag_weights;

/* Packed sequences. `offset` is device memory, [n + 1]. */
struct seqs {
    size_t n;
    size_t n_tokens;
    size_t longest;
    const int32_t *offset;
};

enum epilogue {
    EPILOGUE_NONE,
    EPILOGUE_GELU,      /* x Φ(x), by erf */
    EPILOGUE_GELU_TANH, /* gelu_new, gelu_pytorch_tanh */
    EPILOGUE_RELU,
    EPILOGUE_TANH
};

enum norm {
    NORM_LAYER, /* over the columns of a row; Ba et al. 2016 */
    NORM_AFFINE /* a factor and a summand for each column alone: MobileBERT's NoNorm */
};

/* Element i of an array is dropped when 24 bits of a hash of the seed and i modulo 2^32
 * (kernels/dropout.h, the same on all devices) are below rate * 2^24; kept ones are scaled by
 * 1/(1-rate). The mask is recomputed in the backward pass from the same seed, never stored. A
 * rate that is not between 0 and 1, 0 above all: nothing happens. */
struct dropout {
    float rate;
    uint64_t seed;
};

/* q rows: per sequence either all its tokens, or (first_only) just its first, then q, out and
 * lse have N rows. */
struct attention {
    struct seqs seqs;
    size_t heads, head_size;
    float scale; /* 1/sqrt(original head size) */
    bool first_only;
    size_t q_stride, kv_stride, out_stride;
    /* Of the probabilities; element (query row * heads + head) * longest + key. */
    struct dropout dropout;
};

/* Dynamic loss scaling (Micikevicius et al. 2018), in device memory: gradients are made `scale`
 * times as large, so that small ones survive 16 bits. clip_factor takes the scale out again and
 * changes it (loss_scale.h). */
struct loss_scale {
    float scale;
    uint32_t age;     /* steps without an overflow since the scale changed */
    uint32_t skipped; /* steps that did nothing because of one */
};

enum loss_kind {
    LOSS_CROSS_ENTROPY,
    /* alpha T² KL(teacher ‖ student at T) + (1 - alpha) cross-entropy; METHODS 5.1 */
    LOSS_DISTIL
};
struct loss {
    enum loss_kind kind;
    float alpha, temperature;
    float scale; /* multiplies loss gradients: 1/records of the whole step */
    /* Of the cross-entropy: this share of a label's weight goes to all classes alike (Szegedy et
     * al. 2016); of several labels, to the other answer and this one alike. */
    float smoothing;
    /* [C], device memory, or NULL: a row's cross-entropy counts so many times, by its label. Of
     * several labels: unused. */
    const float *class_weight;
    /* Device memory, or NULL: its scale multiplies loss gradients, too. */
    const struct loss_scale *scaled;
};

/* Rows x of a student brought near rows of its teacher. The loss of a row is
 *   MATCH_SQUARED    the mean over its columns of (x - target)²
 *   MATCH_DIRECTION  |x/|x| - target/|target||² = 2 - 2 cos, 0 where one has no length
 * that of a sequence the mean over its rows. Where a value is NaN, the loss is. */
enum match_kind { MATCH_SQUARED, MATCH_DIRECTION };
struct match {
    enum match_kind kind;
    float weight; /* multiplies loss and gradient */
    float scale;  /* multiplies the gradient alone, as in struct loss */
};

/* Self-relations (Wang et al. 2021, MiniLMv2, section 3): columns are cut into `heads` slices; a
 * slice's relation is softmax(x xᵀ / sqrt(its columns)) over the rows of a sequence. The loss of a
 * sequence is the mean over slices and rows of KL(target's relation || x's). */
struct relation {
    struct seqs seqs;
    size_t heads, cols, stride, target_cols, target_stride; /* both widths multiples of heads */
    float weight, scale;                                    /* as in struct match */
};

struct adamw {
    float lr, beta1, beta2, eps, weight_decay;
    uint64_t step; /* from 1, for bias correction */
    /* Device memory, or NULL: the steps it has skipped are among `step`, and count for nothing. */
    const struct loss_scale *scaled;
};

/* Parameters of a block that learn alike: from the group before up to `end`. */
struct adamw_group {
    size_t end;
    float lr, weight_decay;
};
enum { ADAMW_MAX_GROUPS = 4 };

/* How linear_backward leaves its results; 0: dx written, dw added to. */
enum {
    BACKWARD_SET_DW = 1, /* dw is written: what it held may be anything */
    BACKWARD_ADD_DX = 2  /* dx is added to */
};

/* A matrix [rows, cols] cut into blocks; those at the right and lower edges may be smaller. Values
 * of blocks lie row by row: block (i, j) is number i * blocks_across + j. */
struct blocks {
    size_t rows, cols, block_rows, block_cols; /* block sizes at least 1 */
};
static inline size_t blocks_down(const struct blocks *blocks)
{
    return blocks->rows / blocks->block_rows + (blocks->rows % blocks->block_rows > 0);
}
static inline size_t blocks_across(const struct blocks *blocks)
{
    return blocks->cols / blocks->block_cols + (blocks->cols % blocks->block_cols > 0);
}

/* Memory of a device, in bytes. */
struct device_memory {
    size_t free;            /* what alloc can still give; SIZE_MAX: unknown */
    size_t used, most_used; /* what alloc gave and has not got back, now and at most */
    size_t allocations;     /* how often alloc gave any. These three of a GPU; else 0 */
};

/* Operations that need working memory of their own on some device. */
enum device_work {
    WORK_LINEAR,             /* y [rows, cols] = x [rows, inner] W */
    WORK_LINEAR_BACKWARD,    /* of that */
    WORK_ADD_NORM_BACKWARD,  /* [rows, cols] */
    WORK_ATTENTION_BACKWARD, /* rows of queries, cols: heads */
    WORK_COLUMN_SUM,         /* [rows, cols] */
    WORK_SUM_SQUARES,
    WORK_MATCH,   /* rows of the batch */
    WORK_RELATION /* rows of the batch, cols, inner: heads */
};
struct device_job {
    enum device_work work;
    size_t rows, cols, inner;
    enum dtype format; /* of the factors of products: F32, BF16, F16, or I8 */
};

/* A matrix of weights: y [*, out] = x [*, in] Wᵀ. */
struct linear_size {
    size_t out, in;
    enum dtype format; /* of what is multiplied: F32, BF16, F16, or I8 */
};

/* What a device can do at most, a second, with all its threads; 0: not known. A multiplication and
 * an addition are two operations. */
struct device_peak {
    double f32, bf16, int8; /* operations */
    double bytes;           /* read and written in the outer caches, as activations are */
};

struct device_ops {
    /* ---- life and memory ---- */
    void (*close)(struct device *dev);
    /* A view of the same device for use by one thread at a time, lane < n_lanes: shares memory
     * and prepared weights. Single-threaded on the CPU. Owned by dev. */
    struct device *(*lane)(struct device *dev, size_t lane);
    /* 64-byte aligned, uninitialised. */
    void *(*alloc)(struct device *dev, size_t bytes, struct error *err);
    void (*free)(struct device *dev, void *memory);
    void (*zero)(struct device *dev, void *memory, size_t bytes);
    void (*upload)(struct device *dev, void *to, const void *from_host, size_t bytes);
    void (*download)(struct device *dev, void *to_host, const void *from, size_t bytes); /* waits */
    void (*act_upload)(struct device *dev, act *to, const float *from_host, size_t n);
    void (*act_download)(struct device *dev, float *to_host, const act *from, size_t n);
    bool (*sync)(struct device *dev, struct error *err); /* wait; first failure so far */
    void (*memory)(struct device *dev, struct device_memory *memory);
    /* Bytes of working memory that an operation takes besides its operands; of a GPU, whose working
     * memory comes from alloc; a CPU's few buffers are not counted: 0. */
    size_t (*work_bytes)(const struct device *dev, const struct device_job *job);
    /* Bytes that linear_prepare (with a bias), or with `table` table_prepare allocates; a table in a
     * mapped file takes none on the CPU. The weights exist: no product of theirs overflows. */
    size_t (*weight_bytes)(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                           bool table);
    /* Working memory of so many bytes now, so that operations that need no more allocate none. */
    bool (*reserve)(struct device *dev, size_t work_bytes, struct error *err);
    /* "own kernels avx512, OpenBLAS 0.3.21 Cooperlake, 2 threads" into text. */
    void (*describe)(const struct device *dev, char *text, size_t n);
    /* Measured now, in some twenty milliseconds. */
    void (*peak)(struct device *dev, struct device_peak *peak);

    /* ---- weights ---- */
    /* Stack parts by rows (Q, K, V as one product). bias[i]: [rows of part i] or NULL, host
     * memory. The parts are not needed afterwards. */
    struct linear *(*linear_prepare)(struct device *dev, const struct weight *part,
                                     const float *const *bias, size_t n_parts, struct error *err);
    /* Of I8 weights: all that is multiplied with them has this scale, found beforehand, instead of
     * each row its own (quantise.h). scale: normal and finite. */
    void (*linear_scale)(struct device *dev, struct linear *linear, float scale);
    /* Trainable: refers to w [out, in] and b [out] (NULL: none) on the device, which change
     * under it; refresh after each change. */
    struct linear *(*linear_bind)(struct device *dev, float *w, float *b, size_t out, size_t in,
                                  struct error *err);
    void (*linear_refresh)(struct device *dev, struct linear *linear);
    /* Before linear_bind: matrices will be bound to parts of w [n]. A device that multiplies copies
     * of them in 16 bits lays all of these out as w is, so that adamw_block can write both. Ends
     * with block_unbind, after linear_free. */
    bool (*block_bind)(struct device *dev, float *w, size_t n, struct error *err);
    void (*block_unbind)(struct device *dev, float *w);
    /* From now on products with a bound matrix round what they multiply to BF16 or F16 (nearest
     * even): x and W in linear; x, W and dy in linear_backward, for dx and dw. Sums, biases and
     * results stay float, and w itself does (the master weights of mixed precision; Micikevicius et
     * al. 2018). A CPU that multiplies pairs of bf16 (MILLET_ISA avx512bf16) does so; then subnormal
     * factors and sums are 0. */
    bool (*linear_round)(struct device *dev, struct linear *linear, enum dtype format,
                         struct error *err);
    void (*linear_free)(struct device *dev, struct linear *linear); /* of the same device */
    void (*linear_size)(const struct linear *linear, struct linear_size *size);
    /* The CPU keeps pointing at the (mapped) weight and touches only rows that are asked for. */
    struct table_weights *(*table_prepare)(struct device *dev, const struct weight *weight,
                                           struct error *err);
    struct table_weights *(*table_bind)(struct device *dev, float *w, size_t rows, size_t cols,
                                        struct error *err);
    void (*table_free)(struct device *dev, struct table_weights *table);
    /* Copies W [classes, features] (I8: with a scale per class, and used as I8). */
    struct bag_weights *(*bag_prepare)(struct device *dev, const struct weight *weight,
                                       struct error *err);
    void (*bag_free)(struct device *dev, struct bag_weights *bag);

    /* ---- forward ---- */
    /* out [T, H] = word[id] + position[place] + type[0]; id and place [T] are device memory. word
     * NULL (id unused): position and type are added to what out holds. position NULL (place
     * unused) and type NULL: without them. */
    void (*embed)(struct device *dev, const struct table_weights *word,
                  const struct table_weights *position, const struct table_weights *type,
                  const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols, act *out);
    /* y [T, 3 cols]: row t = next | own | previous row of x [T, cols] in its sequence, zeros where
     * there is none (MobileBERT's embeddings; Sun et al. 2020). */
    void (*trigram)(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y);
    /* y [rows, out] = epilogue(x Wᵀ + b); pre (NULL or [rows, out] contiguous) keeps the value
     * before the epilogue for the backward pass. */
    void (*linear)(struct device *dev, const struct linear *linear, const act *x, size_t x_stride,
                   size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride);
    /* z = residual + dropout(x) (residual NULL: z = dropout(x)); y = (z - mean) * rstd * gain +
     * bias, or z * gain + bias (NORM_AFFINE: eps and stats unused). sum (NULL or [rows, cols])
     * keeps z, stats (NULL or [rows, 2]) keeps mean and rstd. x, y, residual and sum may
     * coincide. */
    void (*add_norm)(struct device *dev, enum norm norm, const act *x, const act *residual,
                     struct dropout dropout, const float *gain, const float *bias, float eps,
                     size_t rows, size_t cols, act *sum, float *stats, act *y);
    /* add_norm of linear's y [rows, cols] without epilogue, for which there is room in `product`:
     * nothing is to be expected there afterwards, unless sum or y is the same place. */
    void (*linear_norm)(struct device *dev, const struct linear *linear, const act *x,
                        size_t x_stride, size_t rows, act *product, enum norm norm,
                        const act *residual, struct dropout dropout, const float *gain,
                        const float *bias, float eps, size_t cols, act *sum, float *stats, act *y);
    /* out = softmax(q kᵀ scale) v per head; head h uses columns h*head_size…; lse (NULL or
     * [query rows, heads]) keeps log-sum-exp. */
    void (*attention)(struct device *dev, const struct attention *attention, const act *q,
                      const act *k, const act *v, act *out, float *lse);
    /* y [N, cols] = first row of each sequence of x [T, cols]. */
    void (*gather_first)(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                         act *y);
    /* y [N, cols] = mean of the rows of each sequence of x [T, cols]. */
    void (*mean_pool)(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                      act *y);
    void (*dropout)(struct device *dev, act *x, size_t n, struct dropout dropout); /* in place */
    /* out [n, classes] += sum over k in offset[i] … offset[i+1]-1 of value[k] W[:, feature[k]]: a
     * linear classifier on sparse features. feature, value and offset [n + 1] are device memory. */
    void (*bag)(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
                const float *value, const int32_t *offset, size_t n, act *out);

    /* ---- backward (gradients of activations are written, of parameters added to) ---- */
    /* dx [rows, in] = dy W (NULL: not wanted); dw += dyᵀ x (NULL: not wanted); db += column sums
     * of dy (NULL: none). how: BACKWARD_ of dx and dw. */
    void (*linear_backward)(struct device *dev, const struct linear *linear, const act *x,
                            size_t x_stride, const act *dy, size_t dy_stride, size_t rows, act *dx,
                            size_t dx_stride, float *dw, float *db, unsigned how);
    /* dpre [rows, cols] = dy * epilogue'(pre); may coincide with dy. For TANH `pre` holds the value
     * before, too. db [cols] (NULL: not wanted) += column sums of dpre: linear_backward of the product
     * need not do it. */
    void (*epilogue_backward)(struct device *dev, enum epilogue epilogue, const act *pre,
                              const act *dy, size_t rows, size_t cols, act *dpre, float *db);
    /* From sum z and stats (NORM_AFFINE: unused): dz [rows, cols] (the residual's gradient), dx =
     * dropout'(dz) (may coincide with dz only at rate 0; NULL when not wanted); dgain, dbias added
     * to (NULL: not wanted). dy and dz may coincide. db [cols] (NULL: not wanted) += column sums of
     * dx, or of dz where dx is NULL (then at rate 0): the gradient of a bias that x came with. */
    void (*add_norm_backward)(struct device *dev, enum norm norm, const act *sum,
                              const float *stats, const float *gain, const act *dy,
                              struct dropout dropout, size_t rows, size_t cols, act *dz, act *dx,
                              float *dgain, float *dbias, float *db);
    /* All of dq, dk, dv are written, with the strides of q and k/v. */
    void (*attention_backward)(struct device *dev, const struct attention *attention, const act *q,
                               const act *k, const act *v, const act *out, const float *lse,
                               const act *dout, act *dq, act *dk, act *dv);
    /* x [T, cols]: first row of each sequence += dy [N, cols]; other rows untouched. */
    void (*scatter_first_add)(struct device *dev, const act *dy, const struct seqs *seqs,
                              size_t cols, act *x);
    /* dx [T, cols] from dy [T, 3 cols], and from dy [N, cols]. */
    void (*trigram_backward)(struct device *dev, const act *dy, const struct seqs *seqs,
                             size_t cols, act *dx);
    void (*mean_pool_backward)(struct device *dev, const act *dy, const struct seqs *seqs,
                               size_t cols, act *dx);
    void (*add)(struct device *dev, const act *x, size_t n, act *y); /* y += x */
    /* grad [n_slots, cols] += sum of rows order[bound[r]] … order[bound[r+1]-1] of d [T, cols]:
     * the embedding gradient of touched rows, in fixed order, no atomics. */
    void (*rows_sum)(struct device *dev, const act *d, const int32_t *order, const int32_t *bound,
                     size_t n_slots, size_t cols, float *grad);
    /* grad [cols] += column sums of d [rows, cols]. */
    void (*column_sum)(struct device *dev, const act *d, size_t rows, size_t cols, float *grad);

    /* ---- loss ---- */
    /* logits [N, C]; label [N] (-1: the row has no cross-entropy part); teacher [N, C] or NULL.
     * loss [N] per row, unscaled; dlogits (NULL: not wanted) scaled by loss->scale. */
    void (*loss)(struct device *dev, const struct loss *loss, const act *logits,
                 const int32_t *label, const float *teacher, size_t rows, size_t classes,
                 float *row_loss, act *dlogits);
    /* The same for labels that hold independently (sigmoids): the mean over classes of binary
     * cross-entropies, and for LOSS_DISTIL of T² KL between Bernoulli distributions at T. target
     * [N, C] of 0 and 1 or NULL; a row that begins with a negative target has no cross-entropy
     * part. */
    void (*loss_multi_label)(struct device *dev, const struct loss *loss, const act *logits,
                             const float *target, const float *teacher, size_t rows, size_t classes,
                             float *row_loss, act *dlogits);

    /* ---- a teacher's states ---- */
    /* x and target [rows of seqs, cols]. row_loss [sequences] is added to; dx is written. */
    void (*match)(struct device *dev, const struct match *match, const act *x, const act *target,
                  const struct seqs *seqs, size_t cols, float *row_loss, act *dx);
    /* row_loss [sequences] is added to; dx, with the stride of x, is written. */
    void (*relation)(struct device *dev, const struct relation *relation, const act *x,
                     const act *target, float *row_loss, act *dx);

    /* ---- optimizer ---- */
    /* *sum, on the device, += x². */
    void (*sum_squares)(struct device *dev, const float *x, size_t n, double *sum);
    /* *factor = min(1, max_norm / sqrt(*sum)); 1 when max_norm is 0. With `scaled` (NULL: none) the
     * gradients are that much too large: *sum becomes that of the true ones, and the factor takes
     * the scale out. Where *sum is not finite it becomes 0, and *factor -1: a step to skip. The
     * scale is adapted. */
    void (*clip_factor)(struct device *dev, double *sum, float max_norm, struct loss_scale *scaled,
                        float *factor);
    /* Decoupled weight decay (Loshchilov and Hutter 2019); gradients are multiplied by *factor
     * first. A *factor below 0: nothing happens. */
    void (*adamw)(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
                  const float *grad, float *m, float *v, float *w);
    /* The same for all groups of a block (adamw's lr and weight_decay are unused), and then
     * linear_refresh of the matrices bound to parts of w. At most ADAMW_MAX_GROUPS. */
    void (*adamw_block)(struct device *dev, const struct adamw *adamw,
                        const struct adamw_group *group, size_t n_groups, const float *factor,
                        const float *grad, float *m, float *v, float *w,
                        struct linear *const *linear, size_t n_linears);
    /* adamw for rows row[0 … n_rows-1] of w [*, cols], with compact grad [n_rows, cols]. The
     * moments of row r of w are row place[r] of m and v; place NULL: row r. row and place are
     * device memory. */
    void (*adamw_rows)(struct device *dev, const struct adamw *adamw, const float *factor,
                       const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                       const float *grad, float *m, float *v, float *w);

    /* ---- pruning ---- */
    /* slope [N, cols / group]: of sequence s and unit u the sum over rows of the sequence and the
     * `group` columns of the unit of x·dx: the derivative of the loss by a mask on the unit, at
     * mask 1 (Michel et al. 2019; Kwon et al. 2022). */
    void (*unit_slope)(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                       size_t cols, size_t group, float *slope);
    /* g [cols, cols] += xᵀ x of x [rows, cols], the Gram matrix of its columns. Only the triangle
     * i <= j of g is read; the other is written as its mirror. The sums of one call are floats on
     * the CPU: hand over some thousand rows at a time. */
    void (*gram)(struct device *dev, const act *x, size_t rows, size_t cols, float *g);
    /* Each row r of b [m, n] becomes the solution x of a x = r; a [n, n] is symmetric, its triangle
     * i <= j is read and both are destroyed. Doubles inside. An `a` that is not positive definite
     * is a failure for sync. */
    void (*solve)(struct device *dev, float *a, size_t n, float *b, size_t m);
    /* to = from where keep[block] is not 0, else 0 (also where from is not finite). from and to,
     * [rows, cols] without gaps, may coincide. */
    void (*block_mask)(struct device *dev, const struct blocks *blocks, const float *keep,
                       const float *from, float *to);
    /* sum[block] += sum over the block of x·y: with a weight and the gradient of its masked
     * counterpart, the straight-through gradient of the mask's score (Sanh et al. 2020). */
    void (*block_sum)(struct device *dev, const struct blocks *blocks, const float *x,
                      const float *y, float *sum);

    /* ---- quantising ---- */
    /* to = from as int8 holds it: each row of from [rows, cols] rounded to its scale times -127 …
     * 127 (quantise.h, quantise_weights). from and to may coincide. */
    void (*round_rows)(struct device *dev, const float *from, size_t rows, size_t cols, float *to);
    /* to = the rows of from [rows, cols] rotated, or rotated back (rotate.h). from and to may
     * coincide. */
    void (*rotate_rows)(struct device *dev, const float *from, size_t rows, size_t cols, float *to);
};

/* Plain loops, one thread; the oracle of all tests. */
struct device *device_reference_open(struct error *err) MUST_CHECK;

/* SIMD (OpenBLAS for gram and solve), n_threads threads. Instruction set: the best the processor has, or
 * MILLET_ISA=portable|avx2|avx512|avx512bf16. */
struct device *device_cpu_open(size_t n_threads, struct error *err) MUST_CHECK;

/* GPU number `index` of those CUDA sees, with activations and products in `precision` (F32, F16 or
 * BF16) and at most max_memory bytes allocated (0: as many as there are). One lane; one thread at a
 * time. Fails with the reason where it is not built or there is no usable GPU; nothing of CUDA is
 * touched before. */
struct device *device_cuda_open(int index, enum dtype precision, size_t max_memory,
                                struct error *err) MUST_CHECK;

/* Asks a CUDA device of precision F32 for TF32: from now on products of floats with weights multiply
 * numbers rounded to 11 significant bits, on tensor cores, and sum in float. Nothing else does.
 * Fails on devices that have none (compute capability below 8.0). */
bool device_cuda_tf32(struct device *dev, struct error *err) MUST_CHECK;

/* The architectures of this build, "cuda sm_75 sm_90", or "no cuda". */
const char *device_cuda_build(void);

/* "cpu", "reference", "cuda[:N]" (F32, all memory), "auto": cuda where there is a usable GPU, else
 * cpu. */
struct device *device_open(const char *name, size_t n_threads, struct error *err) MUST_CHECK;

/* One line on the devices of this build, for --version: "cpu (own kernels avx512; OpenBLAS, loaded
 * when pruning, core Cooperlake), no cuda". Starts nothing slow. */
void device_list(char *text, size_t n);

#endif
