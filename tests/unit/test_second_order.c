/* Second-order pruning of a tiny model: the moments, and that what stays makes up for what goes. */
#include <stdlib.h>

#include "prune/compact.h"
#include "prune/second_order.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"

enum { RECORDS = 60, MOST_TOKENS = RECORDS * 8 };
static int64_t offset[RECORDS + 1];
static int32_t id[MOST_TOKENS];

/* Records without labels, of 1 to 8 tokens. */
static void records(struct records_set *set)
{
    int32_t label[RECORDS];
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t i = 0; i < RECORDS; i++) {
        size_t n = 1 + (size_t)rng_below(&rng, 8);
        for (size_t t = 0; t < n; t++)
            id[(size_t)offset[i] + t] = (int32_t)rng_below(&rng, TINY_VOCAB);
        offset[i + 1] = offset[i] + (int64_t)n;
        label[i] = RECORDS_LABEL_UNKNOWN;
    }
    tiny_records(set, offset, id, label, NULL, RECORDS);
}

static void moments(const struct records_set *set, struct device *dev, struct device *reference)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct moments found, expected;
    const struct moments_options one = {.samples = 1000, .batch_tokens = 1};
    const struct moments_options many = {.samples = 1000, .batch_tokens = 100};
    tiny_make(&tiny, 21);
    tiny_model(&tiny, &model, "model");
    tiny_must(moments_gather(&found, &model, &tiny.shape, set, &many, dev, NULL, &err), &err);
    tiny_must(moments_gather(&expected, &model, &tiny.shape, set, &one, reference, NULL, &err),
              &err);
    bool close = found.n_records == RECORDS && found.n_tokens == (size_t)offset[RECORDS];
    for (size_t i = 0; i < found.n_places; i++) {
        const struct moments_place *a = &found.place[i], *b = &expected.place[i];
        /* A sum of up to 300 products, each off by some float roundings. */
        for (size_t k = 0; k < a->cols * a->cols; k++)
            close = close && fabs((double)a->covariance[k] - (double)b->covariance[k]) <=
                                 1e-3 * (1 + fabs((double)b->covariance[k]));
        for (size_t k = 0; k < a->cols; k++)
            close = close && fabs((double)a->mean[k] - (double)b->mean[k]) <= 1e-4;
    }
    tap_ok(close, "%s: the same, however records are batched", dev->name);
    tap_ok(moments_of(&found, 0, ENCODER_HEADS)->rows == (double)offset[RECORDS] &&
               moments_of(&found, 2, ENCODER_NEURONS)->rows == RECORDS,
           "%s: all rows, and first rows in the last layer", dev->name);
    moments_free(&found);
    moments_free(&expected);
    model_close(&model);
}

/* 2000 texts of the same 15 tokens: no layer's inputs vary where positions do not, and over positions
 * exactly as far as one text shows. Of the squares, 200 batches are added up as floats: off by 200 × 6e-8
 * at most. Sums of 30000 floats one by one are off by ten times as much, and variances with them. */
static void same(struct device *dev)
{
    enum { TEXTS = 2000, LENGTH = 15 };
    static struct tiny tiny;
    static int64_t at[TEXTS + 1];
    static int32_t token[TEXTS * LENGTH], none[TEXTS];
    struct error err = ERROR_INIT;
    struct model model;
    struct records_set one, many;
    struct moments few, all;
    const struct moments_options options = {.samples = TEXTS, .batch_tokens = 150};
    for (size_t i = 0; i < TEXTS; i++) {
        at[i + 1] = at[i] + LENGTH;
        none[i] = RECORDS_LABEL_UNKNOWN;
        for (size_t t = 0; t < LENGTH; t++)
            token[i * LENGTH + t] = 7;
    }
    tiny_make(&tiny, 21);
    tiny_model(&tiny, &model, "model");
    tiny_records(&one, at, token, none, NULL, 1);
    tiny_must(moments_gather(&few, &model, &tiny.shape, &one, &options, dev, NULL, &err), &err);
    records_set_close(&one);
    tiny_records(&many, at, token, none, NULL, TEXTS);
    tiny_must(moments_gather(&all, &model, &tiny.shape, &many, &options, dev, NULL, &err), &err);
    records_set_close(&many);
    double worst = 0;
    for (size_t i = 0; i < all.n_places; i++)
        for (size_t k = 0; k < all.place[i].cols; k++) {
            const struct moments_place *a = &all.place[i], *b = &few.place[i];
            double mean = (double)b->mean[k], variance = (double)b->covariance[k * b->cols + k];
            double off = (double)a->covariance[k * a->cols + k] / TEXTS - variance;
            worst = fmax(worst, fabs(off) / (LENGTH * mean * mean + variance));
        }
    tap_ok(worst < 2e-5, "%s: variances of many rows are not off by the rounding of sums: %.1e",
           dev->name, worst);
    moments_free(&few);
    moments_free(&all);
    model_close(&model);
}

/* Mean squared difference of the logits of the written plan, with or without its patches. */
static double difference(struct model *model, const struct plan *plan, bool patched)
{
    struct error err = ERROR_INIT;
    struct model pruned;
    static float before[RECORDS * TINY_LABELS], after[RECORDS * TINY_LABELS];
    struct output *output = tiny_output("pruned");
    tiny_must(compact_write(model, &plan->before, &plan->keep, plan->patch,
                            patched ? plan->n_patches : 0, json_object(), json_object(), output,
                            &err),
              &err);
    tiny_reopen(output, &pruned, "pruned");
    tiny_answer(model, offset, id, RECORDS, before);
    tiny_answer(&pruned, offset, id, RECORDS, after);
    model_close(&pruned);
    double sum = 0;
    for (size_t i = 0; i < RECORDS * TINY_LABELS; i++)
        sum += pow((double)after[i] - (double)before[i], 2) / (RECORDS * TINY_LABELS);
    return sum;
}

static void plans(const struct records_set *set, struct device *dev)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    struct budget budget = {.share = 0.6, .dev = dev};
    struct second_order_options options = {.sample = {.samples = 1000}};
    tiny_make(&tiny, 21);
    tiny_model(&tiny, &model, "model");
    tiny_must(second_order_plan(&plan, &model, set, &budget, &options, &err), &err);
    tap_ok(budget.kept <= 0.6 && budget.kept > 0.5, "the budget is used, not passed: %.3f of 0.6",
           budget.kept);
    double with = difference(&model, &plan, true), without = difference(&model, &plan, false);
    tap_ok(plan.n_patches > 0 && with < without / 2,
           "what stays makes up for what goes: %.4f instead of %.4f", with, without);
    plan_free(&plan);
    budget.share = 1;
    tiny_must(second_order_plan(&plan, &model, set, &budget, &options, &err), &err);
    tap_ok(plan.n_patches == 0 && difference(&model, &plan, true) == 0,
           "keeping all changes nothing");
    plan_free(&plan);
    budget.share = 0.01;
    bool ok = second_order_plan(&plan, &model, set, &budget, &options, &err);
    tap_ok(!ok && strstr(err.text, "keep at least"), "%s", err.text);
    error_clear(&err);
    options.weight = SECOND_ORDER_GRADIENTS;
    budget.share = 0.6;
    ok = second_order_plan(&plan, &model, set, &budget, &options, &err);
    tap_ok(!ok && strstr(err.text, "label"), "gradients need labels: %s", err.text);
    model_close(&model);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct records_set set;
    scratch_open();
    records(&set);
    struct device *reference = device_reference_open(&err), *dev = device_cpu_open(2, &err);
    tiny_must(reference && dev, &err);
    moments(&set, dev, reference);
    moments(&set, reference, reference);
    same(dev);
    plans(&set, dev);
    dev->op->close(dev);
    reference->op->close(reference);
    records_set_close(&set);
    return tap_done();
}
