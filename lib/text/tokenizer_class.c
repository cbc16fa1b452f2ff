/* tokenizer_class.c: see tokenizer_class.h. */
#include "text/tokenizer_class.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

static const char config_place[] = "tokenizer_config.json";

static const struct {
    const char *name; /* without Tokenizer or TokenizerFast behind it */
    enum tokenizer_class class;
} known_class[] = {
    {"Bert", TOKENIZER_CLASS_BERT},           {"DistilBert", TOKENIZER_CLASS_BERT},
    {"Electra", TOKENIZER_CLASS_BERT},        {"MobileBert", TOKENIZER_CLASS_BERT},
    {"Roberta", TOKENIZER_CLASS_ROBERTA},     {"XLMRoberta", TOKENIZER_CLASS_XLM_ROBERTA},
    {"Camembert", TOKENIZER_CLASS_CAMEMBERT}, {"Albert", TOKENIZER_CLASS_ALBERT},
    {"PreTrained", TOKENIZER_CLASS_FILE}};

static const struct {
    const char *type;
    enum tokenizer_class class;
    bool forced; /* whatever tokenizer_class says */
} known_model[] = {{"bert", TOKENIZER_CLASS_BERT, false},
                   {"distilbert", TOKENIZER_CLASS_BERT, false},
                   {"electra", TOKENIZER_CLASS_BERT, false},
                   {"mobilebert", TOKENIZER_CLASS_BERT, false},
                   {"roberta", TOKENIZER_CLASS_ROBERTA, false},
                   {"xlm-roberta", TOKENIZER_CLASS_XLM_ROBERTA, false},
                   {"camembert", TOKENIZER_CLASS_CAMEMBERT, false},
                   {"albert", TOKENIZER_CLASS_ALBERT, false},
                   {"modernbert", TOKENIZER_CLASS_FILE, true}};

static bool class_of_name(const char *name, enum tokenizer_class *class)
{
    *class = TOKENIZER_CLASS_FILE;
    if (strcmp(name, "TokenizersBackend") == 0)
        return true;
    for (size_t i = 0; i < sizeof known_class / sizeof *known_class; i++) {
        size_t n = strlen(known_class[i].name);
        if (strncmp(name, known_class[i].name, n) == 0 &&
            (strcmp(name + n, "Tokenizer") == 0 || strcmp(name + n, "TokenizerFast") == 0)) {
            *class = known_class[i].class;
            return true;
        }
    }
    return false;
}

bool tokenizer_class_find(const json_t *config, const json_t *model, enum tokenizer_class *class,
                          struct error *err)
{
    const char *stated = json_string_value(json_object_get(config, "tokenizer_class"));
    const char *name =
        stated ? stated : json_string_value(json_object_get(model, "tokenizer_class"));
    const char *type = json_string_value(json_object_get(model, "model_type"));
    size_t i = 0, n = sizeof known_model / sizeof *known_model;
    while (type && i < n && strcmp(type, known_model[i].type) != 0)
        i++;
    bool is_known = type && i < n;
    *class = is_known ? known_model[i].class : TOKENIZER_CLASS_NONE;
    if (!name || (is_known && known_model[i].forced) || class_of_name(name, class))
        return true;
    return error_set(err,
                     "%s: tokenizer_class \"%s\" is not known to Millet, which reads Bert, "
                     "DistilBert, Electra, MobileBert, Roberta, XLMRoberta, Camembert, Albert and "
                     "PreTrainedTokenizerFast",
                     stated ? config_place : "config.json", name);
}

const char *tokenizer_class_text(const json_t *value)
{
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

const char *tokenizer_class_token(enum tokenizer_class class, const char *key)
{
    static const struct {
        const char *key, *bert, *roberta, *albert;
    } token[] = {
        {"unk_token", "[UNK]", "<unk>", "<unk>"},    {"bos_token", NULL, "<s>", "[CLS]"},
        {"eos_token", NULL, "</s>", "[SEP]"},        {"cls_token", "[CLS]", "<s>", "[CLS]"},
        {"sep_token", "[SEP]", "</s>", "[SEP]"},     {"pad_token", "[PAD]", "<pad>", "<pad>"},
        {"mask_token", "[MASK]", "<mask>", "[MASK]"}};
    for (size_t i = 0; class > TOKENIZER_CLASS_FILE && i < sizeof token / sizeof *token; i++)
        if (strcmp(key, token[i].key) == 0)
            return class == TOKENIZER_CLASS_BERT     ? token[i].bert
                   : class == TOKENIZER_CLASS_ALBERT ? token[i].albert
                                                     : token[i].roberta;
    return NULL;
}

/* ---- sections ---- */

static bool set(json_t **section, json_t *value, struct error *err)
{
    json_decref(*section);
    *section = value;
    return value != NULL || error_set(err, "no memory for the tokenizer's sections");
}

static bool option(const json_t *config, const char *key, bool absent, bool *flag,
                   struct error *err)
{
    const json_t *value = json_object_get(config, key);
    *flag = value && !json_is_null(value) ? json_is_true(value) : absent;
    return !value || json_is_null(value) || json_is_boolean(value) ||
           error_set(err, "%s: \"%s\" is neither true, false nor null", config_place, key);
}

static const char *token_text(enum tokenizer_class class, const json_t *config, const char *key)
{
    const char *text = tokenizer_class_text(json_object_get(config, key));
    return text ? text : tokenizer_class_token(class, key);
}

/* One special token before a text, one after. */
static bool surround(enum tokenizer_class class, const json_t *config, const char *first,
                     const char *last, struct tokenizer_spec *spec, struct error *err)
{
    const char *text[2] = {token_text(class, config, first), token_text(class, config, last)};
    int32_t id[2];
    for (int i = 0; i < 2; i++) {
        id[i] = tokenizer_spec_find(spec, text[i], strlen(text[i]));
        if (id[i] < 0)
            return error_set(err, "the %s \"%s\" is not in the vocabulary", i ? last : first,
                             text[i]);
    }
    return set(&spec->post_processor,
               json_pack("{s:s, s:[s, i], s:[s, i]}", "type", "RobertaProcessing", "cls", text[0],
                         (int)id[0], "sep", text[1], (int)id[1]),
               err);
}

/* The first Precompiled of the file's normalizer, borrowed; NULL: there is none. */
static json_t *find_charsmap(json_t *normalizer)
{
    const char *type = json_string_value(json_object_get(normalizer, "type"));
    json_t *list = json_object_get(normalizer, "normalizers");
    if (type && strcmp(type, "Precompiled") == 0)
        return normalizer;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *step = json_array_get(list, i);
        type = json_string_value(json_object_get(step, "type"));
        if (type && strcmp(type, "Precompiled") == 0)
            return step;
    }
    return NULL;
}

/* Words at white space, each with U+2581 in front. */
static bool apply_metaspace(const json_t *config, struct tokenizer_spec *spec, struct error *err)
{
    static const char mark[] = "\xE2\x96\x81";
    bool prefix;
    if (!option(config, "add_prefix_space", true, &prefix, err))
        return false;
    const char *scheme = prefix ? "always" : "never";
    return set(&spec->pre_tokenizer,
               json_pack("{s:s, s:[{s:s}, {s:s, s:s, s:s, s:b}]}", "type", "Sequence",
                         "pretokenizers", "type", "WhitespaceSplit", "type", "Metaspace",
                         "replacement", mark, "prepend_scheme", scheme, "split", 1),
               err) &&
           set(&spec->decoder_section,
               json_pack("{s:s, s:s, s:s}", "type", "Metaspace", "replacement", mark,
                         "prepend_scheme", scheme),
               err);
}

static bool apply_unknown(enum tokenizer_class class, const json_t *config,
                          struct tokenizer_spec *spec, struct error *err)
{
    const char *text = token_text(class, config, "unk_token");
    spec->byte_fallback = false;
    spec->unknown = class == TOKENIZER_CLASS_ALBERT ? 1 : 3; /* whatever stands there */
    if (class == TOKENIZER_CLASS_CAMEMBERT) {
        spec->unknown = tokenizer_spec_find(spec, text, strlen(text));
        if (spec->unknown < 0)
            spec->unknown = 0;
    }
    return (size_t)spec->unknown < spec->n_pieces ||
           error_set(err, "the vocabulary has %zu pieces and no unknown token", spec->n_pieces);
}

static bool apply_xlm_roberta(enum tokenizer_class class, const json_t *config,
                              struct tokenizer_spec *spec, struct error *err)
{
    json_t *map = json_incref(find_charsmap(spec->normalizer));
    return set(&spec->normalizer, map ? map : json_null(), err) &&
           apply_unknown(class, config, spec, err) && apply_metaspace(config, spec, err) &&
           surround(class, config, "bos_token", "eos_token", spec, err);
}

static bool apply_albert(const json_t *config, bool from_file, struct tokenizer_spec *spec,
                         struct error *err)
{
    bool lower, accents;
    json_t *map = json_incref(find_charsmap(spec->normalizer));
    json_t *list = json_pack("[{s:s, s:{s:s}, s:s}, {s:s, s:{s:s}, s:s}]", "type", "Replace",
                             "pattern", "String", "``", "content", "\"", "type", "Replace",
                             "pattern", "String", "''", "content", "\"");
    bool ok = list && option(config, "do_lower_case", true, &lower, err) &&
              option(config, "keep_accents", false, &accents, err);
    if (ok && !accents)
        ok = json_array_append_new(list, json_pack("{s:s}", "type", "NFKD")) == 0 &&
             json_array_append_new(list, json_pack("{s:s}", "type", "StripAccents")) == 0;
    if (ok && lower)
        ok = json_array_append_new(list, json_pack("{s:s}", "type", "Lowercase")) == 0;
    if (ok && map)
        ok = json_array_append(list, map) == 0;
    json_decref(map);
    if (!ok) {
        json_decref(list);
        return err->set ? false : error_set(err, "no memory for the tokenizer's normalizer");
    }
    return set(&spec->normalizer, json_pack("{s:s, s:o}", "type", "Sequence", "normalizers", list),
               err) &&
           apply_unknown(TOKENIZER_CLASS_ALBERT, config, spec, err) &&
           apply_metaspace(config, spec, err) &&
           (from_file ||
            surround(TOKENIZER_CLASS_ALBERT, config, "cls_token", "sep_token", spec, err));
}

static bool apply_roberta(const json_t *config, struct tokenizer_spec *spec, struct error *err)
{
    bool prefix;
    spec->unknown = -1; /* the class builds its BPE without an unknown token */
    spec->fuse_unknown = spec->byte_fallback = spec->ignore_merges = false;
    return option(config, "add_prefix_space", false, &prefix, err) &&
           set(&spec->normalizer, json_null(), err) &&
           set(&spec->pre_tokenizer,
               json_pack("{s:s, s:b}", "type", "ByteLevel", "add_prefix_space", prefix), err) &&
           set(&spec->decoder_section, json_pack("{s:s}", "type", "ByteLevel"), err) &&
           surround(TOKENIZER_CLASS_ROBERTA, config, "cls_token", "sep_token", spec, err);
}

bool tokenizer_class_check(enum tokenizer_class class, const struct tokenizer_spec *spec,
                           struct error *err)
{
    static const char *const kind_name[] = {"WordPiece", "Unigram", "BPE"};
    enum tokenizer_kind expected = class == TOKENIZER_CLASS_BERT      ? TOKENIZER_WORDPIECE
                                   : class == TOKENIZER_CLASS_ROBERTA ? TOKENIZER_BPE
                                                                      : TOKENIZER_UNIGRAM;
    const char *name = "";
    for (size_t i = sizeof known_class / sizeof *known_class; i-- > 0;)
        if (known_class[i].class == class)
            name = known_class[i].name;
    return class <= TOKENIZER_CLASS_FILE || spec->kind == expected ||
           error_set(err, "the vocabulary is of a %s model, but %sTokenizer has %s",
                     kind_name[spec->kind], name, kind_name[expected]);
}

/* What tokenizer_config.json states goes over the file's BertNormalizer; without a normalizer
 * nothing is done but what it states. */
static bool apply_bert(const json_t *config, bool from_file, struct tokenizer_spec *spec,
                       struct error *err)
{
    const char *type = json_string_value(json_object_get(spec->normalizer, "type"));
    const json_t *strip = json_object_get(config, "strip_accents");
    bool none = !spec->normalizer || json_is_null(spec->normalizer), absent = !(none && from_file);
    bool lower, chinese, clean;
    if (!none && (!type || strcmp(type, "BertNormalizer") != 0))
        return true;
    if (strip && !json_is_null(strip) && !json_is_boolean(strip))
        return error_set(err, "%s: \"strip_accents\" is neither true, false nor null",
                         config_place);
    if (!option(spec->normalizer, "lowercase", absent, &lower, err) ||
        !option(spec->normalizer, "handle_chinese_chars", absent, &chinese, err) ||
        !option(spec->normalizer, "clean_text", absent, &clean, err))
        return false;
    if (!strip)
        strip = json_object_get(spec->normalizer, "strip_accents");
    bool stated_lower = json_object_get(config, "do_lower_case") != NULL,
         stated_chinese = json_object_get(config, "tokenize_chinese_chars") != NULL;
    if ((stated_lower && !option(config, "do_lower_case", true, &lower, err)) ||
        (stated_chinese && !option(config, "tokenize_chinese_chars", true, &chinese, err)))
        return false;
    bool accents = strip && json_is_boolean(strip) ? json_is_true(strip)
                   : !strip && none && from_file   ? false
                                                   : lower;
    if ((!spec->decoder_section || json_is_null(spec->decoder_section)) &&
        !set(
            &spec->decoder_section,
            json_pack("{s:s, s:s, s:b}", "type", "WordPiece", "prefix", spec->prefix, "cleanup", 1),
            err))
        return false;
    return set(&spec->normalizer,
               json_pack("{s:s, s:b, s:b, s:b, s:b}", "type", "BertNormalizer", "clean_text", clean,
                         "handle_chinese_chars", chinese, "strip_accents", accents, "lowercase",
                         lower),
               err) &&
           (from_file ||
            (set(&spec->pre_tokenizer, json_pack("{s:s}", "type", "BertPreTokenizer"), err) &&
             surround(TOKENIZER_CLASS_BERT, config, "cls_token", "sep_token", spec, err)));
}

bool tokenizer_class_apply(enum tokenizer_class class, const json_t *config, bool from_file,
                           struct tokenizer_spec *spec, struct error *err)
{
    switch (class) {
    case TOKENIZER_CLASS_BERT:
        return apply_bert(config, from_file, spec, err);
    case TOKENIZER_CLASS_ROBERTA:
        return apply_roberta(config, spec, err);
    case TOKENIZER_CLASS_XLM_ROBERTA:
    case TOKENIZER_CLASS_CAMEMBERT:
        return apply_xlm_roberta(class, config, spec, err);
    case TOKENIZER_CLASS_ALBERT:
        return apply_albert(config, from_file, spec, err);
    case TOKENIZER_CLASS_NONE:
    case TOKENIZER_CLASS_FILE:
        break;
    }
    return true;
}
