/* json_value.h: JSON values between json_scan.h and jansson's objects: jansson's own reader and
 * writer take a step a character, and a tokenizer has a map of 300 KB in one string. */
#ifndef MILLET_TEXT_JSON_VALUE_H
#define MILLET_TEXT_JSON_VALUE_H

#include <jansson.h>

#include "core/error.h"
#include "text/json_scan.h"
#include "text/text_buffer.h"

/* The value at hand; numbers become reals. New reference; NULL: failed. */
json_t *json_value_read(struct json_scan *scan, struct error *err) MUST_CHECK;

/* Appends what json_dumps() writes with JSON_COMPACT and JSON_SORT_KEYS. */
bool json_value_write(const json_t *value, struct text_buffer *out, struct error *err) MUST_CHECK;

#endif
