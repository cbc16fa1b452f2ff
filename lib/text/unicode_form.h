/* unicode_form.h: the four normalisation forms of Unicode, with the tables of Hugging Face's
 * tokenizers (codepoint.h). */
#ifndef MILLET_TEXT_UNICODE_FORM_H
#define MILLET_TEXT_UNICODE_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/text_buffer.h"

enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };

/* Code points at work; all zero at first, kept by the caller for the next text. */
struct unicode_form_scratch {
    uint32_t *code, *mark; /* owned */
    size_t capacity, n_mark;
};
void unicode_form_scratch_free(struct unicode_form_scratch *scratch);

/* Append the form of n bytes of valid UTF-8. Linear in n. */
bool unicode_form_run(enum unicode_form form, const char *text, size_t n,
                      struct unicode_form_scratch *scratch, struct text_buffer *out,
                      struct error *err) MUST_CHECK;

#endif
