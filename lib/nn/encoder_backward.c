/* encoder_backward.c: the backward pass over the tape of encoder_forward.c.
 *
 * da carries the gradient of a layer's output, then of its input; db and dx are scratch of the same
 * size. Inside a bottleneck ds and dt are to da and db what W is to H; elsewhere they are da and
 * db. In a layer of first rows da has N rows until keys and values spread it to all T.
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

/* Beside BACKWARD_…: db is done, by the norm or the activation function that dy comes from. */
enum { SUMMED = 1 << 8 };

/* dx [rows, in] = dy W, and the gradients of W and b. */
static void back_linear(const struct pass *p, const struct weights_matrix *w, const act *x,
                        size_t in, const act *dy, size_t dy_stride, size_t rows, act *dx,
                        unsigned how)
{
    float *db = how & SUMMED ? NULL : w->db;
    how &= ~(unsigned)SUMMED;
    if (w->stale && *w->stale) {
        how |= BACKWARD_SET_DW;
        *w->stale = false;
    }
    p->dev->op->linear_backward(p->dev, w->linear, x, in, dy, dy_stride, rows, dx, in, w->dw, db,
                                how);
}

/* db: of the product that is normed; NULL: none. */
static void back_norm(const struct pass *p, const struct weights_norm *w,
                      const struct encoder_sum *sum, const act *dy, struct dropout drop,
                      size_t rows, size_t cols, act *dz, act *dx, float *db)
{
    p->dev->op->add_norm_backward(p->dev, p->e->shape->family->norm, sum->t, sum->stats, w->gain,
                                  dy, drop, rows, cols, dz, dx, w->dgain, w->dbias, db);
}

static void drop_some(const struct pass *p, act *dx, size_t n, struct dropout drop)
{
    if (drop.rate > 0)
        p->dev->op->dropout(p->dev, dx, n, drop);
}

static void see(const struct pass *p, size_t l, enum encoder_place place, const act *x,
                const act *dx, size_t cols, size_t group)
{
    if (!p->probe)
        return;
    bool first = shape_first_only(p->e->shape, l);
    p->probe->see(p->probe->context, p->dev, l, place, x, dx,
                  first ? &p->batch->first_seqs : &p->batch->seqs, cols, group);
}

/* Gradient of the logits to da: [N, H] of first rows, or [T, H]. */
static void back_head(const struct pass *p)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    const struct shape *shape = e->shape;
    size_t h = shape->hidden, n = p->batch->n;
    bool mean = shape->pool == SHAPE_MEAN, spread = mean || shape->all_rows;
    if (shape->n_labels == 0) {
        bool first = shape->n_layers && shape_first_only(shape, shape->n_layers - 1);
        dev->op->zero(dev, e->da, (first ? n : p->batch->n_tokens) * h * dev->act_bytes);
        return;
    }
    act *dtop = spread ? e->db : e->da, *dpooled = shape->no_pooler ? dtop : e->dpooled;
    back_linear(p, &p->weights->classifier, e->pooled, h, e->dlogits, shape->n_labels, n, dpooled,
                0);
    drop_some(p, dpooled, n * h, encoder_pooled_dropout(p->dropout, shape));
    if (!shape->no_pooler) {
        dev->op->epilogue_backward(dev, shape->family->head_activation, e->pooled_pre, dpooled, n,
                                   h, dpooled, p->weights->pooler.db);
        back_linear(p, &p->weights->pooler, e->top, h, dpooled, h, n, dtop, SUMMED);
        drop_some(p, dtop, n * h, encoder_top_dropout(p->dropout, shape));
    }
    if (mean)
        dev->op->mean_pool_backward(dev, dtop, &p->batch->seqs, h, e->da);
    else if (spread) {
        dev->op->zero(dev, e->da, p->batch->n_tokens * h * dev->act_bytes);
        dev->op->scatter_first_add(dev, dtop, &p->batch->seqs, h, e->da);
    }
}

/* da: the gradient of what layer l was given, and what a further loss says of it. */
static void add_extra(const struct pass *p, size_t l)
{
    const struct encoder *e = p->e;
    bool first = l > 0 && shape_first_only(e->shape, l - 1);
    if (e->extra[l])
        p->dev->op->add(p->dev, e->extra[l],
                        (first ? p->batch->n : p->batch->n_tokens) * e->shape->hidden, e->da);
}

/* ds: gradient of the output of feed-forward network s, then of its input. */
static void back_ffn(const struct pass *p, size_t l, size_t s, size_t rows, act *ds, act *dt)
{
    struct encoder *e = p->e;
    const struct shape *shape = e->shape;
    const struct weights_ffn *w = &p->weights->layer[l].ffn[s];
    const struct encoder_layer *b = &e->layer[l];
    const struct encoder_ffn *f = &b->ffn[s];
    size_t width = shape->width, ffn = shape->layer[l].ffn;
    back_norm(p, &w->norm, &f->out, ds, encoder_inside_dropout(p->dropout, shape, l, DROP_FFN),
              rows, width, ds, dt, w->out.db);
    back_linear(p, &w->out, f->h, ffn, dt, width, rows, e->dh, SUMMED);
    if (s + 1 == shape->stack)
        see(p, l, ENCODER_NEURONS, f->h, e->dh, ffn, 1);
    p->dev->op->epilogue_backward(p->dev, shape->activation, f->pre, e->dh, rows, ffn, e->dh,
                                  w->in.db);
    back_linear(p, &w->in, s ? b->ffn[s - 1].out.y : b->one.y, width, e->dh, ffn, rows, ds,
                BACKWARD_ADD_DX | SUMMED);
}

/* From the output of layer l back to attention's: ds = gradient of the residual inside (da that of
 * a bottleneck's residual), dcontext. */
static void back_feed_forward(const struct pass *p, size_t l, size_t rows)
{
    struct encoder *e = p->e;
    const struct shape *shape = e->shape;
    const struct weights_layer *w = &p->weights->layer[l];
    const struct encoder_layer *b = &e->layer[l];
    bool bottleneck = shape->family->bottleneck;
    size_t h = shape->hidden, width = shape->width, inner = encoder_inner(shape, l);
    act *ds = bottleneck ? e->ds : e->da, *dt = bottleneck ? e->dt : e->db;

    if (bottleneck) {
        back_norm(p, &w->widen_norm, &b->widen, e->da,
                  encoder_layer_dropout(p->dropout, l, DROP_FFN), rows, h, e->da, e->db,
                  w->widen.db);
        back_linear(p, &w->widen, b->ffn[shape->stack - 1].out.y, width, e->db, h, rows, ds,
                    SUMMED);
    }
    for (size_t s = shape->stack; s-- > 0;)
        back_ffn(p, l, s, rows, ds, dt);
    back_norm(p, &w->norm1, &b->one, ds,
              encoder_inside_dropout(p->dropout, shape, l, DROP_ATTENTION), rows, width, ds, dt,
              w->o.db);
    back_linear(p, &w->o, b->context, inner, dt, width, rows, e->dcontext, SUMMED);
    see(p, l, ENCODER_HEADS, b->context, e->dcontext, inner, shape->head_size);
}

static void swap(struct encoder *e)
{
    act *dx = e->dx;
    e->dx = e->da;
    e->da = dx;
}

/* Gradients of a bottleneck's query, key and value, and ds of its residual, to da [T, H]. */
static void back_narrow(const struct pass *p, size_t l, const struct attention *attention,
                        const act *dq, const act *dk, const act *dv)
{
    struct encoder *e = p->e;
    const struct device_ops *op = p->dev->op;
    const struct weights_layer *w = &p->weights->layer[l];
    const struct encoder_layer *b = &e->layer[l];
    size_t h = e->shape->hidden, width = e->shape->width, tokens = p->batch->n_tokens;
    bool first = attention->first_only;
    size_t rows = first ? p->batch->n : tokens;
    const struct dropout none = {0};

    back_norm(p, &w->narrow_norm, &b->narrow, e->ds, none, rows, width, e->ds, NULL, w->narrow.db);
    back_linear(p, &w->narrow, first ? b->first : b->x, h, e->ds, width, rows, e->da,
                BACKWARD_ADD_DX | SUMMED);

    back_linear(p, &w->v, b->x, h, dv, attention->kv_stride, tokens, e->dx, 0);
    back_linear(p, &w->k, b->shared.y, width, dk, attention->kv_stride, tokens, e->ds, 0);
    if (first) {
        back_linear(p, &w->q, b->shared_first, width, dq, attention->q_stride, rows, e->dt, 0);
        op->scatter_first_add(p->dev, e->dt, &p->batch->seqs, width, e->ds);
    } else
        back_linear(p, &w->q, b->shared.y, width, dq, attention->q_stride, rows, e->ds,
                    BACKWARD_ADD_DX);
    back_norm(p, &w->shared_norm, &b->shared, e->ds, none, tokens, width, e->ds, NULL,
              w->shared.db);
    back_linear(p, &w->shared, b->x, h, e->ds, width, tokens, e->dx, BACKWARD_ADD_DX | SUMMED);
    if (first)
        op->scatter_first_add(p->dev, e->da, &p->batch->seqs, h, e->dx);
    else
        op->add(p->dev, e->da, tokens * h, e->dx);
    swap(e);
}

static void back_attention(const struct pass *p, size_t l)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    const struct weights_layer *w = &p->weights->layer[l];
    const struct encoder_layer *b = &e->layer[l];
    size_t h = e->shape->hidden, inner = encoder_inner(e->shape, l), tokens = p->batch->n_tokens;
    const struct attention attention = encoder_attention(e, p->batch, p->dropout, l);
    bool first = attention.first_only;
    const act *q = first ? b->q : b->qkv, *k = first ? b->qkv : act_at(dev, b->qkv, inner);
    /* dq [N, A] of first rows lies behind dkv [T, 2A] in dqkv, whose room is [T, 3A]. */
    act *dq = first ? act_at(dev, e->dqkv, 2 * inner * tokens) : e->dqkv;
    act *dk = first ? e->dqkv : act_at(dev, e->dqkv, inner), *dv = act_at(dev, dk, inner);
    dev->op->attention_backward(dev, &attention, q, k, act_at_const(dev, k, inner), b->context,
                                b->lse, e->dcontext, dq, dk, dv);
    if (e->extra_qkv && e->extra_qkv_layer == l)
        dev->op->add(dev, e->extra_qkv, tokens * 3 * inner, e->dqkv);
    if (e->shape->family->bottleneck) {
        back_narrow(p, l, &attention, dq, dk, dv);
        return;
    }
    if (!first) {
        back_linear(p, &w->qkv, b->x, h, dq, 3 * inner, tokens, e->da, BACKWARD_ADD_DX);
        return;
    }
    back_linear(p, &w->q, b->first, h, dq, inner, p->batch->n, e->da, BACKWARD_ADD_DX);
    back_linear(p, &w->kv, b->x, h, dk, 2 * inner, tokens, e->dx, 0);
    dev->op->scatter_first_add(dev, e->da, &p->batch->seqs, h, e->dx);
    swap(e);
}

/* da to the gradient of the sum before the embeddings' norm; returns where that is. */
static act *back_embed_norm(const struct pass *p)
{
    struct encoder *e = p->e;
    const struct shape *shape = e->shape;
    size_t tokens = p->batch->n_tokens, cols = shape_embed_norm_width(shape);
    act *d = e->da;
    if (shape_projects(shape) && shape->family->embedding != FAMILY_TRIGRAM) {
        back_linear(p, &p->weights->projection, e->embed.y, cols, e->da, shape->hidden, tokens,
                    e->dwords, 0);
        d = e->dwords;
    }
    drop_some(p, d, tokens * cols, encoder_embed_dropout(p->dropout, shape));
    back_norm(p, &p->weights->embed_norm, &e->embed, d, (struct dropout){0}, tokens, cols, d, NULL,
              NULL);
    return d;
}

static void back_embeddings(const struct pass *p, const struct encoder_rows_grad *rows)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    const struct shape *shape = e->shape;
    const struct batch_rows *word = &p->batch->word, *position = &p->batch->position;
    size_t tokens = p->batch->n_tokens, cols = shape_embed_norm_width(shape);
    act *d = back_embed_norm(p), *dword = d;
    if (shape->family->embedding == FAMILY_TRIGRAM) {
        back_linear(p, &p->weights->projection, e->trigrams, 3 * shape->embed, d, cols, tokens,
                    rows ? e->dwords : NULL, 0);
        dword = e->words; /* not needed any more */
        if (rows)
            dev->op->trigram_backward(dev, e->dwords, &p->batch->seqs, shape->embed, dword);
    }
    if (!rows)
        return;
    dev->op->rows_sum(dev, dword, word->device_order, word->device_bound, word->n, shape->embed,
                      rows->word);
    dev->op->rows_sum(dev, d, position->device_order, position->device_bound, position->n, cols,
                      rows->position);
    if (rows->type)
        dev->op->column_sum(dev, d, tokens, cols, rows->type);
}

void encoder_backward(struct encoder *encoder, const struct weights *weights,
                      const struct batch *batch, const struct encoder_dropout *dropout,
                      const struct encoder_rows_grad *rows, const struct encoder_probe *probe)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, dropout, probe};
    size_t n_layers = encoder->shape->n_layers;
    back_head(&pass);
    add_extra(&pass, n_layers);
    for (size_t l = n_layers; l-- > 0;) {
        back_feed_forward(&pass, l,
                          shape_first_only(encoder->shape, l) ? batch->n : batch->n_tokens);
        back_attention(&pass, l);
        add_extra(&pass, l);
    }
    back_embeddings(&pass, rows);
    for (size_t l = 0; l <= n_layers; l++)
        encoder->extra[l] = NULL;
    encoder->extra_qkv = NULL;
}
