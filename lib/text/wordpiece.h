/* wordpiece.h: the pieces of a vocabulary as a trie, and the greedy longest match over it.
 *
 * The trie is one hash table keyed by (node, code point): it is built in a pass over the pieces,
 * with no sorting (120 000 pieces take milliseconds), and a step of the match is one look-up.
 * Pieces that begin a word and those that continue one ("##…") hang on two roots.
 */
#ifndef MILLET_TEXT_WORDPIECE_H
#define MILLET_TEXT_WORDPIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct wordpiece;

/* n_bytes: total bytes of the pieces that will be added (sizes the table). */
struct wordpiece *wordpiece_open(size_t n_bytes, struct error *err) MUST_CHECK;
void wordpiece_close(struct wordpiece *trie); /* NULL is fine */

/* A piece in valid UTF-8 without its continuation mark. A piece added twice keeps the later id, as
 * Hugging Face does. */
bool wordpiece_add(struct wordpiece *trie, const char *piece, size_t n, bool continues, int32_t id,
                   struct error *err) MUST_CHECK;

/* Greedy longest match of a word's code points; writes at most n ids. 0: some part matches no piece
 * (the word is unknown). */
size_t wordpiece_match(const struct wordpiece *trie, const uint32_t *code, size_t n, int32_t *ids);

#endif
