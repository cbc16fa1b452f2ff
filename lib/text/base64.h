/* base64.h: RFC 4648's base64 with padding: how tokenizer.json holds a charsmap. */
#ifndef MILLET_TEXT_BASE64_H
#define MILLET_TEXT_BASE64_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* *bytes is released with free(). */
bool base64_decode(const char *text, size_t n, unsigned char **bytes, size_t *n_bytes,
                   struct error *err) MUST_CHECK;

/* NUL-terminated text, released with free(). */
char *base64_encode(const unsigned char *bytes, size_t n, struct error *err) MUST_CHECK;

#endif
