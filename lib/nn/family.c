/* family.c: the table, and names both ways. */
#include "nn/family.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ---- */

/* What most have in common: names of the embeddings and of the layers, and BERT's config keys. */
#define EMBEDDINGS(prefix)                                                                         \
    [FAMILY_WORD] = prefix "embeddings.word_embeddings",                                           \
    [FAMILY_POSITION] = prefix "embeddings.position_embeddings",                                   \
    [FAMILY_TYPE] = prefix "embeddings.token_type_embeddings",                                     \
    [FAMILY_EMBED_NORM] = prefix "embeddings.LayerNorm"
#define LAYERS                                                                                     \
    [FAMILY_QUERY] = "attention.self.query", [FAMILY_KEY] = "attention.self.key",                  \
    [FAMILY_VALUE] = "attention.self.value", [FAMILY_CONTEXT] = "attention.output.dense",          \
    [FAMILY_NORM1] = "attention.output.LayerNorm", [FAMILY_FFN_IN] = "intermediate.dense",         \
    [FAMILY_FFN_OUT] = "output.dense", [FAMILY_NORM2] = "output.LayerNorm"
#define ROBERTA_STEMS                                                                              \
    EMBEDDINGS("roberta."),                                                                        \
        LAYERS, [FAMILY_POOLER] = "classifier.dense", [FAMILY_CLASSIFIER] = "classifier.out_proj"

#define KEYS                                                                                       \
    .hidden = "hidden_size", .layers = "num_hidden_layers", .heads = "num_attention_heads",        \
    .ffn = "intermediate_size", .types = "type_vocab_size", .activation = "hidden_act",            \
    .eps = "layer_norm_eps", .hidden_dropout = "hidden_dropout_prob",                              \
    .attention_dropout = "attention_probs_dropout_prob"
#define USUAL                                                                                      \
    .types = 2, .activation = EPILOGUE_GELU, .eps = 1e-12f, .hidden_dropout = 0.1f,                \
    .attention_dropout = 0.1f, .classifier_dropout = -1

static const struct family_demand encoder_demands[] = {{"position_embedding_type", "\"absolute\""},
                                                       {"is_decoder", "false"},
                                                       {"add_cross_attention", "false"},
                                                       {NULL, NULL}};
static const struct family_demand albert_demands[] = {{"position_embedding_type", "\"absolute\""},
                                                      {"num_hidden_groups", "1"},
                                                      {"inner_group_num", "1"},
                                                      {NULL, NULL}};
static const struct family_demand mobilebert_demands[] = {{"use_bottleneck", "true"},
                                                          {"use_bottleneck_attention", "false"},
                                                          {"key_query_shared_bottleneck", "true"},
                                                          {"trigram_input", "true"},
                                                          {"normalization_type", "\"no_norm\""},
                                                          {NULL, NULL}};

#define ROBERTA(type, of)                                                                          \
    {                                                                                              \
        .model_type = type, .class_name = of "ForSequenceClassification", .prefix = "roberta.",    \
        .layers = "roberta.encoder.layer.#.", .stem = {ROBERTA_STEMS},                             \
        .keys = {KEYS, .classifier_dropout = "classifier_dropout"}, .demand = encoder_demands,     \
        .mlm = {.class_name = of "ForMaskedLM",                                                    \
                .dense = "lm_head.dense",                                                          \
                .norm = "lm_head.layer_norm",                                                      \
                .bias = "lm_head.bias",                                                            \
                .decoder = "lm_head.decoder",                                                      \
                .gelu = true},                                                                     \
        USUAL, .pad = 1, .positions = FAMILY_AFTER_PAD, .head_activation = EPILOGUE_TANH,          \
        .head_dropout = true                                                                       \
    }

static const struct family families[] = {
    {.model_type = "bert",
     .class_name = "BertForSequenceClassification",
     .prefix = "bert.",
     .layers = "bert.encoder.layer.#.",
     .stem = {EMBEDDINGS("bert."),
              LAYERS, [FAMILY_POOLER] = "bert.pooler.dense", [FAMILY_CLASSIFIER] = "classifier"},
     .keys = {KEYS, .classifier_dropout = "classifier_dropout"},
     .demand = encoder_demands,
     .mlm = {.class_name = "BertForMaskedLM",
             .dense = "cls.predictions.transform.dense",
             .norm = "cls.predictions.transform.LayerNorm",
             .bias = "cls.predictions.bias",
             .decoder = "cls.predictions.decoder"},
     USUAL,
     .head_activation = EPILOGUE_TANH},

    {.model_type = "distilbert",
     .class_name = "DistilBertForSequenceClassification",
     .prefix = "distilbert.",
     .layers = "distilbert.transformer.layer.#.",
     .stem = {[FAMILY_WORD] = "distilbert.embeddings.word_embeddings",
              [FAMILY_POSITION] = "distilbert.embeddings.position_embeddings",
              [FAMILY_EMBED_NORM] = "distilbert.embeddings.LayerNorm",
              [FAMILY_QUERY] = "attention.q_lin",
              [FAMILY_KEY] = "attention.k_lin",
              [FAMILY_VALUE] = "attention.v_lin",
              [FAMILY_CONTEXT] = "attention.out_lin",
              [FAMILY_NORM1] = "sa_layer_norm",
              [FAMILY_FFN_IN] = "ffn.lin1",
              [FAMILY_FFN_OUT] = "ffn.lin2",
              [FAMILY_NORM2] = "output_layer_norm",
              [FAMILY_POOLER] = "pre_classifier",
              [FAMILY_CLASSIFIER] = "classifier"},
     .keys = {.hidden = "dim",
              .layers = "n_layers",
              .heads = "n_heads",
              .ffn = "hidden_dim",
              .activation = "activation",
              .hidden_dropout = "dropout",
              .attention_dropout = "attention_dropout",
              .classifier_dropout = "seq_classif_dropout"},
     .demand = encoder_demands,
     .mlm = {.class_name = "DistilBertForMaskedLM",
             .dense = "vocab_transform",
             .norm = "vocab_layer_norm",
             .bias = "vocab_projector.bias",
             .decoder = "vocab_projector"},
     .types = 0,
     .activation = EPILOGUE_GELU,
     .eps = 1e-12f,
     .hidden_dropout = 0.1f,
     .attention_dropout = 0.1f,
     .classifier_dropout = 0.2f,
     .head_activation = EPILOGUE_RELU},

    ROBERTA("roberta", "Roberta"),
    ROBERTA("xlm-roberta", "XLMRoberta"),
    ROBERTA("camembert", "Camembert"),

    {.model_type = "albert",
     .class_name = "AlbertForSequenceClassification",
     .prefix = "albert.",
     .layers = "albert.encoder.albert_layer_groups.0.albert_layers.0.",
     .stem = {EMBEDDINGS("albert."),
              [FAMILY_EMBED_PROJECTION] = "albert.encoder.embedding_hidden_mapping_in",
              [FAMILY_QUERY] = "attention.query", [FAMILY_KEY] = "attention.key",
              [FAMILY_VALUE] = "attention.value", [FAMILY_CONTEXT] = "attention.dense",
              [FAMILY_NORM1] = "attention.LayerNorm", [FAMILY_FFN_IN] = "ffn",
              [FAMILY_FFN_OUT] = "ffn_output", [FAMILY_NORM2] = "full_layer_layer_norm",
              [FAMILY_POOLER] = "albert.pooler", [FAMILY_CLASSIFIER] = "classifier"},
     .keys = {KEYS, .embed = "embedding_size", .classifier_dropout = "classifier_dropout_prob"},
     .demand = albert_demands,
     .mlm = {.class_name = "AlbertForMaskedLM",
             .dense = "predictions.dense",
             .norm = "predictions.LayerNorm",
             .bias = "predictions.bias",
             .decoder = "predictions.decoder"},
     .types = 2,
     .activation = EPILOGUE_GELU_TANH,
     .eps = 1e-12f,
     .hidden_dropout = 0,
     .attention_dropout = 0,
     .classifier_dropout = 0.1f,
     .embedding = FAMILY_FACTORED,
     .head_activation = EPILOGUE_TANH,
     .ffn_undropped = true},

    {.model_type = "electra",
     .class_name = "ElectraForSequenceClassification",
     .prefix = "electra.",
     .layers = "electra.encoder.layer.#.",
     .stem = {EMBEDDINGS("electra."),
              LAYERS, [FAMILY_EMBED_PROJECTION] = "electra.embeddings_project",
              [FAMILY_POOLER] = "classifier.dense", [FAMILY_CLASSIFIER] = "classifier.out_proj"},
     .keys = {KEYS, .embed = "embedding_size", .classifier_dropout = "classifier_dropout"},
     .demand = encoder_demands,
     .mlm = {.class_name = "ElectraForMaskedLM",
             .dense = "generator_predictions.dense",
             .norm = "generator_predictions.LayerNorm",
             .bias = "generator_lm_head.bias",
             .decoder = "generator_lm_head",
             .gelu = true},
     USUAL,
     .embedding = FAMILY_FACTORED_IF_NARROW,
     .head_activation = EPILOGUE_GELU,
     .head_dropout = true},

    {.model_type = "mobilebert",
     .class_name = "MobileBertForSequenceClassification",
     .prefix = "mobilebert.",
     .layers = "mobilebert.encoder.layer.#.",
     .stem =
         {EMBEDDINGS("mobilebert."),
          LAYERS, [FAMILY_EMBED_PROJECTION] = "mobilebert.embeddings.embedding_transformation",
          [FAMILY_NARROW] = "bottleneck.input.dense",
          [FAMILY_NARROW_NORM] = "bottleneck.input.LayerNorm",
          [FAMILY_SHARED] = "bottleneck.attention.dense",
          [FAMILY_SHARED_NORM] = "bottleneck.attention.LayerNorm",
          [FAMILY_STACK_IN] = "ffn.#.intermediate.dense", [FAMILY_STACK_OUT] = "ffn.#.output.dense",
          [FAMILY_STACK_NORM] = "ffn.#.output.LayerNorm",
          [FAMILY_WIDEN] = "output.bottleneck.dense",
          [FAMILY_WIDEN_NORM] = "output.bottleneck.LayerNorm",
          [FAMILY_POOLER] = "mobilebert.pooler.dense", [FAMILY_CLASSIFIER] = "classifier"},
     .keys = {KEYS, .embed = "embedding_size", .classifier_dropout = "classifier_dropout"},
     .demand = mobilebert_demands,
     .types = 2,
     .activation = EPILOGUE_RELU,
     .eps = 1e-12f,
     .hidden_dropout = 0,
     .attention_dropout = 0.1f,
     .classifier_dropout = -1,
     .embedding = FAMILY_TRIGRAM,
     .norm = NORM_AFFINE,
     .bottleneck = true,
     .head_activation = EPILOGUE_TANH},
};

enum { FAMILIES = sizeof families / sizeof families[0] };

/* ---- finding ---- */

const struct family *family_find(const char *model_type)
{
    for (size_t i = 0; i < FAMILIES; i++)
        if (strcmp(model_type, families[i].model_type) == 0)
            return &families[i];
    return NULL;
}

static bool check_demand(const json_t *config, const char *place,
                         const struct family_demand *demand, struct error *err)
{
    const json_t *value = json_object_get(config, demand->key);
    if (!value || json_is_null(value))
        return true;
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text)
        return error_set(err, "%s: no memory for \"%s\"", place, demand->key);
    bool ok =
        strcmp(text, demand->value) == 0 || error_set(err, "%s: \"%s\" is %.64s; only %s is known",
                                                      place, demand->key, text, demand->value);
    free(text);
    return ok;
}

/* "bert", "distilbert" … and "mobilebert" */
static void list_known(char *text, size_t size)
{
    for (size_t i = 0, n = 0; i < FAMILIES; i++)
        n += (size_t)snprintf(text + n, size - n, "%s\"%s\"",
                              i == 0              ? ""
                              : i + 1 == FAMILIES ? " and "
                                                  : ", ",
                              families[i].model_type);
}

const struct family *family_of(const json_t *config, const char *place, struct error *err)
{
    const json_t *type = json_object_get(config, "model_type");
    const char *name = json_string_value(type);
    const struct family *family = name ? family_find(name) : NULL;
    if (!family) {
        char known[160] = "";
        list_known(known, sizeof known);
        if (!type)
            error_set(err, "%s: key \"model_type\" is missing; %s are known", place, known);
        else
            error_set(err, "%s: \"model_type\" is %s%.64s%s; only %s are known", place,
                      name ? "\"" : "", name ? name : "no text", name ? "\"" : "", known);
        return NULL;
    }
    for (const struct family_demand *demand = family->demand; demand->key; demand++)
        if (!check_demand(config, place, demand, err))
            return NULL;
    return family;
}

/* ---- names ---- */

/* Append `from` up to its '#', which becomes `number`. */
static size_t put(char *text, size_t n, size_t at, const char *from, size_t number)
{
    const char *mark = strchr(from, '#');
    if (at >= n)
        return at;
    int written =
        mark ? snprintf(text + at, n - at, "%.*s%zu%s", (int)(mark - from), from, number, mark + 1)
             : snprintf(text + at, n - at, "%s", from);
    return at + (size_t)(written > 0 ? written : 0);
}

void family_name(const struct family *family, enum family_role role, size_t layer, size_t stack,
                 const char *rest, char *text, size_t n)
{
    size_t at = 0;
    if (role >= FAMILY_FIRST_OF_LAYER)
        at = put(text, n, at, family->layers, layer);
    at = put(text, n, at, family->stem[role], stack);
    if (at < n)
        snprintf(text + at, n - at, ".%s", rest);
}

/* Does `name` begin with `pattern`, '#' standing for a number? Returns what follows, else NULL;
 * *number and where it lies in *from, *to are set when there is one. */
static const char *match(const char *pattern, const char *name, size_t *number, const char **from,
                         const char **to)
{
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*pattern != *name++)
                return NULL;
            continue;
        }
        size_t digits = strspn(name, "0123456789");
        if (digits == 0 || digits > 9)
            return NULL;
        *number = (size_t)strtoul(name, NULL, 10);
        *from = name;
        *to = name += digits;
    }
    return name;
}

/* The role among [begin, end) whose stem and a dot `name` begins with. */
static enum family_role find_role(const struct family *family, const char *name, int begin, int end,
                                  struct family_tensor *tensor)
{
    const char *from, *to;
    for (int role = begin; role < end; role++) {
        const char *stem = family->stem[role];
        const char *rest = stem ? match(stem, name, &tensor->stack, &from, &to) : NULL;
        /* ALBERT's "ffn" is a word of other stems' too: a suffix has no dot in it. */
        if (rest && *rest == '.' && !strchr(rest + 1, '.')) {
            tensor->rest = rest + 1;
            return (enum family_role)role;
        }
    }
    return FAMILY_ROLES;
}

static bool parse_full(const struct family *family, const char *name, struct family_tensor *tensor)
{
    const char *from = name, *to = name;
    *tensor = (struct family_tensor){.role = FAMILY_ROLES};
    tensor->role = find_role(family, name, 0, FAMILY_FIRST_OF_LAYER, tensor);
    if (tensor->role != FAMILY_ROLES)
        return true;
    const char *rest = match(family->layers, name, &tensor->layer, &from, &to);
    if (!rest)
        return false;
    tensor->of_layer = true;
    tensor->number_begin = (size_t)(from - name);
    tensor->number_end = (size_t)(to - name);
    tensor->rest = rest;
    tensor->role = find_role(family, rest, FAMILY_FIRST_OF_LAYER, FAMILY_ROLES, tensor);
    return true;
}

bool family_parse(const struct family *family, const char *name, struct family_tensor *tensor)
{
    char full[256];
    if (parse_full(family, name, tensor))
        return true;
    size_t prefix = strlen(family->prefix), n = strlen(name);
    if (prefix + n >= sizeof full)
        return false;
    memcpy(full, family->prefix, prefix);
    memcpy(full + prefix, name, n + 1);
    if (!parse_full(family, full, tensor))
        return false;
    /* Places in the name that was given. */
    tensor->rest = name + (tensor->rest - full - (ptrdiff_t)prefix);
    if (tensor->number_end > tensor->number_begin) {
        tensor->number_begin -= prefix;
        tensor->number_end -= prefix;
    }
    return true;
}

static bool has_stem(const char *name, const char *stem)
{
    size_t n = strlen(stem);
    return strncmp(name, stem, n) == 0 && name[n] == '.';
}

bool family_owns_mlm(const struct family *family, const char *name)
{
    const struct family_mlm *mlm = &family->mlm;
    return mlm->dense && (has_stem(name, mlm->dense) || has_stem(name, mlm->norm) ||
                          has_stem(name, mlm->decoder) || strcmp(name, mlm->bias) == 0);
}

const char *family_unprefixed(const char *name)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        size_t n = strlen(families[i].prefix);
        if (strncmp(name, families[i].prefix, n) == 0)
            return name + n;
    }
    return NULL;
}
