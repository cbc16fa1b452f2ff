/* json_value.c: see json_value.h. */
#include "text/json_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/utf8.h"

enum { MOST_DEPTH = 200, MOST_NUMBER = 400 /* bytes */ };

static json_t *read_value(struct json_scan *scan, unsigned depth, struct error *err);

/* ---- reading ---- */

static bool is_utf8(const struct json_text *text, struct error *err)
{
    return utf8_valid_prefix(text->bytes, text->n) == text->n ||
           error_set(err, "a string is not valid UTF-8");
}

static json_t *read_string(struct json_scan *scan, struct error *err)
{
    struct json_text text = {0};
    json_t *value = NULL;
    if (json_scan_string(scan, &text, err) && is_utf8(&text, err))
        value = json_stringn_nocheck(text.bytes, text.n);
    json_text_free(&text);
    return value;
}

static bool add_member(json_t *object, const struct json_text *key, json_t *value,
                       struct error *err)
{
    char *name = NULL;
    bool ok = value && is_utf8(key, err);
    if (ok && memchr(key->bytes, 0, key->n))
        ok = error_set(err, "a key holds U+0000");
    ok = ok && (name = memory_copy(key->bytes, key->n, err)) &&
         json_object_set_nocheck(object, name, value) == 0;
    free(name);
    json_decref(value);
    return ok;
}

static json_t *read_object(struct json_scan *scan, unsigned depth, struct error *err)
{
    struct json_text key = {0};
    json_t *object = json_object();
    bool first = true;
    int more = object && json_scan_enter(scan, '{', err) ? 1 : -1;
    while (more > 0 && (more = json_scan_next(scan, &first, &key, err)) > 0)
        if (!add_member(object, &key, read_value(scan, depth, err), err))
            more = -1;
    json_text_free(&key);
    if (more == 0)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *read_array(struct json_scan *scan, unsigned depth, struct error *err)
{
    json_t *array = json_array();
    bool first = true;
    int more = array && json_scan_enter(scan, '[', err) ? 1 : -1;
    while (more > 0 && (more = json_scan_next(scan, &first, NULL, err)) > 0)
        if (json_array_append_new(array, read_value(scan, depth, err)) != 0)
            more = -1;
    if (more == 0)
        return array;
    json_decref(array);
    return NULL;
}

/* A number, true, false or null. */
static json_t *read_word(struct json_scan *scan, struct error *err)
{
    char text[MOST_NUMBER + 1];
    const char *bytes;
    size_t n;
    if (!json_scan_skip(scan, &bytes, &n, err))
        return NULL;
    switch (*bytes) {
    case 't':
        return json_true();
    case 'f':
        return json_false();
    case 'n':
        return json_null();
    default:
        break;
    }
    if (n > MOST_NUMBER) {
        error_set(err, "a number of more than %d digits", MOST_NUMBER);
        return NULL;
    }
    memcpy(text, bytes, n);
    text[n] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value)) {
        error_set(err, "the number %s is too large", text);
        return NULL;
    }
    return json_real(value);
}

static json_t *read_value(struct json_scan *scan, unsigned depth, struct error *err)
{
    char c = json_scan_peek(scan);
    if (c == '"')
        return read_string(scan, err);
    if (c != '{' && c != '[')
        return read_word(scan, err);
    if (depth == MOST_DEPTH) {
        error_set(err, "JSON is nested deeper than %d", MOST_DEPTH);
        return NULL;
    }
    return c == '{' ? read_object(scan, depth + 1, err) : read_array(scan, depth + 1, err);
}

json_t *json_value_read(struct json_scan *scan, struct error *err)
{
    json_t *value = read_value(scan, 0, err);
    if (!value && !err->set)
        error_set(err, "no memory for a JSON value");
    return value;
}

/* ---- writing ---- */

static bool write_value(const json_t *value, struct text_buffer *out, struct error *err);

static bool put(struct text_buffer *out, const char *text, struct error *err)
{
    return text_buffer_add(out, text, strlen(text), err);
}

/* What has escapes, and numbers, as jansson writes them. */
static bool write_as_jansson(const json_t *value, struct text_buffer *out, struct error *err)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    bool ok = text ? put(out, text, err) : error_set(err, "no memory for a JSON value");
    free(text);
    return ok;
}

static bool write_string(const json_t *value, struct text_buffer *out, struct error *err)
{
    const char *bytes = json_string_value(value);
    size_t n = json_string_length(value), plain = 0;
    while (plain < n && (unsigned char)bytes[plain] >= 0x20 && bytes[plain] != '"' &&
           bytes[plain] != '\\')
        plain++;
    if (plain < n)
        return write_as_jansson(value, out, err);
    return put(out, "\"", err) && text_buffer_add(out, bytes, n, err) && put(out, "\"", err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool write_member(const json_t *object, const char *key, struct text_buffer *out,
                         struct error *err)
{
    json_t *name = json_string_nocheck(key);
    bool ok = name ? write_string(name, out, err) : error_set(err, "no memory for a JSON key");
    json_decref(name);
    return ok && put(out, ":", err) && write_value(json_object_get(object, key), out, err);
}

static bool write_object(const json_t *object, struct text_buffer *out, struct error *err)
{
    size_t n = json_object_size(object), used = 0;
    const char **key = memory_array(n, sizeof *key, err), *name;
    json_t *member;
    bool ok = key && put(out, "{", err);
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        if (ok)
            key[used++] = name;
    }
    if (used)
        qsort(key, used, sizeof *key, by_name);
    for (size_t i = 0; ok && i < used; i++)
        ok = (i == 0 || put(out, ",", err)) && write_member(object, key[i], out, err);
    free(key);
    return ok && put(out, "}", err);
}

static bool write_value(const json_t *value, struct text_buffer *out, struct error *err)
{
    if (json_is_string(value))
        return write_string(value, out, err);
    if (json_is_object(value))
        return write_object(value, out, err);
    if (!json_is_array(value))
        return write_as_jansson(value, out, err);
    bool ok = put(out, "[", err);
    for (size_t i = 0; ok && i < json_array_size(value); i++)
        ok = (i == 0 || put(out, ",", err)) && write_value(json_array_get(value, i), out, err);
    return ok && put(out, "]", err);
}

bool json_value_write(const json_t *value, struct text_buffer *out, struct error *err)
{
    return write_value(value, out, err);
}
