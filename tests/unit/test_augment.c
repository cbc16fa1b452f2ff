/* Altered copies of texts: what is masked and cut, how often, and that the same seed gives the same. */
#include "text/augment.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "scratch.h"
#include "tests/tap.h"

static const char text[] = " alpha beta\tgamma delta  epsilon zeta eta theta\n";
enum { WORDS = 8, TRIES = 4000 };

static bool make(struct augment *a, const struct augment_options *o, const char *mask,
                 uint64_t number, size_t copy)
{
    struct error err = ERROR_INIT;
    bool altered;
    if (!augment_make(a, o, mask, text, sizeof text - 1, number, copy, &altered, &err)) {
        printf("Bail out! %s\n", err.text);
        exit(1);
    }
    return altered;
}

/* Words of the copy; those that are `mask` to *masked. */
static size_t count(const struct augment *a, const char *mask, size_t *masked)
{
    size_t words = 0;
    for (size_t i = 0; i < a->n;) {
        size_t n = 0;
        while (i + n < a->n && a->text[i + n] != ' ')
            n++;
        *masked += n == strlen(mask) && memcmp(a->text + i, mask, n) == 0;
        words++;
        i += n + 1;
    }
    return words;
}

static void test_rates(void)
{
    struct augment a = {0};
    size_t masked = 0, words = 0, cut = 0, altered = 0;
    const struct augment_options o = {.copies = 1, .mask = 0.3, .ngram = 0.25, .seed = 7};
    for (uint64_t i = 0; i < TRIES; i++) {
        altered += make(&a, &o, "#", i, 0);
        size_t n = count(&a, "#", &masked);
        words += n;
        cut += n < WORDS;
        if (n > AUGMENT_LONGEST_RUN && n < WORDS)
            cut += TRIES; /* never */
    }
    /* Of 4000 texts: deviations 27 and, of some 27 000 words, 75. A text of which nothing was taken
     * (0.7^8 = 6 % of those not cut) gets another attempt, which raises both rates by as much. */
    double rate = (double)masked / (double)words, share = (double)cut / TRIES;
    tap_ok(fabs(rate - 0.31) < 0.02, "three words in ten are masked: %.3f", rate);
    tap_ok(fabs(share - 0.26) < 0.03, "a quarter is cut to 1 to 5 words: %.3f", share);
    tap_ok(altered == TRIES, "every copy is altered");
    augment_free(&a);
}

static void test_same(void)
{
    struct augment a = {0}, b = {0};
    const struct augment_options o = {.copies = 9, .mask = 0.2, .ngram = 0.2, .seed = 1};
    struct augment_options other = o;
    other.seed = 2;
    size_t same = 0, different = 0;
    for (size_t copy = 0; copy < 20; copy++) {
        make(&a, &o, "[MASK]", 3, copy);
        make(&b, &o, "[MASK]", 3, copy);
        same += a.n == b.n && memcmp(a.text, b.text, a.n) == 0;
        make(&b, &other, "[MASK]", 3, copy);
        different += a.n != b.n || memcmp(a.text, b.text, a.n) != 0;
    }
    tap_ok(same == 20, "seed, text and copy decide");
    tap_ok(different > 15, "another seed gives others: %zu", different);
    augment_free(&a);
    augment_free(&b);
}

static void test_edges(void)
{
    struct augment a = {0};
    struct error err = ERROR_INIT;
    const struct augment_options all = {.copies = 1, .mask = 1};
    bool altered = true;
    tap_ok(!make(&a, &all, "", 0, 0), "a text with every word left out is no copy");
    tap_ok(make(&a, &all, "<mask>", 0, 0) && a.n == WORDS * 7 - 1, "all masked is one");
    const struct augment_options none = {.copies = 1, .ngram = 1};
    tap_ok(augment_make(&a, &none, "", "word", 4, 0, 0, &altered, &err) && !altered,
           "of one word nothing can be cut");
    tap_ok(augment_make(&a, &all, "", NULL, 0, 0, 0, &altered, &err) && !altered,
           "an empty text has no copies");
    augment_free(&a);
}

static void test_options(void)
{
    struct error err = ERROR_INIT;
    struct augment_options o;
    tap_ok(augment_parse("20", &o, &err) && o.copies == 20 && fabs(o.mask - 0.1) < 1e-9 &&
               fabs(o.ngram - 0.25) < 1e-9 && !o.labels,
           "a number is copies");
    tap_ok(augment_parse("copies=3,mask=0.5,ngram=0,labels=keep,seed=4", &o, &err) &&
               o.copies == 3 && fabs(o.mask - 0.5) < 1e-9 && o.labels && o.seed == 4,
           "all keys: %s", err.text);
    static const char *const bad[] = {"",      "0",           "mask=0.1",         "3,mask=2",
                                      "3,x=1", "3,labels=no", "3,mask=0,ngram=0", "many"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct error why = ERROR_INIT;
        tap_ok(!augment_parse(bad[i], &o, &why) && why.set, "refused \"%s\": %s", bad[i], why.text);
        error_clear(&why);
    }
}

/* "[MASK]" as a tokenizer with that token, or without it, sees it: unknown, in the latter. */
static void expect_mask(const char *added, const char *expected)
{
    struct error err = ERROR_INIT;
    char json[700], mask[AUGMENT_MASK_BYTES], name[40];
    static int number;
    int n = snprintf(json, sizeof json,
                     "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\","
                     "\"special\":true}%s],\"normalizer\":null,\"pre_tokenizer\":{\"type\":"
                     "\"WhitespaceSplit\"},\"post_processor\":null,\"decoder\":null,\"model\":{"
                     "\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"ka\",-1]]}}",
                     added);
    snprintf(name, sizeof name, "tokenizer%d", number++);
    mkdir(scratch_path(name), 0777);
    strcat(name, "/tokenizer.json");
    scratch_write(name, json, (size_t)n);
    name[strcspn(name, "/")] = '\0';
    struct bundle *bundle = bundle_open(scratch_path(name), &err);
    struct tokenizer *tokenizer = bundle ? tokenizer_open(bundle, &err) : NULL;
    bool ok = tokenizer && augment_mask(tokenizer, mask, &err);
    tap_ok(ok && strcmp(mask, expected) == 0, "the mask is \"%s\": \"%s\" %s", expected,
           ok ? mask : "", err.text);
    tokenizer_close(tokenizer);
    bundle_close(bundle);
}

static void test_mask(void)
{
    expect_mask(",{\"id\":2,\"content\":\"[MASK]\",\"special\":true}", "[MASK]");
    expect_mask(",{\"id\":2,\"content\":\"<mask>\",\"special\":true}", "<mask>");
    expect_mask("", "");
}

int main(void)
{
    scratch_open();
    test_mask();
    test_rates();
    test_same();
    test_edges();
    test_options();
    return tap_done();
}
