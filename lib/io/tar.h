/* tar.h: POSIX tar over libarchive: the container of both kinds of stream.
 *
 * Reading: plain, gzip, zstd or xz, found out by itself. On a mapped source of an uncompressed tar
 * a member's bytes are pointers into the map (nothing is copied, no page is touched that is not
 * used); elsewhere each member is read into memory. Writing: pax-restricted ustar, uncompressed,
 * fixed owner, mode and time, so that the same content gives the same bytes.
 */
#ifndef MILLET_IO_TAR_H
#define MILLET_IO_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/output.h"
#include "io/source.h"

struct tar_member {
    const char *name;     /* until the next tar_next() */
    const uint8_t *bytes; /* aligned to 64 bytes within an own allocation, to 512 in a mapped tar */
    size_t n;
    bool mapped; /* bytes live as long as the source; else until the next tar_next() unless taken */
};

struct tar_reader;

/* Borrows the source, which must outlive the reader. max_member_bytes bounds what one unmapped
 * member may make us allocate (0: no bound). */
struct tar_reader *tar_reader_open(struct source *source, uint64_t max_member_bytes,
                                   struct error *err) MUST_CHECK;
/* 1: a member, 0: end of the archive, -1: failed. Only regular files are members; others are
 * skipped. Input that is no tar, is cut short, or is damaged is an error that says which. */
int tar_next(struct tar_reader *reader, struct tar_member *member, struct error *err) MUST_CHECK;
/* Keep the bytes of the current unmapped member beyond the next call: the caller frees them. NULL
 * when mapped. */
void *tar_take(struct tar_reader *reader);
void tar_reader_close(struct tar_reader *reader);

struct tar_writer;

/* Borrows the output; the caller commits it. */
struct tar_writer *tar_writer_open(struct output *output, struct error *err) MUST_CHECK;
bool tar_write(struct tar_writer *writer, const char *name, const void *bytes, size_t n,
               struct error *err) MUST_CHECK;
/* A member in pieces: exactly n bytes must be put before the next begin or finish. */
bool tar_begin(struct tar_writer *writer, const char *name, uint64_t n,
               struct error *err) MUST_CHECK;
bool tar_put(struct tar_writer *writer, const void *bytes, size_t n, struct error *err) MUST_CHECK;
/* End-of-archive marks. Frees the writer in any case. */
bool tar_writer_finish(struct tar_writer *writer, struct error *err) MUST_CHECK;
void tar_writer_abandon(struct tar_writer *writer);

#endif
