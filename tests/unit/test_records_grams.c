/* Record streams that carry hashed n-grams: what goes out comes back and passes through, what is
 * not well formed is refused, and streams with other n-grams do not mix. */
#include "io/records.h"
#include "scratch.h"
#include "tests/tap.h"

/* Three records of one token, with 3, 0 and 1 n-grams. */
enum { N = 3, G = 4 };
static const int64_t offset[N + 1] = {0, 1, 2, 3}, gram_offset[N + 1] = {0, 3, 3, 4};
static const int32_t id[N] = {5, 6, 7}, label[N] = {-1, -1, -1}, gram[G] = {2, 9, 9, 15};
static const struct records_grams spec = {
    .buckets = 16, .char_min = 2, .char_max = 5, .word_max = 2};

static const char *write_stream(const char *name, const struct records_grams *grams,
                                const struct tensor_view *fields, size_t n, const char *expected)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path(name);
    const struct records_header head = {.tokenizer = 1, .grams = *grams};
    struct tensor_view view[5] = {tensor_view_1d("ids", DTYPE_I32, N, id),
                                  tensor_view_1d("offsets", DTYPE_I64, N + 1, offset),
                                  tensor_view_1d("label", DTYPE_I32, N, label)};
    if (n)
        memcpy(view + 3, fields, n * sizeof *view);
    struct output *output = output_open(path, true, &err);
    struct records_writer *writer = records_writer_open(output, &head, NULL, 0, NULL, &err);
    bool ok = writer && records_write(writer, view, 3 + n, &err);
    if (writer && !ok)
        records_writer_fail(writer, "mtok", &err);
    else if (writer)
        ok = records_writer_finish(writer, &err);
    if (ok == (expected != NULL) || (expected && !strstr(err.text, expected)))
        tap_ok(false, "writing %s: %s", name, err.text);
    error_clear(&err);
    if (!output_commit(output, &err))
        printf("# %s\n", err.text);
    return path;
}

static void fields_of(struct tensor_view view[2], size_t n, const int32_t *grams, size_t n_offsets,
                      const int64_t *offsets)
{
    view[0] = tensor_view_1d("grams", DTYPE_I32, n, grams);
    view[1] = tensor_view_1d("gram_offsets", DTYPE_I64, n_offsets, offsets);
}

static void expect(const char *const *path, size_t n, const char *expected)
{
    struct error err = ERROR_INIT;
    struct records_set set;
    bool ok = records_set_open(&set, path, n, &err);
    if (ok)
        records_set_close(&set);
    tap_ok(!ok && strstr(err.text, expected), "%s", err.text);
}

static void test_round_trip(void)
{
    struct tensor_view view[2];
    struct error err = ERROR_INIT;
    struct records_set set;
    fields_of(view, G, gram, N + 1, gram_offset);
    const char *path = write_stream("a.tok", &spec, view, 2, NULL), *twice[] = {path, path};
    tap_ok(records_set_open(&set, twice, 2, &err), "open %s", err.text);
    const struct record first = records_get(&set, 0), none = records_get(&set, 1),
                        last = records_get(&set, 5);
    tap_ok(records_grams_equal(&set.header.grams, &spec) && first.n_grams == 3 &&
               memcmp(first.gram, gram, 3 * sizeof *gram) == 0 && none.n_grams == 0 && none.gram &&
               last.n_grams == 1 && last.gram[0] == 15,
           "n-grams by record, over two parts");
    struct records_header copy;
    tap_ok(records_header_copy(&set.header, &copy, &err) && records_grams_equal(&copy.grams, &spec),
           "a copied header has them");
    struct output *output = output_open(scratch_path("through.tok"), true, &err);
    struct records_writer *writer = records_writer_open(output, &copy, NULL, 0, NULL, &err);
    tap_ok(writer && records_write_part(writer, &set.part[0], NULL, 0, &err) &&
               records_writer_finish(writer, &err) && output_commit(output, &err),
           "written again %s", err.text);
    records_header_free(&copy);
    records_set_close(&set);
    path = scratch_path("through.tok");
    tap_ok(records_set_open(&set, &path, 1, &err) && records_get(&set, 2).gram[0] == 15,
           "they pass through %s", err.text);
    tap_ok(records_check_grams(&set.header, "a", &spec, "m.tar", &err) &&
               records_check_grams(&set.header, "a", &(struct records_grams){0}, "m.tar", &err),
           "a model that needs these, one that needs none");
    struct records_grams other = spec;
    other.word_max = 1;
    tap_ok(!records_check_grams(&set.header, "a", &other, "m.tar", &err) &&
               strstr(err.text, "mtok -m m.tar"),
           "%s", err.text);
    error_clear(&err);
    set.header.grams.buckets = 0;
    tap_ok(!records_check_grams(&set.header, "a", &spec, "m.tar", &err) &&
               strstr(err.text, "n-grams none"),
           "%s", err.text);
    records_set_close(&set);
}

static void test_refused(void)
{
    static const int32_t negative[G] = {-1, 2, 3, 4}, high[G] = {2, 9, 16, 15},
                         falling[G] = {9, 2, 9, 15};
    static const int64_t short_end[N + 1] = {0, 3, 3, 3}, down[N + 1] = {0, 3, 2, 4};
    const struct {
        const int32_t *gram;
        const int64_t *offset;
        size_t n_offsets;
        const char *expected;
    } row[] = {{negative, gram_offset, N + 1, "record 1: n-gram -1; expected 0 to 15"},
               {high, gram_offset, N + 1, "record 1: n-gram 16; expected 0 to 15"},
               {falling, gram_offset, N + 1, "record 1: n-gram 2 after 9"},
               {gram, short_end, N + 1, "expected 0 to 4"},
               {gram, down, N + 1, "decreases"},
               {gram, gram_offset, N, "3 n-gram offsets for 3 records"}};
    struct tensor_view view[2];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        fields_of(view, G, row[i].gram, row[i].n_offsets, row[i].offset);
        const char *path = write_stream("bad.tok", &spec, view, 2, NULL);
        expect(&path, 1, row[i].expected);
    }
    view[0] = tensor_view_1d("grams", DTYPE_F32, G, gram);
    const char *path = write_stream("float.tok", &spec, view, 2, NULL);
    expect(&path, 1, "expected 1 dimension of I32");
    fields_of(view, G, gram, N + 1, gram_offset);
    path = write_stream("half.tok", &spec, view, 1, NULL);
    expect(&path, 1, "no field \"gram_offsets\"");
}

/* What stream.json says and what a part has must agree, in one stream and between streams. */
static void test_agreement(void)
{
    struct records_grams none = {0}, other = {.buckets = 32, .word_max = 1};
    struct tensor_view view[2];
    fields_of(view, G, gram, N + 1, gram_offset);
    write_stream("missing.tok", &spec, NULL, 0, "a part has no n-grams");
    write_stream("surplus.tok", &none, view, 2, "a part has n-grams");
    const char *with = write_stream("with.tok", &spec, view, 2, NULL),
               *without = write_stream("without.tok", &none, NULL, 0, NULL),
               *another = write_stream("other.tok", &other, view, 2, NULL);
    expect((const char *[]){with, without}, 2, "carry n-grams none, but those of");
    expect((const char *[]){without, with}, 2, "carry n-grams buckets=16,chars=2-5,words=2");
    expect((const char *[]){with, another}, 2, "buckets=32,chars=0-0,words=1");
    char line[2048];
    snprintf(line, sizeof line, "cd %s; cat with.tok other.tok >both.tok", scratch_directory);
    const char *both = scratch_path("both.tok");
    tap_ok(system(line) == 0, "cat");
    expect(&both, 1, "but those of the stream before it");
}

static void test_header(void)
{
    static const char *const row[][2] = {
        {"[1]", "must be an object"},
        {"{\"buckets\": 15, \"chars\": [2, 5], \"words\": 2}", "buckets"},
        {"{\"chars\": [2, 5], \"words\": 2}", "buckets"},
        {"{\"buckets\": 16, \"chars\": [2], \"words\": 2}", "two numbers"},
        {"{\"buckets\": 16, \"chars\": [2, 9], \"words\": 2}", "0 to 8"},
        {"{\"buckets\": 16, \"chars\": [5, 2], \"words\": 2}", "the smaller first"},
        {"{\"buckets\": 16, \"chars\": [2, 5], \"words\": 6}", "words"},
        {"{\"buckets\": 16, \"chars\": [0, 0], \"words\": 0}", "no characters and no words"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        struct error err = ERROR_INIT;
        struct records_grams found;
        json_t *object = json_loads(row[i][0], 0, NULL);
        tap_ok(!records_grams_from_json(object, "here", &found, &err) && found.buckets == 0 &&
                   strncmp(err.text, "here: ", 6) == 0 && strstr(err.text, row[i][1]),
               "%s", err.text);
        json_decref(object);
    }
}

int main(void)
{
    scratch_open();
    test_round_trip();
    test_refused();
    test_agreement();
    test_header();
    return tap_done();
}
