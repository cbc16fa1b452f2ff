/* wordpiece.c: see wordpiece.h.
 *
 * Open addressing with linear probing. Edges never move, so a slot can number a node; a table that
 * gets too full is thrown away and built again at twice the size. Building is bound by cache
 * misses, so LANES pieces are added side by side and the misses overlap.
 */
#include "text/wordpiece.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/memory.h"
#include "text/utf8.h"

enum {
    CODE_BITS = 21,
    ID_BITS = 21,
    MAX_BITS = 22, /* slots must fit beside code point and id: 64 - 21 - 21 */
    MIN_BITS = 10,
    LANES = 16,
    HUGE_PAGE = 2 << 20
};

/* Edge: parent (22 bits) | code point (21) | id + 1 (21; 0: no piece ends here); a free slot is 0.
 * Slots 0 to 2 hold no edge, so that the roots have numbers of their own and no edge is all zero.
 */
enum { ROOT_BEGIN = 1, ROOT_CONTINUE = 2, N_RESERVED = 3 };

struct wordpiece {
    uint64_t *edge;
    uint64_t mask;
    unsigned shift;
    size_t n_edges;
};

static uint64_t key_of(uint64_t parent, uint32_t code)
{
    return parent << CODE_BITS | code;
}

/* Fibonacci hashing: the high bits are the mixed ones. */
static uint64_t home_of(const struct wordpiece *trie, uint64_t key)
{
    return (key * 0x9E3779B97F4A7C15u) >> trie->shift;
}

/* Slot of the edge, or the free slot where it belongs. */
static uint64_t find(const struct wordpiece *trie, uint64_t key)
{
    uint64_t slot = home_of(trie, key);
    while (slot < N_RESERVED || (trie->edge[slot] && trie->edge[slot] >> ID_BITS != key))
        slot = (slot + 1) & trie->mask;
    return slot;
}

static bool allocate(struct wordpiece *trie, unsigned bits, struct error *err)
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

static void aim(const struct wordpiece *trie, struct lane *lane, uint64_t node)
{
    lane->key = key_of(node, utf8_next(&lane->at));
    __builtin_prefetch(&trie->edge[home_of(trie, lane->key)], 1);
}

static bool next_piece(const struct wordpiece *trie, struct lane *lane, const struct pieces *pieces,
                       const char *prefix, size_t *next)
{
    size_t n_prefix = strlen(prefix);
    while (*next < pieces->n && !pieces->piece[*next].n)
        ++*next;
    if (*next == pieces->n)
        return false;
    const char *text = pieces->arena + pieces->piece[*next].offset;
    size_t n = pieces->piece[*next].n;
    bool continues = n > n_prefix && memcmp(text, prefix, n_prefix) == 0;
    lane->at = (const unsigned char *)text + (continues ? n_prefix : 0);
    lane->end = (const unsigned char *)text + n;
    lane->id = ++*next;
    aim(trie, lane, continues ? ROOT_CONTINUE : ROOT_BEGIN);
    return true;
}

/* One edge further; false: the piece is done. Equal pieces may end in any order: the larger id
 * wins. */
static bool step(struct wordpiece *trie, struct lane *lane)
{
    uint64_t slot = find(trie, lane->key);
    uint64_t *edge = &trie->edge[slot];
    if (!*edge) {
        *edge = lane->key << ID_BITS;
        trie->n_edges++;
    }
    if (lane->at < lane->end) {
        aim(trie, lane, slot);
        return true;
    }
    if ((*edge & WORDPIECE_MAX) < lane->id)
        *edge = lane->key << ID_BITS | lane->id;
    return false;
}

/* false: the table is too full. */
static bool fill(struct wordpiece *trie, const struct pieces *pieces, const char *prefix)
{
    struct lane lane[LANES];
    size_t next = 0, n_lanes = 0;
    while (n_lanes < LANES && next_piece(trie, &lane[n_lanes], pieces, prefix, &next))
        n_lanes++;
    while (n_lanes) {
        if (trie->n_edges + LANES + N_RESERVED > trie->mask - trie->mask / 4)
            return false;
        for (size_t i = 0; i < n_lanes; i++) {
            if (!step(trie, &lane[i]) && !next_piece(trie, &lane[i], pieces, prefix, &next))
                lane[i--] = lane[--n_lanes];
        }
    }
    return true;
}

struct wordpiece *wordpiece_open(struct pieces pieces, const char *prefix, struct error *err)
{
    if (pieces.n > WORDPIECE_MAX) {
        error_set(err, "a vocabulary of %zu pieces is larger than the limit of %d", pieces.n,
                  WORDPIECE_MAX);
        return NULL;
    }
    struct wordpiece *trie = memory_zeroed(1, sizeof *trie, err);
    unsigned bits = MIN_BITS; /* two to three edges a piece are usual */
    while (bits < MAX_BITS && (size_t)1 << bits < 4 * pieces.n)
        bits++;
    for (; trie; bits++) {
        if (bits > MAX_BITS) {
            error_set(err, "the vocabulary's pieces are too long: more than %d distinct beginnings",
                      3 << (MAX_BITS - 2));
            break;
        }
        if (!allocate(trie, bits, err))
            break;
        if (fill(trie, &pieces, prefix))
            return trie;
        free(trie->edge);
        trie->edge = NULL;
    }
    wordpiece_close(trie);
    return NULL;
}

void wordpiece_close(struct wordpiece *trie)
{
    if (!trie)
        return;
    free(trie->edge);
    free(trie);
}

size_t wordpiece_match(const struct wordpiece *trie, const uint32_t *code, size_t n, int32_t *ids)
{
    size_t n_ids = 0, begin = 0;
    while (begin < n) {
        uint64_t node = begin ? ROOT_CONTINUE : ROOT_BEGIN;
        size_t end = begin;
        uint64_t best = 0;
        for (size_t i = begin; i < n; i++) {
            uint64_t slot = find(trie, key_of(node, code[i])), edge = trie->edge[slot];
            if (!edge)
                break;
            node = slot;
            if (edge & WORDPIECE_MAX) {
                best = edge & WORDPIECE_MAX;
                end = i + 1;
            }
        }
        if (!best)
            return 0;
        ids[n_ids++] = (int32_t)(best - 1);
        begin = end;
    }
    return n_ids;
}
