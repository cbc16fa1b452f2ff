/* footprint.c: see footprint.h. */
#include "nn/footprint.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "nn/encoder.h"
#include "nn/params.h"
#include "nn/parts.h"

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* The counting of one run. */
struct count {
    const struct footprint_run *run;
    enum dtype format; /* of products */
    size_t work;
    bool overflow;
};

/* rows · cols elements. */
static size_t bytes_of(struct count *count, size_t rows, size_t cols, size_t element)
{
    size_t n = 0, bytes = 0;
    if (!memory_multiply(rows, cols, &n) || !memory_multiply(n, element, &bytes) ||
        bytes > SIZE_MAX / 64)
        count->overflow = true;
    return bytes;
}

/* ---- working memory ---- */

static void need(struct count *count, enum device_work work, size_t rows, size_t cols, size_t inner)
{
    const struct device_job job = {work, rows, cols, inner, count->format};
    struct device *dev = count->run->dev;
    count->work = larger(count->work, dev->op->work_bytes(dev, &job));
}

static void need_layer(struct count *count, const struct batch_size *most, size_t l, bool training)
{
    const struct shape *shape = count->run->shape;
    enum device_work linear = training ? WORK_LINEAR_BACKWARD : WORK_LINEAR;
    bool first = shape_first_only(shape, l);
    size_t t = most->tokens, rows = first ? most->records : t;
    size_t h = shape->hidden, w = shape->width, f = shape->layer[l].ffn;
    size_t inner = shape->layer[l].heads * shape->head_size;
    need(count, linear, t, (first ? 2 : 3) * inner, h);
    need(count, linear, rows, w, inner);
    need(count, linear, rows, f, w);
    need(count, linear, rows, w, f);
    if (shape->family->bottleneck) {
        need(count, linear, t, w, h);
        need(count, linear, rows, h, w);
    }
    if (!training)
        return;
    need(count, WORK_ATTENTION_BACKWARD, rows, shape->layer[l].heads, 0);
    need(count, WORK_ADD_NORM_BACKWARD, rows, shape->family->bottleneck ? h : w, 0);
    if (shape->family->bottleneck)
        need(count, WORK_ADD_NORM_BACKWARD, t, w, 0);
}

static void need_all(struct count *count, const struct batch_size *most, bool training)
{
    const struct shape *shape = count->run->shape;
    enum device_work linear = training ? WORK_LINEAR_BACKWARD : WORK_LINEAR;
    size_t cols = shape_embed_norm_width(shape), n = most->records;
    if (n == 0)
        return;
    for (size_t l = 0; l < shape->n_layers; l++)
        need_layer(count, most, l, training);
    if (shape_projects(shape))
        need(count, linear, most->tokens, shape->hidden,
             (shape->family->embedding == FAMILY_TRIGRAM ? 3 : 1) * shape->embed);
    if (!shape->no_pooler)
        need(count, linear, n, shape->hidden, shape->hidden);
    need(count, linear, n, shape->n_labels, shape->hidden);
    if (!training)
        return;
    need(count, WORK_ADD_NORM_BACKWARD, most->tokens, cols, 0);
    need(count, WORK_COLUMN_SUM, most->tokens, shape->types ? cols : 0, 0);
    need(count, WORK_SUM_SQUARES, 0, 0, 0);
}

/* ---- parameters ---- */

static bool count_parameters(struct count *count, struct footprint *to, struct error *err)
{
    const struct footprint_run *run = count->run;
    const struct shape *shape = run->shape;
    const struct batch_size *most = &run->most;
    size_t n, n_parts, cols = shape_embed_norm_width(shape);
    struct part *part = parts_list(shape, &n_parts, err);
    if (!part || !params_count(shape, &n, err)) {
        free(part);
        return false;
    }
    bool of_block = run->dev->act_bytes < sizeof(float);
    if (of_block) /* laid out as the block is */
        to->copies = bytes_of(count, n, 1, run->dev->act_bytes);
    for (size_t i = 0; !of_block && run->precision != DTYPE_F32 && i < n_parts; i++)
        if (part[i].kind == PART_MATRIX)
            to->copies += bytes_of(count, part[i].rows, part[i].cols, 2);
    free(part);
    size_t block = bytes_of(count, n, 1, sizeof(float));
    size_t words = bytes_of(count, shape->vocab, shape->embed, sizeof(float));
    size_t positions = bytes_of(count, shape->positions, cols, sizeof(float));
    size_t learnt =
        run->some_words ? bytes_of(count, run->n_words, shape->embed, sizeof(float)) : words;
    to->parameters = block + words + positions;
    to->moments = 2 * (block + learnt + positions) + sizeof(double) + sizeof(float) +
                  (run->some_words ? shape->vocab * sizeof(int32_t) : 0);
    if (run->precision == DTYPE_F16)
        to->moments += sizeof(struct loss_scale);
    to->gradients =
        block +
        bytes_of(count, batch_most_words(run->batch, most, shape), shape->embed, sizeof(float)) +
        bytes_of(count, batch_most_places(most, shape), cols, sizeof(float));
    return true;
}

static bool finish(struct count *count, struct footprint *to, struct error *err)
{
    to->total = to->parameters + to->gradients + to->moments + to->copies + to->activations +
                to->batch + to->work + to->beside;
    return !count->overflow ||
           error_set(err, "a model or a batch of this size is too large for any machine");
}

bool footprint_training(const struct footprint_run *run, struct footprint *footprint,
                        struct error *err)
{
    struct count count = {.run = run, .format = run->precision, .work = run->work};
    const struct batch_size *most = &run->most, *dev = &run->most_dev;
    *footprint = (struct footprint){.beside = run->beside};
    if (!encoder_bytes(run->dev, run->shape, true, larger(most->tokens, dev->tokens),
                       larger(most->records, dev->records), &footprint->activations, err) ||
        !count_parameters(&count, footprint, err))
        return false;
    if (count.format == DTYPE_F32 && run->dev->act_bytes < sizeof(float))
        count.format = DTYPE_F16; /* either: work is the same */
    need_all(&count, most, true);
    need_all(&count, dev, false);
    footprint->work = count.work;
    footprint->batch = batch_bytes(run->batch, most, run->shape) +
                       (run->batch_dev ? batch_bytes(run->batch_dev, dev, run->shape) : 0) +
                       run->n_records * sizeof(float);
    return finish(&count, footprint, err);
}

bool footprint_inference(const struct footprint_run *run, bool int8, struct footprint *footprint,
                         struct error *err)
{
    struct count count = {
        .run = run, .format = int8 ? DTYPE_I8 : run->precision, .work = run->work};
    const struct batch_size *most = &run->most;
    *footprint = (struct footprint){.parameters = run->weights, .beside = run->beside};
    if (!encoder_bytes(run->dev, run->shape, false, most->tokens, most->records,
                       &footprint->activations, err))
        return false;
    if (int8)
        need_all(&count, most, false);
    footprint->work = count.work;
    footprint->batch = batch_bytes(run->batch, most, run->shape);
    return finish(&count, footprint, err);
}

const char *footprint_text(size_t bytes, char text[FOOTPRINT_TEXT])
{
    double value = (double)bytes;
    if (value >= 1e9)
        snprintf(text, FOOTPRINT_TEXT, "%.1f GB", value / 1e9);
    else
        snprintf(text, FOOTPRINT_TEXT, "%.2f MB", value / 1e6);
    return text;
}
