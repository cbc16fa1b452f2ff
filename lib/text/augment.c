#include "text/augment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/number.h"
#include "core/rng.h"

enum { ATTEMPTS = 20, ITEM_BYTES = 48 };

/* ---- options ---- */

static bool take_item(struct augment_options *o, const char *item, struct error *err)
{
    const char *equals = strchr(item, '='), *value = equals ? equals + 1 : item;
    size_t n = equals ? (size_t)(equals - item) : strlen("copies");
    const char *key = equals ? item : "copies";
    int64_t whole = 0;
    if (n == 6 && strncmp(key, "copies", n) == 0) {
        if (!number_integer(value, "copies", 1, AUGMENT_MAX, &whole, err))
            return false;
        o->copies = (size_t)whole;
        return true;
    }
    if (n == 4 && strncmp(key, "mask", n) == 0)
        return number_real(value, "mask", 0, 1, &o->mask, err);
    if (n == 5 && strncmp(key, "ngram", n) == 0)
        return number_real(value, "ngram", 0, 1, &o->ngram, err);
    if (n == 4 && strncmp(key, "seed", n) == 0) {
        if (!number_integer(value, "seed", 0, INT64_MAX, &whole, err))
            return false;
        o->seed = (uint64_t)whole;
        return true;
    }
    if (n == 6 && strncmp(key, "labels", n) == 0) {
        o->labels = strcmp(value, "keep") == 0;
        return o->labels || strcmp(value, "drop") == 0 ||
               error_set(err, "labels is \"%s\", expected keep or drop", value);
    }
    return error_set(err, "unknown key \"%.*s\"; expected copies, mask, ngram, labels or seed",
                     (int)n, key);
}

bool augment_parse(const char *text, struct augment_options *options, struct error *err)
{
    *options = (struct augment_options){.mask = 0.1, .ngram = 0.25};
    for (const char *at = text; *at;) {
        char item[ITEM_BYTES];
        size_t n = strcspn(at, ",");
        snprintf(item, sizeof item, "%.*s", (int)(n < sizeof item ? n : sizeof item - 1), at);
        if (!take_item(options, item, err))
            return false;
        at += n + (at[n] == ',');
    }
    if (!options->copies)
        return error_set(err, "how many copies of a text? for example 10");
    return options->mask > 0 || options->ngram > 0 ||
           error_set(err, "with mask=0 and ngram=0 nothing is altered");
}

bool augment_mask(const struct tokenizer *tokenizer, char mask[AUGMENT_MASK_BYTES],
                  struct error *err)
{
    static const char *const known[] = {"[MASK]", "<mask>"};
    struct tokenizer_scratch *scratch = tokenizer_scratch_open(tokenizer, err);
    int32_t wanted = tokenizer_mask(tokenizer);
    bool ok = scratch != NULL;
    mask[0] = '\0';
    for (size_t i = 0; ok && wanted >= 0 && i < sizeof known / sizeof *known; i++) {
        const int32_t *id;
        size_t n, found = 0;
        ok = tokenizer_encode(tokenizer, scratch, known[i], strlen(known[i]), 0, &id, &n, err);
        for (size_t k = 0; ok && k < n; k++)
            found += id[k] == wanted;
        if (ok && found == 1 && n == tokenizer_special_count(tokenizer) + 1)
            snprintf(mask, AUGMENT_MASK_BYTES, "%s", known[i]);
    }
    tokenizer_scratch_close(scratch);
    return ok;
}

/* ---- copies ---- */

void augment_free(struct augment *augment)
{
    free(augment->text);
    free(augment->word);
    free(augment->masked);
    *augment = (struct augment){0};
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool split(struct augment *a, const char *text, size_t n, struct error *err)
{
    a->n_words = 0;
    for (size_t i = 0; i < n;) {
        while (i < n && is_space(text[i]))
            i++;
        size_t begin = i;
        while (i < n && !is_space(text[i]))
            i++;
        if (i == begin)
            break;
        if (!memory_grow(&a->word, &a->word_capacity, 2 * a->n_words + 2, sizeof *a->word, err))
            return false;
        a->word[2 * a->n_words] = begin;
        a->word[2 * a->n_words + 1] = i;
        a->n_words++;
    }
    return memory_grow(&a->masked, &a->masked_capacity, a->n_words, sizeof *a->masked, err);
}

static bool append(struct augment *a, const char *word, size_t n, struct error *err)
{
    if (n == 0)
        return true;
    if (!memory_grow(&a->text, &a->capacity, a->n + n + 1, 1, err))
        return false;
    if (a->n)
        a->text[a->n++] = ' ';
    memcpy(a->text + a->n, word, n);
    a->n += n;
    return true;
}

/* One attempt; *altered: something was masked or cut. */
static bool attempt(struct augment *a, const struct augment_options *o, const char *mask,
                    const char *text, struct rng *rng, bool *altered, struct error *err)
{
    size_t first = 0, last = a->n_words;
    *altered = false;
    for (size_t i = 0; i < a->n_words; i++) {
        a->masked[i] = rng_uniform(rng) < o->mask;
        *altered |= a->masked[i];
    }
    if (rng_uniform(rng) < o->ngram) {
        size_t n = 1 + (size_t)rng_below(rng, AUGMENT_LONGEST_RUN);
        if (n < a->n_words) {
            first = (size_t)rng_below(rng, a->n_words - n + 1);
            last = first + n;
            *altered = true;
        }
    }
    a->n = 0;
    for (size_t i = first; i < last; i++) {
        size_t begin = a->word[2 * i], end = a->word[2 * i + 1];
        if (!(a->masked[i] ? append(a, mask, strlen(mask), err)
                           : append(a, text + begin, end - begin, err)))
            return false;
    }
    *altered &= a->n > 0;
    return true;
}

bool augment_make(struct augment *augment, const struct augment_options *options, const char *mask,
                  const char *text, size_t n, uint64_t number, size_t copy, bool *altered,
                  struct error *err)
{
    struct rng rng;
    *altered = false;
    rng_seed(&rng, rng_hash(rng_hash(options->seed, number), copy));
    if (!split(augment, text, n, err))
        return false;
    for (size_t i = 0; i < ATTEMPTS && augment->n_words && !*altered; i++)
        if (!attempt(augment, options, mask, text, &rng, altered, err))
            return false;
    return true;
}
