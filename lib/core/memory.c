#include "core/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#if defined(__GLIBC__) /* known when one of the above was read */
#include <malloc.h>
#endif

enum { ALIGNMENT = 64 };

bool memory_multiply(size_t a, size_t b, size_t *product)
{
    size_t result;
    if (__builtin_mul_overflow(a, b, &result))
        return false;
    *product = result;
    return true;
}

static bool checked_bytes(size_t n, size_t size, size_t *bytes, struct error *err)
{
    if (memory_multiply(n, size, bytes) && *bytes <= PTRDIFF_MAX)
        return true;
    error_set(
        err,
        "%zu elements of %zu bytes do not fit in memory; the input is damaged or far too large", n,
        size);
    return false;
}

static void *out_of_memory(size_t bytes, struct error *err)
{
    error_set(err,
              "out of memory: %.1f MB asked for, %.1f MB in use; use smaller batches or "
              "more memory",
              (double)bytes / 1e6, (double)memory_peak() / 1e6);
    return NULL;
}

void *memory_array(size_t n, size_t size, struct error *err)
{
    size_t bytes;
    if (!checked_bytes(n, size, &bytes, err))
        return NULL;
    void *memory = malloc(bytes ? bytes : 1);
    return memory ? memory : out_of_memory(bytes, err);
}

void *memory_zeroed(size_t n, size_t size, struct error *err)
{
    size_t bytes;
    if (!checked_bytes(n, size, &bytes, err))
        return NULL;
    void *memory = calloc(bytes ? bytes : 1, 1);
    return memory ? memory : out_of_memory(bytes, err);
}

void *memory_aligned(size_t n, size_t size, struct error *err)
{
    size_t bytes;
    if (!checked_bytes(n, size, &bytes, err))
        return NULL;
    /* aligned_alloc wants a multiple of the alignment. */
    size_t rounded = bytes ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT : ALIGNMENT;
    void *memory = aligned_alloc(ALIGNMENT, rounded);
    return memory ? memory : out_of_memory(bytes, err);
}

bool memory_grow(void *array, size_t *capacity, size_t need, size_t size, struct error *err)
{
    if (need <= *capacity)
        return true;
    size_t want = *capacity + *capacity / 2 + 8, bytes;
    if (want < need)
        want = need;
    if (!checked_bytes(want, size, &bytes, err))
        return false;
    /* `array` points at a pointer of some type; memcpy reads and writes it without breaking
     * aliasing. */
    void *old, *grown;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, bytes ? bytes : 1);
    if (!grown) {
        out_of_memory(bytes, err);
        return false;
    }
    memcpy(array, &grown, sizeof grown);
    *capacity = want;
    return true;
}

char *memory_copy(const void *bytes, size_t n, struct error *err)
{
    if (n == SIZE_MAX) {
        out_of_memory(n, err);
        return NULL;
    }
    char *copy = memory_array(n + 1, 1, err);
    if (!copy)
        return NULL;
    if (n > 0)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

char *memory_format(struct error *err, const char *format, ...)
{
    char *text = NULL;
    va_list list;
    va_start(list, format);
    int n = vasprintf(&text, format, list);
    va_end(list);
    if (n < 0) {
        out_of_memory(0, err);
        return NULL;
    }
    return text;
}

void memory_trim(void)
{
#if defined(__GLIBC__)
    (void)malloc_trim(0);
#endif
}

size_t memory_peak(void)
{
    /* getrusage's maximum survives exec (it starts at the parent's size), so the kernel's own mark
     * comes first. */
    FILE *status = fopen("/proc/self/status", "re");
    if (status) {
        char line[256];
        unsigned long long kib = 0;
        while (fgets(line, sizeof line, status))
            if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
                break;
        fclose(status);
        if (kib > 0)
            return (size_t)kib * 1024;
    }
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

/* The number after `key` in a file of the kernel's, times `unit`; SIZE_MAX: there is none. */
static size_t kernel_number(const char *path, const char *key, size_t unit)
{
    FILE *file = fopen(path, "re");
    size_t found = SIZE_MAX, length = strlen(key);
    char line[256];
    while (file && found == SIZE_MAX && fgets(line, sizeof line, file)) {
        char *end;
        if (strncmp(line, key, length) != 0)
            continue;
        unsigned long long value = strtoull(line + length, &end, 10);
        if (end != line + length && value < SIZE_MAX / unit)
            found = (size_t)value * unit;
    }
    if (file)
        fclose(file);
    return found;
}

size_t memory_available(void)
{
    size_t free = kernel_number("/proc/meminfo", "MemAvailable:", 1024);
    size_t swap = kernel_number("/proc/meminfo", "SwapFree:", 1024);
    if (free != SIZE_MAX && swap < SIZE_MAX - free)
        free += swap;
    size_t most = kernel_number("/sys/fs/cgroup/memory.max", "", 1);
    size_t used = kernel_number("/sys/fs/cgroup/memory.stat", "anon ", 1);
    if (most != SIZE_MAX && used != SIZE_MAX) {
        size_t left = most > used ? most - used : 0;
        free = left < free ? left : free;
    }
    return free;
}
