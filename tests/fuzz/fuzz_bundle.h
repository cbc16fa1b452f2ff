/* fuzz_bundle.h: a model in a tar in memory, opened as a bundle: the parsers of a model's files take
 * nothing else. */
#ifndef MILLET_FUZZ_BUNDLE_H
#define MILLET_FUZZ_BUNDLE_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/bundle.h"

struct fuzz_file {
    const char *name;
    const void *bytes;
    size_t n;
};

enum { FUZZ_TAR_BLOCK = 512 };

static inline void fuzz_tar_header(char *header, const char *name, size_t n)
{
    unsigned sum = 0;
    memset(header, 0, FUZZ_TAR_BLOCK);
    snprintf(header, 100, "%s", name);
    memcpy(header + 100, "0000644\0000000000\0000000000\000", 24);
    snprintf(header + 124, 12, "%011zo", n);
    memcpy(header + 136, "00000000000\000        0", 21);
    memcpy(header + 257, "ustar\00000", 8);
    for (size_t i = 0; i < FUZZ_TAR_BLOCK; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
}

/* NULL with err. The bundle maps the memory, so the descriptor is closed at once. */
static inline struct bundle *fuzz_bundle_open(const struct fuzz_file *file, size_t n_files,
                                              struct error *err)
{
    static const char zero[2 * FUZZ_TAR_BLOCK];
    char header[FUZZ_TAR_BLOCK], path[64];
    int fd = memfd_create("fuzz", 0);
    bool ok = fd >= 0;
    for (size_t i = 0; ok && i < n_files; i++) {
        size_t pad = (FUZZ_TAR_BLOCK - file[i].n % FUZZ_TAR_BLOCK) % FUZZ_TAR_BLOCK;
        fuzz_tar_header(header, file[i].name, file[i].n);
        ok = write(fd, header, sizeof header) == (ssize_t)sizeof header &&
             write(fd, file[i].bytes, file[i].n) == (ssize_t)file[i].n &&
             write(fd, zero, pad) == (ssize_t)pad;
    }
    ok = ok && write(fd, zero, sizeof zero) == (ssize_t)sizeof zero;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct bundle *bundle = NULL;
    if (ok)
        bundle = bundle_open(path, err);
    else
        (void)error_set(err, "no memory for a bundle");
    if (fd >= 0)
        close(fd);
    return bundle;
}

#endif
