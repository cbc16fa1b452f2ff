/* footprint.h: how much memory of a device a run takes, known from shapes before it begins. Training
 * allocates just what is counted here, so that "enough" is a promise and "too little" no guess.
 */
#ifndef MILLET_NN_FOOTPRINT_H
#define MILLET_NN_FOOTPRINT_H

#include <stddef.h>

#include "core/error.h"
#include "kernels/kernels.h"
#include "nn/batch.h"
#include "nn/shape.h"

struct footprint_run {
    struct device *dev;
    const struct shape *shape;
    enum dtype precision; /* of products; dev->act_bytes is that of activations */
    /* How batches are made up, and the largest ones: to learn from, and to score on (records 0:
     * none; NULL: none). */
    const struct batch *batch, *batch_dev;
    struct batch_size most, most_dev;
    size_t n_records; /* whose losses wait on the device */
    bool some_words;  /* moments are of n_words rows of the word table, not of all */
    size_t n_words;
    size_t beside, work; /* of hooks: what they allocate, the most working memory they need */
    size_t weights;      /* weights_bytes() of inference */
};

/* Bytes. */
struct footprint {
    size_t parameters, gradients, moments;
    size_t copies;      /* of matrices in 16 bits */
    size_t activations; /* of the largest batch, what the backward pass keeps and works in */
    size_t batch;       /* ids, labels, orders of rows, losses */
    size_t work;        /* of the operation that needs most */
    size_t beside;      /* a teacher's, a method's */
    size_t total;
};

bool footprint_training(const struct footprint_run *run, struct footprint *footprint,
                        struct error *err) MUST_CHECK;
/* Of prepared weights and batches through them. `int8`: some of the weights are. */
bool footprint_inference(const struct footprint_run *run, bool int8, struct footprint *footprint,
                         struct error *err) MUST_CHECK;

/* "7.9 GB", "12.4 MB". */
enum { FOOTPRINT_TEXT = 24 };
const char *footprint_text(size_t bytes, char text[FOOTPRINT_TEXT]);

#endif
