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

/* Appends the character of each byte: at most 2 n bytes. */
bool byte_level_map(const char *text, size_t n, struct text_buffer *out,
                    struct error *err) MUST_CHECK;

/* Appends the bytes that one piece stands for. A piece with a character that stands for no byte is
 * appended as it is, all of it, as Hugging Face's decoder does. The result may not be UTF-8: the
 * caller repairs it, after the last piece. */
bool byte_level_unmap(const char *piece, size_t n, struct text_buffer *out,
                      struct error *err) MUST_CHECK;

#endif
