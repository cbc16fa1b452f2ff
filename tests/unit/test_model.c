#include <sys/wait.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "io/model.h"
#include "io/source.h"
#include "scratch.h"
#include "tests/tap.h"

static const float weight[6] = {1, 2, 3, 4, 5, 6};
static const uint16_t half[4] = {0x3c00, 0x4000, 0, 0};
static const char config_text[] =
    "{\"model_type\": \"bert\", \"id2label\": {\"1\": \"b\", \"0\": \"a\"}}";

struct file {
    uint8_t bytes[4096];
    size_t n;
};

static bool append(void *context, const void *bytes, size_t n, struct error *err)
{
    struct file *file = context;
    if (n > sizeof file->bytes - file->n)
        return error_set(err, "full");
    memcpy(file->bytes + file->n, bytes, n);
    file->n += n;
    return true;
}

static void write_safetensors(const char *name, const struct tensor_view *view, size_t n)
{
    struct error err = ERROR_INIT;
    struct file file = {.n = 0};
    if (!safetensors_write(view, n, NULL, 0, append, &file, &err))
        printf("# %s\n", err.text);
    scratch_write(name, file.bytes, file.n);
}

static void write_text(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
}

static void expect_failure(const char *name, const char *expected)
{
    struct error err = ERROR_INIT;
    struct model model;
    bool ok = model_open(&model, scratch_path(name), &err);
    tap_ok(!ok && strstr(err.text, expected), "%s", err.text);
    if (ok)
        model_close(&model);
}

/* The tensor of that name, its bytes verified; NULL when it is not there, or not whole. */
static const struct tensor_view *get(const struct model *model, const char *name, struct error *err)
{
    const struct tensor_view *view = model_find(model, name);
    return view && bundle_verify(model->bundle, view->data, (size_t)view->bytes, err) ? view : NULL;
}

static void test_directory(struct tensor_view *view)
{
    struct error err = ERROR_INIT;
    struct model model;
    mkdir(scratch_path("hf"), 0777);
    write_text("hf/config.json", config_text);
    write_text("hf/vocab.txt", "[PAD]\n");
    bool ok = model_open(&model, scratch_path("hf"), &err);
    tap_ok(ok && model.n_tensors == 0 && model.n_labels == 2 && strcmp(model.label[1], "b") == 0,
           "a model without weights %s", err.text);
    tap_ok(!model_check_weights(&model, &err) && strstr(err.text, "has no weights"), "%s",
           err.text);
    model_close(&model);
    error_clear(&err);

    write_safetensors("hf/model.safetensors", view, 2);
    ok = model_open(&model, scratch_path("hf"), &err);
    tap_ok(ok && model.n_tensors == 2 && model_find(&model, "w") && !model_find(&model, "x"),
           "tensors");
    tap_ok(get(&model, "w", &err) && get(&model, "h", &err), "whole ones %s", err.text);
    model_close(&model);
}

static void test_shards(struct tensor_view *view)
{
    struct error err = ERROR_INIT;
    struct model model;
    mkdir(scratch_path("sharded"), 0777);
    write_text("sharded/config.json", "{}");
    write_safetensors("sharded/one.safetensors", view, 1);
    write_text("sharded/model.safetensors.index.json",
               "{\"weight_map\": {\"w\": \"one.safetensors\", \"h\": \"two.safetensors\"}}");
    expect_failure("sharded", "two.safetensors is missing");
    write_safetensors("sharded/two.safetensors", view, 1);
    expect_failure("sharded", "two of its files hold");
    write_safetensors("sharded/two.safetensors", view + 1, 1);
    bool ok = model_open(&model, scratch_path("sharded"), &err);
    tap_ok(ok && model.n_shards == 2 && model_find(&model, "w") && model_find(&model, "h"),
           "shards %s", err.text);
    if (ok)
        model_close(&model);
    write_text("sharded/model.safetensors.index.json",
               "{\"weight_map\": {\"w\": \"one.safetensors\", \"q\": \"two.safetensors\"}}");
    expect_failure("sharded", "\"q\", but no file does");
}

/* 16 GiB of weights in a file of holes: opening it and using one tensor touches next to nothing. */
static void test_large(void)
{
    static const char header[] =
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"big\":{\"dtype\":\"F32\",\"shape\":[4194304,1024],"
        "\"data_offsets\":[24,17179869208]}}";
    struct error err = ERROR_INIT;
    struct model model;
    uint8_t start[8 + sizeof header - 1] = {(uint8_t)(sizeof header - 1)};
    memcpy(start + 8, header, sizeof header - 1);
    mkdir(scratch_path("large"), 0777);
    write_text("large/config.json", "{}");
    const char *path = scratch_write("large/model.safetensors", start, sizeof start);
    if (truncate(path, (off_t)sizeof start + 17179869208) != 0) {
        tap_skip("a model of 16 GiB", "no sparse files of that size here");
        return;
    }
    size_t before = memory_peak();
    bool ok = model_open(&model, scratch_path("large"), &err) && get(&model, "w", &err);
    tap_ok(ok && model_find(&model, "big") && memory_peak() - before < 4u << 20,
           "a model of 16 GiB is opened in %zu KiB %s", (memory_peak() - before) >> 10, err.text);
    if (ok)
        model_close(&model);
    unlink(path);
}

static void test_labels(void)
{
    mkdir(scratch_path("bad"), 0777);
    expect_failure("bad", "has no config.json; it has: nothing");
    write_text("bad/config.json", "{");
    expect_failure("bad", "config.json:1");
    write_text("bad/config.json", "{\"id2label\": {\"0\": \"a\", \"2\": \"b\"}}");
    expect_failure("bad", "label 1");
    write_text("bad/config.json", "{\"id2label\": {\"0\": \"a\", \"1\": \"a\"}}");
    expect_failure("bad", "both \"a\"");
    write_text("bad/config.json", "{}");
    write_text("bad/model.safetensors", "xxxxxxxxxxxx");
    expect_failure("bad", "model.safetensors: is no safetensors file");
}

/* What a config says of the meaning of the outputs. */
static void test_problem(void)
{
    static const struct {
        const char *config, *refused; /* by model_check_problem(); NULL: usable */
        enum model_problem problem;
    } row[] = {
        {"{}", NULL, MODEL_SINGLE_LABEL},
        {"{\"problem_type\": null}", NULL, MODEL_SINGLE_LABEL},
        {"{\"problem_type\": \"single_label_classification\", \"id2label\": {\"0\": \"LABEL_0\"}}",
         NULL, MODEL_SINGLE_LABEL},
        {"{\"problem_type\": \"multi_label_classification\"}", NULL, MODEL_MULTI_LABEL},
        {"{\"id2label\": {\"0\": \"toxic\"}}", NULL, MODEL_SINGLE_LABEL},
        {"{\"id2label\": {\"0\": \"LABEL_0\"}}", "\"id2label\" has the single label",
         MODEL_REGRESSION},
        {"{\"num_labels\": 1}", "\"num_labels\" is 1 and no \"id2label\"", MODEL_REGRESSION},
        {"{\"num_labels\": 4}", NULL, MODEL_SINGLE_LABEL},
        {"{\"problem_type\": \"regression\"}", "config.json: \"problem_type\" is \"regression\"",
         MODEL_REGRESSION},
    };
    mkdir(scratch_path("problem"), 0777);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct error err = ERROR_INIT;
        struct model model;
        write_text("problem/config.json", row[i].config);
        bool ok = model_open(&model, scratch_path("problem"), &err);
        tap_ok(ok && model.problem == row[i].problem, "%s is of its kind %s", row[i].config,
               err.text);
        if (!ok)
            continue;
        bool usable = model_check_problem(&model, &err);
        tap_ok(row[i].refused ? !usable && strstr(err.text, row[i].refused) : usable, "%s",
               usable ? "it can be used" : err.text);
        model_close(&model);
    }
    write_text("problem/config.json", "{\"problem_type\": \"ranking\"}");
    expect_failure("problem", "\"problem_type\" is \"ranking\"; expected");
    write_text("problem/config.json", "{\"problem_type\": 2}");
    expect_failure("problem", "\"problem_type\" is no string; expected");
}

static bool write_model(const char *name, const struct model *from, struct tensor_view *view,
                        const char *note)
{
    static const char vocabulary[] = "[PAD]\n[UNK]\n";
    static char *argv[] = {(char *)"mprune",  (char *)"-m",    (char *)"teacher", (char *)"-qo",
                           (char *)"x",       (char *)"--out", (char *)"y",       (char *)"-oz",
                           (char *)"--out=x", (char *)"in.tok"};
    struct error err = ERROR_INIT;
    struct bundle_member file = {
        .name = "vocab.txt", .bytes = (const uint8_t *)vocabulary, .n = 12};
    struct output *output = output_open(scratch_path(name), true, &err);
    struct model_writer_options options = {
        .from = from,
        .config = from->config,
        .tensor = view,
        .n_tensors = 2,
        .file = note ? &file : NULL,
        .n_files = note ? 1 : 0,
        .stage = model_history_stage("mprune", "0.1", 10, argv, note),
        .extra = json_pack("{s:s}", "format", "fp32"),
    };
    bool ok = output && model_write(output, &options, &err) && output_commit(output, &err);
    if (!ok)
        printf("# %s\n", err.text);
    return ok;
}

static void test_write(struct tensor_view *view)
{
    struct error err = ERROR_INIT;
    struct model model, again;
    bool ok = model_open(&model, scratch_path("hf"), &err) &&
              write_model("one.tar", &model, view, NULL) &&
              write_model("two.tar", &model, view, NULL);
    size_t n = 0, n_two = 0;
    uint8_t *one = scratch_read(scratch_path("one.tar"), &n),
            *two = scratch_read(scratch_path("two.tar"), &n_two);
    tap_ok(ok && n == n_two && memcmp(one, two, n) == 0, "written twice, the same bytes %s",
           err.text);
    free(two);
    ok = model_open(&again, scratch_path("one.tar"), &err) &&
         write_model("three.tar", &again, again.tensor, "00ff");
    const struct tensor_view *w = ok ? get(&again, "w", &err) : NULL;
    tap_ok(w && memcmp(w->data, weight, sizeof weight) == 0 && again.n_labels == 2 &&
               bundle_require(again.bundle, "vocab.txt", &err),
           "read back %s", err.text);
    uint64_t from_sums = 0, computed = 1;
    tap_ok(model_fingerprint(&again, &from_sums, &err), "fingerprint");
    model_close(&again);
    model_close(&model);

    char line[1500];
    snprintf(line, sizeof line, "mkdir %s && tar xf %s -C %s && rm %s/millet.json",
             scratch_path("x"), scratch_path("one.tar"), scratch_path("x"), scratch_path("x"));
    ok = system(line) == 0 && model_open(&again, scratch_path("x"), &err);
    tap_ok(ok && model_fingerprint(&again, &computed, &err) && computed == from_sums,
           "a directory without millet.json has the fingerprint of the tar %s", err.text);
    if (ok)
        model_close(&again);

    ok = model_open(&again, scratch_path("three.tar"), &err);
    const json_t *history = ok ? json_object_get(again.millet, "history") : NULL;
    const json_t *stage = json_array_get(history, 1);
    char *arguments = json_dumps(json_object_get(stage, "arguments"), JSON_COMPACT);
    tap_is(arguments, "[\"-m\",\"teacher\",\"in.tok\"]", "history without the output's name");
    free(arguments);
    tap_ok(json_array_size(history) == 2 && bundle_find(again.bundle, "vocab.txt")->n == 12 &&
               json_object_get(again.millet, "format"),
           "history grows, files are replaced");
    if (ok)
        model_close(&again);
    free(one);
}

/* Opened as a tool would: everything a classifier uses is verified. */
static bool open_all(const char *path, struct error *err)
{
    struct model model;
    if (!model_open(&model, path, err))
        return false;
    bool ok = get(&model, "w", err) && get(&model, "h", err) &&
              bundle_require(model.bundle, "vocab.txt", err);
    model_close(&model);
    return ok;
}

/* A flipped bit anywhere in a member, and a cut at any block of the archive, are noticed. */
static void test_damage(void)
{
    size_t n = 0;
    uint8_t *bytes = scratch_read(scratch_path("one.tar"), &n);
    struct error err = ERROR_INIT;
    struct source *source = source_open_memory("one.tar", bytes, n, &err);
    struct tar_reader *reader = tar_reader_open(source, 0, &err);
    struct tar_member member;
    int bad = 0, tried = 0;
    while (tar_next(reader, &member, &err) > 0) {
        size_t at = (size_t)(member.bytes - bytes);
        for (size_t i = 0; i < member.n; i += member.n / 40 + 1) {
            struct error why = ERROR_INIT;
            uint8_t *copy = malloc(n);
            memcpy(copy, bytes, n);
            copy[at + i] ^= 1;
            if (open_all(scratch_write("damaged.tar", copy, n), &why)) {
                printf("# %s: byte %zu flipped, not noticed\n", member.name, i);
                bad++;
            }
            free(copy);
            tried++;
        }
    }
    tar_reader_close(reader);
    source_close(source);
    tap_ok(!bad && tried > 100, "%d flipped bytes are noticed", tried);
    bad = 0;
    for (size_t cut = 0; cut < n; cut += 512) {
        struct error why = ERROR_INIT;
        bad += open_all(scratch_write("cut.tar", bytes, cut), &why) || !why.set;
    }
    tap_ok(!bad, "cuts at each block are noticed");
    scratch_stdin(bytes, n, 0);
    tap_ok(open_all("-", &err), "a model from a pipe %s", err.text);
    free(bytes);
}

int main(void)
{
    struct tensor_view view[] = {tensor_view_2d("w", DTYPE_F32, 2, 3, weight),
                                 tensor_view_1d("h", DTYPE_F16, 4, half)};
    scratch_open();
    test_directory(view);
    test_shards(view);
    test_labels();
    test_problem();
    test_large();
    test_write(view);
    test_damage();
    while (wait(NULL) > 0)
        ;
    return tap_done();
}
