/* text_buffer.h: text that grows: what one step of a normaliser hands to the next. Bounded: a
 * tokenizer.json may ask for any growth, over again in each step. */
#ifndef MILLET_TEXT_TEXT_BUFFER_H
#define MILLET_TEXT_TEXT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/memory.h"

enum { TEXT_BUFFER_MAX = 1 << 28 }; /* bytes: four times the longest row of a table */

struct text_buffer {
    char *bytes; /* owned, not NUL-terminated */
    size_t n, capacity;
};

/* Room for n more bytes at bytes + buffer->n. */
static inline bool text_buffer_reserve(struct text_buffer *buffer, size_t n, struct error *err)
{
    if (n > TEXT_BUFFER_MAX - buffer->n)
        return error_set(err, "a text grows beyond %d MiB on its way through the tokenizer",
                         TEXT_BUFFER_MAX >> 20);
    return buffer->capacity - buffer->n >= n ||
           memory_grow(&buffer->bytes, &buffer->capacity, buffer->n + n, 1, err);
}

static inline bool text_buffer_add(struct text_buffer *buffer, const char *bytes, size_t n,
                                   struct error *err)
{
    if (!text_buffer_reserve(buffer, n, err))
        return false;
    if (n)
        memcpy(buffer->bytes + buffer->n, bytes, n);
    buffer->n += n;
    return true;
}

static inline void text_buffer_free(struct text_buffer *buffer)
{
    free(buffer->bytes);
    *buffer = (struct text_buffer){NULL, 0, 0};
}

#endif
