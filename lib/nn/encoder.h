/* encoder.h: the encoder with pooler and classifier, forward and backward, one code for inference
 * and training, for every device, and for every architecture of the family: it asks a shape for its
 * traits, never for a name. Unpadded; where the head sees first rows only, so do the last layer's
 * query, output projection and feed-forward.
 *
 * Activations live in a workspace on the device. With a tape each layer has buffers of its own,
 * kept for the backward pass: about T (4H + 4A + 2F) elements a layer; without one all layers share
 * one set: T (2H + 4A + F). A bottleneck of width W with s stacked feed-forward networks: T (2H +
 * 4A + (6 + 2s) W + 2sF) and T (2H + 4A + 4W + F). The workspace is sized by encoder_reserve() and
 * grows only when a batch is larger.
 */
#ifndef MILLET_NN_ENCODER_H
#define MILLET_NN_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/batch.h"
#include "nn/shape.h"
#include "nn/weights.h"

/* Masks are a function of (seed, layer, place): the same struct for forward and backward. */
struct encoder_dropout {
    float hidden, attention, classifier;
    uint64_t seed;
};

struct encoder;

/* Borrows dev (a lane for inference) and shape. */
struct encoder *encoder_open(struct device *dev, const struct shape *shape, bool tape,
                             struct error *err) MUST_CHECK;
void encoder_close(struct encoder *encoder); /* NULL is fine */
/* Room for batches of so many tokens and records. */
bool encoder_reserve(struct encoder *encoder, size_t n_tokens, size_t n_records,
                     struct error *err) MUST_CHECK;

/* Device memory of that room. */
bool encoder_bytes(struct device *dev, const struct shape *shape, bool tape, size_t n_tokens,
                   size_t n_records, size_t *bytes, struct error *err) MUST_CHECK;

/* What a batch that was filled needs before encoder_forward(): the rows of the word table that it
 * reads are verified, it is uploaded, room is made. */
bool encoder_prepare(struct encoder *encoder, const struct weights *weights, struct batch *batch,
                     struct error *err) MUST_CHECK;

/* Logits [n, n_labels] on the device, valid until the next call; NULL without labels. The batch is
 * uploaded and room is reserved. dropout NULL: none. */
const act *encoder_forward(struct encoder *encoder, const struct weights *weights,
                           const struct batch *batch, const struct encoder_dropout *dropout);

/* After encoder_forward() on a taped encoder: what layer `layer` was given, [T, H]; layer 0 the
 * embeddings' output. layer n_layers: what the last one gave, [N, H] (first rows), or [T, H] where
 * the head sees all or the shape asks for all rows; then also without a tape. As hidden_states of
 * transformers. */
const act *encoder_hidden(const struct encoder *encoder, size_t layer);

/* Layer by layer and step by step, for who changes weights in between; on a taped encoder, without
 * dropout, not inside bottlenecks. encoder_embed() makes the first layer's x. R rows: T, or N where
 * only first rows go on. */
enum encoder_step {
    ENCODER_ATTEND, /* from x to context */
    ENCODER_JOIN,   /* and x, to joined */
    ENCODER_EXPAND, /* from joined to neurons */
    ENCODER_REDUCE  /* and joined, to y */
};
struct encoder_places {
    act *x;          /* [T, H] the layer's input */
    act *context;    /* [R, A] */
    act *joined_sum; /* [R, H] x + output projection of the context, and its norm: */
    act *joined;     /* [R, H] */
    act *neurons;    /* [R, F] */
    act *sum;        /* [R, H] joined + output of the feed-forward network, and its norm: */
    act *y;          /* [R, H] the next layer's x */
};
struct encoder_places encoder_places(struct encoder *encoder, size_t layer);
void encoder_embed(struct encoder *encoder, const struct weights *weights,
                   const struct batch *batch);
void encoder_step(struct encoder *encoder, const struct weights *weights, const struct batch *batch,
                  size_t layer, enum encoder_step step);

/* Whole layers in any order, for who tries models without some of them; on an encoder without a
 * tape, of a shape with all rows. encoder_embed() makes the state [T, H], a layer replaces it by
 * what it gives, and the answer is logits as of encoder_forward(); the state stays. */
act *encoder_state(struct encoder *encoder);
void encoder_run_layer(struct encoder *encoder, const struct weights *weights,
                       const struct batch *batch, size_t layer);
const act *encoder_classify(struct encoder *encoder, const struct weights *weights,
                            const struct batch *batch);

/* After encoder_forward() on a taped encoder: query, key and value of a layer of all rows, [T, 3A]
 * (query | key | value), A = heads × head_size. */
const act *encoder_qkv(const struct encoder *encoder, size_t layer);

/* Between encoder_forward() and encoder_backward(): a further gradient of encoder_hidden(layer), or
 * of encoder_qkv(layer) of one layer, with its dims; on the device, borrowed until the backward
 * pass has added it to the one that comes from the logits and forgotten it. One for each layer: the
 * last given counts. */
void encoder_add_hidden_gradient(struct encoder *encoder, size_t layer, const act *gradient);
void encoder_add_qkv_gradient(struct encoder *encoder, size_t layer, const act *gradient);

/* After encoder_forward(): what goes to the classifier, [N, H]. */
const act *encoder_pooled(const struct encoder *encoder);

/* Where to put the gradient of the logits, [n, n_labels]. */
act *encoder_dlogits(struct encoder *encoder);

/* Sees units and their gradients as the backward pass meets them, last layer first: heads (x = the
 * attention's output, group = head_size) and feed-forward neurons (x = the activation, group = 1).
 * seqs are those of the rows: one row per sequence in the last layer. */
enum encoder_place { ENCODER_HEADS, ENCODER_NEURONS };
struct encoder_probe {
    void (*see)(void *context, struct device *dev, size_t layer, enum encoder_place place,
                const act *x, const act *dx, const struct seqs *seqs, size_t cols, size_t group);
    void *context;
};

/* After encoder_forward() on a taped encoder: what such a probe sees as x: [R, heads × head_size]
 * or [R, ffn], R one row per sequence in a last layer of first rows only, else all. */
const act *encoder_units(const struct encoder *encoder, size_t layer, enum encoder_place place);

/* Sees what each product of the following forward passes multiplies with its matrix: n elements. */
struct encoder_watch {
    void (*see)(void *context, struct device *dev, const struct linear *linear, const act *x,
                size_t n);
    void *context;
};
void encoder_watch(struct encoder *encoder, struct encoder_watch watch);

/* Gradients of the touched rows of the embedding tables, [slots, columns] on the device, added
 * to; slots as in batch.h. */
struct encoder_rows_grad {
    float *word, *position;
    float *type; /* row 0 of the table; NULL: there is none */
};

/* After encoder_forward() of the same batch with the same dropout, on a taped encoder; adds to the
 * weights' gradients. rows NULL: not wanted; probe may be NULL. */
void encoder_backward(struct encoder *encoder, const struct weights *weights,
                      const struct batch *batch, const struct encoder_dropout *dropout,
                      const struct encoder_rows_grad *rows, const struct encoder_probe *probe);

#endif
