/* unigram.c: see unigram.h.
 *
 * Positions are code points. node[i] is the best path from the beginning to position i; edges are
 * taken from left to right, and a path replaces an equal one never, which is how Hugging Face
 * resolves ties: of equal sums the one whose last piece is longest. Sums are doubles, added in
 * their order, so that near-ties fall alike.
 */
#include "text/unigram.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/piece_trie.h"
#include "text/utf8.h"

enum { N_BYTES = 256 };
static const double UNKNOWN_PENALTY = 10; /* below the least score */

struct unigram {
    const struct piece_trie *trie;
    const double *score; /* [n] by id */
    double unknown_score;
    int32_t unknown; /* -1: none */
    bool byte_fallback;
    int32_t byte[N_BYTES]; /* of <0x00> … <0xFF>; -1: no such piece */
};

enum { UNREACHED = UINT32_MAX };

struct node {
    double score;
    uint32_t begin; /* of the last piece; UNREACHED */
    int32_t id;
};

struct unigram_scratch {
    struct node *node;
    uint32_t *code;
    size_t n_nodes, n_codes; /* capacities */
};

/* The piece that n code points are as a whole, or -1. */
static int32_t whole(const struct piece_trie *trie, const uint32_t *code, size_t n)
{
    uint64_t node = PIECE_TRIE_ROOT;
    int32_t id = -1;
    for (size_t i = 0; i < n; i++)
        if (!piece_trie_step(trie, &node, code[i], &id))
            return -1;
    return id;
}

static void find_bytes(struct unigram *unigram)
{
    for (unsigned byte = 0; byte < N_BYTES; byte++) {
        char text[sizeof "<0x00>"];
        int n = snprintf(text, sizeof text, "<0x%02X>", byte);
        unigram->byte[byte] = piece_trie_whole(unigram->trie, NULL, text, (size_t)n);
    }
}

static bool take_scores(struct unigram *unigram, const double *score, size_t n, struct error *err)
{
    double least = INFINITY;
    for (size_t id = 0; id < n; id++) {
        if (!isfinite(score[id]))
            return error_set(err, "the score of piece %zu is not a finite number", id);
        least = score[id] < least ? score[id] : least;
    }
    unigram->score = score;
    unigram->unknown_score = least - UNKNOWN_PENALTY;
    return true;
}

struct unigram *unigram_open(const struct piece_trie *trie, const double *score, size_t n,
                             const struct unigram_options *options, struct error *err)
{
    if (options->unknown >= 0 && (size_t)options->unknown >= n) {
        error_set(err, "the id of the unknown token is %d, but the vocabulary has %zu pieces",
                  (int)options->unknown, n);
        return NULL;
    }
    struct unigram *unigram = memory_zeroed(1, sizeof *unigram, err);
    if (!unigram || !take_scores(unigram, score, n, err)) {
        unigram_close(unigram);
        return NULL;
    }
    unigram->trie = trie;
    unigram->unknown = options->unknown < 0 ? -1 : options->unknown;
    unigram->byte_fallback = options->byte_fallback;
    find_bytes(unigram);
    return unigram;
}

void unigram_close(struct unigram *unigram)
{
    free(unigram);
}

struct unigram_scratch *unigram_scratch_open(struct error *err)
{
    return memory_zeroed(1, sizeof(struct unigram_scratch), err);
}

void unigram_scratch_close(struct unigram_scratch *scratch)
{
    if (!scratch)
        return;
    free(scratch->node);
    free(scratch->code);
    free(scratch);
}

static bool reserve(struct unigram_scratch *scratch, size_t n, struct error *err)
{
    if (n >= UNREACHED)
        return error_set(err, "a word of %zu bytes is longer than the limit of %u", n,
                         UNREACHED - 1u);
    return (n <= scratch->n_codes ||
            memory_grow(&scratch->code, &scratch->n_codes, n, sizeof *scratch->code, err)) &&
           (n < scratch->n_nodes ||
            memory_grow(&scratch->node, &scratch->n_nodes, n + 1, sizeof *scratch->node, err));
}

static inline void relax(struct node *to, double score, size_t begin, int32_t id)
{
    if (to->begin == UNREACHED || score > to->score)
        *to = (struct node){score, (uint32_t)begin, id};
}

/* All nodes from left to right; false: an unknown character and no unknown token. */
static bool search(const struct unigram *unigram, struct node *node, const uint32_t *code, size_t n)
{
    for (size_t i = 0; i <= n; i++)
        node[i].begin = UNREACHED;
    node[0].score = 0;
    for (size_t begin = 0; begin < n; begin++) {
        double score = node[begin].score;
        uint64_t at = PIECE_TRIE_ROOT;
        int32_t id, single = -1;
        for (size_t i = begin; i < n && piece_trie_step(unigram->trie, &at, code[i], &id); i++) {
            if (id < 0)
                continue;
            relax(&node[i + 1], score + unigram->score[id], begin, id);
            single = i == begin ? id : single;
        }
        if (single >= 0)
            continue;
        relax(&node[begin + 1], score + unigram->unknown_score, begin, -1);
        if (node[begin + 1].id < 0) {
            if (unigram->unknown < 0)
                return false;
            node[begin + 1].id = unigram->unknown;
        }
    }
    return true;
}

/* A run of unknowns in front of *at: its bytes where all of them have pieces, else one unknown.
 * Looked up as a whole first, for a vocabulary may hold the text and still prefer its parts. */
static void put_unknown(const struct unigram *unigram, const uint32_t *code, size_t n, int32_t **at)
{
    int32_t id = whole(unigram->trie, code, n), *begin = *at;
    for (size_t i = n; id < 0 && unigram->byte_fallback && i-- > 0;) {
        char bytes[UTF8_MAX_BYTES];
        for (size_t k = utf8_put(code[i], bytes); k-- > 0;) {
            *--*at = unigram->byte[(unsigned char)bytes[k]];
            if (**at < 0) {
                *at = begin;
                *--*at = unigram->unknown;
                return;
            }
        }
    }
    if (*at == begin)
        *--*at = id < 0 ? unigram->unknown : id;
}

bool unigram_match(const struct unigram *unigram, struct unigram_scratch *scratch, const char *text,
                   size_t n, int32_t *ids, size_t *n_ids, struct error *err)
{
    *n_ids = 0;
    if (!n)
        return true;
    if (!reserve(scratch, n, err))
        return false;
    struct node *node = scratch->node;
    uint32_t *code = scratch->code;
    size_t n_codes = 0;
    for (const unsigned char *at = (const unsigned char *)text, *end = at + n; at < end;)
        code[n_codes++] = utf8_next(&at);
    if (!search(unigram, node, code, n_codes))
        return error_set(err,
                         "\"%.*s\" has a character that no piece of the vocabulary holds, and "
                         "the tokenizer names no unknown token",
                         n < 80 ? (int)n : 80, text);
    /* From the end; every piece gives at most as many ids as it has bytes, so they fit. */
    int32_t *at = ids + n;
    for (size_t end = n_codes; end > 0;) {
        size_t begin = node[end].begin;
        if (node[end].id == unigram->unknown) {
            while (begin > 0 && node[begin].id == unigram->unknown)
                begin = node[begin].begin;
            put_unknown(unigram, code + begin, end - begin, &at);
        } else
            *--at = node[end].id;
        end = begin;
    }
    *n_ids = (size_t)(ids + n - at);
    memmove(ids, at, *n_ids * sizeof *ids);
    return true;
}
