/* bpe.h: byte-pair encoding (Sennrich et al. 2016) as Hugging Face's tokenizers apply it: a word's
 * symbols, neighbours merged in order of rank, leftmost first among equals.
 */
#ifndef MILLET_TEXT_BPE_H
#define MILLET_TEXT_BPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/pieces.h"

struct bpe_merge {
    int32_t left, right; /* ids; its place in the list is its rank */
};

struct bpe_options {
    int32_t unknown; /* id; -1: symbols without a piece are left out, as Hugging Face does */
    bool fuse_unknown;
    bool byte_fallback; /* such a symbol becomes <0x00> … <0xFF> where its bytes all have one */
    bool ignore_merges; /* a word that is a piece is that piece */
};

struct bpe;

/* Copies. A merge whose parts or whose result are no pieces is an error that names it; of equal
 * merges the last counts, as Hugging Face has it. */
struct bpe *bpe_open(struct pieces pieces, const struct bpe_merge *merge, size_t n_merges,
                     const struct bpe_options *options, struct error *err) MUST_CHECK;
void bpe_close(struct bpe *bpe); /* NULL is fine */

/* One per thread. */
struct bpe_scratch;
struct bpe_scratch *bpe_scratch_open(struct error *err) MUST_CHECK;
void bpe_scratch_close(struct bpe_scratch *scratch); /* NULL is fine */

/* Ids of one pre-tokenised word of n bytes of valid UTF-8; ids has room for n. O(n log n): a word
 * of 10 000 characters must not take seconds. */
bool bpe_match(const struct bpe *bpe, struct bpe_scratch *scratch, const char *text, size_t n,
               int32_t *ids, size_t *n_ids, struct error *err) MUST_CHECK;

#endif
