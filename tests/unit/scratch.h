/* scratch.h: a directory of its own for a unit test, and files in it. Header only, like tap.h. */
#ifndef MILLET_TESTS_SCRATCH_H
#define MILLET_TESTS_SCRATCH_H

#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch_directory[256];

static inline int scratch_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void scratch_close(void)
{
    nftw(scratch_directory, scratch_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* Make the directory; the program's end removes it. */
static inline void scratch_open(void)
{
    const char *top = getenv("TMPDIR");
    snprintf(scratch_directory, sizeof scratch_directory, "%s/millet-test-XXXXXX",
             top && *top ? top : "/tmp");
    if (!mkdtemp(scratch_directory)) {
        perror(scratch_directory);
        exit(1);
    }
    atexit(scratch_close);
}

/* Path of a file in it; the text is good until 63 more calls. */
static inline const char *scratch_path(const char *name)
{
    static char text[64][512];
    static unsigned next;
    char *path = text[next++ % 64];
    snprintf(path, sizeof text[0], "%s/%s", scratch_directory, name);
    return path;
}

static inline const char *scratch_write(const char *name, const void *bytes, size_t n)
{
    const char *path = scratch_path(name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, n, file) != n || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
    return path;
}

/* The whole file; release with free(). NULL: there is none. */
static inline uint8_t *scratch_read(const char *path, size_t *n)
{
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (!file || fstat(fileno(file), &st) != 0)
        return NULL;
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    *n = bytes ? fread(bytes, 1, (size_t)st.st_size, file) : 0;
    fclose(file);
    return bytes;
}

/* Make descriptor 0 a pipe that holds n bytes (a child writes them) or, with as_file, a file. */
static inline void scratch_stdin(const void *bytes, size_t n, int as_file)
{
    if (as_file) {
        if (!freopen(scratch_write("stdin", bytes, n), "rb", stdin))
            exit(1);
        return;
    }
    int ends[2];
    if (pipe(ends) != 0)
        exit(1);
    if (fork() == 0) {
        close(ends[0]);
        size_t done = 0;
        while (done < n) {
            ssize_t put = write(ends[1], (const char *)bytes + done, n - done);
            if (put <= 0)
                break;
            done += (size_t)put;
        }
        _exit(0);
    }
    close(ends[1]);
    dup2(ends[0], 0);
    close(ends[0]);
}

#endif
