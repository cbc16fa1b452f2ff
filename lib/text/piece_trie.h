/* piece_trie.h: the pieces of a vocabulary as a trie of code points, which WordPiece's greedy match
 * and Unigram's search walk.
 *
 * One hash table of 8-byte edges keyed by (parent, code point), where an edge's slot is its child's
 * number: it is built in a pass over the pieces, with no sorting (200 000 pieces take
 * milliseconds), and a step is one look-up.
 */
#ifndef MILLET_TEXT_PIECE_TRIE_H
#define MILLET_TEXT_PIECE_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/pieces.h"

enum {
    PIECE_TRIE_CODE_BITS = 21,
    PIECE_TRIE_ID_BITS = 21,
    PIECE_TRIE_MAX = (1 << PIECE_TRIE_ID_BITS) - 1 /* ids are below this */
};

/* The roots: of pieces, and of those that begin with the continuation mark ("##…"), without it.
 * Slots up to the last root hold what is neither free nor an edge. */
enum { PIECE_TRIE_ROOT = 1, PIECE_TRIE_CONTINUE = 2, PIECE_TRIE_RESERVED = 3 };

/* Edge: parent (22 bits) | code point (21) | id + 1 (21; 0: no piece ends here); a free slot is 0.
 */
struct piece_trie { /* all zero: not built */
    uint64_t *edge; /* owned */
    uint64_t mask;
    unsigned shift;
    size_t n_edges;
    size_t n_pieces; /* distinct texts */
};

/* prefix: the continuation mark, NULL: there is none. Of equal pieces the last counts, as Hugging
 * Face has it. Nothing is borrowed. */
bool piece_trie_open(struct piece_trie *trie, struct pieces pieces, const char *prefix,
                     struct error *err) MUST_CHECK;
void piece_trie_free(struct piece_trie *trie);

/* The piece that n bytes of valid UTF-8 are as a whole, of a trie opened with that prefix; -1:
 * none. */
int32_t piece_trie_whole(const struct piece_trie *trie, const char *prefix, const char *text,
                         size_t n);

static inline uint64_t piece_trie_key(uint64_t parent, uint32_t code)
{
    return parent << PIECE_TRIE_CODE_BITS | code;
}

/* Fibonacci hashing: the high bits are the mixed ones. */
static inline uint64_t piece_trie_home(const struct piece_trie *trie, uint64_t key)
{
    return (key * 0x9E3779B97F4A7C15u) >> trie->shift;
}

/* Whether a slot is neither free nor the key's: one answer, so that one branch hangs on it, which
 * mostly goes the same way; new edges and known ones come by turns. The keys' difference has 43
 * bits. */
static inline bool piece_trie_is_other(uint64_t edge, uint64_t key)
{
    uint64_t used = edge | -edge, differs = (edge >> PIECE_TRIE_ID_BITS ^ key) + (UINT64_MAX >> 1);
    return (used & differs) >> 63; /* the top bits tell */
}

/* Slot of the edge, or the free slot where it belongs. */
static inline uint64_t piece_trie_find(const struct piece_trie *trie, uint64_t key)
{
    uint64_t slot = piece_trie_home(trie, key), edge = trie->edge[slot];
    while (piece_trie_is_other(edge, key)) {
        slot = (slot + 1) & trie->mask;
        edge = trie->edge[slot];
    }
    return slot;
}

/* From *node along a code point: false: no piece goes on so. Else *node is the child and *id the
 * piece that ends there, -1: none. */
static inline bool piece_trie_step(const struct piece_trie *trie, uint64_t *node, uint32_t code,
                                   int32_t *id)
{
    uint64_t slot = piece_trie_find(trie, piece_trie_key(*node, code)), edge = trie->edge[slot];
    *node = slot;
    *id = (int32_t)(edge & PIECE_TRIE_MAX) - 1;
    return edge != 0;
}

#endif
