/* test_golden_bert.c: the whole model against Hugging Face transformers on PyTorch
 * (tests/golden/make_bert_tiny.py): logits, losses and gradients of a tiny random BERT, on the
 * reference and the CPU device. */
#include <stdlib.h>

#include "core/jobject.h"
#include "nn/classifier.h"
#include "nn/encoder.h"
#include "nn/params.h"
#include "tests/tap.h"

static const char *const directory = "tests/golden/bert-tiny";

/* Both sides compute in fp32 with other orders of summation. Values of order 1 pass through 3
 * layers of sums of at most 48 products, each within 48 * 2^-24 = 3e-6 of its exact value; three
 * layers and the residuals give 1e-5, doubled. Gradients go the same way twice and sum over 67
 * tokens. */
static const double value_tolerance = 2e-5, gradient_tolerance = 1e-4;

static json_t *load_golden(struct error *err)
{
    char path[256];
    snprintf(path, sizeof path, "%s/golden.json", directory);
    struct source *source = source_open(path, false, err);
    if (!source)
        return NULL;
    size_t n;
    const char *bytes = source_map(source, &n);
    json_t *golden = jobject_parse(bytes, n, path, err);
    source_close(source);
    return golden;
}

static size_t numbers(const json_t *array, float *to, size_t room)
{
    size_t n = json_array_size(array);
    for (size_t i = 0; i < n && i < room; i++)
        to[i] = (float)json_number_value(json_array_get(array, i));
    return n;
}

struct world {
    json_t *golden;
    struct model model;
    struct shape shape;
    size_t n, n_tokens;
    int64_t offset[64];
    int32_t id[512], label[64];
    float teacher[512], logits[512];
};

static bool open_world(struct world *w, struct error *err)
{
    w->golden = load_golden(err);
    if (!w->golden || !model_open(&w->model, directory, err) ||
        !shape_from_model(&w->shape, &w->model, err))
        return false;
    const json_t *ids = json_object_get(w->golden, "ids");
    w->n = json_array_size(ids);
    for (size_t s = 0; s < w->n; s++) {
        const json_t *one = json_array_get(ids, s);
        w->offset[s] = (int64_t)w->n_tokens;
        for (size_t i = 0; i < json_array_size(one); i++)
            w->id[w->n_tokens++] = (int32_t)json_integer_value(json_array_get(one, i));
        w->label[s] =
            (int32_t)json_integer_value(json_array_get(json_object_get(w->golden, "labels"), s));
    }
    w->offset[w->n] = (int64_t)w->n_tokens;
    numbers(json_object_get(w->golden, "teacher_logits"), w->teacher, 512);
    numbers(json_object_get(w->golden, "logits"), w->logits, 512);
    return true;
}

static void test_classifier(struct world *w, struct device *dev)
{
    struct error err = ERROR_INIT;
    char what[128];
    snprintf(what, sizeof what, "%s: logits equal those of transformers", dev->name);
    float logits[512];
    struct classifier *classifier = classifier_open(&w->model, dev, NULL, 0, &err);
    if (!classifier || !classifier_run(classifier, w->offset, w->id, w->n, logits, &err))
        tap_ok(false, "%s: %s", what, err.text);
    else
        tap_close(logits, w->logits, w->n * w->shape.n_labels, value_tolerance, what);
    classifier_close(classifier);
}

/* The gradient of a named tensor; tables compact their rows, so they are spread out again. */
static size_t gradient_of(struct params *params, const struct batch *batch, const char *name,
                          float *to)
{
    struct device *dev = params->dev;
    size_t hidden = params->shape.hidden;
    if (strcmp(name, params->word.name) == 0) {
        size_t n = params->word.rows * hidden;
        memset(to, 0, n * sizeof *to);
        for (size_t r = 0; r < batch->word.n; r++)
            dev->op->download(dev, to + (size_t)batch->word.row[r] * hidden,
                              params->word.grad + r * hidden, hidden * sizeof *to);
        return n;
    }
    for (size_t i = 0; i < params->n_entries; i++) {
        const struct params_entry *e = &params->entry[i];
        if (strcmp(e->name, name) == 0) {
            size_t n = e->rows * (e->cols ? e->cols : 1);
            dev->op->download(dev, to, params->grad + e->offset, n * sizeof *to);
            return n;
        }
    }
    return 0;
}

static void test_gradients(struct world *w, struct device *dev, const struct loss *loss,
                           const char *value_key, const char *gradients_key)
{
    struct error err = ERROR_INIT;
    size_t classes = w->shape.n_labels;
    struct params params = {0};
    struct batch batch;
    struct encoder_rows_grad rows;
    batch_init(&batch, dev, classes, true);
    bool ok = params_open(&params, &w->shape, &w->model, false, 0, dev, &err);
    for (size_t s = 0; ok && s < w->n; s++)
        ok = batch_add(&batch, w->id + w->offset[s], (size_t)(w->offset[s + 1] - w->offset[s]),
                       w->label[s], w->teacher + s * classes, &err);
    struct encoder *encoder = ok ? encoder_open(dev, &w->shape, true, &err) : NULL;
    float *row_loss = encoder ? dev->op->alloc(dev, w->n * sizeof *row_loss, &err) : NULL;
    ok = row_loss && batch_upload(&batch, &err) &&
         encoder_reserve(encoder, batch.n_tokens, batch.n, &err) &&
         params_zero_grad(&params, &batch, &rows, &err);
    if (!tap_ok(ok, "%s: a training step is set up %s", dev->name, err.text))
        goto done;

    const act *logits = encoder_forward(encoder, &params.weights, &batch, NULL);
    dev->op->loss(dev, loss, logits, batch.device_label, batch.device_teacher, batch.n, classes,
                  row_loss, encoder_dlogits(encoder));
    encoder_backward(encoder, &params.weights, &batch, NULL, &rows, NULL);
    tap_ok(dev->op->sync(dev, &err), "%s: forward and backward ran %s", dev->name, err.text);

    float each[64], mean = 0, expected;
    dev->op->download(dev, each, row_loss, w->n * sizeof *each);
    for (size_t s = 0; s < w->n; s++)
        mean += each[s] / (float)w->n;
    expected = (float)json_number_value(json_object_get(w->golden, value_key));
    char what[192];
    snprintf(what, sizeof what, "%s: %s loss", dev->name, value_key);
    tap_close(&mean, &expected, 1, value_tolerance, what);

    const char *name;
    json_t *array;
    static float found[8192], golden[8192];
    json_object_foreach(json_object_get(w->golden, gradients_key), name, array)
    {
        size_t n = numbers(array, golden, 8192);
        snprintf(what, sizeof what, "%s: %s of %s", dev->name, gradients_key, name);
        if (gradient_of(&params, &batch, name, found) != n)
            tap_ok(false, "%s: no such parameter, or of another size", what);
        else
            tap_close(found, golden, n, gradient_tolerance, what);
    }
done:
    dev->op->free(dev, row_loss);
    encoder_close(encoder);
    params_close(&params);
    batch_free(&batch);
}

static void test_device(struct world *w, struct device *dev)
{
    float per_record = 1.0f / (float)w->n;
    const struct loss cross_entropy = {
        .kind = LOSS_CROSS_ENTROPY, .alpha = 0, .temperature = 1, .scale = per_record};
    const struct loss distil = {
        .kind = LOSS_DISTIL,
        .alpha = (float)json_number_value(json_object_get(w->golden, "alpha")),
        .temperature = (float)json_number_value(json_object_get(w->golden, "temperature")),
        .scale = per_record};
    test_classifier(w, dev);
    test_gradients(w, dev, &cross_entropy, "cross_entropy", "cross_entropy_gradients");
    test_gradients(w, dev, &distil, "distillation", "distillation_gradients");
}

int main(void)
{
    struct error err = ERROR_INIT;
    static struct world w;
    if (tap_ok(open_world(&w, &err), "the golden model opens %s", err.text)) {
        static const char *const device[] = {"reference", "cpu"};
        for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
            struct device *dev = device_open(device[i], 2, &err);
            if (tap_ok(dev != NULL, "device %s opens %s", device[i], err.text)) {
                test_device(&w, dev);
                dev->op->close(dev);
            }
        }
    }
    shape_free(&w.shape);
    if (w.model.name)
        model_close(&w.model);
    json_decref(w.golden);
    return tap_done();
}
