/* json_scan.c: see json_scan.h. Grammar: RFC 8259. */
#include "text/json_scan.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/utf8.h"

enum { MAX_DEPTH = 200 }; /* hostile nesting must not exhaust the stack */

struct json_scan json_scan_of(const char *bytes, size_t n)
{
    return (struct json_scan){bytes, bytes, bytes + n};
}

void json_text_free(struct json_text *text)
{
    free(text->buffer);
    *text = (struct json_text){0};
}

static bool expected(const struct json_scan *scan, const char *what, struct error *err)
{
    size_t column = (size_t)(scan->at - scan->begin) + 1;
    if (scan->at >= scan->end)
        return error_set(err, "column %zu: JSON ends where %s was expected", column, what);
    return error_set(err, "column %zu: found '%c', expected %s", column,
                     (unsigned char)*scan->at < 0x80 ? *scan->at : '?', what);
}

/* ---- eight bytes at a time: most of a large vocabulary is indentation and plain text ---- */

static const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;

/* How many of the bytes at `at`, eight of which are there, are plain in a string: no quote, no
 * backslash, no control character. */
static inline size_t plain_bytes(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    /* The top bit of each byte that falls below 0 by this; above the first such byte others may be
     * marked, too. */
    uint64_t below =
        ((word ^ ones * '"') - ones) | ((word ^ ones * '\\') - ones) | (word - ones * 0x20);
    uint64_t stops = below & ~word & tops;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return stops ? (size_t)__builtin_ctzll(stops) / 8 : 8;
#else
    return stops ? 0 : 8;
#endif
}

/* How many of the bytes at `at`, eight of which are there, are the spaces of an indentation. */
static size_t indentation(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    word ^= ones * ' ';
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return word ? (size_t)__builtin_ctzll(word) / 8 : 8;
#else
    return word ? 0 : 8;
#endif
}

static inline const char *skip_space(const char *at, const char *end)
{
    if (at < end && *at == '\n')
        at++;
    for (size_t n = 8; n == 8 && end - at >= 8; at += n)
        n = indentation(at);
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
        at++;
    return at;
}

char json_scan_peek(struct json_scan *scan)
{
    scan->at = skip_space(scan->at, scan->end);
    return scan->at < scan->end ? *scan->at : 0;
}

bool json_scan_enter(struct json_scan *scan, char bracket, struct error *err)
{
    if (json_scan_peek(scan) != bracket)
        return expected(scan, bracket == '{' ? "an object" : "an array", err);
    scan->at++;
    return true;
}

int json_scan_next(struct json_scan *scan, bool *first, struct json_text *key, struct error *err)
{
    char c = json_scan_peek(scan);
    if (c == (key ? '}' : ']')) {
        scan->at++;
        return 0;
    }
    if (!*first) {
        if (c != ',')
            return expected(scan, key ? "',' or '}'" : "',' or ']'", err), -1;
        scan->at++;
        json_scan_peek(scan);
    }
    *first = false;
    if (!key)
        return 1;
    if (!json_scan_string(scan, key, err))
        return -1;
    if (json_scan_peek(scan) != ':')
        return expected(scan, "':'", err), -1;
    scan->at++;
    return 1;
}

/* Four hexadecimal digits at `at`; false: not there. */
static bool hexadecimal(const struct json_scan *scan, const char *at, uint32_t *value)
{
    *value = 0;
    if (scan->end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                                : 16;
        if (digit > 15)
            return false;
        *value = *value << 4 | digit;
    }
    return true;
}

/* After "\u": joins surrogate pairs; a lone one becomes U+FFFD. */
static bool unicode_escape(struct json_scan *scan, uint32_t *code, struct error *err)
{
    uint32_t low;
    if (!hexadecimal(scan, scan->at, code))
        return expected(scan, "four hexadecimal digits", err);
    scan->at += 4;
    if (*code < 0xD800 || *code > 0xDFFF)
        return true;
    if (*code < 0xDC00 && scan->end - scan->at >= 6 && scan->at[0] == '\\' && scan->at[1] == 'u' &&
        hexadecimal(scan, scan->at + 2, &low) && low >= 0xDC00 && low <= 0xDFFF) {
        *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
        scan->at += 6;
        return true;
    }
    *code = UTF8_REPLACEMENT;
    return true;
}

static bool escape(struct json_scan *scan, uint32_t *code, struct error *err)
{
    static const char name[] = "\"\\/bfnrt", value[] = "\"\\/\b\f\n\r\t";
    const char *found;
    if (scan->at < scan->end && *scan->at == 'u') {
        scan->at++;
        return unicode_escape(scan, code, err);
    }
    if (scan->at >= scan->end || !*scan->at || !(found = strchr(name, *scan->at)))
        return expected(scan, "an escape (one of \" \\ / b f n r t u)", err);
    *code = (uint32_t)value[found - name];
    scan->at++;
    return true;
}

/* Move to the next quote, backslash or end; control characters are refused. */
static bool plain_run(struct json_scan *scan, struct error *err)
{
    for (size_t n = 8; n == 8 && scan->end - scan->at >= 8; scan->at += n)
        n = plain_bytes(scan->at);
    while (scan->at < scan->end && *scan->at != '"' && *scan->at != '\\') {
        if ((unsigned char)*scan->at < 0x20)
            return error_set(
                err, "column %zu: control character 0x%02x in a string; write it as \\u%04x",
                (size_t)(scan->at - scan->begin) + 1, (unsigned)*scan->at, (unsigned)*scan->at);
        scan->at++;
    }
    return scan->at < scan->end || expected(scan, "the string's closing '\"'", err);
}

/* The first byte from `at` on that is no digit. */
static const char *digits_end(const char *at, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (uint64_t word; end - at >= 8; at += 8) {
        memcpy(&word, at, sizeof word);
        word ^= ones * '0'; /* 0 to 9 for digits */
        uint64_t stops = (((word & ~tops) + ones * 0x76) | word) & tops;
        if (stops)
            return at + __builtin_ctzll(stops) / 8;
    }
#endif
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* The end of the digits and the point that begin at `at`; NULL: no plain number. */
static const char *plain_number(const char *at, const char *end)
{
    const char *digit = at + (at < end && *at == '-'), *p = digit;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == digit || (p - digit > 1 && *digit == '0')) /* 0 stands alone */
        return NULL;
    if (p == end || *p != '.')
        return p;
    const char *point = p;
    p = digits_end(point + 1, end);
    return p == point + 1 ? NULL : p;
}

bool json_scan_pair(struct json_scan *scan, struct json_text *text, const char **number, size_t *n)
{
    const char *end = scan->end, *at = skip_space(scan->at, end);
    if (at == end || *at != '[' || (at = skip_space(at + 1, end)) == end || *at != '"')
        return false;
    const char *begin = ++at;
    for (size_t step = 8; step == 8; at += step) {
        if (end - at < 8)
            return false;
        step = plain_bytes(at);
    }
    if (*at != '"')
        return false;
    text->bytes = begin;
    text->n = (size_t)(at - begin);
    if ((at = skip_space(at + 1, end)) == end || *at != ',')
        return false;
    *number = skip_space(at + 1, end);
    if (!(at = plain_number(*number, end)))
        return false;
    *n = (size_t)(at - *number);
    if ((at = skip_space(at, end)) == end || *at != ']')
        return false;
    scan->at = at + 1;
    return true;
}

bool json_scan_string(struct json_scan *scan, struct json_text *text, struct error *err)
{
    if (json_scan_peek(scan) != '"')
        return expected(scan, "a string", err);
    const char *run = ++scan->at;
    if (!plain_run(scan, err))
        return false;
    if (*scan->at == '"') {
        text->bytes = run;
        text->n = (size_t)(scan->at++ - run);
        return true;
    }
    for (text->n = 0;; run = scan->at) {
        uint32_t code = 0;
        if (!plain_run(scan, err))
            return false;
        size_t n = (size_t)(scan->at - run);
        if (!memory_grow(&text->buffer, &text->capacity, text->n + n + UTF8_MAX_BYTES, 1, err))
            return false;
        memcpy(text->buffer + text->n, run, n);
        text->n += n;
        if (*scan->at++ == '"')
            break;
        if (!escape(scan, &code, err))
            return false;
        text->n += utf8_put(code, text->buffer + text->n);
    }
    text->bytes = text->buffer;
    return true;
}

static bool skip_string(struct json_scan *scan, struct error *err)
{
    scan->at++;
    for (;;) {
        uint32_t code;
        if (!plain_run(scan, err))
            return false;
        if (*scan->at++ == '"')
            return true;
        if (!escape(scan, &code, err))
            return false;
    }
}

static bool digits(struct json_scan *scan, struct error *err)
{
    if (scan->at >= scan->end || *scan->at < '0' || *scan->at > '9')
        return expected(scan, "a digit", err);
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9')
        scan->at++;
    return true;
}

static bool skip_number(struct json_scan *scan, struct error *err)
{
    if (*scan->at == '-')
        scan->at++;
    bool zero = scan->at < scan->end && *scan->at == '0'; /* stands alone */
    if (zero)
        scan->at++;
    else if (!digits(scan, err))
        return false;
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        if (!digits(scan, err))
            return false;
    }
    if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E')) {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        return digits(scan, err);
    }
    return true;
}

static bool skip_word(struct json_scan *scan, struct error *err)
{
    static const char *const word[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(word[i]);
        if ((size_t)(scan->end - scan->at) >= n && memcmp(scan->at, word[i], n) == 0) {
            scan->at += n;
            return true;
        }
    }
    return expected(scan, "a value", err);
}

static bool skip_value(struct json_scan *scan, unsigned depth, struct error *err)
{
    char c = json_scan_peek(scan);
    if (c == '"')
        return skip_string(scan, err);
    if (c == '-' || (c >= '0' && c <= '9'))
        return skip_number(scan, err);
    if (c != '{' && c != '[')
        return skip_word(scan, err);
    if (depth >= MAX_DEPTH)
        return error_set(err, "column %zu: JSON is nested deeper than %d",
                         (size_t)(scan->at - scan->begin) + 1, MAX_DEPTH);
    scan->at++;
    struct json_text key = {0};
    bool first = true;
    int more;
    while ((more = json_scan_next(scan, &first, c == '{' ? &key : NULL, err)) > 0)
        if (!skip_value(scan, depth + 1, err)) {
            more = -1;
            break;
        }
    json_text_free(&key);
    return more == 0;
}

bool json_scan_skip(struct json_scan *scan, const char **bytes, size_t *n, struct error *err)
{
    json_scan_peek(scan);
    const char *begin = scan->at;
    if (!skip_value(scan, 0, err))
        return false;
    if (bytes)
        *bytes = begin;
    if (n)
        *n = (size_t)(scan->at - begin);
    return true;
}

bool json_scan_integer(struct json_scan *scan, int64_t *value, struct error *err)
{
    bool negative = json_scan_peek(scan) == '-';
    scan->at += negative;
    const char *begin = scan->at;
    if (!digits(scan, err))
        return false;
    if (scan->at - begin > 18)
        return error_set(err, "column %zu: integer has more than 18 digits",
                         (size_t)(begin - scan->begin) + 1);
    *value = 0;
    for (const char *p = begin; p < scan->at; p++)
        *value = *value * 10 + (*p - '0');
    if (negative)
        *value = -*value;
    return true;
}

bool json_scan_end(struct json_scan *scan, struct error *err)
{
    return json_scan_peek(scan) == 0 && scan->at == scan->end
               ? true
               : expected(scan, "nothing more after the value", err);
}
