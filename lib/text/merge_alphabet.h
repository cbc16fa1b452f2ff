/* merge_alphabet.h: which characters of the counted words become pieces: those seen often enough,
 * most frequent first. */
#ifndef MILLET_TEXT_MERGE_ALPHABET_H
#define MILLET_TEXT_MERGE_ALPHABET_H

#include "text/merge.h"

bool merge_alphabet(const struct word_count *words, const struct merge_options *options,
                    struct string_table *piece, struct error *err) MUST_CHECK;

#endif
