/* vocabulary_trim_files.h: tokenizer files rewritten for a smaller vocabulary; part of
 * vocabulary_trim.c. Spans that do not change are copied as they are, so that scores keep their
 * digits.
 */
#ifndef MILLET_TEXT_VOCABULARY_TRIM_FILES_H
#define MILLET_TEXT_VOCABULARY_TRIM_FILES_H

#include "io/bundle.h"
#include "text/tokenizer_spec.h"
#include "text/vocabulary_trim.h"

/* must[id] (of spec->n_pieces) becomes true for the ids that the files name beside the vocabulary:
 * padding, post-processor; and pieces that a SentencePiece model keeps for itself. */
bool vocabulary_trim_named(const struct tokenizer_spec *spec, struct bundle *bundle, bool *must,
                           struct error *err) MUST_CHECK;

/* trim->number is set: the files, into trim->file. */
bool vocabulary_trim_rewrite(const struct tokenizer_spec *spec, struct bundle *bundle,
                             struct vocabulary_trim *trim, struct error *err) MUST_CHECK;

#endif
