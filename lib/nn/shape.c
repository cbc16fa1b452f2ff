/* shape.c: reading a shape from config.json and the tensors, from a user's text, and writing it
 * back as config.json. */
#include "nn/shape.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "core/number.h"

/* Limits on what a config may claim: far above any BERT, far below what would overflow a product of
 * three. */
enum {
    MAX_LAYERS = 1024,
    MAX_HIDDEN = 1 << 16,
    MAX_HEADS = 1 << 12,
    MAX_FFN = 1 << 20,
    MAX_VOCAB = 1 << 26,
    MAX_POSITIONS = 1 << 20,
    NAME_BYTES = 160
};

static const struct {
    const char *name;
    enum epilogue activation;
} activations[] = {
    {"gelu", EPILOGUE_GELU},
    {"gelu_new", EPILOGUE_GELU_TANH},
    {"gelu_pytorch_tanh", EPILOGUE_GELU_TANH},
    {"relu", EPILOGUE_RELU},
};

void shape_tensor_name(char *text, size_t n, size_t layer, const char *rest)
{
    snprintf(text, n, "bert.encoder.layer.%zu.%s", layer, rest);
}

static const struct tensor_view *find_either(const struct model *model, const char *name)
{
    const struct tensor_view *view = model_find(model, name);
    if (!view && strncmp(name, "bert.", 5) == 0)
        view = model_find(model, name + 5);
    return view;
}

const struct tensor_view *shape_find_tensor(const struct model *model, const char *name)
{
    static const struct {
        const char *now, *old;
    } spelling[] = {{"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};

    const struct tensor_view *view = find_either(model, name);
    for (size_t i = 0; !view && i < sizeof spelling / sizeof spelling[0]; i++) {
        size_t n = strlen(name), tail = strlen(spelling[i].now);
        char other[NAME_BYTES];
        if (n < tail || n >= sizeof other || strcmp(name + n - tail, spelling[i].now) != 0)
            continue;
        snprintf(other, sizeof other, "%.*s%s", (int)(n - tail), name, spelling[i].old);
        view = find_either(model, other);
    }
    return view;
}

/* The scale of an int8 tensor: "<name>_scale", F32 [rows], aligned. */
static bool check_scale(const struct model *model, const struct tensor_view *view,
                        struct error *err)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s_scale", view->name);
    const struct tensor_view *scale = model_find(model, name);
    if (!scale)
        return error_set(err, "%s: tensor %s is int8 but there is no %s beside it", model->name,
                         view->name, name);
    if (scale->type != DTYPE_F32 || scale->rank != 1 || scale->dim[0] != view->dim[0] ||
        (uintptr_t)scale->data % sizeof(float) != 0)
        return error_set(err, "%s: tensor %s must be an aligned F32 [%" PRIu64 "]", model->name,
                         name, view->dim[0]);
    return true;
}

const struct tensor_view *shape_scale_of(const struct model *model, const struct tensor_view *view)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s_scale", view->name);
    return view->type == DTYPE_I8 ? model_find(model, name) : NULL;
}

const struct tensor_view *shape_require_tensor(const struct model *model, const char *name,
                                               size_t rows, size_t cols, struct error *err)
{
    const struct tensor_view *view = shape_find_tensor(model, name);
    char text[128], expected[64];
    if (!view) {
        error_set(err, "%s: no tensor %s; the model's config does not fit its weights", model->name,
                  name);
        return NULL;
    }
    tensor_view_describe(view, text, sizeof text);
    if (cols)
        snprintf(expected, sizeof expected, "[%zu, %zu]", rows, cols);
    else
        snprintf(expected, sizeof expected, "[%zu]", rows);
    bool fits =
        view->rank == (cols ? 2 : 1) && view->dim[0] == rows && (!cols || view->dim[1] == cols);
    if (!fits) {
        error_set(err, "%s: tensor %s is %s, expected %s", model->name, name, text, expected);
        return NULL;
    }
    bool known = view->type == DTYPE_F32 || view->type == DTYPE_F16 || view->type == DTYPE_BF16 ||
                 (view->type == DTYPE_I8 && cols);
    if (!known) {
        error_set(err, "%s: tensor %s is %s; only F32, F16, BF16 and (matrices) I8 can be used",
                  model->name, name, text);
        return NULL;
    }
    if (view->type == DTYPE_I8 && !check_scale(model, view, err))
        return NULL;
    return view;
}

/* ---- from a model ---- */

static bool get_size(const json_t *config, const char *place, const char *key, bool required,
                     int64_t max, size_t *value, struct error *err)
{
    int64_t found = (int64_t)*value;
    if (!jobject_integer(config, place, key, required, 1, max, &found, err))
        return false;
    *value = (size_t)found;
    return true;
}

static bool get_rate(const json_t *config, const char *place, const char *key, float *value,
                     struct error *err)
{
    double found = (double)*value;
    const json_t *entry = json_object_get(config, key);
    if (!entry || json_is_null(entry))
        return true;
    if (!jobject_number(config, place, key, false, &found, err))
        return false;
    if (!(found >= 0 && found < 1))
        return error_set(err, "%s: \"%s\" is %g, expected a rate in [0, 1)", place, key, found);
    *value = (float)found;
    return true;
}

static bool read_activation(struct shape *shape, const json_t *config, const char *place,
                            struct error *err)
{
    const char *name = "gelu";
    if (!jobject_string(config, place, "hidden_act", false, &name, err))
        return false;
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++)
        if (strcmp(name, activations[i].name) == 0) {
            shape->activation = activations[i].activation;
            return true;
        }
    return error_set(
        err, "%s: \"hidden_act\" is \"%s\"; gelu, gelu_new, gelu_pytorch_tanh and relu are known",
        place, name);
}

/* The kinds of model that share BERT's config keys but compute something else. */
static bool check_kind(const json_t *config, const char *place, struct error *err)
{
    const char *type = "bert", *position = "absolute";
    if (!jobject_string(config, place, "model_type", false, &type, err) ||
        !jobject_string(config, place, "position_embedding_type", false, &position, err))
        return false;
    if (strcmp(type, "bert") != 0)
        return error_set(err, "%s: \"model_type\" is \"%s\"; only \"bert\" is known", place, type);
    if (strcmp(position, "absolute") != 0)
        return error_set(err,
                         "%s: \"position_embedding_type\" is \"%s\"; only \"absolute\" is known",
                         place, position);
    return true;
}

static void set_defaults(struct shape *shape)
{
    *shape = (struct shape){.positions = 512,
                            .types = 2,
                            .activation = EPILOGUE_GELU,
                            .eps = 1e-12f,
                            .hidden_dropout = 0.1f,
                            .attention_dropout = 0.1f,
                            .classifier_dropout = -1,
                            .initializer_range = 0.02f};
}

static bool read_config(struct shape *shape, const struct model *model, const char *place,
                        struct error *err)
{
    const json_t *config = model->config;
    size_t heads = 0;
    double eps = (double)shape->eps, range = (double)shape->initializer_range;
    if (!check_kind(config, place, err) || !read_activation(shape, config, place, err) ||
        !get_size(config, place, "vocab_size", true, MAX_VOCAB, &shape->vocab, err) ||
        !get_size(config, place, "hidden_size", true, MAX_HIDDEN, &shape->hidden, err) ||
        !get_size(config, place, "num_hidden_layers", true, MAX_LAYERS, &shape->n_layers, err) ||
        !get_size(config, place, "num_attention_heads", true, MAX_HEADS, &heads, err) ||
        !get_size(config, place, "max_position_embeddings", true, MAX_POSITIONS, &shape->positions,
                  err) ||
        !get_size(config, place, "type_vocab_size", false, MAX_POSITIONS, &shape->types, err) ||
        !get_rate(config, place, "hidden_dropout_prob", &shape->hidden_dropout, err) ||
        !get_rate(config, place, "attention_probs_dropout_prob", &shape->attention_dropout, err) ||
        !get_rate(config, place, "classifier_dropout", &shape->classifier_dropout, err) ||
        !jobject_number(config, place, "layer_norm_eps", false, &eps, err) ||
        !jobject_number(config, place, "initializer_range", false, &range, err))
        return false;
    if (shape->hidden % heads != 0)
        return error_set(err,
                         "%s: \"hidden_size\" %zu is not a multiple of \"num_attention_heads\" %zu",
                         place, shape->hidden, heads);
    if (!(eps > 0 && eps < 1) || !(range > 0 && range < 10))
        return error_set(err,
                         "%s: \"layer_norm_eps\" %g or \"initializer_range\" %g is out of range",
                         place, eps, range);
    shape->head_size = shape->hidden / heads;
    shape->eps = (float)eps;
    shape->initializer_range = (float)range;
    if (shape->classifier_dropout < 0)
        shape->classifier_dropout = shape->hidden_dropout;
    return true;
}

/* Rows of a matrix of layer l; 0 when it is absent. */
static size_t layer_rows(const struct model *model, size_t l, const char *rest)
{
    char name[NAME_BYTES];
    shape_tensor_name(name, sizeof name, l, rest);
    const struct tensor_view *view = shape_find_tensor(model, name);
    return view && view->rank == 2 && view->dim[0] <= MAX_FFN ? (size_t)view->dim[0] : 0;
}

static bool require_layer(const struct model *model, size_t l, const char *rest, size_t rows,
                          size_t cols, struct error *err)
{
    char name[NAME_BYTES];
    shape_tensor_name(name, sizeof name, l, rest);
    return shape_require_tensor(model, name, rows, cols, err) != NULL;
}

static bool read_layer(struct shape *shape, const struct model *model, size_t l, struct error *err)
{
    size_t hidden = shape->hidden;
    size_t inner = layer_rows(model, l, "attention.self.query.weight");
    size_t ffn = layer_rows(model, l, "intermediate.dense.weight");
    if (inner % shape->head_size != 0)
        return error_set(
            err, "%s: layer %zu: query.weight has %zu rows, not a multiple of the head size %zu",
            model->name, l, inner, shape->head_size);
    /* An absent or misshapen matrix has 0 rows here and is named by the checks below. */
    size_t rows = inner ? inner : hidden, width = ffn ? ffn : 4 * hidden;
    shape->layer[l] = (struct layer_shape){.heads = rows / shape->head_size, .ffn = width};
    return require_layer(model, l, "attention.self.query.weight", rows, hidden, err) &&
           require_layer(model, l, "attention.self.query.bias", rows, 0, err) &&
           require_layer(model, l, "attention.self.key.weight", rows, hidden, err) &&
           require_layer(model, l, "attention.self.key.bias", rows, 0, err) &&
           require_layer(model, l, "attention.self.value.weight", rows, hidden, err) &&
           require_layer(model, l, "attention.self.value.bias", rows, 0, err) &&
           require_layer(model, l, "attention.output.dense.weight", hidden, rows, err) &&
           require_layer(model, l, "attention.output.dense.bias", hidden, 0, err) &&
           require_layer(model, l, "attention.output.LayerNorm.weight", hidden, 0, err) &&
           require_layer(model, l, "attention.output.LayerNorm.bias", hidden, 0, err) &&
           require_layer(model, l, "intermediate.dense.weight", width, hidden, err) &&
           require_layer(model, l, "intermediate.dense.bias", width, 0, err) &&
           require_layer(model, l, "output.dense.weight", hidden, width, err) &&
           require_layer(model, l, "output.dense.bias", hidden, 0, err) &&
           require_layer(model, l, "output.LayerNorm.weight", hidden, 0, err) &&
           require_layer(model, l, "output.LayerNorm.bias", hidden, 0, err);
}

static bool read_head(struct shape *shape, const struct model *model, struct error *err)
{
    shape->has_pooler = shape_find_tensor(model, "bert.pooler.dense.weight") != NULL;
    if (shape->has_pooler &&
        !(shape_require_tensor(model, "bert.pooler.dense.weight", shape->hidden, shape->hidden,
                               err) &&
          shape_require_tensor(model, "bert.pooler.dense.bias", shape->hidden, 0, err)))
        return false;
    const struct tensor_view *classifier = shape_find_tensor(model, "classifier.weight");
    shape->has_classifier = classifier != NULL;
    shape->n_labels = model->n_labels;
    if (!classifier)
        return true;
    if (!model->n_labels && classifier->rank == 2 && classifier->dim[0] <= MAX_FFN)
        shape->n_labels = (size_t)classifier->dim[0];
    return shape_require_tensor(model, "classifier.weight", shape->n_labels, shape->hidden, err) &&
           shape_require_tensor(model, "classifier.bias", shape->n_labels, 0, err);
}

static bool read_tensors(struct shape *shape, const struct model *model, struct error *err)
{
    if (!shape_require_tensor(model, "bert.embeddings.word_embeddings.weight", shape->vocab,
                              shape->hidden, err) ||
        !shape_require_tensor(model, "bert.embeddings.position_embeddings.weight", shape->positions,
                              shape->hidden, err) ||
        !shape_require_tensor(model, "bert.embeddings.token_type_embeddings.weight", shape->types,
                              shape->hidden, err) ||
        !shape_require_tensor(model, "bert.embeddings.LayerNorm.weight", shape->hidden, 0, err) ||
        !shape_require_tensor(model, "bert.embeddings.LayerNorm.bias", shape->hidden, 0, err))
        return false;
    for (size_t l = 0; l < shape->n_layers; l++)
        if (!read_layer(shape, model, l, err))
            return false;
    if (layer_rows(model, shape->n_layers, "attention.self.query.weight"))
        return error_set(err, "%s: the config says %zu layers, but there are weights of one more",
                         model->name, shape->n_layers);
    return read_head(shape, model, err);
}

bool shape_from_model(struct shape *shape, const struct model *model, struct error *err)
{
    char place[512];
    set_defaults(shape);
    if (!model_check_weights(model, err))
        return false;
    snprintf(place, sizeof place, "%s: config.json", model->name);
    if (!read_config(shape, model, place, err))
        return false;
    shape->layer = memory_zeroed(shape->n_layers, sizeof *shape->layer, err);
    if (shape->layer && read_tensors(shape, model, err))
        return true;
    shape_free(shape);
    return false;
}

/* ---- from a user's text ---- */

struct text_keys {
    int64_t layers, hidden, heads, ffn, positions;
};

static bool read_key(struct text_keys *keys, const char *key, const char *value, struct error *err)
{
    const struct {
        const char *name;
        int64_t max;
        int64_t *to;
    } known[] = {{"layers", MAX_LAYERS, &keys->layers},
                 {"hidden", MAX_HIDDEN, &keys->hidden},
                 {"heads", MAX_HEADS, &keys->heads},
                 {"ffn", MAX_FFN, &keys->ffn},
                 {"positions", MAX_POSITIONS, &keys->positions}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(key, known[i].name) != 0)
            continue;
        char what[32];
        snprintf(what, sizeof what, "--shape %s", key);
        if (*known[i].to)
            return error_set(err, "%s is given twice", what);
        return number_integer(value, what, 1, known[i].max, known[i].to, err);
    }
    return error_set(
        err, "--shape: unknown key \"%s\"; expected layers, hidden, heads, ffn or positions", key);
}

static bool read_keys(struct text_keys *keys, char *text, struct error *err)
{
    char *rest = text;
    while (rest && *rest) {
        char *item = rest, *comma = strchr(rest, ',');
        rest = comma ? comma + 1 : NULL;
        if (comma)
            *comma = '\0';
        char *equals = strchr(item, '=');
        if (!equals)
            return error_set(err, "--shape: \"%s\" is not KEY=NUMBER, as in layers=4,hidden=256",
                             item);
        *equals = '\0';
        if (!read_key(keys, item, equals + 1, err))
            return false;
    }
    return true;
}

bool shape_from_text(struct shape *shape, const char *text, size_t vocab, size_t n_labels,
                     struct error *err)
{
    struct text_keys keys = {0};
    set_defaults(shape);
    char *copy = memory_copy(text, strlen(text), err);
    bool ok = copy && read_keys(&keys, copy, err);
    free(copy);
    if (!ok)
        return false;
    int64_t hidden = keys.hidden ? keys.hidden : 256;
    int64_t heads = keys.heads ? keys.heads : hidden / 64 ? hidden / 64 : 1;
    if (hidden % heads != 0)
        return error_set(err, "--shape: hidden=%" PRId64 " is not a multiple of heads=%" PRId64,
                         hidden, heads);
    if (vocab < 1 || vocab > MAX_VOCAB || n_labels < 1 || n_labels > MAX_FFN)
        return error_set(err, "--shape: a vocabulary of %zu and %zu labels cannot be trained",
                         vocab, n_labels);
    shape->vocab = vocab;
    shape->n_labels = n_labels;
    shape->hidden = (size_t)hidden;
    shape->head_size = (size_t)(hidden / heads);
    /* 0.02 is for 768 columns. The same deviation in a narrow model shrinks every product, so that
     * its first steps see almost no difference between texts: keep the variance of a sum instead.
     */
    shape->initializer_range = (float)(0.02 * sqrt(768.0 / (double)hidden));
    shape->positions = keys.positions ? (size_t)keys.positions : 512;
    shape->classifier_dropout = shape->hidden_dropout;
    shape->n_layers = keys.layers ? (size_t)keys.layers : 4;
    shape->layer = memory_zeroed(shape->n_layers, sizeof *shape->layer, err);
    if (!shape->layer)
        return false;
    for (size_t l = 0; l < shape->n_layers; l++)
        shape->layer[l] = (struct layer_shape){
            .heads = (size_t)heads, .ffn = keys.ffn ? (size_t)keys.ffn : 4 * shape->hidden};
    return true;
}

bool shape_copy(const struct shape *from, struct shape *to, struct error *err)
{
    struct layer_shape *layer = memory_array(from->n_layers, sizeof *layer, err);
    if (!layer)
        return false;
    memcpy(layer, from->layer, from->n_layers * sizeof *layer);
    *to = *from;
    to->layer = layer;
    return true;
}

void shape_free(struct shape *shape)
{
    free(shape->layer);
    shape->layer = NULL;
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

json_t *shape_config(const struct shape *shape, const json_t *base, char *const *label,
                     struct error *err)
{
    size_t ffn = 1;
    for (size_t l = 0; l < shape->n_layers; l++)
        ffn = shape->layer[l].ffn > ffn ? shape->layer[l].ffn : ffn;
    const struct {
        const char *key;
        json_t *value; /* stolen by json_object_set_new, which also refuses NULL */
    } entry[] = {
        {"architectures", json_pack("[s]", "BertForSequenceClassification")},
        {"model_type", json_string("bert")},
        {"vocab_size", json_integer((json_int_t)shape->vocab)},
        {"hidden_size", json_integer((json_int_t)shape->hidden)},
        {"num_hidden_layers", json_integer((json_int_t)shape->n_layers)},
        {"num_attention_heads", json_integer((json_int_t)(shape->hidden / shape->head_size))},
        {"intermediate_size", json_integer((json_int_t)ffn)},
        {"hidden_act", json_string(activation_name(shape->activation))},
        {"max_position_embeddings", json_integer((json_int_t)shape->positions)},
        {"type_vocab_size", json_integer((json_int_t)shape->types)},
        {"layer_norm_eps", real(shape->eps)},
        {"initializer_range", real(shape->initializer_range)},
        {"hidden_dropout_prob", real(shape->hidden_dropout)},
        {"attention_probs_dropout_prob", real(shape->attention_dropout)},
        {"classifier_dropout", real(shape->classifier_dropout)},
    };
    json_t *config = base ? json_deep_copy(base) : json_object();
    bool ok = config != NULL;
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++)
        ok = json_object_set_new(config, entry[i].key, entry[i].value) == 0 && ok;
    if (ok && label)
        ok = set_labels(config, label, shape->n_labels);
    if (ok)
        return config;
    json_decref(config);
    error_set(err, "no memory for a model's config, or a label that is not UTF-8");
    return NULL;
}

/* ---- size ---- */

size_t shape_parameters(const struct shape *shape)
{
    size_t h = shape->hidden;
    size_t n = (shape->vocab + shape->positions + shape->types + 2) * h;
    for (size_t l = 0; l < shape->n_layers; l++) {
        size_t a = shape->layer[l].heads * shape->head_size, f = shape->layer[l].ffn;
        n += 4 * a * h + 3 * a + h + 2 * f * h + f + h + 4 * h;
    }
    return n + h * h + h + shape->n_labels * (h + 1);
}

double shape_macs(const struct shape *shape, size_t n_tokens)
{
    double h = (double)shape->hidden, t = (double)n_tokens;
    double macs = h * h + h * (double)shape->n_labels;
    for (size_t l = 0; l < shape->n_layers; l++) {
        double a = (double)(shape->layer[l].heads * shape->head_size);
        double rows = l + 1 == shape->n_layers ? 1 : t;
        macs +=
            2 * t * h * a + rows * (2 * h * a + 2 * t * a + 2 * h * (double)shape->layer[l].ffn);
    }
    return macs;
}
