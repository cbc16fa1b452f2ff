#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "io/output.h"
#include "scratch.h"
#include "tests/tap.h"

/* Entries of the scratch directory, without . and .. */
static int count_files(void)
{
    DIR *directory = opendir(scratch_directory);
    int n = 0;
    while (directory && readdir(directory))
        n++;
    closedir(directory);
    return n - 2;
}

static bool holds(const char *path, const char *expected)
{
    size_t n = 0;
    uint8_t *bytes = scratch_read(path, &n);
    bool same = bytes && n == strlen(expected) && memcmp(bytes, expected, n) == 0;
    free(bytes);
    return same;
}

static void test_file(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path("out");
    struct output *output = output_open(path, true, &err);
    tap_ok(output && output_write(output, "one", 3, &err), "opened and written");
    tap_ok(access(path, F_OK) != 0, "the name does not exist before the end");
    tap_ok(output_commit(output, &err) && holds(path, "one"), "committed: it does");

    output = output_open(path, true, &err);
    tap_ok(output_write(output, "two", 3, &err) && holds(path, "one"),
           "an old file stays until then");
    output_abandon(output);
    tap_ok(holds(path, "one") && count_files() == 1, "abandoned: the old file, nothing else");

    output = output_open(path, true, &err);
    tap_ok(output_write(output, "three", 5, &err) && output_commit(output, &err) &&
               holds(path, "three") && count_files() == 1,
           "an old file is replaced, nothing else is left");
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    tap_ok(stat(path, &st) == 0 && (st.st_mode & 0777) == (0666 & ~mask),
           "permissions follow umask");

    const char *link = scratch_path("link");
    tap_ok(symlink("out", link) == 0, "a symbolic link");
    output = output_open(link, true, &err);
    tap_ok(output_write(output, "four", 4, &err) && output_commit(output, &err) &&
               holds(path, "four") && lstat(link, &st) == 0 && S_ISLNK(st.st_mode),
           "is written through");
}

static void test_large(void)
{
    struct error err = ERROR_INIT;
    static char block[200000];
    memset(block, 'x', sizeof block);
    const char *path = scratch_path("large");
    struct output *output = output_open(path, true, &err);
    bool ok = true;
    for (size_t n = 1; n < sizeof block; n = n * 3 + 1)
        ok = ok && output_write(output, block, n, &err);
    uint64_t bytes = output_bytes(output);
    struct stat st;
    tap_ok(ok && output_commit(output, &err) && stat(path, &st) == 0 &&
               (uint64_t)st.st_size == bytes,
           "pieces around the buffer's size: %ju bytes", (uintmax_t)bytes);
}

static void test_killed(void)
{
    struct error err = ERROR_INIT;
    int before = count_files();
    pid_t child = fork();
    if (child == 0) {
        struct output *output = output_open(scratch_path("killed"), true, &err);
        if (output && output_write(output, "x", 1, &err) && output_flush(output, &err))
            raise(SIGKILL);
        _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    tap_ok(WIFSIGNALED(status) && access(scratch_path("killed"), F_OK) != 0 &&
               count_files() <= before + 1,
           "killed: nothing under the name");
}

static void expect_failure(const char *path, const char *expected)
{
    struct error err = ERROR_INIT;
    struct output *output = output_open(path, true, &err);
    tap_ok(!output && strstr(err.text, expected), "%s: %s", path, err.text);
    output_abandon(output);
}

int main(void)
{
    struct error err = ERROR_INIT;
    scratch_open();
    test_file();
    test_large();
    test_killed();
    expect_failure(scratch_directory, "is a directory");
    expect_failure(scratch_path("absent/file"), "No such file");

    struct output *output = output_open("/dev/full", true, &err);
    tap_ok(output && output_write(output, "x", 1, &err), "/dev/full opens");
    tap_ok(!output_commit(output, &err) && strstr(err.text, "No space"), "and tells at commit: %s",
           err.text);
    error_clear(&err);
    output = output_open("/dev/null", true, &err);
    tap_ok(output && output_write(output, "x", 1, &err) && output_commit(output, &err),
           "/dev/null");

    int saved = dup(STDOUT_FILENO);
    close(STDOUT_FILENO);
    output = output_open(NULL, true, &err);
    output_abandon(output);
    dup2(saved, STDOUT_FILENO);
    tap_ok(!output && strstr(err.text, "closed"), "closed standard output: %s", err.text);
    return tap_done();
}
