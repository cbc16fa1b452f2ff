/* shape_config.c: config.json to a shape and back, by the keys of the family. */
#include "nn/shape_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"

static const struct {
    const char *name;
    enum epilogue activation;
} activations[] = {
    {"gelu", EPILOGUE_GELU},
    {"gelu_new", EPILOGUE_GELU_TANH},
    {"gelu_pytorch_tanh", EPILOGUE_GELU_TANH},
    {"gelu_fast", EPILOGUE_GELU_TANH},
    {"gelu_python", EPILOGUE_GELU},
    {"relu", EPILOGUE_RELU},
};

/* ---- from config.json ---- */

/* Where the values are: the object and its name for messages. */
struct source_config {
    const json_t *config;
    char place[512];
};

static bool get_count(const struct source_config *from, const char *key, bool required, int64_t min,
                      int64_t max, size_t *value, struct error *err)
{
    int64_t found = (int64_t)*value;
    if (!jobject_integer(from->config, from->place, key, required, min, max, &found, err))
        return false;
    *value = (size_t)found;
    return true;
}

static bool get_size(const struct source_config *from, const char *key, bool required, int64_t max,
                     size_t *value, struct error *err)
{
    return !key || get_count(from, key, required, 1, max, value, err);
}

static bool get_rate(const struct source_config *from, const char *key, float *value,
                     struct error *err)
{
    double found = (double)*value;
    const json_t *entry = json_object_get(from->config, key);
    if (!entry || json_is_null(entry))
        return true;
    if (!jobject_number(from->config, from->place, key, false, &found, err))
        return false;
    if (!(found >= 0 && found < 1))
        return error_set(err, "%s: \"%s\" is %g, expected a rate in [0, 1)", from->place, key,
                         found);
    *value = (float)found;
    return true;
}

static bool get_small(const struct source_config *from, const char *key, double below, float *value,
                      struct error *err)
{
    double found = (double)*value;
    if (!key)
        return true;
    if (!jobject_number(from->config, from->place, key, false, &found, err))
        return false;
    if (!(found > 0 && found < below))
        return error_set(err, "%s: \"%s\" is %g, expected a number above 0 and below %g",
                         from->place, key, found, below);
    *value = (float)found;
    return true;
}

static bool get_bool(const struct source_config *from, const char *key, bool *value,
                     struct error *err)
{
    const json_t *entry = json_object_get(from->config, key);
    if (!entry || json_is_null(entry))
        return true;
    if (!json_is_boolean(entry))
        return error_set(err, "%s: \"%s\" is not true or false", from->place, key);
    *value = json_is_true(entry);
    return true;
}

static bool read_activation(struct shape *shape, const struct source_config *from,
                            struct error *err)
{
    const char *key = shape->family->keys.activation, *name = NULL;
    if (!jobject_string(from->config, from->place, key, false, &name, err))
        return false;
    if (!name)
        return true;
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++)
        if (strcmp(name, activations[i].name) == 0) {
            shape->activation = activations[i].activation;
            return true;
        }
    return error_set(err,
                     "%s: \"%s\" is \"%s\"; gelu (gelu_python), gelu_new (gelu_pytorch_tanh, "
                     "gelu_fast) and relu are known",
                     from->place, key, name);
}

static bool read_pool(struct shape *shape, const struct source_config *from, struct error *err)
{
    const char *name = "first";
    bool activated = true;
    if (!jobject_string(from->config, from->place, "millet_pool", false, &name, err))
        return false;
    bool mean = strcmp(name, "mean") == 0;
    if (!mean && strcmp(name, "first") != 0)
        return error_set(err, "%s: \"millet_pool\" is \"%s\"; \"first\" and \"mean\" are known",
                         from->place, name);
    shape->pool = mean ? SHAPE_MEAN : SHAPE_FIRST;
    if (shape->family->bottleneck && !get_bool(from, "classifier_activation", &activated, err))
        return false;
    shape->no_pooler = mean || !activated;
    return true;
}

/* Where positions are counted from the padding's id, a text needs a row behind it. */
static bool read_pad(struct shape *shape, const struct source_config *from, struct error *err)
{
    bool after = shape->family->positions == FAMILY_AFTER_PAD;
    int64_t pad = shape->pad, max = (int64_t)shape->vocab - 1;
    if (!after && json_is_null(json_object_get(from->config, "pad_token_id"))) {
        shape->pad = -1;
        return true;
    }
    if (!jobject_integer(from->config, from->place, "pad_token_id", false, 0, max, &pad, err))
        return false;
    if (after && pad + 2 > (int64_t)shape->positions)
        return error_set(err,
                         "%s: \"max_position_embeddings\" is %zu; the first token's position "
                         "follows \"pad_token_id\", %" PRId64 ": expected at least %" PRId64,
                         from->place, shape->positions, pad, pad + 2);
    shape->pad = (int32_t)pad;
    return true;
}

void shape_defaults(struct shape *shape, const struct family *family)
{
    *shape = (struct shape){.family = family,
                            .positions = 512,
                            .types = family->types,
                            .stack = 1,
                            .activation = family->activation,
                            .pad = family->pad,
                            .eps = family->eps,
                            .hidden_dropout = family->hidden_dropout,
                            .attention_dropout = family->attention_dropout,
                            .classifier_dropout = family->classifier_dropout,
                            .initializer_range = 0.02f};
}

static bool read_sizes(struct shape *shape, const struct source_config *from, size_t *heads,
                       size_t *ffn, struct error *err)
{
    const struct family *family = shape->family;
    const struct family_keys *key = &family->keys;
    if (!get_size(from, "vocab_size", true, SHAPE_MAX_VOCAB, &shape->vocab, err) ||
        !get_size(from, key->hidden, true, SHAPE_MAX_HIDDEN, &shape->hidden, err))
        return false;
    shape->embed = shape->width = shape->hidden;
    return get_size(from, key->embed, true, SHAPE_MAX_HIDDEN, &shape->embed, err) &&
           get_size(from, family->bottleneck ? "intra_bottleneck_size" : NULL, true,
                    SHAPE_MAX_HIDDEN, &shape->width, err) &&
           get_size(from, family->bottleneck ? "num_feedforward_networks" : NULL, true,
                    SHAPE_MAX_STACK, &shape->stack, err) &&
           get_count(from, key->layers, true, 0, SHAPE_MAX_LAYERS, &shape->n_layers, err) &&
           get_size(from, key->heads, true, SHAPE_MAX_HEADS, heads, err) &&
           get_size(from, key->ffn, true, SHAPE_MAX_FFN, ffn, err) &&
           get_size(from, "max_position_embeddings", true, SHAPE_MAX_POSITIONS, &shape->positions,
                    err) &&
           get_size(from, key->types, false, SHAPE_MAX_POSITIONS, &shape->types, err);
}

static bool read_all(struct shape *shape, const struct source_config *from, size_t *heads,
                     size_t *ffn, struct error *err)
{
    const struct family_keys *key = &shape->family->keys;
    if (!read_activation(shape, from, err) || !read_sizes(shape, from, heads, ffn, err) ||
        !read_pool(shape, from, err) || !read_pad(shape, from, err) ||
        !get_rate(from, key->hidden_dropout, &shape->hidden_dropout, err) ||
        !get_rate(from, key->attention_dropout, &shape->attention_dropout, err) ||
        !get_rate(from, key->classifier_dropout, &shape->classifier_dropout, err) ||
        !get_small(from, key->eps, 1, &shape->eps, err) ||
        !get_small(from, "initializer_range", 10, &shape->initializer_range, err))
        return false;
    if (shape->n_layers == 0 && shape->pool != SHAPE_MEAN)
        return error_set(err,
                         "%s: \"%s\" is 0, but \"millet_pool\" is not \"mean\": without layers "
                         "the first token is the same in every text",
                         from->place, key->layers);
    if (shape->width % *heads != 0)
        return error_set(err, "%s: \"%s\" %zu is not a multiple of \"%s\" %zu", from->place,
                         shape->family->bottleneck ? "intra_bottleneck_size" : key->hidden,
                         shape->width, key->heads, *heads);
    shape->head_size = shape->width / *heads;
    if (shape->classifier_dropout < 0)
        shape->classifier_dropout = shape->hidden_dropout;
    return true;
}

bool shape_read_config(struct shape *shape, const struct model *model, struct error *err)
{
    struct source_config from = {.config = model->config};
    size_t heads = 0, ffn = 0;
    snprintf(from.place, sizeof from.place, "%s: config.json", model->name);
    const struct family *family = family_of(model->config, from.place, err);
    if (!family)
        return false;
    shape_defaults(shape, family);
    if (!read_all(shape, &from, &heads, &ffn, err))
        return false;
    shape->layer = memory_zeroed(shape->n_layers, sizeof *shape->layer, err);
    for (size_t l = 0; shape->layer && l < shape->n_layers; l++)
        shape->layer[l] = (struct layer_shape){.heads = heads, .ffn = ffn};
    return shape->layer != NULL;
}

/* ---- to config.json ---- */

/* The shortest decimal that is this float: 0.1, not 0.10000000149. */
static json_t *real(float value)
{
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)value);
    return json_real(strtod(text, NULL));
}

static const char *activation_name(enum epilogue activation)
{
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++)
        if (activations[i].activation == activation)
            return activations[i].name;
    return "gelu";
}

static bool set_labels(json_t *config, char *const *label, size_t n)
{
    json_t *names = json_object(), *ids = json_object();
    bool ok = names && ids;
    for (size_t i = 0; ok && i < n; i++) {
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        ok = json_object_set_new(names, key, json_string(label[i])) == 0 &&
             json_object_set_new(ids, label[i], json_integer((json_int_t)i)) == 0;
    }
    if (!ok) {
        json_decref(names);
        json_decref(ids);
        return false;
    }
    bool named = json_object_set_new(config, "id2label", names) == 0;
    bool numbered = json_object_set_new(config, "label2id", ids) == 0;
    return named && numbered &&
           json_object_set_new(config, "num_labels", json_integer((json_int_t)n)) == 0;
}

/* Steals `value`; a key that the family does not have is no key. */
static bool set(json_t *config, const char *key, json_t *value)
{
    if (key)
        return json_object_set_new(config, key, value) == 0;
    json_decref(value);
    return true;
}

static json_t *size(size_t value)
{
    return json_integer((json_int_t)value);
}

static bool set_shape(const struct shape *shape, json_t *config)
{
    const struct family *family = shape->family;
    const struct family_keys *key = &family->keys;
    size_t ffn = 1;
    for (size_t l = 0; l < shape->n_layers; l++)
        ffn = shape->layer[l].ffn > ffn ? shape->layer[l].ffn : ffn;
    const struct {
        const char *key;
        json_t *value; /* stolen; NULL (no memory) is refused */
    } entry[] = {
        {"architectures",
         json_pack("[s]", shape->mlm ? family->mlm.class_name : family->class_name)},
        {"model_type", json_string(family->model_type)},
        {"vocab_size", size(shape->vocab)},
        {key->hidden, size(shape->hidden)},
        {key->embed, size(shape->embed)},
        {family->bottleneck ? "intra_bottleneck_size" : NULL, size(shape->width)},
        {family->bottleneck ? "num_feedforward_networks" : NULL, size(shape->stack)},
        {key->layers, size(shape->n_layers)},
        {key->heads, size(shape->width / shape->head_size)},
        {key->ffn, size(ffn)},
        {key->activation, json_string(activation_name(shape->activation))},
        {"max_position_embeddings", size(shape->positions)},
        {key->types, size(shape->types)},
        {family->positions == FAMILY_AFTER_PAD ? "pad_token_id" : NULL,
         json_integer((json_int_t)shape->pad)},
        {key->eps, real(shape->eps)},
        {"initializer_range", real(shape->initializer_range)},
        {key->hidden_dropout, real(shape->hidden_dropout)},
        {key->attention_dropout, real(shape->attention_dropout)},
        {key->classifier_dropout, real(shape->classifier_dropout)},
        {shape->pool == SHAPE_MEAN ? "millet_pool" : NULL, json_string("mean")},
    };
    bool ok = true;
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++)
        ok = set(config, entry[i].key, entry[i].value) && ok;
    return ok;
}

json_t *shape_config(const struct shape *shape, const json_t *base, char *const *label,
                     struct error *err)
{
    json_t *config = base ? json_deep_copy(base) : json_object();
    if (config && shape->pool == SHAPE_FIRST)
        json_object_del(config, "millet_pool");
    static const char *const of_labels[] = {"id2label", "label2id", "num_labels", "problem_type"};
    for (size_t i = 0; config && shape->mlm && i < sizeof of_labels / sizeof *of_labels; i++)
        json_object_del(config, of_labels[i]);
    if (config && set_shape(shape, config) &&
        (!label || shape->mlm || set_labels(config, label, shape->n_labels)))
        return config;
    json_decref(config);
    error_set(err, "no memory for a model's config, or a label that is not UTF-8");
    return NULL;
}
