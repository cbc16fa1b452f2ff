/* jobject.h: JSON objects over jansson: parsing with places, typed look-ups with ranges, and
 * sealing.
 *
 * A sealed object carries its own XXH3 in the key "xxh3": the hash of the object without that key,
 * dumped compactly with sorted keys. Small text members of streams (stream.json, end.json,
 * millet.json) are sealed, so that a flipped byte in them is noticed as it is in the binary
 * members.
 */
#ifndef MILLET_CORE_JOBJECT_H
#define MILLET_CORE_JOBJECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Parse one object from n bytes (need not end in NUL). `place` (a file or member name) stands in
 * the error with line and column. Release with json_decref(). */
json_t *jobject_parse(const char *bytes, size_t n, const char *place, struct error *err) MUST_CHECK;

/* Indented, with a final newline; release with free(). Keys keep their order. */
char *jobject_dump(const json_t *object, struct error *err) MUST_CHECK;

/* A JSON string of text that may not be UTF-8 (a path, an argument): bytes that are not become '?'.
 * NULL: no memory. */
json_t *jobject_text(const char *text);

/* Look-ups. A missing key: `required` decides between an error and *value left as it is. A value of
 * the wrong type or out of range is always an error that names place, key, found and expected. */
bool jobject_integer(const json_t *object, const char *place, const char *key, bool required,
                     int64_t min, int64_t max, int64_t *value, struct error *err) MUST_CHECK;
bool jobject_number(const json_t *object, const char *place, const char *key, bool required,
                    double *value, struct error *err) MUST_CHECK;
/* *value is borrowed from the object. */
bool jobject_string(const json_t *object, const char *place, const char *key, bool required,
                    const char **value, struct error *err) MUST_CHECK;

bool jobject_seal(json_t *object, struct error *err) MUST_CHECK;
/* An absent "xxh3" is an error too. */
bool jobject_check_seal(const json_t *object, const char *place, struct error *err) MUST_CHECK;

#endif
