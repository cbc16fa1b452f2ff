/* number.h: the one parser of numbers that people type: junk, overflow and values out of range are
 * refused, with the allowed range in the text. `what` names the option ("--keep"). */
#ifndef MILLET_CORE_NUMBER_H
#define MILLET_CORE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

bool number_integer(const char *text, const char *what, int64_t min, int64_t max, int64_t *value,
                    struct error *err) MUST_CHECK;
/* Finite decimal number in [min, max]. */
bool number_real(const char *text, const char *what, double min, double max, double *value,
                 struct error *err) MUST_CHECK;
/* "75%" or "0.75": a fraction in (0, 1]. A bare number over 1 is refused with a hint to write the
 * percent sign. */
bool number_fraction(const char *text, const char *what, double *value,
                     struct error *err) MUST_CHECK;

/* bytes[0, n), at most 19 digits with or without a minus, a point and digits behind it: the digits
 * as a whole number, and how many of them stand behind the point. false: it has another form. */
bool number_digits(const char *bytes, size_t n, bool *negative, uint64_t *digits, unsigned *behind);
/* The same as the double nearest to it: what strtod() says, in a tenth of its time. On false *value
 * stays, and strtod() may know it. */
bool number_decimal(const char *bytes, size_t n, double *value);

#endif
