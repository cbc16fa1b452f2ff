/* encoder.c: the workspace and the forward pass. */
#include "nn/encoder.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/rng.h"
#include "nn/encoder_buffers.h"

/* ---- workspace ---- */

/* Hands out aligned pieces of one block; with base NULL it only adds up. */
struct carver {
    char *base;
    size_t used;
    bool overflow;
};

static void *carve(struct carver *carver, size_t rows, size_t cols, size_t element)
{
    size_t n, bytes;
    if (!memory_multiply(rows, cols, &n) || !memory_multiply(n, element, &bytes) ||
        bytes > SIZE_MAX / 2 - carver->used) {
        carver->overflow = true;
        return NULL;
    }
    void *at = carver->base ? carver->base + carver->used : NULL;
    carver->used += (bytes + 63) / 64 * 64;
    return at;
}

static size_t max_inner(const struct shape *shape)
{
    size_t most = 0;
    for (size_t l = 0; l < shape->n_layers; l++)
        most = encoder_inner(shape, l) > most ? encoder_inner(shape, l) : most;
    return most;
}

static size_t max_ffn(const struct shape *shape)
{
    size_t most = 0;
    for (size_t l = 0; l < shape->n_layers; l++)
        most = shape->layer[l].ffn > most ? shape->layer[l].ffn : most;
    return most;
}

/* All layers in one set of places; a layer's output replaces its input. */
static void carve_shared(struct encoder *e, struct carver *c, size_t tokens)
{
    size_t h = e->shape->hidden, a = max_inner(e->shape), bytes = e->dev->act_bytes;
    struct encoder_layer shared = {0};
    shared.x = carve(c, tokens, h, bytes);
    shared.qkv = carve(c, tokens, 3 * a, bytes);
    shared.context = carve(c, tokens, a, bytes);
    shared.t1 = shared.t2 = carve(c, tokens, h, bytes);
    shared.y1 = carve(c, tokens, h, bytes);
    shared.h = carve(c, tokens, max_ffn(e->shape), bytes);
    shared.y2 = shared.x;
    for (size_t l = 0; l < e->shape->n_layers; l++)
        e->layer[l] = shared;
}

static void carve_tape(struct encoder *e, struct carver *c, size_t tokens, size_t records)
{
    const struct shape *shape = e->shape;
    size_t h = shape->hidden, bytes = e->dev->act_bytes;
    e->embed_sum = carve(c, tokens, h, bytes);
    e->embed_stats = carve(c, tokens, 2, sizeof(float));
    for (size_t l = 0; l < shape->n_layers; l++) {
        struct encoder_layer *layer = &e->layer[l];
        bool last = l + 1 == shape->n_layers;
        size_t rows = last ? records : tokens, a = encoder_inner(shape, l);
        *layer = (struct encoder_layer){0};
        layer->x = carve(c, tokens, h, bytes);
        layer->qkv = carve(c, tokens, (last ? 2 : 3) * a, bytes);
        layer->context = carve(c, rows, a, bytes);
        layer->lse = carve(c, rows, shape->layer[l].heads, sizeof(float));
        layer->t1 = carve(c, rows, h, bytes);
        layer->stats1 = carve(c, rows, 2, sizeof(float));
        layer->y1 = carve(c, rows, h, bytes);
        layer->pre = carve(c, rows, shape->layer[l].ffn, bytes);
        layer->h = carve(c, rows, shape->layer[l].ffn, bytes);
        layer->t2 = carve(c, rows, h, bytes);
        layer->stats2 = carve(c, rows, 2, sizeof(float));
    }
    for (size_t l = 0; l + 1 < shape->n_layers; l++)
        e->layer[l].y2 = e->layer[l + 1].x;
    e->pooled_pre = carve(c, records, h, bytes);
    e->dlogits = carve(c, records, shape->n_labels, bytes);
    e->dpooled = carve(c, records, h, bytes);
    e->da = carve(c, tokens, h, bytes);
    e->db = carve(c, tokens, h, bytes);
    e->dx = carve(c, tokens, h, bytes);
    e->dh = carve(c, tokens, max_ffn(shape), bytes);
    e->dcontext = carve(c, tokens, max_inner(shape), bytes);
    e->dqkv = carve(c, tokens, 3 * max_inner(shape), bytes);
}

static void carve_all(struct encoder *e, struct carver *c, size_t tokens, size_t records)
{
    const struct shape *shape = e->shape;
    size_t bytes = e->dev->act_bytes;
    struct encoder_layer *last = &e->layer[shape->n_layers - 1];
    if (e->tape)
        carve_tape(e, c, tokens, records);
    else
        carve_shared(e, c, tokens);
    e->first = carve(c, records, shape->hidden, bytes);
    e->top = carve(c, records, shape->hidden, bytes);
    e->pooled = carve(c, records, shape->hidden, bytes);
    e->logits = carve(c, records, shape->n_labels, bytes);
    last->q = carve(c, records, encoder_inner(shape, shape->n_layers - 1), bytes);
    last->y2 = e->top;
}

struct encoder *encoder_open(struct device *dev, const struct shape *shape, bool tape,
                             struct error *err)
{
    struct encoder *encoder = memory_zeroed(1, sizeof *encoder, err);
    if (!encoder)
        return NULL;
    *encoder = (struct encoder){.dev = dev, .shape = shape, .tape = tape};
    encoder->layer = memory_zeroed(shape->n_layers, sizeof *encoder->layer, err);
    if (encoder->layer)
        return encoder;
    encoder_close(encoder);
    return NULL;
}

void encoder_close(struct encoder *encoder)
{
    if (!encoder)
        return;
    if (encoder->arena)
        encoder->dev->op->free(encoder->dev, encoder->arena);
    free(encoder->layer);
    free(encoder);
}

bool encoder_reserve(struct encoder *encoder, size_t n_tokens, size_t n_records, struct error *err)
{
    if (n_tokens <= encoder->room_tokens && n_records <= encoder->room_records)
        return true;
    size_t tokens = n_tokens > encoder->room_tokens ? n_tokens : encoder->room_tokens;
    size_t records = n_records > encoder->room_records ? n_records : encoder->room_records;
    struct carver carver = {0};
    carve_all(encoder, &carver, tokens, records);
    if (carver.overflow)
        return error_set(err, "a batch of %zu tokens is too large for this machine", tokens);
    if (encoder->arena)
        encoder->dev->op->free(encoder->dev, encoder->arena);
    encoder->room_tokens = encoder->room_records = 0;
    encoder->arena = encoder->dev->op->alloc(encoder->dev, carver.used, err);
    if (!encoder->arena)
        return error_at(err, "room for a batch of %zu tokens: ", tokens);
    carver = (struct carver){.base = encoder->arena};
    carve_all(encoder, &carver, tokens, records);
    encoder->room_tokens = tokens;
    encoder->room_records = records;
    return true;
}

act *encoder_dlogits(struct encoder *encoder)
{
    return encoder->dlogits;
}

/* ---- what forward and backward share ---- */

struct dropout encoder_layer_dropout(const struct encoder_dropout *dropout, size_t layer,
                                     enum encoder_dropout_place place)
{
    if (!dropout)
        return (struct dropout){0};
    float rate = place == DROP_PROBABILITIES ? dropout->attention : dropout->hidden;
    return (struct dropout){.rate = rate,
                            .seed = rng_hash(dropout->seed, layer * DROP_PLACES + place)};
}

struct dropout encoder_embed_dropout(const struct encoder_dropout *dropout,
                                     const struct shape *shape)
{
    if (!dropout)
        return (struct dropout){0};
    return (struct dropout){.rate = dropout->hidden,
                            .seed = rng_hash(dropout->seed, shape->n_layers * DROP_PLACES)};
}

struct dropout encoder_pooled_dropout(const struct encoder_dropout *dropout,
                                      const struct shape *shape)
{
    if (!dropout)
        return (struct dropout){0};
    return (struct dropout){.rate = dropout->classifier,
                            .seed = rng_hash(dropout->seed, shape->n_layers * DROP_PLACES + 1)};
}

struct attention encoder_attention(const struct encoder *encoder, const struct batch *batch,
                                   const struct encoder_dropout *dropout, size_t l)
{
    const struct shape *shape = encoder->shape;
    bool last = l + 1 == shape->n_layers;
    size_t inner = encoder_inner(shape, l);
    return (struct attention){
        .seqs = batch->seqs,
        .heads = shape->layer[l].heads,
        .head_size = shape->head_size,
        .scale = 1 / sqrtf((float)shape->head_size),
        .first_only = last,
        .q_stride = last ? inner : 3 * inner,
        .kv_stride = last ? 2 * inner : 3 * inner,
        .out_stride = inner,
        .dropout = encoder_layer_dropout(dropout, l, DROP_PROBABILITIES),
    };
}

/* ---- forward ---- */

static void embed(struct encoder *e, const struct weights *weights, const struct batch *batch,
                  const struct encoder_dropout *dropout)
{
    struct device *dev = e->dev;
    const struct shape *shape = e->shape;
    size_t tokens = batch->n_tokens, h = shape->hidden;
    act *x = e->layer[0].x, *sum = e->tape ? e->embed_sum : x;
    dev->op->embed(dev, weights->word, weights->position, weights->type, batch->device_id,
                   batch->device_place, tokens, h, sum);
    dev->op->add_norm(dev, NORM_LAYER, sum, NULL, (struct dropout){0}, weights->embed_norm.gain,
                      weights->embed_norm.bias, shape->eps, tokens, h, e->tape ? sum : NULL,
                      e->embed_stats, x);
    struct dropout drop = encoder_embed_dropout(dropout, shape);
    if (drop.rate > 0)
        dev->op->dropout(dev, x, tokens * h, drop);
}

/* Context of layer l from its input: all rows, or first rows against all keys and values in the
 * last layer. */
static void attend(struct encoder *e, const struct weights *weights, const struct batch *batch,
                   const struct encoder_dropout *dropout, size_t l)
{
    struct device *dev = e->dev;
    const struct weights_layer *w = &weights->layer[l];
    struct encoder_layer *b = &e->layer[l];
    size_t h = e->shape->hidden, inner = encoder_inner(e->shape, l), tokens = batch->n_tokens;
    const struct attention attention = encoder_attention(e, batch, dropout, l);
    const act *q = b->qkv, *k, *v;
    if (attention.first_only) {
        dev->op->gather_first(dev, b->x, &batch->seqs, h, e->first);
        dev->op->linear(dev, w->q.linear, e->first, h, batch->n, EPILOGUE_NONE, NULL, b->q, inner);
        dev->op->linear(dev, w->kv.linear, b->x, h, tokens, EPILOGUE_NONE, NULL, b->qkv, 2 * inner);
        q = b->q;
        k = b->qkv;
    } else {
        dev->op->linear(dev, w->qkv.linear, b->x, h, tokens, EPILOGUE_NONE, NULL, b->qkv,
                        3 * inner);
        k = act_at(dev, b->qkv, inner);
    }
    v = act_at_const(dev, k, inner);
    dev->op->attention(dev, &attention, q, k, v, b->context, b->lse);
}

static void run_layer(struct encoder *e, const struct weights *weights, const struct batch *batch,
                      const struct encoder_dropout *dropout, size_t l)
{
    struct device *dev = e->dev;
    const struct shape *shape = e->shape;
    const struct weights_layer *w = &weights->layer[l];
    struct encoder_layer *b = &e->layer[l];
    bool last = l + 1 == shape->n_layers;
    size_t h = shape->hidden, inner = encoder_inner(shape, l), ffn = shape->layer[l].ffn;
    size_t rows = last ? batch->n : batch->n_tokens;

    attend(e, weights, batch, dropout, l);
    dev->op->linear(dev, w->o.linear, b->context, inner, rows, EPILOGUE_NONE, NULL, b->t1, h);
    dev->op->add_norm(dev, NORM_LAYER, b->t1, last ? e->first : b->x,
                      encoder_layer_dropout(dropout, l, DROP_ATTENTION), w->norm1.gain,
                      w->norm1.bias, shape->eps, rows, h, e->tape ? b->t1 : NULL, b->stats1, b->y1);
    dev->op->linear(dev, w->f1.linear, b->y1, h, rows, shape->activation, b->pre, b->h, ffn);
    dev->op->linear(dev, w->f2.linear, b->h, ffn, rows, EPILOGUE_NONE, NULL, b->t2, h);
    dev->op->add_norm(dev, NORM_LAYER, b->t2, b->y1, encoder_layer_dropout(dropout, l, DROP_FFN),
                      w->norm2.gain, w->norm2.bias, shape->eps, rows, h, e->tape ? b->t2 : NULL,
                      b->stats2, b->y2);
}

const act *encoder_forward(struct encoder *encoder, const struct weights *weights,
                           const struct batch *batch, const struct encoder_dropout *dropout)
{
    struct device *dev = encoder->dev;
    const struct shape *shape = encoder->shape;
    size_t h = shape->hidden;
    embed(encoder, weights, batch, dropout);
    for (size_t l = 0; l < shape->n_layers; l++)
        run_layer(encoder, weights, batch, dropout, l);
    dev->op->linear(dev, weights->pooler.linear, encoder->top, h, batch->n, EPILOGUE_TANH,
                    encoder->pooled_pre, encoder->pooled, h);
    struct dropout drop = encoder_pooled_dropout(dropout, shape);
    if (drop.rate > 0)
        dev->op->dropout(dev, encoder->pooled, batch->n * h, drop);
    dev->op->linear(dev, weights->classifier.linear, encoder->pooled, h, batch->n, EPILOGUE_NONE,
                    NULL, encoder->logits, shape->n_labels);
    return encoder->logits;
}
