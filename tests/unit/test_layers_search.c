/* The search for layers to drop against models written without them: every choice of every step is
 * compacted to a file and asked by the scorer. */
#include <math.h>

#include "nn/classifier.h"
#include "prune/compact.h"
#include "prune/layers_search.h"
#include "prune/plan.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 6, TOKENS = 27, DROPS = TINY_LAYERS - 1 };
static const int64_t offset[RECORDS + 1] = {0, 1, 4, 9, 11, 23, 27};
static const int32_t id[TOKENS] = {3,  1,  7,  2,  1,  19, 4,  4,  2, 0, 5, 1, 8, 9,
                                   10, 11, 12, 13, 14, 15, 16, 17, 2, 6, 6, 1, 2};
static const int32_t label[RECORDS] = {0, 2, 1, 1, 1, 0};
static const int32_t no_label[RECORDS] = {-1, -1, -1, -1, -1, -1};

/* With logits that say what label[] does. */
static void open_taught(struct records_set *set)
{
    float taught[RECORDS * TINY_LABELS];
    for (size_t i = 0; i < RECORDS * TINY_LABELS; i++)
        taught[i] = (size_t)label[i / TINY_LABELS] == i % TINY_LABELS ? 1.5F : -0.5F;
    tiny_records(set, offset, id, no_label, taught, RECORDS);
}

/* The mean cross-entropy of the model cut to these layers, by way of a file. */
static double plain(struct model *model, const struct shape *shape, const size_t *layer, size_t n)
{
    struct error err = ERROR_INIT;
    struct keep keep;
    struct model small;
    float logits[RECORDS * TINY_LABELS];
    double mean = 0;
    tiny_must(keep_of_layers(&keep, shape, layer, n, &err), &err);
    struct output *output = tiny_output("small");
    tiny_must(
        compact_write(model, shape, &keep, NULL, 0, json_object(), json_object(), output, &err),
        &err);
    tiny_reopen(output, &small, "small");
    keep_free(&keep);
    tiny_answer(&small, offset, id, RECORDS, logits);
    model_close(&small);
    for (size_t r = 0; r < RECORDS; r++) {
        double sum = 0;
        for (size_t c = 0; c < TINY_LABELS; c++)
            sum += exp((double)logits[r * TINY_LABELS + c]);
        mean += (log(sum) - (double)logits[r * TINY_LABELS + (size_t)label[r]]) / RECORDS;
    }
    return mean;
}

/* By trying all, with plain() alone. */
static void brute(struct model *model, const struct shape *shape, size_t *drop, double *loss)
{
    size_t left[TINY_LAYERS] = {0, 1, 2}, n = TINY_LAYERS;
    for (size_t i = 0; i < DROPS; i++, n--) {
        size_t best = n - 1, without[TINY_LAYERS];
        loss[i] = INFINITY;
        for (size_t p = n; p-- > 0;) {
            for (size_t k = 0, m = 0; k < n; k++)
                if (k != p)
                    without[m++] = left[k];
            double found = plain(model, shape, without, n - 1);
            if (found < loss[i]) {
                loss[i] = found;
                best = p;
            }
        }
        drop[i] = left[best];
        for (size_t k = best; k + 1 < n; k++)
            left[k] = left[k + 1];
    }
}

static void search(struct tiny *tiny, struct model *model, const struct records_set *set,
                   struct device *dev, size_t batch_tokens, size_t *drop, double *loss,
                   struct layers_search_result *result)
{
    struct error err = ERROR_INIT;
    const struct layers_search_options options = {.samples = 100, .batch_tokens = batch_tokens};
    tiny_must(layers_search(model, &tiny->shape, set, &options, dev, NULL, DROPS, drop, loss,
                            result, &err),
              &err);
}

/* Losses of floats: sums of up to 36 products of size 1 in each of some ten steps, 1e-5 in all. */
static void against_files(const struct records_set *set, struct device *dev, enum shape_pool pool)
{
    static struct tiny tiny;
    size_t orders = 0, first = 0, bad = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct model model;
        struct layers_search_result result;
        size_t drop[DROPS], expected[DROPS], all[TINY_LAYERS] = {0, 1, 2};
        double loss[DROPS], expected_loss[DROPS];
        tiny_make(&tiny, seed);
        tiny.shape.pool = pool;
        tiny.shape.no_pooler = pool == SHAPE_MEAN;
        tiny_model(&tiny, &model, "model");
        search(&tiny, &model, set, dev, seed % 2 ? 10 : 0, drop, loss, &result);
        brute(&model, &tiny.shape, expected, expected_loss);
        bool whole = fabs(result.whole - plain(&model, &tiny.shape, all, TINY_LAYERS)) < 1e-4;
        for (size_t i = 0; i < DROPS; i++)
            if (!whole || drop[i] != expected[i] || !(fabs(loss[i] - expected_loss[i]) < 1e-4)) {
                bad++;
                printf("# seed %d: %zu at %g, expected %zu at %g\n", (int)seed, drop[i], loss[i],
                       expected[i], expected_loss[i]);
            }
        orders += seed > 1 && drop[0] != first;
        first = drop[0];
        model_close(&model);
    }
    tap_ok(bad == 0 && orders > 0, "%s, %s: order and losses as of models without the layers",
           dev->name, pool == SHAPE_MEAN ? "mean" : "first row");
}

static void teachers(const struct records_set *labelled, struct device *dev)
{
    static struct tiny tiny;
    struct records_set set;
    struct model model;
    struct layers_search_result result;
    size_t drop[2][DROPS];
    double loss[2][DROPS];
    tiny_make(&tiny, 5);
    tiny_model(&tiny, &model, "model");
    search(&tiny, &model, labelled, dev, 0, drop[0], loss[0], &result);
    tap_ok(!result.taught && result.n_records == RECORDS, "labels of the stream");
    open_taught(&set);
    search(&tiny, &model, &set, dev, 0, drop[1], loss[1], &result);
    tap_ok(result.taught && memcmp(drop[0], drop[1], sizeof drop[0]) == 0 &&
               memcmp(loss[0], loss[1], sizeof loss[0]) == 0,
           "without labels the teacher's word counts");
    records_set_close(&set);
    model_close(&model);
}

/* A layer whose output matrices and biases are zero adds nothing but norms of what is normed: of
 * equal gains, dropping one is the same as dropping the other. */
static void ties(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    static const char *const zero[] = {"attention.output.dense.weight",
                                       "attention.output.dense.bias", "output.dense.weight",
                                       "output.dense.bias"};
    static const char *const norm[] = {"attention.output.LayerNorm.", "output.LayerNorm."};
    struct model model;
    struct layers_search_result result;
    size_t drop[DROPS];
    double loss[DROPS];
    tiny_make(&tiny, 9);
    for (size_t l = 0; l < TINY_LAYERS; l++) {
        size_t a = tiny.layer[l].heads * TINY_HEAD_SIZE * TINY_HIDDEN;
        const size_t n[] = {a, TINY_HIDDEN, tiny.layer[l].ffn * TINY_HIDDEN, TINY_HIDDEN};
        for (size_t i = 0; i < 4; i++)
            memset(tiny_layer_values(&tiny, l, zero[i]), 0, n[i] * sizeof(float));
        for (size_t i = 0; i < 2; i++) {
            char name[64];
            snprintf(name, sizeof name, "%sweight", norm[i]);
            for (size_t c = 0; c < TINY_HIDDEN; c++)
                tiny_layer_values(&tiny, l, name)[c] = 1;
            snprintf(name, sizeof name, "%sbias", norm[i]);
            memset(tiny_layer_values(&tiny, l, name), 0, TINY_HIDDEN * sizeof(float));
        }
    }
    tiny_model(&tiny, &model, "model");
    search(&tiny, &model, set, dev, 0, drop, loss, &result);
    tap_ok(drop[0] == 2 && drop[1] == 1, "of equal layers the upper one goes: %zu, %zu", drop[0],
           drop[1]);
    model_close(&model);
}

static void plans(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    struct budget budget = {.share = 0.34};
    const struct layers_search_options options = {.samples = 100};
    size_t drop[DROPS];
    double loss[DROPS];
    tiny_make(&tiny, 4);
    tiny_model(&tiny, &model, "model");
    brute(&model, &tiny.shape, drop, loss);
    tiny_must(layers_search_plan(&plan, &model, set, &budget, &options, dev, NULL, &err), &err);
    const json_t *dropped = json_object_get(plan.how, "dropped");
    bool ok = json_array_size(dropped) == DROPS && plan.keep.n_layers == 1 &&
              plan.keep.layer[0].layer == 3 - drop[0] - drop[1];
    for (size_t i = 0; i < DROPS; i++) {
        const json_t *entry = json_array_get(dropped, i);
        ok = ok && (size_t)json_integer_value(json_object_get(entry, "layer")) == drop[i] &&
             fabs(json_number_value(json_object_get(entry, "loss")) - loss[i]) < 1e-4;
    }
    tap_ok(ok, "the plan keeps the last one left and says what went, with losses");
    plan_free(&plan);
    budget.share = 1;
    tiny_must(layers_search_plan(&plan, &model, set, &budget, &options, dev, NULL, &err), &err);
    tap_ok(plan.keep.n_layers == TINY_LAYERS &&
               json_array_size(json_object_get(plan.how, "dropped")) == 0,
           "all may stay");
    plan_free(&plan);
    model_close(&model);
    tiny.n -= 2; /* without the classifier */
    tiny_model(&tiny, &model, "model");
    ok = layers_search_plan(&plan, &model, set, &budget, &options, dev, NULL, &err);
    tap_ok(!ok && strstr(err.text, "classif"), "%s", err.text);
    model_close(&model);
}

/* A weight that is no number: the model is to blame, not the memory for a report. */
static void damaged(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    struct budget budget = {.share = 0.34};
    const struct layers_search_options options = {.samples = 100};
    tiny_make(&tiny, 4);
    tiny_values(&tiny, "classifier.bias")[1] = NAN;
    tiny_model(&tiny, &model, "model");
    bool ok = layers_search_plan(&plan, &model, set, &budget, &options, dev, NULL, &err);
    tap_ok(!ok && strstr(err.text, "not finite"), "%s", err.text);
    model_close(&model);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct records_set set;
    scratch_open();
    tiny_records(&set, offset, id, label, NULL, RECORDS);
    struct device *dev = device_reference_open(&err);
    tiny_must(dev != NULL, &err);
    against_files(&set, dev, SHAPE_FIRST);
    against_files(&set, dev, SHAPE_MEAN);
    teachers(&set, dev);
    ties(&set, dev);
    plans(&set, dev);
    damaged(&set, dev);
    dev->op->close(dev);
    dev = device_cpu_open(2, &err);
    tiny_must(dev != NULL, &err);
    against_files(&set, dev, SHAPE_FIRST);
    dev->op->close(dev);
    records_set_close(&set);
    return tap_done();
}
