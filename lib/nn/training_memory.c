/* training_memory.c: what a run of training takes on its device, before it begins. */
#include "nn/training.h"

#include "core/memory.h"
#include "nn/footprint.h"
#include "nn/schedule.h"

bool training_plan(const struct trainer *t, size_t epoch, size_t batch_tokens,
                   struct schedule *schedule, struct error *err)
{
    return schedule_plan(schedule, t->length, epoch == 1 ? t->rank : NULL, t->n_usable,
                         batch_tokens, trainer_seed(t, TRAINER_ORDER, epoch), err);
}

bool training_find_words(struct trainer *t, const struct shape *shape, struct error *err)
{
    t->words = memory_zeroed(shape->vocab, 1, err);
    if (!t->words)
        return false;
    for (size_t i = 0; i < t->n_usable; i++) {
        struct record r = records_get(t->records, t->usable[i]);
        for (size_t k = 0; k < r.n_ids; k++)
            t->words[r.id[k]] = 1;
    }
    for (size_t row = 0; row < shape->vocab; row++)
        t->n_words += t->words[row];
    return true;
}

static void widen(struct batch_size *most, const struct batch_size *size)
{
    most->tokens = size->tokens > most->tokens ? size->tokens : most->tokens;
    most->records = size->records > most->records ? size->records : most->records;
    most->longest = size->longest > most->longest ? size->longest : most->longest;
    most->words = size->words > most->words ? size->words : most->words;
}

static void add_record(struct batch_size *size, size_t length)
{
    size->tokens += length;
    size->records++;
    size->longest = length > size->longest ? length : size->longest;
}

/* How records are cut up. */
struct cut {
    size_t batch_tokens, accumulate;
};

/* Batches differ a little between epochs; the learning rate's end must be exact, and the largest
 * batch must have room. */
static bool look_ahead(const struct trainer *t, const struct cut *cut, size_t *steps,
                       struct batch_size *most, struct error *err)
{
    *steps = 0;
    *most = (struct batch_size){0};
    for (size_t epoch = 1; epoch <= t->options->epochs; epoch++) {
        struct schedule schedule;
        size_t of_step = 0; /* tokens */
        if (!training_plan(t, epoch, cut->batch_tokens, &schedule, err))
            return false;
        for (size_t b = 0; b < schedule.n_batches; b++) {
            struct batch_size size = {0};
            for (size_t i = schedule.first[b]; i < schedule.first[b + 1]; i++)
                add_record(&size, t->length[schedule.record[i]]);
            of_step = b % cut->accumulate ? of_step + size.tokens : size.tokens;
            size.words = t->words && t->n_words < of_step ? t->n_words : of_step;
            widen(most, &size);
        }
        *steps += (schedule.n_batches + cut->accumulate - 1) / cut->accumulate;
        schedule_free(&schedule);
    }
    return true;
}

/* As trainer_evaluate() cuts the dev set. */
static struct batch_size look_at_dev(const struct trainer *t, size_t batch_tokens)
{
    const struct records_set *dev = t->options->dev;
    struct batch_size most = {0}, size = {0};
    for (size_t i = 0; dev && i < dev->n; i++) {
        struct record r = records_get(dev, i);
        if (!r.labelled && !t->options->mlm)
            continue;
        if (size.records && size.tokens + r.n_ids > batch_tokens)
            size = (struct batch_size){0};
        add_record(&size, r.n_ids);
        widen(&most, &size);
    }
    return most;
}

static struct batch_size both(const struct batch_size *one, const struct batch_size *other)
{
    struct batch_size most = *one;
    widen(&most, other);
    return most;
}

static bool count_run(const struct trainer *t, const struct shape *shape,
                      const struct batch_size *most, const struct batch_size *most_dev,
                      struct footprint *footprint, struct error *err)
{
    const struct train_options *o = t->options;
    struct footprint_run run = {.dev = t->dev,
                                .shape = shape,
                                .precision = o->precision,
                                .batch = &t->batch,
                                .batch_dev = &t->dev_batch,
                                .most = *most,
                                .most_dev = *most_dev,
                                .n_records = t->n_usable,
                                .some_words = t->words != NULL,
                                .n_words = t->n_words};
    struct batch_size largest = both(most, most_dev);
    for (size_t i = 0; i < o->n_hooks; i++) {
        size_t bytes = 0, work = 0;
        if (o->hook[i]->memory &&
            !o->hook[i]->memory(o->hook[i]->context, shape, &largest, &bytes, &work, err))
            return false;
        run.beside += bytes;
        run.work = work > run.work ? work : run.work;
    }
    if (o->balance_classes || o->class_weight)
        run.beside += shape->n_labels * sizeof(float);
    if (o->hybrid)
        run.beside += t->ngram_bytes + largest.records * shape->n_labels * t->dev->act_bytes;
    return footprint_training(&run, footprint, err);
}

static struct cut cut_of(const struct trainer *t)
{
    return (struct cut){t->options->batch_tokens, t->options->accumulate};
}

/* The largest power of two, below the budget asked for, with which the run fits, and how many of
 * such batches make steps as large as those asked for; batch_tokens 0: none. */
static bool find_budget(const struct trainer *t, const struct shape *shape, size_t free,
                        struct cut *cut, struct error *err)
{
    struct footprint footprint;
    const struct cut asked = cut_of(t);
    size_t steps, before = SIZE_MAX, *budget = &cut->batch_tokens;
    *budget = 1;
    while (*budget < asked.batch_tokens)
        *budget *= 2;
    for (*budget /= 2; *budget > 0; *budget /= 2) {
        struct batch_size most, most_dev = look_at_dev(t, *budget);
        cut->accumulate = (asked.batch_tokens + *budget - 1) / *budget * asked.accumulate;
        if (!look_ahead(t, cut, &steps, &most, err) ||
            !count_run(t, shape, &most, &most_dev, &footprint, err))
            return false;
        if (footprint.total <= free)
            return true;
        if (footprint.total == before) /* batches of one record: less is not possible */
            break;
        before = footprint.total;
    }
    *budget = 0;
    return true;
}

static bool refuse(const struct trainer *t, const struct shape *shape,
                   const struct footprint *footprint, size_t free, struct error *err)
{
    char wanted[FOOTPRINT_TEXT], left[FOOTPRINT_TEXT], fixed[FOOTPRINT_TEXT];
    size_t held = footprint->parameters + footprint->moments + footprint->copies;
    struct cut cut;
    footprint_text(footprint->total, wanted);
    footprint_text(free, left);
    if (!find_budget(t, shape, free, &cut, err))
        return false;
    if (cut.batch_tokens)
        return error_set(err,
                         "training needs %s of memory on %s, %s free: try --batch-tokens %zu "
                         "--accumulate %zu",
                         wanted, t->dev->name, left, cut.batch_tokens, cut.accumulate);
    return error_set(err,
                     "training needs %s of memory on %s, %s free, and no --batch-tokens makes it "
                     "fit (%s are the model's and the optimizer's): train a smaller model, or on "
                     "a device with more memory",
                     wanted, t->dev->name, left, footprint_text(held, fixed));
}

bool training_check_memory(struct trainer *t, const struct shape *shape, struct error *err)
{
    struct footprint footprint;
    struct device_memory memory;
    const struct cut cut = cut_of(t);
    if (t->options->hybrid && !hybrid_bytes(t, t->options->hybrid, &t->ngram_bytes, err))
        return false;
    t->most_dev = look_at_dev(t, cut.batch_tokens);
    if (!look_ahead(t, &cut, &t->total_steps, &t->most, err) ||
        !count_run(t, shape, &t->most, &t->most_dev, &footprint, err))
        return false;
    t->footprint = footprint.total;
    t->dev->op->memory(t->dev, &memory);
    return footprint.total <= memory.free || refuse(t, shape, &footprint, memory.free, err);
}

/* Working memory of the run, counted once more with the shape that was opened. */
static bool reserve_work(struct trainer *t, struct error *err)
{
    struct footprint footprint;
    return count_run(t, &t->params.shape, &t->most, &t->most_dev, &footprint, err) &&
           t->dev->op->reserve(t->dev, footprint.work, err);
}

bool training_reserve(struct trainer *t, struct error *err)
{
    const struct shape *shape = &t->params.shape;
    struct batch_size largest = both(&t->most, &t->most_dev);
    if (!reserve_work(t, err) || !batch_reserve(&t->batch, &t->most, shape, err) ||
        !batch_reserve(&t->dev_batch, &t->most_dev, shape, err) ||
        !params_reserve(&t->params, batch_most_words(&t->batch, &t->most, shape),
                        batch_most_places(&t->most, shape), err) ||
        !encoder_reserve(t->encoder, largest.tokens, largest.records, err))
        return false;
    for (size_t i = 0; i < t->options->n_hooks; i++) {
        const struct trainer_hook *hook = t->options->hook[i];
        if (hook->reserve && !hook->reserve(hook->context, t, &largest, err))
            return false;
    }
    return true;
}
