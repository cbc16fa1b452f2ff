/* test_ops_bag.c: a linear classifier on sparse features: every device against the reference, texts
 * without features, classes that fill no group, and a value by hand. */
#include "tests/unit/ops_trial.h"

enum { FEATURES = 501, TEXTS = 41 };

struct bag_size {
    size_t classes;
    enum dtype type;
};

/* Text i has i * 37 % 90 features, the first none. */
static size_t make_texts(int32_t *feature, int32_t offset[TEXTS + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < TEXTS; i++) {
        offset[i] = (int32_t)n;
        for (size_t k = 0; k < i * 37 % 90; k++)
            feature[n++] = (int32_t)(rng_hash(i, k) % FEATURES);
    }
    offset[TEXTS] = (int32_t)n;
    return n;
}

/* At most 89 products of size about 1, each with its rounding, and the roundings of their partial
 * sums, which grow with the root of the number: under 89 * (1 + 10) EPSILON; codes are scaled once
 * more. */
static void bag_case(struct trial *t, const void *context)
{
    const struct bag_size *s = context;
    struct error err = ERROR_INIT;
    int32_t feature[TEXTS * 90], offset[TEXTS + 1];
    size_t n = make_texts(feature, offset), n_w = s->classes * FEATURES;
    float *w = malloc(n_w * sizeof *w), *scale = malloc(s->classes * sizeof *scale);
    void *stored = malloc(n_w * dtype_bytes(s->type));
    for (size_t i = 0; i < n_w; i++)
        w[i] = (float)((int)(rng_hash(9, i) % 251) - 125) * (s->type == DTYPE_I8 ? 1.0F : 0.01F);
    for (size_t c = 0; c < s->classes; c++)
        scale[c] = 0.004F + 0.001F * (float)c;
    dtype_from_float(s->type, w, n_w, stored);
    struct weight weight = {stored,     s->type,  s->type == DTYPE_I8 ? scale : NULL,
                            s->classes, FEATURES, false};
    struct bag_weights *bag = t->dev->op->bag_prepare(t->dev, &weight, &err);
    trial_must(bag != NULL, &err);
    free(stored); /* the device has its copy */
    free(scale);
    free(w);
    const int32_t *features = trial_ints(t, feature, n),
                  *offsets = trial_ints(t, offset, TEXTS + 1);
    const float *values = trial_floats(t, n, 1, 0);
    t->dev->op->bag(t->dev, bag, features, values, offsets, TEXTS,
                    trial_change(t, "out", TEXTS * s->classes, 1000 * EPSILON));
    t->dev->op->bag_free(t->dev, bag);
}

/* W = (1 2 3 / -1 0 1), a text of features 2 and 0 with values 2 and ½, onto (10, 20). */
static void test_by_hand(struct device *dev, const char *name)
{
    static const float w[] = {1, 2, 3, -1, 0, 1}, value[] = {2, 0.5F}, expected[] = {16.5F, 21.5F};
    static const int32_t feature[] = {2, 0}, offset[] = {0, 2};
    struct error err = ERROR_INIT, late = ERROR_INIT;
    struct weight weight = {.data = w, .type = DTYPE_F32, .rows = 2, .cols = 3};
    struct bag_weights *bag = dev->op->bag_prepare(dev, &weight, &err);
    trial_must(bag != NULL, &err);
    static const float start[] = {10, 20};
    static const int32_t beyond[] = {2, 3};
    float out[2];
    float *values = dev->op->alloc(dev, sizeof value, &err);
    int32_t *features = dev->op->alloc(dev, sizeof feature, &err);
    int32_t *offsets = dev->op->alloc(dev, sizeof offset, &err);
    act *sums = dev->op->alloc(dev, 2 * dev->act_bytes, &err);
    trial_must(!err.set, &err);
    dev->op->upload(dev, values, value, sizeof value);
    dev->op->upload(dev, features, feature, sizeof feature);
    dev->op->upload(dev, offsets, offset, sizeof offset);
    dev->op->act_upload(dev, sums, start, 2);
    dev->op->bag(dev, bag, features, values, offsets, 0, sums); /* no texts: nothing happens */
    dev->op->bag(dev, bag, features, values, offsets, 1, sums);
    dev->op->act_download(dev, out, sums, 2);
    tap_close(out, expected, 2, 0, name);
    dev->op->upload(dev, features, beyond, sizeof beyond);
    dev->op->bag(dev, bag, features, values, offsets, 1, sums);
    tap_ok(!dev->op->sync(dev, &late) && strstr(late.text, "bag: feature 3"),
           "%s: a feature beyond the table is an error: %s", name, late.text);
    dev->op->free(dev, values);
    dev->op->free(dev, features);
    dev->op->free(dev, offsets);
    dev->op->free(dev, sums);
    dev->op->bag_free(dev, bag);
    weight.type = DTYPE_I8;
    tap_ok(!dev->op->bag_prepare(dev, &weight, &err) && strstr(err.text, "I8 with scales"),
           "%s: codes without scales are refused", name);
}

int main(void)
{
    static const struct bag_size sizes[] = {{1, DTYPE_F32}, {10, DTYPE_F32},  {10, DTYPE_I8},
                                            {3, DTYPE_F16}, {12, DTYPE_BF16}, {131, DTYPE_F32},
                                            {131, DTYPE_I8}};
    struct error err = ERROR_INIT;
    trial_open_devices();
    trial_report_devices();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char what[64];
        snprintf(what, sizeof what, "bag of %zu classes, %s", sizes[i].classes,
                 dtype_name(sizes[i].type));
        trial_everywhere(bag_case, &sizes[i], what);
    }
    struct device *reference = device_reference_open(&err);
    trial_must(reference != NULL, &err);
    test_by_hand(reference, "reference");
    reference->op->close(reference);
    for (size_t i = 0; i < trial_n_devices; i++) /* last: the error stays */
        if (trial_devices[i].dev && trial_devices[i].dev == trial_devices[i].close)
            test_by_hand(trial_devices[i].dev, trial_devices[i].name);
    trial_close_devices();
    return tap_done();
}
