/* piece_index.c: see piece_index.h. Open addressing, at most half full. */
#include "text/piece_index.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

static bool is(const struct pieces *pieces, uint32_t id, const char *text, size_t n)
{
    return pieces->piece[id].n == n &&
           memcmp(pieces->arena + pieces->piece[id].offset, text, n) == 0;
}

static size_t find_slot(const struct piece_index *index, const struct pieces *pieces,
                        const char *text, size_t n)
{
    size_t slot = (size_t)hash_bytes(text, n) & index->mask;
    while (index->slot[slot] && !is(pieces, index->slot[slot] - 1, text, n))
        slot = (slot + 1) & index->mask;
    return slot;
}

bool piece_index_open(struct piece_index *index, struct pieces pieces, struct error *err)
{
    size_t n_slots = 16;
    while (n_slots < 2 * pieces.n)
        n_slots *= 2;
    index->slot = memory_zeroed(n_slots, sizeof *index->slot, err);
    index->mask = n_slots - 1;
    if (!index->slot)
        return false;
    index->n = 0;
    index->duplicate = -1;
    for (size_t i = 0; i < pieces.n; i++) {
        const struct piece *piece = &pieces.piece[i];
        if (!piece->n)
            continue;
        uint32_t *slot =
            &index->slot[find_slot(index, &pieces, pieces.arena + piece->offset, piece->n)];
        if (*slot)
            index->duplicate = (int32_t)*slot - 1;
        index->n += *slot == 0;
        *slot = (uint32_t)i + 1;
    }
    return true;
}

void piece_index_free(struct piece_index *index)
{
    free(index->slot);
    *index = (struct piece_index){0};
}

int32_t piece_index_find(const struct piece_index *index, struct pieces pieces, const char *text,
                         size_t n)
{
    return index->slot && n ? (int32_t)index->slot[find_slot(index, &pieces, text, n)] - 1 : -1;
}
