/* unicode_form.c: see unicode_form.h. Decompose, put marks in canonical order, compose (Unicode
 * Standard Annex 15). */
#include "text/unicode_form.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/codepoint.h"
#include "text/utf8.h"

enum { N_CLASSES = 256, FEW = 24 };

void unicode_form_scratch_free(struct unicode_form_scratch *s)
{
    free(s->code);
    free(s->mark);
    *s = (struct unicode_form_scratch){0};
}

/* Stable, by class; a run of hostile length is counted, not shifted. */
static bool order_run(struct unicode_form_scratch *s, uint32_t *code, size_t n, struct error *err)
{
    if (n <= FEW) {
        for (size_t i = 1; i < n; i++) {
            uint32_t moved = code[i];
            unsigned class = codepoint_combining(moved);
            size_t j = i;
            for (; j > 0 && codepoint_combining(code[j - 1]) > class; j--)
                code[j] = code[j - 1];
            code[j] = moved;
        }
        return true;
    }
    size_t at[N_CLASSES + 1] = {0};
    if (!memory_grow(&s->mark, &s->n_mark, n, sizeof *s->mark, err))
        return false;
    for (size_t i = 0; i < n; i++)
        at[codepoint_combining(code[i]) + 1]++;
    for (size_t i = 1; i <= N_CLASSES; i++)
        at[i] += at[i - 1];
    memcpy(s->mark, code, n * sizeof *code);
    for (size_t i = 0; i < n; i++)
        code[at[codepoint_combining(s->mark[i])]++] = s->mark[i];
    return true;
}

static bool order(struct unicode_form_scratch *s, size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        size_t begin = i;
        while (i < n && codepoint_combining(s->code[i]))
            i++;
        if (i - begin > 1 && !order_run(s, s->code + begin, i - begin, err))
            return false;
    }
    return true;
}

/* In place; returns the new number. utf8proc composes between young code points, which compose
 * with nothing. */
static size_t compose(uint32_t *code, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n;) {
        size_t end = i + 1;
        if (!codepoint_is_young(code[i]))
            while (end < n && !codepoint_is_young(code[end]))
                end++;
        memmove(code + kept, code + i, (end - i) * sizeof *code);
        utf8proc_ssize_t left = (utf8proc_ssize_t)(end - i);
        if (left > 1)
            left = utf8proc_normalize_utf32((utf8proc_int32_t *)(code + kept), left,
                                            UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        kept += left > 0 ? (size_t)left : end - i;
        i = end;
    }
    return kept;
}

bool unicode_form_run(enum unicode_form form, const char *text, size_t n,
                      struct unicode_form_scratch *s, struct text_buffer *out, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    bool compatible = form == UNICODE_NFKC || form == UNICODE_NFKD, marks = false;
    size_t used = 0;
    while (p < end) {
        if (!memory_grow(&s->code, &s->capacity, used + CODEPOINT_DECOMPOSED_MAX, sizeof *s->code,
                         err))
            return false;
        size_t parts = codepoint_decompose(utf8_next(&p), compatible, s->code + used);
        for (size_t i = 0; i < parts; i++)
            marks |= s->code[used + i] >= 0x300;
        used += parts;
    }
    if (marks && !order(s, used, err))
        return false;
    if (form == UNICODE_NFC || form == UNICODE_NFKC)
        used = compose(s->code, used);
    if (!text_buffer_reserve(out, used * UTF8_MAX_BYTES, err))
        return false;
    for (size_t i = 0; i < used; i++)
        out->n += utf8_put(s->code[i], out->bytes + out->n);
    return true;
}
