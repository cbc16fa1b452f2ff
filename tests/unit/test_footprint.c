/* test_footprint.c: what a run of training takes on a GPU is known before it begins: the count
 * against what was allocated, the largest budget that fits, no allocation during steps, and every
 * allocation failing in turn. Each scenario that needs another environment is this program once
 * more. */
#include "nn/classifier.h"
#include "nn/footprint.h"
#include "nn/train.h"
#include "nn/trainer.h"
#include "tests/tap.h"
#include "tests/unit/again.h"
#include "tests/unit/toy.h"

enum { RECORDS = 60 };

static struct toy toy;

static void make_toy(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = 2 + rng_hash(1, i) % (TOY_LONGEST - 1);
        for (size_t t = 0; t < length; t++)
            toy.id[toy.offset[i] + (int64_t)t] = (int32_t)(2 + rng_hash(i, t) % (TINY_VOCAB - 2));
        toy.offset[i + 1] = toy.offset[i] + (int64_t)length;
        toy.label[i] = (int32_t)(i % 3);
    }
    toy_make_set(&toy, n);
}

/* One run, from its shape. */
struct play {
    const char *shape;
    enum dtype act, precision;
    size_t batch_tokens, max_memory;
    bool dev_set;
    size_t epochs, accumulate;
};
struct outcome {
    size_t footprint, used, allocations_before, allocations_after; /* of the steps */
};

static bool train_on(struct device *dev, const struct play *play, struct outcome *outcome,
                     struct error *err)
{
    struct model model;
    struct shape shape = {0};
    struct train_options options;
    struct device_memory memory = {0};
    train_defaults(&options);
    options.epochs = play->epochs;
    options.batch_tokens = play->batch_tokens;
    options.accumulate = play->accumulate ? play->accumulate : 1;
    options.precision = play->precision;
    options.dev = play->dev_set ? &toy.set : NULL;
    if (!model_open(&model, scratch_path("empty.tar"), err))
        return false;
    struct training *training = NULL;
    bool ok = shape_from_text(&shape, play->shape, TINY_VOCAB, 3, err);
    if (ok) {
        training = train_open(&model, &shape, &toy.set, &options, dev, NULL, err);
        dev->op->memory(dev, &memory);
        outcome->allocations_before = memory.allocations;
        ok = training && train_run(training, err) && dev->op->sync(dev, err);
        dev->op->memory(dev, &memory);
        outcome->allocations_after = memory.allocations;
        outcome->used = memory.most_used;
        outcome->footprint = training ? train_trainer(training)->footprint : 0;
    }
    train_close(training);
    shape_free(&shape);
    model_close(&model);
    return ok;
}

static bool train_cuda(const struct play *play, struct outcome *outcome, struct error *err)
{
    struct device *dev = device_cuda_open(0, play->act, play->max_memory, err);
    bool ok = dev && train_on(dev, play, outcome, err);
    if (dev)
        dev->op->close(dev);
    return ok;
}

static const struct play plays[] = {
    {"layers=2,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 64, 0, true, 2, 1},
    {"layers=2,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 500, 0, false, 2, 1},
    {"layers=1,hidden=48,heads=3,ffn=200,positions=16", DTYPE_BF16, DTYPE_BF16, 128, 0, true, 2, 1},
    {"layers=3,hidden=16,heads=1,ffn=20,positions=20", DTYPE_F16, DTYPE_F16, 33, 0, false, 2, 1},
    {"layers=1,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_BF16, 200, 0, false, 2, 1},
    {"layers=0,hidden=16,positions=16", DTYPE_F32, DTYPE_F32, 100, 0, true, 2, 1},
    {"layers=2,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 1, 0, false, 2, 1},
    {"layers=1,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 40, 0, true, 2, 3},
    {"layers=1,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F16, DTYPE_F16, 16, 0, false, 2, 100},
};

static void test_counts(void)
{
    for (size_t i = 0; i < sizeof plays / sizeof plays[0]; i++) {
        struct error err = ERROR_INIT;
        struct outcome was = {0};
        bool ok = train_cuda(&plays[i], &was, &err);
        tap_ok(ok && was.used <= was.footprint && was.footprint <= was.used + was.used / 20,
               "%s, %zu tokens: %zu bytes foretold, %zu allocated %s", plays[i].shape,
               plays[i].batch_tokens, was.footprint, was.used, err.text);
        tap_ok(was.allocations_before == was.allocations_after,
               "and steps and scoring allocate nothing (%zu, %zu)", was.allocations_before,
               was.allocations_after);
    }
}

/* Just enough is enough; one byte less is refused, with a budget that fits. */
static void test_limit(void)
{
    struct play play = plays[1];
    struct error err = ERROR_INIT, refused = ERROR_INIT;
    struct outcome was = {0};
    size_t budget = 0;
    tap_ok(train_cuda(&play, &was, &err), "without a limit %s", err.text);
    play.max_memory = was.footprint;
    tap_ok(train_cuda(&play, &was, &err), "within %zu bytes %s", play.max_memory, err.text);
    play.max_memory--;
    bool ok = train_cuda(&play, &was, &refused);
    const char *advice = strstr(refused.text, "free: try --batch-tokens ");
    if (advice && sscanf(advice, "free: try --batch-tokens %zu --accumulate %zu", &budget,
                         &play.accumulate) != 2)
        budget = 0;
    tap_ok(!ok && budget == 256 && play.accumulate == 2, "one byte less: %s", refused.text);
    play.batch_tokens = budget;
    tap_ok(train_cuda(&play, &was, &err), "which is right %s", err.text);
    refused = (struct error)ERROR_INIT;
    play.max_memory = 40000;
    tap_ok(!train_cuda(&play, &was, &refused) && strstr(refused.text, "no --batch-tokens makes it"),
           "far too little: %s", refused.text);
}

/* ---- a large model on a small card ---- */

/* Steps of 32768 tokens, in so many batches. */
static bool count_large(struct device *dev, const struct shape *shape, size_t accumulate,
                        size_t n_words, struct footprint *footprint, struct error *err)
{
    enum { STEP_TOKENS = 32768, SHORTEST = 4 };
    struct batch batch, dev_batch;
    size_t tokens = STEP_TOKENS / accumulate;
    size_t words = n_words < STEP_TOKENS ? n_words : STEP_TOKENS;
    batch_init(&batch, dev, shape, shape->n_labels, true);
    batch_init(&dev_batch, dev, shape, 0, false);
    const struct footprint_run run = {.dev = dev,
                                      .shape = shape,
                                      .precision = DTYPE_BF16,
                                      .batch = &batch,
                                      .batch_dev = &dev_batch,
                                      .most = {tokens, tokens / SHORTEST, 512, words},
                                      .most_dev = {tokens, tokens / SHORTEST, 512, 0},
                                      .n_records = 100000,
                                      .some_words = true,
                                      .n_words = n_words};
    return footprint_training(&run, footprint, err);
}

static void print_footprint(const char *what, const struct footprint *f)
{
    printf("# %s: parameters %.2f, gradients %.2f, moments %.2f, 16-bit copies %.2f, activations "
           "%.2f, batch and work %.2f: %.2f GB\n",
           what, (double)f->parameters / 1e9, (double)f->gradients / 1e9, (double)f->moments / 1e9,
           (double)f->copies / 1e9, (double)f->activations / 1e9,
           (double)(f->batch + f->work) / 1e9, (double)f->total / 1e9);
}

/* The teacher of 237 million parameters in bf16 on a card of 8 GB, of which the driver takes some:
 * steps of 32768 tokens are too much at once, and fit in eight batches, even of a stream in which
 * every word occurs. */
static void test_large(void)
{
    enum { VOCAB = 197285 };
    struct error err = ERROR_INIT;
    struct footprint once = {0}, parts = {0}, some = {0};
    struct shape shape = {0};
    size_t n = 0;
    struct device *dev = device_cuda_open(0, DTYPE_BF16, 0, &err);
    bool ok = dev &&
              shape_from_text(&shape, "layers=12,hidden=768,heads=12,ffn=3072,positions=512", VOCAB,
                              3, &err) &&
              params_count(&shape, &n, &err) && count_large(dev, &shape, 1, VOCAB, &once, &err) &&
              count_large(dev, &shape, 8, VOCAB, &parts, &err) &&
              count_large(dev, &shape, 8, 30000, &some, &err);
    n += shape.vocab * shape.embed + shape.positions * shape.hidden;
    print_footprint("in one batch, every word", &once);
    print_footprint("in eight batches, every word", &parts);
    print_footprint("in eight batches, 30000 words", &some);
    tap_ok(ok && n / 1000000 == 237 && once.total > 8000000000 && parts.total < 6000000000 &&
               some.total < parts.total - 1000000000,
           "%zu million parameters train within 8 GB %s", n / 1000000, err.text);
    shape_free(&shape);
    if (dev)
        dev->op->close(dev);
}

/* ---- answering ---- */

static bool answer(size_t max_memory, struct device_memory *before, struct device_memory *after,
                   size_t *footprint, struct error *err)
{
    struct model model;
    float logits[RECORDS * 3];
    struct device *dev = device_cuda_open(0, DTYPE_F16, max_memory, err);
    if (!dev)
        return false;
    struct classifier *c = NULL;
    bool ok = model_open(&model, scratch_path("trained.tar"), err);
    if (ok) {
        c = classifier_open(&model, dev, NULL, 64, err);
        dev->op->memory(dev, before);
        *footprint = c ? classifier_footprint(c) : 0;
        ok = c && classifier_run(c, toy.offset, toy.id, RECORDS, logits, err);
        dev->op->memory(dev, after);
        classifier_close(c);
        model_close(&model);
    }
    dev->op->close(dev);
    return ok;
}

/* A model from random weights. */
static void write_trained(void)
{
    struct error err = ERROR_INIT;
    struct model model;
    struct shape shape = {0};
    struct train_options options;
    struct train_result result;
    train_defaults(&options);
    options.epochs = 1;
    struct device *dev = device_cpu_open(1, &err);
    struct output *output = output_open(scratch_path("trained.tar"), true, &err);
    tiny_need(dev && output && model_open(&model, scratch_path("empty.tar"), &err) &&
                  shape_from_text(&shape, "layers=2,hidden=32,heads=2,ffn=64,positions=16",
                                  TINY_VOCAB, 3, &err) &&
                  train(&model, &shape, &toy.set, &options, dev, NULL,
                        json_pack("{s:s}", "program", "test"), output, &result, &err) &&
                  output_commit(output, &err),
              &err);
    shape_free(&shape);
    model_close(&model);
    dev->op->close(dev);
}

static void test_answers(void)
{
    struct error err = ERROR_INIT, refused = ERROR_INIT;
    struct device_memory before = {0}, after = {0};
    size_t footprint = 0, enough;
    write_trained();
    bool ok = answer(0, &before, &after, &footprint, &err);
    enough = footprint;
    tap_ok(ok && after.most_used == footprint && before.allocations == after.allocations,
           "answering: %zu bytes foretold, %zu allocated, none later %s", footprint,
           after.most_used, err.text);
    tap_ok(answer(enough, &before, &after, &footprint, &err), "that is enough %s", err.text);
    tap_ok(!answer(enough - 1, &before, &after, &footprint, &refused) &&
               strstr(refused.text, "of memory on cuda:0") && strstr(refused.text, "mquant"),
           "one byte less: %s", refused.text);
}

/* ---- every allocation failing in turn ---- */

static int scenario(void)
{
    struct error err = ERROR_INIT;
    struct outcome was;
    struct play play = plays[2];
    play.epochs = 1;
    printf("%s\n", train_cuda(&play, &was, &err) ? "done" : err.text);
    return err.set;
}

static int fail_at(int n, char *text, size_t room)
{
    char setting[32];
    const char *const argument[] = {"test_footprint", "run", NULL};
    snprintf(setting, sizeof setting, "EMU_FAIL_ALLOC=%d", n);
    return again_run(setting, argument, text, room);
}

static void test_failures(void)
{
    char text[ERROR_TEXT_BYTES];
    int n = 0, status = 1, advised = 0;
    while (status == 1 && n < 200) {
        status = fail_at(++n, text, sizeof text);
        advised += status == 1 && strstr(text, "try a smaller --batch-tokens") != NULL;
        if (status == 1 && !strstr(text, "memory"))
            break;
    }
    tap_ok(status == 0 && strcmp(text, "done") == 0 && advised > 15,
           "each of %d allocations failing: told, nothing leaked (%d with the remedy); then: %s",
           n - 1, advised, text);
}

int main(int argc, char **argv)
{
    (void)argv;
    scratch_open();
    make_toy(RECORDS);
    toy_write_empty("empty.tar");
    if (argc > 1)
        return scenario();
    if (strcmp(device_cuda_build(), "cuda emulated") != 0) {
        tap_skip("memory of a run", "on the emulator only");
        return tap_done();
    }
    test_counts();
    test_limit();
    test_large();
    test_answers();
    test_failures();
    return tap_done();
}
