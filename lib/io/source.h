/* source.h: where bytes come from: a path, "-" (standard input) or memory.
 *
 * A regular file is mapped, never copied; a pipe is read once, forwards, never sized or reopened.
 * A directory, an empty input and a read error are three different, named errors.
 */
#ifndef MILLET_IO_SOURCE_H
#define MILLET_IO_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/error.h"

struct source;

/* "-" is standard input, called <stdin> in messages. Binary input from a terminal is refused unless
 * allow_terminal. */
struct source *source_open(const char *path, bool allow_terminal, struct error *err) MUST_CHECK;
/* Borrows the bytes. */
struct source *source_open_memory(const char *name, const void *bytes, size_t n,
                                  struct error *err) MUST_CHECK;
void source_close(struct source *source);

const char *source_name(const struct source *source);

/* The whole content, when it is mapped or in memory; NULL for a pipe. */
const void *source_map(const struct source *source, size_t *n);

/* Give the pages of a mapped file (or spooled pipe) back to the system; they are read again on
 * their next use, by whoever it is. Does nothing to bytes that are not mapped. */
void source_release(const struct source *source);

/* A few places far apart in these mapped bytes will be read, so no page is to be read ahead there;
 * `yes` false: all of them from front to back again, as at first. */
void source_scattered(const struct source *source, const void *bytes, size_t n, bool yes);

/* Up to n bytes; 0 at the end, -1 with `err` on failure. Retries EINTR and short reads as read(2)
 * gives them. */
ssize_t source_read(struct source *source, void *buffer, size_t n, struct error *err) MUST_CHECK;

/* Make the content mapped: a pipe is copied to an unlinked file in $TMPDIR (default /tmp) and that
 * is mapped, as sort(1) does. A full disk names the directory and the variable. */
bool source_spool(struct source *source, struct error *err) MUST_CHECK;

#endif
