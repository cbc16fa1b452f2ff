/* encoder_forward.c: the forward pass. */
#include "nn/encoder.h"

#include "nn/encoder_buffers.h"

/* One forward pass. */
struct pass {
    struct encoder *e;
    struct device *dev;
    const struct weights *weights;
    const struct batch *batch;
    const struct encoder_dropout *dropout;
};

void encoder_watch(struct encoder *encoder, struct encoder_watch watch)
{
    encoder->watch = watch;
}

static void show(const struct pass *p, const struct weights_matrix *w, const act *x, size_t n)
{
    const struct encoder_watch *watch = &p->e->watch;
    if (watch->see)
        watch->see(watch->context, p->dev, w->linear, x, n);
}

static void activated(const struct pass *p, const struct weights_matrix *w, const act *x, size_t in,
                      size_t rows, enum epilogue epilogue, act *pre, act *y, size_t out)
{
    show(p, w, x, rows * in);
    p->dev->op->linear(p->dev, w->linear, x, in, rows, epilogue, pre, y, out);
}

static void product(const struct pass *p, const struct weights_matrix *w, const act *x, size_t in,
                    size_t rows, act *y, size_t out)
{
    activated(p, w, x, in, rows, EPILOGUE_NONE, NULL, y, out);
}

/* norm(residual + dropout(sum->t)) to sum->y. */
static void norm(const struct pass *p, const struct weights_norm *w, const struct encoder_sum *sum,
                 const act *residual, struct dropout drop, size_t rows, size_t cols)
{
    const struct shape *shape = p->e->shape;
    p->dev->op->add_norm(p->dev, shape->family->norm, sum->t, residual, drop, w->gain, w->bias,
                         shape->eps, rows, cols, p->e->tape ? sum->t : NULL, sum->stats, sum->y);
}

/* The same of the product of x [rows, in] with a matrix. */
static void normed_product(const struct pass *p, const struct weights_matrix *matrix, const act *x,
                           size_t in, const struct weights_norm *w, const struct encoder_sum *sum,
                           const act *residual, struct dropout drop, size_t rows, size_t cols)
{
    const struct shape *shape = p->e->shape;
    show(p, matrix, x, rows * in);
    p->dev->op->linear_norm(p->dev, matrix->linear, x, in, rows, sum->t, shape->family->norm,
                            residual, drop, w->gain, w->bias, shape->eps, cols,
                            p->e->tape ? sum->t : NULL, sum->stats, sum->y);
}

static void drop_some(const struct pass *p, act *x, size_t n, struct dropout drop)
{
    if (drop.rate > 0)
        p->dev->op->dropout(p->dev, x, n, drop);
}

static void embed(const struct pass *p)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    const struct weights *w = p->weights;
    const struct batch *batch = p->batch;
    const struct shape *shape = e->shape;
    bool trigrams = shape->family->embedding == FAMILY_TRIGRAM;
    size_t tokens = batch->n_tokens, cols = shape_embed_norm_width(shape), words = shape->embed;
    const struct table_weights *word = w->word;
    if (trigrams) {
        dev->op->embed(dev, word, NULL, NULL, batch->device_id, NULL, tokens, words, e->words);
        dev->op->trigram(dev, e->words, &batch->seqs, words, e->trigrams);
        product(p, &w->projection, e->trigrams, 3 * words, tokens, e->embed.t, cols);
        word = NULL;
    }
    dev->op->embed(dev, word, w->position, w->type, batch->device_id, batch->device_place, tokens,
                   cols, e->embed.t);
    norm(p, &w->embed_norm, &e->embed, NULL, (struct dropout){0}, tokens, cols);
    drop_some(p, e->embed.y, tokens * cols, encoder_embed_dropout(p->dropout, shape));
    if (shape_projects(shape) && !trigrams)
        product(p, &w->projection, e->embed.y, cols, tokens, e->layer[0].x, shape->hidden);
}

/* Into the bottleneck: what query and key come from, and the residual inside. */
static void narrow(const struct pass *p, size_t l)
{
    struct encoder_layer *b = &p->e->layer[l];
    const struct weights_layer *w = &p->weights->layer[l];
    const struct batch *batch = p->batch;
    size_t h = p->e->shape->hidden, width = p->e->shape->width, tokens = batch->n_tokens;
    bool first = shape_first_only(p->e->shape, l);
    size_t rows = first ? batch->n : tokens;
    normed_product(p, &w->shared, b->x, h, &w->shared_norm, &b->shared, NULL, (struct dropout){0},
                   tokens, width);
    if (first)
        p->dev->op->gather_first(p->dev, b->shared.y, &batch->seqs, width, b->shared_first);
    normed_product(p, &w->narrow, first ? b->first : b->x, h, &w->narrow_norm, &b->narrow, NULL,
                   (struct dropout){0}, rows, width);
}

/* Context of layer l from its input: all rows, or first rows against all keys and values. */
static void attend(const struct pass *p, size_t l)
{
    struct device *dev = p->dev;
    const struct shape *shape = p->e->shape;
    const struct weights_layer *w = &p->weights->layer[l];
    struct encoder_layer *b = &p->e->layer[l];
    size_t h = shape->hidden, width = shape->width, inner = encoder_inner(shape, l);
    size_t tokens = p->batch->n_tokens;
    const struct attention attention = encoder_attention(p->e, p->batch, p->dropout, l);
    bool first = attention.first_only;
    act *q = first ? b->q : b->qkv, *k = first ? b->qkv : act_at(dev, b->qkv, inner);
    act *v = act_at(dev, k, inner);
    if (shape->family->bottleneck) {
        product(p, &w->q, first ? b->shared_first : b->shared.y, width,
                first ? p->batch->n : tokens, q, attention.q_stride);
        product(p, &w->k, b->shared.y, width, tokens, k, attention.kv_stride);
        product(p, &w->v, b->x, h, tokens, v, attention.kv_stride);
    } else if (first) {
        product(p, &w->q, b->first, h, p->batch->n, q, inner);
        product(p, &w->kv, b->x, h, tokens, k, 2 * inner);
    } else {
        product(p, &w->qkv, b->x, h, tokens, q, 3 * inner);
    }
    dev->op->attention(dev, &attention, q, k, v, b->context, b->lse);
}

static size_t rows_of(const struct pass *p, size_t l)
{
    return shape_first_only(p->e->shape, l) ? p->batch->n : p->batch->n_tokens;
}

/* What layer l adds its attention to, of its rows; `outer`: outside a bottleneck. */
static const act *residual(const struct pass *p, size_t l, bool outer)
{
    const struct encoder_layer *b = &p->e->layer[l];
    if (!outer && p->e->shape->family->bottleneck)
        return b->narrow.y;
    return shape_first_only(p->e->shape, l) ? b->first : b->x;
}

static void step_attend(const struct pass *p, size_t l)
{
    struct encoder_layer *b = &p->e->layer[l];
    if (shape_first_only(p->e->shape, l))
        p->dev->op->gather_first(p->dev, b->x, &p->batch->seqs, p->e->shape->hidden, b->first);
    if (p->e->shape->family->bottleneck)
        narrow(p, l);
    attend(p, l);
}

static void step_join(const struct pass *p, size_t l)
{
    const struct shape *shape = p->e->shape;
    const struct weights_layer *w = &p->weights->layer[l];
    struct encoder_layer *b = &p->e->layer[l];
    size_t rows = rows_of(p, l), width = shape->width;
    normed_product(p, &w->o, b->context, encoder_inner(shape, l), &w->norm1, &b->one,
                   residual(p, l, false),
                   encoder_inside_dropout(p->dropout, shape, l, DROP_ATTENTION), rows, width);
}

/* Feed-forward network s of the stack: its neurons, then its sum. */
static const act *ffn_input(const struct pass *p, size_t l, size_t s)
{
    const struct encoder_layer *b = &p->e->layer[l];
    return s ? b->ffn[s - 1].out.y : b->one.y;
}

static void expand(const struct pass *p, size_t l, size_t s)
{
    const struct shape *shape = p->e->shape;
    struct encoder_ffn *f = &p->e->layer[l].ffn[s];
    activated(p, &p->weights->layer[l].ffn[s].in, ffn_input(p, l, s), shape->width, rows_of(p, l),
              shape->activation, f->pre, f->h, shape->layer[l].ffn);
}

static void reduce(const struct pass *p, size_t l, size_t s)
{
    const struct shape *shape = p->e->shape;
    const struct weights_ffn *w = &p->weights->layer[l].ffn[s];
    struct encoder_ffn *f = &p->e->layer[l].ffn[s];
    size_t rows = rows_of(p, l), width = shape->width;
    normed_product(p, &w->out, f->h, shape->layer[l].ffn, &w->norm, &f->out, ffn_input(p, l, s),
                   encoder_inside_dropout(p->dropout, shape, l, DROP_FFN), rows, width);
}

static void run_layer(const struct pass *p, size_t l)
{
    const struct shape *shape = p->e->shape;
    struct encoder_layer *b = &p->e->layer[l];
    size_t h = shape->hidden, rows = rows_of(p, l);
    step_attend(p, l);
    step_join(p, l);
    for (size_t s = 0; s < shape->stack; s++) {
        expand(p, l, s);
        reduce(p, l, s);
    }
    if (shape->family->bottleneck) {
        normed_product(p, &p->weights->layer[l].widen, b->ffn[shape->stack - 1].out.y, shape->width,
                       &p->weights->layer[l].widen_norm, &b->widen, residual(p, l, true),
                       encoder_layer_dropout(p->dropout, l, DROP_FFN), rows, h);
    }
}

void encoder_embed(struct encoder *encoder, const struct weights *weights,
                   const struct batch *batch)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, NULL};
    embed(&pass);
}

void encoder_step(struct encoder *encoder, const struct weights *weights, const struct batch *batch,
                  size_t layer, enum encoder_step step)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, NULL};
    switch (step) {
    case ENCODER_ATTEND:
        step_attend(&pass, layer);
        break;
    case ENCODER_JOIN:
        step_join(&pass, layer);
        break;
    case ENCODER_EXPAND:
        expand(&pass, layer, 0);
        break;
    case ENCODER_REDUCE:
        reduce(&pass, layer, 0);
        break;
    }
}

struct encoder_places encoder_places(struct encoder *encoder, size_t layer)
{
    struct encoder_layer *b = &encoder->layer[layer];
    return (struct encoder_places){.x = b->x,
                                   .context = b->context,
                                   .joined_sum = b->one.t,
                                   .joined = b->one.y,
                                   .neurons = b->ffn[0].h,
                                   .sum = b->ffn[0].out.t,
                                   .y = b->ffn[0].out.y};
}

static const act *classify(const struct pass *p)
{
    struct encoder *e = p->e;
    struct device *dev = p->dev;
    const struct shape *shape = e->shape;
    size_t h = shape->hidden, n = p->batch->n;
    if (shape->n_labels == 0)
        return NULL;
    if (shape->pool == SHAPE_MEAN)
        dev->op->mean_pool(dev, e->layer[shape->n_layers].x, &p->batch->seqs, h, e->top);
    else if (shape->all_rows)
        dev->op->gather_first(dev, e->layer[shape->n_layers].x, &p->batch->seqs, h, e->top);
    if (!shape->no_pooler) {
        drop_some(p, e->top, n * h, encoder_top_dropout(p->dropout, shape));
        activated(p, &p->weights->pooler, e->top, h, n, shape->family->head_activation,
                  e->pooled_pre, e->pooled, h);
    }
    drop_some(p, e->pooled, n * h, encoder_pooled_dropout(p->dropout, shape));
    product(p, &p->weights->classifier, e->pooled, h, n, e->logits, shape->n_labels);
    return e->logits;
}

act *encoder_state(struct encoder *encoder)
{
    return encoder->layer[0].x;
}

void encoder_run_layer(struct encoder *encoder, const struct weights *weights,
                       const struct batch *batch, size_t layer)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, NULL};
    run_layer(&pass, layer);
}

const act *encoder_classify(struct encoder *encoder, const struct weights *weights,
                            const struct batch *batch)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, NULL};
    return classify(&pass);
}

const act *encoder_forward(struct encoder *encoder, const struct weights *weights,
                           const struct batch *batch, const struct encoder_dropout *dropout)
{
    const struct pass pass = {encoder, encoder->dev, weights, batch, dropout};
    embed(&pass);
    for (size_t l = 0; l < encoder->shape->n_layers; l++)
        run_layer(&pass, l);
    return classify(&pass);
}
