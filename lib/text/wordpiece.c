/* wordpiece.c: see wordpiece.h. Open addressing, linear probing, at most half full. */
#include "text/wordpiece.h"

#include <stdlib.h>

#include "core/memory.h"
#include "text/utf8.h"

enum { ROOT_BEGIN, ROOT_CONTINUE, N_ROOTS, CODE_BITS = 21 };

struct edge {
    uint64_t key;  /* (parent << 21 | code point) + 1; 0: free */
    uint32_t node; /* the child */
    int32_t id;    /* of the piece that ends at the child; -1: none */
};

struct wordpiece {
    struct edge *edge;
    uint64_t mask;
    uint32_t n_nodes;
    unsigned shift;
};

static uint64_t slot_of(const struct wordpiece *trie, uint64_t key)
{
    return (key * 0x9E3779B97F4A7C15u) >>
           trie->shift; /* Fibonacci hashing: the high bits are the mixed ones */
}

static bool allocate(struct wordpiece *trie, unsigned bits, struct error *err)
{
    trie->edge = memory_zeroed((size_t)1 << bits, sizeof *trie->edge, err);
    trie->mask = ((uint64_t)1 << bits) - 1;
    trie->shift = 64 - bits;
    return trie->edge != NULL;
}

struct wordpiece *wordpiece_open(size_t n_bytes, struct error *err)
{
    struct wordpiece *trie = memory_zeroed(1, sizeof *trie, err);
    unsigned bits = 8;
    /* About one node for every three bytes of pieces in scripts of three-byte characters, and no
     * more than one a byte. */
    while (bits < 40 && ((size_t)1 << bits) < n_bytes)
        bits++;
    if (trie && !allocate(trie, bits, err)) {
        free(trie);
        return NULL;
    }
    if (trie)
        trie->n_nodes = N_ROOTS;
    return trie;
}

void wordpiece_close(struct wordpiece *trie)
{
    if (!trie)
        return;
    free(trie->edge);
    free(trie);
}

static struct edge *find(const struct wordpiece *trie, uint32_t parent, uint32_t code)
{
    uint64_t key = ((uint64_t)parent << CODE_BITS | code) + 1, slot = slot_of(trie, key);
    while (trie->edge[slot].key && trie->edge[slot].key != key)
        slot = (slot + 1) & trie->mask;
    return &trie->edge[slot];
}

static bool grow(struct wordpiece *trie, struct error *err)
{
    struct wordpiece old = *trie;
    if (!allocate(trie, 65 - old.shift, err)) {
        *trie = old; /* still a valid object, for wordpiece_close() */
        return false;
    }
    for (uint64_t i = 0; i <= old.mask; i++)
        if (old.edge[i].key) {
            uint64_t slot = slot_of(trie, old.edge[i].key);
            while (trie->edge[slot].key)
                slot = (slot + 1) & trie->mask;
            trie->edge[slot] = old.edge[i];
        }
    free(old.edge);
    return true;
}

bool wordpiece_add(struct wordpiece *trie, const char *piece, size_t n, bool continues, int32_t id,
                   struct error *err)
{
    const unsigned char *p = (const unsigned char *)piece, *end = p + n;
    uint32_t node = continues ? ROOT_CONTINUE : ROOT_BEGIN;
    while (p < end) {
        if (trie->n_nodes > trie->mask / 2 && !grow(trie, err))
            return false;
        uint32_t code = utf8_next(&p);
        struct edge *edge = find(trie, node, code);
        if (!edge->key)
            *edge = (struct edge){((uint64_t)node << CODE_BITS | code) + 1, trie->n_nodes++, -1};
        node = edge->node;
        if (p == end)
            edge->id = id;
    }
    return true;
}

size_t wordpiece_match(const struct wordpiece *trie, const uint32_t *code, size_t n, int32_t *ids)
{
    size_t n_ids = 0, begin = 0;
    while (begin < n) {
        uint32_t node = begin ? ROOT_CONTINUE : ROOT_BEGIN;
        size_t end = begin;
        int32_t best = -1;
        for (size_t i = begin; i < n; i++) {
            const struct edge *edge = find(trie, node, code[i]);
            if (!edge->key)
                break;
            node = edge->node;
            if (edge->id >= 0) {
                best = edge->id;
                end = i + 1;
            }
        }
        if (best < 0)
            return 0;
        ids[n_ids++] = best;
        begin = end;
    }
    return n_ids;
}
