/* charsmap.h: SentencePiece's precompiled normalisation (nmt_nfkc and its relatives), as Hugging
 * Face's Precompiled normaliser applies it: a grapheme cluster shorter than six bytes as a whole
 * where the map has it, else code point by code point. A cluster whose beginning is in the map is
 * replaced as a whole too: what follows the shortest key is dropped, as Hugging Face drops it.
 *
 * The bytes (of tokenizer.json after base64, or of a .model file as they are): a little-endian
 * 32-bit length, so many bytes of a double-array trie (darts-clone units of 32 bits), then
 * NUL-terminated replacements that the trie's values point into.
 */
#ifndef MILLET_TEXT_CHARSMAP_H
#define MILLET_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "text/text_buffer.h"

struct charsmap;

/* Copies. Every offset of the trie and of the replacements is checked here or where it is
 * followed: hostile bytes give an error or a wrong text, never a wild read or an endless loop. */
struct charsmap *charsmap_open(const void *bytes, size_t n, struct error *err) MUST_CHECK;
void charsmap_close(struct charsmap *map); /* NULL is fine */

/* Append the normalised form of n bytes of valid UTF-8, which is valid UTF-8 again. Thread-safe. */
bool charsmap_run(const struct charsmap *map, const char *text, size_t n, struct text_buffer *out,
                  struct error *err) MUST_CHECK;

#endif
