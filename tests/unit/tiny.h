/* tiny.h: a random encoder classifier with uneven layers, as tensors in memory that a test may
 * change and as a model opened from a file. Header only, like tap.h.
 */
#ifndef MILLET_TESTS_TINY_H
#define MILLET_TESTS_TINY_H

#include <stdlib.h>

#include "core/rng.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "nn/classifier.h"
#include "nn/shape.h"
#include "tests/unit/scratch.h"

enum {
    TINY_LAYERS = 3,
    TINY_HEAD_SIZE = 4,
    TINY_HIDDEN = 12,
    TINY_VOCAB = 20,
    TINY_POSITIONS = 16,
    TINY_LABELS = 3,
    TINY_TENSORS = 9 + 16 * TINY_LAYERS,
    TINY_FLOATS = 8192
};

struct tiny {
    struct layer_shape layer[TINY_LAYERS];
    struct shape shape;
    struct tensor_view tensor[TINY_TENSORS];
    char name[TINY_TENSORS][96];
    size_t n;
    float value[TINY_FLOATS];
    size_t used;
};

static char *tiny_label[TINY_LABELS] = {(char *)"alpha", (char *)"beta", (char *)"gamma"};

static inline void tiny_fail(const struct error *err)
{
    printf("Bail out! %s\n", err->text);
    exit(1);
}

/* Stop the program unless what the test needs, but does not test, went well. */
static inline void tiny_must(bool ok, const struct error *err)
{
    if (!ok)
        tiny_fail(err);
}

/* "bert.encoder.layer.1.output.dense.bias" */
static inline void tiny_name(char *text, size_t n, size_t layer, const char *rest)
{
    snprintf(text, n, "bert.encoder.layer.%zu.%s", layer, rest);
}

/* cols 0: a vector. Norm gains lie around 1. */
static inline void tiny_add(struct tiny *tiny, struct rng *rng, const char *name, size_t rows,
                            size_t cols)
{
    size_t n = rows * (cols ? cols : 1);
    float *value = tiny->value + tiny->used;
    float mean = strstr(name, "LayerNorm.weight") ? 1.0F : 0.0F;
    tiny->used += n;
    if (tiny->used > TINY_FLOATS || tiny->n == TINY_TENSORS)
        abort();
    for (size_t i = 0; i < n; i++)
        value[i] = mean + 0.4F * (float)rng_normal(rng);
    snprintf(tiny->name[tiny->n], sizeof tiny->name[0], "%s", name);
    tiny->tensor[tiny->n] = cols ? tensor_view_2d(tiny->name[tiny->n], DTYPE_F32, rows, cols, value)
                                 : tensor_view_1d(tiny->name[tiny->n], DTYPE_F32, rows, value);
    tiny->n++;
}

static inline void tiny_add_layer(struct tiny *tiny, struct rng *rng, size_t l)
{
    size_t a = tiny->layer[l].heads * TINY_HEAD_SIZE, f = tiny->layer[l].ffn, h = TINY_HIDDEN;
    const struct {
        const char *rest;
        size_t rows, cols;
    } part[] = {
        {"attention.self.query.weight", a, h},
        {"attention.self.query.bias", a, 0},
        {"attention.self.key.weight", a, h},
        {"attention.self.key.bias", a, 0},
        {"attention.self.value.weight", a, h},
        {"attention.self.value.bias", a, 0},
        {"attention.output.dense.weight", h, a},
        {"attention.output.dense.bias", h, 0},
        {"attention.output.LayerNorm.weight", h, 0},
        {"attention.output.LayerNorm.bias", h, 0},
        {"intermediate.dense.weight", f, h},
        {"intermediate.dense.bias", f, 0},
        {"output.dense.weight", h, f},
        {"output.dense.bias", h, 0},
        {"output.LayerNorm.weight", h, 0},
        {"output.LayerNorm.bias", h, 0},
    };
    for (size_t i = 0; i < sizeof part / sizeof part[0]; i++) {
        char name[96];
        tiny_name(name, sizeof name, l, part[i].rest);
        tiny_add(tiny, rng, name, part[i].rows, part[i].cols);
    }
}

static inline void tiny_make(struct tiny *tiny, uint64_t seed)
{
    struct rng rng;
    rng_seed(&rng, seed);
    *tiny = (struct tiny){.layer = {{3, 7}, {2, 5}, {3, 6}}};
    tiny->shape = (struct shape){.family = family_find("bert"),
                                 .vocab = TINY_VOCAB,
                                 .hidden = TINY_HIDDEN,
                                 .embed = TINY_HIDDEN,
                                 .width = TINY_HIDDEN,
                                 .stack = 1,
                                 .head_size = TINY_HEAD_SIZE,
                                 .positions = TINY_POSITIONS,
                                 .types = 2,
                                 .n_labels = TINY_LABELS,
                                 .n_layers = TINY_LAYERS,
                                 .layer = tiny->layer,
                                 .activation = EPILOGUE_GELU,
                                 .eps = 1e-12F,
                                 .initializer_range = 0.02F,
                                 .has_pooler = true,
                                 .has_classifier = true};
    tiny_add(tiny, &rng, "bert.embeddings.word_embeddings.weight", TINY_VOCAB, TINY_HIDDEN);
    tiny_add(tiny, &rng, "bert.embeddings.position_embeddings.weight", TINY_POSITIONS, TINY_HIDDEN);
    tiny_add(tiny, &rng, "bert.embeddings.token_type_embeddings.weight", 2, TINY_HIDDEN);
    tiny_add(tiny, &rng, "bert.embeddings.LayerNorm.weight", TINY_HIDDEN, 0);
    tiny_add(tiny, &rng, "bert.embeddings.LayerNorm.bias", TINY_HIDDEN, 0);
    for (size_t l = 0; l < TINY_LAYERS; l++)
        tiny_add_layer(tiny, &rng, l);
    tiny_add(tiny, &rng, "bert.pooler.dense.weight", TINY_HIDDEN, TINY_HIDDEN);
    tiny_add(tiny, &rng, "bert.pooler.dense.bias", TINY_HIDDEN, 0);
    tiny_add(tiny, &rng, "classifier.weight", TINY_LABELS, TINY_HIDDEN);
    tiny_add(tiny, &rng, "classifier.bias", TINY_LABELS, 0);
}

/* The values of a tensor; the test may change them. */
static inline float *tiny_values(struct tiny *tiny, const char *name)
{
    for (size_t i = 0; i < tiny->n; i++)
        if (strcmp(tiny->name[i], name) == 0)
            return tiny->value + ((const float *)tiny->tensor[i].data - tiny->value);
    abort();
}

/* Those of layer l. */
static inline float *tiny_layer_values(struct tiny *tiny, size_t l, const char *rest)
{
    char name[96];
    tiny_name(name, sizeof name, l, rest);
    return tiny_values(tiny, name);
}

static inline struct output *tiny_output(const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = output_open(scratch_path(file), true, &err);
    if (!output)
        tiny_fail(&err);
    return output;
}

static inline void tiny_open(struct model *model, const char *file)
{
    struct error err = ERROR_INIT;
    if (!model_open(model, scratch_path(file), &err))
        tiny_fail(&err);
}

/* Commit what was written to `file` and open it as a model. */
static inline void tiny_reopen(struct output *output, struct model *model, const char *file)
{
    struct error err = ERROR_INIT;
    if (!output_commit(output, &err))
        tiny_fail(&err);
    tiny_open(model, file);
}

/* Write tensors with a config as a tar and open it. */
static inline void tiny_store(const struct tensor_view *tensor, size_t n, const json_t *config,
                              struct model *model, const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    struct model_writer_options options = {.config = config, .tensor = tensor, .n_tensors = n};
    if (!model_write(output, &options, &err))
        tiny_fail(&err);
    tiny_reopen(output, model, file);
}

/* The model as it stands, as a tar in the scratch directory, opened. */
static inline void tiny_model(const struct tiny *tiny, struct model *model, const char *file)
{
    struct error err = ERROR_INIT;
    json_t *config = shape_config(&tiny->shape, NULL, tiny_label, &err);
    if (!config)
        tiny_fail(&err);
    tiny_store(tiny->tensor, tiny->n, config, model, file);
    json_decref(config);
}

/* logits [n, TINY_LABELS] of n records, by the reference device. */
static inline void tiny_answer(struct model *model, const int64_t *offset, const int32_t *id,
                               size_t n, float *logits)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    struct classifier *classifier = dev ? classifier_open(model, dev, NULL, 0, &err) : NULL;
    tiny_must(classifier && classifier_run(classifier, offset, id, n, logits, &err), &err);
    classifier_close(classifier);
    dev->op->close(dev);
}

/* A stream of n records in a file, opened, as mtok and (logits [n, TINY_LABELS], NULL: none) mteach
 * would write it. */
static inline void tiny_records(struct records_set *set, const int64_t *offset, const int32_t *id,
                                const int32_t *label, const float *logits, size_t n)
{
    struct error err = ERROR_INIT;
    static const char *const field[] = {"ids", "offsets", "label", "logits"};
    const struct tensor_view tensor[] = {
        tensor_view_1d("ids", DTYPE_I32, (uint64_t)offset[n], id),
        tensor_view_1d("offsets", DTYPE_I64, n + 1, offset),
        tensor_view_1d("label", DTYPE_I32, n, label),
        tensor_view_2d("logits", DTYPE_F32, n, TINY_LABELS, logits),
    };
    size_t fields = logits ? 4 : 3;
    struct records_header header = {.tokenizer = 1,
                                    .label = tiny_label,
                                    .n_labels = TINY_LABELS,
                                    .max_tokens = TINY_POSITIONS,
                                    .history = json_array()};
    struct output *output = tiny_output("records");
    struct records_writer *writer =
        records_writer_open(output, &header, field, fields, json_object(), &err);
    tiny_must(writer && records_write(writer, tensor, fields, &err) &&
                  records_writer_finish(writer, &err) && output_commit(output, &err),
              &err);
    json_decref(header.history);
    const char *path = scratch_path("records");
    tiny_must(records_set_open(set, &path, 1, &err), &err);
}

#endif
