/* bpe.c: see bpe.h.
 *
 * Merges are one hash table from a pair of ids to rank and result. A short word is an array whose
 * best pair is looked for again after each merge: nothing is allocated and all of it is in the
 * first-level cache. A long one is a linked list with a heap of (rank, position), whose entries go
 * stale and are recognised when they come up, for a position's pair has another rank by then.
 */
#include "text/bpe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "text/utf8.h"

enum {
    BLOCK_BITS = 8,
    N_BLOCKS = (UTF8_LAST + 1) >> BLOCK_BITS,
    N_BYTES = 256,
    SHORT_WORD = 48, /* symbols; where the heap overtakes the scan */
    AHEAD = 12,      /* entries whose slots are on the way into the cache while tables are built */
    NO_ID = -1
};

static const uint32_t NO_RANK = UINT32_MAX;

struct rule {
    uint64_t pair; /* left << 32 | right */
    uint32_t rank; /* NO_RANK: the slot is free */
    int32_t id;
};

struct slot {
    uint32_t hash; /* of the piece's text: another one's is hardly ever looked at */
    int32_t id;    /* NO_ID: free */
};

struct bpe {
    struct bpe_options options;
    struct rule *rule; /* open addressing, at most half full */
    uint64_t rule_mask;
    unsigned rule_shift;
    /* Pieces by text, in a table at most half full. */
    char *arena;
    struct piece *piece;
    size_t n_pieces;
    struct slot *slot;
    uint64_t slot_mask;
    /* Ids of pieces of one character; a block that has none is NULL. */
    int32_t *character[N_BLOCKS];
    int32_t byte[N_BYTES]; /* of <0x00> … <0xFF> */
};

struct symbol {
    int32_t id;
    uint32_t rank; /* of the pair of this and the next; NO_RANK: they do not merge */
    int32_t result;
    uint32_t previous, next; /* of long words */
};

struct bpe_scratch {
    struct symbol *symbol;
    size_t capacity;
    uint64_t *heap; /* rank << 32 | position */
    size_t n_heap, heap_capacity;
};

/* ---- look-up ---- */

static uint64_t pair_of(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

/* Fibonacci hashing of a mixed key: the pair's halves are small numbers. */
static uint64_t home_of(const struct bpe *bpe, uint64_t pair)
{
    return ((pair ^ pair >> 29) * 0x9E3779B97F4A7C15u) >> bpe->rule_shift;
}

/* Slot of the pair, or the free slot where it belongs. */
static struct rule *find_rule(const struct bpe *bpe, uint64_t pair)
{
    uint64_t slot = home_of(bpe, pair);
    while (bpe->rule[slot].rank != NO_RANK && bpe->rule[slot].pair != pair)
        slot = (slot + 1) & bpe->rule_mask;
    return &bpe->rule[slot];
}

static bool is_text_of(const struct bpe *bpe, int32_t id, const char *text, size_t n)
{
    const struct piece *piece = &bpe->piece[id];
    return piece->n == n && memcmp(bpe->arena + piece->offset, text, n) == 0;
}

/* Slot of the text, or the free slot where it belongs. */
static struct slot *find_slot(const struct bpe *bpe, const char *text, size_t n, uint32_t hash)
{
    uint64_t slot = hash & bpe->slot_mask;
    while (bpe->slot[slot].id != NO_ID &&
           !(bpe->slot[slot].hash == hash && is_text_of(bpe, bpe->slot[slot].id, text, n)))
        slot = (slot + 1) & bpe->slot_mask;
    return &bpe->slot[slot];
}

static int32_t find_piece(const struct bpe *bpe, const char *text, size_t n)
{
    return find_slot(bpe, text, n, (uint32_t)hash_bytes(text, n))->id;
}

/* ---- opening ---- */

static uint64_t table_size(size_t n)
{
    uint64_t size = 64;
    while (size < 2 * (uint64_t)n)
        size *= 2;
    return size;
}

static bool copy_pieces(struct bpe *bpe, struct pieces pieces, struct error *err)
{
    size_t n_arena = 0;
    for (size_t i = 0; i < pieces.n; i++)
        n_arena += pieces.piece[i].n;
    bpe->arena = memory_array(n_arena, 1, err);
    bpe->piece = memory_array(pieces.n, sizeof *bpe->piece, err);
    if (!bpe->arena || !bpe->piece)
        return false;
    bpe->n_pieces = pieces.n;
    size_t at = 0;
    for (size_t i = 0; i < pieces.n; i++) {
        size_t n = pieces.piece[i].n;
        if (n)
            memcpy(bpe->arena + at, pieces.arena + pieces.piece[i].offset, n);
        bpe->piece[i] = (struct piece){at, (uint32_t)n};
        at += n;
    }
    return true;
}

/* A piece of one character is found by its code point. */
static bool note_character(struct bpe *bpe, int32_t id, struct error *err)
{
    const struct piece *piece = &bpe->piece[id];
    const unsigned char *p = (const unsigned char *)bpe->arena + piece->offset, *end = p + piece->n;
    uint32_t code = utf8_next(&p);
    if (p != end)
        return true;
    int32_t **block = &bpe->character[code >> BLOCK_BITS];
    if (!*block) {
        size_t bytes = sizeof **block << BLOCK_BITS;
        *block = memory_array((size_t)1 << BLOCK_BITS, sizeof **block, err);
        if (!*block)
            return false;
        memset(*block, 0xFF, bytes); /* NO_ID */
    }
    (*block)[code & ((1 << BLOCK_BITS) - 1)] = id;
    return true;
}

static bool fill_slots(struct bpe *bpe, struct error *err)
{
    uint32_t *hash = memory_array(bpe->n_pieces, sizeof *hash, err);
    if (!hash)
        return false;
    for (size_t i = 0; i < bpe->n_pieces; i++)
        hash[i] = (uint32_t)hash_bytes(bpe->arena + bpe->piece[i].offset, bpe->piece[i].n);
    bool ok = true;
    for (size_t i = 0; ok && i < bpe->n_pieces; i++) {
        const struct piece *piece = &bpe->piece[i];
        if (i + AHEAD < bpe->n_pieces)
            __builtin_prefetch(&bpe->slot[hash[i + AHEAD] & bpe->slot_mask], 1);
        if (!piece->n)
            continue;
        *find_slot(bpe, bpe->arena + piece->offset, piece->n, hash[i]) =
            (struct slot){hash[i], (int32_t)i};
        ok = piece->n > UTF8_MAX_BYTES || note_character(bpe, (int32_t)i, err);
    }
    free(hash);
    return ok;
}

static bool index_pieces(struct bpe *bpe, struct error *err)
{
    uint64_t size = table_size(bpe->n_pieces);
    bpe->slot = memory_array(size, sizeof *bpe->slot, err);
    if (!bpe->slot)
        return false;
    memset(bpe->slot, 0xFF, size * sizeof *bpe->slot); /* NO_ID */
    bpe->slot_mask = size - 1;
    if (!fill_slots(bpe, err))
        return false;
    for (int i = 0; i < N_BYTES; i++) {
        char text[8];
        int n = snprintf(text, sizeof text, "<0x%02X>", (unsigned)i);
        bpe->byte[i] = find_piece(bpe, text, (size_t)n);
    }
    return true;
}

static bool is_piece(const struct bpe *bpe, int32_t id)
{
    return id >= 0 && (size_t)id < bpe->n_pieces && bpe->piece[id].n;
}

/* *guess: an id that the result may have (vocabularies number pieces as they were merged); the next
 * one on return. */
static bool add_rule(struct bpe *bpe, const struct bpe_merge *merge, size_t rank, int32_t *guess,
                     struct error *err)
{
    if (!is_piece(bpe, merge->left) || !is_piece(bpe, merge->right))
        return error_set(err, "merge %zu joins the ids %d and %d, but these are not both pieces",
                         rank + 1, (int)merge->left, (int)merge->right);
    const struct piece *left = &bpe->piece[merge->left], *right = &bpe->piece[merge->right];
    size_t n = (size_t)left->n + right->n;
    char small[N_BYTES], *text = n <= sizeof small ? small : memory_array(n, 1, err);
    if (!text)
        return false;
    memcpy(text, bpe->arena + left->offset, left->n);
    memcpy(text + left->n, bpe->arena + right->offset, right->n);
    bool guessed = is_piece(bpe, *guess) && is_text_of(bpe, *guess, text, n);
    int32_t id = guessed ? *guess : find_piece(bpe, text, n);
    if (id == NO_ID)
        error_set(err, "merge %zu makes \"%.*s\", which is not a piece of the vocabulary", rank + 1,
                  n < N_BYTES ? (int)n : N_BYTES, text);
    else {
        uint64_t pair = pair_of(merge->left, merge->right);
        *find_rule(bpe, pair) = (struct rule){pair, (uint32_t)rank, id};
        *guess = id + 1;
    }
    if (text != small)
        free(text);
    return id != NO_ID;
}

static bool add_rules(struct bpe *bpe, const struct bpe_merge *merge, size_t n, struct error *err)
{
    uint64_t size = table_size(n);
    bpe->rule = memory_array(size, sizeof *bpe->rule, err);
    if (!bpe->rule)
        return false;
    for (uint64_t i = 0; i < size; i++)
        bpe->rule[i].rank = NO_RANK;
    bpe->rule_mask = size - 1;
    bpe->rule_shift = 64 - (unsigned)__builtin_ctzll(size);
    int32_t guess = 0;
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) {
            const struct bpe_merge *next = &merge[i + AHEAD];
            __builtin_prefetch(&bpe->rule[home_of(bpe, pair_of(next->left, next->right))], 1);
        }
        if (!add_rule(bpe, &merge[i], i, &guess, err))
            return false;
    }
    return true;
}

struct bpe *bpe_open(struct pieces pieces, const struct bpe_merge *merge, size_t n_merges,
                     const struct bpe_options *options, struct error *err)
{
    if (pieces.n > INT32_MAX || n_merges > INT32_MAX) {
        error_set(err, "%zu pieces and %zu merges are too many", pieces.n, n_merges);
        return NULL;
    }
    struct bpe *bpe = memory_zeroed(1, sizeof *bpe, err);
    if (!bpe)
        return NULL;
    bpe->options = *options;
    if (copy_pieces(bpe, pieces, err) && index_pieces(bpe, err) &&
        add_rules(bpe, merge, n_merges, err)) {
        if (options->unknown == NO_ID || is_piece(bpe, options->unknown))
            return bpe;
        error_set(err, "the unknown token's id %d is no piece", (int)options->unknown);
    }
    bpe_close(bpe);
    return NULL;
}

void bpe_close(struct bpe *bpe)
{
    if (!bpe)
        return;
    for (size_t i = 0; i < N_BLOCKS; i++)
        free(bpe->character[i]);
    free(bpe->rule);
    free(bpe->arena);
    free(bpe->piece);
    free(bpe->slot);
    free(bpe);
}

struct bpe_scratch *bpe_scratch_open(struct error *err)
{
    return memory_zeroed(1, sizeof(struct bpe_scratch), err);
}

void bpe_scratch_close(struct bpe_scratch *scratch)
{
    if (!scratch)
        return;
    free(scratch->symbol);
    free(scratch->heap);
    free(scratch);
}

/* ---- a word's symbols ---- */

/* Bytes of the character as pieces, where all have one. */
static bool add_bytes(const struct bpe *bpe, struct symbol *symbol, size_t *n,
                      const unsigned char *p, const unsigned char *end)
{
    for (const unsigned char *q = p; q < end; q++)
        if (bpe->byte[*q] == NO_ID)
            return false;
    while (p < end)
        symbol[(*n)++].id = bpe->byte[*p++];
    return true;
}

/* An unknown symbol waits for the next known one, as it may grow (fuse_unknown). Byte fallback does
 * not end the wait: in Hugging Face's order, too, the bytes come before it. */
static size_t split(const struct bpe *bpe, struct symbol *symbol, const unsigned char *p,
                    const unsigned char *end)
{
    size_t n = 0;
    bool waiting = false;
    while (p < end) {
        const unsigned char *begin = p;
        uint32_t code = utf8_next(&p);
        const int32_t *block = bpe->character[code >> BLOCK_BITS];
        int32_t id = block ? block[code & ((1 << BLOCK_BITS) - 1)] : NO_ID;
        if (id != NO_ID) {
            if (waiting)
                symbol[n++].id = bpe->options.unknown;
            waiting = false;
            symbol[n++].id = id;
        } else if (!(bpe->options.byte_fallback && add_bytes(bpe, symbol, &n, begin, p)) &&
                   bpe->options.unknown != NO_ID) {
            if (waiting && !bpe->options.fuse_unknown)
                symbol[n++].id = bpe->options.unknown;
            waiting = true;
        }
    }
    if (waiting)
        symbol[n++].id = bpe->options.unknown;
    return n;
}

/* What s and its right neighbour become. */
static void look_up(const struct bpe *bpe, struct symbol *s, int32_t right)
{
    const struct rule *rule = find_rule(bpe, pair_of(s->id, right));
    s->rank = rule->rank;
    s->result = rule->id;
}

static size_t merge_short(const struct bpe *bpe, struct symbol *symbol, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        look_up(bpe, &symbol[i], symbol[i + 1].id);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (symbol[i].rank < symbol[best].rank)
                best = i;
        if (symbol[best].rank == NO_RANK)
            break;
        symbol[best].id = symbol[best].result;
        n--;
        memmove(&symbol[best + 1], &symbol[best + 2], (n - best - 1) * sizeof *symbol);
        if (best + 1 < n)
            look_up(bpe, &symbol[best], symbol[best + 1].id);
        if (best > 0)
            look_up(bpe, &symbol[best - 1], symbol[best].id);
    }
    return n;
}

/* ---- long words ---- */

static void heap_push(struct bpe_scratch *scratch, uint64_t entry)
{
    uint64_t *heap = scratch->heap;
    size_t i = scratch->n_heap++;
    for (; i && entry < heap[(i - 1) / 2]; i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
}

static uint64_t heap_pop(struct bpe_scratch *scratch)
{
    uint64_t *heap = scratch->heap, top = heap[0], last = heap[--scratch->n_heap];
    size_t n = scratch->n_heap, i = 0;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        child += child + 1 < n && heap[child + 1] < heap[child];
        if (last <= heap[child])
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Symbol `at` has a new right neighbour or is a new one. */
static void renew(const struct bpe *bpe, struct bpe_scratch *scratch, uint32_t at, size_t n)
{
    struct symbol *s = &scratch->symbol[at];
    s->rank = NO_RANK;
    if (s->next < n)
        look_up(bpe, s, scratch->symbol[s->next].id);
    if (s->rank != NO_RANK)
        heap_push(scratch, (uint64_t)s->rank << 32 | at);
}

/* Each merge removes a symbol and pushes at most two entries: 3 n in all. */
static bool merge_long(const struct bpe *bpe, struct bpe_scratch *scratch, size_t *n_symbols,
                       struct error *err)
{
    size_t n = *n_symbols, kept = 0;
    struct symbol *symbol = scratch->symbol;
    if (n >= UINT32_MAX)
        return error_set(err, "a word of %zu symbols is too long", n);
    if (!memory_grow(&scratch->heap, &scratch->heap_capacity, 3 * n, sizeof *scratch->heap, err))
        return false;
    scratch->n_heap = 0;
    for (uint32_t i = 0; i < n; i++) {
        symbol[i].previous = i - 1; /* of the first one: beyond n */
        symbol[i].next = i + 1;
        renew(bpe, scratch, i, n);
    }
    while (scratch->n_heap) {
        uint64_t top = heap_pop(scratch);
        uint32_t at = (uint32_t)top;
        if (symbol[at].rank != top >> 32)
            continue;
        uint32_t gone = symbol[at].next;
        symbol[at].id = symbol[at].result;
        symbol[at].next = symbol[gone].next;
        symbol[gone].rank = NO_RANK;
        if (symbol[at].next < n)
            symbol[symbol[at].next].previous = at;
        if (symbol[at].previous < n)
            renew(bpe, scratch, symbol[at].previous, n);
        renew(bpe, scratch, at, n);
    }
    for (size_t i = 0; i < n; i = symbol[i].next)
        symbol[kept++].id = symbol[i].id;
    *n_symbols = kept;
    return true;
}

bool bpe_match(const struct bpe *bpe, struct bpe_scratch *scratch, const char *text, size_t n,
               int32_t *ids, size_t *n_ids, struct error *err)
{
    *n_ids = 0;
    if (!n)
        return true;
    if (bpe->options.ignore_merges) {
        int32_t id = find_piece(bpe, text, n);
        if (id != NO_ID) {
            ids[(*n_ids)++] = id;
            return true;
        }
    }
    /* A character of k bytes gives at most k symbols. */
    if (!memory_grow(&scratch->symbol, &scratch->capacity, n, sizeof *scratch->symbol, err))
        return false;
    const unsigned char *p = (const unsigned char *)text;
    size_t n_symbols = split(bpe, scratch->symbol, p, p + n);
    if (n_symbols <= SHORT_WORD)
        n_symbols = merge_short(bpe, scratch->symbol, n_symbols);
    else if (!merge_long(bpe, scratch, &n_symbols, err))
        return false;
    for (size_t i = 0; i < n_symbols; i++)
        ids[i] = scratch->symbol[i].id;
    *n_ids = n_symbols;
    return true;
}
