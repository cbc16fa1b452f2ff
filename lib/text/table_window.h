/* table_window.h: the bytes of a table at hand: the whole of a mapped source, or a buffer over a
 * pipe that holds at least the row being read. Rows are scanned from `at`; who needs more asks and
 * scans again (the buffer doubles, so that costs little). */
#ifndef MILLET_TEXT_TABLE_WINDOW_H
#define MILLET_TEXT_TABLE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/source.h"

enum { TABLE_MAX_ROW = 64 << 20 }; /* a longer row is taken for a missing quote */

struct table_window {
    struct source *source; /* borrowed */
    const char *at, *end;
    bool complete; /* nothing comes after `end` */
    uint64_t line; /* of `at`, from 1 */
    char *buffer;
    size_t capacity;
};

/* Takes the first bytes (of a pipe 4096, or, where it is `live`, a line), skips a byte order mark;
 * an empty source, UTF-16, compressed files and archives are errors. */
bool table_window_open(struct table_window *window, struct source *source, bool live,
                       struct error *err) MUST_CHECK;
void table_window_close(struct table_window *window);
/* More bytes behind `end`; the bytes from `at` on stay (and may move). */
bool table_window_more(struct table_window *window, struct error *err) MUST_CHECK;
/* The line at `at` without its end (LF or CRLF); *next is where the following one begins. 1, 0: no
 * bytes are left, -1 failed. */
int table_window_line(struct table_window *window, size_t *n, const char **next,
                      struct error *err) MUST_CHECK;

#endif
