/* error.h: the one way a library function reports failure.
 *
 * Every function that can fail takes a `struct error *` last and returns false, NULL or another
 * documented "failed" value. The library never prints and never exits; a tool prints the text,
 * once, with its own name in front. The object keeps the *first* cause: once set, later calls of
 * error_set() change nothing, because later errors are consequences.
 *
 * A text names the place, what was found, what was expected and the remedy:
 *     train.csv:17: label "Foo" is not one of the model's 12 labels; map it or drop the row
 */
#ifndef MILLET_CORE_ERROR_H
#define MILLET_CORE_ERROR_H

#include <stdbool.h>

enum { ERROR_TEXT_BYTES = 1024 }; /* one line on a terminal, a long path included */

struct error {
    bool set;
    int number; /* errno of the first cause where error_set_errno() recorded it, else 0: EPIPE is no
                   news to a user */
    char text[ERROR_TEXT_BYTES];
};

#define ERROR_INIT                                                                                 \
    {                                                                                              \
        .set = false, .number = 0, .text = ""                                                      \
    }
#define MUST_CHECK __attribute__((warn_unused_result))

/* Record the first cause. Always returns false, so that `return error_set(err, …);` reads as prose.
 * Control characters in the text are replaced by '?', so that hostile input cannot drive a
 * terminal. */
bool error_set(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with ": " and the text of `errno` appended. */
bool error_set_errno(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Put a place in front of an error already set ("model.safetensors: " …). Always returns false. */
bool error_at(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Take over an error that was kept elsewhere (a thread's, a callback's). Always returns false. */
bool error_pass(struct error *err, const struct error *cause);

/* Forget the error, for callers that handle it. */
void error_clear(struct error *err);

#endif
