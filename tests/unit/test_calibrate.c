/* Static scales of activations: the largest values seen, in the file, and at work. */
#include "quant/calibrate.h"

#include "nn/encoder.h"
#include "nn/weights.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 4 };
static const int64_t offset[RECORDS + 1] = {0, 1, 4, 9, 20};
static const int32_t id[20] = {3, 1, 7, 2, 1, 19, 4, 4, 2, 0, 5, 1, 8, 9, 10, 11, 12, 13, 14, 2};
static const int32_t label[RECORDS] = {-1, -1, -1, -1};

static struct records_part part = {.n = RECORDS, .n_tokens = 20, .offset = offset, .id = id};
static size_t first[2] = {0, RECORDS};
static struct records_set records(void)
{
    part.label = label;
    return (struct records_set){
        .header = {.label = (char **)(uintptr_t)tiny_label, .n_labels = TINY_LABELS},
        .part = &part,
        .n_parts = 1,
        .first = first,
        .n = RECORDS,
        .n_tokens = 20};
}

static float scale_of(const struct calibrate *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->input[i].name, name) == 0)
            return c->input[i].scale;
    return 0;
}

/* Largest of n activations / 127. */
static float step(struct device *dev, const act *x, size_t n)
{
    float host[20 * 64], largest = 0;
    dev->op->act_download(dev, host, x, n);
    for (size_t i = 0; i < n; i++)
        largest = fmaxf(largest, fabsf(host[i]));
    return largest / 127;
}

/* All records in one taped pass, which shows what the matrices multiply. */
static void against_encoder(const struct calibrate *c, struct model *model, const struct shape *s)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    struct weights weights;
    struct batch batch;
    tiny_must(weights_prepare(&weights, s, model, dev, &err), &err);
    struct encoder *encoder = encoder_open(dev, s, true, &err);
    batch_init(&batch, dev, s, 0, false);
    bool ok = encoder != NULL;
    for (size_t i = 0; ok && i < RECORDS; i++)
        ok = batch_add(&batch, id + offset[i], (size_t)(offset[i + 1] - offset[i]), -1, NULL, &err);
    tiny_must(ok && batch_upload(&batch, &err) && encoder_reserve(encoder, 20, RECORDS, &err),
              &err);
    encoder_forward(encoder, &weights, &batch, NULL);
    float expected[] = {
        step(dev, encoder_hidden(encoder, 0), 20 * TINY_HIDDEN),
        step(dev, encoder_units(encoder, 1, ENCODER_HEADS),
             20 * s->layer[1].heads * TINY_HEAD_SIZE),
        step(dev, encoder_units(encoder, 2, ENCODER_NEURONS), RECORDS * s->layer[2].ffn),
        step(dev, encoder_pooled(encoder), RECORDS * TINY_HIDDEN)};
    float found[] = {scale_of(c, "bert.encoder.layer.0.attention.self.value.weight"),
                     scale_of(c, "bert.encoder.layer.1.attention.output.dense.weight"),
                     scale_of(c, "bert.encoder.layer.2.output.dense.weight"),
                     scale_of(c, "classifier.weight")};
    tap_close(found, expected, 4, 1e-6, "the largest value that a matrix multiplies / 127");
    tap_ok(scale_of(c, "bert.encoder.layer.0.attention.self.query.weight") == found[0],
           "query and value multiply the same");
    batch_free(&batch);
    encoder_close(encoder);
    weights_free(&weights);
    dev->op->close(dev);
}

static void written(struct model *from, const struct format_plan *plan, struct model *to,
                    const char *file)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    tiny_must(format_write_plan(from, plan, json_object(), output, NULL, &err), &err);
    tiny_reopen(output, to, file);
}

static void in_files(const struct calibrate *c, struct model *model)
{
    static const char name[] = "bert.pooler.dense.weight_input_scale";
    const struct format_plan plan = {
        .to = FORMAT_INT8, .tables = FORMAT_AS_IS, .input = c->input, .n_inputs = c->n};
    const struct format_plan again = {.to = FORMAT_INT8, .tables = FORMAT_AS_IS};
    const struct format_plan floats = {.to = FORMAT_FP32, .tables = FORMAT_AS_IS};
    struct model fixed, dynamic, kept, back;
    float before[RECORDS * TINY_LABELS], after[RECORDS * TINY_LABELS], each[RECORDS * TINY_LABELS];
    struct error err = ERROR_INIT;
    written(model, &plan, &fixed, "fixed");
    written(model, &again, &dynamic, "dynamic");
    written(&fixed, &again, &kept, "kept");
    written(&fixed, &floats, &back, "back");
    tap_ok(model_find(&fixed, name) && model_find(&kept, name) && !model_find(&back, name) &&
               !model_find(&dynamic, name) && back.n_tensors == model->n_tensors,
           "they travel with int8 matrices, and go with them");
    tiny_answer(model, offset, id, RECORDS, before);
    tiny_answer(&fixed, offset, id, RECORDS, after);
    tiny_answer(&dynamic, offset, id, RECORDS, each);
    tap_ok(memcmp(after, each, sizeof after) != 0, "they are used");
    tap_close(after, before, RECORDS * TINY_LABELS, 0.25, "and the answers are near those of fp32");
    struct output *output = tiny_output("none");
    const struct format_plan wrong = {
        .to = FORMAT_FP16, .tables = FORMAT_AS_IS, .input = c->input, .n_inputs = c->n};
    tap_ok(!format_write_plan(model, &wrong, json_object(), output, NULL, &err) &&
               strstr(err.text, "--to int8"),
           "%s", err.text);
    output_abandon(output);
    model_close(&fixed);
    model_close(&dynamic);
    model_close(&kept);
    model_close(&back);
}

/* A scale of a file that is none. */
static void damaged(struct calibrate *c, struct model *model, float value)
{
    struct device *dev;
    struct model bad;
    struct error err = ERROR_INIT;
    struct weights weights;
    struct shape shape;
    float was = c->input[0].scale;
    c->input[0].scale = value;
    const struct format_plan plan = {
        .to = FORMAT_INT8, .tables = FORMAT_AS_IS, .input = c->input, .n_inputs = c->n};
    written(model, &plan, &bad, "bad");
    c->input[0].scale = was;
    tiny_must((dev = device_reference_open(&err)) && shape_from_model(&shape, &bad, &err), &err);
    tap_ok(!weights_prepare(&weights, &shape, &bad, dev, &err) && strstr(err.text, "_input_scale"),
           "%s", err.text);
    shape_free(&shape);
    dev->op->close(dev);
    model_close(&bad);
}

/* One text of many makes NaN; whichever batch it is in, it is not forgotten with the next one. */
static void not_a_number(void)
{
    enum { TEXTS = 90, LENGTH = 11, SEEDS = 6 };
    static struct tiny tiny;
    static int64_t at[TEXTS + 1];
    static int32_t token[TEXTS * LENGTH], none[TEXTS];
    struct error err = ERROR_INIT;
    struct model model;
    struct records_set set;
    struct calibrate c;
    struct device *dev = device_reference_open(&err);
    size_t refused = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        at[i + 1] = at[i] + LENGTH;
        none[i] = -1;
        for (size_t t = 0; t < LENGTH; t++)
            token[i * LENGTH + t] = i == 0 ? 9 : 4;
    }
    tiny_make(&tiny, 5);
    tiny_values(&tiny, "bert.embeddings.word_embeddings.weight")[9 * TINY_HIDDEN + 2] = NAN;
    tiny_model(&tiny, &model, "nan");
    tiny_must(dev != NULL, &err);
    tiny_records(&set, at, token, none, NULL, TEXTS);
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        bool ok = calibrate_measure(&c, &model, &set, TEXTS, seed, dev, NULL, &err);
        refused += !ok && strstr(err.text, "not finite");
        if (ok)
            calibrate_free(&c);
        error_clear(&err);
    }
    tap_ok(refused == SEEDS, "a text that makes NaN is told of, %zu times of %d", refused, SEEDS);
    records_set_close(&set);
    model_close(&model);
    dev->op->close(dev);
}

int main(void)
{
    static struct tiny tiny;
    struct model model;
    struct calibrate c, cpu_c;
    struct error err = ERROR_INIT;
    struct records_set set = records();
    struct device *reference = device_reference_open(&err);
    struct device *cpu = device_cpu_open(1, &err);
    tiny_must(reference && cpu, &err);
    tiny_make(&tiny, 5);
    tiny_model(&tiny, &model, "model");
    tiny_must(calibrate_measure(&c, &model, &set, 100, 0, reference, NULL, &err), &err);
    tiny_must(calibrate_measure(&cpu_c, &model, &set, 100, 1, cpu, NULL, &err), &err);
    tap_ok(c.n_records == RECORDS && c.n == 6 * TINY_LAYERS + 2, "a scale for each of %zu matrices",
           c.n);
    bool same = cpu_c.n == c.n;
    for (size_t i = 0; same && i < c.n; i++)
        same = fabsf(c.input[i].scale - cpu_c.input[i].scale) <= 1e-5F * c.input[i].scale;
    tap_ok(same, "the same in another order on another device");
    calibrate_free(&cpu_c);
    against_encoder(&c, &model, &tiny.shape);
    in_files(&c, &model);
    not_a_number();
    damaged(&c, &model, 0);
    damaged(&c, &model, -1);
    damaged(&c, &model, INFINITY);
    damaged(&c, &model, NAN);
    calibrate_free(&c);
    set.n = 0;
    tap_ok(!calibrate_measure(&c, &model, &set, 100, 0, reference, NULL, &err), "%s", err.text);
    cpu->op->close(cpu);
    reference->op->close(reference);
    model_close(&model);
    return tap_done();
}
