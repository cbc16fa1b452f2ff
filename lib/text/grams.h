/* grams.h: hashed n-grams of a text: what the linear part of a model counts (the hashing trick,
 * Weinberger et al. 2009; character n-grams inside words as scikit-learn's "char_wb" makes them).
 *
 * The text is folded code point by code point: full case folding, each in composed form by itself
 * (so that the Indic letters with a nukta have one spelling), control and other invisible
 * characters (zero-width joiners) dropped. Words are the runs between Unicode white space.
 *
 * Characters: a word with one space before and one after it gives all its runs of char_min to
 * char_max code points; one that is not longer than n gives itself once, and nothing for larger n.
 * Words: runs of 1 to word_max words, punctuation at their ends taken off; a word of punctuation
 * only is none.
 *
 * An n-gram's id is XXH3 of its UTF-8 bytes, seeded with the kind, modulo buckets.
 */
#ifndef MILLET_TEXT_GRAMS_H
#define MILLET_TEXT_GRAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/records.h"

/* What an option says: "buckets=262144,chars=2-5,words=2", the values of keys that are left out
 * (those are the values here). "chars=3" is 3-3; chars=0, words=0: none of those. */
bool grams_parse(const char *text, struct records_grams *grams, struct error *err) MUST_CHECK;

/* The n-grams that a model's config.json asks for under "millet_ngram"; no buckets: none. */
bool grams_of_config(const json_t *config, const char *place, struct records_grams *grams,
                     struct error *err) MUST_CHECK;

/* Tables and buffers of one thread. */
struct grams;
struct grams *grams_open(const struct records_grams *spec, struct error *err) MUST_CHECK;
void grams_close(struct grams *grams); /* NULL is fine */

/* The ids of a text of n bytes (what is not UTF-8 counts as U+FFFD), ascending, one that occurs k
 * times k times. *id stays in `grams` until its next use. false: no memory. */
bool grams_make(struct grams *grams, const char *text, size_t n, const int32_t **id, size_t *n_ids,
                struct error *err) MUST_CHECK;

#endif
