/* cpu.h: the inside of the CPU device, for the files of kernels/cpu/. One file per group of
 * operations; an operation foo of the table is cpu_foo here.
 *
 * A struct cpu is either the device, with a team of threads, or a lane of it, which works on its
 * caller's thread alone. Operations are called by one thread at a time per struct cpu; inside they
 * spread over cpu_run.
 */
#ifndef MILLET_KERNELS_CPU_CPU_H
#define MILLET_KERNELS_CPU_CPU_H

#include <pthread.h>

#include "core/threads.h"
#include "kernels/cpu/isa.h"
#include "kernels/kernels.h"

struct cpu_scratch {
    void *memory;
    size_t bytes;
};

struct openblas;

struct cpu {
    struct device device; /* first: a struct device * of this device is a struct cpu * */
    struct error error;   /* first failure, for sync; under error_lock */
    enum isa isa;
    size_t n_members;            /* threads of the team; 1 on a lane */
    struct threads *team;        /* NULL: the caller alone */
    struct cpu *lanes;           /* [device.n_lanes]; NULL on a lane */
    struct cpu_scratch *scratch; /* [n_members], then the shared one */
    struct openblas *openblas;   /* NULL until the first operation that needs it */
    struct linear *latest;       /* of those prepared and not freed; NULL: there are none */
    pthread_mutex_t error_lock;
};

static inline struct cpu *cpu_of(struct device *dev)
{
    return (struct cpu *)dev;
}

/* Keep the first failure for sync; members of the team may call it. */
void cpu_fail(struct cpu *cpu, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For free(); 64-byte aligned, uninitialised. Much of it lies in huge pages where the system lets
 * us. */
void *cpu_memory(size_t bytes, struct error *err);

/* At least `bytes` of 64-byte aligned memory for one member, undefined contents, good until the
 * member's next call. NULL after cpu_fail when there is none. */
void *cpu_scratch(struct cpu *cpu, size_t member, size_t bytes);

/* The same for the caller of an operation, before cpu_run, to share with all members. */
void *cpu_scratch_shared(struct cpu *cpu, size_t bytes);

/* job on every member of the team; on a lane just job(context, 0, 1). */
void cpu_run(struct cpu *cpu, threads_job *job, void *context);

/* ---- peak.c ---- */
void cpu_peak(struct device *dev, struct device_peak *peak);

/* ---- weights and products: linear.c, bound.c, epilogue.c ---- */
struct linear *cpu_linear_prepare(struct device *dev, const struct weight *part,
                                  const float *const *bias, size_t n_parts, struct error *err);
size_t cpu_weight_bytes(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                        bool table);
void cpu_linear_scale(struct device *dev, struct linear *linear, float scale);
struct linear *cpu_linear_bind(struct device *dev, float *w, float *b, size_t out, size_t in,
                               struct error *err);
void cpu_linear_refresh(struct device *dev, struct linear *linear);
bool cpu_linear_round(struct device *dev, struct linear *linear, enum dtype format,
                      struct error *err);
void cpu_linear_free(struct device *dev, struct linear *linear);
void cpu_linear_size(const struct linear *linear, struct linear_size *size);
void cpu_linear(struct device *dev, const struct linear *linear, const act *x, size_t x_stride,
                size_t rows, enum epilogue epilogue, act *pre, act *y, size_t y_stride);
void cpu_linear_backward(struct device *dev, const struct linear *linear, const act *x,
                         size_t x_stride, const act *dy, size_t dy_stride, size_t rows, act *dx,
                         size_t dx_stride, float *dw, float *db, unsigned how);
void cpu_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                           const act *dy, size_t rows, size_t cols, act *dpre, float *db);

/* ---- sparse features: bag.c ---- */
struct bag_weights *cpu_bag_prepare(struct device *dev, const struct weight *weight,
                                    struct error *err);
void cpu_bag_free(struct device *dev, struct bag_weights *bag);
void cpu_bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
             const float *value, const int32_t *offset, size_t n, act *out);

/* ---- tables and rows: embed.c ---- */
void cpu_embed(struct device *dev, const struct table_weights *word,
               const struct table_weights *position, const struct table_weights *type,
               const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols, act *out);
void cpu_rows_sum(struct device *dev, const act *d, const int32_t *order, const int32_t *bound,
                  size_t n_slots, size_t cols, float *grad);
void cpu_column_sum(struct device *dev, const act *d, size_t rows, size_t cols, float *grad);
void cpu_add(struct device *dev, const act *x, size_t n, act *y);

/* ---- sequence.c ---- */
void cpu_gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                      act *y);
void cpu_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                           act *x);
void cpu_trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y);
void cpu_trigram_backward(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                          act *dx);
void cpu_mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y);
void cpu_mean_pool_backward(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                            act *dx);

/* ---- norm.c ---- */
void cpu_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                  struct dropout dropout, const float *gain, const float *bias, float eps,
                  size_t rows, size_t cols, act *sum, float *stats, act *y);
void cpu_add_norm_backward(struct device *dev, enum norm norm, const act *sum, const float *stats,
                           const float *gain, const act *dy, struct dropout dropout, size_t rows,
                           size_t cols, act *dz, act *dx, float *dgain, float *dbias, float *db);
void cpu_dropout(struct device *dev, act *x, size_t n, struct dropout dropout);

/* ---- attention.c ---- */
void cpu_attention(struct device *dev, const struct attention *attention, const act *q,
                   const act *k, const act *v, act *out, float *lse);
void cpu_attention_backward(struct device *dev, const struct attention *attention, const act *q,
                            const act *k, const act *v, const act *out, const float *lse,
                            const act *dout, act *dq, act *dk, act *dv);

/* ---- match.c ---- */
void cpu_match(struct device *dev, const struct match *match, const act *x, const act *target,
               const struct seqs *seqs, size_t cols, float *row_loss, act *dx);
void cpu_relation(struct device *dev, const struct relation *relation, const act *x,
                  const act *target, float *row_loss, act *dx);

/* ---- weights as int8 holds them: round.c ---- */
void cpu_round_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to);
void cpu_rotate_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to);

/* ---- loss.c, optimizer.c, slope.c, gram.c, blocks.c ---- */
void cpu_loss(struct device *dev, const struct loss *loss, const act *logits, const int32_t *label,
              const float *teacher, size_t rows, size_t classes, float *row_loss, act *dlogits);
void cpu_loss_multi_label(struct device *dev, const struct loss *loss, const act *logits,
                          const float *target, const float *teacher, size_t rows, size_t classes,
                          float *row_loss, act *dlogits);
void cpu_sum_squares(struct device *dev, const float *x, size_t n, double *sum);
void cpu_clip_factor(struct device *dev, double *sum, float max_norm, struct loss_scale *scaled,
                     float *factor);
void cpu_adamw(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
               const float *grad, float *m, float *v, float *w);
void cpu_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                    const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                    const float *grad, float *m, float *v, float *w);
void cpu_solve(struct device *dev, float *a, size_t n, float *b, size_t m);
void cpu_unit_slope(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                    size_t cols, size_t group, float *slope);
void cpu_gram(struct device *dev, const act *x, size_t rows, size_t cols, float *g);
void cpu_block_mask(struct device *dev, const struct blocks *blocks, const float *keep,
                    const float *from, float *to);
void cpu_block_sum(struct device *dev, const struct blocks *blocks, const float *x, const float *y,
                   float *sum);

#endif
