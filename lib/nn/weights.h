/* weights.h: the weights of an encoder classifier as the engine uses them: matrices and tables
 * prepared by a device, norms as floats on the device. Filled either from a model file for
 * inference (weights_prepare) or from trainable parameters (params.h), in which case the gradient
 * pointers are set. The encoder does not know which.
 *
 * Query, key and value of a layer are one stacked matrix [3A, H] and one product; in the last layer
 * the query is computed for first rows only, so it is a matrix of its own beside the stacked key
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
#include "nn/shape.h"

struct weights_matrix {
    struct linear *linear; /* owned by the struct weights */
    float *dw, *db;        /* gradients on the device, NULL in inference */
};

struct weights_norm {
    float *gain, *bias; /* [H] on the device */
    float *dgain, *dbias;
};

struct weights_layer {
    struct weights_matrix qkv;   /* all layers but the last */
    struct weights_matrix q, kv; /* the last */
    struct weights_matrix o, f1, f2;
    struct weights_norm norm1, norm2;
};

struct weights {
    const struct shape *shape; /* borrowed */
    struct device *dev;        /* borrowed */
    struct table_weights *word, *position, *type;
    struct weights_norm embed_norm;
    struct weights_layer *layer; /* [n_layers], owned */
    struct weights_matrix pooler, classifier;
    /* inference only */
    float *floats;                        /* owned device memory of the norms */
    struct model *model;                  /* borrowed; NULL in training */
    const struct tensor_view *word_view;  /* for verifying rows as they are used */
    const struct tensor_view *word_scale; /* NULL: not int8 */
};

/* Prepare for inference straight from the mapped views; nothing of the word table is touched. Bytes
 * are verified against the model's checksums and matrices and norms checked to be finite; a pooler
 * and a classifier must be there. Borrows everything. */
bool weights_prepare(struct weights *weights, const struct shape *shape, struct model *model,
                     struct device *dev, struct error *err) MUST_CHECK;
void weights_free(struct weights *weights); /* safe on a zeroed struct */

/* Verify the rows of the word table that these ids name. Thread-safe. */
bool weights_verify_rows(const struct weights *weights, const int32_t *id, size_t n,
                         struct error *err) MUST_CHECK;

/* The matrices there are, for whoever must visit each: list has room for 6 n_layers + 2. Returns
 * how many. */
size_t weights_linears(const struct weights *weights, struct linear **list);

/* Every value of a tensor finite? Integers are. */
bool weights_finite(const struct tensor_view *view);

#endif
