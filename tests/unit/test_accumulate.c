/* test_accumulate.c: a step of several batches: its gradients are those of one batch of all their
 * records, rows of the tables included, on each device; steps are counted, and bytes repeat. */
#include <math.h>

#include "core/memory.h"
#include "nn/train.h"
#include "nn/trainer.h"
#include "tests/tap.h"
#include "tests/unit/toy.h"

enum { RECORDS = 50 };

static struct toy toy;

/* Some ids are in few records, so that not every batch has them; lengths differ, so that places
 * do, too. */
static void make_toy(void)
{
    for (size_t i = 0; i < RECORDS; i++) {
        size_t length = 2 + rng_hash(1, i) % (TOY_LONGEST - 1);
        for (size_t t = 0; t < length; t++) {
            uint64_t draw = rng_hash(i, t);
            size_t of = draw % 10 ? 6 : TINY_VOCAB - 4; /* the last ids are in no record */
            toy.id[toy.offset[i] + (int64_t)t] = (int32_t)(2 + draw / 16 % of);
        }
        toy.offset[i + 1] = toy.offset[i] + (int64_t)length;
        toy.label[i] = (int32_t)(rng_hash(3, i) % TOY_LABELS);
    }
    toy_make_set(&toy, RECORDS);
}

/* What a run was: the gradients of its first step (rows of the tables at their own place), how
 * often hooks were called, and what came out. */
struct seen {
    float *grad;
    size_t n_block, n_word, n;
    size_t steps_begun, batches, steps, moments;
    uint64_t numbers; /* of batches, mixed */
    double loss;
    float *weights;
};

static bool count_step(void *context, struct trainer *t, struct error *err)
{
    (void)t;
    (void)err;
    ((struct seen *)context)->steps_begun++;
    return true;
}

static bool count_batch(void *context, struct trainer *t, struct error *err)
{
    struct seen *seen = context;
    (void)err;
    seen->batches++;
    seen->numbers = rng_hash(seen->numbers, t->batch_number);
    return true;
}

static void take_rows(const struct trainer *t, const struct params_table *table,
                      const struct batch_rows *rows, float *to)
{
    for (size_t i = 0; i < rows->n; i++)
        t->dev->op->download(t->dev, to + (size_t)rows->row[i] * table->cols,
                             table->grad + i * table->cols, table->cols * sizeof *to);
}

static bool take_gradients(void *context, struct trainer *t, struct error *err)
{
    struct seen *seen = context;
    const struct params *p = &t->params;
    if (seen->steps++)
        return true;
    seen->n_block = p->n;
    seen->n_word = p->word.rows * p->word.cols;
    seen->n = p->n + seen->n_word + p->position.rows * p->position.cols;
    seen->grad = memory_zeroed(seen->n, sizeof *seen->grad, err);
    if (!seen->grad)
        return false;
    t->dev->op->download(t->dev, seen->grad, p->grad, p->n * sizeof *seen->grad);
    take_rows(t, &p->word, &t->batch.word, seen->grad + p->n);
    take_rows(t, &p->position, &t->batch.position, seen->grad + p->n + seen->n_word);
    seen->moments = p->word.n_moments;
    return t->dev->op->sync(t->dev, err);
}

static bool train_so(struct device *dev, size_t batch_tokens, size_t accumulate, size_t epochs,
                     struct seen *seen, struct error *err)
{
    struct model model;
    struct shape shape = {0};
    struct train_options options;
    const struct trainer_hook hook = {.name = "look",
                                      .context = seen,
                                      .before_step = count_step,
                                      .before_forward = count_batch,
                                      .after_backward = take_gradients};
    const struct trainer_hook *const hooks[] = {&hook};
    *seen = (struct seen){0};
    train_defaults(&options);
    options.epochs = epochs;
    options.batch_tokens = batch_tokens;
    options.accumulate = accumulate;
    options.dropout = batch_tokens > 1000 || accumulate > 1000 ? 0 : 0.1;
    options.hook = hooks;
    options.n_hooks = 1;
    if (!model_open(&model, scratch_path("empty.tar"), err))
        return false;
    struct training *training = NULL;
    bool ok = shape_from_text(&shape, "layers=2,hidden=32,heads=2,ffn=64,positions=16", TINY_VOCAB,
                              TOY_LABELS, err) &&
              (training = train_open(&model, &shape, &toy.set, &options, dev, NULL, err)) &&
              train_run(training, err);
    if (ok) {
        const struct params *p = &train_trainer(training)->params;
        seen->loss = train_result(training)->train_loss;
        seen->weights = memory_array(p->n, sizeof *seen->weights, err);
        ok = seen->weights != NULL;
        if (ok)
            dev->op->download(dev, seen->weights, p->w, p->n * sizeof *seen->weights);
    }
    train_close(training);
    shape_free(&shape);
    model_close(&model);
    return ok;
}

static void forget(struct seen *seen)
{
    free(seen->grad);
    free(seen->weights);
}

/* The largest difference, as a share of the largest value. */
static double differ(const float *a, const float *b, size_t n)
{
    double most = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)a[i]));
    }
    return largest > 0 ? most / largest : INFINITY;
}

/* One batch of all records against many small ones. Sums of about 400 tokens in another order:
 * some roundings of 2^-24 each. */
static void test_equal(struct device *dev)
{
    struct error err = ERROR_INIT;
    struct seen one, many;
    tiny_need(train_so(dev, 1 << 20, 1, 1, &one, &err), &err);
    tiny_need(train_so(dev, 20, 1 << 20, 1, &many, &err), &err);
    tap_ok(one.steps == 1 && one.batches == 1 && many.steps == 1 && many.batches > 10,
           "%s: one step of %zu batches", dev->name, many.batches);
    double block = differ(one.grad, many.grad, one.n_block);
    double word = differ(one.grad + one.n_block, many.grad + one.n_block, one.n_word);
    size_t before = one.n_block + one.n_word;
    double position = differ(one.grad + before, many.grad + before, one.n - before);
    tap_ok(block < 1e-5 && word < 1e-5 && position < 1e-5,
           "%s: its gradients are those of one batch: to %.1g, words %.1g, positions %.1g",
           dev->name, block, word, position);
    tap_ok(fabs(one.loss - many.loss) < 1e-5 * one.loss, "%s: and the loss is", dev->name);
    forget(&one);
    forget(&many);
    tiny_need(train_so(dev, 1 << 20, 1, 4, &one, &err), &err);
    tiny_need(train_so(dev, 20, 1 << 20, 4, &many, &err), &err);
    tap_ok(fabs(one.loss - many.loss) < 1e-4 * one.loss, "%s: after four steps, too: %g, %g",
           dev->name, one.loss, many.loss);
    forget(&one);
    forget(&many);
}

static void test_counts(struct device *dev)
{
    struct error err = ERROR_INIT;
    struct seen plain, three, again;
    tiny_need(train_so(dev, 40, 1, 2, &plain, &err), &err);
    tiny_need(train_so(dev, 40, 3, 2, &three, &err), &err);
    size_t of_epoch = plain.batches / 2;
    tap_ok(three.batches == plain.batches && three.steps_begun == three.steps &&
               plain.batches % 2 == 0 && three.steps == 2 * ((of_epoch + 2) / 3),
           "%s: an epoch of %zu batches is %zu steps of at most 3", dev->name, of_epoch,
           three.steps / 2);
    tap_ok(three.moments < TINY_VOCAB && three.moments > 6,
           "%s: %zu of %d words occur and have moments", dev->name, three.moments, TINY_VOCAB);
    tiny_need(train_so(dev, 40, 3, 2, &again, &err), &err);
    size_t bytes = three.n_block * sizeof *three.weights;
    tap_ok(memcmp(three.weights, again.weights, bytes) == 0 && three.numbers == again.numbers,
           "%s: the same once more, the same bytes", dev->name);
    forget(&plain);
    forget(&three);
    forget(&again);
}

int main(void)
{
    struct error err = ERROR_INIT;
    bool emulated = strcmp(device_cuda_build(), "cuda emulated") == 0;
    scratch_open();
    make_toy();
    toy_write_empty("empty.tar");
    struct device *device[] = {device_reference_open(&err), device_cpu_open(2, &err),
                               emulated ? device_cuda_open(0, DTYPE_F32, 0, &err) : NULL};
    tiny_need(!err.set, &err);
    for (size_t i = 0; i < sizeof device / sizeof device[0] && device[i]; i++) {
        test_equal(device[i]);
        test_counts(device[i]);
        device[i]->op->close(device[i]);
    }
    return tap_done();
}
