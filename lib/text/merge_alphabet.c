/* merge_alphabet.c: see merge_alphabet.h. */
#include "text/merge_alphabet.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

struct character {
    uint32_t code;
    uint64_t begins, continues; /* how often, as a word's first and as a later character */
};

static uint64_t total(const struct character *c)
{
    return c->begins + c->continues;
}

static int by_frequency(const void *a, const void *b)
{
    const struct character *x = a, *y = b;
    if (total(x) != total(y))
        return total(x) < total(y) ? 1 : -1;
    return (x->code > y->code) - (x->code < y->code);
}

static void count_characters(const struct word_count *words, struct character *by_code)
{
    for (size_t i = 0; i < words->word.n; i++) {
        const unsigned char *begin =
            (const unsigned char *)string_table_text(&words->word, (int32_t)i);
        const unsigned char *end = begin + words->word.item[i].n;
        for (const unsigned char *p = begin; p < end;) {
            bool first = p == begin;
            struct character *c = &by_code[utf8_next(&p)];
            *(first ? &c->begins : &c->continues) += words->count[i];
        }
    }
}

static bool add_piece(struct string_table *piece, uint32_t code, bool continues, struct error *err)
{
    char text[2 + UTF8_MAX_BYTES] = "##";
    size_t skip = continues ? 2 : 0;
    size_t n = utf8_put(code, text + skip);
    return string_table_add(piece, text, skip + n, err) != STRING_NONE;
}

bool merge_alphabet(const struct word_count *words, const struct merge_options *options,
                    struct string_table *piece, struct error *err)
{
    struct character *by_code = memory_zeroed(UTF8_LAST + 1, sizeof *by_code, err);
    if (!by_code)
        return false;
    count_characters(words, by_code);
    size_t n = 0;
    for (uint32_t code = 0; code <= UTF8_LAST; code++)
        if (total(&by_code[code]) >= options->min_frequency) {
            by_code[n] = by_code[code];
            by_code[n++].code = code;
        }
    if (n)
        qsort(by_code, n, sizeof *by_code, by_frequency);
    n = n < options->max_characters ? n : options->max_characters;
    bool ok = true;
    for (size_t i = 0; ok && i < n && piece->n < options->n_pieces; i++) {
        if (by_code[i].begins)
            ok = add_piece(piece, by_code[i].code, false, err);
        if (ok && by_code[i].continues && piece->n < options->n_pieces)
            ok = add_piece(piece, by_code[i].code, true, err);
    }
    free(by_code);
    return ok;
}
