/* test_footprint_parts.c: what is known beforehand of a GPU's memory, of more than a plain
 * classifier: int8 and int4 weights, n-gram parts, masked language models and their teachers. */
#include "nn/footprint.h"

#include "nn/classifier.h"
#include "nn/mlm.h"
#include "nn/params.h"
#include "nn/train.h"
#include "nn/trainer.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny.h"
#include "tests/unit/tiny_grams.h"

enum { VOCAB = 40, FIRST_WORD = 5, RECORDS = 24, LONGEST = 14 };

static struct device *cpu;
static struct tokenizer *tokenizer;
static struct tiny_grams grams;
static struct records_set texts;

static void make_texts(void)
{
    static int64_t offset[RECORDS + 1];
    static int32_t id[RECORDS * LONGEST], label[RECORDS];
    for (size_t i = 0; i < RECORDS; i++) {
        size_t length = 2 + rng_hash(1, i) % (LONGEST - 1), at = (size_t)offset[i];
        for (size_t t = 0; t < length; t++)
            id[at + t] = (int32_t)(FIRST_WORD + rng_hash(i, t) % (VOCAB - FIRST_WORD));
        offset[i + 1] = (int64_t)(at + length);
        label[i] = (int32_t)(i % TINY_LABELS);
    }
    tiny_records(&texts, offset, id, label, NULL, RECORDS);
}

static void make_vocabulary(struct model *model)
{
    static const char config[] = "{\"model_type\": \"bert\", \"vocab_size\": 40}";
    struct error err = ERROR_INIT;
    char text[512] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (size_t i = FIRST_WORD; i < VOCAB; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "word%zu\n", i);
    mkdir(scratch_path("vocabulary"), 0700);
    scratch_write("vocabulary/vocab.txt", text, strlen(text));
    scratch_write("vocabulary/config.json", config, strlen(config));
    tiny_open(model, "vocabulary");
    tokenizer = tokenizer_open(model->bundle, &err);
    tiny_must(tokenizer != NULL, &err);
}

/* Of random weights: a classifier, or a masked language model. */
static void make_model(struct model *model, const char *text, bool mlm, const char *file)
{
    struct error err = ERROR_INIT;
    struct shape shape;
    struct params params;
    struct output *output = tiny_output(file);
    tiny_must(shape_from_text(&shape, text, VOCAB, TINY_LABELS, &err) &&
                  (!mlm || shape_make_mlm(&shape, NULL, &err)) &&
                  params_open(&params, &shape, NULL, false, 7, cpu, &err),
              &err);
    json_t *config = shape_config(&shape, NULL, mlm ? NULL : tiny_label, &err);
    tiny_must(config && params_write(&params, NULL, config, NULL, output, &err), &err);
    tiny_reopen(output, model, file);
    json_decref(config);
    params_close(&params);
    shape_free(&shape);
}

static struct device *gpu(enum dtype format, size_t most)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_cuda_open(0, format, most, &err);
    tiny_must(dev != NULL, &err);
    return dev;
}

/* ---- answering ---- */

/* Opened within so many bytes (0: all): what it took, and what was foretold; false: refused. */
static bool take(struct model *model, enum dtype format, size_t most, size_t *used,
                 size_t *foretold, struct error *err)
{
    struct device *dev = gpu(format, most);
    struct device_memory memory;
    struct classifier *c = classifier_open(model, dev, NULL, 64, err);
    dev->op->memory(dev, &memory);
    *used = memory.most_used;
    *foretold = c ? classifier_footprint(c) : 0;
    bool ok = c != NULL;
    if (ok && !classifier_ngram(c)) {
        float logits[RECORDS * TINY_LABELS];
        ok = classifier_run(c, texts.part[0].offset, texts.part[0].id, RECORDS, logits, err);
        dev->op->memory(dev, &memory);
        *used = memory.most_used;
    }
    classifier_close(c);
    dev->op->close(dev);
    return ok;
}

static void test_answers(struct model *model, const char *what)
{
    static const enum dtype format[] = {DTYPE_F32, DTYPE_F16};
    for (size_t i = 0; i < 2; i++) {
        struct error err = ERROR_INIT, refused = ERROR_INIT;
        size_t used = 0, foretold = 0, none;
        bool ok = take(model, format[i], 0, &used, &foretold, &err);
        tap_ok(ok && used == foretold, "%s in %s: %zu bytes foretold, %zu allocated %s", what,
               dtype_name(format[i]), foretold, used, err.text);
        tap_ok(take(model, format[i], used, &used, &foretold, &err), "that is enough %s", err.text);
        tap_ok(!take(model, format[i], used - 1, &none, &none, &refused) &&
                   strstr(refused.text, "of memory on cuda:0"),
               "one byte less: %s", refused.text);
    }
}

static void test_formats(void)
{
    static const struct {
        const char *name;
        struct format_plan plan;
    } kind[] = {{"int8", {.to = FORMAT_INT8, .tables = FORMAT_AS_IS}},
                {"int8 with int4 tables", {.to = FORMAT_INT8, .tables = FORMAT_INT4}},
                {"fp16 with int4 tables", {.to = FORMAT_FP16, .tables = FORMAT_INT4}}};
    struct model plain, model;
    make_model(&plain, "layers=2,hidden=40,heads=2,ffn=72,positions=16", false, "plain.tar");
    for (size_t i = 0; i < sizeof kind / sizeof kind[0]; i++) {
        struct error err = ERROR_INIT;
        struct output *output = tiny_output("made.tar");
        tiny_must(format_write_plan(&plain, &kind[i].plan, json_object(), output, NULL, &err),
                  &err);
        tiny_reopen(output, &model, "made.tar");
        test_answers(&model, kind[i].name);
        model_close(&model);
    }
    model_close(&plain);
}

/* A hybrid and an n-gram part alone, as mstudent --ngram makes them. */
static void test_ngrams(void)
{
    struct error err = ERROR_INIT;
    struct hybrid_options hybrid = {.mode = HYBRID_APART};
    struct hybrid_result fitted;
    struct train_options options;
    struct train_result result;
    struct model plain, model;
    ngram_fit_defaults(&hybrid.fit);
    train_defaults(&options);
    options.epochs = 1;
    options.hybrid = &hybrid;
    make_model(&plain, "layers=1,hidden=32,heads=2,ffn=64,positions=16", false, "plain.tar");
    struct output *output = tiny_output("hybrid.tar");
    tiny_must(
        train(&plain, NULL, &grams.set, &options, cpu, NULL, json_object(), output, &result, &err),
        &err);
    tiny_reopen(output, &model, "hybrid.tar");
    test_answers(&model, "a hybrid");
    model_close(&model);
    output = tiny_output("alone.tar");
    tiny_must(hybrid_train_ngram(&plain, &grams.set, NULL, &hybrid, cpu, json_object(), output,
                                 &fitted, &err),
              &err);
    tiny_reopen(output, &model, "alone.tar");
    test_answers(&model, "n-grams alone");
    model_close(&model);
    model_close(&plain);
}

/* ---- training ---- */

/* What a run took after `before` bytes were there, and what was foretold. */
struct outcome {
    size_t used, foretold, before, allocations[2];
};

static bool run(struct device *dev, struct model *from, const struct records_set *set,
                const struct train_options *options, struct outcome *was, struct error *err)
{
    struct device_memory memory;
    dev->op->memory(dev, &memory);
    was->before = memory.most_used;
    struct training *training = train_open(from, NULL, set, options, dev, NULL, err);
    dev->op->memory(dev, &memory);
    was->allocations[0] = memory.allocations;
    bool ok = training && train_run(training, err) && dev->op->sync(dev, err);
    dev->op->memory(dev, &memory);
    was->allocations[1] = memory.allocations;
    was->used = memory.most_used - was->before;
    was->foretold = training ? train_trainer(training)->footprint : 0;
    train_close(training);
    return ok;
}

static bool run_mlm(struct model *from, struct model *teacher, enum dtype format, size_t most,
                    struct outcome *was, struct error *err)
{
    const struct mlm_options how = {
        .rate = 0.15, .seed = 3, .alpha = 0.5, .temperature = 2, .cosine = teacher ? 0.5 : 0};
    struct train_options options;
    struct device *dev = gpu(format, most);
    struct mlm *mlm = mlm_open(tokenizer, teacher, &how, dev, err);
    const struct trainer_hook *hook = mlm ? mlm_hook(mlm) : NULL;
    train_defaults(&options);
    options.mlm = true;
    options.epochs = 1;
    options.batch_tokens = 64;
    options.precision = format;
    options.dev = &texts;
    options.hook = &hook;
    options.n_hooks = 1;
    bool ok = mlm && run(dev, from, &texts, &options, was, err);
    mlm_close(mlm);
    dev->op->close(dev);
    return ok;
}

static void test_mlm(void)
{
    static const enum dtype format[] = {DTYPE_F32, DTYPE_BF16};
    struct model student, teacher;
    make_model(&student, "layers=1,hidden=32,heads=2,ffn=64,positions=16", true, "student.tar");
    make_model(&teacher, "layers=2,hidden=32,heads=4,ffn=48,positions=16", true, "teacher.tar");
    for (size_t i = 0; i < 4; i++) {
        struct model *of = i < 2 ? NULL : &teacher;
        struct error err = ERROR_INIT, refused = ERROR_INIT;
        struct outcome was = {0}, none;
        bool ok = run_mlm(&student, of, format[i % 2], 0, &was, &err);
        tap_ok(ok && was.used <= was.foretold && was.foretold <= was.used + was.used / 20,
               "masked language model in %s%s: %zu bytes foretold, %zu allocated %s",
               dtype_name(format[i % 2]), of ? " with a teacher" : "", was.foretold, was.used,
               err.text);
        tap_ok(ok && was.allocations[0] == was.allocations[1],
               "and steps and scoring allocate nothing (%zu, %zu)", was.allocations[0],
               was.allocations[1]);
        size_t enough = was.before + was.foretold;
        tap_ok(run_mlm(&student, of, format[i % 2], enough, &was, &err), "that is enough %s",
               err.text);
        tap_ok(!run_mlm(&student, of, format[i % 2], enough - 1, &none, &refused) &&
                   strstr(refused.text, "free: try --batch-tokens"),
               "one byte less: %s", refused.text);
    }
    model_close(&student);
    model_close(&teacher);
}

static void test_together(void)
{
    struct error err = ERROR_INIT;
    struct hybrid_options hybrid = {.mode = HYBRID_TOGETHER};
    struct train_options options;
    struct outcome was = {0};
    struct model plain;
    ngram_fit_defaults(&hybrid.fit);
    train_defaults(&options);
    options.epochs = 1;
    options.hybrid = &hybrid;
    options.dev = &grams.set;
    make_model(&plain, "layers=1,hidden=32,heads=2,ffn=64,positions=16", false, "plain.tar");
    struct device *dev = gpu(DTYPE_F32, 0);
    bool ok = run(dev, &plain, &grams.set, &options, &was, &err);
    tap_ok(ok && was.used <= was.foretold && was.foretold <= was.used + was.used / 20,
           "trained together with n-grams: %zu bytes foretold, %zu allocated %s", was.foretold,
           was.used, err.text);
    dev->op->close(dev);
    model_close(&plain);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct model vocabulary;
    if (strcmp(device_cuda_build(), "cuda emulated") != 0) {
        tap_skip("memory of a run", "on the emulator only");
        return tap_done();
    }
    scratch_open();
    cpu = device_cpu_open(1, &err);
    tiny_must(cpu != NULL, &err);
    tiny_grams_make(&grams, false);
    make_texts();
    make_vocabulary(&vocabulary);
    test_formats();
    test_ngrams();
    test_mlm();
    test_together();
    tokenizer_close(tokenizer);
    model_close(&vocabulary);
    records_set_close(&texts);
    cpu->op->close(cpu);
    return tap_done();
}
