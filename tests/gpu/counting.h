/* counting.h: a device that computes nothing and counts what the CUDA engine would do: launches,
 * operations and bytes of each kind of operation, and the time these take at the least on cards of
 * the speed that pages about them tell. The library's own passes run on it, so that the order of
 * operations is never written down twice; test_cuda_count holds the launches against those the
 * emulator sees.
 *
 * Bytes moved: each kernel's arrays once, keys and values of attention once for each block of
 * queries that reads them. Least bytes: what is left where bias, activation, dropout and sums were
 * done by the products and norms beside them, and gradients were written, not zeroed and added to.
 * Attention is counted with all sequences as long as the longest.
 */
#ifndef MILLET_TESTS_COUNTING_H
#define MILLET_TESTS_COUNTING_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

/* Operations and bytes a second of an A100 (40 GB, SXM) and a T4, without sparsity, as pages about
 * these cards repeat them: NVIDIA's own data sheets were not at hand, and no card was. */
struct counting_card {
    const char *name;
    double tensor16, tensor8, single, bytes;
};
enum { COUNTING_CARDS = 2 };
static const struct counting_card counting_card[COUNTING_CARDS] = {
    {"A100", 312e12, 624e12, 19.5e12, 1555e9},
    {"T4", 65e12, 130e12, 8.1e12, 320e9},
};

enum counting_kind {
    COUNT_PRODUCT,
    COUNT_PRODUCT_BACK,
    COUNT_QUANTISE,
    COUNT_FINISH,
    COUNT_BIAS_BACK,
    COUNT_ATTENTION,
    COUNT_ATTENTION_BACK,
    COUNT_NORM,
    COUNT_NORM_BACK,
    COUNT_ACTIVATION_BACK,
    COUNT_DROPOUT,
    COUNT_ADD,
    COUNT_EMBED,
    COUNT_EMBED_BACK,
    COUNT_ROWS,
    COUNT_LOSS,
    COUNT_CLIP,
    COUNT_ADAMW,
    COUNT_COPY_WEIGHTS,
    COUNT_ZERO,
    COUNT_TRANSFER,
    COUNT_KINDS
};
static const char *const counting_name[COUNT_KINDS] = {
    "products",  "products backward", "quantise rows", "bias, activation", "bias gradients",
    "attention", "attention back",    "norms",         "norms back",       "activation back",
    "dropout",   "sums of gradients", "embeddings",    "embeddings back",  "first rows, pool",
    "loss",      "norm of gradients", "AdamW",         "16-bit weights",   "zeroing",
    "transfers"};

struct counting_row {
    unsigned long kernels, products, copies; /* copies: memset and memcpy */
    double flops, moved, least;
    double seconds[COUNTING_CARDS];
};
struct counting {
    struct device device; /* first */
    struct device_ops ops;
    bool int8; /* matrices bound from now on are int8 */
    size_t tokens;
    struct counting_row row[COUNT_KINDS];
};
struct linear {
    size_t out, in;
    bool bias, int8;
};
struct table_weights {
    size_t cols;
};

static inline struct counting *counting_of(struct device *dev)
{
    return (struct counting *)(void *)dev;
}

static inline bool counting_is_product(enum counting_kind kind)
{
    return kind == COUNT_PRODUCT || kind == COUNT_PRODUCT_BACK;
}

/* One piece of work: `kernels` launches of ours, or a product (0). */
static inline void counting_add(struct device *dev, enum counting_kind kind, unsigned long kernels,
                                double flops, double moved, double least, bool int8)
{
    struct counting_row *row = &counting_of(dev)->row[kind];
    bool product = counting_is_product(kind);
    row->products += product;
    row->kernels += kernels;
    row->flops += flops;
    row->moved += moved;
    row->least += least;
    for (size_t i = 0; i < COUNTING_CARDS; i++) {
        const struct counting_card *card = &counting_card[i];
        double peak = !product || (dev->act_bytes == 4 && !int8) ? card->single
                      : int8                                     ? card->tensor8
                                                                 : card->tensor16;
        double compute = flops / peak, memory = moved / card->bytes;
        row->seconds[i] += compute > memory ? compute : memory;
    }
}

static inline void counting_kernel(struct device *dev, enum counting_kind kind, double moved,
                                   double least)
{
    counting_add(dev, kind, 1, 0, moved, least, false);
}

/* ---- life, memory ---- */

static void counting_close(struct device *dev)
{
    free(dev);
}
static struct device *counting_lane(struct device *dev, size_t lane)
{
    (void)lane;
    return dev;
}
static void *counting_alloc(struct device *dev, size_t bytes, struct error *err)
{
    (void)dev;
    void *memory = malloc(bytes + 64); /* never touched: costs no memory */
    if (!memory)
        error_set(err, "counting: no room for %zu bytes", bytes);
    return memory;
}
static void counting_free(struct device *dev, void *memory)
{
    (void)dev;
    free(memory);
}
static void counting_zero(struct device *dev, void *memory, size_t bytes)
{
    (void)memory;
    counting_add(dev, COUNT_ZERO, 0, 0, (double)bytes, 0, false);
    counting_of(dev)->row[COUNT_ZERO].copies += bytes > 0;
}
/* The staging buffer of kernels/cuda/memory.cu takes 1 MiB at a time. */
static void counting_upload(struct device *dev, void *to, const void *from, size_t bytes)
{
    (void)to;
    (void)from;
    counting_add(dev, COUNT_TRANSFER, 0, 0, (double)bytes, (double)bytes, false);
    counting_of(dev)->row[COUNT_TRANSFER].copies += (bytes + (1 << 20) - 1) >> 20;
}
static void counting_download(struct device *dev, void *to, const void *from, size_t bytes)
{
    (void)from;
    memset(to, 0, bytes);
    counting_add(dev, COUNT_TRANSFER, 0, 0, (double)bytes, (double)bytes, false);
    counting_of(dev)->row[COUNT_TRANSFER].copies += bytes > 0;
}
static bool counting_sync(struct device *dev, struct error *err)
{
    (void)dev;
    return !err->set;
}

/* ---- weights ---- */

static struct linear *counting_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                                    struct error *err)
{
    struct linear *linear = malloc(sizeof *linear);
    (void)w;
    if (linear)
        *linear = (struct linear){out, in, b != NULL, counting_of(dev)->int8};
    else
        error_set(err, "counting: no memory");
    return linear;
}
static void counting_linear_free(struct device *dev, struct linear *linear)
{
    (void)dev;
    free(linear);
}
static void counting_refresh(struct device *dev, struct linear *linear)
{
    double n = (double)linear->out * (double)linear->in;
    if (dev->act_bytes == 2 && n > 0 && !linear->int8)
        counting_kernel(dev, COUNT_COPY_WEIGHTS, 6 * n, 2 * n);
}
static struct table_weights *counting_table(struct device *dev, float *w, size_t rows, size_t cols,
                                            struct error *err)
{
    struct table_weights *table = malloc(sizeof *table);
    (void)dev;
    (void)w;
    (void)rows;
    if (table)
        *table = (struct table_weights){cols};
    else
        error_set(err, "counting: no memory");
    return table;
}
static void counting_table_free(struct device *dev, struct table_weights *table)
{
    (void)dev;
    free(table);
}

/* ---- forward ---- */

static void counting_embed(struct device *dev, const struct table_weights *word,
                           const struct table_weights *position, const struct table_weights *type,
                           const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols,
                           act *out)
{
    double n = (double)n_tokens * (double)cols, e = (double)dev->act_bytes;
    (void)id;
    (void)place;
    (void)out;
    counting_of(dev)->tokens = n_tokens;
    counting_kernel(dev, COUNT_EMBED,
                    n * (e + (word ? 4 : e) + (position ? 4 : 0) + (type ? 4 : 0)),
                    n * (e + (word ? 4 : e)));
}

static inline size_t counting_up(size_t n)
{
    return (n + 15) / 16 * 16;
}

static void counting_linear(struct device *dev, const struct linear *linear, const act *x,
                            size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                            size_t y_stride)
{
    double r = (double)rows, in = (double)linear->in, out = (double)linear->out;
    double e = (double)dev->act_bytes, second = pre ? e * r * out : 0;
    double flops = 2 * r * in * out, least = e * r * (in + out) + (linear->int8 ? 1 : e) * in * out;
    (void)x;
    (void)x_stride;
    (void)y;
    (void)y_stride;
    if (linear->int8) {
        double in8 = (double)counting_up(linear->in), out8 = (double)counting_up(linear->out);
        counting_kernel(dev, COUNT_QUANTISE, e * r * in + r * in8, 0);
        counting_add(dev, COUNT_PRODUCT, 0, flops, r * in8 + out8 * in8 + 4 * r * out8, least,
                     true);
        counting_kernel(dev, COUNT_FINISH, 4 * r * out8 + e * r * out + second, second);
        return;
    }
    counting_add(dev, COUNT_PRODUCT, 0, flops, least, least, false);
    if (linear->bias || epilogue != EPILOGUE_NONE || pre)
        counting_kernel(dev, COUNT_FINISH, 2 * e * r * out + second, second);
}

static void counting_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                              struct dropout dropout, const float *gain, const float *bias,
                              float eps, size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    double n = (double)rows * (double)cols * (double)dev->act_bytes;
    double bytes = n * (2 + (residual != NULL) + (sum != NULL)) + (stats ? 8 * (double)rows : 0);
    (void)norm;
    (void)x;
    (void)dropout;
    (void)gain;
    (void)bias;
    (void)eps;
    (void)y;
    counting_kernel(dev, COUNT_NORM, bytes, bytes);
}

/* The norm adds the bias of a product that is not int8. */
static void counting_linear_norm(struct device *dev, const struct linear *linear, const act *x,
                                 size_t x_stride, size_t rows, act *product, enum norm norm,
                                 const act *residual, struct dropout dropout, const float *gain,
                                 const float *bias, float eps, size_t cols, act *sum, float *stats,
                                 act *y)
{
    struct linear plain = *linear;
    plain.bias = false;
    counting_linear(dev, &plain, x, x_stride, rows, EPILOGUE_NONE, NULL, product, cols);
    counting_add_norm(dev, norm, product, residual, dropout, gain, bias, eps, rows, cols, sum,
                      stats, y);
}

/* Rows of a block of attention (kernels/cuda/attention.h). */
static inline size_t counting_own(size_t head_size)
{
    return head_size > 64 ? 16 : 32;
}

static void counting_attention(struct device *dev, const struct attention *a, const act *q,
                               const act *k, const act *v, act *out, float *lse)
{
    double width = (double)(a->heads * a->head_size), tokens = (double)a->seqs.n_tokens;
    double rows = a->first_only ? (double)a->seqs.n : tokens, e = (double)dev->act_bytes;
    size_t queries = a->first_only ? 1 : a->seqs.longest;
    size_t of_block = counting_own(a->head_size);
    double blocks = (double)((queries + of_block - 1) / of_block), own = e * rows * width;
    double more = lse ? 4 * rows * (double)a->heads : 0;
    (void)q;
    (void)k;
    (void)v;
    (void)out;
    counting_add(dev, COUNT_ATTENTION, 1, 4 * rows * (double)a->seqs.longest * width,
                 2 * own + 2 * e * tokens * width * blocks + more,
                 2 * own + 2 * e * tokens * width + more, false);
}

static void counting_gather_first(struct device *dev, const act *x, const struct seqs *seqs,
                                  size_t cols, act *y)
{
    double n = (double)dev->act_bytes * (double)seqs->n * (double)cols;
    (void)x;
    (void)y;
    counting_kernel(dev, COUNT_ROWS, 2 * n, 2 * n);
}

static void counting_mean_pool(struct device *dev, const act *x, const struct seqs *seqs,
                               size_t cols, act *y)
{
    double n = (double)dev->act_bytes * (double)(seqs->n + seqs->n_tokens) * (double)cols;
    (void)x;
    (void)y;
    counting_kernel(dev, COUNT_ROWS, n, n);
}

static void counting_dropout(struct device *dev, act *x, size_t n, struct dropout dropout)
{
    (void)x;
    if (n > 0 && dropout.rate > 0 && dropout.rate < 1)
        counting_kernel(dev, COUNT_DROPOUT, 2 * (double)dev->act_bytes * (double)n, 0);
}

/* ---- backward ---- */

static void counting_column_sum_of(struct device *dev, size_t rows, size_t cols)
{
    double r = (double)rows, c = (double)cols, runs = (double)((rows + 63) / 64);
    if (rows > 0 && cols > 0)
        counting_add(dev, COUNT_BIAS_BACK, rows > 64 ? 2 : 1, 0,
                     (double)dev->act_bytes * r * c + (rows > 64 ? 16 * runs * c : 0) + 8 * c,
                     4 * c, false);
}

static void counting_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                                     size_t x_stride, const act *dy, size_t dy_stride, size_t rows,
                                     act *dx, size_t dx_stride, float *dw, float *db, unsigned how)
{
    double r = (double)rows, in = (double)linear->in, out = (double)linear->out;
    double e = (double)dev->act_bytes, flops = 2 * r * in * out;
    (void)x;
    (void)x_stride;
    (void)dy;
    (void)dy_stride;
    (void)dx_stride;
    if (dx) {
        double bytes = e * (r * out + out * in + (how & BACKWARD_ADD_DX ? 2 : 1) * r * in);
        counting_add(dev, COUNT_PRODUCT_BACK, 0, flops, bytes, bytes, false);
    }
    if (dw)
        counting_add(dev, COUNT_PRODUCT_BACK, 0, flops,
                     e * r * (out + in) + (how & BACKWARD_SET_DW ? 4 : 8) * out * in,
                     e * r * (out + in) + 4 * out * in, false);
    if (db)
        counting_column_sum_of(dev, rows, linear->out);
}

static void counting_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                                       const act *dy, size_t rows, size_t cols, act *dpre,
                                       float *db)
{
    double bytes = (double)dev->act_bytes * (double)rows * (double)cols;
    double runs = (double)((rows + 63) / 64), sums = db ? (16 * runs + 8) * (double)cols : 0;
    (void)epilogue;
    (void)pre;
    (void)dy;
    (void)dpre;
    counting_add(dev, COUNT_ACTIVATION_BACK, db ? 2 : 1, 0, 3 * bytes + sums, bytes, false);
}

static void counting_add_norm_backward(struct device *dev, enum norm norm, const act *sum,
                                       const float *stats, const float *gain, const act *dy,
                                       struct dropout dropout, size_t rows, size_t cols, act *dz,
                                       act *dx, float *dgain, float *dbias, float *db)
{
    bool wide = cols > 1024, wanted = dgain || dbias || (db && !wide);
    double n = (double)rows * (double)cols * (double)dev->act_bytes;
    double least = n * (3 + (dx != NULL)) + 8 * (double)rows;
    double runs = (double)(rows > 16 * 512 ? 512 : (rows + 15) / 16);
    (void)norm;
    (void)sum;
    (void)stats;
    (void)gain;
    (void)dy;
    (void)dropout;
    (void)dz;
    counting_add(dev, COUNT_NORM_BACK, 1UL + wanted + (wanted && wide), 0,
                 least + (wanted ? 24 * runs * (double)cols : 0) + (wanted && wide ? 2 * n : 0),
                 least, false);
    if (db && wide)
        counting_column_sum_of(dev, rows, cols);
}

static void counting_attention_backward(struct device *dev, const struct attention *a, const act *q,
                                        const act *k, const act *v, const act *out,
                                        const float *lse, const act *dout, act *dq, act *dk,
                                        act *dv)
{
    double width = (double)(a->heads * a->head_size), tokens = (double)a->seqs.n_tokens;
    double rows = a->first_only ? (double)a->seqs.n : tokens, e = (double)dev->act_bytes;
    size_t own = counting_own(a->head_size), queries = a->first_only ? 1 : a->seqs.longest;
    double q_blocks = (double)((queries + own - 1) / own);
    double k_blocks = (double)((a->seqs.longest + own - 1) / own);
    double q_side = e * rows * width, k_side = e * tokens * width;
    double stats = 4 * rows * (double)a->heads;
    (void)q;
    (void)k;
    (void)v;
    (void)out;
    (void)lse;
    (void)dout;
    (void)dq;
    (void)dk;
    (void)dv;
    counting_add(dev, COUNT_ATTENTION_BACK, 2, 14 * rows * (double)a->seqs.longest * width,
                 4 * q_side + 2 * k_side * q_blocks + 4 * k_side + 2 * q_side * k_blocks +
                     stats * (2 + 2 * k_blocks),
                 4 * q_side + 4 * k_side + stats, false);
}

static void counting_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs,
                                       size_t cols, act *x)
{
    double n = (double)dev->act_bytes * (double)seqs->n * (double)cols;
    (void)dy;
    (void)x;
    counting_kernel(dev, COUNT_ROWS, 3 * n, 3 * n);
}

static void counting_sum(struct device *dev, const act *x, size_t n, act *y)
{
    double bytes = (double)dev->act_bytes * (double)n;
    (void)x;
    (void)y;
    if (n > 0)
        counting_kernel(dev, COUNT_ADD, 3 * bytes, bytes);
}

static void counting_rows_sum(struct device *dev, const act *d, const int32_t *order,
                              const int32_t *bound, size_t n_slots, size_t cols, float *grad)
{
    double read = (double)dev->act_bytes * (double)counting_of(dev)->tokens * (double)cols;
    double slots = (double)n_slots * (double)cols;
    (void)d;
    (void)order;
    (void)bound;
    (void)grad;
    if (n_slots > 0)
        counting_kernel(dev, COUNT_EMBED_BACK, read + 8 * slots, read + 4 * slots);
}

static void counting_column_sum(struct device *dev, const act *d, size_t rows, size_t cols,
                                float *grad)
{
    (void)d;
    (void)grad;
    counting_column_sum_of(dev, rows, cols);
}

static void counting_loss(struct device *dev, const struct loss *loss, const act *logits,
                          const int32_t *label, const float *teacher, size_t rows, size_t classes,
                          float *row_loss, act *dlogits)
{
    double n = (double)rows * (double)classes, e = (double)dev->act_bytes;
    double bytes = n * (e + (dlogits ? e : 0) + (teacher ? 4 : 0)) + 8 * (double)rows;
    (void)loss;
    (void)logits;
    (void)label;
    (void)row_loss;
    counting_kernel(dev, COUNT_LOSS, bytes, bytes);
}

/* ---- optimizer ---- */

static void counting_sum_squares(struct device *dev, const float *x, size_t n, double *sum)
{
    (void)x;
    (void)sum;
    if (n > 0)
        counting_add(dev, COUNT_CLIP, 2, 0, 4 * (double)n, 4 * (double)n, false);
}
static void counting_clip_factor(struct device *dev, double *sum, float max_norm,
                                 struct loss_scale *scaled, float *factor)
{
    (void)sum;
    (void)max_norm;
    (void)scaled;
    (void)factor;
    counting_kernel(dev, COUNT_CLIP, 12, 12);
}
static void counting_adamw(struct device *dev, const struct adamw *adamw, const float *factor,
                           size_t n, const float *grad, float *m, float *v, float *w)
{
    (void)adamw;
    (void)factor;
    (void)grad;
    (void)m;
    (void)v;
    (void)w;
    if (n > 0)
        counting_kernel(dev, COUNT_ADAMW, 28 * (double)n, 28 * (double)n);
}
/* The 16-bit copies of matrices are written with them. */
static void counting_adamw_block(struct device *dev, const struct adamw *adamw,
                                 const struct adamw_group *group, size_t n_groups,
                                 const float *factor, const float *grad, float *m, float *v,
                                 float *w, struct linear *const *linear, size_t n_linears)
{
    double bytes = (28 + (dev->act_bytes == 2 ? 2 : 0)) * (double)group[n_groups - 1].end;
    (void)adamw;
    (void)factor;
    (void)grad;
    (void)m;
    (void)v;
    (void)w;
    (void)linear;
    (void)n_linears;
    counting_kernel(dev, COUNT_ADAMW, bytes, bytes);
}
static bool counting_block_bind(struct device *dev, float *w, size_t n, struct error *err)
{
    (void)dev;
    (void)w;
    (void)n;
    (void)err;
    return true;
}
static void counting_block_unbind(struct device *dev, float *w)
{
    (void)dev;
    (void)w;
}
static void counting_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                                const int32_t *row, size_t n_rows, size_t cols,
                                const int32_t *place, const float *grad, float *m, float *v,
                                float *w)
{
    (void)place;
    (void)row;
    counting_adamw(dev, adamw, factor, n_rows * cols, grad, m, v, w);
}

/* Activations of 2 or 4 bytes. NULL: no memory. Operations that classifiers of BERT's family do not
 * need are not there. */
static inline struct counting *counting_open(size_t act_bytes)
{
    struct counting *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->device = (struct device){.op = &c->ops,
                                .name = "counting",
                                .act_bytes = act_bytes,
                                .n_lanes = 1,
                                .pass_tokens = 512};
    c->ops = (struct device_ops){.close = counting_close,
                                 .lane = counting_lane,
                                 .alloc = counting_alloc,
                                 .free = counting_free,
                                 .zero = counting_zero,
                                 .upload = counting_upload,
                                 .download = counting_download,
                                 .sync = counting_sync,
                                 .linear_bind = counting_bind,
                                 .linear_refresh = counting_refresh,
                                 .linear_free = counting_linear_free,
                                 .table_bind = counting_table,
                                 .table_free = counting_table_free,
                                 .embed = counting_embed,
                                 .linear = counting_linear,
                                 .add_norm = counting_add_norm,
                                 .linear_norm = counting_linear_norm,
                                 .attention = counting_attention,
                                 .gather_first = counting_gather_first,
                                 .mean_pool = counting_mean_pool,
                                 .dropout = counting_dropout,
                                 .linear_backward = counting_linear_backward,
                                 .epilogue_backward = counting_epilogue_backward,
                                 .add_norm_backward = counting_add_norm_backward,
                                 .attention_backward = counting_attention_backward,
                                 .scatter_first_add = counting_scatter_first_add,
                                 .mean_pool_backward = counting_mean_pool,
                                 .add = counting_sum,
                                 .rows_sum = counting_rows_sum,
                                 .column_sum = counting_column_sum,
                                 .loss = counting_loss,
                                 .sum_squares = counting_sum_squares,
                                 .clip_factor = counting_clip_factor,
                                 .adamw = counting_adamw,
                                 .adamw_block = counting_adamw_block,
                                 .block_bind = counting_block_bind,
                                 .block_unbind = counting_block_unbind,
                                 .adamw_rows = counting_adamw_rows};
    return c;
}

#endif
