/* The classifier: equal to the training forward, independent of lanes, batches and neighbours, and
 * what it refuses. */
#include "tests/tap.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

#include "nn/classifier.h"
#include "nn/encoder.h"

enum { RECORDS = 37 };

struct data {
    int64_t offset[RECORDS + 1];
    int32_t id[RECORDS * 8];
};

static void make_data(struct data *d)
{
    d->offset[0] = 0;
    for (size_t i = 0; i < RECORDS; i++) {
        int32_t id[8];
        size_t n = tiny_record(i, id);
        for (size_t t = 0; t < n; t++)
            d->id[(size_t)d->offset[i] + t] = id[t] + (int32_t)(i % 3);
        d->offset[i + 1] = d->offset[i] + (int64_t)n;
    }
}

/* A model wide enough that a single text is shared among threads: 4 layers of 256. */
static const char *write_wide(const char *file)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path(file);
    struct device *dev = device_reference_open(&err);
    struct shape shape;
    struct params params;
    static char *label[] = {(char *)"a", (char *)"b", (char *)"c"};
    tiny_need(dev &&
                  shape_from_text(&shape, "layers=4,positions=16", TINY_VOCAB, TINY_LABELS, &err),
              &err);
    tiny_params(&params, &shape, dev);
    json_t *config = shape_config(&shape, NULL, label, &err);
    struct output *output = output_open(path, true, &err);
    tiny_need(config && output && params_write(&params, NULL, config, NULL, output, &err) &&
                  output_commit(output, &err),
              &err);
    json_decref(config);
    params_close(&params);
    shape_free(&shape);
    dev->op->close(dev);
    return path;
}

/* Write the tiny model; poison: tensor whose first value becomes NaN (NULL: none). */
static const char *write_model(const char *file, const char *poison)
{
    struct error err = ERROR_INIT;
    const char *path = scratch_path(file);
    struct device *dev = device_reference_open(&err);
    struct shape shape = tiny_shape(3);
    struct params params;
    static char *label[] = {(char *)"a", (char *)"b", (char *)"c"};
    tiny_need(dev, &err);
    tiny_params(&params, &shape, dev);
    const float nan = NAN;
    for (size_t i = 0; i < params.n_entries; i++)
        if (poison && strcmp(params.entry[i].name, poison) == 0)
            dev->op->upload(dev, params.w + params.entry[i].offset, &nan, sizeof nan);
    if (poison && strcmp(params.word.name, poison) == 0)
        for (size_t r = 0; r < TINY_VOCAB; r++)
            dev->op->upload(dev, params.word.w + r * TINY_HIDDEN, &nan, sizeof nan);
    json_t *config = shape_config(&shape, NULL, label, &err);
    struct output *output = output_open(path, true, &err);
    tiny_need(config && output && params_write(&params, NULL, config, NULL, output, &err) &&
                  output_commit(output, &err),
              &err);
    json_decref(config);
    params_close(&params);
    shape_free(&shape);
    dev->op->close(dev);
    return path;
}

/* Logits of all records with n threads; one call, or one call a record. */
static void classify(const char *path, const struct data *d, size_t n_threads, size_t batch_tokens,
                     bool one_by_one, float *logits)
{
    struct error err = ERROR_INIT;
    struct model model;
    struct device *dev = device_cpu_open(n_threads, &err);
    struct threads *team = threads_open(n_threads, &err);
    tiny_need(dev && team && model_open(&model, path, &err), &err);
    struct classifier *c = classifier_open(&model, dev, team, batch_tokens, &err);
    tiny_need(c, &err);
    if (one_by_one)
        for (size_t i = 0; i < RECORDS; i++) {
            const int64_t offset[] = {0, d->offset[i + 1] - d->offset[i]};
            tiny_need(
                classifier_run(c, offset, d->id + d->offset[i], 1, logits + i * TINY_LABELS, &err),
                &err);
        }
    else
        tiny_need(classifier_run(c, d->offset, d->id, RECORDS, logits, &err), &err);
    classifier_close(c);
    model_close(&model);
    threads_close(team);
    dev->op->close(dev);
}

static void test_independence(const char *path, const struct data *d)
{
    static float all[RECORDS * TINY_LABELS], other[RECORDS * TINY_LABELS];
    classify(path, d, 1, 0, false, all);
    classify(path, d, 1, 0, true, other);
    tap_ok(memcmp(all, other, sizeof all) == 0, "one by one = all at once, bit for bit");
    classify(path, d, 2, 0, false, other);
    tap_ok(memcmp(all, other, sizeof all) == 0, "one lane = two lanes, bit for bit");
    classify(path, d, 2, 0, true, other);
    tap_ok(memcmp(all, other, sizeof all) == 0, "one by one on a device of two threads, too");
    classify(path, d, 2, 9, false, other);
    tap_ok(memcmp(all, other, sizeof all) == 0, "small runs = large runs, bit for bit");
}

/* The same through the trainable parameters. */
static void test_training_forward(const char *path, const struct data *d)
{
    struct error err = ERROR_INIT;
    struct model model;
    struct shape shape;
    struct params params;
    struct batch batch;
    static float found[RECORDS * TINY_LABELS], expected[RECORDS * TINY_LABELS];
    struct device *dev = device_cpu_open(2, &err);
    tiny_need(dev && model_open(&model, path, &err) && shape_from_model(&shape, &model, &err) &&
                  params_open(&params, &shape, &model, false, 0, dev, &err),
              &err);
    batch_init(&batch, dev, &shape, 0, false);
    for (size_t i = 0; i < RECORDS; i++)
        tiny_need(batch_add(&batch, d->id + d->offset[i], (size_t)(d->offset[i + 1] - d->offset[i]),
                            -1, NULL, &err),
                  &err);
    struct encoder *encoder = encoder_open(dev, &params.shape, true, &err);
    tiny_need(batch_upload(&batch, &err) && encoder &&
                  encoder_reserve(encoder, batch.n_tokens, batch.n, &err),
              &err);
    dev->op->act_download(dev, expected, encoder_forward(encoder, &params.weights, &batch, NULL),
                          RECORDS * TINY_LABELS);
    classify(path, d, 1, 0, false, found);
    /* other kernels, other orders of sums of at most 12 products, three layers */
    tap_close(found, expected, RECORDS * TINY_LABELS, 2e-5,
              "inference equals the training forward");
    encoder_close(encoder);
    batch_free(&batch);
    params_close(&params);
    shape_free(&shape);
    model_close(&model);
    dev->op->close(dev);
}

static void expect(bool ok, const struct error *err, const char *message)
{
    bool right = !ok && strstr(err->text, message);
    tap_ok(right, "refused: %s", message);
    if (!right)
        printf("# %s\n", err->text);
}

static void test_records(const char *path)
{
    struct error err = ERROR_INIT;
    struct model model;
    float logits[2 * TINY_LABELS];
    struct device *dev = device_cpu_open(1, &err);
    tiny_need(dev && model_open(&model, path, &err), &err);
    struct classifier *c = classifier_open(&model, dev, NULL, 0, &err);
    tiny_need(c, &err);
    int32_t id[20] = {1, 2, 3};
    static const struct {
        int64_t offset[3];
        int32_t third;
        const char *message;
    } bad[] = {{{0, 2, 3}, TINY_VOCAB, "record 2: token id 24 is outside the vocabulary of 24"},
               {{0, 2, 3}, -1, "record 2: token id -1"},
               {{0, 2, 19}, 3, "record 2 has 17 tokens, more than the 16 positions"},
               {{0, 0, 3}, 3, "record 1 has no tokens"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e = ERROR_INIT;
        id[2] = bad[i].third;
        expect(classifier_run(c, bad[i].offset, id, 2, logits, &e), &e, bad[i].message);
    }
    tap_ok(classifier_run(c, bad[0].offset, id, 0, logits, &err), "no records are no error");
    classifier_close(c);
    model_close(&model);
    dev->op->close(dev);
}

static void test_nan(const struct data *d)
{
    static const char *const poison[] = {"bert.encoder.layer.1.intermediate.dense.weight",
                                         "bert.encoder.layer.0.attention.self.key.bias",
                                         "bert.embeddings.LayerNorm.weight", "classifier.bias"};
    struct error err = ERROR_INIT;
    struct device *dev = device_cpu_open(1, &err);
    struct model model;
    tiny_need(dev, &err);
    for (size_t i = 0; i < sizeof poison / sizeof poison[0]; i++) {
        struct error e = ERROR_INIT;
        tiny_need(model_open(&model, write_model("nan.tar", poison[i]), &err), &err);
        struct classifier *c = classifier_open(&model, dev, NULL, 0, &e);
        expect(c != NULL, &e, poison[i]);
        classifier_close(c);
        model_close(&model);
    }
    /* The word table is not scanned; the answers tell. */
    struct error e = ERROR_INIT;
    float logits[RECORDS * TINY_LABELS];
    const char *word = "bert.embeddings.word_embeddings.weight";
    tiny_need(model_open(&model, write_model("nan.tar", word), &err), &err);
    struct classifier *c = classifier_open(&model, dev, NULL, 0, &err);
    tiny_need(c, &err);
    expect(classifier_run(c, d->offset, d->id, RECORDS, logits, &e), &e, "not finite");
    classifier_close(c);
    model_close(&model);
    dev->op->close(dev);
}

int main(void)
{
    struct data data;
    scratch_open();
    make_data(&data);
    const char *path = write_model("model.tar", NULL);
    test_independence(path, &data);
    test_independence(write_wide("wide.tar"), &data);
    test_training_forward(path, &data);
    test_records(path);
    test_nan(&data);
    return tap_done();
}
