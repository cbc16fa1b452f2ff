/* encoder_backward.c: the backward pass over the tape of encoder.c.
 *
 * da carries the gradient of a layer's output, then of its input; db and dx are scratch of the same
 * size. In the last layer da has N rows (first tokens) until keys and values spread it to all T.
 */
#include "nn/encoder.h"

#include "nn/encoder_buffers.h"

/* One backward pass. */
struct pass {
    struct encoder *e;
    struct device *dev;
    const struct weights *weights;
    const struct batch *batch;
    const struct encoder_dropout *dropout;
    const struct encoder_probe *probe;
};

/* dx = dy W, and the gradients of W and b. All matrices here are contiguous. */
static void back_linear(const struct pass *p, const struct weights_matrix *w, const act *x,
                        size_t in, const act *dy, size_t out, size_t rows, act *dx)
{
    p->dev->op->linear_backward(p->dev, w->linear, x, in, dy, out, rows, dx, in, w->dw, w->db);
}

static void back_norm(const struct pass *p, const struct weights_norm *w, const act *sum,
                      const float *stats, const act *dy, struct dropout drop, size_t rows, act *dz,
                      act *dx)
{
    p->dev->op->add_norm_backward(p->dev, NORM_LAYER, sum, stats, w->gain, dy, drop, rows,
                                  p->e->shape->hidden, dz, dx, w->dgain, w->dbias);
}

static void see(const struct pass *p, size_t l, enum encoder_place place, const act *x,
                const act *dx, size_t cols, size_t group)
{
    if (!p->probe)
        return;
    bool last = l + 1 == p->e->shape->n_layers;
    p->probe->see(p->probe->context, p->dev, l, place, x, dx,
                  last ? &p->batch->first_seqs : &p->batch->seqs, cols, group);
}

/* Gradient of the logits to da [N, H]. */
static void back_head(const struct pass *p)
{
    struct encoder *e = p->e;
    const struct shape *shape = e->shape;
    size_t h = shape->hidden, n = p->batch->n;
    back_linear(p, &p->weights->classifier, e->pooled, h, e->dlogits, shape->n_labels, n,
                e->dpooled);
    struct dropout drop = encoder_pooled_dropout(p->dropout, shape);
    if (drop.rate > 0)
        p->dev->op->dropout(p->dev, e->dpooled, n * h, drop);
    p->dev->op->epilogue_backward(p->dev, EPILOGUE_TANH, e->pooled_pre, e->dpooled, n * h,
                                  e->dpooled);
    back_linear(p, &p->weights->pooler, e->top, h, e->dpooled, h, n, e->da);
}

/* From the output of layer l back to the output projection: da = gradient of the residual,
 * dcontext. */
static void back_feed_forward(const struct pass *p, size_t l, size_t rows)
{
    struct encoder *e = p->e;
    const struct shape *shape = e->shape;
    const struct weights_layer *w = &p->weights->layer[l];
    const struct encoder_layer *b = &e->layer[l];
    size_t h = shape->hidden, ffn = shape->layer[l].ffn, inner = encoder_inner(shape, l);

    back_norm(p, &w->norm2, b->t2, b->stats2, e->da, encoder_layer_dropout(p->dropout, l, DROP_FFN),
              rows, e->da, e->db);
    back_linear(p, &w->f2, b->h, ffn, e->db, h, rows, e->dh);
    see(p, l, ENCODER_NEURONS, b->h, e->dh, ffn, 1);
    p->dev->op->epilogue_backward(p->dev, shape->activation, b->pre, e->dh, rows * ffn, e->dh);
    back_linear(p, &w->f1, b->y1, h, e->dh, ffn, rows, e->db);
    p->dev->op->add(p->dev, e->db, rows * h, e->da);

    back_norm(p, &w->norm1, b->t1, b->stats1, e->da,
              encoder_layer_dropout(p->dropout, l, DROP_ATTENTION), rows, e->da, e->db);
    back_linear(p, &w->o, b->context, inner, e->db, h, rows, e->dcontext);
    see(p, l, ENCODER_HEADS, b->context, e->dcontext, inner, shape->head_size);
}

static void back_attention(const struct pass *p, size_t l)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    const struct weights_layer *w = &p->weights->layer[l];
    const struct encoder_layer *b = &e->layer[l];
    size_t h = e->shape->hidden, inner = encoder_inner(e->shape, l), tokens = p->batch->n_tokens;
    const struct attention attention = encoder_attention(e, p->batch, p->dropout, l);
    if (!attention.first_only) {
        dev->op->attention_backward(dev, &attention, b->qkv, act_at_const(dev, b->qkv, inner),
                                    act_at_const(dev, b->qkv, 2 * inner), b->context, b->lse,
                                    e->dcontext, e->dqkv, act_at(dev, e->dqkv, inner),
                                    act_at(dev, e->dqkv, 2 * inner));
        back_linear(p, &w->qkv, b->x, h, e->dqkv, 3 * inner, tokens, e->db);
        dev->op->add(dev, e->db, tokens * h, e->da);
        return;
    }
    /* dq [N, A] lies behind dkv [T, 2A] in dqkv, whose room is [T, 3A]. */
    act *dq = act_at(dev, e->dqkv, 2 * inner * tokens);
    dev->op->attention_backward(dev, &attention, b->q, b->qkv, act_at_const(dev, b->qkv, inner),
                                b->context, b->lse, e->dcontext, dq, e->dqkv,
                                act_at(dev, e->dqkv, inner));
    back_linear(p, &w->q, e->first, h, dq, inner, p->batch->n, e->db);
    dev->op->add(dev, e->db, p->batch->n * h, e->da);
    back_linear(p, &w->kv, b->x, h, e->dqkv, 2 * inner, tokens, e->dx);
    dev->op->scatter_first_add(dev, e->da, &p->batch->seqs, h, e->dx);
    act *spread = e->dx;
    e->dx = e->da;
    e->da = spread;
}

static void back_embeddings(const struct pass *p, const struct encoder_rows_grad *rows)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    size_t h = e->shape->hidden, tokens = p->batch->n_tokens;
    struct dropout drop = encoder_embed_dropout(p->dropout, e->shape);
    if (drop.rate > 0)
        dev->op->dropout(dev, e->da, tokens * h, drop);
    back_norm(p, &p->weights->embed_norm, e->embed_sum, e->embed_stats, e->da, (struct dropout){0},
              tokens, e->da, NULL);
    if (!rows)
        return;
    const struct batch_rows *word = &p->batch->word, *position = &p->batch->position;
    dev->op->rows_sum(dev, e->da, word->device_order, word->device_bound, word->n, h, rows->word);
    dev->op->rows_sum(dev, e->da, position->device_order, position->device_bound, position->n, h,
                      rows->position);
    dev->op->column_sum(dev, e->da, tokens, h, rows->type);
}

void encoder_backward(struct encoder *encoder, const struct weights *weights,
                      const struct batch *batch, const struct encoder_dropout *dropout,
                      const struct encoder_rows_grad *rows, const struct encoder_probe *probe)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, dropout, probe};
    size_t n_layers = encoder->shape->n_layers;
    back_head(&pass);
    for (size_t l = n_layers; l-- > 0;) {
        back_feed_forward(&pass, l, l + 1 == n_layers ? batch->n : batch->n_tokens);
        back_attention(&pass, l);
    }
    back_embeddings(&pass, rows);
}
