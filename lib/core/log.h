/* log.h: `--log FILE`: one JSON object per line, each written with one write(2), for plots. */
#ifndef MILLET_CORE_LOG_H
#define MILLET_CORE_LOG_H

#include <jansson.h>
#include <stdint.h>

#include "core/error.h"

struct log;

struct log *log_open(const char *path, struct error *err) MUST_CHECK; /* empties the file */
/* What was written so far stays, until log_rewind(). */
struct log *log_continue(const char *path, struct error *err) MUST_CHECK;
/* Bytes written; 0 where that is not known (a pipe). */
uint64_t log_bytes(const struct log *log);
/* Forget what was written after the first so many bytes. Of a file: a pipe or device stays as it
 * is. */
bool log_rewind(struct log *log, uint64_t bytes, struct error *err) MUST_CHECK;
/* Steals the reference to `object`. log may be NULL: nothing is written, the object is released. */
bool log_write(struct log *log, json_t *object, struct error *err) MUST_CHECK;
bool log_close(struct log *log, struct error *err) MUST_CHECK; /* NULL is fine */

#endif
