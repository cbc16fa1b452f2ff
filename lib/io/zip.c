/* zip.c: zip over libarchive.
 *
 * The whole file is one block for libarchive, so a stored member's data block points into it. Two
 * readers, because the choice is made when an archive is opened: the first does not compute
 * checksums, so that listing a file of gigabytes reads its directory only; the second does.
 */
#include "io/zip.h"

#include <archive.h>
#include <archive_entry.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* First allocation for a member: what its header states is not trusted further. */
enum { FIRST_BYTES = 1 << 20 };

bool zip_detect(const uint8_t *bytes, size_t n)
{
    return n >= 4 && bytes[0] == 'P' && bytes[1] == 'K' && bytes[2] < 8 && bytes[3] < 9;
}

static bool zip_failed(const struct zip *zip, struct archive *archive, struct error *err)
{
    const char *why = archive ? archive_error_string(archive) : "no memory";
    return error_set(err, "%s: is a damaged zip file, or is cut short (%s); fetch it again",
                     zip->place, why ? why : "no reason given");
}

/* NULL on failure. */
static struct archive *open_archive(const struct zip *zip, bool checksums, struct error *err)
{
    struct archive *archive = archive_read_new();
    if (archive && archive_read_support_format_zip_seekable(archive) >= ARCHIVE_WARN &&
        (checksums || archive_read_set_options(archive, "zip:ignorecrc32") == ARCHIVE_OK) &&
        archive_read_open_memory(archive, zip->bytes, zip->n_bytes) == ARCHIVE_OK)
        return archive;
    zip_failed(zip, archive, err);
    archive_read_free(archive);
    return NULL;
}

/* The next regular file with its name: 1, 0 at the end, -1. */
static int next_file(const struct zip *zip, struct archive *archive, struct archive_entry **entry,
                     const char **name, struct error *err)
{
    for (;;) {
        int status = archive_read_next_header(archive, entry);
        if (status == ARCHIVE_EOF)
            return 0;
        /* A warning is about names that this locale cannot spell; as bytes they are all right. */
        *name = status >= ARCHIVE_WARN ? archive_entry_pathname(*entry) : NULL;
        if (!*name) {
            zip_failed(zip, archive, err);
            return -1;
        }
        if (archive_entry_filetype(*entry) == AE_IFREG)
            return 1;
    }
}

/* Where a stored member of n bytes lies; NULL when its data is not simply there. */
static const uint8_t *in_place(const struct zip *zip, struct archive *archive, uint64_t n)
{
    const void *block = NULL;
    size_t got = 0;
    la_int64_t at = 0;
    uintptr_t start = (uintptr_t)zip->bytes;
    if (n == 0)
        return zip->bytes;
    if (archive_read_data_block(archive, &block, &got, &at) != ARCHIVE_OK || at != 0 || got != n)
        return NULL;
    uintptr_t begin = (uintptr_t)block;
    bool inside =
        begin >= start && begin - start <= zip->n_bytes && n <= zip->n_bytes - (begin - start);
    return inside ? block : NULL;
}

static int compare_members(const void *a, const void *b)
{
    const struct zip_member *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static bool list_members(struct zip *zip, struct archive *archive, struct error *err)
{
    size_t capacity = 0;
    struct archive_entry *entry;
    const char *name;
    int more;
    while ((more = next_file(zip, archive, &entry, &name, err)) > 0) {
        if (!memory_grow(&zip->member, &capacity, zip->n + 1, sizeof *zip->member, err))
            return false;
        la_int64_t size = archive_entry_size(entry);
        if (!archive_entry_size_is_set(entry) || size < 0)
            return error_set(err, "%s: member %s has no size", zip->place, name);
        struct zip_member *member = &zip->member[zip->n];
        *member = (struct zip_member){.n = (uint64_t)size,
                                      .bytes = in_place(zip, archive, (uint64_t)size),
                                      .name = memory_copy(name, strlen(name), err)};
        if (!member->name)
            return false;
        zip->n++;
    }
    if (zip->n)
        qsort(zip->member, zip->n, sizeof *zip->member, compare_members);
    for (size_t i = 1; i < zip->n && more == 0; i++)
        if (compare_members(&zip->member[i - 1], &zip->member[i]) == 0)
            return error_set(err, "%s: has two members %s; it is not as torch.save writes it",
                             zip->place, zip->member[i].name);
    return more == 0;
}

bool zip_open(struct zip *zip, const char *place, const uint8_t *bytes, size_t n, struct error *err)
{
    *zip = (struct zip){.place = place, .bytes = bytes, .n_bytes = n};
    struct archive *archive = open_archive(zip, false, err);
    bool ok = archive && list_members(zip, archive, err);
    archive_read_free(archive);
    if (!ok)
        zip_free(zip);
    return ok;
}

struct zip_member *zip_find(const struct zip *zip, const char *name)
{
    const struct zip_member key = {.name = name};
    return zip->n ? bsearch(&key, zip->member, zip->n, sizeof key, compare_members) : NULL;
}

/* The member's data to its stated size. Room doubles with what has really come, so that a lying
 * header costs no more than twice that. */
static bool unpack_member(const struct zip *zip, struct archive *archive, struct zip_member *member,
                          struct error *err)
{
    uint64_t room = member->n < FIRST_BYTES ? member->n : FIRST_BYTES, used = 0;
    uint8_t *bytes = memory_aligned((size_t)room + 1, 1, err); /* one more shows data too long */
    while (bytes) {
        la_ssize_t got = archive_read_data(archive, bytes + used, (size_t)(room + 1 - used));
        if (got < 0 || (got == 0 && used < member->n)) {
            zip_failed(zip, archive, err);
            break;
        }
        used += (uint64_t)got;
        if (got == 0) {
            member->owned = bytes;
            member->bytes = bytes;
            return true;
        }
        if (used > member->n) {
            error_set(err, "%s: member %s unpacks to more than its %" PRIu64 " bytes", zip->place,
                      member->name, member->n);
            break;
        }
        if (used <= room)
            continue;
        room = member->n / 2 < room ? member->n : 2 * room;
        uint8_t *larger = memory_aligned((size_t)room + 1, 1, err);
        if (larger)
            memcpy(larger, bytes, (size_t)used);
        free(bytes);
        bytes = larger;
    }
    free(bytes);
    return false;
}

bool zip_unpack(struct zip *zip, struct error *err)
{
    struct archive *archive = open_archive(zip, true, err);
    struct archive_entry *entry;
    const char *name;
    int more = archive ? 1 : -1;
    while (more > 0 && (more = next_file(zip, archive, &entry, &name, err)) > 0) {
        struct zip_member *member = zip_find(zip, name);
        if (member && member->wanted && !member->owned && !unpack_member(zip, archive, member, err))
            more = -1;
    }
    archive_read_free(archive);
    return more == 0;
}

void zip_free(struct zip *zip)
{
    for (size_t i = 0; i < zip->n; i++) {
        free((char *)zip->member[i].name);
        free(zip->member[i].owned);
    }
    free(zip->member);
    *zip = (struct zip){0};
}
