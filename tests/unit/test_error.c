#include "core/error.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/tap.h"

int main(void)
{
    struct error err = ERROR_INIT;
    tap_ok(!error_set(&err, "%s:%d: first", "file", 17) && err.set, "setting returns false");
    tap_is(err.text, "file:17: first", "formatted");
    error_set(&err, "second");
    tap_is(err.text, "file:17: first", "the first cause is kept");
    tap_ok(!error_at(&err, "part %d: ", 3), "error_at returns false");
    tap_is(err.text, "part 3: file:17: first", "a place goes in front");
    error_clear(&err);
    tap_ok(!err.set, "cleared");
    error_at(&err, "place: ");
    tap_ok(!err.set, "a place alone is no error");
    tap_ok(!error_set(NULL, "nobody listens"), "NULL is fine");

    errno = ENOENT;
    error_set_errno(&err, "x.csv");
    tap_is(err.text, "x.csv: No such file or directory", "errno's text");
    error_at(&err, "here: ");
    tap_ok(err.number == ENOENT, "and number, which a place keeps");

    struct error kept = err;
    error_clear(&err);
    tap_ok(!error_pass(&err, &kept) && err.number == ENOENT,
           "an error kept elsewhere is taken over");
    tap_is(err.text, "here: x.csv: No such file or directory", "with its text");
    error_pass(&err, &(struct error){.set = true, .text = "later"});
    tap_is(err.text, kept.text, "but not over a first cause");

    error_clear(&err);
    error_set(&err, "a\033[2Jb\nc\x7f \xC2\x9B"
                    "31m é ळ");
    tap_is(err.text, "a?[2Jb?c? ??31m é ळ", "control characters are replaced, letters are not");

    char longer[3 * ERROR_TEXT_BYTES];
    for (size_t i = 0; i + 3 < sizeof longer; i += 3)
        memcpy(longer + i, "क", 3);
    longer[sizeof longer - 3] = '\0';
    error_clear(&err);
    error_set(&err, "%s", longer);
    tap_ok(strlen(err.text) < ERROR_TEXT_BYTES && strlen(err.text) % 3 == 0,
           "a long text is cut between characters");
    error_at(&err, "place: ");
    tap_ok(strncmp(err.text, "place: ", 7) == 0 && (strlen(err.text) - 7) % 3 == 0,
           "and a place still fits in front");
    return tap_done();
}
