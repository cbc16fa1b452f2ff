/* The normaliser by code point. */
#include "text/bert_normalise.h"

#include "tests/tap.h"
#include "text/utf8.h"

static const struct bert_options plain = {true, true, false, false};
static const struct bert_options lower = {true, true, false, true};
static const struct bert_options both = {true, true, true, true};

static void maps(const struct bert_options *options, uint32_t code, enum bert_class class, size_t n,
                 uint32_t first, const char *what)
{
    struct bert_mapping m;
    bert_map(options, code, &m);
    if (!tap_ok(m.class == class && m.n == n && (n == 0 || m.code[0] == first), "U+%04X: %s",
                (unsigned)code, what))
        printf("# class %d, %zu code points, first U+%04X\n", (int)m.class, m.n,
               (unsigned)m.code[0]);
}

/* The tokenizer's table has one entry a code point: a mapping of several is a word's part, whatever
 * the options. */
static void test_all(void)
{
    bool single = true, small = true;
    for (unsigned bits = 0; bits < 16; bits++) {
        const struct bert_options options = {bits & 1, bits & 2, bits & 4, bits & 8};
        for (uint32_t code = 0; code <= UTF8_LAST; code++) {
            struct bert_mapping m, part;
            bert_map(&options, code, &m);
            small = small && m.n <= BERT_MAPPED_MAX;
            for (size_t i = 0; m.n > 1 && i < m.n; i++) {
                static const struct bert_options none = {false, false, false, false};
                bert_map(&none, m.code[i], &part);
                single = single && part.class == BERT_KEEP;
            }
        }
    }
    tap_ok(single, "no code point becomes several of which one is a separator");
    tap_ok(small, "no mapping is longer than BERT_MAPPED_MAX");
}

static void test_order(void)
{
    uint32_t word[] = {'a', 0x301, 0x323, 'b', 0x308}; /* above (230), below (220) */
    const uint32_t expected[] = {'a', 0x323, 0x301, 'b', 0x308};
    bert_order(word, 5);
    tap_ok(memcmp(word, expected, sizeof word) == 0, "marks are put in canonical order");
}

int main(void)
{
    maps(&plain, 'A', BERT_KEEP, 1, 'A', "a letter stays");
    maps(&lower, 'A', BERT_KEEP, 1, 'a', "lower case");
    maps(&lower, 0x130, BERT_KEEP, 2, 'i', "I with a dot becomes two code points");
    maps(&both, 0x130, BERT_KEEP, 1, 'i', "and one without its accent");
    maps(&plain, 0x93F, BERT_KEEP, 1, 0x93F, "a spacing vowel sign stays");
    maps(&both, 0x93F, BERT_KEEP, 1, 0x93F, "and is not stripped");
    maps(&plain, 0x941, BERT_KEEP, 1, 0x941, "a nonspacing vowel sign stays");
    maps(&both, 0x941, BERT_DROP, 0, 0, "and is stripped with the accents");
    maps(&plain, 0x200D, BERT_DROP, 0, 0, "ZWJ is removed");
    maps(&plain, 0x200B, BERT_DROP, 0, 0, "zero-width space is removed");
    maps(&plain, 0xA0, BERT_SPACE, 1, ' ', "no-break space is white space");
    maps(&plain, 0x2028, BERT_SPACE, 1, ' ', "line separator is white space");
    maps(&plain, 0, BERT_DROP, 0, 0, "NUL is removed");
    maps(&plain, 0xFFFD, BERT_DROP, 0, 0, "U+FFFD is removed");
    maps(&plain, 0xB, BERT_DROP, 0, 0, "vertical tab is a control, not white space");
    maps(&plain, '\n', BERT_SPACE, 1, ' ', "a newline is white space");
    maps(&plain, 0x4E2D, BERT_ALONE, 1, 0x4E2D, "a Chinese character stands apart");
    maps(&(struct bert_options){true, false, false, false}, 0x4E2D, BERT_KEEP, 1, 0x4E2D,
         "unless not wanted");
    maps(&plain, 0x3042, BERT_KEEP, 1, 0x3042, "hiragana does not");
    maps(&plain, 0x964, BERT_ALONE, 1, 0x964, "danda is punctuation");
    maps(&plain, '$', BERT_ALONE, 1, '$', "ASCII symbols count as punctuation");
    maps(&plain, 0x20AC, BERT_KEEP, 1, 0x20AC, "other currency signs do not");
    maps(&both, 0x2260, BERT_ALONE, 1, '=', "not-equal loses its stroke and becomes punctuation");
    maps(&both, 0xAC00, BERT_KEEP, 2, 0x1100, "a Hangul syllable is decomposed");
    maps(&plain, 0xE000, BERT_DROP, 0, 0, "private use is removed");
    maps(&plain, 0x61D, BERT_KEEP, 1, 0x61D,
         "punctuation of Unicode 14 is unknown to Hugging Face");
    maps(&both, 0x898, BERT_KEEP, 1, 0x898, "and so is its mark");
    maps(&lower, 0x1C89, BERT_KEEP, 1, 0x1C8A, "lower case of Unicode 16 is known");
    test_all();
    test_order();
    return tap_done();
}
