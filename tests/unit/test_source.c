#include <fcntl.h>
#include <sys/wait.h>

#include "io/source.h"
#include "scratch.h"
#include "tests/tap.h"

static void test_file(void)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_write("file", "hello", 5);
    struct source *source = source_open(path, false, &err);
    size_t n = 0;
    const void *map = source ? source_map(source, &n) : NULL;
    tap_ok(map && n == 5 && memcmp(map, "hello", 5) == 0, "a file is mapped");
    char text[8];
    tap_ok(source_read(source, text, 3, &err) == 3 && source_read(source, text, 8, &err) == 2 &&
               source_read(source, text, 8, &err) == 0,
           "a mapped file can be read too");
    source_close(source);
}

static void test_stdin(int as_file)
{
    struct error err = ERROR_INIT;
    scratch_stdin("hello", 5, as_file);
    struct source *source = source_open("-", false, &err);
    tap_ok(source && strcmp(source_name(source), "<stdin>") == 0, "standard input has a name");
    size_t n = 0;
    tap_ok((source_map(source, &n) != NULL) == as_file, "mapped when a file, not when a pipe");
    tap_ok(source_spool(source, &err) && source_map(source, &n) && n == 5 &&
               memcmp(source_map(source, &n), "hello", 5) == 0,
           "spooled, it is mapped");
    source_close(source);
    while (wait(NULL) > 0)
        ;
}

static void expect_failure(const char *path, const char *expected)
{
    struct error err = ERROR_INIT;
    struct source *source = source_open(path, false, &err);
    tap_ok(!source && strstr(err.text, expected), "%s: %s", path, err.text);
    source_close(source);
}

int main(void)
{
    struct error err = ERROR_INIT;
    size_t n = 7;
    scratch_open();
    test_file();
    test_stdin(1);
    test_stdin(0);
    expect_failure(scratch_directory, "is a directory");
    expect_failure(scratch_path("absent"), "No such file");

    struct source *source = source_open(scratch_write("empty", "", 0), false, &err);
    char byte;
    tap_ok(source && source_read(source, &byte, 1, &err) == 0, "an empty file reads as its end");
    tap_ok(source_spool(source, &err) && source_map(source, &n) && n == 0, "and spools to nothing");
    source_close(source);

    setenv("TMPDIR", scratch_path("absent"), 1);
    scratch_stdin("hello", 5, 0);
    source = source_open("-", false, &err);
    tap_ok(!source_spool(source, &err) && strstr(err.text, "TMPDIR"), "no TMPDIR: %s", err.text);
    source_close(source);
    unsetenv("TMPDIR");

    error_clear(&err);
    close(0);
    source = source_open("-", false, &err);
    tap_ok(!source && strstr(err.text, "Bad file"), "closed standard input: %s", err.text);
    source = source_open(scratch_path("file"), false, &err);
    tap_ok(source && fcntl(0, F_GETFD) < 0, "a file opened then does not become standard input");
    source_close(source);
    while (wait(NULL) > 0)
        ;
    return tap_done();
}
