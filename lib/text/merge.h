/* merge.h: a WordPiece vocabulary from counted words, by merging pairs: the pieces begin as
 * characters ("a" where a word begins,
 * "##a" inside), then the pair of neighbours that occurs most often becomes a piece, again and
 * again, until there are enough. Pair counts are kept up to date in the words that a merge touches
 * (Sennrich, Haddow, Birch 2016; the bookkeeping of Hugging Face's BpeTrainer). Ties go to the pair
 * with the smaller ids, so the result depends on the counts alone.
 */
#ifndef MILLET_TEXT_MERGE_H
#define MILLET_TEXT_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/progress.h"
#include "text/string_table.h"
#include "text/word_count.h"

struct merge_options {
    size_t n_pieces;        /* wanted, those already in `piece` included */
    size_t max_characters;  /* distinct characters that become pieces, most frequent first */
    uint64_t min_frequency; /* of a character and of a pair */
};

/* Adds to `piece` (special tokens come before) up to n_pieces in all. */
bool merge_pieces(const struct word_count *words, const struct merge_options *options,
                  struct string_table *piece, const struct progress *progress,
                  struct error *err) MUST_CHECK;

#endif
