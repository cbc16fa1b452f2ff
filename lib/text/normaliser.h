/* normaliser.h: the "normalizer" of a tokenizer.json as a list of steps, each as Hugging Face's
 * tokenizers do it.
 *
 * Immutable after reading and shared by threads; the texts at work are in a scratch, one a thread.
 */
#ifndef MILLET_TEXT_NORMALISER_H
#define MILLET_TEXT_NORMALISER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "text/bert_normalise.h"
#include "text/text_buffer.h"
#include "text/unicode_form.h"

struct normaliser;

/* json: the object, JSON null or NULL for none; what is not understood is refused by name. */
struct normaliser *normaliser_open(const json_t *json, struct error *err) MUST_CHECK;
void normaliser_close(struct normaliser *normaliser); /* NULL is fine */

/* Whether it is a BertNormalizer and nothing else, or nothing at all; then *options says which. */
bool normaliser_is_bert(const struct normaliser *normaliser, struct bert_options *options);

/* What is known about cutting a text before a space ' ' that stands between a character that is no
 * space and one that extends nothing: LOCAL: the normalised parts, put together, are the normalised
 * whole, and a part begins with ' ' when its text does, provided the part before is not empty and
 * does not end in ' '. */
bool normaliser_is_local(const struct normaliser *normaliser);

struct normaliser_scratch { /* all zero at first */
    struct text_buffer text[2];
    struct unicode_form_scratch form;
    uint32_t *code;
    size_t n_codes;
};
void normaliser_scratch_free(struct normaliser_scratch *scratch);

/* Normalised n bytes of valid UTF-8: *out stays until the scratch's next use (or is `text`, when
 * nothing changes). *head: the first character out stems from the first one in. */
bool normaliser_run(const struct normaliser *normaliser, struct normaliser_scratch *scratch,
                    const char *text, size_t n, const char **out, size_t *n_out, bool *head,
                    struct error *err) MUST_CHECK;

#endif
