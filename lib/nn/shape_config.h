/* shape_config.h: what the config says of a shape. Private to shape*.c.
 */
#ifndef MILLET_NN_SHAPE_CONFIG_H
#define MILLET_NN_SHAPE_CONFIG_H

#include "core/error.h"
#include "io/model.h"
#include "nn/shape.h"

/* Limits on what a config may claim: far above any model of the family, far below what would
 * overflow a product of three. */
enum {
    SHAPE_MAX_LAYERS = 1024,
    SHAPE_MAX_HIDDEN = 1 << 16,
    SHAPE_MAX_HEADS = 1 << 12,
    SHAPE_MAX_FFN = 1 << 20,
    SHAPE_MAX_VOCAB = 1 << 26,
    SHAPE_MAX_POSITIONS = 1 << 20
};

/* What a config of the family means where it is silent; no layers yet. */
void shape_defaults(struct shape *shape, const struct family *family);

/* Everything but the layers' own widths: `layer` [n_layers] gets the heads and feed-forward width
 * of an unpruned model. On failure nothing is owned. */
bool shape_read_config(struct shape *shape, const struct model *model,
                       struct error *err) MUST_CHECK;

#endif
