/* encoder_buffers.h: the workspace of an encoder: where each activation of a batch lies on the
 * device. Private to encoder*.c.
 *
 * Rows of a layer: R = T tokens, or N first rows in the last layer. With a tape every pointer is a
 * place of its own; without one, layers share places and what only the backward pass needs is NULL.
 */
#ifndef MILLET_NN_ENCODER_BUFFERS_H
#define MILLET_NN_ENCODER_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/encoder.h"
#include "nn/shape.h"

struct encoder_layer {
    act *x;        /* [T, H] input */
    act *qkv;      /* [T, 3A]; in the last layer kv [T, 2A] */
    act *q;        /* last layer only: [N, A] */
    act *context;  /* [R, A] attention's output */
    float *lse;    /* [R, heads], tape only */
    act *t1;       /* [R, H] output projection; with a tape then the sum before norm 1 */
    float *stats1; /* [R, 2], tape only */
    act *y1;       /* [R, H] */
    act *pre;      /* [R, F] before the activation, tape only */
    act *h;        /* [R, F] after it */
    act *t2;       /* [R, H] as t1, for norm 2 */
    float *stats2;
    act *y2; /* [R, H] output: the next layer's x */
};

struct encoder {
    struct device *dev;
    const struct shape *shape;
    bool tape;
    size_t room_tokens, room_records;
    void *arena;
    struct encoder_layer *layer;
    act *embed_sum;     /* [T, H], tape only */
    float *embed_stats; /* [T, 2], tape only */
    act *first;         /* [N, H] first rows of the last layer's input: its residual */
    act *top;           /* [N, H] output of the last layer */
    act *pooled_pre;    /* [N, H], tape only */
    act *pooled;        /* [N, H] */
    act *logits;        /* [N, C] */
    /* backward, tape only */
    act *dlogits, *dpooled;
    act *da, *db, *dx; /* [T, H] each */
    act *dh;           /* [T, max F] */
    act *dcontext;     /* [T, max A] */
    act *dqkv;         /* [T, 3 max A] */
};

/* A of layer l: the width of its heads together. */
static inline size_t encoder_inner(const struct shape *shape, size_t l)
{
    return shape->layer[l].heads * shape->head_size;
}

/* Seeds of the dropout places: a function of the step's seed, the layer and the place. */
enum encoder_dropout_place { DROP_PROBABILITIES, DROP_ATTENTION, DROP_FFN, DROP_PLACES };
struct dropout encoder_layer_dropout(const struct encoder_dropout *dropout, size_t layer,
                                     enum encoder_dropout_place place);
struct dropout encoder_embed_dropout(const struct encoder_dropout *dropout,
                                     const struct shape *shape);
struct dropout encoder_pooled_dropout(const struct encoder_dropout *dropout,
                                      const struct shape *shape);
/* The attention of layer l over a batch. */
struct attention encoder_attention(const struct encoder *encoder, const struct batch *batch,
                                   const struct encoder_dropout *dropout, size_t l);

#endif
