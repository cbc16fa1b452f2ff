#include "core/processors.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

size_t processors_allowed(void)
{
    /* The kernel refuses (EINVAL) a mask smaller than its own; double until it fits. */
    for (size_t n = 1024; n <= 1 << 20; n *= 2) {
        cpu_set_t *set = CPU_ALLOC(n);
        size_t bytes = CPU_ALLOC_SIZE(n);
        if (!set)
            break;
        CPU_ZERO_S(bytes, set);
        int failed = sched_getaffinity(0, bytes, set), reason = errno;
        int count = failed ? 0 : CPU_COUNT_S(bytes, set);
        CPU_FREE(set);
        if (count > 0)
            return (size_t)count;
        if (reason != EINVAL)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}

static bool read_line(const char *path, char *line, int n)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool ok = fgets(line, n, file) != NULL;
    fclose(file);
    return ok;
}

static void tighten(size_t *quota, long long runtime, long long period)
{
    if (runtime <= 0 || period <= 0)
        return; /* -1: no limit */
    size_t processors = (size_t)((runtime + period - 1) / period);
    if (*quota == 0 || processors < *quota)
        *quota = processors;
}

/* cpu.max: "RUNTIME PERIOD" or "max PERIOD". */
static void read_v2(const char *directory, size_t *quota)
{
    char path[PATH_MAX + 64], line[128];
    long long runtime = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", directory);
    if (read_line(path, line, sizeof line) && sscanf(line, "%lld %lld", &runtime, &period) == 2)
        tighten(quota, runtime, period);
}

static void read_v1(const char *directory, size_t *quota)
{
    char path[PATH_MAX + 64], line[128];
    long long runtime = 0, period = 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", directory);
    if (!read_line(path, line, sizeof line) || sscanf(line, "%lld", &runtime) != 1)
        return;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", directory);
    if (read_line(path, line, sizeof line) && sscanf(line, "%lld", &period) == 1)
        tighten(quota, runtime, period);
}

/* Every directory from base/path up to base. In a container the path may be the host's and not
 * exist below base: the walk then ends at base, which is the container's own cgroup. */
static void walk_up(const char *base, const char *path, bool v2, size_t *quota)
{
    char directory[PATH_MAX];
    int n = snprintf(directory, sizeof directory, "%s%s", base, path);
    size_t base_bytes = strlen(base);
    if (n < 0 || (size_t)n >= sizeof directory)
        return;
    for (;;) {
        if (v2)
            read_v2(directory, quota);
        else
            read_v1(directory, quota);
        char *slash = strrchr(directory, '/');
        if (!slash || (size_t)(slash - directory) < base_bytes)
            return;
        *slash = '\0';
    }
}

/* Is "cpu" one of the comma-separated controllers? */
static bool has_cpu(const char *controllers)
{
    for (const char *c = controllers; *c;) {
        size_t n = strcspn(c, ",");
        if (n == 3 && strncmp(c, "cpu", 3) == 0)
            return true;
        c += n + (c[n] == ',');
    }
    return false;
}

size_t processors_quota(const char *root)
{
    char path[PATH_MAX], line[PATH_MAX];
    size_t quota = 0;
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) { /* "ID:CONTROLLERS:PATH" */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *controllers++ = '\0';
        *group++ = '\0';
        if (*controllers == '\0') {
            /* Version 2. (Beside version 1 it has no CPU controller.) */
            snprintf(path, sizeof path, "%s/sys/fs/cgroup", root);
            walk_up(path, group, true, &quota);
        } else if (has_cpu(controllers)) {
            snprintf(path, sizeof path, "%s/sys/fs/cgroup/%s", root, controllers);
            walk_up(path, group, false, &quota);
            snprintf(path, sizeof path, "%s/sys/fs/cgroup/cpu", root);
            walk_up(path, group, false, &quota);
        }
    }
    fclose(file);
    return quota;
}
