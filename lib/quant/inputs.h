/* inputs.h: what each matrix of an encoder multiplies, shown batch by batch in forward passes over
 * a sample of records. Labels are not needed.
 */
#ifndef MILLET_QUANT_INPUTS_H
#define MILLET_QUANT_INPUTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/parts.h"
#include "nn/shape.h"
#include "nn/weights.h"

struct inputs {
    struct device *dev;                /* borrowed */
    const struct records_set *records; /* borrowed */
    struct shape shape;
    struct weights weights;
    struct encoder *encoder;
    struct batch batch;
    /* [n_linears] and, of each, its place: layers that share their tensors have matrices of their
     * own where the last one's query, key and value are cut otherwise, and one place. */
    struct linear **linear;
    size_t *place;
    size_t n_linears;
    size_t n; /* places: 0 … n - 1 */
    uint32_t *sample;
    size_t n_records;
};

/* Sees rows x [rows, cols] on the device of what is multiplied with the matrices of a place. */
struct inputs_watch {
    bool (*see)(void *context, struct device *dev, size_t place, const act *x, size_t rows,
                size_t cols, struct error *err);
    void *context;
};

/* samples: records, drawn without replacement; all where there are fewer. Memory: the prepared
 * weights and the activations of 512 tokens. Close it on failure, too. */
bool inputs_open(struct inputs *inputs, struct model *model, const struct records_set *records,
                 size_t samples, uint64_t seed, struct device *dev, struct error *err) MUST_CHECK;
void inputs_close(struct inputs *inputs); /* safe on a zeroed struct */

/* One forward pass of the sample. */
bool inputs_run(struct inputs *inputs, const struct inputs_watch *watch,
                const struct progress *progress, struct error *err) MUST_CHECK;

/* The place of a part (PART_MATRIX) of the shape; n: it multiplies nothing. */
size_t inputs_place(const struct inputs *inputs, const struct part *part);

#endif
