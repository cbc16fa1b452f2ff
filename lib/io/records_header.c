#include "io/records_header.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"

static void free_strings(char **string, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(string[i]);
    free(string);
}

void records_header_free(struct records_header *header)
{
    free_strings(header->label, header->n_labels);
    free_strings(header->field, header->n_fields);
    free(header->separator);
    json_decref(header->history);
    *header = (struct records_header){0};
}

/* Copies; *n counts those made, so that a failure half way can be undone. */
static bool copy_strings(char *const *from, size_t n_from, char ***to, size_t *n, struct error *err)
{
    *n = 0;
    *to = memory_zeroed(n_from, sizeof **to, err);
    for (; *to && *n < n_from; ++*n)
        if (!((*to)[*n] = memory_copy(from[*n], strlen(from[*n]), err)))
            return false;
    return *to != NULL;
}

bool records_header_copy(const struct records_header *from, struct records_header *to,
                         struct error *err)
{
    *to = (struct records_header){
        .tokenizer = from->tokenizer, .max_tokens = from->max_tokens, .grams = from->grams};
    to->history = from->history ? json_deep_copy(from->history) : json_array();
    if (!to->history)
        error_set(err, "no memory for a history");
    if (from->separator &&
        !(to->separator = memory_copy(from->separator, strlen(from->separator), err))) {
        records_header_free(to);
        return false;
    }
    if (to->history && copy_strings(from->label, from->n_labels, &to->label, &to->n_labels, err) &&
        copy_strings(from->field, from->n_fields, &to->field, &to->n_fields, err))
        return true;
    records_header_free(to);
    return false;
}

bool records_header_check(const json_t *object, const char *place, const char *kind,
                          struct error *err)
{
    int64_t version = 0;
    const char *found = NULL;
    if (!jobject_integer(object, place, "millet", true, INT64_MIN, INT64_MAX, &version, err))
        return false;
    if (version != RECORDS_FORMAT)
        return error_set(err,
                         "%s: format version %" PRId64 "; this program reads version %d: "
                         "use the same Millet in the whole pipe",
                         place, version, RECORDS_FORMAT);
    if (!jobject_check_seal(object, place, err) ||
        !jobject_string(object, place, "kind", true, &found, err))
        return false;
    return strcmp(found, kind) == 0 ||
           error_set(err, "%s: is of kind \"%s\"; expected \"%s\"", place, found, kind);
}

/* An array of distinct strings. */
static bool parse_strings(const json_t *object, const char *place, const char *key, char ***string,
                          size_t *n, struct error *err)
{
    const json_t *array = json_object_get(object, key), *seen;
    if (!json_is_array(array))
        return error_set(err, "%s: \"%s\" must be an array of names", place, key);
    json_t *names = json_object();
    *string = memory_zeroed(json_array_size(array), sizeof **string, err);
    bool ok = *string && names;
    while (ok && *n < json_array_size(array)) {
        const char *text = json_string_value(json_array_get(array, *n));
        seen = text ? json_object_get(names, text) : NULL;
        if (!text || seen)
            ok = error_set(err, "%s: entry %zu of \"%s\" is %s", place, *n, key,
                           text ? "there twice" : "not a string");
        else
            ok = json_object_set_new(names, text, json_true()) == 0 &&
                 ((*string)[*n] = memory_copy(text, strlen(text), err));
        *n += ok;
    }
    json_decref(names);
    return ok || error_set(err, "%s: no memory for \"%s\"", place, key);
}

bool records_check_separator(const char *text, struct error *err)
{
    size_t n = strlen(text), visible = 0;
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return error_set(err, "a control character cannot separate labels");
        visible += *c != ' ';
    }
    json_t *utf8 = json_string(text); /* NULL when it is not UTF-8 */
    json_decref(utf8);
    return (utf8 && visible && n <= RECORDS_SEPARATOR_BYTES) ||
           error_set(err,
                     "\"%.20s\" cannot separate labels; expected 1 to %d bytes of UTF-8, not "
                     "only spaces",
                     utf8 ? text : "?", RECORDS_SEPARATOR_BYTES);
}

/* "multi_label": "|", or no such key. */
static bool parse_separator(struct records_header *header, const char *place, const json_t *object,
                            struct error *err)
{
    const char *text = NULL;
    if (!json_object_get(object, "multi_label"))
        return true;
    if (!jobject_string(object, place, "multi_label", true, &text, err))
        return false;
    if (!records_check_separator(text, err))
        return error_at(err, "%s: \"multi_label\": ", place);
    header->separator = memory_copy(text, strlen(text), err);
    return header->separator != NULL;
}

/* "grams": {…}, or no such key. */
static bool parse_grams(struct records_header *header, const char *place, const json_t *object,
                        struct error *err)
{
    const json_t *grams = json_object_get(object, "grams");
    if (!grams)
        return true;
    return records_grams_from_json(grams, "\"grams\"", &header->grams, err) ||
           error_at(err, "%s: ", place);
}

static bool parse_object(struct records_header *header, const char *place, const json_t *object,
                         struct error *err)
{
    const char *tokenizer = NULL;
    int64_t max_tokens = 0;
    if (!records_header_check(object, place, "records", err) ||
        !jobject_string(object, place, "tokenizer", true, &tokenizer, err) ||
        !jobject_integer(object, place, "max_tokens", true, 0, INT32_MAX, &max_tokens, err))
        return false;
    header->max_tokens = (size_t)max_tokens;
    if (!hash_parse(tokenizer, &header->tokenizer))
        return error_set(err, "%s: \"tokenizer\" must be 16 hexadecimal digits", place);
    const json_t *history = json_object_get(object, "history");
    if (!json_is_array(history))
        return error_set(err, "%s: \"history\" must be an array", place);
    header->history = json_deep_copy(history);
    if (!header->history)
        return error_set(err, "%s: no memory for \"history\"", place);
    return parse_separator(header, place, object, err) && parse_grams(header, place, object, err) &&
           parse_strings(object, place, "labels", &header->label, &header->n_labels, err) &&
           parse_strings(object, place, "fields", &header->field, &header->n_fields, err);
}

bool records_header_parse(struct records_header *header, const char *place, const uint8_t *bytes,
                          size_t n, struct error *err)
{
    *header = (struct records_header){0};
    json_t *object = jobject_parse((const char *)bytes, n, place, err);
    bool ok = object && parse_object(header, place, object, err);
    json_decref(object);
    if (!ok)
        records_header_free(header);
    return ok;
}

static bool has_string(const json_t *array, const char *text)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (strcmp(json_string_value(json_array_get(array, i)), text) == 0)
            return true;
    return false;
}

static json_t *string_array(char *const *string, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(array, json_string(string[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

char *records_header_dump(const struct records_header *header, const char *const *field,
                          size_t n_fields, json_t *stage, struct error *err)
{
    char tokenizer[HASH_TEXT_BYTES];
    hash_text(header->tokenizer, tokenizer);
    json_t *labels = string_array(header->label, header->n_labels);
    json_t *fields = string_array(header->field, header->n_fields);
    json_t *history = header->history ? json_copy(header->history) : json_array();
    json_t *grams = header->grams.buckets ? records_grams_json(&header->grams) : NULL;
    bool ok = labels && fields && history && (grams || !header->grams.buckets) &&
              (!stage || json_array_append(history, stage) == 0);
    for (size_t i = 0; ok && i < n_fields; i++)
        if (!has_string(fields, field[i]))
            ok = json_array_append_new(fields, json_string(field[i])) == 0;
    json_t *object =
        ok ? json_pack("{s:i, s:s, s:s, s:O, s:s*, s:I, s:O*, s:O, s:O}", "millet", RECORDS_FORMAT,
                       "kind", "records", "tokenizer", tokenizer, "labels", labels, "multi_label",
                       header->separator, "max_tokens", (json_int_t)header->max_tokens, "grams",
                       grams, "fields", fields, "history", history)
           : NULL;
    if (!object)
        error_set(err, "no memory for " RECORDS_FIRST_MEMBER ", or a label is not UTF-8");
    char *text = object && jobject_seal(object, err) ? jobject_dump(object, err) : NULL;
    json_decref(object);
    json_decref(grams);
    json_decref(labels);
    json_decref(fields);
    json_decref(history);
    json_decref(stage);
    return text;
}

/* Labels equal? `what` and `other` name the two owners. */
static bool match_labels(char *const *label, size_t n, const char *what, char *const *other_label,
                         size_t n_other, const char *other, struct error *err)
{
    for (size_t i = 0; i < n && i < n_other; i++)
        if (strcmp(label[i], other_label[i]) != 0)
            return error_set(err,
                             "%s: label %zu is \"%s\", but \"%s\" in %s; both must have the same "
                             "labels in the same order",
                             what, i, label[i], other_label[i], other);
    return n == n_other ||
           error_set(err, "%s: has %zu labels, but %s has %zu", what, n, other, n_other);
}

bool records_header_agree_grams(const struct records_header *first, const char *first_place,
                                const struct records_header *other, const char *other_place,
                                struct error *err)
{
    char has[RECORDS_GRAMS_TEXT], first_has[RECORDS_GRAMS_TEXT];
    return records_grams_equal(&first->grams, &other->grams) ||
           error_set(err,
                     "%s: its records carry n-grams %s, but those of %s %s; make both with the "
                     "same mtok -m MODEL or --ngrams",
                     other_place, records_grams_text(&other->grams, has), first_place,
                     records_grams_text(&first->grams, first_has));
}

bool records_header_match(const struct records_header *first, const char *first_place,
                          const struct records_header *other, const char *other_place,
                          struct error *err)
{
    if (first->tokenizer != other->tokenizer)
        return error_set(err,
                         "%s: was made with another tokenizer (%016" PRIx64 ") than %s (%016" PRIx64
                         "); make both with mtok -m of one model",
                         other_place, other->tokenizer, first_place, first->tokenizer);
    if (!first->separator != !other->separator)
        return error_set(err,
                         "%s: gives each record %s, but %s %s; make both with or both without "
                         "mtok --multi-label",
                         other_place, other->separator ? "any number of labels" : "one label",
                         first_place, first->separator ? "any number" : "one");
    return records_header_agree_grams(first, first_place, other, other_place, err) &&
           match_labels(other->label, other->n_labels, other_place, first->label, first->n_labels,
                        first_place, err);
}

bool records_check_model(const struct records_header *header, const char *stream_name,
                         uint64_t tokenizer, char *const *label, size_t n_labels,
                         const char *model_name, struct error *err)
{
    if (header->tokenizer != tokenizer)
        return error_set(err,
                         "%s: was made with another tokenizer (%016" PRIx64
                         ") than that of %s (%016" PRIx64 "); make it with mtok -m %s",
                         stream_name, header->tokenizer, model_name, tokenizer, model_name);
    if (header->n_labels == 0 || n_labels == 0)
        return true;
    return match_labels(header->label, header->n_labels, stream_name, label, n_labels, model_name,
                        err);
}

bool records_check_kind(const struct records_header *header, const char *stream_name,
                        bool multi_label, const char *model_name, struct error *err)
{
    if ((header->n_labels == 0 && !header->separator) || multi_label == (header->separator != NULL))
        return true;
    return error_set(
        err,
        "%s: gives each record %s, but %s is a %s-label model (\"problem_type\" of its "
        "config.json); make the stream %s mtok --multi-label",
        stream_name, multi_label ? "one label" : "any number of labels", model_name,
        multi_label ? "multi" : "single", multi_label ? "with" : "without");
}
