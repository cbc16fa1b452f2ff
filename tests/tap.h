/* tap.h: unit tests that print TAP (read by prove). Header only; one test program per concept.
 *
 *     int main(void) { tap_ok(1 + 1 == 2, "sums"); return tap_done(); }
 */
#ifndef MILLET_TESTS_TAP_H
#define MILLET_TESTS_TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_count, tap_failures;

static inline bool tap_vok(bool ok, const char *format, va_list list)
{
    tap_count++;
    tap_failures += !ok;
    printf("%sok %d - ", ok ? "" : "not ", tap_count);
    vprintf(format, list);
    printf("\n");
    fflush(stdout);
    return ok;
}

__attribute__((format(printf, 2, 3))) static inline bool tap_ok(bool ok, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    tap_vok(ok, format, list);
    va_end(list);
    return ok;
}

/* Strings equal; shows both when not. */
static inline bool tap_is(const char *found, const char *expected, const char *what)
{
    bool ok = found && expected && strcmp(found, expected) == 0;
    if (!tap_ok(ok, "%s", what))
        printf("#    found: %s\n# expected: %s\n", found ? found : "(null)",
               expected ? expected : "(null)");
    return ok;
}

/* Largest |a - b| within tolerance * max(1, |b|); a NaN anywhere fails (diff <= tol is false for
 * it). */
static inline bool tap_close(const float *found, const float *expected, size_t n, double tolerance,
                             const char *what)
{
    for (size_t i = 0; i < n; i++) {
        double scale = fabs((double)expected[i]) > 1 ? fabs((double)expected[i]) : 1;
        double diff = fabs((double)found[i] - (double)expected[i]);
        if (!(diff <= tolerance * scale)) {
            tap_ok(false, "%s", what);
            printf("# element %zu of %zu: found %.9g, expected %.9g, tolerance %.3g\n", i, n,
                   (double)found[i], (double)expected[i], tolerance * scale);
            return false;
        }
    }
    return tap_ok(true, "%s", what);
}

static inline void tap_skip(const char *what, const char *reason)
{
    tap_count++;
    printf("ok %d - %s # SKIP %s\n", tap_count, what, reason);
}

static inline int tap_done(void)
{
    printf("1..%d\n", tap_count);
    return tap_failures ? 1 : 0;
}

#endif
