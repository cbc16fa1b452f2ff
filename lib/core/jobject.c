#include "core/jobject.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "core/hash.h"
#include "core/memory.h"

static const char seal_key[] = "xxh3";

json_t *jobject_parse(const char *bytes, size_t n, const char *place, struct error *err)
{
    json_error_t why;
    json_t *object = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &why);
    if (!object) {
        error_set(err, "%s:%d:%d: not valid JSON: %s", place, why.line, why.column, why.text);
        return NULL;
    }
    if (!json_is_object(object)) {
        json_decref(object);
        error_set(err, "%s: expected a JSON object {…}, found another kind of value", place);
        return NULL;
    }
    return object;
}

char *jobject_dump(const json_t *object, struct error *err)
{
    char *body = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    if (!body) {
        error_set(err, "out of memory while writing JSON");
        return NULL;
    }
    char *text = memory_format(err, "%s\n", body);
    free(body);
    return text;
}

json_t *jobject_text(const char *text)
{
    size_t n = strlen(text);
    char *copy = malloc(n + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, n + 1);
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t codepoint;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                   (utf8proc_ssize_t)(n - i), &codepoint);
        if (length <= 0)
            copy[i++] = '?';
        else
            i += (size_t)length;
    }
    json_t *string = json_string(copy);
    free(copy);
    return string;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}

/* The value under the key, or NULL: *ok then says whether that is fine. */
static const json_t *look_up(const json_t *object, const char *place, const char *key,
                             bool required, bool *ok, struct error *err)
{
    const json_t *value = json_object_get(object, key);
    *ok = value || !required;
    if (!*ok)
        error_set(err, "%s: key \"%s\" is missing", place, key);
    return value;
}

static bool wrong_type(const json_t *value, const char *place, const char *key,
                       const char *expected, struct error *err)
{
    return error_set(err, "%s: \"%s\" is %s; expected %s", place, key, type_name(value), expected);
}

bool jobject_integer(const json_t *object, const char *place, const char *key, bool required,
                     int64_t min, int64_t max, int64_t *value, struct error *err)
{
    bool ok;
    const json_t *found = look_up(object, place, key, required, &ok, err);
    if (!found)
        return ok;
    if (!json_is_integer(found))
        return wrong_type(found, place, key, "a whole number", err);
    int64_t number = json_integer_value(found);
    if (number < min || number > max)
        return error_set(err, "%s: \"%s\" is %" PRId64 "; expected %" PRId64 " to %" PRId64, place,
                         key, number, min, max);
    *value = number;
    return true;
}

bool jobject_number(const json_t *object, const char *place, const char *key, bool required,
                    double *value, struct error *err)
{
    bool ok;
    const json_t *found = look_up(object, place, key, required, &ok, err);
    if (!found)
        return ok;
    if (!json_is_number(found))
        return wrong_type(found, place, key, "a number", err);
    *value = json_number_value(found);
    return true;
}

bool jobject_string(const json_t *object, const char *place, const char *key, bool required,
                    const char **value, struct error *err)
{
    bool ok;
    const json_t *found = look_up(object, place, key, required, &ok, err);
    if (!found)
        return ok;
    if (!json_is_string(found))
        return wrong_type(found, place, key, "a string", err);
    *value = json_string_value(found);
    return true;
}

/* Hash of the object without its seal. A deep copy, because json_object_del needs an object of our
 * own. */
static bool seal_of(const json_t *object, char text[HASH_TEXT_BYTES], struct error *err)
{
    json_t *copy = json_deep_copy(object);
    if (copy)
        json_object_del(copy, seal_key);
    char *compact = copy ? json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(copy);
    if (!compact)
        return error_set(err, "out of memory while hashing JSON");
    hash_text(hash_bytes(compact, strlen(compact)), text);
    free(compact);
    return true;
}

bool jobject_seal(json_t *object, struct error *err)
{
    char text[HASH_TEXT_BYTES];
    if (!seal_of(object, text, err))
        return false;
    if (json_object_set_new(object, seal_key, json_string(text)) != 0)
        return error_set(err, "out of memory while sealing JSON");
    return true;
}

bool jobject_check_seal(const json_t *object, const char *place, struct error *err)
{
    const char *sealed = NULL;
    char text[HASH_TEXT_BYTES];
    if (!jobject_string(object, place, seal_key, true, &sealed, err) || !seal_of(object, text, err))
        return false;
    if (strcmp(sealed, text) != 0)
        return error_set(err,
                         "%s: checksum is %s but the content's is %s; the file was damaged or "
                         "edited, make it again",
                         place, sealed, text);
    return true;
}
