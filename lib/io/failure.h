/* failure.h: error.json, the member by which a program that fails tells the one after it in the
 * pipe why.
 *
 * {"millet": 1, "kind": "error", "program": "mtok", "text": "train.csv:17: …"}, sealed. A program
 * that fails because of one passes it on as it was: the last of a pipe shows the first cause.
 */
#ifndef MILLET_IO_FAILURE_H
#define MILLET_IO_FAILURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/tar.h"

#define FAILURE_MEMBER "error.json"

bool failure_write(struct tar_writer *writer, const char *program, const struct error *cause,
                   struct error *err) MUST_CHECK;

/* Set err to "PROGRAM failed: TEXT", or to what is wrong with the member. Always false. */
bool failure_tell(const char *place, const uint8_t *bytes, size_t n, struct error *err);

#endif
