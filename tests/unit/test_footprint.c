/* test_footprint.c: what a run of training takes on a GPU is known before it begins: the count
 * against what was allocated, the largest budget that fits, no allocation during steps, and every
 * allocation failing in turn. Each scenario that needs another environment is this program once
 * more. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nn/train.h"
#include "nn/trainer.h"
#include "tests/tap.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

enum { RECORDS = 60, LONGEST = 14 };

static char *label_name[] = {(char *)"sport", (char *)"money", (char *)"film"};

static struct toy {
    struct records_part part;
    size_t first[2];
    int64_t offset[RECORDS + 1];
    int32_t id[RECORDS * LONGEST], label[RECORDS];
    struct records_set set;
} toy;

static void make_toy(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = 2 + rng_hash(1, i) % (LONGEST - 1);
        for (size_t t = 0; t < length; t++)
            toy.id[toy.offset[i] + (int64_t)t] = (int32_t)(2 + rng_hash(i, t) % (TINY_VOCAB - 2));
        toy.offset[i + 1] = toy.offset[i] + (int64_t)length;
        toy.label[i] = (int32_t)(i % 3);
    }
    toy.part = (struct records_part){.n = n,
                                     .offset = toy.offset,
                                     .id = toy.id,
                                     .n_tokens = (size_t)toy.offset[n],
                                     .label = toy.label};
    toy.first[1] = n;
    toy.set = (struct records_set){.header = {.label = label_name, .n_labels = 3, .max_tokens = 16},
                                   .part = &toy.part,
                                   .n_parts = 1,
                                   .first = toy.first,
                                   .n = n,
                                   .n_tokens = (uint64_t)toy.offset[n],
                                   .longest = LONGEST};
}

static void write_empty(void)
{
    struct error err = ERROR_INIT;
    json_t *config = json_pack("{s:s, s:i}", "model_type", "bert", "vocab_size", TINY_VOCAB);
    const struct model_writer_options options = {.config = config};
    struct output *output = output_open(scratch_path("empty.tar"), true, &err);
    tiny_need(config && output && model_write(output, &options, &err) &&
                  output_commit(output, &err),
              &err);
    json_decref(config);
}

/* One run, from its shape. */
struct play {
    const char *shape;
    enum dtype act, precision;
    size_t batch_tokens, max_memory;
    bool dev_set;
    size_t epochs;
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
    {"layers=2,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 64, 0, true, 2},
    {"layers=2,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 500, 0, false, 2},
    {"layers=1,hidden=48,heads=3,ffn=200,positions=16", DTYPE_BF16, DTYPE_BF16, 128, 0, true, 2},
    {"layers=3,hidden=16,heads=1,ffn=20,positions=20", DTYPE_F16, DTYPE_F16, 33, 0, false, 2},
    {"layers=1,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_BF16, 200, 0, false, 2},
    {"layers=0,hidden=16,positions=16", DTYPE_F32, DTYPE_F32, 100, 0, true, 2},
    {"layers=2,hidden=32,heads=2,ffn=64,positions=16", DTYPE_F32, DTYPE_F32, 1, 0, false, 2},
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
    if (advice)
        budget = strtoul(advice + strlen("free: try --batch-tokens "), NULL, 10);
    tap_ok(!ok && budget == 256, "one byte less: %s", refused.text);
    play.batch_tokens = budget;
    tap_ok(train_cuda(&play, &was, &err), "which is right %s", err.text);
    refused = (struct error)ERROR_INIT;
    play.max_memory = 40000;
    tap_ok(!train_cuda(&play, &was, &refused) && strstr(refused.text, "no --batch-tokens makes it"),
           "far too little: %s", refused.text);
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
    char number[16];
    int channel[2], status = -1;
    size_t length = 0;
    const char *const argument[] = {"test_footprint", "run", NULL};
    snprintf(number, sizeof number, "%d", n);
    fflush(stdout);
    pid_t child = pipe(channel) == 0 ? fork() : -1;
    if (child == 0) {
        if (dup2(channel[1], STDOUT_FILENO) < 0 || dup2(channel[1], STDERR_FILENO) < 0 ||
            setenv("EMU_FAIL_ALLOC", number, 1) != 0 || setenv("EMU_LEAKS", "1", 1) != 0)
            _exit(3);
        execv("/proc/self/exe", (char *const *)(const void *)argument);
        _exit(3);
    }
    close(channel[1]);
    for (ssize_t got = 1; got > 0 && length + 1 < room; length += (size_t)got)
        if ((got = read(channel[0], text + length, room - 1 - length)) < 0)
            break;
    text[length] = '\0';
    text[strcspn(text, "\n")] = '\0';
    close(channel[0]);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
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
    write_empty();
    if (argc > 1)
        return scenario();
    if (strcmp(device_cuda_build(), "cuda emulated") != 0) {
        tap_skip("memory of a run", "on the emulator only");
        return tap_done();
    }
    test_counts();
    test_limit();
    test_failures();
    return tap_done();
}
