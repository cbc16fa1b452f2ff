/* weights.h: the weights of an encoder classifier as the engine uses them: matrices and tables
 * prepared by a device, norms as floats on the device. Filled either from a model file for
 * inference (weights_prepare) or from trainable parameters (params.h), in which case the gradient
 * pointers are set. The encoder does not know which.
 *
 * Query, key and value of a layer are one stacked matrix [3A, H] and one product; where the query
 * is computed for first rows only (the last layer) it is a matrix of its own beside the stacked key
 * and value [2A, H].
 */
#ifndef MILLET_NN_WEIGHTS_H
#define MILLET_NN_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "kernels/kernels.h"
#include "nn/parts.h"
#include "nn/shape.h"

struct weights_matrix {
    struct linear *linear; /* owned by the struct weights */
    float *dw, *db;        /* gradients on the device, NULL in inference */
    bool *stale; /* dw holds nothing of this step, so that the next product writes it and none has
                    to zero it; NULL: dw is only added to */
};

struct weights_norm {
    float *gain, *bias; /* [H] on the device */
    float *dgain, *dbias;
};

struct weights_ffn {
    struct weights_matrix in, out;
    struct weights_norm norm;
};

struct weights_layer {
    struct weights_matrix qkv;   /* all rows of one input */
    struct weights_matrix q, kv; /* where the query is for first rows only */
    struct weights_matrix k, v;  /* with q, where there is a bottleneck: of two inputs */
    struct weights_matrix o;
    struct weights_norm norm1;
    struct weights_ffn ffn[SHAPE_MAX_STACK]; /* [shape->stack] */
    /* of a bottleneck */
    struct weights_matrix narrow, shared, widen;
    struct weights_norm narrow_norm, shared_norm, widen_norm;
};

/* Matrices of a layer, at most. */
enum { WEIGHTS_OF_LAYER = 9 + 2 * SHAPE_MAX_STACK, WEIGHTS_BESIDE = 3 };

struct weights {
    const struct shape *shape;                    /* borrowed */
    struct device *dev;                           /* borrowed */
    struct table_weights *word, *position, *type; /* type NULL: the family has none */
    struct weights_norm embed_norm;
    struct weights_matrix projection;
    /* [n_layers], owned. Layers that share their tensors point at the same matrices, those of the
     * first; only the last one's query, key and value may be cut otherwise. */
    struct weights_layer *layer;
    struct weights_matrix pooler, classifier;
    /* inference only */
    float *floats;                        /* owned device memory of the norms */
    struct model *model;                  /* borrowed; NULL in training */
    const struct tensor_view *word_view;  /* for verifying rows as they are used */
    const struct tensor_view *word_scale; /* NULL: not int8 */
};

/* How the members of struct weights come to be, one call for each: `part` says role, place and
 * dims; `n_stacked` parts of consecutive roles, of the same dims, are one matrix. */
struct weights_maker {
    void *context;
    bool (*table)(void *context, const struct part *part, struct table_weights **to,
                  struct error *err);
    bool (*matrix)(void *context, const struct part *part, size_t n_stacked,
                   struct weights_matrix *to, struct error *err);
    bool (*norm)(void *context, const struct part *part, struct weights_norm *to,
                 struct error *err);
};
/* Fill an empty struct weights whose shape and device are set; the caller frees it on failure,
 * too. */
bool weights_make(struct weights *weights, const struct weights_maker *maker,
                  struct error *err) MUST_CHECK;

/* Prepare for inference straight from the mapped views; nothing of the word table is touched. Bytes
 * are verified against the model's checksums and matrices and norms checked to be finite; a pooler
 * and a classifier must be there. Borrows everything. */
bool weights_prepare(struct weights *weights, const struct shape *shape, struct model *model,
                     struct device *dev, struct error *err) MUST_CHECK;
/* What that allocates on the device; `int8`: some of the matrices are. */
bool weights_bytes(const struct shape *shape, struct model *model, struct device *dev,
                   size_t *bytes, bool *int8, struct error *err) MUST_CHECK;
void weights_free(struct weights *weights); /* safe on a zeroed struct */

/* Verify the rows of the word table that these ids name. Thread-safe. */
bool weights_verify_rows(const struct weights *weights, const int32_t *id, size_t n,
                         struct error *err) MUST_CHECK;

/* The matrix that a part (PART_MATRIX) is, or is stacked in. */
const struct weights_matrix *weights_matrix_of(const struct weights *weights,
                                               const struct part *part);

/* The matrices there are, each once: `list` has room for WEIGHTS_OF_LAYER n_layers +
 * WEIGHTS_BESIDE. Returns how many. */
size_t weights_linears(const struct weights *weights, struct linear **list);

/* Only gradients of activations are wanted from now on. */
void weights_drop_gradients(struct weights *weights);

/* Every value of a tensor finite? Integers are. */
bool weights_finite(const struct tensor_view *view);

#endif
