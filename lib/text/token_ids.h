/* token_ids.h: the ids of a text while it is encoded. */
#ifndef MILLET_TEXT_TOKEN_IDS_H
#define MILLET_TEXT_TOKEN_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"

struct token_ids {
    int32_t *id; /* owned */
    size_t n, capacity;
    size_t limit;      /* encoding may stop once there are more */
    bool failed;       /* *err says why */
    struct error *err; /* of the call at hand */
};

static inline bool token_ids_reserve(struct token_ids *ids, size_t more)
{
    if (ids->capacity - ids->n >= more ||
        memory_grow(&ids->id, &ids->capacity, ids->n + more, sizeof *ids->id, ids->err))
        return true;
    ids->failed = true;
    return false;
}

static inline void token_ids_add(struct token_ids *ids, int32_t id)
{
    if (token_ids_reserve(ids, 1))
        ids->id[ids->n++] = id;
}

#endif
