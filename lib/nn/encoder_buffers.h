/* encoder_buffers.h: the workspace of an encoder: where each activation of a batch lies on the
 * device. Private to encoder*.c.
 *
 * Rows of a layer: R = T tokens, or N first rows in the last layer where the head sees no other.
 * Widths: E the word table's, H hidden, W inside a layer (the bottleneck's, else H), A of all heads
 * together, F feed-forward. With a tape every pointer is a place of its own; without one, layers
 * share places and what only the backward pass needs is NULL.
 */
#ifndef MILLET_NN_ENCODER_BUFFERS_H
#define MILLET_NN_ENCODER_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/encoder.h"
#include "nn/shape.h"

/* A product and the norm after it. */
struct encoder_sum {
    act *t;       /* the product; with a tape then the sum before the norm */
    float *stats; /* [rows, 2], tape only */
    act *y;
};

struct encoder_ffn {
    act *pre;               /* [R, F] before the activation, tape only */
    act *h;                 /* [R, F] after it */
    struct encoder_sum out; /* [R, W] */
};

struct encoder_layer {
    act *x;                    /* [T, H] input */
    act *first;                /* [N, H] its first rows, where only those go on */
    struct encoder_sum shared; /* [T, W] bottleneck: what query and key come from */
    act *shared_first;         /* [N, W] */
    struct encoder_sum narrow; /* [R, W] bottleneck: the residual inside */
    act *qkv;                  /* [T, 3A]; where the query is for first rows kv [T, 2A] */
    act *q;                    /* [N, A] then */
    act *context;              /* [R, A] attention's output */
    float *lse;                /* [R, heads], tape only */
    struct encoder_sum one;    /* [R, W] output projection, norm 1 */
    struct encoder_ffn ffn[SHAPE_MAX_STACK];
    struct encoder_sum widen; /* [R, H] bottleneck */
    act *y;                   /* [R, H] output: the next layer's x */
};

struct encoder {
    struct device *dev;
    const struct shape *shape;
    bool tape;
    size_t room_tokens, room_records;
    void *arena;
    struct encoder_layer *layer; /* [n_layers + 1]: the last has only x, what the encoder gives */
    struct encoder_watch watch;  /* see NULL: nobody looks */
    /* Set between forward and backward, forgotten after it. */
    const act **extra; /* [n_layers + 1]: further gradients of each layer's x, or NULL */
    const act *extra_qkv;
    size_t extra_qkv_layer;
    struct encoder_sum embed; /* [T, E], of trigrams [T, H] */
    act *words, *trigrams;    /* [T, E], [T, 3E] of trigrams */
    act *top;                 /* [N, H] what the head sees */
    act *pooled_pre;          /* [N, H], tape only */
    act *pooled;              /* [N, H]; without a pooler `top` itself */
    act *logits;              /* [N, C] */
    /* backward, tape only */
    act *dlogits, *dpooled;
    act *da, *db, *dx; /* [T, H] each */
    act *ds, *dt;      /* [T, W] each, of a bottleneck; else ds is da and dt db */
    act *dh;           /* [T, max F] */
    act *dcontext;     /* [T, max A] */
    act *dqkv;         /* [T, 3 max A] */
    act *dwords;       /* [T, E], of trigrams [T, 3E]; NULL: no projection */
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
/* The same at a place where the family may drop nothing: inside a bottleneck, after the
 * feed-forward network. */
struct dropout encoder_inside_dropout(const struct encoder_dropout *dropout,
                                      const struct shape *shape, size_t layer,
                                      enum encoder_dropout_place place);
struct dropout encoder_embed_dropout(const struct encoder_dropout *dropout,
                                     const struct shape *shape);
/* Before the classifier; before the pooler. */
struct dropout encoder_pooled_dropout(const struct encoder_dropout *dropout,
                                      const struct shape *shape);
struct dropout encoder_top_dropout(const struct encoder_dropout *dropout,
                                   const struct shape *shape);
/* The attention of layer l over a batch. */
struct attention encoder_attention(const struct encoder *encoder, const struct batch *batch,
                                   const struct encoder_dropout *dropout, size_t l);

#endif
