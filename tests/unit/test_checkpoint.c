/* Checkpoints: what is put comes back; a damaged one, another kind of file and a missing or
 * differing tensor are errors; a new one replaces the old when it is complete, not before. */
#include "tests/tap.h"
#include "tests/unit/scratch.h"

#include <stdlib.h>

#include "nn/checkpoint.h"

static const float value[] = {1.5F, -2, 0.25F};
static const uint8_t flag[] = {1, 0, 1, 1};

/* A checkpoint with two parts; `state` holds the number. */
static bool save(const char *path, int number, bool commit, struct error *err)
{
    const struct tensor_view a[] = {tensor_view_1d("value", DTYPE_F32, 3, value),
                                    tensor_view_1d("flag", DTYPE_U8, 4, flag)};
    const struct tensor_view b[] = {tensor_view_1d("none", DTYPE_F32, 0, value)};
    struct checkpoint_writer *w = checkpoint_create(path, err);
    if (!w)
        return false;
    json_t *state = json_pack("{s:i}", "step", number);
    bool ok = checkpoint_put(w, "a", a, 2, err) && checkpoint_put(w, "b", b, 1, err);
    if (ok && commit)
        ok = checkpoint_commit(w, state, err);
    else
        checkpoint_abandon(w);
    json_decref(state);
    return ok;
}

static int step_of(const char *path, struct error *err)
{
    struct checkpoint *c = checkpoint_open(path, err);
    int step = c ? (int)json_integer_value(json_object_get(checkpoint_state(c), "step")) : -1;
    checkpoint_close(c);
    return step;
}

static void test_back(const char *path)
{
    struct error err = ERROR_INIT;
    tap_ok(save(path, 7, true, &err), "written %s", err.text);
    struct checkpoint *c = checkpoint_open(path, &err);
    if (!tap_ok(c != NULL, "opened %s", err.text))
        return;
    const float *v = checkpoint_find(c, "a", "value", DTYPE_F32, 3, &err);
    const uint8_t *f = checkpoint_find(c, "a", "flag", DTYPE_U8, 4, &err);
    tap_ok(v && f && memcmp(v, value, sizeof value) == 0 && memcmp(f, flag, sizeof flag) == 0,
           "its tensors come back");
    tap_ok(checkpoint_find(c, "b", "none", DTYPE_F32, 0, &err), "one without elements, too");
    tap_ok(!checkpoint_find(c, "a", "value", DTYPE_F32, 4, &err) &&
               strstr(err.text, "tensor value is [3] F32, expected 4 of F32"),
           "another size: %s", err.text);
    error_clear(&err);
    tap_ok(!checkpoint_find(c, "a", "other", DTYPE_F32, 4, &err) &&
               strstr(err.text, "has no tensor other"),
           "another name: %s", err.text);
    error_clear(&err);
    tap_ok(!checkpoint_find(c, "c", "value", DTYPE_F32, 4, &err) && err.set, "another part: %s",
           err.text);
    checkpoint_close(c);
}

static void test_replaced(const char *path)
{
    struct error err = ERROR_INIT;
    tap_ok(save(path, 8, false, &err) && step_of(path, &err) == 7,
           "one that is given up leaves the old");
    tap_ok(save(path, 9, true, &err) && step_of(path, &err) == 9, "a complete one replaces it");
    error_clear(&err);
    tap_ok(!save("/nonexistent/c.ck", 1, true, &err) && strstr(err.text, "/nonexistent/c.ck"), "%s",
           err.text);
}

/* Each byte of the members flipped in turn is noticed where it matters, or does not matter: the
 * values are the same or there is an error. */
static void test_damaged(const char *path)
{
    size_t n, wrong = 0;
    uint8_t *bytes = scratch_read(path, &n);
    const char *bad = scratch_path("bad.ck");
    for (size_t i = 0; bytes && i < n; i += 37) {
        struct error err = ERROR_INIT;
        bytes[i] ^= 0x10;
        FILE *file = fopen(bad, "w");
        bool written = file && fwrite(bytes, 1, n, file) == n;
        written = file && fclose(file) == 0 && written;
        struct checkpoint *c = written ? checkpoint_open(bad, &err) : NULL;
        const float *v = c ? checkpoint_find(c, "a", "value", DTYPE_F32, 3, &err) : NULL;
        wrong += !written || (v && memcmp(v, value, sizeof value) != 0);
        checkpoint_close(c);
        bytes[i] ^= 0x10;
    }
    free(bytes);
    tap_ok(bytes && wrong == 0, "no flipped byte passes as another value");
}

int main(void)
{
    scratch_open();
    test_back(scratch_path("run.ck"));
    test_replaced(scratch_path("run.ck"));
    test_damaged(scratch_path("run.ck"));
    return tap_done();
}
