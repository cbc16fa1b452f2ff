/* audit_seen.c: see audit_seen.h. Open addressing, at most half full. */
#include "text/audit_seen.h"

#include <stdlib.h>

#include "core/memory.h"

enum { FIRST_SLOTS = 1 << 10 };

static struct audit_seen *find(struct audit_seen *slot, size_t n_slots, struct hash128 hash)
{
    size_t i = (size_t)hash.low & (n_slots - 1);
    while (slot[i].first_file && (slot[i].hash.low != hash.low || slot[i].hash.high != hash.high))
        i = (i + 1) & (n_slots - 1);
    return &slot[i];
}

static bool widen(struct audit_seen_table *t, struct error *err)
{
    size_t n_slots = t->n_slots ? 2 * t->n_slots : FIRST_SLOTS;
    struct audit_seen *slot = memory_zeroed(n_slots, sizeof *slot, err);
    if (!slot)
        return false;
    for (size_t i = 0; i < t->n_slots; i++)
        if (t->slot[i].first_file)
            *find(slot, n_slots, t->slot[i].hash) = t->slot[i];
    free(t->slot);
    t->slot = slot;
    t->n_slots = n_slots;
    return true;
}

struct audit_seen *audit_seen_at(struct audit_seen_table *t, struct hash128 hash, bool *fresh,
                                 struct error *err)
{
    if (2 * (t->n + 1) > t->n_slots && !widen(t, err))
        return NULL;
    struct audit_seen *entry = find(t->slot, t->n_slots, hash);
    *fresh = entry->first_file == 0;
    if (*fresh) {
        entry->hash = hash;
        t->n++;
    }
    return entry;
}

void audit_seen_free(struct audit_seen_table *t)
{
    free(t->slot);
    *t = (struct audit_seen_table){0};
}
