/* workload.h: a training step and an inference pass of a classifier of a given shape on any device,
 * for counting and for measuring. */
#ifndef MILLET_TESTS_WORKLOAD_H
#define MILLET_TESTS_WORKLOAD_H

#include <string.h>

#include "core/rng.h"
#include "nn/encoder.h"
#include "nn/optimizer.h"
#include "nn/params.h"

struct workload {
    struct device *dev; /* borrowed */
    size_t records, length, vocab, labels;
    struct params params;
    struct optimizer optimizer;
    struct encoder *encoder;
    struct batch batch;
    float *row_loss;
};

/* As in text, most tokens are frequent ones. */
static inline bool workload_fill(struct workload *w, struct error *err)
{
    int32_t id[512];
    batch_clear(&w->batch);
    for (size_t r = 0; r < w->records; r++) {
        for (size_t t = 0; t < w->length; t++) {
            size_t among = rng_hash(r, t) % 4 && w->vocab > 3000 ? 3000 : w->vocab;
            id[t] = (int32_t)(rng_hash(r + w->records, t) % among);
        }
        if (!batch_add(&w->batch, id, w->length, (int32_t)(r % w->labels), NULL, err))
            return false;
    }
    return true;
}

/* shape: as mstudent --shape takes it. 1 to 512 tokens a record. */
static inline bool workload_open(struct workload *w, struct device *dev, const char *text,
                                 size_t records, size_t length, size_t vocab, bool training,
                                 struct error *err)
{
    struct shape shape;
    *w = (struct workload){
        .dev = dev, .records = records, .length = length, .vocab = vocab, .labels = 12};
    if (!shape_from_text(&shape, text, vocab, w->labels, err))
        return false;
    batch_init(&w->batch, dev, &shape, 0, training);
    bool ok = params_open(&w->params, &shape, NULL, false, 1, dev, err);
    shape_free(&shape);
    if (!ok || (training && !optimizer_open(&w->optimizer, &w->params, 1, 0.01, 1, err)) ||
        !(w->encoder = encoder_open(dev, &w->params.shape, training, err)) ||
        !(w->row_loss = dev->op->alloc(dev, records * sizeof(float), err)) ||
        !workload_fill(w, err))
        return false;
    return true;
}

static inline void workload_close(struct workload *w)
{
    if (w->row_loss)
        w->dev->op->free(w->dev, w->row_loss);
    encoder_close(w->encoder);
    batch_free(&w->batch);
    optimizer_close(&w->optimizer);
    params_close(&w->params);
}

static inline bool workload_infer(struct workload *w, struct error *err)
{
    if (!batch_upload(&w->batch, err) ||
        !encoder_reserve(w->encoder, w->batch.n_tokens, w->batch.n, err))
        return false;
    encoder_forward(w->encoder, &w->params.weights, &w->batch, NULL);
    return true;
}

/* What the trainer does in a step; nothing waits for the device. */
static inline bool workload_train(struct workload *w, struct error *err)
{
    const struct encoder_dropout dropout = {0.1f, 0.1f, 0.1f, w->optimizer.step};
    struct encoder_rows_grad rows;
    if (!batch_upload(&w->batch, err) ||
        !encoder_reserve(w->encoder, w->batch.n_tokens, w->batch.n, err) ||
        !params_zero_grad(&w->params, &w->batch, &rows, err))
        return false;
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1 / (float)w->batch.n};
    const act *logits = encoder_forward(w->encoder, &w->params.weights, &w->batch, &dropout);
    w->dev->op->loss(w->dev, &loss, logits, w->batch.device_label, NULL, w->batch.n, w->labels,
                     w->row_loss, encoder_dlogits(w->encoder));
    encoder_backward(w->encoder, &w->params.weights, &w->batch, &dropout, &rows, NULL);
    optimizer_step(&w->optimizer, &w->batch, 1e-4);
    return true;
}

#endif
