/* UTF-8: what is valid, what replaces what is not, and back. */
#include "text/utf8.h"

#include <stdlib.h>

#include "core/rng.h"
#include "tests/tap.h"

static void repairs(const char *bytes, size_t n, const char *expected, size_t invalid)
{
    char out[200];
    size_t n_invalid = 0, length = utf8_repair(bytes, n, out, &n_invalid);
    out[length] = 0;
    tap_is(out, expected, "repaired");
    tap_ok(n_invalid == invalid, "%zu replacements, expected %zu", n_invalid, invalid);
    tap_ok(utf8_valid_prefix(out, length) == length, "the repaired text is valid");
}

static void test_valid(void)
{
    const char *text = "abcdefgh मराठी \xF0\x90\x80\x80 \xF4\x8F\xBF\xBF é";
    tap_ok(utf8_valid_prefix(text, strlen(text)) == strlen(text), "valid text of 1 to 4 bytes");
    static const struct {
        const char *bytes;
        size_t prefix;
        const char *what;
    } bad[] = {{"ab\xC0\x80", 2, "overlong two bytes"},
               {"a\xE0\x80\x80", 1, "overlong three bytes"},
               {"\xED\xA0\x80", 0, "a surrogate"},
               {"\xF4\x90\x80\x80", 0, "above U+10FFFF"},
               {"x\xE0\xA4", 1, "cut short"},
               {"\x80", 0, "a continuation alone"},
               {"abcdefghi\xFF", 9, "0xFF"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        tap_ok(utf8_valid_prefix(bad[i].bytes, strlen(bad[i].bytes)) == bad[i].prefix,
               "invalid: %s", bad[i].what);
}

static void test_round_trip(void)
{
    bool same = true;
    for (uint32_t code = 0; code <= UTF8_LAST; code++) {
        char out[UTF8_MAX_BYTES] = "xyz"; /* short ones have something behind them */
        if (code >= 0xD800 && code <= 0xDFFF)
            continue;
        size_t n = utf8_put(code, out);
        const unsigned char *p = (const unsigned char *)out;
        same = same && utf8_valid_prefix(out, n) == n && utf8_next(&p) == code &&
               p == (const unsigned char *)out + n;
        p = (const unsigned char *)out;
        same = same && utf8_next_wide(&p) == code && p == (const unsigned char *)out + n;
    }
    tap_ok(same, "every code point survives encoding and decoding");
}

/* Text of all scripts with a byte changed here and there, against one character after the other. */
static void test_long(void)
{
    enum { MOST = 200 };
    static const uint32_t limit[] = {0x80, 0x800, 0xD800, 0x110000};
    size_t wrong = 0, whole = 0;
    for (uint64_t round = 0; round < 100000; round++) {
        char text[MOST + UTF8_MAX_BYTES];
        uint64_t draw = rng_hash(1, round), kinds = 1 + draw % 4;
        size_t n = 0, length = 1 + draw / 4 % MOST, good = 0;
        for (uint64_t k = 0; n < length; k++) {
            uint32_t below = limit[rng_hash(2 + round, k) % kinds];
            uint32_t code = (uint32_t)(rng_hash(3 + round, k + 1000) % below);
            n += utf8_put(code >= 0xD800 && code <= 0xDFFF ? 'x' : code, text + n);
        }
        if (round % 4)
            text[rng_hash(4, round) % n] = (char)rng_hash(5, round);
        if (round % 8 == 7)
            n -= rng_hash(6, round) % n;
        while (good < n) {
            size_t width = 1; /* the shortest valid beginning: one character */
            while (width <= UTF8_MAX_BYTES && width <= n - good &&
                   utf8_valid_prefix(text + good, width) != width)
                width++;
            if (width > UTF8_MAX_BYTES || width > n - good)
                break;
            good += width;
        }
        wrong += utf8_valid_prefix(text, n) != good;
        whole += good == n;
    }
    tap_ok(!wrong && whole > 20000, "long texts, %zu of them valid, %zu wrong", whole, wrong);
}

int main(void)
{
    test_long();
    test_valid();
    test_round_trip();
    repairs("a\xFFz", 3, "a\xEF\xBF\xBDz", 1);
    repairs("\xE0\xA4", 2, "\xEF\xBF\xBD", 1);                             /* one maximal part */
    repairs("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", 3); /* a surrogate: three */
    repairs("\xF0\x90\x80q", 4, "\xEF\xBF\xBDq", 1);
    repairs("ok", 2, "ok", 0);
    return tap_done();
}
