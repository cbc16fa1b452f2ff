/* test_records_multi.c: record streams of records with any number of labels: what goes out comes
 * back, what is not well formed is refused, and the two kinds of stream do not mix. */
#include "io/records.h"
#include "scratch.h"
#include "tests/tap.h"

/* Four records of one token: labels {0, 2}, none, unknown, {1}. */
enum { N = 4, LABELS = 3, L = 4 };
static const int64_t offset[N + 1] = {0, 1, 2, 3, 4}, label_offset[N + 1] = {0, 2, 2, 3, 4};
static const int32_t id[N] = {5, 6, 7, 8}, label_id[L] = {0, 2, -1, 1}, single[N] = {0, 1, 2, -1},
                     unknown[N] = {-1, -1, -1, -1};
static char *labels[LABELS] = {(char *)"a", (char *)"b", (char *)"c"};

static const char *write_stream(const char *name, const char *separator,
                                const struct tensor_view *labelling, size_t n)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path(name);
    const struct records_header head = {
        .tokenizer = 1, .label = labels, .n_labels = LABELS, .separator = (char *)separator};
    struct tensor_view view[4] = {tensor_view_1d("ids", DTYPE_I32, N, id),
                                  tensor_view_1d("offsets", DTYPE_I64, N + 1, offset)};
    memcpy(view + 2, labelling, n * sizeof *view);
    struct output *output = output_open(path, true, &err);
    struct records_writer *writer = records_writer_open(output, &head, NULL, 0, NULL, &err);
    bool ok = writer && records_write(writer, view, 2 + n, &err);
    if (writer && !ok)
        records_writer_fail(writer, "mtok", &err);
    else if (writer)
        ok = records_writer_finish(writer, &err);
    if (!output_commit(output, &err) || !ok)
        printf("# %s\n", err.text);
    return path;
}

static void sets_of(struct tensor_view view[2], size_t n_ids, const int32_t *ids, size_t n_offsets,
                    const int64_t *offsets)
{
    view[0] = tensor_view_1d("label_ids", DTYPE_I32, n_ids, ids);
    view[1] = tensor_view_1d("label_offsets", DTYPE_I64, n_offsets, offsets);
}

static void expect(const char *path, const char *expected)
{
    struct error err = ERROR_INIT;
    struct records_set set;
    bool ok = records_set_open(&set, &path, 1, &err);
    if (ok)
        records_set_close(&set);
    tap_ok(!ok && strstr(err.text, expected), "%s", err.text);
}

static void test_round_trip(void)
{
    struct tensor_view view[2], alone = tensor_view_1d("label", DTYPE_I32, N, unknown);
    struct error err = ERROR_INIT;
    struct records_set set;
    sets_of(view, L, label_id, N + 1, label_offset);
    const char *path[] = {write_stream("multi.tok", "|", view, 2),
                          write_stream("unlabelled.tok", "; ", &alone, 1)};
    bool ok = records_set_open(&set, path, 2, &err);
    if (!tap_ok(ok && set.n == 2 * N && strcmp(set.header.separator, "|") == 0,
                "streams of several labels, with other separators %s", err.text))
        return;
    struct record two = records_get(&set, 0), none = records_get(&set, 1),
                  not_known = records_get(&set, 2), one = records_get(&set, 3),
                  later = records_get(&set, N);
    tap_ok(two.labelled && two.n_label_ids == 2 && two.label_id[0] == 0 && two.label_id[1] == 2 &&
               two.label == -1,
           "two labels");
    tap_ok(none.labelled && none.n_label_ids == 0, "no label is something else than …");
    tap_ok(!not_known.labelled && not_known.n_label_ids == 0, "… unknown labels");
    tap_ok(one.labelled && one.n_label_ids == 1 && one.label_id[0] == 1, "one label");
    tap_ok(!later.labelled && later.n_label_ids == 0, "a part of records without labels");
    records_set_close(&set);
}

/* Each would lead a reader astray. */
static void test_refused(void)
{
    static const int32_t twice[L] = {0, 0, -1, 1}, falling[L] = {2, 0, -1, 1},
                         high[L] = {0, 3, -1, 1}, mixed[L] = {-1, 2, -1, 1}, low[L] = {0, 2, -2, 1};
    static const int64_t longer[N + 1] = {0, 2, 2, 3, 1LL << 40}, back[N + 1] = {0, 2, 1, 3, 4};
    const struct {
        const int32_t *ids;
        const int64_t *offsets;
        size_t n_offsets;
        const char *expected;
    } row[] = {
        {twice, label_offset, N + 1, "record 1: label 0 after 0"},
        {falling, label_offset, N + 1, "record 1: label 0 after 2"},
        {high, label_offset, N + 1, "record 1: label 3; expected 0 to 2"},
        {mixed, label_offset, N + 1, "record 1: label -1; expected"},
        {low, label_offset, N + 1, "record 3: label -2"},
        {label_id, longer, N + 1, "\"label_offsets\" runs from 0 to 1099511627776"},
        {label_id, back, N + 1, "\"label_offsets\" decreases from 2 to 1"},
    };
    struct tensor_view view[2];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        sets_of(view, L, row[i].ids, row[i].n_offsets, row[i].offsets);
        expect(write_stream("bad.tok", "|", view, 2), row[i].expected);
    }
    struct tensor_view known = tensor_view_1d("label", DTYPE_I32, N, single);
    expect(write_stream("bad.tok", "|", &known, 1), "record 1: label 0; expected -1 to -1");
    view[0] = known;
    sets_of(view, L, label_id, N + 1, label_offset);
    struct tensor_view both[2] = {known, view[0]};
    expect(write_stream("bad.tok", NULL, both, 2), "has the field \"label_ids\"");
    expect(write_stream("bad.tok", "\t", view, 2), "a control character");
    expect(write_stream("bad.tok", "123456789", view, 2), "cannot separate labels");
    expect(write_stream("bad.tok", "  ", view, 2), "cannot separate labels");
}

static void test_kinds(void)
{
    struct tensor_view view[2], known = tensor_view_1d("label", DTYPE_I32, N, single);
    struct error err = ERROR_INIT;
    struct records_set set;
    sets_of(view, L, label_id, N + 1, label_offset);
    write_stream("multi.tok", "|", view, 2);
    write_stream("single.tok", NULL, &known, 1);
    const char *two[] = {scratch_path("single.tok"), scratch_path("multi.tok")};
    tap_ok(!records_set_open(&set, two, 2, &err) && strstr(err.text, "any number of labels, but"),
           "%s", err.text);
    char line[1024];
    snprintf(line, sizeof line, "cd %s; cat multi.tok single.tok >both.tok", scratch_directory);
    tap_ok(system(line) == 0, "cat");
    expect(scratch_path("both.tok"), "gives each record one label, but the stream before it any");
    const struct records_header multi = {.n_labels = LABELS, .separator = (char *)"|"},
                                one = {.n_labels = LABELS}, unnamed = {.n_labels = 0};
    error_clear(&err);
    tap_ok(records_check_kind(&multi, "s", true, "m", &err) &&
               records_check_kind(&one, "s", false, "m", &err) &&
               records_check_kind(&unnamed, "s", true, "m", &err) && !err.set,
           "streams fit models of their kind");
    tap_ok(!records_check_kind(&one, "s", true, "m", &err) &&
               strstr(err.text, "with mtok --multi-label"),
           "%s", err.text);
    error_clear(&err);
    tap_ok(!records_check_kind(&multi, "s", false, "m", &err) &&
               strstr(err.text, "without mtok --multi-label"),
           "%s", err.text);
}

int main(void)
{
    scratch_open();
    test_round_trip();
    test_refused();
    test_kinds();
    scratch_close();
    return tap_done();
}
