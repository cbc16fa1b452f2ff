#include "core/number.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* strto* skip white space and accept signs, hexadecimal, "inf" and "nan"; people's numbers begin
 * with a digit, a point or a minus. */
static bool starts_as_number(const char *text)
{
    const char *digits = *text == '-' ? text + 1 : text;
    return isdigit((unsigned char)digits[0]) ||
           (digits[0] == '.' && isdigit((unsigned char)digits[1]));
}

static bool is_hexadecimal(const char *text)
{
    return strpbrk(text, "xX") != NULL;
}

bool number_integer(const char *text, const char *what, int64_t min, int64_t max, int64_t *value,
                    struct error *err)
{
    char *end = NULL;
    errno = 0;
    long long parsed = starts_as_number(text) ? strtoll(text, &end, 10) : 0;
    if (!end || end == text || *end != '\0')
        return error_set(err, "%s: \"%s\" is not a whole number; expected %" PRId64 " to %" PRId64,
                         what, text, min, max);
    if (errno == ERANGE || parsed < min || parsed > max)
        return error_set(err, "%s: %s is out of range; expected %" PRId64 " to %" PRId64, what,
                         text, min, max);
    *value = parsed;
    return true;
}

static bool parse_real(const char *text, double *value)
{
    char *end = NULL;
    if (!starts_as_number(text) || is_hexadecimal(text))
        return false;
    *value = strtod(text, &end);
    return *end == '\0' && isfinite(*value);
}

bool number_real(const char *text, const char *what, double min, double max, double *value,
                 struct error *err)
{
    double parsed;
    if (!parse_real(text, &parsed))
        return error_set(err, "%s: \"%s\" is not a number; expected %g to %g", what, text, min,
                         max);
    if (!(parsed >= min && parsed <= max))
        return error_set(err, "%s: %s is out of range; expected %g to %g", what, text, min, max);
    *value = parsed;
    return true;
}

bool number_fraction(const char *text, const char *what, double *value, struct error *err)
{
    char copy[64];
    size_t n = strlen(text);
    bool percent = n > 0 && text[n - 1] == '%';
    double parsed;
    if (n >= sizeof copy)
        return error_set(err, "%s: \"%s\" is not a share; expected 0.75 or 75%%", what, text);
    memcpy(copy, text, n + 1);
    if (percent)
        copy[n - 1] = '\0';
    if (!parse_real(copy, &parsed))
        return error_set(err, "%s: \"%s\" is not a share; expected 0.75 or 75%%", what, text);
    if (!percent && parsed > 1 && parsed <= 100)
        return error_set(err, "%s: %s is more than the whole; write %s%% for a percentage", what,
                         text, text);
    if (percent)
        parsed /= 100;
    if (!(parsed > 0 && parsed <= 1))
        return error_set(err, "%s: %s is out of range; expected more than 0 and at most 1 (100%%)",
                         what, text);
    *value = parsed;
    return true;
}

enum {
    MOST_DIGITS = 19
}; /* so that they, and the power of ten that they stand above, fit 64 bits */

/* The digits as a whole number, and how many stand behind the point. */
static bool read_digits(const char *at, const char *end, uint64_t *digits, unsigned *behind)
{
    const char *point = NULL, *begin = at;
    *digits = 0;
    for (; at < end; at++) {
        if (*at == '.' && !point && at > begin)
            point = at;
        else if (*at >= '0' && *at <= '9')
            *digits = *digits * 10 + (uint64_t)(*at - '0');
        else
            return false;
    }
    *behind = point ? (unsigned)(end - point - 1) : 0;
    return end > begin && end - begin - (point != NULL) <= MOST_DIGITS && (!point || *behind > 0);
}

/* numerator / denominator, neither 0: the quotient has 63 or 64 bits, of which the last also tells
 * of a remainder; so rounding it once more, to 53 bits, rounds right. */
static double divide(uint64_t numerator, uint64_t denominator)
{
    int shift = 63 + __builtin_clzll(numerator) - __builtin_clzll(denominator);
    unsigned __int128 wide = (unsigned __int128)numerator << shift;
    uint64_t quotient = (uint64_t)(wide / denominator);
    quotient |= wide != (unsigned __int128)quotient * denominator;
    return ldexp((double)quotient, -shift);
}

bool number_decimal(const char *bytes, size_t n, double *value)
{
    bool negative = n && *bytes == '-';
    uint64_t digits, power = 1;
    unsigned behind;
    if (!read_digits(bytes + negative, bytes + n, &digits, &behind))
        return false;
    for (unsigned i = 0; i < behind; i++)
        power *= 10;
    bool exact = digits == 0 || (digits >> 53 == 0 && power >> 53 == 0);
    double magnitude = exact ? (double)digits / (double)power : divide(digits, power);
    *value = negative ? -magnitude : magnitude;
    return true;
}
