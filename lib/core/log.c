#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

struct log {
    int fd;
    char *path;
};

static struct log *open_log(const char *path, int how, struct error *err)
{
    struct log *log = memory_zeroed(1, sizeof *log, err);
    if (!log)
        return NULL;
    log->path = memory_copy(path, strlen(path), err);
    /* O_APPEND: several processes may share the file, each line lands whole. */
    log->fd = log->path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | how, 0666) : -1;
    if (log->fd < 0) {
        error_set_errno(err, "%s: cannot write the log", path);
        free(log->path);
        free(log);
        return NULL;
    }
    return log;
}

struct log *log_open(const char *path, struct error *err)
{
    return open_log(path, O_TRUNC, err);
}

struct log *log_continue(const char *path, struct error *err)
{
    return open_log(path, 0, err);
}

uint64_t log_bytes(const struct log *log)
{
    struct stat st;
    return fstat(log->fd, &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

bool log_rewind(struct log *log, uint64_t bytes, struct error *err)
{
    if (log_bytes(log) <= bytes || ftruncate(log->fd, (off_t)bytes) == 0)
        return true;
    return error_set_errno(err, "%s: cannot cut the log", log->path);
}

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(fd, bytes, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        bytes += wrote;
        n -= (size_t)wrote;
    }
    return true;
}

bool log_write(struct log *log, json_t *object, struct error *err)
{
    if (!log) {
        json_decref(object);
        return true;
    }
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(object);
    if (!line)
        return error_set(err, "%s: out of memory while logging", log->path);
    size_t n = strlen(line);
    line[n] = '\n'; /* in place of the NUL, so that one write carries the whole line */
    bool ok = write_all(log->fd, line, n + 1);
    if (!ok)
        error_set_errno(err, "%s: cannot write the log", log->path);
    free(line);
    return ok;
}

bool log_close(struct log *log, struct error *err)
{
    if (!log)
        return true;
    bool ok = close(log->fd) == 0;
    if (!ok)
        error_set_errno(err, "%s: cannot write the log", log->path);
    free(log->path);
    free(log);
    return ok;
}
