/* Tuning of a pruned model: the change that is written is the one that was fitted, errors do not
 * grow, and the answers come nearer to the whole model's. */
#include "prune/plan.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 40, LENGTH = 7 };
static int64_t offset[RECORDS + 1];
static int32_t id[RECORDS * LENGTH], label[RECORDS];

static void records(struct records_set *set)
{
    struct rng rng;
    rng_seed(&rng, 8);
    for (size_t r = 0; r < RECORDS; r++) {
        size_t n = 1 + (size_t)rng_below(&rng, LENGTH);
        offset[r + 1] = offset[r] + (int64_t)n;
        label[r] = (int32_t)rng_below(&rng, TINY_LABELS);
        for (int64_t t = offset[r]; t < offset[r + 1]; t++)
            id[t] = (int32_t)rng_below(&rng, TINY_VOCAB);
    }
    tiny_records(set, offset, id, label, NULL, RECORDS);
}

static double distance(const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < RECORDS * TINY_LABELS; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

/* Prune to 60 %, tuned so; answers of the result. how: new reference, NULL: not tuned. */
static void pruned(struct model *model, const struct records_set *set, struct device *dev,
                   enum tune_what what, float *logits, json_t **how)
{
    struct error err = ERROR_INIT;
    struct plan plan;
    struct model small;
    const struct plan_units_options options = {
        .tune = {.what = what, .ridge = 0.01, .samples = 100, .batch_tokens = 50},
        .sample = {.samples = 100}};
    tiny_must(
        plan_units(&plan, model, set, &(struct budget){.share = 0.6}, &options, dev, NULL, &err),
        &err);
    struct output *output = tiny_output("pruned");
    tiny_must(compact_write(model, &plan.before, &plan.keep, plan.patch, plan.n_patches,
                            json_object(), json_object(), output, &err),
              &err);
    tiny_reopen(output, &small, "pruned");
    tiny_answer(&small, offset, id, RECORDS, logits);
    *how = json_incref(json_object_get(plan.how, "tuned"));
    plan_free(&plan);
    model_close(&small);
}

/* No layer's error grows; returns how many fell by more than a tenth. */
static size_t fallen(const json_t *how, bool *grew)
{
    size_t n = 0, i;
    json_t *layer;
    json_array_foreach(json_object_get(how, "squared_errors"), i, layer)
    {
        const char *const part[] = {"heads", "neurons"};
        for (size_t k = 0; k < 2; k++) {
            json_t *pair = json_object_get(layer, part[k]);
            double before = json_number_value(json_array_get(pair, 0));
            double after = json_number_value(json_array_get(pair, 1));
            *grew = *grew || after > before * (1 + 1e-5) + 1e-9;
            n += after < 0.9 * before;
        }
    }
    return n;
}

static void tuned(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    static float whole[RECORDS * TINY_LABELS], cut[RECORDS * TINY_LABELS],
        scaled[RECORDS * TINY_LABELS], fitted[RECORDS * TINY_LABELS];
    struct model model;
    json_t *none, *scales, *weights;
    bool grew = false;
    tiny_make(&tiny, 31);
    tiny_model(&tiny, &model, "model");
    tiny_answer(&model, offset, id, RECORDS, whole);
    pruned(&model, set, dev, TUNE_NONE, cut, &none);
    pruned(&model, set, dev, TUNE_SCALES, scaled, &scales);
    pruned(&model, set, dev, TUNE_WEIGHTS, fitted, &weights);
    size_t with_scales = fallen(scales, &grew), with_weights = fallen(weights, &grew);
    tap_ok(!none && scales && weights && !grew, "%s: no layer's error grows", dev->name);
    tap_ok(with_weights >= TINY_LAYERS && with_weights >= with_scales,
           "%s: %zu errors fall by weights, %zu by scales", dev->name, with_weights, with_scales);
    tap_ok(distance(fitted, whole) < 0.7 * distance(cut, whole) &&
               distance(fitted, whole) < distance(scaled, whole),
           "%s: distance of the written model's answers %.3f; scales %.3f; untuned %.3f", dev->name,
           distance(fitted, whole), distance(scaled, whole), distance(cut, whole));
    json_decref(scales);
    json_decref(weights);
    model_close(&model);
}

/* The factors in the report are those of the tensors that are written, up to the rounding of one
 * product and one quotient. */
static void factors(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    const struct plan_units_options options = {
        .tune = {.what = TUNE_SCALES, .ridge = 0.01, .samples = 100}, .sample = {.samples = 100}};
    size_t bad = 0, changed = 0, means = 0;
    tiny_make(&tiny, 31);
    tiny_model(&tiny, &model, "model");
    tiny_must(
        plan_units(&plan, &model, set, &(struct budget){.share = 0.6}, &options, dev, NULL, &err),
        &err);
    const json_t *scales = json_object_get(json_object_get(plan.how, "tuned"), "scales");
    for (size_t l = 0; l < TINY_LAYERS; l++) {
        const json_t *entry = json_array_get(scales, l), *heads = json_object_get(entry, "heads");
        const struct keep_layer *kept = &plan.keep.layer[l];
        const float *before = tiny_layer_values(&tiny, l, "attention.output.dense.weight");
        const struct compact_patch *patch = &plan.patch[2 * l]; /* attention, feed-forward, … */
        bad += json_array_size(heads) != kept->n_heads;
        for (size_t h = 0; h < kept->n_heads; h++) {
            double scale = json_number_value(json_array_get(heads, h));
            size_t at = kept->head[h] * TINY_HEAD_SIZE;
            bad += !(fabs((double)patch->value[at] / (double)before[at] - scale) < 1e-6 * scale);
            changed += fabs(scale - 1) > 0.01;
        }
        double mean = 0;
        before = tiny_layer_values(&tiny, l, "output.dense.weight");
        for (size_t i = 0; i < kept->n_neurons; i++)
            mean += (double)patch[1].value[kept->neuron[i]] / (double)before[kept->neuron[i]] /
                    (double)kept->n_neurons;
        means += fabs(json_number_value(json_object_get(entry, "neurons_mean")) - mean) < 1e-5;
    }
    tap_ok(bad == 0 && changed > 0 && means == TINY_LAYERS,
           "%s: the report tells the factors of heads and the mean of the neurons'", dev->name);
    plan_free(&plan);
    model_close(&model);
}

/* Nothing removed: nothing to change, and the written model answers as before. */
static void whole_model(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    static float before[RECORDS * TINY_LABELS], after[RECORDS * TINY_LABELS];
    struct error err = ERROR_INIT;
    struct model model, same;
    struct plan plan;
    const struct plan_units_options options = {
        .tune = {.what = TUNE_WEIGHTS, .ridge = 0.1, .samples = 100}, .sample = {.samples = 100}};
    tiny_make(&tiny, 32);
    tiny_model(&tiny, &model, "model");
    tiny_answer(&model, offset, id, RECORDS, before);
    tiny_must(
        plan_units(&plan, &model, set, &(struct budget){.share = 1}, &options, dev, NULL, &err),
        &err);
    struct output *output = tiny_output("same");
    tiny_must(compact_write(&model, &plan.before, &plan.keep, plan.patch, plan.n_patches,
                            json_object(), json_object(), output, &err),
              &err);
    tiny_reopen(output, &same, "same");
    tiny_answer(&same, offset, id, RECORDS, after);
    tap_close(after, before, RECORDS * TINY_LABELS, 1e-4, "all kept: the same answers");
    plan_free(&plan);
    model_close(&same);
    model_close(&model);
}

static void count_losses(void *context, const struct progress_event *event)
{
    size_t *n = context;
    n[0]++;
    n[1] += strcmp(event->stage, "gradients") != 0 && !isnan(event->loss);
}

/* Only gradients have a loss to tell of. */
static void progress(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    size_t events[2] = {0, 0};
    const struct progress to = {.report = count_losses, .context = events};
    const struct plan_units_options options = {
        .rearrange = true,
        .tune = {.what = TUNE_WEIGHTS, .ridge = 0.1, .samples = 100},
        .sample = {.samples = 100}};
    tiny_make(&tiny, 31);
    tiny_model(&tiny, &model, "model");
    tiny_must(
        plan_units(&plan, &model, set, &(struct budget){.share = 0.6}, &options, dev, &to, &err),
        &err);
    tap_ok(events[0] > 2 * TINY_LAYERS && events[1] == 0, "progress tells of no loss there is not");
    plan_free(&plan);
    model_close(&model);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct records_set set;
    scratch_open();
    records(&set);
    for (int cpu = 0; cpu < 2; cpu++) {
        struct device *dev = cpu ? device_cpu_open(2, &err) : device_reference_open(&err);
        tiny_must(dev != NULL, &err);
        tuned(&set, dev);
        factors(&set, dev);
        whole_model(&set, dev);
        progress(&set, dev);
        dev->op->close(dev);
    }
    records_set_close(&set);
    return tap_done();
}
