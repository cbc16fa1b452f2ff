#include "core/threads.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/processors.h"
#include "core/progress.h"
#include "tests/tap.h"

enum { MANY = 20000, MEMBERS = 8 };

struct counts {
    size_t by_member[MEMBERS];
    size_t members_told;
    _Atomic size_t total;
};

static void count(void *context, size_t member, size_t n_members)
{
    struct counts *counts = context;
    counts->by_member[member]++;
    if (member == 0)
        counts->members_told = n_members;
    atomic_fetch_add(&counts->total, 1);
}

static void test_team(size_t n)
{
    struct error err = ERROR_INIT;
    struct threads *team = threads_open(n, &err);
    if (!tap_ok(team && threads_count(team) == n, "team of %zu", n))
        return;
    struct counts counts = {.total = 0};
    double begin = progress_clock();
    for (int i = 0; i < MANY; i++)
        threads_run(team, count, &counts);
    double seconds = progress_clock() - begin;
    bool each = counts.members_told == n && counts.total == n * MANY;
    for (size_t i = 0; i < n; i++)
        each = each && counts.by_member[i] == MANY;
    tap_ok(each, "%zu members: each ran each of %d short jobs once", n, MANY);
    printf("# %zu members: %.2f microseconds a job\n", n, seconds / MANY * 1e6);

    counts = (struct counts){.total = 0};
    for (int i = 0; i < 20; i++) { /* workers fall asleep in between */
        usleep(2000);
        threads_run(team, count, &counts);
    }
    tap_ok(counts.total == 20 * n, "%zu members: they wake up again", n);
    threads_close(team);
}

/* A later job sees what all members wrote in an earlier one. */
static void write_own(void *context, size_t member, size_t n_members)
{
    size_t *slot = context;
    slot[member] += n_members;
}
static void sum_all(void *context, size_t member, size_t n_members)
{
    size_t *slot = context, sum = 0;
    for (size_t i = 0; i < n_members; i++)
        sum += slot[i];
    slot[MEMBERS + member] = sum;
}

static void test_order(void)
{
    struct error err = ERROR_INIT;
    struct threads *team = threads_open(4, &err);
    size_t slot[2 * MEMBERS] = {0};
    bool right = team != NULL;
    for (size_t i = 1; right && i <= 2000; i++) {
        threads_run(team, write_own, slot);
        threads_run(team, sum_all, slot);
        for (size_t m = 0; m < 4; m++)
            right = right && slot[MEMBERS + m] == 16 * i;
    }
    tap_ok(right, "jobs see each other's results");
    threads_close(team);
}

static void test_share(void)
{
    static const size_t sizes[] = {0, 1, 7, 8, 9, 1000, SIZE_MAX};
    bool right = true;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t n = 1; n <= 9; n++) {
            size_t expected = 0, begin = 0, end = 0, least = SIZE_MAX, most = 0;
            for (size_t m = 0; m < n; m++) {
                threads_share(sizes[s], m, n, &begin, &end);
                right = right && begin == expected && end >= begin;
                least = end - begin < least ? end - begin : least;
                most = end - begin > most ? end - begin : most;
                expected = end;
            }
            right = right && end == sizes[s] && most - least <= 1;
        }
    tap_ok(right, "shares cover everything, differ by at most one");
}

static bool put(const char *root, const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", root, path);
    for (char *slash = full + strlen(root); (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(full, 0777);
        *slash = '/';
    }
    FILE *file = fopen(full, "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

static void test_quota(void)
{
    char root[] = "/tmp/test_threads.XXXXXX";
    if (!mkdtemp(root)) {
        tap_skip("cgroup quota", "no /tmp");
        return;
    }
    tap_ok(processors_quota(root) == 0, "no cgroup file: no quota");
    put(root, "proc/self/cgroup", "0::/user.slice/job\n");
    put(root, "sys/fs/cgroup/cgroup.controllers", "cpu\n");
    tap_ok(processors_quota(root) == 0, "v2 without cpu.max: no quota");
    put(root, "sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
    tap_ok(processors_quota(root) == 0, "v2 max: no quota");
    put(root, "sys/fs/cgroup/user.slice/job/cpu.max", "150000 100000\n");
    tap_ok(processors_quota(root) == 2, "v2: 1.5 processors round up to 2");
    put(root, "sys/fs/cgroup/user.slice/cpu.max", "50000 100000\n");
    tap_ok(processors_quota(root) == 1, "v2: a tighter ancestor counts");

    put(root, "proc/self/cgroup", "12:memory:/\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/\n");
    tap_ok(processors_quota(root) == 0, "v1 without files: no quota");
    put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us",
        "300000\n"); /* the container sees its own as the root */
    put(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    tap_ok(processors_quota(root) == 3, "v1 in a container: the root's quota");
    put(root, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
    put(root, "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    tap_ok(processors_quota(root) == 3, "v1: -1 is no limit");
    put(root, "proc/self/cgroup", "junk\n:\n4:cpu\n");
    tap_ok(processors_quota(root) == 0, "junk is passed over");

    char command[64];
    snprintf(command, sizeof command, "rm -r %s", root);
    if (system(command) != 0)
        printf("# could not remove %s\n", root);
}

static void test_affinity(void)
{
    size_t before = threads_available();
    cpu_set_t old, one;
    tap_ok(before >= 1, "%zu processors available", before);
    if (sched_getaffinity(0, sizeof old, &old) != 0) {
        tap_skip("affinity", "the mask is larger than cpu_set_t");
        return;
    }
    size_t first = 0;
    while (!CPU_ISSET(first, &old))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    sched_setaffinity(0, sizeof one, &one);
    tap_ok(processors_allowed() == 1 && threads_available() == 1, "the affinity mask is respected");
    test_team(2); /* more members than processors */
    sched_setaffinity(0, sizeof old, &old);
}

int main(void)
{
    test_team(1);
    test_team(2);
    test_team(8);
    test_order();
    test_share();
    test_quota();
    test_affinity();
    struct counts counts = {.total = 0};
    threads_run(NULL, count, &counts);
    tap_ok(counts.total == 1 && counts.members_told == 1, "no team: the caller alone");
    threads_close(NULL);
    return tap_done();
}
