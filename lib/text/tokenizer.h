/* tokenizer.h: text to token ids as Hugging Face's tokenizers give them, and back.
 *
 * A tokenizer is immutable after loading and shared by threads; what changes (word cache, buffers)
 * is in a struct tokenizer_scratch, one per thread.
 */
#ifndef MILLET_TEXT_TOKENIZER_H
#define MILLET_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/bundle.h"

struct tokenizer;
struct tokenizer_scratch;

/* From the tokenizer files of a model: tokenizer.json, else a SentencePiece model, vocab.txt, or
 * vocab.json and merges.txt; with tokenizer_config.json and special_tokens_map.json. What is not
 * understood is refused by name, never skipped. */
struct tokenizer *tokenizer_open(struct bundle *bundle, struct error *err) MUST_CHECK;
void tokenizer_close(struct tokenizer *tokenizer);

size_t tokenizer_size(const struct tokenizer *tokenizer);          /* ids are below this */
uint64_t tokenizer_fingerprint(const struct tokenizer *tokenizer); /* of vocabulary and options */
/* The same from the files alone, for tools that compare tokenizers and never encode: nothing is
 * built for matching, which saves most of the time and memory of opening a large vocabulary. */
bool tokenizer_fingerprint_of(struct bundle *bundle, uint64_t *fingerprint,
                              struct error *err) MUST_CHECK;
size_t
tokenizer_max_tokens(const struct tokenizer *tokenizer); /* model_max_length; 0: not stated */
size_t
tokenizer_special_count(const struct tokenizer *tokenizer); /* special tokens around each text */

/* Whether an id is a special token, which decoding leaves out: "[CLS]", "<pad>", "[UNK]". */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);
/* The id of the special token "[MASK]" or "<mask>"; -1: there is none. */
int32_t tokenizer_mask(const struct tokenizer *tokenizer);

struct tokenizer_scratch *tokenizer_scratch_open(const struct tokenizer *tokenizer,
                                                 struct error *err) MUST_CHECK;
void tokenizer_scratch_close(struct tokenizer_scratch *scratch);

/* Encode n bytes of valid UTF-8 with special tokens, at most max_tokens of them in all (0: no
 * limit; truncated from the right, special tokens kept). *ids stays in the scratch until its next
 * use. */
bool tokenizer_encode(const struct tokenizer *tokenizer, struct tokenizer_scratch *scratch,
                      const char *text, size_t n, size_t max_tokens, const int32_t **ids,
                      size_t *n_ids, struct error *err) MUST_CHECK;

/* Whether the last tokenizer_encode() with this scratch cut the text short. */
bool tokenizer_truncated(const struct tokenizer_scratch *scratch);

/* The text of the ids as tokenizers' decode(ids, skip_special_tokens=True) gives it: *n bytes,
 * which may be U+0000 too, and a NUL behind them. Release with free(). */
char *tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t n_ids,
                       size_t *n, struct error *err) MUST_CHECK;

#endif
