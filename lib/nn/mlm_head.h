/* mlm_head.h: the head of a masked language model on some rows of the hidden states:
 *
 *     y = norm(activation(x D' + d)), logits = y W' + b, W the word table
 *
 * (Devlin et al. 2019, as transformers' …ForMaskedLM compute it). Its parameters are those of
 * struct params of a shape with `mlm`; the gradient of W goes to all rows of the table, so the
 * batch must have `word_rows`.
 *
 *     reserve; states(hidden, places); of each piece of rows logits, …, backward_logits; backward
 */
#ifndef MILLET_NN_MLM_HEAD_H
#define MILLET_NN_MLM_HEAD_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/params.h"

struct mlm_head {
    struct params *params; /* borrowed */
    struct device *dev;
    const struct params_entry *dense, *dense_bias, *gain, *norm_bias, *bias;
    struct linear *transform, *decoder;
    enum epilogue activation;
    bool backward;
    size_t piece; /* rows of logits at a time */
    size_t room;
    void *arena;
    act *x, *dx;           /* [rows, H] what was gathered, and its gradient */
    act *pre, *h, *sum;    /* [rows, E] before and after the activation; before the norm */
    float *stats;          /* [rows, 2] */
    act *y, *dy, *dh;      /* [rows, E] */
    act *logits, *dlogits; /* [piece, V] */
};

/* Memory: some rows of hidden width, and logits (with `backward` twice) of at most 64 MB or one row
 * at a time. */
bool mlm_head_open(struct mlm_head *head, struct params *params, bool backward,
                   struct error *err) MUST_CHECK;
void mlm_head_close(struct mlm_head *head); /* safe on a zeroed struct */
/* Rows of logits at a time. */
size_t mlm_head_most(const struct shape *shape);
/* What mlm_head_reserve() allocates. */
bool mlm_head_bytes(const struct shape *shape, const struct device *dev, bool backward, size_t rows,
                    size_t *bytes, struct error *err) MUST_CHECK;
bool mlm_head_reserve(struct mlm_head *head, size_t rows, struct error *err) MUST_CHECK;

/* Rows of one piece from `first` on. */
static inline size_t mlm_head_piece(const struct mlm_head *head, size_t first, size_t rows)
{
    return rows - first < head->piece ? rows - first : head->piece;
}

/* y of the places.n rows of `hidden` that the sequences of `places` begin with. The weights may
 * have changed since. */
void mlm_head_states(struct mlm_head *head, const act *hidden, const struct seqs *places);
/* Logits [n, V] of rows first … of y; valid until the next call. */
const act *mlm_head_logits(struct mlm_head *head, size_t first, size_t n);
/* From head->dlogits of the same rows: dy, and gradients of W and b. */
void mlm_head_backward_logits(struct mlm_head *head, size_t first, size_t n);
/* From dy of all rows: the head's gradients; dx is added to the rows of `gradient` [T, H]. */
void mlm_head_backward(struct mlm_head *head, const struct seqs *places, act *gradient);

#endif
