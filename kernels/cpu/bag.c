/* bag.c: a linear classifier on sparse features. A text touches some hundred features at random
 * places of a table that no cache of the first level holds, so W is turned: all classes of a
 * feature lie side by side, and a feature costs one access to memory. */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/cpu/cpu.h"

enum {
    GROUP = 4,      /* classes are padded to a multiple, so that the compiler's vectors fit */
    CLASSES = 64,   /* summed at a time, on the stack */
    AHEAD = 16,     /* features: how far memory is asked for beforehand */
    SMALL = 1 << 14 /* terms: less is not worth waking a thread */
};

struct bag_weights {
    size_t features, classes, stride; /* stride: classes rounded up to GROUP */
    float *w;                         /* [features, stride], or */
    int8_t *code;                     /* [features, stride] with */
    float *scale;                     /* [stride] */
};

enum { PIECE = 256 }; /* features: what is written of all classes stays in the first cache */

/* Class c of features [f, f + n) as a part of a column of the table. */
static void turn(const struct weight *weight, struct bag_weights *bag, size_t c, size_t f, size_t n)
{
    float piece[PIECE];
    const size_t element = dtype_bytes(weight->type), stride = bag->stride, at = f * stride + c;
    const char *row = (const char *)weight->data + (c * weight->cols + f) * element;
    if (bag->code) {
        int8_t *code = bag->code + at;
        for (size_t i = 0; i < n; i++)
            code[i * stride] = ((const int8_t *)row)[i];
        return;
    }
    float *w = bag->w + at;
    dtype_to_float(weight->type, row, n, piece);
    for (size_t i = 0; i < n; i++)
        w[i * stride] = piece[i];
}

struct turning {
    const struct weight *weight;
    struct bag_weights *bag;
};

static void turn_job(void *context, size_t member, size_t n_members)
{
    const struct turning *turning = context;
    const struct weight *weight = turning->weight;
    size_t begin, end, n_pieces = (weight->cols + PIECE - 1) / PIECE;
    threads_share(n_pieces, member, n_members, &begin, &end);
    for (size_t f = begin * PIECE; f < end * PIECE && f < weight->cols; f += PIECE)
        for (size_t c = 0; c < weight->rows; c++)
            turn(weight, turning->bag, c, f, weight->cols - f < PIECE ? weight->cols - f : PIECE);
}

struct bag_weights *cpu_bag_prepare(struct device *dev, const struct weight *weight,
                                    struct error *err)
{
    bool codes = weight->type == DTYPE_I8 && weight->scale;
    size_t stride = (weight->rows + GROUP - 1) / GROUP * GROUP, n;
    if (!codes && !dtype_is_float(weight->type)) {
        error_set(err, "bag: weights of type %s; expected F32, F16, BF16 or I8 with scales",
                  dtype_name(weight->type));
        return NULL;
    }
    if (!memory_multiply(stride, weight->cols, &n)) {
        error_set(err, "bag: %zu classes of %zu features are too many", weight->rows, weight->cols);
        return NULL;
    }
    struct bag_weights *bag = memory_zeroed(1, sizeof *bag, err);
    if (!bag)
        return NULL;
    *bag =
        (struct bag_weights){.features = weight->cols, .classes = weight->rows, .stride = stride};
    if (codes) {
        bag->code = memory_zeroed(n, sizeof *bag->code, err);
        bag->scale = memory_zeroed(stride, sizeof *bag->scale, err);
    } else {
        bag->w = memory_zeroed(n, sizeof *bag->w, err);
    }
    if (codes ? !bag->code || !bag->scale : !bag->w) {
        cpu_bag_free(dev, bag);
        return NULL;
    }
    cpu_run(cpu_of(dev), turn_job, &(struct turning){weight, bag});
    if (codes)
        memcpy(bag->scale, weight->scale, weight->rows * sizeof *bag->scale);
    return bag;
}

void cpu_bag_free(struct device *dev, struct bag_weights *bag)
{
    (void)dev;
    if (!bag)
        return;
    free(bag->w);
    free(bag->code);
    free(bag->scale);
    free(bag);
}

struct bag_work {
    struct cpu *cpu;
    const struct bag_weights *bag;
    const int32_t *feature;
    const float *value;
    const int32_t *offset;
    size_t n;
    float *out;
};

/* sum [n] += the classes [first, first + n) of text i; n is a multiple of GROUP. */
static void sum_floats(const struct bag_work *work, size_t i, size_t first, size_t n, float *sum)
{
    const float *w = work->bag->w + first;
    const size_t stride = work->bag->stride;
    const int32_t end = work->offset[i + 1];
    for (int32_t k = work->offset[i]; k < end; k++) {
        const float *row = w + (size_t)work->feature[k] * stride;
        if (k + AHEAD < end)
            __builtin_prefetch(w + (size_t)work->feature[k + AHEAD] * stride);
        float value = work->value[k];
        for (size_t c = 0; c < n; c++)
            sum[c] += value * row[c];
    }
}

static void sum_codes(const struct bag_work *work, size_t i, size_t first, size_t n, float *sum)
{
    const int8_t *code = work->bag->code + first;
    const size_t stride = work->bag->stride;
    const int32_t end = work->offset[i + 1];
    for (int32_t k = work->offset[i]; k < end; k++) {
        const int8_t *row = code + (size_t)work->feature[k] * stride;
        if (k + AHEAD < end)
            __builtin_prefetch(code + (size_t)work->feature[k + AHEAD] * stride);
        float value = work->value[k];
        for (size_t c = 0; c < n; c++)
            sum[c] += value * (float)row[c];
    }
    for (size_t c = 0; c < n; c++)
        sum[c] *= work->bag->scale[first + c];
}

static bool bag_check(const struct bag_work *work, size_t i)
{
    for (int32_t k = work->offset[i]; k < work->offset[i + 1]; k++)
        if ((size_t)work->feature[k] >= work->bag->features) { /* negative: too large */
            cpu_fail(work->cpu, "bag: feature %d, the table has %zu", work->feature[k],
                     work->bag->features);
            return false;
        }
    return true;
}

static void bag_job(void *context, size_t member, size_t n_members)
{
    const struct bag_work *work = context;
    const struct bag_weights *bag = work->bag;
    size_t begin, end;
    threads_share(work->n, member, n_members, &begin, &end);
    for (size_t i = begin; i < end && bag_check(work, i); i++)
        for (size_t first = 0; first < bag->stride; first += CLASSES) {
            float sum[CLASSES] = {0}, *out = work->out + i * bag->classes + first;
            size_t n = bag->stride - first < CLASSES ? bag->stride - first : CLASSES;
            size_t wanted = bag->classes - first < n ? bag->classes - first : n;
            if (bag->code)
                sum_codes(work, i, first, n, sum);
            else
                sum_floats(work, i, first, n, sum);
            for (size_t c = 0; c < wanted; c++)
                out[c] += sum[c];
        }
}

void cpu_bag(struct device *dev, const struct bag_weights *bag, const int32_t *feature,
             const float *value, const int32_t *offset, size_t n, act *out)
{
    struct bag_work work = {cpu_of(dev), bag, feature, value, offset, n, (float *)out};
    if ((size_t)(offset[n] - offset[0]) * bag->stride <= SMALL)
        bag_job(&work, 0, 1);
    else
        cpu_run(work.cpu, bag_job, &work);
}
