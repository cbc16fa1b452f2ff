/* parts.h: the tensors of a shape, listed once: what reading checks, training lays out, inference
 * prepares and figures count. A part is a table, a norm (weight and bias) or a matrix with its
 * bias.
 */
#ifndef MILLET_NN_PARTS_H
#define MILLET_NN_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "io/model.h"
#include "nn/family.h"
#include "nn/shape.h"

enum { PARTS_NAME_BYTES = 128, PARTS_OF_LAYER = 12 + 3 * SHAPE_MAX_STACK, PARTS_BESIDE = 7 };

enum part_kind { PART_TABLE, PART_MATRIX, PART_NORM };

struct part {
    enum family_role role;
    enum part_kind kind;
    size_t layer, stack; /* where the role has them */
    size_t rows, cols;   /* of a norm: cols only */
};

/* In the order of a forward pass: tables, norm and projection of the embeddings; a layer's; pooler
 * and classifier. Layers that share their tensors are listed once. */
size_t parts_of_embeddings(const struct shape *shape, struct part part[PARTS_BESIDE]);
size_t parts_of_layer(const struct shape *shape, size_t layer, struct part part[PARTS_OF_LAYER]);
size_t parts_of_head(const struct shape *shape, struct part part[PARTS_BESIDE]);
/* Layers with tensors of their own: 1 where all share. */
size_t parts_layers(const struct shape *shape);

/* Which sizes of a shape give the rows and columns of a role's matrix or table, or the columns of
 * its norm; those of the position and type tables and of the embedding's norm:
 * shape_embed_norm_width().
 */
enum parts_size {
    PARTS_NONE,
    PARTS_VOCAB,
    PARTS_HIDDEN,
    PARTS_EMBED,
    PARTS_WIDTH,
    PARTS_HEADS, /* heads × head_size of the layer */
    PARTS_FFN,   /* of the layer */
    PARTS_POSITIONS,
    PARTS_TYPES,
    PARTS_LABELS
};
enum parts_size parts_rows(enum family_role role);
enum parts_size parts_columns(enum family_role role);

/* All of them. Free with free(). */
struct part *parts_list(const struct shape *shape, size_t *n, struct error *err) MUST_CHECK;
size_t parts_parameters(const struct shape *shape);

/* "<stem>.<rest>" */
void parts_name(const struct shape *shape, const struct part *part, const char *rest,
                char name[PARTS_NAME_BYTES]);

/* Find a tensor under its name with or without the prefix, with gamma/beta for layer-norm
 * weight/bias. NULL: absent. */
const struct tensor_view *parts_find_tensor(const struct model *model, const char *name);

/* Find it and check dims (cols 0: a vector) and type (F32 F16 BF16; I8 matrices with their
 * "<name>_scale"; int4 tables, which are U8, likewise). The bytes are not verified. */
const struct tensor_view *parts_require_tensor(const struct model *model, const char *name,
                                               size_t rows, size_t cols,
                                               struct error *err) MUST_CHECK;
/* The scale of an I8 or U8 tensor that parts_require_tensor() accepted; NULL for other types. */
const struct tensor_view *parts_scale_of(const struct model *model, const struct tensor_view *view);

/* What config.json's quantization_config calls the codes: those of I8 tensors beside an n-gram part
 * are rounded as they are, or, the newer, from rotated rows (kernels/rotate.h). A model holds but
 * one kind. */
#define PARTS_INT8         "millet-int8"
#define PARTS_INT8_ROTATED "millet-int8-rotated"
/* The method that config.json names; NULL: none. "?": it names none, but says there is one. */
const char *parts_int8_method(const struct model *model);
/* One of these two. */
bool parts_int8_known(const char *method);
/* Whether the rows of a tensor of the model are rotated. */
bool parts_rotated(const struct model *model, const struct tensor_view *view);
/* Refuses a tensor whose rows are: its columns cannot be cut. The model's name is for the caller to
 * say. */
bool parts_check_columns(const struct model *model, const struct tensor_view *view,
                         struct error *err) MUST_CHECK;

/* Rows [first, first + n) of such a tensor of `cols` columns (a vector: 1) as floats, rotated back
 * where they are rotated. */
void parts_read_rows(const struct model *model, const struct tensor_view *view, size_t cols,
                     size_t first, size_t n, float *to);

/* All tensors of a part. */
bool parts_require(const struct shape *shape, const struct part *part, const struct model *model,
                   struct error *err) MUST_CHECK;

#endif
