/* reference_bag.c: a linear classifier on sparse features. */
#include "kernels/reference/reference.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

struct bag_weights {
    size_t features, classes;
    float *w; /* [classes, features] */
};

struct bag_weights *reference_bag_prepare(struct device *dev, const struct weight *weight,
                                          struct error *err)
{
    bool known = dtype_is_float(weight->type) || (weight->type == DTYPE_I8 && weight->scale);
    size_t n = 0;
    if (!known || !memory_multiply(weight->rows, weight->cols, &n)) {
        error_set(err,
                  "bag: %zu × %zu weights of type %s; expected F32, F16, BF16 or I8 with "
                  "scales",
                  weight->rows, weight->cols, dtype_name(weight->type));
        return NULL;
    }
    struct bag_weights *bag = memory_zeroed(1, sizeof *bag, err);
    if (!bag)
        return NULL;
    *bag = (struct bag_weights){.features = weight->cols,
                                .classes = weight->rows,
                                .w = memory_array(n, sizeof *bag->w, err)};
    if (!bag->w) {
        reference_bag_free(dev, bag);
        return NULL;
    }
    dtype_to_float(weight->type, weight->data, n, bag->w);
    for (size_t i = 0; weight->type == DTYPE_I8 && i < n; i++)
        bag->w[i] *= weight->scale[i / weight->cols];
    return bag;
}

void reference_bag_free(struct device *dev, struct bag_weights *bag)
{
    (void)dev;
    if (bag)
        free(bag->w);
    free(bag);
}

void reference_bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
                   const float *value, const int32_t *offset, size_t n, act *out)
{
    float *y = reference_values(out);
    for (int32_t k = offset[0]; k < offset[n]; k++)
        if ((size_t)feature[k] >= bag->features) {
            error_set(reference_error(dev), "bag: feature %d, the table has %zu", feature[k],
                      bag->features);
            return;
        }
    for (size_t i = 0; i < n; i++)
        for (size_t c = 0; c < bag->classes; c++) {
            double sum = 0;
            for (int32_t k = offset[i]; k < offset[i + 1]; k++)
                sum += (double)value[k] * (double)bag->w[c * bag->features + (size_t)feature[k]];
            y[i * bag->classes + c] += (float)sum;
        }
}
