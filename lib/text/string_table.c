/* string_table.c: see string_table.h. */
#include "text/string_table.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

enum { FIRST_SLOTS = 64 };

static size_t find_slot(const struct string_table *t, const char *bytes, size_t n, uint32_t hash)
{
    size_t i = hash & (t->n_slots - 1);
    while (t->slot[i] >= 0) {
        const struct string_item *item = &t->item[t->slot[i]];
        if (item->hash == hash && item->n == n && memcmp(t->arena + item->offset, bytes, n) == 0)
            break;
        i = (i + 1) & (t->n_slots - 1);
    }
    return i;
}

static bool widen(struct string_table *t, struct error *err)
{
    size_t n_slots = t->n_slots ? 2 * t->n_slots : FIRST_SLOTS;
    int32_t *slot = memory_array(n_slots, sizeof *slot, err);
    if (!slot)
        return false;
    memset(slot, 0xFF, n_slots * sizeof *slot); /* -1 */
    free(t->slot);
    t->slot = slot;
    t->n_slots = n_slots;
    for (size_t i = 0; i < t->n; i++) {
        size_t at = t->item[i].hash & (n_slots - 1);
        while (slot[at] >= 0)
            at = (at + 1) & (n_slots - 1);
        slot[at] = (int32_t)i;
    }
    return true;
}

int32_t string_table_find(const struct string_table *t, const char *bytes, size_t n)
{
    return t->n ? t->slot[find_slot(t, bytes, n, (uint32_t)hash_bytes(bytes, n))] : STRING_NONE;
}

int32_t string_table_add(struct string_table *t, const char *bytes, size_t n, struct error *err)
{
    uint32_t hash = (uint32_t)hash_bytes(bytes, n);
    if (2 * (t->n + 1) > t->n_slots && !widen(t, err))
        return STRING_NONE;
    size_t slot = find_slot(t, bytes, n, hash);
    if (t->slot[slot] >= 0)
        return t->slot[slot];
    if (t->n == INT32_MAX || n >= UINT32_MAX) {
        error_set(err, "too many distinct strings");
        return STRING_NONE;
    }
    if (!memory_grow(&t->item, &t->capacity, t->n + 1, sizeof *t->item, err) ||
        !memory_grow(&t->arena, &t->arena_capacity, t->n_arena + n + 1, 1, err))
        return STRING_NONE;
    t->item[t->n] = (struct string_item){t->n_arena, (uint32_t)n, hash};
    memcpy(t->arena + t->n_arena, bytes, n);
    t->arena[t->n_arena + n] = 0;
    t->n_arena += n + 1;
    t->slot[slot] = (int32_t)t->n;
    return (int32_t)t->n++;
}

const char *string_table_text(const struct string_table *t, int32_t number)
{
    return t->arena + t->item[number].offset;
}

void string_table_free(struct string_table *t)
{
    free(t->arena);
    free(t->item);
    free(t->slot);
    *t = (struct string_table){0};
}
