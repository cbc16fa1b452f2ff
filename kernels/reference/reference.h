/* reference.h: inside of the reference device: plain loops, one thread, double accumulators. Its
 * job is to be read and believed; speed is no concern. Activations are float. The functions are the
 * entries of the operation table, contracts in kernels.h.
 */
#ifndef MILLET_KERNELS_REFERENCE_H
#define MILLET_KERNELS_REFERENCE_H

#include "kernels/kernels.h"

struct reference {
    struct device device; /* first: a struct device * of ours is a struct reference * */
    struct error error;   /* first failure, for sync */
};

static inline float *reference_values(act *x)
{
    return (float *)(void *)x;
}
static inline const float *reference_read(const act *x)
{
    return (const float *)(const void *)x;
}
static inline struct error *reference_error(struct device *dev)
{
    return &((struct reference *)(void *)dev)->error;
}

struct linear *reference_linear_prepare(struct device *dev, const struct weight *part,
                                        const float *const *bias, size_t n_parts,
                                        struct error *err);
void reference_linear_scale(struct device *dev, struct linear *linear, float scale);
struct linear *reference_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                                     struct error *err);
void reference_linear_refresh(struct device *dev, struct linear *linear);
bool reference_linear_round(struct device *dev, struct linear *linear, enum dtype format,
                            struct error *err);
void reference_linear_free(struct device *dev, struct linear *linear);
void reference_linear_size(const struct linear *linear, struct linear_size *size);
void reference_linear(struct device *dev, const struct linear *linear, const act *x,
                      size_t x_stride, size_t rows, enum epilogue epilogue, act *pre, act *y,
                      size_t y_stride);
void reference_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                               size_t x_stride, const act *dy, size_t dy_stride, size_t rows,
                               act *dx, size_t dx_stride, float *dw, float *db, unsigned how);

double reference_epilogue(enum epilogue epilogue, double x);
double reference_epilogue_slope(enum epilogue epilogue, double x);
void reference_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                                 const act *dy, size_t rows, size_t cols, act *dpre, float *db);

struct bag_weights *reference_bag_prepare(struct device *dev, const struct weight *weight,
                                          struct error *err);
void reference_bag_free(struct device *dev, struct bag_weights *bag);
void reference_bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
                   const float *value, const int32_t *offset, size_t n, act *out);
void reference_embed(struct device *dev, const struct table_weights *word,
                     const struct table_weights *position, const struct table_weights *type,
                     const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols,
                     act *out);
void reference_rows_sum(struct device *dev, const act *d, const int32_t *order,
                        const int32_t *bound, size_t n_slots, size_t cols, float *grad);

void reference_gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                            act *y);
void reference_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs,
                                 size_t cols, act *x);
void reference_trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                       act *y);
void reference_trigram_backward(struct device *dev, const act *dy, const struct seqs *seqs,
                                size_t cols, act *dx);
void reference_mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                         act *y);
void reference_mean_pool_backward(struct device *dev, const act *dy, const struct seqs *seqs,
                                  size_t cols, act *dx);

void reference_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                        struct dropout dropout, const float *gain, const float *bias, float eps,
                        size_t rows, size_t cols, act *sum, float *stats, act *y);
void reference_add_norm_backward(struct device *dev, enum norm norm, const act *sum,
                                 const float *stats, const float *gain, const act *dy,
                                 struct dropout dropout, size_t rows, size_t cols, act *dz, act *dx,
                                 float *dgain, float *dbias, float *db);
void reference_dropout(struct device *dev, act *x, size_t n, struct dropout dropout);
void reference_add(struct device *dev, const act *x, size_t n, act *y);
void reference_column_sum(struct device *dev, const act *d, size_t rows, size_t cols, float *grad);

void reference_attention(struct device *dev, const struct attention *attention, const act *q,
                         const act *k, const act *v, act *out, float *lse);
void reference_attention_backward(struct device *dev, const struct attention *attention,
                                  const act *q, const act *k, const act *v, const act *out,
                                  const float *lse, const act *dout, act *dq, act *dk, act *dv);

void reference_loss(struct device *dev, const struct loss *loss, const act *logits,
                    const int32_t *label, const float *teacher, size_t rows, size_t classes,
                    float *row_loss, act *dlogits);
void reference_loss_multi_label(struct device *dev, const struct loss *loss, const act *logits,
                                const float *target, const float *teacher, size_t rows,
                                size_t classes, float *row_loss, act *dlogits);

void reference_match(struct device *dev, const struct match *match, const act *x, const act *target,
                     const struct seqs *seqs, size_t cols, float *row_loss, act *dx);
void reference_relation(struct device *dev, const struct relation *relation, const act *x,
                        const act *target, float *row_loss, act *dx);

void reference_sum_squares(struct device *dev, const float *x, size_t n, double *sum);
void reference_clip_factor(struct device *dev, double *sum, float max_norm,
                           struct loss_scale *scaled, float *factor);
void reference_adamw(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
                     const float *grad, float *m, float *v, float *w);
void reference_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                          const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                          const float *grad, float *m, float *v, float *w);

void reference_solve(struct device *dev, float *a, size_t n, float *b, size_t m);
void reference_unit_slope(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                          size_t cols, size_t group, float *slope);
void reference_gram(struct device *dev, const act *x, size_t rows, size_t cols, float *g);
void reference_block_mask(struct device *dev, const struct blocks *blocks, const float *keep,
                          const float *from, float *to);
void reference_block_sum(struct device *dev, const struct blocks *blocks, const float *x,
                         const float *y, float *sum);

void reference_round_rows(struct device *dev, const float *from, size_t rows, size_t cols,
                          float *to);
void reference_rotate_rows(struct device *dev, const float *from, size_t rows, size_t cols,
                           float *to);

#endif
