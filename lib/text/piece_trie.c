/* piece_trie.c: see piece_trie.h.
 *
 * Open addressing with linear probing. Edges never move, so a slot can number a node; a table that
 * gets too full is thrown away and built again at twice the size. Building is bound by cache
 * misses, so LANES pieces are added side by side and the misses overlap.
 */
#include "text/piece_trie.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/memory.h"
#include "text/utf8.h"

enum {
    MAX_BITS = 22, /* slots must fit beside code point and id: 64 - 21 - 21 */
    MIN_BITS = 10,
    LANES = 16,
    HUGE_PAGE = 2 << 20
};

static bool allocate(struct piece_trie *trie, unsigned bits, struct error *err)
{
    size_t bytes = sizeof *trie->edge << bits;
    if (bytes >= HUGE_PAGE) {
        trie->edge = aligned_alloc(HUGE_PAGE, bytes);
        if (!trie->edge)
            return error_set(err, "out of memory: %zu bytes for the vocabulary", bytes);
        /* Random access to small pages would spend its time in the page tables. Only a wish:
         * failing is fine. */
        (void)madvise(trie->edge, bytes, MADV_HUGEPAGE);
        memset(trie->edge, 0, bytes);
    } else
        trie->edge = memory_zeroed((size_t)1 << bits, sizeof *trie->edge, err);
    trie->mask = ((uint64_t)1 << bits) - 1;
    trie->shift = 64 - bits;
    trie->n_edges = 0;
    return trie->edge != NULL;
}

struct lane {
    const unsigned char *at, *end;
    uint64_t key; /* of the edge to take next; its home slot is on the way into the cache */
    uint64_t id;  /* + 1 */
};

static void aim(const struct piece_trie *trie, struct lane *lane, uint64_t node)
{
    lane->key = piece_trie_key(node, utf8_next(&lane->at));
    __builtin_prefetch(&trie->edge[piece_trie_home(trie, lane->key)], 1);
}

static bool next_piece(const struct piece_trie *trie, struct lane *lane,
                       const struct pieces *pieces, const char *prefix, size_t *next)
{
    size_t n_prefix = prefix ? strlen(prefix) : 0;
    while (*next < pieces->n && !pieces->piece[*next].n)
        ++*next;
    if (*next == pieces->n)
        return false;
    const char *text = pieces->arena + pieces->piece[*next].offset;
    size_t n = pieces->piece[*next].n;
    bool continues = n_prefix && n > n_prefix && memcmp(text, prefix, n_prefix) == 0;
    lane->at = (const unsigned char *)text + (continues ? n_prefix : 0);
    lane->end = (const unsigned char *)text + n;
    lane->id = ++*next;
    aim(trie, lane, continues ? PIECE_TRIE_CONTINUE : PIECE_TRIE_ROOT);
    return true;
}

/* One edge further; false: the piece is done. Equal pieces may end in any order: the larger id
 * wins. */
static bool step(struct piece_trie *trie, struct lane *lane)
{
    uint64_t slot = piece_trie_find(trie, lane->key);
    uint64_t *edge = &trie->edge[slot];
    if (!*edge) {
        *edge = lane->key << PIECE_TRIE_ID_BITS;
        trie->n_edges++;
    }
    if (lane->at < lane->end) {
        aim(trie, lane, slot);
        return true;
    }
    if ((*edge & PIECE_TRIE_MAX) < lane->id)
        *edge = lane->key << PIECE_TRIE_ID_BITS | lane->id;
    return false;
}

/* false: the table is too full. */
static bool fill(struct piece_trie *trie, const struct pieces *pieces, const char *prefix)
{
    struct lane lane[LANES];
    size_t next = 0, n_lanes = 0;
    while (n_lanes < LANES && next_piece(trie, &lane[n_lanes], pieces, prefix, &next))
        n_lanes++;
    while (n_lanes) {
        if (trie->n_edges + LANES + PIECE_TRIE_RESERVED > trie->mask - trie->mask / 4)
            return false;
        for (size_t i = 0; i < n_lanes; i++) {
            if (!step(trie, &lane[i]) && !next_piece(trie, &lane[i], pieces, prefix, &next))
                lane[i--] = lane[--n_lanes];
        }
    }
    return true;
}

bool piece_trie_open(struct piece_trie *trie, struct pieces pieces, const char *prefix,
                     struct error *err)
{
    *trie = (struct piece_trie){NULL, 0, 0, 0};
    if (pieces.n > PIECE_TRIE_MAX)
        return error_set(err, "a vocabulary of %zu pieces is larger than the limit of %d", pieces.n,
                         PIECE_TRIE_MAX);
    unsigned bits = MIN_BITS; /* two to three edges a piece are usual */
    while (bits < MAX_BITS && (size_t)1 << bits < 4 * pieces.n)
        bits++;
    for (; bits <= MAX_BITS; bits++) {
        if (!allocate(trie, bits, err))
            return false;
        if (fill(trie, &pieces, prefix))
            return true;
        piece_trie_free(trie);
    }
    return error_set(err, "the vocabulary's pieces are too long: more than %d distinct beginnings",
                     3 << (MAX_BITS - 2));
}

void piece_trie_free(struct piece_trie *trie)
{
    free(trie->edge);
    trie->edge = NULL;
}
