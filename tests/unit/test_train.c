/* Training: a toy problem is learnt, by labels and from a teacher; the same seed gives the same
 * bytes; the best epoch is the one that is written; what cannot be trained is refused with the
 * remedy. */
#include "tests/tap.h"
#include "tests/unit/toy.h"

#include "nn/classifier.h"
#include "nn/schedule.h"
#include "nn/train.h"

enum { TRAIN = TOY_RECORDS, DEV = 60, LONGEST = 9 };

/* Class c has the tokens 10+c and 13+c, one or two of them among common ones. shift: labels are
 * wrong by so much. */
static void make_toy(struct toy *toy, size_t n, uint64_t seed, int32_t shift)
{
    memset(toy, 0, sizeof *toy);
    for (size_t i = 0; i < n; i++) {
        int32_t class = (int32_t)(rng_hash(seed, i) % 3), *id = toy->id + toy->offset[i];
        size_t length = 3 + rng_hash(seed + 1, i) % (LONGEST - 2);
        for (size_t t = 0; t < length; t++)
            id[t] = t == 0 ? 2 : (int32_t)(3 + rng_hash(seed + 2, i * 16 + t) % 7);
        id[1 + rng_hash(seed + 3, i) % (length - 1)] = 10 + class;
        id[1 + rng_hash(seed + 4, i) % (length - 1)] = 13 + class;
        toy->offset[i + 1] = toy->offset[i] + (int64_t)length;
        toy->label[i] = (class + shift) % 3;
        for (int32_t c = 0; c < 3; c++)
            toy->logits[i * 3 + (size_t)c] = c == class ? 3 : -1;
    }
    toy_make_set(toy, n);
}

static struct toy toy, dev_toy, wrong_toy;

static void defaults(struct train_options *options)
{
    train_defaults(options);
    options->epochs = 4;
    options->batch_tokens = 64;
    options->lr = 3e-3;
    options->log_every = 3;
}

/* Train from the model at `from` (NULL: from a shape) and write to `file`. */
static bool run(const char *from, const char *file, const struct train_options *options,
                struct train_result *result, struct error *err)
{
    struct model model;
    struct shape shape = {0};
    struct error fatal = ERROR_INIT;
    struct device *dev = device_cpu_open(2, &fatal);
    struct output *output = output_open(scratch_path(file), true, &fatal);
    tiny_need(dev && output &&
                  shape_from_text(&shape, "layers=2,hidden=32,heads=2,ffn=64,positions=16",
                                  TINY_VOCAB, 3, &fatal) &&
                  model_open(&model, scratch_path(from ? from : "empty.tar"), &fatal),
              &fatal);
    json_t *stage = json_pack("{s:s}", "program", "test");
    bool ok = train(&model, from ? NULL : &shape, &toy.set, options, dev, NULL, stage, output,
                    result, err);
    if (ok)
        tiny_need(output_commit(output, &fatal), &fatal);
    else
        output_abandon(output);
    model_close(&model);
    shape_free(&shape);
    dev->op->close(dev);
    return ok;
}

static double accuracy(const char *file, const struct toy *on)
{
    struct error err = ERROR_INIT;
    struct model model;
    float logits[TRAIN * 3];
    size_t right = 0;
    struct device *dev = device_cpu_open(1, &err);
    tiny_need(dev && model_open(&model, scratch_path(file), &err), &err);
    struct classifier *c = classifier_open(&model, dev, NULL, 0, &err);
    tiny_need(c && classifier_run(c, on->offset, on->id, on->part.n, logits, &err), &err);
    for (size_t i = 0; i < on->part.n; i++) {
        int32_t best = 0;
        for (int32_t k = 1; k < 3; k++)
            best = logits[i * 3 + (size_t)k] > logits[i * 3 + (size_t)best] ? k : best;
        right += best == on->label[i];
    }
    classifier_close(c);
    model_close(&model);
    dev->op->close(dev);
    return (double)right / (double)on->part.n;
}

static bool same_bytes(const char *a, const char *b)
{
    size_t n, m;
    uint8_t *x = scratch_read(scratch_path(a), &n), *y = scratch_read(scratch_path(b), &m);
    bool same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

static void test_learning(void)
{
    struct error err = ERROR_INIT;
    struct train_options options;
    struct train_result result;
    defaults(&options);
    options.dev = &dev_toy.set;
    tiny_need(run(NULL, "a.tar", &options, &result, &err), &err);
    tap_ok(result.dev_score >= 0.95, "the toy problem is learnt: dev accuracy %.3f",
           result.dev_score);
    tap_ok(fabs(accuracy("a.tar", &dev_toy) - result.dev_score) < 1e-9,
           "the written model is the one that was scored");
    tiny_need(run(NULL, "b.tar", &options, &result, &err), &err);
    tap_ok(same_bytes("a.tar", "b.tar"), "same seed, same bytes");
    options.seed = 1;
    tiny_need(run(NULL, "b.tar", &options, &result, &err), &err);
    tap_ok(!same_bytes("a.tar", "b.tar"), "another seed, another model");
}

static void test_best_epoch(void)
{
    struct error err = ERROR_INIT;
    struct train_options options;
    struct train_result result;
    defaults(&options);
    options.dev = &wrong_toy.set; /* the more is learnt, the worse the score */
    tiny_need(run(NULL, "best.tar", &options, &result, &err), &err);
    tap_ok(result.best_epoch == 1, "the best epoch is kept: %zu", result.best_epoch);
    tap_ok(fabs(accuracy("best.tar", &wrong_toy) - result.dev_score) < 1e-9,
           "and it is its weights that are written");
}

static void test_distillation(void)
{
    struct error err = ERROR_INIT;
    struct train_options options;
    struct train_result result;
    defaults(&options);
    options.distil = true;
    struct error e = ERROR_INIT;
    tap_ok(!run(NULL, "c.tar", &options, &result, &e) && strstr(e.text, "mteach"),
           "without logits: %s", e.text);
    toy.part.logits = toy.logits;
    toy.set.has_logits = true;
    for (size_t i = 0; i < TRAIN; i++)
        toy.label[i] = -1;
    options.dev = &dev_toy.set;
    tiny_need(run(NULL, "c.tar", &options, &result, &err), &err);
    tap_ok(result.dev_score >= 0.95, "learnt from the teacher alone: dev accuracy %.3f",
           result.dev_score);
    options.distil = false;
    error_clear(&e);
    tap_ok(!run(NULL, "d.tar", &options, &result, &e) && e.set, "without labels or --kd: %s",
           e.text);
    make_toy(&toy, TRAIN, 1, 0);
}

static void test_going_on(void)
{
    struct error err = ERROR_INIT, e = ERROR_INIT;
    struct train_options options;
    struct train_result result;
    defaults(&options);
    options.epochs = 1;
    options.lr = 1e-5;
    options.dev = &dev_toy.set;
    tiny_need(run("a.tar", "e.tar", &options, &result, &err), &err);
    tap_ok(result.dev_score >= 0.95 && !result.fresh_classifier,
           "from a model: training goes on where it was (%.3f)", result.dev_score);
    options.new_head = true;
    options.seed = 7;
    tiny_need(run("a.tar", "e.tar", &options, &result, &err), &err);
    tap_ok(result.fresh_classifier && !result.fresh_pooler && result.dev_score < 0.95,
           "a new head starts at random (%.3f)", result.dev_score);
    options.new_head = false;
    options.dev = NULL;
    toy_label[1] = (char *)"crime";
    tap_ok(!run("a.tar", "e.tar", &options, &result, &e) && strstr(e.text, "--new-head"),
           "other labels: %s", e.text);
    toy_label[1] = (char *)"money";
}

/* A model whose classifier is so large that its loss is finite and the square of its gradient is
 * not. */
static void write_steep(const char *file)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    struct shape shape = tiny_shape(2);
    struct params params;
    float steep[TINY_LABELS * TINY_HIDDEN];
    tiny_need(dev, &err);
    tiny_params(&params, &shape, dev);
    for (size_t i = 0; i < TINY_LABELS * TINY_HIDDEN; i++)
        steep[i] = i / TINY_HIDDEN == i % TINY_LABELS ? 1e30F : -1e30F;
    for (size_t i = 0; i < params.n_entries; i++)
        if (strcmp(params.entry[i].name, "classifier.weight") == 0)
            dev->op->upload(dev, params.w + params.entry[i].offset, steep, sizeof steep);
    json_t *config = shape_config(&shape, NULL, toy_label, &err);
    struct output *output = output_open(scratch_path(file), true, &err);
    tiny_need(config && output && params_write(&params, NULL, config, NULL, output, &err) &&
                  output_commit(output, &err),
              &err);
    json_decref(config);
    params_close(&params);
    shape_free(&shape);
    dev->op->close(dev);
}

/* In the only step there is, so that no later loss tells. */
static void test_steep(void)
{
    struct train_options options;
    struct train_result result;
    struct error e = ERROR_INIT;
    defaults(&options);
    options.epochs = 1;
    options.batch_tokens = 1 << 20;
    write_steep("steep.tar");
    tap_ok(!run("steep.tar", "f.tar", &options, &result, &e) &&
               strstr(e.text, "gradient in step 1"),
           "a gradient that is not finite: %s", e.text);
}

static void test_refusals(void)
{
    struct train_options options;
    struct train_result result;
    struct error e = ERROR_INIT;
    defaults(&options);
    options.lr = 1e30;
    options.clip = 0;
    tap_ok(!run(NULL, "f.tar", &options, &result, &e) && strstr(e.text, "lower --lr"),
           "divergence: %s", e.text);
    defaults(&options);
    error_clear(&e);
    toy.id[4] = TINY_VOCAB;
    tap_ok(!run(NULL, "f.tar", &options, &result, &e) && strstr(e.text, "vocabulary of 24"),
           "a foreign id: %s", e.text);
    make_toy(&toy, TRAIN, 1, 0);
}

/* Records 0 … N-1 from easy to hard: after a share f only the easiest c(f) can have been drawn. */
static void test_curriculum(void)
{
    enum { N = 4000, POOL = 8 * 10 };
    struct error err = ERROR_INIT;
    struct schedule s;
    static uint32_t length[N], rank[N];
    static bool used[N];
    bool once = true, admitted = true, spread = false;
    for (uint32_t i = 0; i < N; i++) {
        length[i] = 4;
        rank[i] = i;
    }
    tiny_need(schedule_plan(&s, length, rank, N, 40, 1, &err), &err);
    for (size_t i = 0; i < N; i++) {
        /* Pools are shuffled: up to a pool's length later than drawn. */
        double f = (double)(i + 1 + POOL) / N, c = sqrt(f * (1 - 0.01) + 0.01);
        once = once && !used[s.record[i]];
        used[s.record[i]] = true;
        admitted = admitted && s.record[i] <= c * N;
        spread = spread || (i < N / 4 && s.record[i] > N / 3);
    }
    tap_ok(once && admitted && spread, "a curriculum has every record once, the easy ones first");
    schedule_free(&s);
}

static void test_schedule(void)
{
    struct error err = ERROR_INIT;
    struct schedule s;
    uint32_t length[100];
    bool used[100] = {false}, ok = true, near_equal = true;
    for (size_t i = 0; i < 100; i++)
        length[i] = (uint32_t)(1 + rng_hash(3, i) % 20);
    length[50] = 64; /* longer than the budget */
    tiny_need(schedule_plan(&s, length, NULL, 100, 40, 1, &err), &err);
    for (size_t b = 0; b < s.n_batches; b++) {
        size_t tokens = 0, low = 99, high = 0;
        for (size_t i = s.first[b]; i < s.first[b + 1]; i++) {
            uint32_t r = s.record[i];
            ok = ok && r < 100 && !used[r];
            used[r] = true;
            tokens += length[r];
            low = length[r] < low ? length[r] : low;
            high = length[r] > high ? length[r] : high;
        }
        ok = ok && (tokens <= 40 || s.first[b + 1] - s.first[b] == 1);
        near_equal = near_equal && high - low <= 8;
    }
    for (size_t i = 0; i < 100; i++)
        ok = ok && used[i];
    tap_ok(ok && s.first[s.n_batches] == 100, "every record once, no batch over the budget");
    tap_ok(near_equal, "a batch's lengths are near each other");
    schedule_free(&s);
    tap_ok(schedule_lr(1, 0.1, 0, 100) == 0.1 && schedule_lr(1, 0.1, 9, 100) == 1 &&
               schedule_lr(1, 0.1, 55, 100) == 0.5 && schedule_lr(1, 0, 0, 10) == 1 &&
               schedule_lr(1, 1, 9, 10) == 1,
           "the rate rises and falls");
}

int main(void)
{
    scratch_open();
    toy_write_empty("empty.tar");
    make_toy(&toy, TRAIN, 1, 0);
    make_toy(&dev_toy, DEV, 1000, 0);
    make_toy(&wrong_toy, DEV, 1000, 1);
    test_schedule();
    test_curriculum();
    test_learning();
    test_best_epoch();
    test_distillation();
    test_going_on();
    test_refusals();
    test_steep();
    return tap_done();
}
