/* unigram_learn.h: a Unigram vocabulary from counted words (Kudo 2018), as SentencePiece and
 * Hugging Face's UnigramTrainer learn it: many seeds; expectation maximisation, twice a round, with
 * digamma in place of the logarithm (a sparse prior); then the pieces whose loss would cost the
 * likelihood least go, a quarter a round, until there are as many as wanted. Characters always
 * stay.
 *
 * The result does not depend on the number of threads: sums over words are whole numbers.
 */
#ifndef MILLET_TEXT_UNIGRAM_LEARN_H
#define MILLET_TEXT_UNIGRAM_LEARN_H

#include "core/progress.h"
#include "core/threads.h"
#include "text/unigram_seed.h"

struct unigram_learn_options {
    size_t n_pieces; /* wanted; characters are among them */
    struct threads *team;
};

/* Pieces of `words`, the most probable first. */
bool unigram_learn(const struct unigram_words *words, const struct unigram_learn_options *options,
                   struct unigram_pieces *pieces, const struct progress *progress,
                   struct error *err) MUST_CHECK;

#endif
