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
