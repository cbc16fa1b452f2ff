/* test_hybrid.c: encoders trained with an n-gram part: what stands beside their logits joins them
 * in the loss and on dev; what checkpoints are of; gates of a part that is for other labels. */
#include "nn/hybrid.h"

#include "nn/ngram_gate.h"
#include "nn/train.h"
#include "nn/trainer.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"
#include "tests/unit/tiny_grams.h"

static struct tiny tiny;
static struct tiny_grams grams;
static struct model model;
static struct device *dev;

static struct train_options options_of(const struct hybrid_options *hybrid)
{
    struct train_options options;
    train_defaults(&options);
    options.epochs = 1;
    options.lr = 1e-12;
    options.dropout = 0;
    options.hybrid = hybrid;
    options.dev = &grams.set;
    return options;
}

static struct hybrid_options hybrid_of(enum hybrid_mode mode)
{
    struct hybrid_options hybrid = {.mode = mode};
    ngram_fit_defaults(&hybrid.fit);
    return hybrid;
}

static struct training *opened(const struct train_options *options)
{
    struct error err = ERROR_INIT;
    struct training *training = train_open(&model, NULL, &grams.set, options, dev, NULL, &err);
    tiny_must(training != NULL, &err);
    return training;
}

/* Sure of class (label + shift) of each record. */
static void be_sure(float *logits, int32_t shift)
{
    for (size_t i = 0; i < grams.set.n; i++)
        for (size_t c = 0; c < TINY_LABELS; c++)
            logits[i * TINY_LABELS + c] =
                (int32_t)c == (grams.label[i] + shift) % TINY_LABELS ? 50 : 0;
}

static void test_beside(void)
{
    struct error err = ERROR_INIT;
    const struct hybrid_options hybrid = hybrid_of(HYBRID_TOGETHER);
    const struct train_options options = options_of(&hybrid);
    struct training *training = opened(&options);
    struct trainer *t = train_trainer(training);
    double right = 0, wrong = 1;
    tap_ok(t->beside && t->dev_beside && t->best_epoch == 0, "logits for the loss and for dev");
    tap_ok(ngram_gate_score(&grams.set, t->dev_beside) > 0.9,
           "on dev those of the part that was fitted to all records");
    be_sure(t->dev_beside, 0);
    tiny_must(trainer_evaluate(t, options.dev, &right, &err), &err);
    be_sure(t->dev_beside, 1);
    tiny_must(trainer_evaluate(t, options.dev, &wrong, &err), &err);
    tap_ok(right >= 1 && wrong <= 0, "dev is scored with them (%g, %g)", right, wrong);
    be_sure(t->beside, 0);
    tiny_must(train_run(training, &err), &err);
    tap_ok(train_result(training)->train_loss < 1e-6, "the loss sees the sum: nothing to learn");
    train_close(training);
    training = opened(&options);
    be_sure(train_trainer(training)->beside, 1);
    tiny_must(train_run(training, &err), &err);
    tap_ok(train_result(training)->train_loss > 40, "... or all of it (%g)",
           train_result(training)->train_loss);
    train_close(training);
}

/* What a checkpoint would be of. New reference. */
static json_t *identity(const struct hybrid_options *hybrid, const json_t *start)
{
    struct train_options options = options_of(hybrid);
    options.checkpoint = scratch_path("run.ck");
    options.start = start;
    struct training *training = opened(&options);
    json_t *identity = json_incref(train_trainer(training)->identity);
    train_close(training);
    return identity;
}

static void test_identity(void)
{
    struct hybrid_options hybrid = hybrid_of(HYBRID_TOGETHER);
    json_t *start = json_pack("{s:s}", "--from-layers", "0,2");
    json_t *together = identity(&hybrid, NULL), *again = identity(&hybrid, NULL);
    json_t *cut = identity(&hybrid, start), *none = identity(NULL, NULL);
    hybrid.fit.l2 = 1e-4;
    json_t *other = identity(&hybrid, NULL);
    hybrid = hybrid_of(HYBRID_APART);
    json_t *apart = identity(&hybrid, NULL);
    tap_ok(json_equal(together, again), "a run's checkpoints are of the same run");
    tap_ok(!json_equal(together, apart) && !json_equal(together, none) &&
               !json_equal(together, other),
           "another mode, no part, or one fitted otherwise is another run");
    tap_ok(!json_equal(together, cut), "so is one with another start");
    json_t *all[] = {start, together, again, cut, none, other, apart};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        json_decref(all[i]);
}

static void test_gate(void)
{
    static char *strange[TINY_LABELS] = {(char *)"alpha", (char *)"beta", (char *)"delta"};
    struct error labels = ERROR_INIT, fewer = ERROR_INIT, none = ERROR_INIT, fine = ERROR_INIT;
    const struct hybrid_options gate = hybrid_of(HYBRID_GATE);
    struct records_set set = grams.set;
    json_t *key = json_pack("{s:I, s:[i, i], s:i}", "buckets", (json_int_t)TINY_GRAMS_BUCKETS,
                            "chars", 2, 3, "words", 1);
    json_object_set_new(model.config, NGRAM_KEY, key);
    tap_ok(hybrid_check(&gate, &set, &set, &model, &fine), "gates for the labels of the part");
    tap_ok(!hybrid_check(&gate, &set, NULL, &model, &none) && strstr(none.text, "--dev"),
           "without dev: %s", none.text);
    set.header.label = strange;
    tap_ok(!hybrid_check(&gate, &set, &set, &model, &labels) && strstr(labels.text, "--ngram"),
           "other labels: %s", labels.text);
    set.header.label = tiny_label;
    set.header.n_labels = 2;
    tap_ok(!hybrid_check(&gate, &set, &set, &model, &fewer) && strstr(fewer.text, "the 2 of"),
           "fewer labels: %s", fewer.text);
    json_object_del(model.config, NGRAM_KEY);
}

int main(void)
{
    struct error err = ERROR_INIT;
    scratch_open();
    tiny_make(&tiny, 5);
    tiny_model(&tiny, &model, "tiny.tar");
    tiny_grams_make(&grams, false);
    dev = device_cpu_open(2, &err);
    tiny_must(dev != NULL, &err);
    test_beside();
    test_identity();
    test_gate();
    dev->op->close(dev);
    model_close(&model);
    return tap_done();
}
