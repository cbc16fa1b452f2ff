/* Padding to a shape that Hugging Face's classes hold: the shape is even, what was added is zero,
 * and the answers stay. */
#include "core/rng.h"
#include "golden.h"
#include "prune/compact.h"
#include "prune/search.h"
#include "quant/dense.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 4 };
static const int64_t offset[RECORDS + 1] = {0, 1, 4, 9, 20};
static const int32_t id[20] = {3, 1, 7, 2, 1, 19, 4, 4, 2, 0, 5, 1, 8, 9, 10, 11, 12, 13, 14, 2};

static void answer(struct model *model, float logits[RECORDS * TINY_LABELS])
{
    tiny_answer(model, offset, id, RECORDS, logits);
}

static void dense(struct model *model, struct model *padded, const char *file,
                  struct dense_result *result)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(dense_write(model, json_pack("{s:s}", "program", "test"), output, result, &err),
              &err);
    tiny_reopen(output, padded, file);
}

/* All of rows [from, rows) and columns [from_col, cols) of layer l's tensor zero? */
static bool zeros(const struct model *model, size_t l, const char *rest, size_t from,
                  size_t from_col)
{
    char name[96];
    tiny_name(name, sizeof name, l, rest);
    const struct tensor_view *view = model_find(model, name);
    size_t cols = view->rank > 1 ? (size_t)view->dim[1] : 1;
    const float *w = view->data;
    bool ok = true;
    for (size_t r = 0; r < view->dim[0]; r++)
        for (size_t c = 0; c < cols; c++)
            ok = ok && (r < from || w[r * cols + c] == 0) && (c < from_col || w[r * cols + c] == 0);
    return ok;
}

static void uneven(void)
{
    static struct tiny tiny;
    float before[RECORDS * TINY_LABELS], after[RECORDS * TINY_LABELS];
    struct model model, padded, again;
    struct dense_result result, second;
    struct shape shape;
    struct error err = ERROR_INIT;
    tiny_make(&tiny, 3);
    tiny_model(&tiny, &model, "uneven");
    dense(&model, &padded, "padded", &result);
    answer(&model, before);
    answer(&padded, after);
    tap_close(after, before, RECORDS * TINY_LABELS, 1e-6, "the same logits");
    tiny_must(shape_from_model(&shape, &padded, &err), &err);
    bool even = true;
    for (size_t l = 0; l < TINY_LAYERS; l++)
        even = even && shape.layer[l].heads == 3 && shape.layer[l].ffn == 7;
    tap_ok(even, "every layer has all heads and the widest feed-forward");
    tap_ok(zeros(&padded, 1, "attention.self.query.weight", 8, SIZE_MAX) &&
               zeros(&padded, 1, "attention.self.key.bias", 8, SIZE_MAX) &&
               zeros(&padded, 1, "attention.self.value.weight", 8, SIZE_MAX) &&
               zeros(&padded, 1, "attention.output.dense.weight", SIZE_MAX, 8) &&
               zeros(&padded, 1, "intermediate.dense.weight", 5, SIZE_MAX) &&
               zeros(&padded, 2, "intermediate.dense.bias", 6, SIZE_MAX) &&
               zeros(&padded, 2, "output.dense.weight", SIZE_MAX, 6),
           "what was added is zero");
    /* One head of 4 columns: 4 rows of 12 and a bias, three times, and 4 columns of 12. Three
     * neurons: 12 + 1 + 12 each. */
    size_t zeros_added = 3 * 4 * 13 + 4 * 12 + 3 * 25;
    tap_ok(result.heads == 1 && result.neurons == 3 &&
               result.weights_after - result.weights_before == zeros_added &&
               result.bytes_after - result.bytes_before == 4 * zeros_added,
           "what it cost is told");
    const json_t *said = json_object_get(padded.millet, "dense");
    tap_ok(json_integer_value(json_object_get(said, "zeros")) == (json_int_t)zeros_added &&
               json_integer_value(json_object_get(padded.config, "intermediate_size")) == 7 &&
               json_array_size(json_object_get(padded.millet, "history")) == 1,
           "millet.json and config.json say so");
    dense(&padded, &again, "again", &second);
    bool same = again.n_tensors == padded.n_tensors && second.heads == 0 && second.neurons == 0;
    for (size_t i = 0; same && i < again.n_tensors; i++)
        same =
            again.tensor[i].bytes == padded.tensor[i].bytes &&
            memcmp(again.tensor[i].data, padded.tensor[i].data, (size_t)again.tensor[i].bytes) == 0;
    tap_ok(same, "a second time nothing is added");
    shape_free(&shape);
    model_close(&model);
    model_close(&padded);
    model_close(&again);
}

static void formats(void)
{
    static struct tiny tiny;
    float before[RECORDS * TINY_LABELS], after[RECORDS * TINY_LABELS];
    struct model model, half, padded;
    struct dense_result result;
    tiny_make(&tiny, 5);
    tiny_model(&tiny, &model, "plain");
    for (enum format format = FORMAT_FP16; format <= FORMAT_INT8; format++) {
        struct error err = ERROR_INIT;
        struct output *output = tiny_output("half");
        tiny_must(format_write(&model, format, json_object(), output, NULL, &err), &err);
        tiny_reopen(output, &half, "half");
        if (format == FORMAT_INT8) {
            output = tiny_output("padded-half");
            bool ok = dense_write(&half, json_object(), output, &result, &err);
            tap_ok(!ok && strstr(err.text, "mquant --to fp32"), "int8 is refused: %s", err.text);
            output_abandon(output);
        } else {
            dense(&half, &padded, "padded-half", &result);
            answer(&half, before);
            answer(&padded, after);
            tap_close(after, before, RECORDS * TINY_LABELS, 1e-6, format_name(format));
            tap_is(json_string_value(json_object_get(padded.millet, "format")), format_name(format),
                   "and its name is kept");
            model_close(&padded);
        }
        model_close(&half);
    }
    model_close(&model);
}

/* ---- other architectures ---- */

/* Without some heads and neurons, chosen at random, as mprune writes it. */
static void prune(struct model *model, const struct shape *shape, struct model *small)
{
    struct error err = ERROR_INIT;
    struct keep keep;
    struct rng rng;
    size_t n = 0;
    struct unit *unit = search_units(shape, 8, &n, &err);
    tiny_must(unit != NULL, &err);
    rng_seed(&rng, 5);
    for (size_t i = 0; i < n; i++)
        unit[i].keep = unit[i].index == 0 || rng_below(&rng, 2);
    tiny_must(keep_of_units(&keep, shape, unit, n, &err), &err);
    struct output *output = tiny_output("small");
    tiny_must(
        compact_write(model, shape, &keep, NULL, 0, json_object(), json_object(), output, &err),
        &err);
    tiny_reopen(output, small, "small");
    keep_free(&keep);
    free(unit);
}

static void run_golden(const struct golden *g, struct model *model, float *logits)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    struct classifier *classifier = dev ? classifier_open(model, dev, NULL, 0, &err) : NULL;
    tiny_must(classifier && classifier_run(classifier, g->offset, g->id, g->n, logits, &err), &err);
    classifier_close(classifier);
    dev->op->close(dev);
}

/* Layers that share their tensors, and stacks, are not pruned by units: those models are even. */
static void architecture(const char *name)
{
    struct error err = ERROR_INIT;
    struct golden golden;
    struct shape shape;
    struct model small, padded;
    struct dense_result result;
    tiny_must(golden_open(&golden, name, &err) && shape_from_model(&shape, &golden.model, &err),
              &err);
    bool even = family_shares_layers(shape.family) || shape.stack > 1;
    size_t n = golden.n * shape.n_labels;
    float *before = calloc(2 * n, sizeof *before), *after = before + n;
    if (shape.has_classifier && shape.has_pooler) {
        if (!even)
            prune(&golden.model, &shape, &small);
        struct model *from = even ? &golden.model : &small;
        dense(from, &padded, "padded", &result);
        run_golden(&golden, from, before);
        run_golden(&golden, &padded, after);
        tap_close(after, before, n, 1e-6, name);
        tap_ok(even ? result.heads + result.neurons == 0 : result.heads > 0 && result.neurons > 0,
               "%s: %zu heads and %zu neurons added", name, result.heads, result.neurons);
        if (!even)
            model_close(&small);
        model_close(&padded);
    }
    free(before);
    shape_free(&shape);
    golden_close(&golden);
}

static void architectures(void)
{
    static char name[GOLDEN_MODELS][GOLDEN_NAME];
    size_t n = golden_list(name);
    tap_ok(n > 10, "%zu golden models", n);
    for (size_t i = 0; i < n; i++)
        architecture(name[i]);
}

static void mean(void)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct dense_result result;
    struct model model;
    tiny_make(&tiny, 2);
    tiny.shape.pool = SHAPE_MEAN;
    tiny_model(&tiny, &model, "mean");
    struct output *output = tiny_output("padded");
    bool ok = dense_write(&model, json_object(), output, &result, &err);
    tap_ok(!ok && strstr(err.text, "mquant --to onnx"), "mean pooling is refused: %s", err.text);
    output_abandon(output);
    model_close(&model);
}

int main(void)
{
    scratch_open();
    architectures();
    mean();
    uneven();
    formats();
    return tap_done();
}
