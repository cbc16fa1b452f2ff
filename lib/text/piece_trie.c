/* piece_trie.c: see piece_trie.h.
 *
 * Open addressing with linear probing. Edges never move, so a slot can number a node; a table that
 * gets too full is thrown away and built again at twice the size. Building is bound by cache misses
 * and by branches that no processor foresees, so the pieces of a block go down side by side, an
 * edge of each at a time: the misses overlap, and what hangs on the data is selected, not jumped
 * over.
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
    BLOCK = 64, /* pieces */
    HUGE_PAGE = 2 << 20
};

static size_t bytes_of(const struct piece_trie *trie)
{
    return (trie->mask + 1) * sizeof *trie->edge;
}

/* Zeroed memory straight from the system, in huge pages: random access to small ones would spend
 * its time in the page tables. They are only a wish: failing is fine. NULL: failed. */
static void *map_zeroed(size_t bytes)
{
    void *map =
        mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return NULL;
    size_t before = -(uintptr_t)map % HUGE_PAGE;
    char *aligned = (char *)map + before;
    if (before)
        (void)munmap(map, before);
    (void)munmap(aligned + bytes, HUGE_PAGE - before);
    (void)madvise(aligned, bytes, MADV_HUGEPAGE);
    return aligned;
}

static bool allocate(struct piece_trie *trie, unsigned bits, struct error *err)
{
    *trie = (struct piece_trie){.mask = ((uint64_t)1 << bits) - 1, .shift = 64 - bits};
    size_t bytes = bytes_of(trie);
    if (bytes < HUGE_PAGE)
        trie->edge = memory_zeroed(bytes, 1, err);
    else if (!(trie->edge = map_zeroed(bytes)))
        error_set(err, "out of memory: %zu bytes for the vocabulary", bytes);
    if (trie->edge)
        memset(trie->edge, 0xFF, PIECE_TRIE_RESERVED * sizeof *trie->edge); /* no code point's */
    return trie->edge != NULL;
}

void piece_trie_free(struct piece_trie *trie)
{
    if (trie->edge && bytes_of(trie) >= HUGE_PAGE)
        (void)munmap(trie->edge, bytes_of(trie));
    else
        free(trie->edge);
    *trie = (struct piece_trie){0};
}

/* A piece on its way down. */
struct walk {
    const unsigned char *at, *end;
    uint64_t key; /* of the edge to take next; its home slot is on the way into the cache */
    uint64_t id;  /* + 1 */
};

static inline void aim(const struct piece_trie *trie, struct walk *walk, uint64_t node)
{
    walk->key = piece_trie_key(node, utf8_next_wide(&walk->at));
    __builtin_prefetch(&trie->edge[piece_trie_home(trie, walk->key)], 1);
}

/* The first byte is asked first: most pieces do not continue, and most marks are short. */
static bool continues(const char *text, size_t n, const char *prefix, size_t n_prefix)
{
    return n > n_prefix && n_prefix && *text == *prefix && memcmp(text, prefix, n_prefix) == 0;
}

/* The next pieces at their roots; how many. */
static size_t begin(const struct piece_trie *trie, const struct pieces *pieces, const char *prefix,
                    size_t *next, struct walk walk[BLOCK])
{
    size_t n = 0, n_prefix = prefix ? strlen(prefix) : 0;
    while (n < BLOCK && *next < pieces->n) {
        const struct piece *piece = &pieces->piece[(*next)++];
        if (!piece->n)
            continue;
        const char *text = pieces->arena + piece->offset;
        bool marked = continues(text, piece->n, prefix, n_prefix);
        walk[n].at = (const unsigned char *)text + (marked ? n_prefix : 0);
        walk[n].end = (const unsigned char *)text + piece->n;
        walk[n].id = *next; /* one is added already */
        aim(trie, &walk[n++], marked ? PIECE_TRIE_CONTINUE : PIECE_TRIE_ROOT);
    }
    return n;
}

/* One edge further, each; how many are not yet done: those come to the front. Of equal pieces the
 * later one is behind or in a later block, and wins. */
static size_t descend(struct piece_trie *trie, struct walk *walk, size_t n)
{
    struct piece_trie t = *trie; /* a copy, which no edge written can change */
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        struct walk w = walk[i];
        uint64_t slot = piece_trie_find(&t, w.key), edge = t.edge[slot];
        uint64_t more = w.at != w.end, id = edge & PIECE_TRIE_MAX;
        t.n_edges += edge == 0;
        t.n_pieces += (more | id) == 0;
        id ^= (id ^ w.id) & (more - 1); /* the piece's, where it ends */
        t.edge[slot] = w.key << PIECE_TRIE_ID_BITS | id;
        aim(&t, &w, slot);
        walk[left] = w;
        left += more;
    }
    *trie = t;
    return left;
}

/* false: the table is too full. */
static bool fill(struct piece_trie *trie, const struct pieces *pieces, const char *prefix)
{
    struct walk walk[BLOCK];
    size_t most = trie->mask - trie->mask / 4 - PIECE_TRIE_RESERVED, next = 0;
    while (next < pieces->n)
        for (size_t n = begin(trie, pieces, prefix, &next, walk); n; n = descend(trie, walk, n))
            if (trie->n_edges + n > most)
                return false;
    return true;
}

bool piece_trie_open(struct piece_trie *trie, struct pieces pieces, const char *prefix,
                     struct error *err)
{
    *trie = (struct piece_trie){0};
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

int32_t piece_trie_whole(const struct piece_trie *trie, const char *prefix, const char *text,
                         size_t n)
{
    size_t n_prefix = prefix ? strlen(prefix) : 0;
    bool marked = n && continues(text, n, prefix, n_prefix);
    const unsigned char *at = (const unsigned char *)text + (marked ? n_prefix : 0),
                        *end = (const unsigned char *)text + n;
    uint64_t node = marked ? PIECE_TRIE_CONTINUE : PIECE_TRIE_ROOT;
    int32_t id = -1;
    while (at < end)
        if (!piece_trie_step(trie, &node, utf8_next(&at), &id))
            return -1;
    return id;
}
