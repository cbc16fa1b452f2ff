/* Importance against finite differences: the score of a unit is the sum over records of (d loss / d
 * mask)². */
#include "nn/classifier.h"
#include "prune/importance.h"
#include "prune/plan.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 6, TOKENS = 27 };
static const int64_t offset[RECORDS + 1] = {0, 1, 4, 9, 11, 23, 27};
static const int32_t id[TOKENS] = {3,  1,  7,  2,  1,  19, 4,  4,  2, 0, 5, 1, 8, 9,
                                   10, 11, 12, 13, 14, 15, 16, 17, 2, 6, 6, 1, 2};
static const int32_t label[RECORDS] = {0, 2, RECORDS_LABEL_UNKNOWN, 1, 1, 0};

static void losses(const struct tiny *tiny, struct device *dev, double loss[RECORDS])
{
    struct error err = ERROR_INIT;
    struct model model;
    float logits[RECORDS * TINY_LABELS];
    tiny_model(tiny, &model, "changed");
    struct classifier *classifier = classifier_open(&model, dev, NULL, 0, &err);
    tiny_must(classifier && classifier_run(classifier, offset, id, RECORDS, logits, &err), &err);
    classifier_close(classifier);
    model_close(&model);
    for (size_t r = 0; r < RECORDS; r++) {
        double sum = 0;
        for (size_t c = 0; c < TINY_LABELS; c++)
            sum += exp((double)logits[r * TINY_LABELS + c]);
        loss[r] = label[r] < 0 ? 0 : log(sum) - (double)logits[r * TINY_LABELS + (size_t)label[r]];
    }
}

/* Multiply what comes out of a unit: the columns of the next matrix that take it. */
static void scale_unit(struct tiny *tiny, const struct unit *unit, float factor)
{
    bool head = unit->kind == UNIT_HEAD;
    const struct layer_shape *layer = &tiny->layer[unit->layer];
    size_t width = head ? TINY_HEAD_SIZE : 1, cols = head ? layer->heads * width : layer->ffn;
    float *w = tiny_layer_values(tiny, unit->layer,
                                 head ? "attention.output.dense.weight" : "output.dense.weight");
    for (size_t r = 0; r < TINY_HIDDEN; r++)
        for (size_t c = unit->index * width; c < (unit->index + 1) * width; c++)
            w[r * cols + c] *= factor;
}

static double by_differences(uint64_t seed, const struct unit *unit, struct device *dev)
{
    static struct tiny tiny;
    double up[RECORDS], down[RECORDS], sum = 0;
    const float step = 1.0F / 64;
    tiny_make(&tiny, seed);
    scale_unit(&tiny, unit, 1 + step);
    losses(&tiny, dev, up);
    tiny_make(&tiny, seed);
    scale_unit(&tiny, unit, 1 - step);
    losses(&tiny, dev, down);
    for (size_t r = 0; r < RECORDS; r++) {
        double slope = (up[r] - down[r]) / (2 * (double)step);
        sum += slope * slope;
    }
    return sum;
}

static void score(struct tiny *tiny, const struct records_set *set, struct device *dev,
                  const struct importance_options *options, struct unit *unit, size_t n_units,
                  struct importance_result *result)
{
    struct error err = ERROR_INIT;
    struct model model;
    tiny_model(tiny, &model, "model");
    tiny_must(importance_score(&model, &tiny->shape, set, options, dev, NULL, unit, n_units, result,
                               &err),
              &err);
    model_close(&model);
}

/* A slope by differences is off by h²/6 of the third derivative (h = 1/64: 4e-5) and by the rounding
 * of float logits over 2h (32 × 1e-6): 1e-4 in all where derivatives are of size 1, so a score by
 * 2e-4 √score, which is below 0.01 score + 1e-5 everywhere. */
static void against_differences(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    const struct importance_options options = {.samples = 100, .batch_tokens = 10};
    struct importance_result result;
    size_t n_units = 0, bad = 0;
    double largest = 0, loss[RECORDS], mean = 0;
    tiny_make(&tiny, 21);
    struct unit *unit = search_units(&tiny.shape, 5, &n_units, &err);
    tiny_must(unit != NULL, &err);
    score(&tiny, set, dev, &options, unit, n_units, &result);
    for (size_t i = 0; i < n_units; i++) {
        double expected = by_differences(21, &unit[i], dev);
        largest = fmax(largest, expected);
        if (!(fabs(unit[i].score - expected) <= 0.01 * expected + 1e-5)) {
            bad++;
            printf("# layer %zu %s %zu: %g, by differences %g\n", unit[i].layer,
                   unit[i].kind == UNIT_HEAD ? "head" : "neuron", unit[i].index, unit[i].score,
                   expected);
        }
    }
    tap_ok(bad == 0 && largest > 1e-2, "%s: all %zu units as by finite differences (up to %.3f)",
           dev->name, n_units, largest);
    losses(&tiny, dev, loss);
    for (size_t r = 0; r < RECORDS; r++)
        mean += loss[r] / (RECORDS - 1);
    tap_ok(result.n_records == RECORDS - 1 && result.n_tokens == TOKENS - 5,
           "%s: records without a label are left out", dev->name);
    tap_ok(fabs(result.loss - mean) < 1e-4, "%s: the mean loss, %.4f", dev->name, mean);
    free(unit);
}

static void samples(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    size_t n_units = 0;
    double first[2];
    tiny_make(&tiny, 21);
    struct unit *unit = search_units(&tiny.shape, 5, &n_units, &err);
    tiny_must(unit != NULL, &err);
    for (uint64_t seed = 0; seed < 2; seed++) {
        struct importance_result result;
        const struct importance_options options = {.samples = 2, .seed = 3 * seed};
        score(&tiny, set, dev, &options, unit, n_units, &result);
        first[seed] = unit[0].score;
        tap_ok(result.n_records == 2, "a sample of two");
    }
    tap_ok(first[0] != first[1], "another seed draws another sample");
    free(unit);
}

static void plans(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    const struct plan_units_options options = {.sample = {.samples = 100}};
    tiny_make(&tiny, 21);
    tiny_model(&tiny, &model, "model");
    tiny_must(
        plan_units(&plan, &model, set, &(struct budget){.share = 0.6}, &options, dev, NULL, &err),
        &err);
    double head = TINY_HIDDEN * TINY_HIDDEN + TINY_HIDDEN * TINY_LABELS;
    double share = (plan.macs_after - head) / (plan.macs_before - head);
    tap_ok(plan.n_tokens == 5, "multiply-adds are for the mean length");
    tap_ok(share <= 0.6 && share > 0.5, "the budget is used, not passed: %.3f of 0.6", share);
    tap_ok(fabs(json_number_value(json_object_get(plan.how, "kept")) - share) < 1e-9,
           "the search counts multiply-adds as shape_macs() does");
    plan_free(&plan);
    model_close(&model);
}

static void refusals(struct device *dev)
{
    static struct tiny tiny;
    static const int32_t none[RECORDS] = {-1, -1, -1, -1, -1, -1};
    struct error err = ERROR_INIT;
    struct model model;
    struct records_set set;
    struct plan plan;
    const struct plan_units_options options = {.sample = {.samples = 100}};
    tiny_records(&set, offset, id, none, NULL, RECORDS);
    tiny_make(&tiny, 21);
    tiny_model(&tiny, &model, "model");
    bool ok =
        plan_units(&plan, &model, &set, &(struct budget){.share = 0.6}, &options, dev, NULL, &err);
    tap_ok(!ok && strstr(err.text, "none of the 6 records has a label"), "%s", err.text);
    records_set_close(&set);
    error_clear(&err);
    tiny_records(&set, offset, id, label, NULL, RECORDS);
    ok =
        plan_units(&plan, &model, &set, &(struct budget){.share = 0.01}, &options, dev, NULL, &err);
    tap_ok(!ok && strstr(err.text, "keep at least"), "%s", err.text);
    error_clear(&err);
    model_close(&model);
    tiny_values(&tiny, "classifier.bias")[1] = NAN;
    tiny_model(&tiny, &model, "model");
    ok = plan_units(&plan, &model, &set, &(struct budget){.share = 0.6}, &options, dev, NULL, &err);
    tap_ok(!ok && strstr(err.text, "not finite"), "%s", err.text);
    error_clear(&err);
    model_close(&model);
    tiny.n -= 2; /* without the classifier, the last two tensors */
    tiny_model(&tiny, &model, "model");
    ok = plan_units(&plan, &model, &set, &(struct budget){.share = 0.6}, &options, dev, NULL, &err);
    tap_ok(!ok && strstr(err.text, "no trained classifier"), "%s", err.text);
    model_close(&model);
    records_set_close(&set);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct records_set set;
    scratch_open();
    tiny_records(&set, offset, id, label, NULL, RECORDS);
    struct device *dev = device_reference_open(&err);
    tiny_must(dev != NULL, &err);
    against_differences(&set, dev);
    samples(&set, dev);
    plans(&set, dev);
    refusals(dev);
    dev->op->close(dev);
    dev = device_cpu_open(2, &err);
    tiny_must(dev != NULL, &err);
    against_differences(&set, dev);
    dev->op->close(dev);
    records_set_close(&set);
    return tap_done();
}
