/* unigram.h: the unigram language model of SentencePiece (Kudo 2018): the segmentation of a word
 * into pieces with the greatest sum of log-probabilities, found by Viterbi search over a trie of
 * the pieces, ties and unknown characters as Hugging Face's tokenizers resolve them (unknown =
 * least score − 10; neighbouring unknowns are one; byte fallback).
 */
#ifndef MILLET_TEXT_UNIGRAM_H
#define MILLET_TEXT_UNIGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/piece_trie.h"

struct unigram_options {
    int32_t unknown;    /* id; -1: there is none, and a text that needs it is an error */
    bool byte_fallback; /* unknown characters become <0x00> … <0xFF> where all of them exist */
};

struct unigram;

/* Borrows the trie of the n pieces and the scores: score [n], log-probabilities, finite; all of
 * them count for the least one. Of equal pieces the last counts, with its score. */
struct unigram *unigram_open(const struct piece_trie *trie, const double *score, size_t n,
                             const struct unigram_options *options, struct error *err) MUST_CHECK;
void unigram_close(struct unigram *unigram); /* NULL is fine */

/* The lattice's memory, one per thread; grows with the longest word. */
struct unigram_scratch;
struct unigram_scratch *unigram_scratch_open(struct error *err) MUST_CHECK;
void unigram_scratch_close(struct unigram_scratch *scratch);

/* Ids of n bytes of valid UTF-8, already normalised; ids has room for n. Linear in n for any text
 * (a piece has a longest length). */
bool unigram_match(const struct unigram *unigram, struct unigram_scratch *scratch, const char *text,
                   size_t n, int32_t *ids, size_t *n_ids, struct error *err) MUST_CHECK;

#endif
