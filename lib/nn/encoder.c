/* encoder.c: the workspace, and what forward and backward share. The passes are in
 * encoder_forward.c and encoder_backward.c. */
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

/* Carves the workspace of one encoder. */
struct layout {
    struct encoder *e;
    struct carver *carver;
    size_t tokens, records;
};

static act *acts(const struct layout *to, size_t rows, size_t cols)
{
    return carve(to->carver, rows, cols, to->e->dev->act_bytes);
}

static float *floats(const struct layout *to, size_t rows, size_t cols)
{
    return carve(to->carver, rows, cols, sizeof(float));
}

/* y NULL: a place of its own, which without a tape is that of the product. */
static struct encoder_sum sums(const struct layout *to, size_t rows, size_t cols, act *y)
{
    struct encoder_sum sum = {.t = acts(to, rows, cols)};
    if (to->e->tape)
        sum.stats = floats(to, rows, 2);
    sum.y = y ? y : to->e->tape ? acts(to, rows, cols) : sum.t;
    return sum;
}

/* What attention works with, and neurons in its place, which come when it has been joined: 4 A and F
 * columns are about as many, and a near cache holds one of them where it does not hold both. */
static act *carve_attention_or_neurons(const struct layout *to, struct encoder_layer *layer)
{
    const struct shape *shape = to->e->shape;
    size_t begin = to->carver->used, a = max_inner(shape);
    layer->qkv = acts(to, to->tokens, 3 * a);
    layer->context = acts(to, to->tokens, a);
    size_t end = to->carver->used;
    to->carver->used = begin;
    act *neurons = acts(to, to->tokens, max_ffn(shape));
    if (to->carver->used < end)
        to->carver->used = end;
    return neurons;
}

/* All layers in one set of places; a layer's output replaces its input. */
static void carve_shared(const struct layout *to)
{
    struct encoder *e = to->e;
    const struct shape *shape = e->shape;
    size_t t = to->tokens, h = shape->hidden, w = shape->width;
    struct encoder_layer shared = {0};
    shared.x = shared.y = acts(to, t, h);
    act *inside = carve_attention_or_neurons(to, &shared);
    shared.one.t = acts(to, t, w);
    /* Its input is not needed any more: two places of [T, H] stay in a cache where three do not. */
    shared.one.y = shape->family->bottleneck ? acts(to, t, w) : shared.x;
    if (shape->family->bottleneck) {
        shared.shared = sums(to, t, w, NULL);
        shared.narrow = sums(to, t, w, NULL);
        shared.widen = sums(to, t, h, shared.y);
    }
    for (size_t s = 0; s < shape->stack; s++)
        shared.ffn[s] = (struct encoder_ffn){.h = inside, .out = shared.one};
    if (!shape->family->bottleneck)
        shared.ffn[0].out.y = shared.y;
    for (size_t l = 0; l < shape->n_layers; l++)
        e->layer[l] = shared;
    e->layer[shape->n_layers].x = shared.x;
}

static void carve_taped_layer(const struct layout *to, size_t l)
{
    const struct shape *shape = to->e->shape;
    struct encoder_layer *layer = &to->e->layer[l];
    bool first = shape_first_only(shape, l), bottleneck = shape->family->bottleneck;
    size_t t = to->tokens, rows = first ? to->records : t, f = shape->layer[l].ffn;
    size_t h = shape->hidden, w = shape->width, a = encoder_inner(shape, l);
    act *x = layer->x; /* made as the output of the layer before */
    *layer = (struct encoder_layer){.x = x};
    layer->y = acts(to, rows, h);
    layer->qkv = acts(to, t, (first ? 2 : 3) * a);
    layer->context = acts(to, rows, a);
    layer->lse = floats(to, rows, shape->layer[l].heads);
    layer->one = sums(to, rows, w, NULL);
    for (size_t s = 0; s < shape->stack; s++) {
        bool last = s + 1 == shape->stack;
        layer->ffn[s].pre = acts(to, rows, f);
        layer->ffn[s].h = acts(to, rows, f);
        layer->ffn[s].out = sums(to, rows, w, last && !bottleneck ? layer->y : NULL);
    }
    if (bottleneck) {
        layer->shared = sums(to, t, w, NULL);
        layer->narrow = sums(to, rows, w, NULL);
        layer->widen = sums(to, rows, h, layer->y);
    }
    to->e->layer[l + 1].x = layer->y;
}

static void carve_tape(const struct layout *to)
{
    struct encoder *e = to->e;
    const struct shape *shape = e->shape;
    size_t t = to->tokens, n = to->records, h = shape->hidden, e_cols = shape->embed;
    e->layer[0].x = acts(to, t, h);
    for (size_t l = 0; l < shape->n_layers; l++)
        carve_taped_layer(to, l);
    e->pooled_pre = acts(to, n, h);
    e->dlogits = acts(to, n, shape->n_labels);
    e->dpooled = acts(to, n, h);
    e->da = acts(to, t, h);
    e->db = acts(to, t, h);
    e->dx = acts(to, t, h);
    if (shape->family->bottleneck) {
        e->ds = acts(to, t, shape->width);
        e->dt = acts(to, t, shape->width);
    }
    e->dh = acts(to, t, max_ffn(shape));
    e->dcontext = acts(to, t, max_inner(shape));
    e->dqkv = acts(to, t, 3 * max_inner(shape));
    if (shape_projects(shape))
        e->dwords = acts(to, t, shape->family->embedding == FAMILY_TRIGRAM ? 3 * e_cols : e_cols);
}

static void carve_embeddings(const struct layout *to)
{
    struct encoder *e = to->e;
    const struct shape *shape = e->shape;
    size_t t = to->tokens, cols = shape_embed_norm_width(shape);
    bool trigrams = shape->family->embedding == FAMILY_TRIGRAM;
    act *x = e->layer[0].x;
    if (shape_projects(shape) && !trigrams)
        e->embed = sums(to, t, cols, NULL);
    else
        e->embed = e->tape ? sums(to, t, cols, x) : (struct encoder_sum){.t = x, .y = x};
    if (trigrams) {
        e->words = acts(to, t, shape->embed);
        e->trigrams = acts(to, t, 3 * shape->embed);
    }
}

/* What a last layer of first rows has beside the others. */
static void carve_first(const struct layout *to, struct encoder_layer *last)
{
    struct encoder *e = to->e;
    const struct shape *shape = e->shape;
    size_t n = to->records;
    last->first = acts(to, n, shape->hidden);
    last->q = acts(to, n, encoder_inner(shape, shape->n_layers - 1));
    if (shape->family->bottleneck)
        last->shared_first = acts(to, n, shape->width);
    if (e->tape)
        return;
    last->y = e->layer[shape->n_layers].x = e->top;
    *(shape->family->bottleneck ? &last->widen.y : &last->ffn[0].out.y) = e->top;
}

/* The last layer's rows and the head. */
static void carve_head(const struct layout *to)
{
    struct encoder *e = to->e;
    const struct shape *shape = e->shape;
    size_t n = to->records, h = shape->hidden;
    bool first = shape->n_layers && shape_first_only(shape, shape->n_layers - 1);
    e->top = first && e->tape ? e->layer[shape->n_layers].x : acts(to, n, h);
    if (first)
        carve_first(to, &e->layer[shape->n_layers - 1]);
    e->pooled = shape->no_pooler ? e->top : acts(to, n, h);
    e->logits = acts(to, n, shape->n_labels);
}

static void carve_all(struct encoder *e, struct carver *c, size_t tokens, size_t records)
{
    const struct layout to = {e, c, tokens, records};
    if (e->tape)
        carve_tape(&to);
    else
        carve_shared(&to);
    carve_embeddings(&to);
    carve_head(&to);
}

struct encoder *encoder_open(struct device *dev, const struct shape *shape, bool tape,
                             struct error *err)
{
    struct encoder *encoder = memory_zeroed(1, sizeof *encoder, err);
    if (!encoder)
        return NULL;
    *encoder = (struct encoder){.dev = dev, .shape = shape, .tape = tape};
    encoder->layer = memory_zeroed(shape->n_layers + 1, sizeof *encoder->layer, err);
    encoder->extra = memory_zeroed(shape->n_layers + 1, sizeof *encoder->extra, err);
    if (encoder->layer && encoder->extra)
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
    free(encoder->extra);
    free(encoder->layer);
    free(encoder);
}

static bool too_large(size_t tokens, struct error *err)
{
    return error_set(err, "a batch of %zu tokens is too large for this machine", tokens);
}

bool encoder_bytes(struct device *dev, const struct shape *shape, bool tape, size_t n_tokens,
                   size_t n_records, size_t *bytes, struct error *err)
{
    struct encoder *encoder = encoder_open(dev, shape, tape, err);
    struct carver carver = {0};
    if (!encoder)
        return false;
    carve_all(encoder, &carver, n_tokens, n_records);
    encoder_close(encoder);
    *bytes = carver.used;
    return !carver.overflow || too_large(n_tokens, err);
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
        return too_large(tokens, err);
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

bool encoder_prepare(struct encoder *encoder, const struct weights *weights, struct batch *batch,
                     struct error *err)
{
    return weights_verify_rows(weights, batch->id, batch->n_tokens, err) &&
           batch_upload(batch, err) && encoder_reserve(encoder, batch->n_tokens, batch->n, err);
}

const act *encoder_units(const struct encoder *encoder, size_t layer, enum encoder_place place)
{
    const struct encoder_layer *b = &encoder->layer[layer];
    return place == ENCODER_HEADS ? b->context : b->ffn[encoder->shape->stack - 1].h;
}

const act *encoder_pooled(const struct encoder *encoder)
{
    return encoder->pooled;
}

act *encoder_dlogits(struct encoder *encoder)
{
    return encoder->dlogits;
}

const act *encoder_hidden(const struct encoder *encoder, size_t layer)
{
    return encoder->layer[layer].x;
}

const act *encoder_qkv(const struct encoder *encoder, size_t layer)
{
    return encoder->layer[layer].qkv;
}

void encoder_add_hidden_gradient(struct encoder *encoder, size_t layer, const act *gradient)
{
    encoder->extra[layer] = gradient;
}

void encoder_add_qkv_gradient(struct encoder *encoder, size_t layer, const act *gradient)
{
    encoder->extra_qkv = gradient;
    encoder->extra_qkv_layer = layer;
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

struct dropout encoder_inside_dropout(const struct encoder_dropout *dropout,
                                      const struct shape *shape, size_t layer,
                                      enum encoder_dropout_place place)
{
    const struct family *family = shape->family;
    bool none = family->bottleneck || (place == DROP_FFN && family->ffn_undropped);
    return encoder_layer_dropout(none ? NULL : dropout, layer, place);
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

struct dropout encoder_top_dropout(const struct encoder_dropout *dropout, const struct shape *shape)
{
    if (!dropout || !shape->family->head_dropout)
        return (struct dropout){0};
    return (struct dropout){.rate = dropout->classifier,
                            .seed = rng_hash(dropout->seed, shape->n_layers * DROP_PLACES + 2)};
}

struct attention encoder_attention(const struct encoder *encoder, const struct batch *batch,
                                   const struct encoder_dropout *dropout, size_t l)
{
    const struct shape *shape = encoder->shape;
    bool first = shape_first_only(shape, l);
    size_t inner = encoder_inner(shape, l);
    return (struct attention){
        .seqs = batch->seqs,
        .heads = shape->layer[l].heads,
        .head_size = shape->head_size,
        .scale = 1 / sqrtf((float)shape->head_size),
        .first_only = first,
        .q_stride = first ? inner : 3 * inner,
        .kv_stride = first ? 2 * inner : 3 * inner,
        .out_stride = inner,
        .dropout = encoder_layer_dropout(dropout, l, DROP_PROBABILITIES),
    };
}
