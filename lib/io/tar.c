/* tar.c: tar over libarchive.
 *
 * Reading a mapped source hands libarchive the whole map as one block: the data blocks it gives
 * back then point into the map, and skipping is arithmetic. libarchive takes an archive without end
 * mark for a complete one; we do not: the uncompressed position after the last member tells whether
 * two blocks of zeros followed.
 *
 * Archives may be concatenated (cat a.tok b.tok): blocks of zeros between members are skipped.
 */
#include "io/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum {
    BLOCK_BYTES = 512,
    END_BYTES = 2 * BLOCK_BYTES, /* the end-of-archive mark: two blocks of zeros */
    READ_BYTES = 1 << 18,        /* per read of an unmapped source */
    FIRST_BYTES =
        1 << 20 /* first allocation for a member; a header's word is not trusted further */
};

struct tar_reader {
    struct source *source;
    struct archive *archive;
    const uint8_t *map; /* NULL: not mapped */
    size_t n_map;
    uint64_t max_member;
    uint64_t data_end; /* uncompressed position just after the last member */
    uint8_t *input;    /* [READ_BYTES], unmapped sources */
    struct error read_error;
    char *name;     /* of the current member */
    uint8_t *owned; /* bytes of the current member, when not mapped */
};

/* ---- reading ---- */

static la_ssize_t read_more(struct archive *archive, void *context, const void **bytes)
{
    struct tar_reader *reader = context;
    *bytes = reader->input;
    ssize_t n = source_read(reader->source, reader->input, READ_BYTES, &reader->read_error);
    if (n < 0)
        archive_set_error(archive, EIO, "%s", reader->read_error.text);
    return n;
}

/* Set the error that fits what libarchive says. Always false. */
static bool read_failed(struct tar_reader *reader, struct error *err)
{
    const char *name = source_name(reader->source);
    if (reader->read_error.set)
        return error_pass(err, &reader->read_error);
    const char *why = archive_error_string(reader->archive);
    if (!why)
        why = "no reason given";
    /* "No progress": how liblzma's early end of input is told. */
    if (strstr(why, "runcated") || strstr(why, "No progress"))
        return error_set(
            err, "%s: is cut short (%s); what wrote it stopped early, or the copy is incomplete",
            name, why);
    if (strstr(why, "Unrecognized archive"))
        return error_set(err,
                         "%s: is not a tar archive, or is cut short within its first 512 bytes; "
                         "records and models are tar archives (plain, gzip, zstd or xz), and a "
                         "model may be its directory",
                         name);
    return error_set(err, "%s: is damaged (%s)", name, why);
}

static bool set_formats(struct archive *archive)
{
    return archive_read_support_filter_gzip(archive) >= ARCHIVE_WARN &&
           archive_read_support_filter_zstd(archive) >= ARCHIVE_WARN &&
           archive_read_support_filter_xz(archive) >= ARCHIVE_WARN &&
           archive_read_support_format_tar(archive) >= ARCHIVE_WARN &&
           archive_read_support_format_empty(archive) >= ARCHIVE_WARN &&
           archive_read_set_options(archive, "tar:read_concatenated_archives") == ARCHIVE_OK;
}

static bool open_archive(struct tar_reader *reader, struct error *err)
{
    reader->archive = archive_read_new();
    if (!reader->archive || !set_formats(reader->archive))
        return error_set(err, "%s: libarchive cannot be set up: %s", source_name(reader->source),
                         reader->archive ? archive_error_string(reader->archive) : "no memory");
    int status;
    if (reader->map) {
        status = archive_read_open_memory(reader->archive, reader->map, reader->n_map);
    } else {
        reader->input = memory_array(READ_BYTES, 1, err);
        if (!reader->input)
            return false;
        status = archive_read_open(reader->archive, reader, NULL, read_more, NULL);
    }
    return status == ARCHIVE_OK || read_failed(reader, err);
}

struct tar_reader *tar_reader_open(struct source *source, uint64_t max_member_bytes,
                                   struct error *err)
{
    struct tar_reader *reader = memory_zeroed(1, sizeof *reader, err);
    if (!reader)
        return NULL;
    reader->source = source;
    reader->max_member = max_member_bytes ? max_member_bytes : SIZE_MAX;
    reader->map = source_map(source, &reader->n_map);
    if (open_archive(reader, err))
        return reader;
    tar_reader_close(reader);
    return NULL;
}

void tar_reader_close(struct tar_reader *reader)
{
    if (!reader)
        return;
    archive_read_free(reader->archive);
    free(reader->input);
    free(reader->name);
    free(reader->owned);
    free(reader);
}

/* The archive is over: with its end mark, or cut off between two members. */
static int end_of_archive(struct tar_reader *reader, struct error *err)
{
    if (archive_format(reader->archive) == ARCHIVE_FORMAT_EMPTY) {
        error_set(err, "%s: is empty; most often the program before it in the pipe failed",
                  source_name(reader->source));
        return -1;
    }
    uint64_t position = (uint64_t)archive_filter_bytes(reader->archive, 0);
    if (position >= reader->data_end + END_BYTES)
        return 0;
    error_set(err,
              "%s: is cut short%s%s: the end-of-archive mark is missing; "
              "what wrote it stopped early, or the copy is incomplete",
              source_name(reader->source), reader->name ? " after " : "",
              reader->name ? reader->name : "");
    return -1;
}

static bool names_locale(struct archive *archive)
{
    const char *why = archive_error_string(archive);
    return why && strstr(why, "locale");
}

/* Next entry that is a regular file. 1, 0 or -1 like tar_next(). */
static int next_entry(struct tar_reader *reader, struct archive_entry **entry, struct error *err)
{
    for (;;) {
        int status = archive_read_next_header(reader->archive, entry);
        if (status == ARCHIVE_EOF)
            return end_of_archive(reader, err);
        /* That this locale cannot spell a name, of the file or its owner, does not matter. */
        bool unspelt = status == ARCHIVE_WARN && names_locale(reader->archive);
        if (status != ARCHIVE_OK && !unspelt) {
            read_failed(reader, err);
            return -1;
        }
        const char *name = archive_entry_pathname(*entry);
        int64_t size = archive_entry_size(*entry);
        uint64_t blocks = size > 0 ? ((uint64_t)size + BLOCK_BYTES - 1) / BLOCK_BYTES : 0;
        reader->data_end =
            (uint64_t)archive_filter_bytes(reader->archive, 0) + blocks * BLOCK_BYTES;
        if (!name || archive_entry_filetype(*entry) != AE_IFREG || archive_entry_hardlink(*entry))
            continue;
        free(reader->name);
        reader->name = memory_copy(name, strlen(name), err);
        if (!reader->name)
            return -1;
        if (size >= 0 && archive_entry_sparse_count(*entry) == 0)
            return 1;
        error_set(err,
                  "%s: %s: is stored as a sparse file or without a size; pack it with plain tar",
                  source_name(reader->source), name);
        return -1;
    }
}

/* Room for n bytes in all, aligned to 64; `used` are kept. Doubles, so that a lying header costs no
 * more than twice the data that really came. */
static bool grow_owned(struct tar_reader *reader, size_t *capacity, size_t used, size_t n,
                       size_t size, struct error *err)
{
    if (n <= *capacity && reader->owned)
        return true;
    size_t room = *capacity ? *capacity : FIRST_BYTES;
    while (room < n)
        room *= 2;
    if (room > size)
        room = size;
    uint8_t *bytes = memory_aligned(room, 1, err);
    if (!bytes)
        return false;
    if (used)
        memcpy(bytes, reader->owned, used);
    free(reader->owned);
    reader->owned = bytes;
    *capacity = room;
    return true;
}

/* Copy the member's blocks, of which the first is already there. */
static bool copy_member(struct tar_reader *reader, size_t size, const void *block, size_t n,
                        struct error *err)
{
    size_t capacity = 0, used = 0;
    int status = ARCHIVE_OK;
    la_int64_t at = 0;
    while (status == ARCHIVE_OK) {
        if (at != (la_int64_t)used || n > size - used)
            return error_set(err, "%s: %s: its data does not fit its size of %zu bytes",
                             source_name(reader->source), reader->name, size);
        if (!grow_owned(reader, &capacity, used, used + n, size, err))
            return false;
        if (n)
            memcpy(reader->owned + used, block, n);
        used += n;
        status = archive_read_data_block(reader->archive, &block, &n, &at);
    }
    if (status != ARCHIVE_EOF)
        return read_failed(reader, err);
    if (used != size)
        return error_set(err, "%s: %s: is cut short: %zu of %zu bytes", source_name(reader->source),
                         reader->name, used, size);
    return true;
}

static bool lies_in_map(const struct tar_reader *reader, const void *block, size_t n)
{
    uintptr_t start = (uintptr_t)reader->map, at = (uintptr_t)block;
    return reader->map && at >= start && at - start <= reader->n_map &&
           n <= reader->n_map - (at - start);
}

static bool read_member(struct tar_reader *reader, uint64_t size, struct tar_member *member,
                        struct error *err)
{
    static const uint8_t nothing[1];
    const void *block = NULL;
    size_t n = 0;
    la_int64_t at = 0;
    *member = (struct tar_member){.name = reader->name, .bytes = nothing, .n = (size_t)size};
    if (size == 0) {
        member->mapped = true; /* no bytes: nothing to keep */
        return true;
    }
    int status = archive_read_data_block(reader->archive, &block, &n, &at);
    if (status == ARCHIVE_EOF)
        return error_set(err, "%s: %s: has no data", source_name(reader->source), reader->name);
    if (status != ARCHIVE_OK)
        return read_failed(reader, err);
    if (at == 0 && n == size && lies_in_map(reader, block, n)) {
        member->bytes = block;
        member->mapped = true;
        return true;
    }
    if (size > reader->max_member)
        return error_set(err,
                         "%s: %s: has %" PRIu64 " bytes; at most %" PRIu64 " are accepted here",
                         source_name(reader->source), reader->name, size, reader->max_member);
    if (!copy_member(reader, (size_t)size, block, n, err))
        return false;
    member->bytes = reader->owned;
    return true;
}

int tar_next(struct tar_reader *reader, struct tar_member *member, struct error *err)
{
    struct archive_entry *entry;
    free(reader->owned);
    reader->owned = NULL;
    int more = next_entry(reader, &entry, err);
    if (more <= 0)
        return more;
    return read_member(reader, (uint64_t)archive_entry_size(entry), member, err) ? 1 : -1;
}

void *tar_take(struct tar_reader *reader)
{
    void *bytes = reader->owned;
    reader->owned = NULL;
    return bytes;
}

/* ---- writing ---- */

struct tar_writer {
    struct output *output;
    struct archive *archive;
    struct archive_entry *entry;
    char *name;       /* of the member being put */
    uint64_t left;    /* bytes it still wants */
    struct error why; /* what the output said */
    bool abandoned;   /* nothing more reaches the output */
};

/* Never tells libarchive of a failure: a writer in its fatal state is not freed completely (3.6.2).
 * Every call of ours looks at writer->abandoned instead. */
static la_ssize_t write_more(struct archive *archive, void *context, const void *bytes, size_t n)
{
    struct tar_writer *writer = context;
    (void)archive;
    if (!writer->abandoned && !output_write(writer->output, bytes, n, &writer->why))
        writer->abandoned = true;
    return (la_ssize_t)n;
}

static bool write_failed(struct tar_writer *writer, struct error *err)
{
    if (writer->why.set)
        return error_pass(err, &writer->why);
    const char *why = writer->archive ? archive_error_string(writer->archive) : NULL;
    return error_set(err, "%s: cannot write the archive: %s", output_name(writer->output),
                     why ? why : "no memory");
}

struct tar_writer *tar_writer_open(struct output *output, struct error *err)
{
    struct tar_writer *writer = memory_zeroed(1, sizeof *writer, err);
    if (!writer)
        return NULL;
    writer->output = output;
    writer->archive = archive_write_new();
    writer->entry = archive_entry_new();
    /* No blocking: the output has a buffer of its own, and padding to 10 KiB would only add zeros.
     */
    if (writer->archive && writer->entry &&
        archive_write_set_format_pax_restricted(writer->archive) == ARCHIVE_OK &&
        archive_write_set_bytes_per_block(writer->archive, 0) == ARCHIVE_OK &&
        archive_write_set_bytes_in_last_block(writer->archive, 1) == ARCHIVE_OK &&
        archive_write_open(writer->archive, writer, NULL, write_more, NULL) == ARCHIVE_OK)
        return writer;
    write_failed(writer, err);
    tar_writer_abandon(writer);
    return NULL;
}

static bool member_complete(struct tar_writer *writer, struct error *err)
{
    if (writer->left == 0)
        return true;
    return error_set(err, "%s: %s: %" PRIu64 " bytes were announced but not written",
                     output_name(writer->output), writer->name, writer->left);
}

bool tar_begin(struct tar_writer *writer, const char *name, uint64_t n, struct error *err)
{
    if (!member_complete(writer, err))
        return false;
    if (n > INT64_MAX)
        return error_set(err, "%s: %s: is too large", output_name(writer->output), name);
    free(writer->name);
    writer->name = memory_copy(name, strlen(name), err);
    if (!writer->name)
        return false;
    struct archive_entry *entry = archive_entry_clear(writer->entry);
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (int64_t)n);
    archive_entry_set_mtime(entry, 0, 0);
    if (archive_write_header(writer->archive, entry) != ARCHIVE_OK || writer->abandoned)
        return write_failed(writer, err);
    writer->left = n;
    return true;
}

bool tar_put(struct tar_writer *writer, const void *bytes, size_t n, struct error *err)
{
    if (n > writer->left)
        return error_set(err, "%s: %s: more bytes were written than announced",
                         output_name(writer->output), writer->name ? writer->name : "(no member)");
    const uint8_t *next = bytes;
    while (n) {
        la_ssize_t done = archive_write_data(writer->archive, next, n);
        if (done <= 0 || writer->abandoned)
            return write_failed(writer, err);
        next += done;
        n -= (size_t)done;
        writer->left -= (uint64_t)done;
    }
    /* The padding now, not before the next member: a reader at the other end of a pipe waits for
     * it. */
    if (writer->left == 0 &&
        (archive_write_finish_entry(writer->archive) != ARCHIVE_OK || writer->abandoned))
        return write_failed(writer, err);
    return true;
}

bool tar_write(struct tar_writer *writer, const char *name, const void *bytes, size_t n,
               struct error *err)
{
    return tar_begin(writer, name, n, err) && tar_put(writer, bytes, n, err);
}

bool tar_writer_finish(struct tar_writer *writer, struct error *err)
{
    bool ok = member_complete(writer, err);
    if (ok && (archive_write_close(writer->archive) != ARCHIVE_OK || writer->abandoned))
        ok = write_failed(writer, err);
    tar_writer_abandon(writer);
    return ok;
}

void tar_writer_abandon(struct tar_writer *writer)
{
    if (!writer)
        return;
    /* Freeing an open archive closes it, with an end mark that must not be there. */
    writer->abandoned = true;
    archive_write_free(writer->archive);
    archive_entry_free(writer->entry);
    free(writer->name);
    free(writer);
}
