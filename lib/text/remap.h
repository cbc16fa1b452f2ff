/* remap.h: a record stream of the tokenizer before trimming (vocabulary_map.h), in the ids of the
 * trimmed one: what was made at some cost beside the ids, a teacher's logits above all, stays
 * usable. Records that hold an id that is gone are tokenised again from the text that they carry;
 * a stream without texts that has such records is refused with their number.
 */
#ifndef MILLET_TEXT_REMAP_H
#define MILLET_TEXT_REMAP_H

#include <jansson.h>
#include <stdint.h>

#include "core/error.h"
#include "io/bundle.h"
#include "io/output.h"
#include "text/tokenizer.h"

struct remap_counts {
    uint64_t records, tokenised; /* tokenised: again, from their text */
};

/* Streams (n_paths 0: standard input) that the tokenizer before made; bundle: the trimmed model's,
 * `tokenizer` its tokenizer. All other fields pass through. stage (history) is stolen in any case.
 * Memory: a part. */
bool remap(const char *const *path, size_t n_paths, struct bundle *bundle,
           const struct tokenizer *tokenizer, json_t *stage, struct output *output,
           struct remap_counts *counts, struct error *err) MUST_CHECK;

#endif
