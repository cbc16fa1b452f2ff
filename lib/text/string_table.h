/* string_table.h: distinct strings numbered in order of arrival. */
#ifndef MILLET_TEXT_STRING_TABLE_H
#define MILLET_TEXT_STRING_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { STRING_NONE = -1 };

struct string_item {
    size_t offset; /* in the arena; strings there end in NUL */
    uint32_t n, hash;
};

struct string_table { /* all zero is an empty table */
    char *arena;
    size_t n_arena, arena_capacity;
    struct string_item *item;
    size_t n, capacity;
    int32_t *slot; /* open addressing, at most half full */
    size_t n_slots;
};

/* The number of the string, added when it is new; STRING_NONE: failed. */
int32_t string_table_add(struct string_table *table, const char *bytes, size_t n,
                         struct error *err) MUST_CHECK;
/* STRING_NONE: not there. */
int32_t string_table_find(const struct string_table *table, const char *bytes, size_t n);
/* NUL-terminated; until the next addition. */
const char *string_table_text(const struct string_table *table, int32_t number);
void string_table_free(struct string_table *table);

#endif
