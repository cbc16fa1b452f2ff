/* unigram_words.h: counted words as the learner of Unigram vocabularies works on them: symbols
 * (numbers of characters) in one array, runs of them ended by 0. A character too rare to become a
 * piece ends a run.
 */
#ifndef MILLET_TEXT_UNIGRAM_WORDS_H
#define MILLET_TEXT_UNIGRAM_WORDS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/word_count.h"

struct unigram_run {
    uint32_t begin, n; /* in `symbol`, without the 0 */
    uint64_t count;    /* of the word */
};

struct unigram_words {
    uint32_t *symbol; /* 1 … n_codes; owned, as all arrays */
    size_t n;
    struct unigram_run *run;
    size_t n_runs, run_capacity;
    uint32_t *code; /* of symbol s: code[s - 1], ascending */
    uint64_t *frequency;
    size_t n_codes;
};

/* Characters seen at least min_frequency times, at most max_characters of them, most frequent
 * first. */
bool unigram_words_open(struct unigram_words *words, const struct word_count *counted,
                        size_t max_characters, uint64_t min_frequency,
                        struct error *err) MUST_CHECK;
void unigram_words_free(struct unigram_words *words);

#endif
