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
    MOST_DIGITS = 19 /* so that they, and the power of ten that they stand above, fit 64 bits */
};

static const uint64_t power_of_ten[MOST_DIGITS + 1] = {1,
                                                       10,
                                                       100,
                                                       1000,
                                                       10000,
                                                       100000,
                                                       1000000,
                                                       10000000,
                                                       100000000,
                                                       1000000000,
                                                       10000000000,
                                                       100000000000,
                                                       1000000000000,
                                                       10000000000000,
                                                       100000000000000,
                                                       1000000000000000,
                                                       10000000000000000,
                                                       100000000000000000,
                                                       1000000000000000000,
                                                       10000000000000000000u};

/* The number of eight digits, the first of them in the word's lowest byte; false: some byte is no
 * digit. Neighbours are joined to pairs, pairs to fours, fours to the eight. */
static bool join_digits(uint64_t word, uint64_t *value)
{
    const uint64_t ones = 0x0101010101010101, lows = 0x000000FF000000FF;
    word ^= ones * '0';
    if ((((word & ones * 0x7F) + ones * 0x76) | word) & ones * 0x80)
        return false;
    word = word * 10 + (word >> 8);
    *value = ((word & lows) * (100 + ((uint64_t)1000000 << 32)) +
              (word >> 16 & lows) * (1 + ((uint64_t)10000 << 32))) >>
             32;
    return true;
}

/* The digits [at, end) behind those of *digits. At least `before` bytes stand in front of `at`. */
static bool add_digits(const char *at, const char *end, size_t before, uint64_t *digits)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t word, value;
    for (; end - at >= 8; at += 8, before += 8) {
        memcpy(&word, at, sizeof word);
        if (!join_digits(word, &value))
            return false;
        *digits = *digits * 100000000 + value;
    }
    size_t left = (size_t)(end - at);
    if (left && before + left >= 8) { /* the last eight, with 0 for those that have been counted */
        unsigned counted = 8 * (8 - (unsigned)left);
        memcpy(&word, end - 8, sizeof word);
        word = (word >> counted << counted) | (UINT64_C(0x3030303030303030) >> (64 - counted));
        if (!join_digits(word, &value))
            return false;
        *digits = *digits * power_of_ten[left] + value;
        return true;
    }
#else
    (void)before;
#endif
    for (; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        *digits = *digits * 10 + (uint64_t)(*at - '0');
    }
    return true;
}

bool number_digits(const char *bytes, size_t n, bool *negative, uint64_t *digits, unsigned *behind)
{
    const char *end = bytes + n, *begin = bytes + (n && *bytes == '-'), *at = begin;
    *negative = begin > bytes;
    *digits = 0;
    *behind = 0;
    if (end - begin > MOST_DIGITS + 1)
        return false;
    for (; at < end && *at >= '0' && *at <= '9'; at++)
        *digits = *digits * 10 + (uint64_t)(*at - '0');
    if (at == begin)
        return false;
    if (at == end)
        return end - begin <= MOST_DIGITS;
    *behind = (unsigned)(end - at - 1);
    return *at == '.' && *behind && add_digits(at + 1, end, (size_t)(at + 1 - bytes), digits);
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

/* digits / 10^behind, neither 0: by the power's reciprocal, cut to 64 bits, so that the product is
 * at most two units of its upper half too small. Where that leaves open to which side the 53 bits
 * of a double are rounded, about one time in 500, the division is done. */
static double scale_down(uint64_t digits, unsigned behind)
{
    /* 2^(63 + the bits of 10^k) / 10^k, rounded down, for k from 1. */
    static const uint64_t reciprocal[MOST_DIGITS] = {
        0xCCCCCCCCCCCCCCCC, 0xA3D70A3D70A3D70A, 0x83126E978D4FDF3B, 0xD1B71758E219652B,
        0xA7C5AC471B478423, 0x8637BD05AF6C69B5, 0xD6BF94D5E57A42BC, 0xABCC77118461CEFC,
        0x89705F4136B4A597, 0xDBE6FECEBDEDD5BE, 0xAFEBFF0BCB24AAFE, 0x8CBCCC096F5088CB,
        0xE12E13424BB40E13, 0xB424DC35095CD80F, 0x901D7CF73AB0ACD9, 0xE69594BEC44DE15B,
        0xB877AA3236A4B449, 0x9392EE8E921D5D07, 0xEC1E4A7DB69561A5};
    uint64_t power = power_of_ten[behind];
    int zeros = __builtin_clzll(digits), bits = 64 - __builtin_clzll(power);
    uint64_t upper =
        (uint64_t)(((unsigned __int128)(digits << zeros) * reciprocal[behind - 1]) >> 64);
    int cut = 10 + (int)(upper >> 63); /* the bits below a double's 53 */
    uint64_t rest = upper & (((uint64_t)1 << cut) - 1), half = (uint64_t)1 << (cut - 1);
    if (rest == half || rest == half - 1)
        return divide(digits, power);
    return ldexp((double)((upper >> cut) + (rest > half)), cut + 1 - zeros - bits);
}

bool number_decimal(const char *bytes, size_t n, double *value)
{
    bool negative;
    uint64_t digits;
    unsigned behind;
    if (!number_digits(bytes, n, &negative, &digits, &behind))
        return false;
    double magnitude = digits && behind ? scale_down(digits, behind) : (double)digits;
    *value = negative ? -magnitude : magnitude;
    return true;
}
