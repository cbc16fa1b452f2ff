/* output.c: an output is a descriptor with a small buffer, and for files a name that is given at
 * the very end.
 *
 *     kind       opened as                              at commit
 *     standard   descriptor 1                           flushed
 *     direct     device or FIFO, for writing            flushed, closed
 *     unnamed    O_TMPFILE in the target's directory    synced, linked (or linked aside and
 *                                                       renamed over the old file)
 *     hidden     .NAME.millet-… beside the target       synced, renamed; removed when abandoned
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/descriptor.h"
#include "core/memory.h"
#include "core/rng.h"
#include "io/output.h"

enum {
    BUFFER_BYTES =
        1 << 16,     /* one pipe buffer: tar headers and small members join their neighbours */
    NAME_TRIES = 100 /* hidden names are random: a second try is already rare */
};

enum output_kind { OUTPUT_STANDARD, OUTPUT_DIRECT, OUTPUT_UNNAMED, OUTPUT_HIDDEN };

struct output {
    enum output_kind kind;
    int fd;
    char *name;   /* for messages */
    char *path;   /* final name, symbolic links resolved; NULL: none */
    char *hidden; /* OUTPUT_HIDDEN: name to rename from */
    bool failed;  /* a write failed: commit must not name the file */
    uint64_t bytes;
    size_t n;
    uint8_t buffer[BUFFER_BYTES];
};

static void output_free(struct output *output)
{
    if (output->fd > STDERR_FILENO)
        close(output->fd);
    free(output->name);
    free(output->path);
    free(output->hidden);
    free(output);
}

/* "DIR/.NAME.millet-0123456789abcdef": random, so that two writers of one name do not meet. */
static char *hidden_name(const char *path, uint64_t attempt, struct error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 30 ^ (uint64_t)getpid() << 44;
    const char *slash = strrchr(path, '/');
    size_t directory = slash ? (size_t)(slash - path) + 1 : 0;
    /* A file name may have 255 bytes: a long one is cut to leave room for ours. */
    return memory_format(err, "%.*s.%.200s.millet-%016jx", (int)directory, path, path + directory,
                         (uintmax_t)rng_hash(seed, attempt));
}

static bool open_hidden(struct output *output, struct error *err)
{
    for (uint64_t attempt = 0; attempt < NAME_TRIES; attempt++) {
        free(output->hidden);
        output->hidden = hidden_name(output->path, attempt, err);
        if (!output->hidden)
            return false;
        output->fd = descriptor_above_standard(
            open(output->hidden, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
        if (output->fd >= 0) {
            output->kind = OUTPUT_HIDDEN;
            return true;
        }
        if (errno != EEXIST)
            break;
    }
    return error_set_errno(err, "%s: cannot write", output->name);
}

static bool open_file(struct output *output, struct error *err)
{
#ifdef O_TMPFILE
    const char *slash = strrchr(output->path, '/');
    char *directory = slash ? memory_copy(output->path, (size_t)(slash - output->path) + 1, err)
                            : memory_copy(".", 1, err);
    if (!directory)
        return false;
    /* Only /proc can give the file its name later. */
    if (access("/proc/self/fd", X_OK) == 0)
        output->fd =
            descriptor_above_standard(open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
    free(directory);
    if (output->fd >= 0) {
        output->kind = OUTPUT_UNNAMED;
        return true;
    }
#endif
    return open_hidden(output, err);
}

static bool open_path(struct output *output, const char *path, bool binary, struct error *err)
{
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode))
        return error_set(err, "%s: is a directory; a file name is expected", path);
    if (exists && !S_ISREG(st.st_mode)) {
        if (!S_ISCHR(st.st_mode) && !S_ISFIFO(st.st_mode))
            return error_set(err, "%s: is neither a file nor a pipe nor a character device", path);
        output->kind = OUTPUT_DIRECT;
        output->fd = descriptor_above_standard(open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY));
        if (output->fd < 0)
            return error_set_errno(err, "%s: cannot write", path);
        if (binary && isatty(output->fd))
            return error_set(err, "%s: is a terminal; binary data is not written there", path);
        return true;
    }
    /* Through a symbolic link the file it points to is replaced, not the link. */
    char *real = exists ? realpath(path, NULL) : NULL;
    output->path = memory_copy(real ? real : path, strlen(real ? real : path), err);
    free(real);
    return output->path && open_file(output, err);
}

static bool open_standard(struct output *output, bool binary, struct error *err)
{
    output->kind = OUTPUT_STANDARD;
    output->fd = STDOUT_FILENO;
    if (fcntl(STDOUT_FILENO, F_GETFD) < 0)
        return error_set(err, "<stdout>: is closed; redirect it or use -o FILE");
    if (binary && isatty(STDOUT_FILENO))
        return error_set(err,
                         "<stdout>: is a terminal; binary data is not written there: "
                         "redirect it, use -o FILE, or put a program after this one in the pipe");
    return true;
}

struct output *output_open(const char *path, bool binary, struct error *err)
{
    bool standard = !path || strcmp(path, "-") == 0;
    struct output *output = memory_zeroed(1, sizeof *output, err);
    if (!output)
        return NULL;
    output->fd = -1;
    const char *name = standard ? "<stdout>" : path;
    output->name = memory_copy(name, strlen(name), err);
    if (output->name &&
        (standard ? open_standard(output, binary, err) : open_path(output, path, binary, err)))
        return output;
    output_free(output);
    return NULL;
}

const char *output_name(const struct output *output)
{
    return output->name;
}

uint64_t output_bytes(const struct output *output)
{
    return output->bytes;
}

static bool put(struct output *output, const uint8_t *bytes, size_t n, struct error *err)
{
    while (n) {
        ssize_t done = write(output->fd, bytes, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            output->failed = true;
            return error_set_errno(err, "%s: cannot write", output->name);
        }
        bytes += done;
        n -= (size_t)done;
    }
    return true;
}

bool output_flush(struct output *output, struct error *err)
{
    size_t n = output->n;
    output->n = 0;
    return put(output, output->buffer, n, err);
}

bool output_write(struct output *output, const void *bytes, size_t n, struct error *err)
{
    output->bytes += n;
    if (n > BUFFER_BYTES - output->n && !output_flush(output, err))
        return false;
    if (n >= BUFFER_BYTES)
        return put(output, bytes, n, err);
    if (n)
        memcpy(output->buffer + output->n, bytes, n);
    output->n += n;
    return true;
}

/* Give the unnamed file its name: at once when the name is free, else beside it and over it. */
static bool link_unnamed(struct output *output, struct error *err)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", output->fd);
    if (linkat(AT_FDCWD, self, AT_FDCWD, output->path, AT_SYMLINK_FOLLOW) == 0)
        return true;
    for (uint64_t attempt = 0; errno == EEXIST && attempt < NAME_TRIES; attempt++) {
        free(output->hidden);
        output->hidden = hidden_name(output->path, attempt, err);
        if (!output->hidden)
            return false;
        if (linkat(AT_FDCWD, self, AT_FDCWD, output->hidden, AT_SYMLINK_FOLLOW) != 0)
            continue;
        if (rename(output->hidden, output->path) == 0)
            return true;
        error_set_errno(err, "%s: cannot put the finished file there", output->name);
        unlink(output->hidden);
        return false;
    }
    return error_set_errno(err, "%s: cannot put the finished file there", output->name);
}

static bool finish_file(struct output *output, struct error *err)
{
    if (fsync(output->fd) != 0)
        return error_set_errno(err, "%s: cannot write", output->name);
    if (output->kind == OUTPUT_UNNAMED)
        return link_unnamed(output, err);
    if (rename(output->hidden, output->path) != 0)
        return error_set_errno(err, "%s: cannot put the finished file there", output->name);
    output->kind = OUTPUT_UNNAMED; /* nothing hidden is left to remove */
    return true;
}

bool output_commit(struct output *output, struct error *err)
{
    bool ok = !output->failed && output_flush(output, err);
    if (output->failed)
        ok = error_set(err, "%s: an earlier write failed", output->name);
    if (ok && output->path)
        ok = finish_file(output, err);
    if (ok && output->fd > STDERR_FILENO) {
        int fd = output->fd;
        output->fd = -1;
        if (close(fd) != 0)
            ok = error_set_errno(err, "%s: cannot write", output->name);
    }
    output_abandon(output);
    return ok;
}

void output_abandon(struct output *output)
{
    if (!output)
        return;
    if (output->kind == OUTPUT_HIDDEN)
        unlink(output->hidden);
    output_free(output);
}
