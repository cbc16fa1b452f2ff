/* Hashed n-grams against a slow reference: the definition of scikit-learn's char_wb and of word
 * n-grams, written over lists of words that are given folded and split. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/memory.h"
#include "core/rng.h"
#include "tests/tap.h"
#include "text/grams.h"
#include "text/utf8.h"

enum { MOST = 4096 };

struct list {
    int32_t id[MOST];
    size_t n;
};

static int by_value(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

static void put(struct list *list, const struct records_grams *spec, const char *bytes, size_t n,
                uint64_t seed)
{
    if (list->n < MOST)
        list->id[list->n++] = (int32_t)(XXH3_64bits_withSeed(bytes, n, seed) % spec->buckets);
}

/* Byte at which code point i of s begins; its length beyond the last. */
static size_t at(const char *s, size_t i)
{
    const unsigned char *p = (const unsigned char *)s;
    for (; i && *p; i--)
        utf8_next(&p);
    return (size_t)(p - (const unsigned char *)s);
}

/* word[i]: with its punctuation; bare[i]: without, NULL: nothing is left. */
static void reference(struct list *list, const struct records_grams *spec, const char *const *word,
                      const char *const *bare, size_t n_words)
{
    char text[512];
    list->n = 0;
    for (size_t w = 0; w < n_words; w++) {
        snprintf(text, sizeof text, " %s ", word[w]);
        size_t codes = 0;
        while (text[at(text, codes)])
            codes++;
        for (size_t n = spec->char_min; n && n <= spec->char_max; n++) {
            size_t offset = 0;
            size_t end = at(text, n);
            put(list, spec, text, end, 1);
            while (offset + n < codes) {
                offset++;
                put(list, spec, text + at(text, offset), at(text, offset + n) - at(text, offset),
                    1);
            }
            if (offset == 0)
                break;
        }
    }
    const char *kept[64];
    size_t n_kept = 0;
    for (size_t w = 0; w < n_words; w++)
        if (bare[w])
            kept[n_kept++] = bare[w];
    for (size_t k = 1; k <= spec->word_max; k++)
        for (size_t w = 0; w + k <= n_kept; w++) {
            text[0] = '\0';
            for (size_t i = 0; i < k; i++) {
                strcat(text, i ? " " : "");
                strcat(text, kept[w + i]);
            }
            put(list, spec, text, strlen(text), 2);
        }
    qsort(list->id, list->n, sizeof *list->id, by_value);
}

static bool same(struct grams *grams, const char *text, size_t n, const struct list *expected)
{
    struct error err = ERROR_INIT;
    const int32_t *id;
    size_t found;
    return grams_make(grams, text, n, &id, &found, &err) && found == expected->n &&
           (found == 0 || memcmp(id, expected->id, found * sizeof *id) == 0);
}

static void test_texts(const struct records_grams *spec)
{
    static const struct {
        const char *text, *word[8], *bare[8];
        size_t n;
        const char *what;
    } row[] = {
        {"", {0}, {0}, 0, "no text"},
        {" \t\xe3\x80\x80\n", {0}, {0}, 0, "white space only"},
        {"a", {"a"}, {"a"}, 1, "a word shorter than n gives itself once"},
        {"The  CAT sat", {"the", "cat", "sat"}, {"the", "cat", "sat"}, 3, "case and spaces"},
        {"\"Well,\" he-man - said.",
         {"\"well,\"", "he-man", "-", "said."},
         {"well", "he-man", NULL, "said"},
         4,
         "punctuation belongs to characters, and to words only inside"},
        {"কাঁঠাল খেলো।", {"কাঁঠাল", "খেলো।"}, {"কাঁঠাল", "খেলো"}, 2, "combining marks are letters"},
        /* U+09DF and U+09AF U+09BC are one letter; so are e-acute in two forms by the composed one
         * alone: composition is by code point. */
        {"সময\xe0\xa7\x9f ZWJ\xe2\x80\x8d\xe2\x80\x8cx",
         {"সময\xe0\xa6\xaf\xe0\xa6\xbc", "zwjx"},
         {"সময\xe0\xa6\xaf\xe0\xa6\xbc", "zwjx"},
         2,
         "a nukta has one spelling, joiners are nothing"},
        {"Straße İ", {"strasse", "i̇"}, {"strasse", "i̇"}, 2, "folding to several"},
        {"a\xffz \xf0\x9f\x98\x80",
         {"a\xef\xbf\xbdz", "\xf0\x9f\x98\x80"},
         {"a\xef\xbf\xbdz", "\xf0\x9f\x98\x80"},
         2,
         "invalid UTF-8 and four bytes"},
    };
    struct error err = ERROR_INIT;
    struct grams *grams = grams_open(spec, &err);
    struct list expected;
    char text[RECORDS_GRAMS_TEXT];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        reference(&expected, spec, row[i].word, row[i].bare, row[i].n);
        tap_ok(same(grams, row[i].text, strlen(row[i].text), &expected), "%s: %s",
               records_grams_text(spec, text), row[i].what);
    }
    grams_close(grams);
}

/* Random words, many enough for the radix sort; the same buffers for all. */
static void test_random(const struct records_grams *spec)
{
    static const char letter[] = "abcde";
    struct rng rng;
    rng_seed(&rng, 7);
    struct error err = ERROR_INIT;
    struct grams *grams = grams_open(spec, &err);
    struct list expected;
    bool ok = true;
    for (int trial = 0; trial < 50; trial++) {
        char text[512] = "", word[30][16];
        const char *list[30];
        size_t n = 1 + rng_below(&rng, 29);
        for (size_t w = 0; w < n; w++) {
            size_t length = 1 + rng_below(&rng, 10);
            for (size_t i = 0; i < length; i++)
                word[w][i] = letter[rng_below(&rng, 5)];
            word[w][length] = '\0';
            list[w] = word[w];
            strcat(strcat(text, w ? " " : ""), word[w]);
        }
        reference(&expected, spec, list, list, n);
        ok = ok && same(grams, text, strlen(text), &expected);
    }
    char text[RECORDS_GRAMS_TEXT];
    tap_ok(ok, "%s: 50 random texts", records_grams_text(spec, text));
    grams_close(grams);
}

static void test_bytes(void)
{
    struct records_grams spec = {.buckets = 1 << 24, .char_min = 1, .char_max = 8, .word_max = 5};
    struct error err = ERROR_INIT;
    struct grams *grams = grams_open(&spec, &err);
    struct rng rng;
    rng_seed(&rng, 9);
    bool ok = true;
    const int32_t *id;
    size_t n;
    for (int trial = 0; trial < 300; trial++) {
        size_t length = rng_below(&rng, 200);
        char *text =
            memory_array(length, 1, &err); /* exactly: the sanitizer sees each step beyond */
        for (size_t i = 0; i < length; i++)
            text[i] = (char)rng_below(&rng, 256);
        ok = ok && grams_make(grams, text, length, &id, &n, &err);
        for (size_t i = 1; ok && i < n; i++)
            ok = id[i - 1] <= id[i];
        free(text);
    }
    tap_ok(ok, "any bytes give ascending ids");
    size_t length = 300000;
    char *text = memory_array(length, 1, &err);
    memset(text, 'x', length);
    tap_ok(grams_make(grams, text, length, &id, &n, &err) && n > 8 * (length - 8) &&
               id[n - 1] < 1 << 24,
           "a long word");
    free(text);
    grams_close(grams);
}

static void expect_parse(const char *text, const char *expected)
{
    struct error err = ERROR_INIT;
    struct records_grams grams;
    char found[RECORDS_GRAMS_TEXT];
    bool ok = grams_parse(text, &grams, &err);
    tap_ok(strstr(ok ? records_grams_text(&grams, found) : err.text, expected) != NULL,
           "\"%s\": %s", text, ok ? found : err.text);
}

static void test_parse(void)
{
    expect_parse("", "buckets=262144,chars=2-5,words=2");
    expect_parse("chars=3", "buckets=262144,chars=3-3,words=2");
    expect_parse("words=0,buckets=1000", "buckets=1000,chars=2-5,words=0");
    expect_parse("chars=0,words=5", "chars=0-0,words=5");
    expect_parse("chars=0,words=0", "no characters and no words");
    expect_parse("chars=5-2", "the smaller first");
    expect_parse("chars=0-2", "expected 1 to 8");
    expect_parse("chars=2-9", "8");
    expect_parse("chars=2-", "chars");
    expect_parse("chars=00000000000000002-3", "two numbers");
    expect_parse("words=6", "5");
    expect_parse("buckets=15", "16");
    expect_parse("buckets=16777217", "16777216");
    expect_parse("bucket=20", "is not buckets, chars or words");
    expect_parse("words", "expected buckets=N");
    struct error err = ERROR_INIT;
    struct records_grams none = {0}, bad = {.buckets = 20}, found;
    tap_ok(!grams_open(&none, &err), "%s", err.text);
    error_clear(&err);
    tap_ok(!grams_open(&bad, &err), "%s", err.text);
    error_clear(&err);
    json_t *config = json_pack("{s:{s:i,s:[i,i],s:i,s:f}}", "millet_ngram", "buckets", 64, "chars",
                               2, 4, "words", 1, "encoder_gate", 0.5);
    tap_ok(grams_of_config(config, "config.json", &found, &err) && found.buckets == 64 &&
               found.char_min == 2 && found.char_max == 4 && found.word_max == 1,
           "of a model %s", err.text);
    json_object_clear(config);
    tap_ok(grams_of_config(config, "config.json", &found, &err) && found.buckets == 0,
           "of a model without");
    json_object_set_new(config, "millet_ngram",
                        json_pack("{s:i,s:[i],s:i}", "buckets", 64, "chars", 2, "words", 1));
    tap_ok(!grams_of_config(config, "config.json", &found, &err) && strstr(err.text, "config.json"),
           "%s", err.text);
    json_decref(config);
}

int main(void)
{
    static const struct records_grams spec[] = {{1 << 18, 2, 5, 2},
                                                {1000003, 1, 8, 5},
                                                {16, 3, 3, 0},
                                                {1 << 16, 0, 0, 2},
                                                {1 << 9, 5, 8, 1}};
    for (size_t i = 0; i < sizeof spec / sizeof *spec; i++) {
        test_texts(&spec[i]);
        test_random(&spec[i]);
    }
    test_bytes();
    test_parse();
    return tap_done();
}
