/* test_golden_models.c: whole models against Hugging Face transformers on PyTorch
 * (tests/golden/make_models.py): hidden states, pooled rows, logits, losses and gradients of a tiny
 * random model of every architecture and every way of writing one down, on the reference and the
 * CPU device. */
#include <stdlib.h>

#include "golden.h"
#include "nn/classifier.h"
#include "nn/encoder.h"
#include "nn/objective.h"
#include "nn/params.h"
#include "tests/tap.h"

/* The golden values are exact to 2^-24 (computed in double precision). Ours pass through 3 layers of
 * sums of at most 48 products of values of order 1, each within 48 * 2^-24 = 3e-6 of its exact
 * value; three layers and the residuals give 1e-5, doubled. Gradients go the same way twice and sum
 * over 67 tokens; they are compared relative to the largest of their tensor. */
static const double value_tolerance = 2e-5, gradient_tolerance = 1e-4;

struct world {
    struct golden golden;
    struct shape shape;
    struct device *dev;
    double hidden_diff, logits_diff, gradient_diff; /* the largest seen */
};

/* Largest difference, relative to `scale`; a NaN counts as infinite. */
static double difference(const float *found, const float *expected, size_t n, double scale)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double diff = fabs((double)found[i] - (double)expected[i]) / scale;
        if (!(diff <= largest))
            largest = isfinite(diff) ? diff : INFINITY;
    }
    return largest;
}

static double largest(const float *value, size_t n)
{
    double max = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)value[i]));
    return max;
}

static void test_classifier(struct world *w)
{
    struct error err = ERROR_INIT;
    const struct golden *g = &w->golden;
    size_t n = 0;
    const float *expected = golden_floats(g, "logits", &n);
    float *logits = calloc(n, sizeof *logits);
    struct classifier *classifier = classifier_open(&w->golden.model, w->dev, NULL, 0, &err);
    if (tap_ok(classifier && n == g->n * w->shape.n_labels &&
                   classifier_run(classifier, g->offset, g->id, g->n, logits, &err),
               "%s, %s: the classifier runs %s", g->name, w->dev->name, err.text)) {
        w->logits_diff = difference(logits, expected, n, 1);
        tap_ok(w->logits_diff <= value_tolerance, "%s, %s: logits within %.1e", g->name,
               w->dev->name, w->logits_diff);
    }
    classifier_close(classifier);
    free(logits);
}

/* The gradient of a named tensor, n elements; tables compact their rows, so they are spread out
 * again. */
static bool gradient_of(struct params *params, const struct batch *batch, const char *name,
                        float *to, size_t n)
{
    struct device *dev = params->dev;
    const struct params_table *table[] = {&params->word, &params->position};
    const struct batch_rows *rows[] = {&batch->word, &batch->position};
    for (size_t t = 0; t < 2; t++) {
        if (strcmp(name, table[t]->name) != 0)
            continue;
        size_t cols = n / table[t]->rows;
        memset(to, 0, n * sizeof *to);
        for (size_t r = 0; r < rows[t]->n; r++)
            dev->op->download(dev, to + (size_t)rows[t]->row[r] * cols, table[t]->grad + r * cols,
                              cols * sizeof *to);
        return n == cols * table[t]->rows;
    }
    for (size_t i = 0; i < params->n_entries; i++) {
        const struct params_entry *e = &params->entry[i];
        if (strcmp(e->name, name) == 0) {
            dev->op->download(dev, to, params->grad + e->offset, n * sizeof *to);
            return n == e->rows * (e->cols ? e->cols : 1);
        }
    }
    return false;
}

/* All gradients that the golden file keeps of this loss. */
static void compare_gradients(struct world *w, struct params *params, const struct batch *batch,
                              const char *key)
{
    char prefix[64];
    int length = snprintf(prefix, sizeof prefix, "gradient.%s.", key);
    for (size_t i = 0; i < w->golden.value.n_tensors; i++) {
        const struct tensor_view *view = &w->golden.value.tensor[i];
        if (strncmp(view->name, prefix, (size_t)length) != 0)
            continue;
        size_t n = (size_t)tensor_view_elements(view);
        float *found = calloc(n, sizeof *found);
        if (tap_ok(gradient_of(params, batch, view->name + length, found, n),
                   "%s, %s: there is a %s", w->golden.name, w->dev->name, view->name)) {
            double diff = difference(found, view->data, n, largest(view->data, n));
            w->gradient_diff = fmax(w->gradient_diff, diff);
            tap_ok(diff <= gradient_tolerance, "%s, %s: %s within %.1e", w->golden.name,
                   w->dev->name, view->name, diff);
        }
        free(found);
    }
}

/* Record s of the golden file into the batch: a label, or the labels that hold, and the teacher. */
static bool add_record(struct world *w, struct batch *batch, size_t s, struct error *err)
{
    const struct golden *g = &w->golden;
    size_t classes = w->shape.n_labels, n_held = 0;
    const int32_t *label = golden_tensor(g, "labels", DTYPE_I32, NULL);
    const float *teacher = golden_floats(g, "teacher_logits", NULL);
    const float *target = golden_floats(g, "targets", NULL);
    int32_t held[16];
    for (size_t c = 0; target && c < classes; c++)
        if (target[s * classes + c] > 0)
            held[n_held++] = (int32_t)c;
    return batch_add(batch, g->id + g->offset[s], (size_t)(g->offset[s + 1] - g->offset[s]),
                     label ? label[s] : -1, teacher ? teacher + s * classes : NULL, err) &&
           (!target || batch_add_targets(batch, held, n_held, true, err));
}

/* A training step without the optimizer. */
static void test_loss(struct world *w, const struct loss *loss, const char *key)
{
    struct error err = ERROR_INIT;
    const struct golden *g = &w->golden;
    struct device *dev = w->dev;
    size_t classes = w->shape.n_labels, n = 0;
    bool multi = golden_floats(g, "targets", NULL) != NULL;
    char name[64];
    snprintf(name, sizeof name, "loss.%s", key);
    const float *expected = golden_floats(g, name, NULL);
    const float *labels = golden_floats(g, multi ? "targets" : "teacher_logits", &n);
    if (!tap_ok(expected && labels && n == g->n * classes, "%s: labels and %s are there", g->name,
                name))
        return;
    struct params params = {0};
    struct batch batch;
    struct encoder_rows_grad rows;
    batch_init(&batch, dev, &w->shape, multi ? 0 : classes, true);
    batch.n_targets = multi ? classes : 0;
    bool ok = params_open(&params, &w->shape, &w->golden.model, false, 0, dev, &err);
    for (size_t s = 0; ok && s < g->n; s++)
        ok = add_record(w, &batch, s, &err);
    struct encoder *encoder = ok ? encoder_open(dev, &w->shape, true, &err) : NULL;
    float *row_loss = encoder ? dev->op->alloc(dev, g->n * sizeof *row_loss, &err) : NULL;
    ok = row_loss && batch_upload(&batch, &err) &&
         encoder_reserve(encoder, batch.n_tokens, batch.n, &err) &&
         params_zero_grad(&params, &batch, &rows, &err);
    if (tap_ok(ok, "%s, %s: a training step is set up %s", g->name, dev->name, err.text)) {
        const act *logits = encoder_forward(encoder, &params.weights, &batch, NULL);
        objective_loss(dev, loss, &batch, logits, classes, row_loss, encoder_dlogits(encoder));
        encoder_backward(encoder, &params.weights, &batch, NULL, &rows, NULL);
        tap_ok(dev->op->sync(dev, &err), "%s, %s: forward and backward ran %s", g->name, dev->name,
               err.text);
        float each[64], mean = 0;
        dev->op->download(dev, each, row_loss, g->n * sizeof *each);
        for (size_t s = 0; s < g->n; s++)
            mean += each[s] / (float)g->n;
        char what[192];
        snprintf(what, sizeof what, "%s, %s: %s", g->name, dev->name, name);
        tap_close(&mean, expected, 1, value_tolerance, what);
        compare_gradients(w, &params, &batch, key);
    }
    dev->op->free(dev, row_loss);
    encoder_close(encoder);
    params_close(&params);
    batch_free(&batch);
}

/* Rows of a layer as the golden file has them. */
static void compare_hidden(struct world *w, const char *key, const act *rows)
{
    size_t n = 0;
    const float *expected = golden_floats(&w->golden, key, &n);
    if (!tap_ok(expected != NULL, "%s: there is a %s", w->golden.name, key))
        return;
    float *found = calloc(n, sizeof *found);
    w->dev->op->act_download(w->dev, found, rows, n);
    double diff = difference(found, expected, n, 1);
    tap_ok(diff <= value_tolerance, "%s, %s: %s within %.1e", w->golden.name, w->dev->name, key,
           diff);
    w->hidden_diff = fmax(w->hidden_diff, diff);
    free(found);
}

/* Outputs of the layers, the first rows, and the mean of all rows; also without a head. */
static void test_hidden(struct world *w, enum shape_pool pool)
{
    struct error err = ERROR_INIT;
    const struct golden *g = &w->golden;
    struct shape shape = w->shape; /* the layers are borrowed */
    struct params params = {0};
    struct batch batch;
    shape.pool = pool;
    shape.no_pooler = pool == SHAPE_MEAN || shape.no_pooler;
    shape.n_labels = 3;
    batch_init(&batch, w->dev, &shape, 0, false);
    bool ok = params_open(&params, &shape, &w->golden.model, true, 0, w->dev, &err);
    for (size_t s = 0; ok && s < g->n; s++)
        ok = batch_add(&batch, g->id + g->offset[s], (size_t)(g->offset[s + 1] - g->offset[s]), -1,
                       NULL, &err);
    struct encoder *encoder = ok ? encoder_open(w->dev, &params.shape, true, &err) : NULL;
    if (tap_ok(encoder && batch_upload(&batch, &err) &&
                   encoder_reserve(encoder, batch.n_tokens, batch.n, &err),
               "%s, %s: an encoder is set up %s", g->name, w->dev->name, err.text)) {
        encoder_forward(encoder, &params.weights, &batch, NULL);
        compare_hidden(w, "hidden.embeddings", encoder_hidden(encoder, 0));
        compare_hidden(w, "hidden.0", encoder_hidden(encoder, 1));
        if (shape.n_layers > 2) /* of the last layer there may be the first rows alone */
            compare_hidden(w, "hidden.1", encoder_hidden(encoder, 2));
        if (pool == SHAPE_FIRST)
            compare_hidden(w, "first", encoder_hidden(encoder, shape.n_layers));
        else
            compare_hidden(w, "mean", encoder_pooled(encoder));
    }
    encoder_close(encoder);
    params_close(&params);
    batch_free(&batch);
}

static void test_device(struct world *w)
{
    const struct golden *g = &w->golden;
    float per_record = 1.0f / (float)g->n;
    const struct loss cross_entropy = {
        .kind = LOSS_CROSS_ENTROPY, .alpha = 0, .temperature = 1, .scale = per_record};
    w->hidden_diff = w->logits_diff = w->gradient_diff = 0;
    test_hidden(w, SHAPE_FIRST);
    test_hidden(w, SHAPE_MEAN);
    if (golden_floats(g, "logits", NULL))
        test_classifier(w);
    if (golden_floats(g, "loss.cross_entropy", NULL))
        test_loss(w, &cross_entropy, "cross_entropy");
    if (golden_floats(g, "loss.multi_label", NULL))
        test_loss(w, &cross_entropy, "multi_label");
    const float *alpha = golden_floats(g, "alpha", NULL);
    const float *temperature = golden_floats(g, "temperature", NULL);
    if (alpha && temperature) {
        const struct loss distil = {
            .kind = LOSS_DISTIL, .alpha = *alpha, .temperature = *temperature, .scale = per_record};
        test_loss(w, &distil, "distillation");
    }
    printf("# %s\t%s\thidden %.1e\tlogits %.1e\tgradients %.1e\n", g->name, w->dev->name,
           w->hidden_diff, w->logits_diff, w->gradient_diff);
}

/* What we write back says what transformers wrote, key by key. */
static void test_config(const struct world *w)
{
    struct error err = ERROR_INIT;
    const struct golden *g = &w->golden;
    json_t *written = shape_config(&w->shape, NULL, NULL, &err), *value;
    const char *key;
    size_t n = 0, differ = 0;
    json_object_foreach(written, key, value)
    {
        const json_t *theirs = json_object_get(g->model.config, key);
        if (!theirs || json_is_null(theirs) || strcmp(key, "architectures") == 0)
            continue;
        bool same = json_is_number(value) && json_is_number(theirs)
                        ? fabs(json_number_value(value) - json_number_value(theirs)) < 1e-9
                        : json_equal(value, theirs);
        if (!same)
            printf("# %s: \"%s\" is not theirs\n", g->name, key);
        n++;
        differ += !same;
    }
    tap_ok(n > 10 && differ == 0, "%s: %zu keys of the config are written as they were read",
           g->name, n);
    json_decref(written);
}

static void test_model(const char *name)
{
    struct error err = ERROR_INIT;
    struct world w = {0};
    bool ok =
        golden_open(&w.golden, name, &err) && shape_from_model(&w.shape, &w.golden.model, &err);
    if (tap_ok(ok, "%s opens %s", name, err.text)) {
        static const char *const device[] = {"reference", "cpu"};
        test_config(&w);
        for (size_t i = 0; i < sizeof device / sizeof *device; i++) {
            w.dev = device_open(device[i], 2, &err);
            if (tap_ok(w.dev != NULL, "device %s opens %s", device[i], err.text)) {
                test_device(&w);
                w.dev->op->close(w.dev);
            }
        }
    }
    shape_free(&w.shape);
    golden_close(&w.golden);
}

int main(void)
{
    static char name[GOLDEN_MODELS][GOLDEN_NAME];
    size_t n = golden_list(name);
    tap_ok(n >= 15, "%zu golden models are there", n);
    for (size_t i = 0; i < n; i++)
        test_model(name[i]);
    return tap_done();
}
