/* piece_index.c: see piece_index.h. Open addressing, at most half full. */
#include "text/piece_index.h"

#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

enum { AHEAD = 16 }; /* pieces: how far slots are asked for beforehand */

static bool is(const struct pieces *pieces, uint32_t id, const char *text, size_t n)
{
    return pieces->piece[id].n == n &&
           memcmp(pieces->arena + pieces->piece[id].offset, text, n) == 0;
}

/* The half of the hash that does not choose the slot tells most other pieces apart. */
static uint64_t tag(uint64_t hash)
{
    return hash & UINT64_C(0xFFFFFFFF00000000);
}

static uint32_t id_of(uint64_t slot)
{
    return (uint32_t)slot - 1;
}

static size_t find_slot(const struct piece_index *index, const struct pieces *pieces, uint64_t hash,
                        const char *text, size_t n)
{
    size_t at = (size_t)hash & index->mask;
    for (uint64_t slot; (slot = index->slot[at]) != 0; at = (at + 1) & index->mask)
        if (tag(slot) == tag(hash) && is(pieces, id_of(slot), text, n))
            break;
    return at;
}

static uint64_t hash_of(const struct pieces *pieces, size_t id)
{
    return hash_bytes(pieces->arena + pieces->piece[id].offset, pieces->piece[id].n);
}

static void add(struct piece_index *index, const struct pieces *pieces, uint64_t hash, size_t id)
{
    const struct piece *piece = &pieces->piece[id];
    if (!piece->n)
        return;
    uint64_t *slot =
        &index->slot[find_slot(index, pieces, hash, pieces->arena + piece->offset, piece->n)];
    if (*slot)
        index->duplicate = (int32_t)id_of(*slot);
    index->n += *slot == 0;
    *slot = tag(hash) | ((uint32_t)id + 1);
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
    uint64_t hash[AHEAD]; /* of piece i: hash[i % AHEAD] */
    for (size_t i = 0; i < pieces.n + AHEAD; i++) {
        if (i >= AHEAD)
            add(index, &pieces, hash[i % AHEAD], i - AHEAD);
        if (i < pieces.n) {
            hash[i % AHEAD] = hash_of(&pieces, i);
            __builtin_prefetch(&index->slot[hash[i % AHEAD] & index->mask], 1);
        }
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
    if (!index->slot || !n)
        return -1;
    return (int32_t)id_of(index->slot[find_slot(index, &pieces, hash_bytes(text, n), text, n)]);
}
