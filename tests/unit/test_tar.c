#include <sys/wait.h>

#include "io/tar.h"
#include "scratch.h"
#include "tests/tap.h"

enum { N_MEMBERS = 3 };
static const char *const names[N_MEMBERS] = {"stream.json", "part-00000000.safetensors",
                                             "end.json"};
static uint8_t content[N_MEMBERS][70000];
static const size_t sizes[N_MEMBERS] = {0, 70000, 513};

static const char *write_archive(const char *name)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path(name);
    struct output *output = output_open(path, true, &err);
    struct tar_writer *writer = tar_writer_open(output, &err);
    bool ok = tar_write(writer, names[0], content[0], sizes[0], &err) &&
              tar_begin(writer, names[1], sizes[1], &err) &&
              tar_put(writer, content[1], 1000, &err) &&
              tar_put(writer, content[1] + 1000, sizes[1] - 1000, &err) &&
              tar_write(writer, names[2], content[2], sizes[2], &err);
    ok = tar_writer_finish(writer, &err) && ok;
    ok = output_commit(output, &err) && ok;
    if (!ok)
        printf("# %s\n", err.text);
    return ok ? path : NULL;
}

/* Members read and found right, up to the end or the error in err. -1: a member is wrong. */
static int read_archive(struct source *source, uint64_t max, int *mapped, struct error *err)
{
    struct tar_reader *reader = tar_reader_open(source, max, err);
    struct tar_member member;
    int n = 0, more = 0;
    *mapped = 0;
    while (reader && (more = tar_next(reader, &member, err)) > 0) {
        int i = n % N_MEMBERS;
        if (strcmp(member.name, names[i]) || member.n != sizes[i] ||
            memcmp(member.bytes, content[i], sizes[i]))
            n = -1000;
        void *own = tar_take(reader);
        if (!member.mapped && (uintptr_t)member.bytes % 64)
            n = -1000;
        if ((own == NULL) != member.mapped || (own && own != member.bytes))
            n = -1000;
        free(own);
        *mapped += member.mapped && member.n;
        n++;
    }
    if (reader && more < 0 && !err->set)
        n = -1000;
    tar_reader_close(reader);
    return n;
}

static int read_path(const char *path, int *mapped, struct error *err)
{
    struct source *source = source_open(path, false, err);
    int n = source ? read_archive(source, 0, mapped, err) : -1;
    source_close(source);
    return n;
}

static int read_pipe(const void *bytes, size_t n_bytes, uint64_t max, struct error *err)
{
    int mapped = 0;
    scratch_stdin(bytes, n_bytes, 0);
    struct source *source = source_open("-", false, err);
    int n = read_archive(source, max, &mapped, err);
    source_close(source);
    freopen("/dev/null", "r", stdin);
    while (wait(NULL) > 0)
        ;
    return mapped ? -1 : n;
}

static void test_compressed(const char *path, const char *command)
{
    struct error err = ERROR_INIT;
    char line[2048];
    int mapped = 0;
    snprintf(line, sizeof line, "command -v %s >/dev/null && %s -c < %s > %s && cat %s %s > %s",
             command, command, path, scratch_path("c1"), scratch_path("c1"), scratch_path("c1"),
             scratch_path("c2"));
    if (system(line) != 0) {
        tap_skip(command, "not installed");
        return;
    }
    tap_ok(read_path(scratch_path("c1"), &mapped, &err) == N_MEMBERS && !mapped && !err.set,
           "%s %s", command, err.text);
    tap_ok(read_path(scratch_path("c2"), &mapped, &err) == 2 * N_MEMBERS && !err.set,
           "two of %s, one after another %s", command, err.text);
    size_t n;
    uint8_t *bytes = scratch_read(scratch_path("c1"), &n);
    int read = read_path(scratch_write("c3", bytes, n / 2), &mapped, &err);
    tap_ok(read >= 0 && read < N_MEMBERS && strstr(err.text, "cut short"), "half of %s: %s",
           command, err.text);
    free(bytes);
}

/* Every cut of the archive, at and around each block boundary, is told from the whole. */
static void test_cuts(const uint8_t *bytes, size_t n)
{
    int bad = 0, pipe_bad = 0, tried = 0;
    for (size_t cut = 0; cut < n; cut += cut % 512 == 511 || cut % 512 == 0 ? 1 : 510) {
        int mapped = 0;
        struct error err = ERROR_INIT;
        struct source *source = source_open_memory("m", bytes, cut, &err);
        int read = read_archive(source, 0, &mapped, &err);
        source_close(source);
        const char *expected = cut == 0 ? "is empty" : "cut short";
        if (read < 0 || !err.set || !strstr(err.text, expected)) {
            printf("# cut to %zu of %zu: %d members, \"%s\"\n", cut, n, read, err.text);
            bad++;
        }
        if (tried++ % 40 == 0) {
            error_clear(&err);
            read = read_pipe(bytes, cut, 0, &err);
            pipe_bad += read < 0 || !strstr(err.text, expected);
        }
    }
    tap_ok(!bad, "%d cuts of a mapped archive are noticed", tried);
    tap_ok(!pipe_bad, "and of one from a pipe");
}

/* A member whose header promises 2^33 bytes: refused, or cut short, without that memory. */
static void test_hostile_size(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    uint8_t *copy = malloc(n);
    memcpy(copy, bytes, n);
    uint8_t *header = copy + 512; /* the second member's */
    memcpy(header + 124, "77777777777", 12);
    memset(header + 148, ' ', 8);
    unsigned sum = 0;
    for (int i = 0; i < 512; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
    int mapped = 0;
    struct source *source = source_open_memory("m", copy, n, &err);
    tap_ok(read_archive(source, 0, &mapped, &err) == 1 && strstr(err.text, "cut short"),
           "mapped: %s", err.text);
    source_close(source);
    error_clear(&err);
    tap_ok(read_pipe(copy, n, 0, &err) == 1 && strstr(err.text, "cut short"), "pipe: %s", err.text);
    error_clear(&err);
    tap_ok(read_pipe(copy, n, 1 << 20, &err) == 1 && strstr(err.text, "at most 1048576"),
           "limit: %s", err.text);
    free(copy);
}

static void test_writer(void)
{
    struct error err = ERROR_INIT;
    struct output *output = output_open(scratch_path("bad"), true, &err);
    struct tar_writer *writer = tar_writer_open(output, &err);
    tap_ok(tar_begin(writer, "a", 4, &err) && tar_put(writer, "abc", 3, &err) &&
               !tar_writer_finish(writer, &err) && strstr(err.text, "announced"),
           "a short member: %s", err.text);
    output_abandon(output);
    error_clear(&err);
    output = output_open("/dev/full", true, &err);
    writer = tar_writer_open(output, &err);
    bool ok = tar_write(writer, "a", content[1], sizes[1], &err);
    ok = tar_writer_finish(writer, &err) && ok;
    tap_ok(!ok && strstr(err.text, "No space"), "a full disk: %s", err.text);
    output_abandon(output);
}

/* Owner names beyond ASCII, which libarchive cannot convert in the C locale, do no harm. */
static void test_names(void)
{
    struct error err = ERROR_INIT;
    char line[2048];
    int mapped = 0;
    snprintf(line, sizeof line,
             "cd %s && tar xf a.tar && "
             "tar --format=pax --owner=m\303\274ller:1000 -cf names.tar %s %s %s 2>&1",
             scratch_directory, names[0], names[1], names[2]);
    if (system(line) != 0)
        tap_skip("owner names beyond ASCII", "no tar that writes them");
    else
        tap_ok(read_path(scratch_path("names.tar"), &mapped, &err) == N_MEMBERS && !err.set,
               "owner names beyond ASCII %s", err.text);
}

int main(void)
{
    struct error err = ERROR_INIT;
    int mapped = 0;
    scratch_open();
    for (size_t i = 0; i < sizeof content[1]; i++)
        content[1][i] = content[2][i] = (uint8_t)(i * 2654435761u >> 13);
    const char *path = write_archive("a.tar"), *again = write_archive("b.tar");
    size_t n = 0, n_again = 0;
    uint8_t *bytes = scratch_read(path, &n), *bytes_again = scratch_read(again, &n_again);
    tap_ok(n == n_again && memcmp(bytes, bytes_again, n) == 0, "the same content, the same bytes");
    free(bytes_again);
    tap_ok(read_path(path, &mapped, &err) == 3 && mapped == 2 && !err.set, "read from the map %s",
           err.text);
    tap_ok(read_pipe(bytes, n, 0, &err) == 3 && !err.set, "read from a pipe %s", err.text);

    char line[2048];
    snprintf(line, sizeof line, "cat %s %s > %s && tar tf %s >/dev/null", path, again,
             scratch_path("ab.tar"), path);
    tap_ok(system(line) == 0, "tar(1) reads it");
    tap_ok(read_path(scratch_path("ab.tar"), &mapped, &err) == 6 && mapped == 4 && !err.set,
           "two archives in one file %s", err.text);
    test_compressed(path, "gzip");
    test_compressed(path, "zstd");
    test_compressed(path, "xz");
    test_cuts(bytes, n);
    test_hostile_size(bytes, n);

    bytes[512 + 20] ^= 1;
    struct source *source = source_open_memory("m", bytes, n, &err);
    tap_ok(read_archive(source, 0, &mapped, &err) == 1 && strstr(err.text, "damaged"),
           "a flipped byte in a header: %s", err.text);
    source_close(source);
    error_clear(&err);
    memset(bytes, 'x', 2048);
    source = source_open_memory("m", bytes, n, &err);
    tap_ok(read_archive(source, 0, &mapped, &err) == 0 && strstr(err.text, "not a tar"),
           "no tar: %s", err.text);
    source_close(source);
    free(bytes);
    test_names();
    test_writer();
    return tap_done();
}
