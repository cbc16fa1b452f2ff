/* GPT-2's pattern by hand, and the map of bytes to characters. */
#include "text/byte_level.h"

#include "tests/tap.h"
#include "text/utf8.h"

/* Words with '|' between them, '$' for a newline. */
static void splits(const char *text, const char *expected)
{
    char found[400];
    size_t n = strlen(text), used = 0;
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        size_t word = byte_level_word(p, end);
        used += (size_t)snprintf(found + used, sizeof found - used, "%s%.*s", used ? "|" : "",
                                 (int)word, (const char *)p);
        p += word;
    }
    for (size_t i = 0; i < used; i++)
        found[i] = found[i] == '\n' ? '$' : found[i];
    tap_is(found, expected, expected);
}

static void test_words(void)
{
    splits("Hello world", "Hello| world");
    splits("  two  spaces ", " | two| | spaces| ");
    splits("a   ", "a|   ");
    splits("a\n\nb", "a|$|$|b"); /* the last space of a run goes on its own unless it is ' ' */
    splits("a \nb", "a| |$|b");
    splits("a\n b", "a|$| b");
    splits("\t x", "\t| x");
    splits("\t\tx", "\t|\t|x");
    splits(" ", " ");
    splits("I'm you're we've he'd she'll it's don't",
           "I|'m| you|'re| we|'ve| he|'d| she|'ll| it|'s| "
           "don|'t");
    splits("'S 'l 'r 'v '", "'|S| '|l| '|r| '|v| '");
    splits("'sx ''s", "'s|x| ''|s");
    splits("a1b22,;!3.5", "a|1|b|22|,;!|3|.|5");
    splits("x 12 ,. y", "x| 12| ,.| y");
    splits("मराठी भाषा", "मर|ा|ठ|ी| भ|ा|ष|ा"); /* vowel signs are no letters */
    splits("१२३ ½Ⅷ", "१२३| ½Ⅷ");
    splits("日本語。中文", "日本語|。|中文");
    splits("a\xC2\xA0z", "a|\xC2\xA0|z");
    splits("a\xE3\x80\x80\xE3\x80\x80z", "a|\xE3\x80\x80|\xE3\x80\x80|z");
    splits("a\xC2\x85z", "a|\xC2\x85|z");
    splits("a\xE2\x80\x8Dz", "a|\xE2\x80\x8D|z"); /* ZWJ is no space */
    splits("a\xE2\x80\x8Bz", "a|\xE2\x80\x8B|z");
    splits("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB ok",
           "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB| ok");
    splits("\xE1\xB2\x89\xF4\x8F\xBF\xBF",
           "\xE1\xB2\x89|\xF4\x8F\xBF\xBF"); /* Unicode 16; the last */
}

static void test_no_overrun(void)
{
    /* The word ends where the text ends, whatever stands behind it. */
    const unsigned char text[] = "'re  x";
    tap_ok(byte_level_word(text, text + 1) == 1, "a quote at the end of the text");
    tap_ok(byte_level_word(text, text + 2) == 1, "half a contraction at the end of the text");
    tap_ok(byte_level_word(text, text + 3) == 3, "a contraction at the end of the text");
    tap_ok(byte_level_word(text + 3, text + 4) == 1, "a space at the end of the text");
    tap_ok(byte_level_word(text + 3, text + 5) == 2, "spaces at the end of the text");
}

static void test_map(void)
{
    struct error err = ERROR_INIT;
    struct text_buffer mapped = {0}, back = {0};
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    bool ok = byte_level_map(bytes, 256, &mapped, &err);
    tap_ok(ok && mapped.n == 256 + 256 - 94, "94 bytes stay one byte");
    bool seen[512] = {false}, distinct = true;
    const unsigned char *p = (const unsigned char *)mapped.bytes;
    for (int i = 0; ok && i < 256; i++) {
        uint32_t code = utf8_next(&p);
        distinct = distinct && code < 324 && code != ' ' && code != 0xAD && !seen[code];
        seen[code < 512 ? code : 511] = true;
    }
    tap_ok(distinct, "every byte has a character of its own");
    ok = byte_level_unmap(mapped.bytes, mapped.n, &back, &err);
    tap_ok(ok && back.n == 256 && memcmp(back.bytes, bytes, 256) == 0, "and comes back");

    mapped.n = back.n = 0;
    ok = byte_level_map(" \n\x7F\xA0\xAD\xE0", 6, &mapped, &err) &&
         text_buffer_add(&mapped, "", 1, &err);
    tap_is(ok ? mapped.bytes : NULL, "ĠĊġłŃà",
           "space, newline, delete, the last of the moved ones");
    ok = byte_level_unmap("Ġa", 3, &back, &err) && byte_level_unmap("Ġक", 5, &back, &err) &&
         byte_level_unmap("\xC2\xAD", 2, &back, &err) && byte_level_unmap("", 0, &back, &err) &&
         text_buffer_add(&back, "", 1, &err);
    tap_is(ok ? back.bytes : NULL, " aĠक\xC2\xAD",
           "a piece with a character that is no byte stays as it is");
    text_buffer_free(&mapped);
    text_buffer_free(&back);
}

int main(void)
{
    test_words();
    test_no_overrun();
    test_map();
    return tap_done();
}
