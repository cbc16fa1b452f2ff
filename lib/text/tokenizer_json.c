/* tokenizer_json.c: see tokenizer_json.h. The vocabulary is scanned, not parsed into objects: 120
 * 000 entries take milliseconds; the small sections are parsed by jansson from their spans. */
#include "text/tokenizer_json.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/json_scan.h"

enum { MAX_WORD_CODES = 10000 };

static const char place[] = "tokenizer.json";

struct section {
    const char *bytes;
    size_t n;
};

struct sections {
    struct section normalizer, pre_tokenizer, post_processor, added_tokens;
    char *unknown; /* model.unk_token */
    bool model;
};

bool tokenizer_stated_read(const json_t *object, const char *where, const char *key,
                           enum tokenizer_tristate *value, struct error *err)
{
    const json_t *found = json_object_get(object, key);
    if (!found)
        return true;
    if (json_is_null(found))
        *value = TOKENIZER_NULL;
    else if (json_is_boolean(found))
        *value = json_is_true(found) ? TOKENIZER_TRUE : TOKENIZER_FALSE;
    else
        return error_set(err, "%s: \"%s\" is neither true, false nor null", where, key);
    return true;
}

bool tokenizer_added_read(struct tokenizer_spec *spec, int64_t id, const json_t *token,
                          const char *where, struct error *err)
{
    const json_t *content = json_object_get(token, "content");
    if (!json_is_string(content) || json_string_length(content) == 0)
        return error_set(err, "%s: added token %lld has no \"content\"", where, (long long)id);
    const char *text = json_string_value(content);
    /* lstrip and rstrip only swallow white space, which gives no token here in any case. */
    if (json_is_true(json_object_get(token, "single_word")))
        return error_set(err, "%s: added token \"%s\" has single_word, which Millet does not know",
                         where, text);
    if (json_is_true(json_object_get(token, "normalized")))
        return error_set(
            err,
            "%s: added token \"%s\" is to be matched after normalisation (\"normalized\": true), "
            "which Millet does not know; make it part of the vocabulary",
            where, text);
    return tokenizer_spec_added(spec, id, text, json_string_length(content),
                                json_is_true(json_object_get(token, "special")), err);
}

/* "key": "value" where only `allowed` will do. */
static bool only(const json_t *object, const char *section, const char *key, const char *allowed,
                 struct error *err)
{
    const char *found = json_string_value(json_object_get(object, key));
    if (found && strcmp(found, allowed) == 0)
        return true;
    return error_set(err, "%s: %s of %s \"%s\" is not known to Millet, which reads %s", place,
                     section, key, found ? found : "(none)", allowed);
}

static json_t *parse(const struct section *section, const char *name, struct error *err)
{
    json_error_t why;
    json_t *value = json_loadb(section->bytes, section->n,
                               JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &why);
    if (!value)
        error_set(err, "%s: %s: %s", place, name, why.text);
    return value;
}

static bool read_normalizer(struct tokenizer_stated *stated, const struct section *section,
                            struct error *err)
{
    if (!section->bytes || section->bytes[0] == 'n') { /* null: text is taken as it is */
        *stated = (struct tokenizer_stated){TOKENIZER_FALSE, TOKENIZER_FALSE, TOKENIZER_FALSE,
                                            TOKENIZER_FALSE};
        return true;
    }
    json_t *object = parse(section, "normalizer", err);
    bool ok = object && only(object, "normalizer", "type", "BertNormalizer", err) &&
              tokenizer_stated_read(object, place, "clean_text", &stated->clean_text, err) &&
              tokenizer_stated_read(object, place, "handle_chinese_chars", &stated->chinese, err) &&
              tokenizer_stated_read(object, place, "strip_accents", &stated->strip_accents, err) &&
              tokenizer_stated_read(object, place, "lowercase", &stated->lowercase, err);
    json_decref(object);
    return ok;
}

static bool read_pre_tokenizer(const struct section *section, struct error *err)
{
    if (!section->bytes)
        return error_set(err, "%s: there is no pre_tokenizer; Millet reads BertPreTokenizer",
                         place);
    json_t *object = parse(section, "pre_tokenizer", err);
    bool ok = object && only(object, "pre_tokenizer", "type", "BertPreTokenizer", err);
    json_decref(object);
    return ok;
}

static bool read_added(struct tokenizer_spec *spec, const struct section *section,
                       struct error *err)
{
    if (!section->bytes)
        return true;
    json_t *array = parse(section, "added_tokens", err);
    bool ok = array != NULL;
    for (size_t i = 0; ok && i < json_array_size(array); i++) {
        const json_t *token = json_array_get(array, i);
        double id = json_number_value(json_object_get(token, "id"));
        ok = id >= 0 && id < INT32_MAX
                 ? tokenizer_added_read(spec, (int64_t)id, token, place, err)
                 : error_set(err, "%s: added token %zu has an impossible id", place, i);
    }
    json_decref(array);
    return ok;
}

static bool put_around(struct tokenizer_spec *spec, bool after, double id, struct error *err)
{
    size_t *n = after ? &spec->n_after : &spec->n_before;
    if (!(id >= 0 && id < (double)spec->n_pieces))
        return error_set(err, "%s: post_processor names a token that the vocabulary lacks", place);
    if (*n == TOKENIZER_AROUND_MAX)
        return error_set(err, "%s: post_processor has more than %d special tokens on a side", place,
                         TOKENIZER_AROUND_MAX);
    (after ? spec->after : spec->before)[(*n)++] = (int32_t)id;
    return true;
}

static bool read_template(struct tokenizer_spec *spec, const json_t *object, struct error *err)
{
    const json_t *single = json_object_get(object, "single");
    const json_t *special = json_object_get(object, "special_tokens");
    bool after = false;
    for (size_t i = 0; i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        if (json_object_get(item, "Sequence")) {
            after = true;
            continue;
        }
        const char *name =
            json_string_value(json_object_get(json_object_get(item, "SpecialToken"), "id"));
        const json_t *ids = name ? json_object_get(json_object_get(special, name), "ids") : NULL;
        if (!json_array_size(ids))
            return error_set(err, "%s: post_processor: item %zu of \"single\" is not understood",
                             place, i);
        for (size_t k = 0; k < json_array_size(ids); k++)
            if (!put_around(spec, after, json_number_value(json_array_get(ids, k)), err))
                return false;
    }
    return true;
}

static bool read_post_processor(struct tokenizer_spec *spec, const struct section *section,
                                struct error *err)
{
    if (!section->bytes || section->bytes[0] == 'n')
        return true; /* null: nothing is put around the text */
    json_t *object = parse(section, "post_processor", err);
    if (!object)
        return false;
    const char *type = json_string_value(json_object_get(object, "type"));
    bool ok;
    if (type && strcmp(type, "BertProcessing") == 0) {
        const json_t *cls = json_object_get(object, "cls"), *sep = json_object_get(object, "sep");
        ok = put_around(spec, false, json_number_value(json_array_get(cls, 1)), err) &&
             put_around(spec, true, json_number_value(json_array_get(sep, 1)), err);
    } else
        ok = only(object, "post_processor", "type", "TemplateProcessing", err) &&
             read_template(spec, object, err);
    json_decref(object);
    return ok;
}

static bool scan_vocabulary(struct tokenizer_spec *spec, struct json_scan *scan, struct error *err)
{
    struct json_text piece = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '{', err))
        while ((more = json_scan_next(scan, &first, &piece, err)) > 0) {
            int64_t id;
            if (!json_scan_integer(scan, &id, err) ||
                !tokenizer_spec_piece(spec, id, piece.bytes, piece.n, err)) {
                more = -1;
                break;
            }
        }
    json_text_free(&piece);
    return more == 0;
}

static bool model_key(struct tokenizer_spec *spec, struct sections *sections, const char *key,
                      size_t n, struct json_scan *scan, struct error *err)
{
    struct json_text value = {0};
    bool ok = true;
#define IS(name) (n == sizeof(name) - 1 && memcmp(key, name, n) == 0)
    if (IS("vocab")) {
        if (json_scan_peek(scan) != '{')
            return error_set(err,
                             "the model's vocabulary is not an object; Millet reads WordPiece");
        return scan_vocabulary(spec, scan, err);
    }
    if (IS("max_input_chars_per_word")) {
        int64_t most;
        if (!json_scan_integer(scan, &most, err))
            return false;
        if (most < 1 || most > MAX_WORD_CODES)
            return error_set(err, "max_input_chars_per_word is %lld; allowed is 1 to %d",
                             (long long)most, MAX_WORD_CODES);
        spec->max_word = (size_t)most;
        return true;
    }
    if (!IS("type") && !IS("unk_token") && !IS("continuing_subword_prefix"))
        return json_scan_skip(scan, NULL, NULL, err);
    if (!json_scan_string(scan, &value, err))
        return false;
    char *copy = memory_copy(value.bytes, value.n, err);
    ok = copy != NULL;
    if (ok && IS("type")) {
        if (strcmp(copy, "WordPiece") != 0)
            ok = error_set(err, "the model is of type \"%s\"; Millet reads WordPiece", copy);
        free(copy);
    } else if (ok) {
        char **slot = IS("unk_token") ? &sections->unknown : &spec->prefix;
        free(*slot);
        *slot = copy;
    }
#undef IS
    json_text_free(&value);
    return ok;
}

static bool scan_model(struct tokenizer_spec *spec, struct sections *sections,
                       struct json_scan *scan, struct error *err)
{
    struct json_text key = {0};
    bool first = true;
    int more = -1;
    sections->model = true;
    if (json_scan_enter(scan, '{', err))
        while ((more = json_scan_next(scan, &first, &key, err)) > 0)
            if (!model_key(spec, sections, key.bytes, key.n, scan, err)) {
                more = -1;
                break;
            }
    json_text_free(&key);
    return more == 0;
}

static bool scan_top(struct tokenizer_spec *spec, struct sections *sections, struct json_scan *scan,
                     struct error *err)
{
    const struct {
        const char *name;
        struct section *section;
    } wanted[] = {{"normalizer", &sections->normalizer},
                  {"pre_tokenizer", &sections->pre_tokenizer},
                  {"post_processor", &sections->post_processor},
                  {"added_tokens", &sections->added_tokens}};
    struct json_text key = {0};
    bool first = true;
    int more = -1;
    if (json_scan_enter(scan, '{', err))
        while ((more = json_scan_next(scan, &first, &key, err)) > 0) {
            struct section other, *section = &other;
            for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
                if (strlen(wanted[i].name) == key.n && !memcmp(wanted[i].name, key.bytes, key.n))
                    section = wanted[i].section;
            bool model = key.n == 5 && memcmp(key.bytes, "model", 5) == 0;
            if (!(model ? scan_model(spec, sections, scan, err)
                        : json_scan_skip(scan, &section->bytes, &section->n, err))) {
                more = -1;
                break;
            }
        }
    json_text_free(&key);
    return more == 0;
}

bool tokenizer_json_read(struct tokenizer_spec *spec, struct tokenizer_stated *stated,
                         const struct bundle_member *file, struct error *err)
{
    struct sections sections = {0};
    struct json_scan scan = json_scan_of((const char *)file->bytes, file->n);
    bool ok = scan_top(spec, &sections, &scan, err) || error_at(err, "%s: ", place);
    if (ok && (!sections.model || !spec->n_pieces))
        ok = error_set(err, "%s: there is no model with a vocabulary", place);
    ok = ok && read_added(spec, &sections.added_tokens, err) &&
         read_normalizer(stated, &sections.normalizer, err) &&
         read_pre_tokenizer(&sections.pre_tokenizer, err) &&
         read_post_processor(spec, &sections.post_processor, err);
    if (ok) {
        const char *unknown = sections.unknown ? sections.unknown : "[UNK]";
        spec->unknown = tokenizer_spec_find(spec, unknown, strlen(unknown));
        if (spec->unknown < 0)
            ok = error_set(err, "%s: the unknown token \"%s\" is not in the vocabulary", place,
                           unknown);
    }
    free(sections.unknown);
    return ok;
}
