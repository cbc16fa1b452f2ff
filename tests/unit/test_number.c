#include "core/number.h"

#include <stdlib.h>

#include "core/rng.h"
#include "tests/tap.h"

static void test_integer(void)
{
    int64_t value = 0;
    struct error err = ERROR_INIT;
    tap_ok(number_integer("42", "--n", 0, 100, &value, &err) && value == 42, "42");
    tap_ok(number_integer("-3", "--n", -5, 5, &value, &err) && value == -3, "-3");
    tap_ok(number_integer("9223372036854775807", "--n", 0, INT64_MAX, &value, &err) &&
               value == INT64_MAX,
           "the largest");
    static const char *const junk[] = {"",    " 1",  "1 ",  "1x", "0x10", "+1",
                                       "1.0", "1e3", "--1", "-",  "nan",  "9223372036854775808"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        error_clear(&err);
        tap_ok(!number_integer(junk[i], "--n", 0, INT64_MAX, &value, &err) && value == INT64_MAX,
               "\"%s\" is refused: %s", junk[i], err.text);
    }
    error_clear(&err);
    tap_ok(!number_integer("101", "--n", 0, 100, &value, &err), "101 is over 100");
    tap_is(err.text, "--n: 101 is out of range; expected 0 to 100", "and the range is named");
}

static void test_real(void)
{
    double value = 0;
    struct error err = ERROR_INIT;
    tap_ok(number_real("1e-4", "--lr", 0, 1, &value, &err) && value == 1e-4, "1e-4");
    tap_ok(number_real(".5", "--lr", 0, 1, &value, &err) && value == 0.5, ".5");
    tap_ok(number_real("-2", "--lr", -3, 1, &value, &err) && value == -2, "-2");
    static const char *const junk[] = {"",      "nan", "inf",  "-inf", "1e999",
                                       "0x1p3", "1,5", "1.5x", " 1",   "2"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        error_clear(&err);
        tap_ok(!number_real(junk[i], "--lr", 0, 1, &value, &err), "\"%s\" is refused: %s", junk[i],
               err.text);
    }
}

static void test_fraction(void)
{
    double value = 0;
    struct error err = ERROR_INIT;
    tap_ok(number_fraction("75%", "--keep", &value, &err) && value == 0.75, "75%%");
    tap_ok(number_fraction("0.75", "--keep", &value, &err) && value == 0.75, "0.75");
    tap_ok(number_fraction("1", "--keep", &value, &err) && value == 1, "1");
    tap_ok(number_fraction("100%", "--keep", &value, &err) && value == 1, "100%%");
    static const char *const junk[] = {"",     "%",    "0",    "0%", "-5%",
                                       "101%", "75 %", "75%%", "x%", "nan%"};
    for (size_t i = 0; i < sizeof junk / sizeof *junk; i++) {
        error_clear(&err);
        tap_ok(!number_fraction(junk[i], "--keep", &value, &err), "\"%s\" is refused: %s", junk[i],
               err.text);
    }
    error_clear(&err);
    tap_ok(!number_fraction("75", "--keep", &value, &err) && strstr(err.text, "write 75%"),
           "75 gets a hint: %s", err.text);
}

/* Of every length, against the C library's. */
static void test_decimal(void)
{
    size_t wrong = 0, n_tried = 0;
    for (uint64_t i = 0; i < 200000; i++) {
        char text[32];
        double found = 1;
        unsigned before = 1 + (unsigned)(rng_hash(1, i) % 10);
        unsigned behind = (unsigned)(rng_hash(2, i) % (20 - before));
        size_t at = 0;
        if (i % 2)
            text[at++] = '-';
        for (unsigned d = 0; d < before + behind; d++) {
            if (d == before)
                text[at++] = '.';
            text[at++] = (char)('0' + rng_hash(3 + i, d) % 10);
        }
        text[at] = '\0';
        double expected = strtod(text, NULL);
        n_tried++;
        wrong += !number_decimal(text, at, &found) || memcmp(&found, &expected, sizeof found) != 0;
    }
    tap_ok(wrong == 0, "%zu of %zu decimals are not strtod's", wrong, n_tried);
    static const char *const exact[] = {"0",
                                        "-0",
                                        "0.0",
                                        "9007199254740993",
                                        "1.5",
                                        "-3.0000000000000004",
                                        "9999999999999999999",
                                        "0.3",
                                        "-13.529880523681641",
                                        "9007199254740992.5"};
    for (size_t i = 0; i < sizeof exact / sizeof *exact; i++) {
        double found = 1, expected = strtod(exact[i], NULL);
        tap_ok(number_decimal(exact[i], strlen(exact[i]), &found) &&
                   memcmp(&found, &expected, sizeof found) == 0,
               "%s", exact[i]);
    }
    static const char *const other[] = {"",
                                        "-",
                                        ".",
                                        ".5",
                                        "1.",
                                        "1e3",
                                        "1.2.3",
                                        "+1",
                                        "0x1",
                                        "12345678901234567890",
                                        "0.12345678901234567890"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        double found = 1;
        tap_ok(!number_decimal(other[i], strlen(other[i]), &found) && found == 1,
               "\"%s\" is left to others", other[i]);
    }
}

static void test_digits(void)
{
    static const struct {
        const char *text;
        bool negative;
        uint64_t digits;
        unsigned behind;
    } good[] = {{"0", false, 0, 0},
                {"-1234567.8", true, 12345678, 1},
                {"1.1234567", false, 11234567, 7},
                {"1.123456", false, 1123456, 6},
                {"-0.12345678", true, 12345678, 8},
                {"9.123456789", false, 9123456789, 9},
                {"-3.141592653589793", true, 3141592653589793, 15},
                {"1.8446744073709551", false, 18446744073709551, 16},
                {"9999999999999999999", false, 9999999999999999999u, 0}};
    static const char *const bad[] = {"-.5",        "1.12345678x",    "1.x2345678", "1.1234 5678",
                                      "1.1234567/", "1.12345678912:", "1.-1234567", "1.1234567.1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        bool negative;
        uint64_t digits;
        unsigned behind;
        tap_ok(number_digits(good[i].text, strlen(good[i].text), &negative, &digits, &behind) &&
                   negative == good[i].negative && digits == good[i].digits &&
                   behind == good[i].behind,
               "the digits of %s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        bool negative;
        uint64_t digits;
        unsigned behind;
        tap_ok(!number_digits(bad[i], strlen(bad[i]), &negative, &digits, &behind), "no digits: %s",
               bad[i]);
    }
}

int main(void)
{
    test_decimal();
    test_digits();
    test_integer();
    test_real();
    test_fraction();
    return tap_done();
}
