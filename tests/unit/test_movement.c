/* Movement pruning from records to a written model that answers like the masked one. On the reference
 * device. */
#include "tests/tap.h"
#include "tests/unit/tiny.h"

#include "prune/compact.h"
#include "prune/movement.h"

enum { RECORDS = 30 };

struct toy {
    struct records_part part;
    size_t first[2];
    int64_t offset[RECORDS + 1];
    int32_t id[RECORDS * 8], label[RECORDS];
    struct records_set set;
};

static struct toy toy;

static void make_toy(void)
{
    for (size_t i = 0; i < RECORDS; i++) {
        int32_t *id = toy.id + toy.offset[i];
        size_t n = 2 + i % 6;
        for (size_t t = 0; t < n; t++)
            id[t] = t ? (int32_t)(3 + rng_hash(i, t) % (TINY_VOCAB - 4)) : 2;
        toy.offset[i + 1] = toy.offset[i] + (int64_t)n;
        toy.label[i] = id[1] % TINY_LABELS;
    }
    toy.part = (struct records_part){.n = RECORDS,
                                     .offset = toy.offset,
                                     .id = toy.id,
                                     .n_tokens = (size_t)toy.offset[RECORDS],
                                     .label = toy.label};
    toy.first[1] = RECORDS;
    toy.set = (struct records_set){
        .header = {.label = tiny_label, .n_labels = TINY_LABELS, .max_tokens = TINY_POSITIONS},
        .part = &toy.part,
        .n_parts = 1,
        .first = toy.first,
        .n = RECORDS,
        .n_tokens = (uint64_t)toy.offset[RECORDS],
        .longest = 7};
}

/* Answers of the model with the plan's patches, cut to `keep`. */
static void answer(struct model *model, const struct plan *plan, const struct keep *keep,
                   const char *file, float *logits)
{
    struct error err = ERROR_INIT;
    struct output *output = tiny_output(file);
    struct model written;
    tiny_must(compact_write(model, &plan->before, keep, plan->patch, plan->n_patches, json_object(),
                            json_object(), output, &err),
              &err);
    tiny_reopen(output, &written, file);
    tiny_answer(&written, toy.offset, toy.id, RECORDS, logits);
    model_close(&written);
}

static void test_run(enum movement_variant variant, enum movement_rule rule, double share,
                     const char *what)
{
    static const size_t all_layers[] = {0, 1, 2};
    static struct tiny tiny;
    float masked[RECORDS * TINY_LABELS], cut[RECORDS * TINY_LABELS];
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    struct keep whole;
    struct train_result result;
    struct movement_options options;
    struct device *dev = device_reference_open(&err);
    tiny_make(&tiny, 8);
    tiny_model(&tiny, &model, "model.tar");
    movement_defaults(&options);
    options.variant = variant;
    options.block_rows = options.block_cols = 4;
    options.schedule.rule = rule;
    options.schedule.keep = share;
    options.schedule.lambda = 100;
    options.schedule.score_lr = 0.3;
    options.train.batch_tokens = 24;
    bool ok = movement_prune(&plan, &model, &toy.set, &options, dev, NULL, &result, &err);
    tap_ok(ok, "%s: runs %s", what, err.text);
    if (!ok)
        return;
    tiny_must(keep_of_layers(&whole, &plan.before, all_layers, 3, &err), &err);
    answer(&model, &plan, &whole, "masked.tar", masked);
    answer(&model, &plan, &plan.keep, "cut.tar", cut);
    /* Products of zeros add nothing to sums in double; the order of the rest is the same. */
    tap_ok(memcmp(masked, cut, sizeof masked) == 0, "%s: cut, the model answers to the bit", what);
    size_t gone = 0, expected = 9 + 16 * 3; /* tensors */
    for (size_t l = 0; l < 3; l++)
        gone += plan.before.layer[l].ffn - plan.keep.layer[l].n_neurons;
    tap_ok((gone > 0) == (share < 1) && plan.n_patches == expected,
           "%s: %zu neurons gone, %zu tensors as trained", what, gone, plan.n_patches);
    double left = json_real_value(json_object_get(plan.how, "kept"));
    tap_ok(left > 0 && (share < 1 ? left < 1 : left == 1), "%s: %.2f of the weights stay", what,
           left);
    keep_free(&whole);
    plan_free(&plan);
    model_close(&model);
    dev->op->close(dev);
}

static void test_refused(void)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    struct model model;
    struct plan plan;
    struct train_result result;
    struct movement_options options;
    struct device *dev = device_reference_open(&err);
    tiny_make(&tiny, 8);
    for (size_t i = 0; i < tiny.n; i++)
        if (strcmp(tiny.tensor[i].name, "classifier.weight") == 0)
            tiny.tensor[i].name = "other.weight";
    tiny_model(&tiny, &model, "model.tar");
    movement_defaults(&options);
    options.schedule.keep = 0.5;
    bool ok = movement_prune(&plan, &model, &toy.set, &options, dev, NULL, &result, &err);
    tap_ok(!ok && strstr(err.text, "classifier"), "a model without a classifier: %s", err.text);
    model_close(&model);
    dev->op->close(dev);
}

int main(void)
{
    make_toy();
    test_run(MOVEMENT_HYBRID, MOVEMENT_TOPK, 0.5, "hybrid");
    test_run(MOVEMENT_HYBRID, MOVEMENT_TOPK, 0.001, "hybrid, to the floor");
    test_run(MOVEMENT_HYBRID, MOVEMENT_GLOBAL, 0.4, "global");
    test_run(MOVEMENT_HYBRID, MOVEMENT_THRESHOLD, 0, "threshold");
    test_run(MOVEMENT_HYBRID, MOVEMENT_TOPK, 1, "all of it");
    test_run(MOVEMENT_STRUCT, MOVEMENT_TOPK, 0.4, "struct");
    test_run(MOVEMENT_FILLED, MOVEMENT_TOPK, 0.4, "filled");
    test_run(MOVEMENT_UNSTRUCTURED, MOVEMENT_TOPK, 0.05, "unstructured");
    test_refused();
    return tap_done();
}
