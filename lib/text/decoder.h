/* decoder.h: the "decoder" of a tokenizer.json as a list of steps that turn the texts of tokens
 * into one text, as the decode() of Hugging Face's tokenizers. */
#ifndef MILLET_TEXT_DECODER_H
#define MILLET_TEXT_DECODER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "text/text_buffer.h"

struct decoder;

/* json: the object, JSON null or NULL for none (tokens are joined by spaces); what is not
 * understood is refused by name. */
struct decoder *decoder_open(const json_t *json, struct error *err) MUST_CHECK;
void decoder_close(struct decoder *decoder); /* NULL is fine */

struct decoder_token {
    size_t begin, n;
};

/* Token texts at work; all zero at first. */
struct decoder_tokens {
    struct text_buffer text;
    struct decoder_token *token;
    size_t n, capacity;
};
void decoder_tokens_free(struct decoder_tokens *tokens);
bool decoder_tokens_add(struct decoder_tokens *tokens, const char *text, size_t n,
                        struct error *err) MUST_CHECK;

/* The text of the tokens, appended to *out: valid UTF-8. The tokens are used up. */
bool decoder_run(const struct decoder *decoder, struct decoder_tokens *tokens,
                 struct text_buffer *out, struct error *err) MUST_CHECK;

#endif
