/* test_train_labels.c: what is counted of labels before the first step, against counts by hand. */
#include "nn/train_labels.h"

#include <math.h>

#include "tests/tap.h"
#include "tests/unit/tiny_grams.h"

enum { CLASSES = TINY_GRAMS_CLASSES, RECORDS = TINY_GRAMS_RECORDS };

static struct tiny_grams tiny, other;

static struct trainer trainer_of(const struct train_options *options, struct device *dev,
                                 uint32_t *usable)
{
    struct trainer t = {.options = options,
                        .dev = dev,
                        .records = &tiny.set,
                        .usable = usable,
                        .n_usable = RECORDS};
    for (uint32_t i = 0; i < RECORDS; i++)
        usable[i] = RECORDS - 1 - i;
    return t;
}

static void test_weights(struct device *dev)
{
    struct error err = ERROR_INIT;
    const struct train_options options = {.balance_classes = true};
    uint32_t usable[RECORDS];
    float weight[CLASSES];
    double mean = 0, count[CLASSES] = {0}, labelled = 0;
    struct trainer t = trainer_of(&options, dev, usable);
    tiny_grams_make(&tiny, false);
    for (size_t i = 0; i < RECORDS; i++)
        if (tiny.label[i] == 2 && i > 8) /* a rare class */
            tiny.label[i] = 0;
    for (size_t i = 0; i < RECORDS; i++)
        if (tiny.label[i] >= 0) {
            count[tiny.label[i]]++;
            labelled++;
        }
    tiny_grams_need(train_weigh(&t, &err), &err);
    dev->op->download(dev, weight, t.class_weight, sizeof weight);
    bool ok = true;
    for (size_t c = 0; c < CLASSES; c++) {
        ok = ok && fabs((double)weight[c] - labelled / (CLASSES * count[c])) < 1e-6;
        mean += (double)weight[c] * count[c] / labelled;
    }
    tap_ok(ok && fabs(mean - 1) < 1e-6, "balanced: n / (C n_c), the mean record weighs 1");
    dev->op->free(dev, t.class_weight);

    for (size_t i = 0; i < RECORDS; i++)
        tiny.label[i] = tiny.label[i] == 2 ? 1 : tiny.label[i];
    count[1] += count[2];
    tiny_grams_need(train_weigh(&t, &err), &err);
    dev->op->download(dev, weight, t.class_weight, sizeof weight);
    tap_ok(!(weight[2] < 0) && !(weight[2] > 0) &&
               fabs((double)weight[1] - labelled / (2 * count[1])) < 1e-6,
           "a class that never occurs weighs nothing, and does not count");
    dev->op->free(dev, t.class_weight);

    tiny_grams_make(&tiny, true);
    tap_ok(!train_weigh(&t, &err) && strstr(err.text, "any number of labels"), "several: %s",
           err.text);
    error_clear(&err);
    tiny_grams_make(&tiny, false);
    const double two[] = {1, 2};
    const struct train_options short_list = {.class_weight = two, .n_class_weights = 2};
    t.options = &short_list;
    tap_ok(!train_weigh(&t, &err) && strstr(err.text, "2 weights for 3 labels"), "%s", err.text);
    error_clear(&err);
}

static double probability(size_t i)
{
    const float *x = tiny.logits + i * CLASSES;
    double total = 0, best = 0;
    for (size_t c = 0; c < CLASSES; c++) {
        total += exp((double)x[c]);
        best = exp((double)x[c]) > best ? exp((double)x[c]) : best;
    }
    return (tiny.label[i] >= 0 ? exp((double)x[tiny.label[i]]) : best) / total;
}

static void test_rank(struct device *dev)
{
    struct error err = ERROR_INIT;
    const struct train_options options = {.curriculum = true};
    uint32_t usable[RECORDS];
    bool used[RECORDS] = {false}, once = true, falls = true;
    struct trainer t = trainer_of(&options, dev, usable);
    tiny_grams_make(&tiny, false);
    tiny_grams_need(train_rank(&t, &err), &err);
    for (size_t i = 0; i < RECORDS; i++) {
        once = once && !used[t.rank[i]];
        used[t.rank[i]] = true;
        falls = falls && (i == 0 || probability(usable[t.rank[i - 1]]) >=
                                        probability(usable[t.rank[i]]) - 1e-6);
    }
    tap_ok(once && falls, "easy is what the teacher is sure of: the label, or its own answer");
    free(t.rank);
    tiny.set.has_logits = false;
    t.rank = NULL;
    tap_ok(!train_rank(&t, &err) && strstr(err.text, "no logits"), "%s", err.text);
    error_clear(&err);
}

static void test_absent(struct device *dev)
{
    struct error err = ERROR_INIT;
    uint32_t usable[RECORDS];
    struct train_result result = {.n_absent = 9};
    tiny_grams_make(&tiny, false);
    tiny_grams_make(&other, false);
    for (size_t i = 0; i < RECORDS; i++) {
        tiny.label[i] = tiny.label[i] == 1 ? RECORDS_LABEL_UNKNOWN : tiny.label[i];
        other.label[i] = other.label[i] >= 0 ? 2 : other.label[i];
    }
    const struct train_options options = {.dev = &other.set};
    struct trainer t = trainer_of(&options, dev, usable);
    tiny_grams_need(train_find_absent(&t, &result, &err), &err);
    tap_ok(result.n_absent == 1 && result.n_absent_dev == 2, "one without records, two on dev");
    tap_is(result.absent, "beta", "its name");
    tap_is(result.absent_dev, "alpha", "the first of those on dev");
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_open("reference", 1, &err);
    tiny_grams_need(dev != NULL, &err);
    test_weights(dev);
    test_rank(dev);
    test_absent(dev);
    dev->op->close(dev);
    return tap_done();
}
