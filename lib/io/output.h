/* output.h: where bytes go: a file that appears complete or not at all, or standard output.
 *
 * A file is written unnamed (O_TMPFILE; a hidden temporary name where the file system has none),
 * synced, then put under its final name with rename(2). A process killed at any moment leaves
 * nothing under that name.
 */
#ifndef MILLET_IO_OUTPUT_H
#define MILLET_IO_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct output;

/* path NULL or "-": standard output; with `binary`, a terminal is refused. Character devices and
 * FIFOs (/dev/full, /dev/null) are written directly. */
struct output *output_open(const char *path, bool binary, struct error *err) MUST_CHECK;
const char *output_name(const struct output *output);
bool output_write(struct output *output, const void *bytes, size_t n, struct error *err) MUST_CHECK;
bool output_flush(struct output *output,
                  struct error *err) MUST_CHECK; /* bytes reach the pipe now */
uint64_t output_bytes(const struct output *output);

/* Flush, sync, name; every write error surfaces here at the latest. Frees the object in any case.
 */
bool output_commit(struct output *output, struct error *err) MUST_CHECK;
/* Drop a file that is not complete (standard output keeps what was written). NULL is fine. */
void output_abandon(struct output *output);

#endif
