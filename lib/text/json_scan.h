/* json_scan.h: a pull scanner over JSON text, for what jansson is not made for: a two-megabyte
 * tokenizer.json of which the vocabulary must be read in milliseconds, and JSON lines whose strings
 * may hold \u0000 and lone surrogates (they become U+FFFD).
 *
 * Values are visited in order; what is not wanted is skipped, and checked while it is skipped.
 * Errors say the byte's place
 * ("column 17: expected …"); the caller puts file and line in front with error_at().
 */
#ifndef MILLET_TEXT_JSON_SCAN_H
#define MILLET_TEXT_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct json_scan {
    const char *begin, *at, *end; /* borrowed */
};

/* A decoded string: a view of the source when it holds no escape, else of its own buffer. */
struct json_text {
    const char *bytes; /* until the next use of this object */
    size_t n;
    char *buffer;
    size_t capacity;
};
void json_text_free(struct json_text *text);

struct json_scan json_scan_of(const char *bytes, size_t n);

/* First byte of the next value after white space ('{', '"', 'n', a digit …); 0 at the end. */
char json_scan_peek(struct json_scan *scan);

/* Enter an object or array, then call json_scan_next() before each member: 1: a member (its key is
 * in `key`; key NULL for arrays), 0: the end, -1: failed. *first starts true. */
bool json_scan_enter(struct json_scan *scan, char bracket, struct error *err) MUST_CHECK;
int json_scan_next(struct json_scan *scan, bool *first, struct json_text *key,
                   struct error *err) MUST_CHECK;

bool json_scan_string(struct json_scan *scan, struct json_text *text, struct error *err) MUST_CHECK;
/* ["text", -3.25] at one go, where the text has no escape and the number no exponent: *number, *n get
 * its span. false: nothing was read; go step by step, which also says what is wrong. Of a text that
 * ends soon, and where bytes are not little-endian, mostly false. */
bool json_scan_pair(struct json_scan *scan, struct json_text *text, const char **number, size_t *n);
bool json_scan_integer(struct json_scan *scan, int64_t *value, struct error *err) MUST_CHECK;
/* Any value; *bytes, *n get its span in the source (both may be NULL). */
bool json_scan_skip(struct json_scan *scan, const char **bytes, size_t *n,
                    struct error *err) MUST_CHECK;
/* Only white space may be left. */
bool json_scan_end(struct json_scan *scan, struct error *err) MUST_CHECK;

#endif
