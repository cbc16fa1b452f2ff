#include <sys/wait.h>

#include "core/memory.h"
#include "io/records.h"
#include "io/tar.h"
#include "scratch.h"
#include "tests/tap.h"

/* Three records of 2, 3 and 1 tokens. */
enum { N = 3, T = 6, LABELS = 2 };
static const int64_t offset[N + 1] = {0, 2, 5, 6};
static const int32_t id[T] = {101, 102, 101, 7, 102, 101};
static const int32_t label[N] = {1, -1, 0};
static const float logits[N * LABELS] = {0.5f, -0.5f, 1, 2, -3, 4};
static const uint8_t text[5] = "hello";
static const int64_t text_offset[N + 1] = {0, 2, 2, 5};
static const uint16_t hidden[T * 2];
static char *labels[LABELS] = {(char *)"bad", (char *)"good"};

enum { V_IDS, V_OFFSETS, V_LABEL, V_TEXT, V_TEXT_OFFSETS, V_HIDDEN, V_LOGITS, N_VIEWS };

static void fill(struct tensor_view view[N_VIEWS])
{
    view[V_IDS] = tensor_view_1d("ids", DTYPE_I32, T, id);
    view[V_OFFSETS] = tensor_view_1d("offsets", DTYPE_I64, N + 1, offset);
    view[V_LABEL] = tensor_view_1d("label", DTYPE_I32, N, label);
    view[V_TEXT] = tensor_view_1d("text", DTYPE_U8, 5, text);
    view[V_TEXT_OFFSETS] = tensor_view_1d("text_offsets", DTYPE_I64, N + 1, text_offset);
    view[V_HIDDEN] = tensor_view_2d("hidden.3", DTYPE_F16, T, 2, hidden);
    view[V_LOGITS] = tensor_view_2d("logits", DTYPE_F32, N, LABELS, logits);
}

static struct records_header header(uint64_t tokenizer, size_t n_labels)
{
    return (struct records_header){
        .tokenizer = tokenizer, .label = labels, .n_labels = n_labels, .max_tokens = 4};
}

enum ending { END, FAIL, STOP };

/* A stream of n_parts equal parts of the views; STOP: the archive ends without end.json. */
static const char *write_stream(const char *name, const struct records_header *head,
                                const struct tensor_view *view, size_t n_views, size_t n_parts,
                                enum ending ending)
{
    static const char *const field[] = {"ids", "offsets", "label"};
    struct error err = ERROR_INIT, cause = ERROR_INIT;
    const char *path = scratch_path(name);
    struct output *output = output_open(path, true, &err);
    struct records_writer *writer =
        records_writer_open(output, head, field, 3, json_pack("{s:s}", "program", "test"), &err);
    bool ok = writer != NULL;
    for (size_t i = 0; i < n_parts && ok; i++)
        ok = records_write(writer, view, n_views, &err);
    error_set(&cause, "train.csv:17: no such label");
    if (!ok || ending != END)
        records_writer_fail(writer, "mtok", &cause);
    else
        ok = records_writer_finish(writer, &err);
    ok = output_commit(output, &err) && ok;
    if (!ok)
        printf("# %s\n", err.text);
    return ok ? path : NULL;
}

/* Read to the end as a stream. Number of records, -1 with err. */
static int count(struct source *source, struct error *err)
{
    struct records_reader *reader = source ? records_reader_open(source, err) : NULL;
    struct records_part part;
    int n = 0, more = reader ? 0 : -1;
    while (reader && (more = records_next(reader, &part, err)) > 0) {
        n += (int)part.n;
        records_part_free(&part);
    }
    records_reader_close(reader);
    return more == 0 ? n : -1;
}

static int count_path(const char *path, struct error *err)
{
    struct source *source = source_open(path, false, err);
    int n = count(source, err);
    source_close(source);
    return n;
}

static int count_pipe(const void *bytes, size_t n_bytes, struct error *err)
{
    scratch_stdin(bytes, n_bytes, 0);
    struct source *source = source_open("-", false, err);
    int n = count(source, err);
    source_close(source);
    if (!freopen("/dev/null", "r", stdin))
        exit(1);
    while (wait(NULL) > 0)
        ;
    return n;
}

static void expect(const char *path, const char *expected)
{
    struct error err = ERROR_INIT;
    int n = count_path(path, &err);
    tap_ok(n == -1 && strstr(err.text, expected), "%s", err.text);
}

static void test_round_trip(struct tensor_view *view)
{
    struct error err = ERROR_INIT;
    struct records_header head = header(0x1234, LABELS);
    const char *path = write_stream("a.tok", &head, view, N_VIEWS, 2, END);
    struct source *source = source_open(path, false, &err);
    struct records_reader *reader = records_reader_open(source, &err);
    const struct records_header *found = records_reader_header(reader);
    tap_ok(found->tokenizer == 0x1234 && found->n_labels == LABELS && found->max_tokens == 4 &&
               strcmp(found->label[1], "good") == 0 && json_array_size(found->history) == 1 &&
               found->n_fields == 3,
           "header");
    struct records_part part;
    tap_ok(records_next(reader, &part, &err) == 1 && part.n == N && part.n_tokens == T &&
               !part.owned && memcmp(part.id, id, sizeof id) == 0 && part.label[1] == -1 &&
               memcmp(part.logits, logits, sizeof logits) == 0 && part.text_offset[3] == 5 &&
               safetensors_find(&part.st, "hidden.3"),
           "a part, not copied %s", err.text);

    static const float other[N * LABELS] = {1, 2, 3, 4, 5, 6};
    struct tensor_view add[2] = {tensor_view_2d("logits", DTYPE_F32, N, LABELS, other),
                                 tensor_view_1d("extra", DTYPE_U8, 5, text)};
    static const char *const field[] = {"logits", "ids"};
    struct output *output = output_open(scratch_path("taught.tok"), true, &err);
    struct records_writer *writer = records_writer_open(output, found, field, 2, NULL, &err);
    bool ok = writer && records_write_part(writer, &part, add, 2, &err);
    records_part_free(&part);
    ok = ok && records_next(reader, &part, &err) == 1;
    records_part_free(&part);
    tap_ok(ok && records_next(reader, &part, &err) == 0, "the end %s", err.text);
    records_reader_close(reader);
    source_close(source);
    tap_ok(records_writer_finish(writer, &err) && output_commit(output, &err), "written again");

    struct records_set set;
    const char *paths[1] = {scratch_path("taught.tok")};
    ok = records_set_open(&set, paths, 1, &err);
    tap_ok(ok && set.n == N && set.has_logits && set.has_text && set.longest == 3 &&
               set.part[0].logits[5] == 6 && set.part[0].st.n_tensors == N_VIEWS + 1 &&
               set.header.n_fields == 4,
           "fields pass through, one is replaced, one joins %s", err.text);
    if (ok)
        records_set_close(&set);
}

static void test_set(struct tensor_view *view)
{
    struct error err = ERROR_INIT;
    struct records_header head = header(0x1234, LABELS), foreign = header(0x1235, LABELS),
                          fewer = header(0x1234, 1);
    write_stream("a.tok", &head, view, N_VIEWS, 2, END);
    write_stream("b.tok", &head, view, V_TEXT, 1, END);
    write_stream("foreign.tok", &foreign, view, V_TEXT, 1, END);
    write_stream("fewer.tok", &fewer, view, 0, 0, END);
    char line[2048];
    snprintf(line, sizeof line,
             "cd %s; cat a.tok b.tok >ab.tok; gzip -c ab.tok >ab.gz; cat a.tok foreign.tok >af.tok",
             scratch_directory);
    tap_ok(system(line) == 0, "cat");
    struct records_set set;
    const char *two[2] = {scratch_path("a.tok"), scratch_path("b.tok")};
    const char *one[1] = {scratch_path("ab.tok")}, *gz[1] = {scratch_path("ab.gz")};
    uint64_t fingerprint = 0;
    const char *const *way[3] = {two, one, gz};
    for (int w = 0; w < 3; w++) {
        bool ok = records_set_open(&set, way[w], w == 0 ? 2 : 1, &err);
        tap_ok(ok && set.n == 3 * N && set.n_parts == 3 && set.n_tokens == 3 * T &&
                   !set.has_logits && !set.has_text && (w == 0 || set.fingerprint == fingerprint),
               "two files, concatenated, compressed: the same records %s", err.text);
        if (!ok)
            continue;
        fingerprint = set.fingerprint;
        struct record record = records_get(&set, 4), last = records_get(&set, 3 * N - 1);
        tap_ok(record.n_ids == 3 && record.id[1] == 7 && record.label == -1 &&
                   record.logits[1] == 2 && record.n_text == 0 && last.n_ids == 1 &&
                   last.label == 0 && !last.logits,
               "records by number");
        records_set_close(&set);
    }
    expect(scratch_path("af.tok"), "another tokenizer (0000000000001235)");
    const char *mixed[2] = {scratch_path("a.tok"), scratch_path("fewer.tok")};
    tap_ok(!records_set_open(&set, mixed, 2, &err) && strstr(err.text, "1 labels, but"), "%s",
           err.text);
    error_clear(&err);
    tap_ok(!records_check_model(&head, "a.tok", 7, labels, 2, "teacher", &err) &&
               strstr(err.text, "mtok -m teacher"),
           "%s", err.text);
    error_clear(&err);
    static char *swapped[LABELS] = {(char *)"good", (char *)"bad"};
    tap_ok(records_check_model(&head, "a.tok", 0x1234, labels, 2, "teacher", &err) &&
               !records_check_model(&head, "a.tok", 0x1234, swapped, 2, "teacher", &err) &&
               strstr(err.text, "label 0 is \"bad\""),
           "%s", err.text);
}

static void test_ends(struct tensor_view *view)
{
    struct error err = ERROR_INIT;
    struct records_header head = header(0x1234, LABELS);
    expect(write_stream("failed.tok", &head, view, N_VIEWS, 1, FAIL),
           "mtok failed: train.csv:17: no such label");
    struct error cause = ERROR_INIT;
    error_set(&cause, "mtok failed: train.csv:17: no such label");
    struct output *output = output_open(scratch_path("passed.tok"), true, &err);
    records_write_failure(output, "mteach", &cause);
    tap_ok(output_commit(output, &err), "a failure passed on");
    count_path(scratch_path("passed.tok"), &err);
    tap_is(err.text, "mtok failed: train.csv:17: no such label", "the first cause stays");
    error_clear(&err);

    expect(scratch_write("empty.tok", "", 0), "is empty");
    expect(scratch_write("text.tok", "text,label\nx,1\n", 15), "not a tar");
    expect(scratch_directory, "is a directory");

    static const char *const bad[][2] = {
        {"config.json", "is a model"},
        {"part-00000000.safetensors", "where stream.json is expected"},
        {"README", "found README"}};
    for (size_t i = 0; i < 3; i++) {
        output = output_open(scratch_path("bad.tok"), true, &err);
        struct tar_writer *tar = tar_writer_open(output, &err);
        bool ok = tar_write(tar, bad[i][0], "{}", 2, &err);
        if (!tar_writer_finish(tar, &err) || !output_commit(output, &err) || !ok)
            printf("# %s\n", err.text);
        expect(scratch_path("bad.tok"), bad[i][1]);
    }
}

/* Each field in turn is replaced by one that must be refused. */
static void test_fields(struct tensor_view *view)
{
    static const int64_t short_offset[N + 1] = {0, 2, 5, 5}, falling[N + 1] = {0, 5, 2, 6},
                                          late[N + 1] = {1, 2, 5, 6},
                                          text_end[N + 1] = {0, 2, 2, 6};
    static const int32_t negative[T] = {1, 2, -3, 4, 5, 6}, high[N] = {1, 2, 0},
                         low[N] = {1, -2, 0};
    static const float infinite[N * LABELS] = {1, 2, 3, INFINITY, 5, 6},
                                    no_number[N * LABELS] = {NAN};
    const struct {
        int which;
        struct tensor_view view;
        const char *expected;
    } row[] = {
        {V_IDS, tensor_view_1d("ids", DTYPE_F32, T, id), "expected 1 dimension of I32"},
        {V_IDS, tensor_view_1d("ids", DTYPE_I32, T, negative), "record 2: token id -3"},
        {V_OFFSETS, tensor_view_1d("offsets", DTYPE_I64, N + 1, short_offset), "expected 0 to 6"},
        {V_OFFSETS, tensor_view_1d("offsets", DTYPE_I64, N + 1, late), "runs from 1"},
        {V_OFFSETS, tensor_view_1d("offsets", DTYPE_I64, N + 1, falling), "decreases"},
        {V_LABEL, tensor_view_1d("label", DTYPE_I32, N, high), "record 2: label 2"},
        {V_LABEL, tensor_view_1d("label", DTYPE_I32, N, low), "record 2: label -2"},
        {V_TEXT_OFFSETS, tensor_view_1d("text_offsets", DTYPE_I64, N + 1, text_end),
         "expected 0 to 5"},
        {V_TEXT_OFFSETS, tensor_view_1d("text_offset", DTYPE_I64, N + 1, text_end),
         "no field \"text_offsets\""},
        {V_LOGITS, tensor_view_2d("logits", DTYPE_F32, LABELS, N, logits), "expected [3, 2]"},
        {V_LOGITS, tensor_view_2d("logits", DTYPE_F32, N, LABELS, infinite),
         "record 2: logit 1 is not finite"},
        {V_LOGITS, tensor_view_2d("logits", DTYPE_F32, N, LABELS, no_number), "record 1: logit 0"},
    };
    struct records_header head = header(0x1234, LABELS);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct tensor_view changed[N_VIEWS];
        memcpy(changed, view, sizeof changed);
        changed[row[i].which] = row[i].view;
        expect(write_stream("field.tok", &head, changed, N_VIEWS, 1, END), row[i].expected);
    }
    struct error err = ERROR_INIT;
    struct output *output = output_open("/dev/null", true, &err);
    struct records_writer *writer = records_writer_open(output, &head, NULL, 0, NULL, &err);
    tap_ok(!records_write(writer, view, 2, &err) && strstr(err.text, "needs the fields"), "%s",
           err.text);
    records_writer_fail(writer, "mtok", &err);
    output_abandon(output);
}

/* Every cut at a block, and a flipped bit every few bytes of every member, from a map and sometimes
 * from a pipe. */
static void test_damage(struct tensor_view *view)
{
    struct records_header head = header(0x1234, LABELS);
    const char *path = write_stream("whole.tok", &head, view, N_VIEWS, 2, END);
    size_t n = 0;
    uint8_t *bytes = scratch_read(path, &n);
    struct error err = ERROR_INIT;
    tap_ok(count_pipe(bytes, n, &err) == 2 * N, "whole, from a pipe %s", err.text);
    int bad = 0, tried = 0;
    for (size_t cut = 0; cut < n; cut += 512) {
        struct error why = ERROR_INIT;
        struct source *source = source_open_memory("cut", bytes, cut, &why);
        bad += count(source, &why) != -1 || !why.set;
        source_close(source);
        error_clear(&why);
        bad += count_pipe(bytes, cut, &why) != -1 || !why.set;
        tried++;
    }
    tap_ok(!bad, "%d cuts are noticed", tried);
    bad = tried = 0;
    struct source *whole = source_open_memory("whole", bytes, n, &err);
    struct tar_reader *reader = tar_reader_open(whole, 0, &err);
    struct tar_member member;
    /* An own copy aligned like a map. */
    uint8_t *copy = memory_aligned(n, 1, &err);
    while (tar_next(reader, &member, &err) > 0) {
        size_t at = (size_t)(member.bytes - bytes);
        for (size_t i = 0; i < member.n; i += 3) {
            struct error why = ERROR_INIT;
            memcpy(copy, bytes, n);
            copy[at + i] ^= 1;
            struct source *source = source_open_memory("flipped", copy, n, &why);
            if (count(source, &why) != -1 || !why.set) {
                printf("# %s: byte %zu flipped, not noticed\n", member.name, i);
                bad++;
            }
            source_close(source);
            tried++;
        }
    }
    tap_ok(!bad && tried > 500, "%d flipped bytes are noticed", tried);
    tar_reader_close(reader);
    source_close(whole);

    /* Whole blocks of zeros for the end: as if end.json had never been written. */
    memcpy(copy, bytes, n);
    char *end = NULL;
    for (size_t i = 0; i < n; i += 512)
        if (strcmp((char *)copy + i, "end.json") == 0)
            end = (char *)copy + i;
    memset(end, 0, (size_t)(copy + n - (uint8_t *)end));
    expect(scratch_write("noend.tok", copy, n), "ends without end.json");
    size_t cut = (size_t)((uint8_t *)end - copy);
    memcpy(copy, bytes, n);
    memmove(copy + cut, bytes, cut < n - cut ? cut : n - cut);
    expect(scratch_write("twice.tok", copy, n), "a new stream begins before end.json");
    free(copy);
    free(bytes);
}

/* 60 parts of 1 MiB through a FIFO: the reader holds one part at a time. */
static void test_memory(void)
{
    enum { PARTS = 60, BIG = 1 << 18 };
    static int32_t many[BIG];
    static const int64_t ends[2] = {0, BIG};
    struct error err = ERROR_INIT;
    const char *path = scratch_path("fifo");
    struct records_header head = header(1, 0);
    if (mkfifo(path, 0600) != 0) {
        tap_skip("memory of a reader", "no FIFOs here");
        return;
    }
    memset(many, 1, sizeof many); /* in memory before the fork */
    size_t before = memory_peak();
    pid_t child = fork();
    if (child == 0) {
        struct tensor_view view[3] = {tensor_view_1d("ids", DTYPE_I32, BIG, many),
                                      tensor_view_1d("offsets", DTYPE_I64, 2, ends),
                                      tensor_view_1d("label", DTYPE_I32, 1, &(int32_t){-1})};
        struct output *output = output_open(path, true, &err);
        struct records_writer *writer = records_writer_open(output, &head, NULL, 0, NULL, &err);
        bool ok = writer != NULL;
        for (int i = 0; i < PARTS && ok; i++)
            ok = records_write(writer, view, 3, &err);
        ok = ok && records_writer_finish(writer, &err) && output_commit(output, &err);
        _exit(ok ? 0 : 1);
    }
    int n = count_path(path, &err), status = 1;
    size_t grown = memory_peak() - before;
    waitpid(child, &status, 0);
#ifdef __SANITIZE_ADDRESS__ /* its quarantine keeps what was freed */
    tap_ok(status == 0 && n == PARTS && grown, "60 MiB through a FIFO %s", err.text);
#else
    tap_ok(status == 0 && n == PARTS && grown < 24u << 20, "60 MiB through a FIFO take %zu KiB %s",
           grown >> 10, err.text);
#endif
}

int main(void)
{
    struct tensor_view view[N_VIEWS];
    scratch_open();
    fill(view);
    test_round_trip(view);
    test_set(view);
    test_ends(view);
    test_fields(view);
    test_damage(view);
    test_memory();
    return tap_done();
}
