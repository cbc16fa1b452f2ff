/* test_pretokenizer.c: each pre-tokenizer and what it refuses. Words are joined with "|". */
#include "text/pretokenizer.h"

#include <stdlib.h>

#include "tests/tap.h"

static const char *cut(const char *json, const char *text, bool head)
{
    static char out[2048];
    struct error err = ERROR_INIT;
    struct pretokens words = {0};
    json_t *object = json_loads(json, JSON_DECODE_ANY, NULL);
    struct pretokenizer *p = pretokenizer_open(object, &err);
    size_t used = 0;
    out[0] = 0;
    if (!p || !pretokenizer_run(p, text, strlen(text), head, &words, &err))
        snprintf(out, sizeof out, "%s", err.text);
    for (size_t i = 0; i < words.n_words; i++)
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%.*s", i ? "|" : "",
                                 (int)words.word[i].n, words.text + words.word[i].begin);
    pretokens_free(&words);
    pretokenizer_close(p);
    json_decref(object);
    return out;
}

static void test_space(void)
{
    tap_is(cut("null", " a b", true), " a b", "none: the text is one word");
    tap_is(cut("null", "", true), "", "an empty text has no word");
    tap_is(cut("{\"type\": \"WhitespaceSplit\"}", " a\xC2\xA0 b,c ", true), "a|b,c",
           "WhitespaceSplit");
    tap_is(cut("{\"type\": \"BertPreTokenizer\"}", "a, b$", true), "a|,|b|$", "BertPreTokenizer");
    tap_is(cut("{\"type\": \"Whitespace\"}", "a_1?! \xE0\xA4\x95\xE0\xA5\x8D-b", true),
           "a_1|?!|\xE0\xA4\x95\xE0\xA5\x8D|-|b", "Whitespace: word characters and others apart");
    tap_is(cut("{\"type\": \"CharDelimiterSplit\", \"delimiter\": \"-\"}", "-a--b", true), "a|b",
           "CharDelimiterSplit");
}

static void test_behaviours(void)
{
    static const struct {
        const char *name, *words;
    } expected[] = {{"Removed", "a|b"},
                    {"Isolated", "-|a|-|-|b|-"},
                    {"MergedWithPrevious", "-|a-|-|b-"},
                    {"MergedWithNext", "-a|-|-b|-"},
                    {"Contiguous", "-|a|--|b|-"}};
    char json[200];
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        snprintf(json, sizeof json, "{\"type\": \"Punctuation\", \"behavior\": \"%s\"}",
                 expected[i].name);
        tap_is(cut(json, "-a--b-", true), expected[i].words, expected[i].name);
        snprintf(json, sizeof json,
                 "{\"type\": \"Split\", \"pattern\": {\"String\": \"-\"}, \"behavior\": \"%s\", "
                 "\"invert\": false}",
                 expected[i].name);
        tap_is(cut(json, "-a--b-", true), expected[i].words, "the same of Split");
    }
    tap_is(cut("{\"type\": \"Split\", \"pattern\": {\"String\": \"ab\"}, \"behavior\": "
               "\"Removed\", \"invert\": true}",
               "xabyab", true),
           "ab|ab", "inverted, what matches stays");
    tap_is(cut("{\"type\": \"Digits\", \"individual_digits\": true}", "a12\xE0\xA5\xA7", true),
           "a|1|2|\xE0\xA5\xA7", "single digits");
    tap_is(cut("{\"type\": \"Digits\", \"individual_digits\": false}", "a12b", true), "a|12|b",
           "runs of digits");
}

#define MARK "\xE2\x96\x81"

static void test_metaspace(void)
{
    static const char always[] =
        "{\"type\": \"Metaspace\", \"replacement\": \"" MARK "\", \"add_prefix_space\": true}",
                      first[] = "{\"type\": \"Metaspace\", \"replacement\": \"" MARK
                                "\", \"prepend_scheme\": \"first\", \"split\": true}",
                      never[] = "{\"type\": \"Metaspace\", \"replacement\": \"" MARK
                                "\", \"prepend_scheme\": \"never\", \"split\": false}";
    tap_is(cut(always, "a  b", true), MARK "a|" MARK "|" MARK "b", "Metaspace");
    tap_is(cut(always, " a", true), MARK "a", "a space in front is enough");
    tap_is(cut(first, "a b", true), MARK "a|" MARK "b", "first: at the beginning");
    tap_is(cut(first, "a b", false), "a|" MARK "b", "first: not behind an added token");
    tap_is(cut(never, "a b", true), "a" MARK "b", "never, and not split");
    tap_is(cut("{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"WhitespaceSplit\"}, "
               "{\"type\": \"Metaspace\", \"replacement\": \"" MARK "\"}]}",
               " a  b", true),
           MARK "a|" MARK "b", "behind WhitespaceSplit each word has its mark");
    tap_is(cut("{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"use_regex\": true}",
               "a's b", true),
           "\xC4\xA0"
           "a|'s|\xC4\xA0"
           "b",
           "ByteLevel");
}

static void test_refusals(void)
{
    tap_is(cut("{\"type\": \"FixedLength\"}", "a", true),
           "pre_tokenizer: \"FixedLength\" is not known to Millet", "refused by name");
    tap_ok(strstr(cut("{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a+\"}}", "a", true),
                  "\"a+\"") != NULL,
           "a regular expression is named");
    tap_ok(strstr(cut("{\"type\": \"Metaspace\", \"replacement\": \"_\", \"add_prefix_space\": "
                      "false, \"prepend_scheme\": \"always\"}",
                      "a", true),
                  "contradicts") != NULL,
           "settings that contradict each other");
    tap_ok(strstr(cut("{\"type\": \"Punctuation\", \"behavior\": \"Gone\"}", "a", true),
                  "\"Gone\"") != NULL,
           "an unknown behaviour");
    tap_ok(strstr(cut("[]", "a", true), "\"type\"") != NULL, "no object");
}

int main(void)
{
    test_space();
    test_behaviours();
    test_metaspace();
    test_refusals();
    return tap_done();
}
