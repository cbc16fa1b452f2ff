/* test_normaliser.c: each normaliser, the forms of Unicode, and what is refused. */
#include "text/normaliser.h"

#include <stdlib.h>

#include "tests/tap.h"
#include "text/base64.h"

static const char *normal(const char *json, const char *text)
{
    static char out[2048];
    struct error err = ERROR_INIT;
    struct normaliser_scratch scratch = {0};
    json_t *object = json_loads(json, JSON_DECODE_ANY, NULL);
    struct normaliser *n = normaliser_open(object, &err);
    const char *result;
    size_t length;
    bool head;
    if (n && normaliser_run(n, &scratch, text, strlen(text), &result, &length, &head, &err))
        snprintf(out, sizeof out, "%.*s%s", (int)length, result, head ? "" : "^");
    else
        snprintf(out, sizeof out, "%s", err.text);
    normaliser_scratch_free(&scratch);
    normaliser_close(n);
    json_decref(object);
    return out;
}

static void test_forms(void)
{
    tap_is(normal("{\"type\": \"NFD\"}", "\xC3\xA9"), "e\xCC\x81", "NFD");
    tap_is(normal("{\"type\": \"NFC\"}", "e\xCC\x81"), "\xC3\xA9", "NFC");
    tap_is(normal("{\"type\": \"NFC\"}", "\xE0\xA4\x95\xE0\xA4\xBC"), "\xE0\xA4\x95\xE0\xA4\xBC",
           "a nukta that is excluded from composition");
    tap_is(normal("{\"type\": \"NFC\"}", "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "\xED\x95\x9C",
           "Hangul");
    tap_is(normal("{\"type\": \"NFKC\"}", "\xEF\xBC\xA1\xE2\x85\xA7"), "AVIII", "NFKC");
    tap_is(normal("{\"type\": \"NFKD\"}", "\xEF\xB7\xBA"),
           "\xD8\xB5\xD9\x84\xD9\x89 \xD8\xA7\xD9\x84\xD9\x84\xD9\x87 \xD8\xB9\xD9\x84\xD9\x8A\xD9"
           "\x87 \xD9\x88\xD8\xB3\xD9\x84\xD9\x85",
           "the longest decomposition");
    tap_is(normal("{\"type\": \"NFD\"}", "a\xCC\x81\xCC\xA7"), "a\xCC\xA7\xCC\x81",
           "marks are put in order");
    tap_is(normal("{\"type\": \"NFC\"}", "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0"),
           "\xF0\x91\xA4\xB5\xF0\x91\xA4\xB0", "what is younger than the tables does not compose");
}

static void test_long_marks(void)
{
    struct unicode_form_scratch scratch = {0};
    struct text_buffer out = {NULL, 0, 0};
    struct error err = ERROR_INIT;
    enum { PAIRS = 50000 };
    char *text = malloc(4 * PAIRS);
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(text + 4 * i, "\xCC\x81\xCC\xA7", 4);
    bool ok = unicode_form_run(UNICODE_NFD, text, 4 * PAIRS, &scratch, &out, &err);
    tap_ok(ok && out.n == 4 * PAIRS && memcmp(out.bytes, "\xCC\xA7\xCC\xA7", 4) == 0 &&
               memcmp(out.bytes + 4 * PAIRS - 4, "\xCC\x81\xCC\x81", 4) == 0,
           "100 000 marks in a row are ordered in no time");
    free(text);
    text_buffer_free(&out);
    unicode_form_scratch_free(&scratch);
}

static void test_steps(void)
{
    tap_is(normal("null", " A "), " A ", "none");
    tap_is(normal("{\"type\": \"Lowercase\"}", "\xC3\x89\xC4\xB0\xCE\xA3"),
           "\xC3\xA9i\xCC\x87\xCF\x83", "Lowercase, without context");
    tap_is(normal("{\"type\": \"StripAccents\"}", "e\xCC\x81\xE0\xA4\x95\xE0\xA5\x80"),
           "e\xE0\xA4\x95", "StripAccents takes all marks");
    tap_is(normal("{\"type\": \"StripAccents\"}", "\xCC\x81z"), "z^",
           "and says when the first goes");
    tap_is(normal("{\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": false}", "\t a "),
           "a ^", "Strip on the left");
    tap_is(normal("{\"type\": \"Strip\", \"strip_left\": false, \"strip_right\": true}",
                  " a\xC2\xA0\xE3\x80\x80"),
           " a", "Strip on the right");
    tap_is(normal("{\"type\": \"Replace\", \"pattern\": {\"String\": \"``\"}, \"content\": "
                  "\"\\\"\"}",
                  "``a```"),
           "\"a\"`^", "Replace: what comes first is not the text's first character");
    tap_is(normal("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \" {2,}\"}, \"content\": "
                  "\"_\"}",
                  "a b   c  "),
           "a b_c_", "Replace of two and more spaces");
    tap_is(normal("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"\\\\s{2,}|[\\\\n\\\\r\\\\t]\""
                  "}, \"content\": \" \"}",
                  "a\tb \t c\xC2\xA0z"),
           "a b c\xC2\xA0z", "DeBERTa's white space");
    tap_is(normal("{\"type\": \"Prepend\", \"prepend\": \"_\"}", "a"), "_a", "Prepend");
    tap_is(normal("{\"type\": \"Prepend\", \"prepend\": \"_\"}", ""), "", "not to nothing");
    tap_is(normal("{\"type\": \"Nmt\"}", "\x01"
                                         "a\x0B\xE2\x80\x8B"
                                         "b"),
           "a b^", "Nmt");
    tap_is(normal("{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": "
                  "true, \"strip_accents\": null, \"lowercase\": true}",
                  "\xC3\x89\t\xE4\xBD\xA0\xC2\xAD"),
           "e  \xE4\xBD\xA0 ", "BertNormalizer");
    tap_is(normal("{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKD\"}, {\"type\": "
                  "\"StripAccents\"}, {\"type\": \"Lowercase\"}]}",
                  "\xC3\x89"),
           "e", "Sequence");
}

static void test_refusals(void)
{
    tap_is(normal("{\"type\": \"Unheard\"}", "a"), "normalizer: \"Unheard\" is not known to Millet",
           "refused by name");
    tap_ok(strstr(normal("{\"type\": \"Replace\", \"pattern\": {\"Regex\": \"[a-z]\"}, "
                         "\"content\": \"\"}",
                         "a"),
                  "\"[a-z]\"") != NULL,
           "a regular expression is named");
    tap_ok(strstr(normal("{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"A*==\"}", "a"),
                  "base64") != NULL,
           "a charsmap that is no base64");
    tap_ok(strstr(normal("{\"type\": \"Strip\"}", "a"), "strip_left") != NULL, "a missing setting");
}

static void test_base64(void)
{
    struct error err = ERROR_INIT;
    unsigned char *bytes = NULL;
    size_t n = 0;
    for (size_t length = 0; length < 4; length++) {
        char *text = base64_encode((const unsigned char *)"\xFF\x00x", length, &err);
        tap_ok(text && base64_decode(text, strlen(text), &bytes, &n, &err) && n == length &&
                   memcmp(bytes, "\xFF\x00x", n) == 0,
               "base64 of %zu bytes and back: %s", length, text);
        free(text);
        free(bytes);
        bytes = NULL;
    }
}

int main(void)
{
    test_forms();
    test_long_marks();
    test_steps();
    test_refusals();
    test_base64();
    return tap_done();
}
