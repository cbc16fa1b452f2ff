/* audit_seen.h: which texts were seen, as 128-bit hashes: 40 bytes a distinct text and table slot,
 * two to four slots a text, however long the texts are. */
#ifndef MILLET_TEXT_AUDIT_SEEN_H
#define MILLET_TEXT_AUDIT_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"

struct audit_seen {
    struct hash128 hash;
    uint32_t first_file, last_file; /* + 1; 0: the slot is free */
    uint64_t first_line;
    int32_t label; /* of its first row; -1: none */
};

struct audit_seen_table { /* all zero is empty */
    struct audit_seen *slot;
    size_t n, n_slots;
};

/* The entry of the hash; *fresh: made just now (first_file 0: the caller fills it in). NULL: no
 * memory. */
struct audit_seen *audit_seen_at(struct audit_seen_table *table, struct hash128 hash, bool *fresh,
                                 struct error *err) MUST_CHECK;
void audit_seen_free(struct audit_seen_table *table);

#endif
