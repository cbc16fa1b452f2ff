#include "core/number.h"

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

int main(void)
{
    test_integer();
    test_real();
    test_fraction();
    return tap_done();
}
