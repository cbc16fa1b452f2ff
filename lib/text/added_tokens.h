/* added_tokens.h: the tokens that are matched in a text before it is cut into words ("<mask>"), as
 * Hugging Face's tokenizers do it: leftmost, of those the longest; those with single_word only
 * between characters that are no word's, those with lstrip or rstrip with the white space beside
 * them. Tokens with "normalized" are matched in the normalised text, the others before.
 */
#ifndef MILLET_TEXT_ADDED_TOKENS_H
#define MILLET_TEXT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct added_token {
    char *text; /* owned, NUL-terminated, may hold NULs */
    size_t n;
    char *match; /* owned: what is matched when it is not `text`: its normalised form */
    size_t n_match;
    int32_t id;
    bool special; /* left out by decoding */
    bool single_word, lstrip, rstrip, normalized;
};

/* Finds tokens; immutable, shared by threads. Borrows the tokens. */
struct added_tokens;

/* Of n tokens those with `normalized`, or those without. NULL with no error set: none of them. */
struct added_tokens *added_tokens_open(const struct added_token *token, size_t n, bool normalized,
                                       struct error *err) MUST_CHECK;
void added_tokens_close(struct added_tokens *tokens); /* NULL is fine */

/* Whether a match says nothing about more than the word it is in: no token holds white space or
 * takes any from beside it. */
bool added_tokens_are_local(const struct added_tokens *tokens);

/* The longest token whose text the n bytes at p begin with, whatever its settings; NULL: none. */
const struct added_token *added_tokens_at(const struct added_tokens *tokens, const char *p,
                                          size_t n);

/* Where the search in a text is. */
struct added_search {
    const char *text;
    size_t n;
    size_t at;   /* the next match begins here or later */
    size_t done; /* all before it has been given out */
};

/* The next match: text before it is [*begin, *stop), its id *id. false: no more; the rest is
 * [*begin, *stop). */
bool added_tokens_next(const struct added_tokens *tokens, struct added_search *search,
                       size_t *begin, size_t *stop, int32_t *id);

#endif
