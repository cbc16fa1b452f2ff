/* unigram_seed.h: the pieces that learning a Unigram vocabulary begins with (Kudo 2018, section
 * 3.2): all characters, and the repeated substrings of the words with the greatest frequency times
 * length.
 *
 * Of substrings that occur in the same places only the longest is taken: those after which the text
 * goes on in more than one way (the inner nodes of the suffix tree), as SentencePiece and Hugging
 * Face's trainer do; and whole words. Unlike theirs, frequencies count a word as often as it was
 * seen.
 */
#ifndef MILLET_TEXT_UNIGRAM_SEED_H
#define MILLET_TEXT_UNIGRAM_SEED_H

#include "text/unigram_words.h"

enum { UNIGRAM_PIECE_MAX = 16 }; /* symbols of a piece */

struct unigram_piece {
    uint32_t at, n; /* its symbols: words->symbol[at, at + n) */
    double score;   /* logarithm of its probability */
};

struct unigram_pieces {
    struct unigram_piece *piece; /* owned; ascending by their symbols */
    size_t n, capacity;
};

/* At most `most` pieces besides the characters. */
bool unigram_seed(const struct unigram_words *words, size_t most, struct unigram_pieces *seed,
                  struct error *err) MUST_CHECK;

#endif
