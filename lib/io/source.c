/* source.c: a source is a mapping, or a descriptor read once and forwards.
 *
 * A regular file is mapped and its descriptor closed; what cannot be mapped (pipe, device, a
 * standard input that is not at its beginning) keeps its descriptor. All descriptors lie above 2,
 * so that a file opened while standard input is closed cannot pose as it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/descriptor.h"
#include "core/memory.h"
#include "io/source.h"

enum { COPY_BYTES = 1 << 18 }; /* four times a pipe's buffer */

struct source {
    char *name;
    int fd;             /* -1: mapped or in memory; the source's own, or 0 */
    const uint8_t *map; /* NULL: not mapped */
    size_t n, position; /* of map */
    void *mapping;      /* what munmap() gets; NULL: borrowed or empty */
};

/* An empty mapping still needs an address that is not NULL. */
static const uint8_t nothing[1];

static struct source *source_new(const char *name, struct error *err)
{
    struct source *source = memory_zeroed(1, sizeof *source, err);
    if (!source)
        return NULL;
    source->fd = -1;
    source->name = memory_copy(name, strlen(name), err);
    if (!source->name) {
        free(source);
        return NULL;
    }
    return source;
}

static bool map_descriptor(struct source *source, int fd, off_t size, struct error *err)
{
    source->n = (size_t)size;
    source->position = 0;
    source->map = nothing;
    if (size == 0)
        return true;
    if ((uintmax_t)size > SIZE_MAX)
        return error_set(err, "%s: %jd bytes are more than this machine can map", source->name,
                         (intmax_t)size);
    void *mapping = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapping == MAP_FAILED) {
        source->map = NULL;
        return error_set_errno(err, "%s: cannot map %jd bytes", source->name, (intmax_t)size);
    }
    source->mapping = mapping;
    source->map = mapping;
    return true;
}

static bool adopt(struct source *source, int fd, bool allow_terminal, struct error *err)
{
    struct stat st;
    source->fd = fd;
    if (fstat(fd, &st) != 0)
        return error_set_errno(err, "%s: cannot read", source->name);
    if (S_ISDIR(st.st_mode))
        return error_set(err, "%s: is a directory; a file or a pipe is expected", source->name);
    if (!allow_terminal && isatty(fd))
        return error_set(
            err, "%s: is a terminal; give a FILE or put a program before this one in the pipe",
            source->name);
    if (!S_ISREG(st.st_mode))
        return true;
    if (fd == STDIN_FILENO && lseek(fd, 0, SEEK_CUR) != 0)
        return true; /* somebody has read the beginning: only the rest is ours */
    /* Files of /proc say 0 bytes but have some: only reading tells. */
    if (st.st_size == 0)
        return true;
    if (!map_descriptor(source, fd, st.st_size, err))
        return false;
    if (fd != STDIN_FILENO)
        close(fd);
    source->fd = -1;
    return true;
}

struct source *source_open(const char *path, bool allow_terminal, struct error *err)
{
    bool standard = strcmp(path, "-") == 0;
    struct source *source = source_new(standard ? "<stdin>" : path, err);
    if (!source)
        return NULL;
    int fd = standard ? STDIN_FILENO : descriptor_above_standard(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        error_set_errno(err, "%s: cannot open", path);
    else if (adopt(source, fd, allow_terminal, err))
        return source;
    source_close(source);
    return NULL;
}

struct source *source_open_memory(const char *name, const void *bytes, size_t n, struct error *err)
{
    struct source *source = source_new(name, err);
    if (!source)
        return NULL;
    source->map = n ? bytes : nothing;
    source->n = n;
    return source;
}

void source_close(struct source *source)
{
    if (!source)
        return;
    if (source->fd > STDERR_FILENO)
        close(source->fd);
    if (source->mapping)
        munmap(source->mapping, source->n);
    free(source->name);
    free(source);
}

const char *source_name(const struct source *source)
{
    return source->name;
}

const void *source_map(const struct source *source, size_t *n)
{
    *n = source->map ? source->n : 0;
    return source->map;
}

/* Both are advice: where it is not taken, only memory or time is lost. */

void source_release(const struct source *source)
{
    if (source->mapping)
        (void)madvise(source->mapping, source->n, MADV_DONTNEED);
}

void source_scattered(const struct source *source, const void *bytes, size_t n, bool yes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start = (uintptr_t)source->mapping;
    uintptr_t at = (uintptr_t)bytes, end = at + n;
    if (!source->mapping || at < start || at - start > source->n || n > source->n - (at - start))
        return;
    at = (at + page - 1) / page * page; /* whole pages: the others hold something else, too */
    end = end / page * page;
    if (at < end)
        (void)madvise((void *)at, end - at, yes ? MADV_RANDOM : MADV_NORMAL);
}

ssize_t source_read(struct source *source, void *buffer, size_t n, struct error *err)
{
    if (source->map) {
        size_t left = source->n - source->position;
        size_t take = n < left ? n : left;
        if (take)
            memcpy(buffer, source->map + source->position, take);
        source->position += take;
        return (ssize_t)take;
    }
    ssize_t got;
    do
        got = read(source->fd, buffer, n);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        error_set_errno(err, "%s: cannot read", source->name);
    return got;
}

static int open_unnamed(const char *directory, struct error *err)
{
    int fd = -1;
#ifdef O_TMPFILE
    fd = descriptor_above_standard(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd >= 0)
        return fd;
#endif
    char *path = memory_format(err, "%s/millet-XXXXXX", directory);
    if (!path)
        return -1;
    fd = descriptor_above_standard(mkstemp(path));
    if (fd < 0)
        error_set_errno(err,
                        "cannot make a temporary file in %s; set TMPDIR to a directory with room",
                        directory);
    else
        unlink(path);
    free(path);
    return fd;
}

static bool write_all(int fd, const uint8_t *bytes, size_t n)
{
    while (n) {
        ssize_t put = write(fd, bytes, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        bytes += put;
        n -= (size_t)put;
    }
    return true;
}

static bool copy_to(struct source *source, int fd, const char *directory, off_t *total,
                    struct error *err)
{
    uint8_t *buffer = memory_array(COPY_BYTES, 1, err);
    if (!buffer)
        return false;
    ssize_t got;
    bool ok = true;
    *total = 0;
    while (ok && (got = source_read(source, buffer, COPY_BYTES, err)) != 0) {
        ok = got > 0;
        if (ok && !write_all(fd, buffer, (size_t)got))
            ok = error_set_errno(
                err, "%s: cannot spool to %s (set TMPDIR to a directory with more room)",
                source->name, directory);
        *total += got;
    }
    free(buffer);
    return ok;
}

bool source_spool(struct source *source, struct error *err)
{
    if (source->map)
        return true;
    const char *directory = getenv("TMPDIR");
    if (!directory || !*directory)
        directory = "/tmp";
    int fd = open_unnamed(directory, err);
    if (fd < 0)
        return false;
    off_t total;
    bool ok = copy_to(source, fd, directory, &total, err) && map_descriptor(source, fd, total, err);
    close(fd);
    if (ok && source->fd > STDERR_FILENO)
        close(source->fd);
    if (ok)
        source->fd = -1;
    return ok;
}
