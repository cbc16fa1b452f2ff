/* tiny_model.h: a small model of uneven layers and a batch of made-up records, for tests of lib/nn.
 */
#ifndef MILLET_TESTS_TINY_MODEL_H
#define MILLET_TESTS_TINY_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "core/rng.h"
#include "nn/batch.h"
#include "nn/params.h"
#include "nn/shape.h"

enum { TINY_VOCAB = 24, TINY_LABELS = 3, TINY_HIDDEN = 12, TINY_RECORDS = 4 };

/* Stop the program with the error's text: for what the test needs but does not test. */
static inline void tiny_need(bool ok, const struct error *err)
{
    if (ok)
        return;
    printf("Bail out! %s\n", err->text);
    exit(1);
}

/* Three heads of 4 in the unpruned model; layer 0 keeps 2 of them and 10 neurons, layer 1 all 3
 * and 7. Large random weights, so that gradients are not tiny. */
static inline struct shape tiny_shape(size_t n_layers)
{
    struct error err = ERROR_INIT;
    char text[80];
    struct shape shape;
    snprintf(text, sizeof text, "layers=%zu,hidden=12,heads=3,ffn=7,positions=16", n_layers);
    tiny_need(shape_from_text(&shape, text, TINY_VOCAB, TINY_LABELS, &err), &err);
    if (n_layers > 1)
        shape.layer[0] = (struct layer_shape){.heads = 2, .ffn = 10};
    shape.initializer_range = 0.4f;
    return shape;
}

/* Records of 5, 1, 7 and 3 tokens; ids repeat within and across records. */
static inline size_t tiny_record(size_t i, int32_t id[8])
{
    static const size_t length[TINY_RECORDS] = {5, 1, 7, 3};
    size_t n = length[i % TINY_RECORDS];
    for (size_t t = 0; t < n; t++)
        id[t] = (int32_t)(t == 0 ? 2 : rng_hash(i, t) % 9 * 2 + 3);
    return n;
}

static inline void tiny_batch(struct batch *batch, struct device *dev, const struct shape *shape,
                              bool distil)
{
    struct error err = ERROR_INIT;
    batch_init(batch, dev, shape, distil ? TINY_LABELS : 0, true);
    for (size_t i = 0; i < TINY_RECORDS; i++) {
        int32_t id[8];
        float teacher[TINY_LABELS];
        for (size_t c = 0; c < TINY_LABELS; c++)
            teacher[c] = (float)(rng_hash(7 + i, c) % 100) / 25 - 2;
        size_t n = tiny_record(i, id);
        tiny_need(batch_add(batch, id, n, i == 3 ? -1 : (int32_t)i % TINY_LABELS, teacher, &err),
                  &err);
    }
    tiny_need(batch_upload(batch, &err), &err);
}

static inline void tiny_params(struct params *params, const struct shape *shape, struct device *dev)
{
    struct error err = ERROR_INIT;
    tiny_need(params_open(params, shape, NULL, false, 11, dev, &err), &err);
}

#endif
