#include <sys/wait.h>

#include "core/jobject.h"
#include "io/bundle.h"
#include "io/failure.h"
#include "scratch.h"
#include "tests/tap.h"

static bool pack(const char *name, const char *const *member, size_t n, const char *text)
{
    struct error err = ERROR_INIT;
    struct output *output = output_open(scratch_path(name), true, &err);
    struct tar_writer *writer = tar_writer_open(output, &err);
    bool ok = true;
    for (size_t i = 0; i < n; i++)
        ok = ok && tar_write(writer, member[i], text, strlen(text), &err);
    ok = tar_writer_finish(writer, &err) && ok;
    return output_commit(output, &err) && ok;
}

static void test_levels(void)
{
    static const char *const top[] = {"config.json", "./vocab.txt", "1_Pooling/config.json"};
    static const char *const inner[] = {"m/config.json", "m/vocab.txt", "m/x/config.json",
                                        "m/._vocab.txt"};
    static const char *const several[] = {"m/config.json", "n/vocab.txt"};
    static const char *const twice[] = {"config.json", "config.json"};
    static const char *const records[] = {"stream.json"};
    struct error err = ERROR_INIT;
    tap_ok(pack("top.tar", top, 3, "{}") && pack("inner.tar", inner, 4, "{}") &&
               pack("several.tar", several, 2, "{}") && pack("twice.tar", twice, 2, "{}") &&
               pack("records.tok", records, 1, "{}"),
           "archives");
    struct bundle *bundle = bundle_open(scratch_path("top.tar"), &err);
    tap_ok(bundle && bundle_count(bundle) == 2 && bundle_find(bundle, "config.json") &&
               strcmp(bundle_member(bundle, 1)->name, "vocab.txt") == 0,
           "files at the top %s", err.text);
    tap_ok(!bundle_require(bundle, "x.json", &err) && strstr(err.text, "config.json, vocab.txt"),
           "a missing one: %s", err.text);
    bundle_close(bundle);
    error_clear(&err);
    bundle = bundle_open(scratch_path("inner.tar"), &err);
    tap_ok(bundle && bundle_count(bundle) == 2 && bundle_require(bundle, "vocab.txt", &err),
           "files in one directory %s", err.text);
    bundle_close(bundle);
    tap_ok(!bundle_open(scratch_path("several.tar"), &err) && strstr(err.text, "several"), "%s",
           err.text);
    error_clear(&err);
    tap_ok(!bundle_open(scratch_path("twice.tar"), &err) && strstr(err.text, "twice"), "%s",
           err.text);
    error_clear(&err);
    tap_ok(!bundle_open(scratch_path("records.tok"), &err) &&
               strstr(err.text, "is a record stream"),
           "%s", err.text);
    error_clear(&err);
    tap_ok(!bundle_open(scratch_path("absent"), &err) && strstr(err.text, "No such file"), "%s",
           err.text);
    error_clear(&err);
    scratch_stdin("", 0, 0);
    tap_ok(!bundle_open("-", &err) && strstr(err.text, "<stdin>: is empty"), "%s", err.text);
}

static void test_failure(void)
{
    struct error err = ERROR_INIT, cause = ERROR_INIT;
    error_set(&cause, "train.csv:17: bad \xff byte");
    struct output *output = output_open(scratch_path("failed.tar"), true, &err);
    struct tar_writer *writer = tar_writer_open(output, &err);
    bool ok = failure_write(writer, "mprune", &cause, &err);
    ok = tar_writer_finish(writer, &err) && ok && output_commit(output, &err);
    tap_ok(ok && !bundle_open(scratch_path("failed.tar"), &err), "a failed producer");
    tap_is(err.text, "mprune failed: train.csv:17: bad ? byte", "tells why");
}

/* A directory with big.bin of 2.5 blocks and the millet.json for it. */
static bool write_summed(const uint8_t *bytes, size_t n)
{
    struct error err = ERROR_INIT;
    struct bundle_sums *sums = bundle_sums_open(&err);
    bool ok = sums && bundle_sums_add(sums, bytes, 17, &err) &&
              bundle_sums_add(sums, bytes + 17, n - 17, &err);
    json_t *object = json_pack("{s:i, s:s, s:{s:o}}", "millet", 1, "kind", "model", "checksums",
                               "big.bin", bundle_sums_finish(sums, &err));
    char *text = NULL;
    mkdir(scratch_path("dir"), 0777);
    ok = ok && jobject_seal(object, &err) && (text = jobject_dump(object, &err));
    if (ok) {
        scratch_write("dir/millet.json", text, strlen(text));
        scratch_write("dir/big.bin", bytes, n);
    }
    free(text);
    json_decref(object);
    return ok;
}

static void expect_open(const char *expected)
{
    struct error err = ERROR_INIT;
    struct bundle *bundle = bundle_open(scratch_path("dir"), &err);
    tap_ok(!bundle && strstr(err.text, expected), "%s", err.text);
    bundle_close(bundle);
}

static void test_sums(void)
{
    size_t n = 5 * BUNDLE_BLOCK_BYTES / 2, n_text = 0;
    struct error err = ERROR_INIT;
    uint8_t *bytes = malloc(n);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 11);
    tap_ok(write_summed(bytes, n), "checksums written");
    struct bundle *bundle = bundle_open(scratch_path("dir"), &err);
    const struct bundle_member *member = bundle ? bundle_require(bundle, "big.bin", &err) : NULL;
    uint64_t hash = 0, plain = 1;
    tap_ok(member && member->n == n && bundle_millet(bundle), "verified %s", err.text);
    tap_ok(member && !bundle_verify(bundle, member->bytes + 5, n, &err), "a range must lie inside");
    error_clear(&err);
    tap_ok(member && bundle_member_hash(bundle, member, &hash, &err), "identity of a member");
    bundle_close(bundle);

    bytes[BUNDLE_BLOCK_BYTES + 100] ^= 1;
    scratch_write("dir/big.bin", bytes, n);
    bundle = bundle_open(scratch_path("dir"), &err);
    member = bundle ? bundle_find(bundle, "big.bin") : NULL;
    tap_ok(member && bundle_verify(bundle, member->bytes, BUNDLE_BLOCK_BYTES, &err) &&
               bundle_verify(bundle, member->bytes + 2 * BUNDLE_BLOCK_BYTES, 10, &err),
           "blocks without damage verify");
    tap_ok(!bundle_require(bundle, "big.bin", &err) && strstr(err.text, "bytes 1048576 to 2097151"),
           "%s", err.text);
    bundle_close(bundle);
    scratch_write("dir/big.bin", bytes, n - 1);
    expect_open("cut short");
    unlink(scratch_path("dir/big.bin"));
    expect_open("lists big.bin, which is missing");

    uint8_t *text = scratch_read(scratch_path("dir/millet.json"), &n_text);
    bytes[BUNDLE_BLOCK_BYTES + 100] ^= 1;
    unlink(scratch_path("dir/millet.json"));
    scratch_write("dir/big.bin", bytes, n);
    bundle = bundle_open(scratch_path("dir"), &err);
    tap_ok(bundle && !bundle_millet(bundle) && bundle_require(bundle, "big.bin", &err) &&
               bundle_member_hash(bundle, bundle_find(bundle, "big.bin"), &plain, &err) &&
               plain == hash,
           "without checksums the identity is the same");
    bundle_close(bundle);
    char *digit = strpbrk(strchr((char *)text, '['), "0123456789");
    *digit ^= 1;
    scratch_write("dir/millet.json", text, n_text);
    expect_open("millet.json");
    free(text);
    static const char version[] = "{\"millet\": 2, \"kind\": \"model\"}";
    scratch_write("dir/millet.json", version, strlen(version));
    expect_open("format version 2");
    free(bytes);
}

int main(void)
{
    scratch_open();
    test_levels();
    test_failure();
    test_sums();
    while (wait(NULL) > 0)
        ;
    return tap_done();
}
