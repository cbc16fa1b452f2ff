/* byte_level.h: GPT-2's pre-tokenizer, as Hugging Face's ByteLevel does it: the pattern
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * matched by hand, and the map of the 256 bytes to printable characters.
 */
#ifndef MILLET_TEXT_BYTE_LEVEL_H
#define MILLET_TEXT_BYTE_LEVEL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "text/text_buffer.h"

/* Bytes of the word that begins at p < end (valid UTF-8); at least 1. */
size_t byte_level_word(const unsigned char *p, const unsigned char *end);

/* Append each byte's character; and back (characters that stand for no byte are kept as they are,
 * as Hugging Face's decoder does; the result may not be UTF-8: the caller repairs it). */
bool byte_level_map(const char *text, size_t n, struct text_buffer *out,
                    struct error *err) MUST_CHECK;
bool byte_level_unmap(const char *text, size_t n, struct text_buffer *out,
                      struct error *err) MUST_CHECK;

#endif
