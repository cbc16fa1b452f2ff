/* model.onnx read back with a small reader of the test's own: the wire format, the constants' shapes
 * and bytes, and that every node finds its inputs. That ONNX Runtime computes our logits from it is
 * for tests/mquant.bats and tests/peers/roundtrip.py, which need Python. */
#include "quant/dense.h"
#include "quant/format.h"
#include "quant/onnx.h"
#include "quant/onnx_graph.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

/* ---- a reader of Protocol Buffers ---- */

struct slice {
    const uint8_t *at, *end;
};

struct field {
    unsigned number, wire;
    uint64_t integer;
    struct slice bytes;
};

static bool broken; /* input that is no message */

static uint64_t read_varint(struct slice *s)
{
    uint64_t value = 0;
    for (unsigned shift = 0; s->at < s->end && shift < 64; shift += 7) {
        uint8_t byte = *s->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return value;
    }
    broken = true;
    return 0;
}

static bool next(struct slice *s, struct field *field)
{
    if (s->at >= s->end || broken)
        return false;
    uint64_t key = read_varint(s), n = 4;
    *field = (struct field){.number = (unsigned)(key >> 3), .wire = (unsigned)(key & 7)};
    if (field->wire == 0) {
        field->integer = read_varint(s);
        return !broken;
    }
    if (field->wire == 2)
        n = read_varint(s);
    else if (field->wire != 5)
        broken = true;
    if (broken || n > (uint64_t)(s->end - s->at)) {
        broken = true;
        return false;
    }
    field->bytes = (struct slice){s->at, s->at + n};
    s->at += n;
    return true;
}

/* The nth field of this number; NULL bytes: there is none. */
static struct field nth(struct slice message, unsigned number, size_t n)
{
    struct field field;
    while (next(&message, &field))
        if (field.number == number && n-- == 0)
            return field;
    return (struct field){0};
}

static struct slice get(struct slice message, unsigned number)
{
    return nth(message, number, 0).bytes;
}

static bool says(struct slice s, const char *text)
{
    return s.at && (size_t)(s.end - s.at) == strlen(text) && memcmp(s.at, text, strlen(text)) == 0;
}

static bool equal(struct slice a, struct slice b)
{
    return a.end - a.at == b.end - b.at && memcmp(a.at, b.at, (size_t)(a.end - a.at)) == 0;
}

/* ---- the schema, as far as it is looked at ---- */

enum {
    MODEL_GRAPH = 7,
    MODEL_OPSET = 8,
    MODEL_METADATA = 14,
    GRAPH_NODE = 1,
    GRAPH_CONSTANT = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    MAX_NAMES = 1024
};

static struct slice open_file(const struct model *model)
{
    const struct bundle_member *member = bundle_find(model->bundle, "model.onnx");
    if (!member)
        return (struct slice){NULL, NULL};
    return (struct slice){member->bytes, member->bytes + member->n};
}

/* The TensorProto of this name. */
static struct slice constant(struct slice graph, const char *name)
{
    for (size_t i = 0;; i++) {
        struct slice tensor = nth(graph, GRAPH_CONSTANT, i).bytes;
        if (!tensor.at || says(get(tensor, 8), name))
            return tensor;
    }
}

/* Are its dims [rows, cols] (cols 0: [rows]) and its values w, or w transposed? */
static bool holds(struct slice tensor, size_t rows, size_t cols, const float *w, bool transposed)
{
    if (!tensor.at || nth(tensor, 1, 0).integer != rows || nth(tensor, 1, 1).integer != cols ||
        nth(tensor, 2, 0).integer != ONNX_FLOAT)
        return false;
    struct slice raw = get(tensor, 9);
    size_t n = cols ? cols : 1;
    if ((size_t)(raw.end - raw.at) != rows * n * sizeof *w)
        return false;
    for (size_t i = 0; i < rows * n; i++) {
        float value;
        memcpy(&value, raw.at + i * sizeof value, sizeof value);
        if (value != w[transposed ? i % n * rows + i / n : i])
            return false;
    }
    return true;
}

static bool known(struct slice name, const struct slice *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (equal(name, list[i]))
            return true;
    return false;
}

/* Every name is made once, and before it is used. */
static bool in_order(struct slice graph)
{
    static const unsigned made_in[] = {GRAPH_CONSTANT, GRAPH_INPUT};
    static const unsigned name_of[] = {8, 1};
    static struct slice list[MAX_NAMES];
    struct field field;
    struct slice name;
    size_t n = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; (field = nth(graph, made_in[k], i)).bytes.at && n < MAX_NAMES; i++) {
            name = get(field.bytes, name_of[k]);
            if (known(name, list, n))
                return false;
            list[n++] = name;
        }
    for (size_t i = 0; (field = nth(graph, GRAPH_NODE, i)).bytes.at && n < MAX_NAMES; i++) {
        for (size_t j = 0; (name = nth(field.bytes, 1, j).bytes).at; j++)
            if (!known(name, list, n)) {
                printf("# %.*s is used before it is made\n", (int)(name.end - name.at),
                       (const char *)name.at);
                return false;
            }
        name = get(field.bytes, 2);
        if (known(name, list, n))
            return false;
        list[n++] = name;
    }
    return !broken && n < MAX_NAMES && known(get(get(graph, GRAPH_OUTPUT), 1), list, n);
}

/* ---- the tests ---- */

static void export(struct model *model, struct model *there, const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(onnx_write(model, "1.2.3", json_object(), output, NULL, &err), &err);
    tiny_reopen(output, there, file);
}

static void file(void)
{
    static struct tiny tiny;
    struct model model, there;
    tiny_make(&tiny, 7);
    tiny_model(&tiny, &model, "model");
    export(&model, &there, "onnx");
    struct slice whole = open_file(&there), graph = get(whole, MODEL_GRAPH);
    tap_ok(nth(whole, 1, 0).integer == 8 && says(get(whole, 2), "millet") &&
               says(get(whole, 3), "1.2.3") &&
               nth(get(whole, MODEL_OPSET), 2, 0).integer == ONNX_OPSET,
           "versions and producer");
    tap_ok(says(get(get(whole, MODEL_METADATA), 1), "labels") &&
               says(get(get(whole, MODEL_METADATA), 2), "[\"alpha\",\"beta\",\"gamma\"]"),
           "labels in the metadata");
    tap_ok(says(get(nth(graph, GRAPH_INPUT, 0).bytes, 1), "input_ids") &&
               says(get(nth(graph, GRAPH_INPUT, 1).bytes, 1), "attention_mask") &&
               !nth(graph, GRAPH_INPUT, 2).bytes.at &&
               says(get(nth(graph, GRAPH_OUTPUT, 0).bytes, 1), "logits") &&
               !nth(graph, GRAPH_OUTPUT, 1).bytes.at,
           "two inputs, one output");
    tap_ok(in_order(graph), "every value is made once, before it is used");
    char name[96];
    tiny_name(name, sizeof name, 1, "attention.self.query.weight.T");
    tap_ok(holds(constant(graph, name), TINY_HIDDEN, 2 * TINY_HEAD_SIZE,
                 tiny_layer_values(&tiny, 1, "attention.self.query.weight"), true),
           "a layer of two heads: its query matrix, transposed");
    tiny_name(name, sizeof name, 2, "intermediate.dense.bias");
    tap_ok(holds(constant(graph, name), 6, 0,
                 tiny_layer_values(&tiny, 2, "intermediate.dense.bias"), false),
           "a layer of six neurons: its bias");
    tap_ok(holds(constant(graph, "bert.embeddings.word_embeddings.weight"), TINY_VOCAB, TINY_HIDDEN,
                 tiny_values(&tiny, "bert.embeddings.word_embeddings.weight"), false),
           "the word table as it is");
    tap_ok(there.n_tensors == 0 && bundle_find(there.bundle, "config.json"),
           "config.json beside it, and no safetensors");
    model_close(&there);
    model_close(&model);
}

struct collected {
    uint8_t bytes[8192];
    size_t n;
};

static bool collect(void *context, const void *bytes, size_t n, struct error *err)
{
    struct collected *collected = context;
    if (n > sizeof collected->bytes - collected->n)
        return error_set(err, "more than this test has room for");
    memcpy(collected->bytes + collected->n, bytes, n);
    collected->n += n;
    return true;
}

/* More columns than one block of a transposition, from each type. */
static void wide(void)
{
    enum { ROWS = 5, COLS = 150 };
    static float w[ROWS * COLS];
    static uint16_t half[ROWS * COLS];
    for (size_t i = 0; i < ROWS * COLS; i++)
        w[i] = (float)i;
    dtype_from_float(DTYPE_F16, w, ROWS * COLS, half);
    const struct tensor_view view[] = {tensor_view_2d("w", DTYPE_F32, ROWS, COLS, w),
                                       tensor_view_2d("w", DTYPE_F16, ROWS, COLS, half)};
    for (size_t i = 0; i < 2; i++) {
        struct error err = ERROR_INIT;
        static struct collected file;
        const struct onnx_about about = {.producer = "p", .version = "v"};
        uint64_t bytes = 0;
        file.n = 0;
        struct onnx_graph *graph = onnx_graph_open("g", &err);
        tiny_must(graph != NULL, &err);
        const char *first = onnx_graph_weight(graph, &view[i], true);
        const char *plain = onnx_graph_weight(graph, &view[i], false);
        tap_ok(first && first == onnx_graph_weight(graph, &view[i], true) && plain &&
                   first != plain,
               "a weight that is asked for again is the same one");
        tiny_must(onnx_graph_finish(graph, &about, &bytes, &err) &&
                      onnx_graph_write(graph, collect, &file, &err),
                  &err);
        struct slice all = {file.bytes, file.bytes + file.n};
        tap_ok(bytes == file.n &&
                   holds(constant(get(all, MODEL_GRAPH), "w.T"), COLS, ROWS, w, true),
               "%s: 150 columns become 150 rows", dtype_name(view[i].type));
        tap_ok(holds(constant(get(all, MODEL_GRAPH), "w"), ROWS, COLS, w, false),
               "and stay columns");
        onnx_graph_close(graph);
    }
}

static void formats(void)
{
    static struct tiny tiny;
    struct model model, other, there, same;
    tiny_make(&tiny, 8);
    tiny_model(&tiny, &model, "model");
    for (enum format format = FORMAT_FP32; format <= FORMAT_INT8; format++) {
        struct error err = ERROR_INIT;
        struct output *output = tiny_output("other");
        tiny_must(format_write(&model, format, json_object(), output, NULL, &err), &err);
        tiny_reopen(output, &other, "other");
        if (format == FORMAT_INT8) {
            output = tiny_output("onnx");
            bool ok = onnx_write(&other, "1", json_object(), output, NULL, &err);
            tap_ok(!ok && strstr(err.text, "mquant --to fp32"), "int8 is refused: %s", err.text);
            output_abandon(output);
            model_close(&other);
            continue;
        }
        export(&other, &there, "onnx");
        /* The same weights as F32, then exported, are the same file. */
        output = tiny_output("plain");
        tiny_must(format_write(&other, FORMAT_FP32, json_object(), output, NULL, &err), &err);
        model_close(&other);
        tiny_reopen(output, &other, "plain");
        export(&other, &same, "onnx-plain");
        tap_ok(open_file(&there).at && equal(open_file(&there), open_file(&same)), "%s becomes F32",
               format_name(format));
        model_close(&there);
        model_close(&same);
        model_close(&other);
    }
    model_close(&model);
}

static void damaged(void)
{
    static struct tiny tiny;
    struct model model;
    struct error err = ERROR_INIT;
    tiny_make(&tiny, 9);
    tiny_layer_values(&tiny, 1, "output.dense.weight")[3] = NAN;
    tiny_model(&tiny, &model, "nan");
    struct output *output = tiny_output("onnx");
    bool ok = onnx_write(&model, "1", json_object(), output, NULL, &err);
    tap_ok(!ok && strstr(err.text, "bert.encoder.layer.1.output.dense.weight") &&
               output_bytes(output) == 0,
           "a weight that is not finite is refused before anything is written: %s", err.text);
    output_abandon(output);
    model_close(&model);
}

/* A graph of one huge weight, which need not exist: the layout alone says no. */
static void too_large(void)
{
    struct error err = ERROR_INIT;
    uint64_t bytes = 0;
    const float nothing = 0;
    const struct onnx_about about = {.producer = "p", .version = "v"};
    const struct tensor_view view =
        tensor_view_2d("huge", DTYPE_F32, (uint64_t)1 << 20, 1 << 10, &nothing);
    struct onnx_graph *graph = onnx_graph_open("g", &err);
    tiny_must(graph != NULL, &err);
    const struct tensor_view part = tensor_view_1d("part", DTYPE_F32, 1 << 10, &nothing);
    const char *name = onnx_graph_weight(graph, &view, false);
    tap_ok(name != NULL, "a weight of 4 GiB is only named");
    tap_ok(onnx_graph_weight(graph, &part, false) != name,
           "a tensor of another shape that begins at the same byte is another");
    tap_ok(!onnx_graph_finish(graph, &about, &bytes, &err) && strstr(err.text, "2 GiB"),
           "and refused: %s", err.text);
    onnx_graph_close(graph);
}

int main(void)
{
    scratch_open();
    file();
    wide();
    formats();
    damaged();
    too_large();
    return tap_done();
}
