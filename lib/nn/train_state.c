/* train_state.c: see train_state.h. */
#include "nn/train_state.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/hash.h"
#include "core/memory.h"
#include "kernels/device.h"
#include "nn/checkpoint.h"
#include "nn/shape_config.h"

/* ---- what a checkpoint is of ---- */

static json_t *fingerprint(uint64_t value)
{
    char text[HASH_TEXT_BYTES];
    hash_text(value, text);
    return json_string(text);
}

/* Keys are words for a message: "--lr was 0.001, now it is 0.002". */
static json_t *describe_options(const struct trainer *t)
{
    const struct train_options *o = t->options;
    static const char *const pool[] = {[SHAPE_FIRST] = "first", [SHAPE_MEAN] = "mean"};
    json_t *weights = json_array();
    for (size_t i = 0; i < o->n_class_weights; i++)
        json_array_append_new(weights, json_real(o->class_weight[i]));
    return json_pack(
        "{s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:b, s:s, s:b, s:f, s:f, s:I, s:f, "
        "s:b, s:o, s:b, s:I, s:s}",
        "--epochs", (json_int_t)o->epochs, "--batch-tokens", (json_int_t)o->batch_tokens, "--lr",
        t->lr, "--head-lr", o->head_lr_factor, "--warmup", o->warmup, "--weight-decay",
        o->weight_decay, "--clip", o->clip, "--beta2", o->beta2, "--dropout",
        (double)t->dropout.hidden, "--attention-dropout", (double)t->dropout.attention,
        "--new-head", o->new_head, "--pool", pool[t->params.shape.pool], "--kd", o->distil,
        "--kd alpha", o->distil ? o->alpha : 0, "--kd temperature", o->distil ? o->temperature : 0,
        "--seed", (json_int_t)o->seed, "--label-smoothing", o->label_smoothing,
        "--class-weights balanced", o->balance_classes, "--class-weights", weights, "--curriculum",
        o->curriculum, "--patience", (json_int_t)o->patience, "--precision",
        device_precision_name(o->precision, o->tf32));
}

/* What else joins the run: the start, an n-gram part, hooks. */
static bool add_others(const struct trainer *t, json_t *identity)
{
    const struct hybrid_options *hybrid = t->options->hybrid;
    json_t *start = t->options->start ? json_deep_copy(t->options->start) : json_null();
    if (json_object_set_new(identity, "the start", start) != 0 ||
        (t->options->accumulate > 1 &&
         json_object_set_new(identity, "--accumulate",
                             json_integer((json_int_t)t->options->accumulate)) != 0) ||
        (hybrid && json_object_set_new(identity, "--ngram", hybrid_identity(hybrid)) != 0))
        return false;
    for (size_t i = 0; i < t->options->n_hooks; i++) {
        const struct trainer_hook *hook = t->options->hook[i];
        json_t *of = hook->identity ? json_deep_copy(hook->identity) : json_true();
        if (json_object_set_new(identity, hook->name, of) != 0)
            return false;
    }
    return true;
}

bool train_state_open(struct trainer *trainer, struct model *model, struct error *err)
{
    const struct train_options *o = trainer->options;
    struct stat st;
    uint64_t of_model = 0;
    if (!o->resume && lstat(o->checkpoint, &st) == 0)
        return error_set(
            err,
            "%s: a checkpoint is there already; go on from it with --resume, or remove "
            "it to start anew",
            o->checkpoint);
    if (!model_fingerprint(model, &of_model, err))
        return false;
    const struct records_header *header = &trainer->records->header;
    json_t *shape = shape_config(&trainer->params.shape, NULL, header->label, err);
    trainer->identity = shape ? describe_options(trainer) : NULL;
    json_t *to = trainer->identity;
    bool ok = to && json_object_set(to, "the model's shape", shape) == 0 &&
              json_object_set_new(to, "the model's fingerprint", fingerprint(of_model)) == 0 &&
              json_object_set_new(to, "the fingerprint of the records",
                                  fingerprint(trainer->records->fingerprint)) == 0 &&
              json_object_set_new(to, "the fingerprint of the dev records",
                                  fingerprint(o->dev ? o->dev->fingerprint : 0)) == 0 &&
              add_others(trainer, to);
    json_decref(shape);
    return ok || error_set(err, "no memory for a checkpoint's identity");
}

/* The first thing that differs, in words. */
static bool check_value(const char *path, const char *key, const json_t *was, const json_t *is,
                        struct error *err)
{
    if (json_equal(was, is))
        return true;
    if (json_is_object(is) || json_is_object(was) || !was || !is)
        return error_set(err,
                         "%s: is of another run: %s differs; give the options and files it was "
                         "made with, or remove it to start anew",
                         path, key);
    char *before = json_dumps(was, JSON_ENCODE_ANY), *now = json_dumps(is, JSON_ENCODE_ANY);
    error_set(err,
              "%s: is of another run: %s was %s, now it is %s; give the options and files it was "
              "made with, or remove it to start anew",
              path, key, before ? before : "other", now ? now : "other");
    free(before);
    free(now);
    return false;
}

static bool check_identity(const struct trainer *t, const json_t *state, struct error *err)
{
    json_t *was = json_object_get(state, "identity");
    const char *key;
    json_t *value;
    json_object_foreach(t->identity, key, value)
    {
        if (!check_value(t->options->checkpoint, key, json_object_get(was, key), value, err))
            return false;
    }
    json_object_foreach(was, key, value)
    {
        if (!check_value(t->options->checkpoint, key, value, json_object_get(t->identity, key),
                         err))
            return false;
    }
    return true;
}

/* ---- numbers ---- */

/* Each number of a run's state, by name; a NaN is null. */
struct number {
    const char *name;
    size_t *integer;
    double *real;
};
enum { NUMBERS = 16 };

static void list_numbers(struct trainer *t, struct number number[NUMBERS])
{
    const struct number all[NUMBERS] = {
        {"step", &t->step, NULL},
        {"epoch", &t->epoch, NULL},
        {"next_batch", &t->next_batch, NULL},
        {"epoch_loss", NULL, &t->epoch_loss},
        {"window_steps", &t->window.steps, NULL},
        {"window_records", &t->window.records, NULL},
        {"window_tokens", &t->window.tokens, NULL},
        {"window_loss", NULL, &t->window.loss},
        {"loss_scale", NULL, &t->grad_scale},
        {"scale_age", &t->scale_age, NULL},
        {"skipped", &t->skipped, NULL},
        {"last_loss", NULL, &t->last_loss},
        {"train_loss", NULL, &t->train_loss},
        {"dev_score", NULL, &t->dev_score},
        {"best_epoch", &t->best_epoch, NULL},
    };
    memcpy(number, all, sizeof all);
}

static json_t *dump_numbers(struct trainer *t)
{
    struct number number[NUMBERS];
    json_t *object = json_object();
    list_numbers(t, number);
    for (size_t i = 0; object && number[i].name; i++) {
        json_t *value = number[i].integer        ? json_integer((json_int_t)*number[i].integer)
                        : isnan(*number[i].real) ? json_null()
                                                 : json_real(*number[i].real);
        json_object_set_new(object, number[i].name, value);
    }
    return object;
}

static bool take_numbers(struct trainer *t, const json_t *object, struct error *err)
{
    struct number number[NUMBERS];
    list_numbers(t, number);
    for (size_t i = 0; number[i].name; i++) {
        const json_t *value = json_object_get(object, number[i].name);
        if (number[i].integer ? !json_is_integer(value)
                              : !json_is_number(value) && !json_is_null(value))
            return error_set(err, "%s: its state has no number \"%s\"", t->options->checkpoint,
                             number[i].name);
        if (number[i].integer)
            *number[i].integer = (size_t)json_integer_value(value);
        else
            *number[i].real = json_is_null(value) ? NAN : json_number_value(value);
    }
    return true;
}

/* ---- saving ---- */

static struct tensor_view floats(const char *name, const float *data, size_t n)
{
    return tensor_view_1d(name, DTYPE_F32, n, data);
}

/* One of w, m, v: of the block, and of the tables' touched rows; `place`: where the words' are. */
static bool save_values(const struct trainer *t, struct checkpoint_writer *to, const char *part,
                        const float *block, const float *word, const int32_t *place,
                        const float *position, struct error *err)
{
    const struct params *p = &t->params;
    float *host = memory_array(p->n, sizeof *host, err);
    float *words = host ? params_gather(p, &p->word, place, word, err) : NULL;
    float *positions = words ? params_gather(p, &p->position, NULL, position, err) : NULL;
    bool ok = positions != NULL;
    if (ok) {
        t->dev->op->download(t->dev, host, block, p->n * sizeof *host);
        const struct tensor_view tensor[] = {
            floats("block", host, p->n),
            floats("word", words, params_touched(p->word.touched, p->word.rows) * p->word.cols),
            floats("position", positions,
                   params_touched(p->position.touched, p->position.rows) * p->position.cols),
            tensor_view_1d("word.touched", DTYPE_U8, p->word.rows, p->word.touched),
            tensor_view_1d("position.touched", DTYPE_U8, p->position.rows, p->position.touched)};
        ok = t->dev->op->sync(t->dev, err) &&
             checkpoint_put(to, part, tensor, sizeof tensor / sizeof *tensor, err);
    }
    free(positions);
    free(words);
    free(host);
    return ok;
}

static bool save_best(const struct trainer *t, struct checkpoint_writer *to, struct error *err)
{
    const struct params *p = &t->params;
    const struct params_copy *best = &t->best;
    if (!best->block)
        return true;
    const struct tensor_view tensor[] = {
        floats("block", best->block, p->n),
        floats("word", best->word, params_touched(best->word_touched, p->word.rows) * p->word.cols),
        floats("position", best->position,
               params_touched(best->position_touched, p->position.rows) * p->position.cols),
        tensor_view_1d("word.touched", DTYPE_U8, p->word.rows, best->word_touched),
        tensor_view_1d("position.touched", DTYPE_U8, p->position.rows, best->position_touched)};
    return checkpoint_put(to, "best", tensor, sizeof tensor / sizeof *tensor, err);
}

static bool save_buffer(const struct trainer *t, const struct trainer_buffer *buffer, void **host,
                        struct error *err)
{
    *host = memory_array(buffer->bytes, 1, err);
    if (!*host)
        return false;
    if (buffer->on_device)
        t->dev->op->download(t->dev, *host, buffer->data, buffer->bytes);
    else
        memcpy(*host, buffer->data, buffer->bytes);
    return true;
}

/* The part of a hook: "hook.movement". */
enum { PART_BYTES = 100 };
static size_t hook_part(const struct trainer_hook *hook, char part[PART_BYTES],
                        struct trainer_buffer buffer[TRAINER_HOOK_BUFFERS])
{
    snprintf(part, PART_BYTES, "hook.%s", hook->name);
    return hook->state ? hook->state(hook->context, buffer, TRAINER_HOOK_BUFFERS) : 0;
}

static bool save_hook(const struct trainer *t, const struct trainer_hook *hook,
                      struct checkpoint_writer *to, struct error *err)
{
    struct trainer_buffer buffer[TRAINER_HOOK_BUFFERS];
    struct tensor_view tensor[TRAINER_HOOK_BUFFERS];
    void *host[TRAINER_HOOK_BUFFERS];
    char part[PART_BYTES];
    size_t n = hook_part(hook, part, buffer), kept = 0;
    bool ok = true;
    for (; ok && kept < n; kept++) {
        ok = save_buffer(t, &buffer[kept], &host[kept], err);
        tensor[kept] = tensor_view_1d(buffer[kept].name, DTYPE_U8, buffer[kept].bytes, host[kept]);
    }
    ok =
        ok && t->dev->op->sync(t->dev, err) && (n == 0 || checkpoint_put(to, part, tensor, n, err));
    while (kept > 0)
        free(host[--kept]);
    return ok;
}

static json_t *make_state(struct trainer *t, struct error *err)
{
    char device[sizeof((struct train_result *)0)->other_device];
    t->dev->op->describe(t->dev, device, sizeof device);
    json_t *state =
        json_pack("{s:o, s:O, s:s, s:f, s:I}", "run", dump_numbers(t), "identity", t->identity,
                  "device", device, "seconds", progress_clock() - t->begun, "log_bytes",
                  (json_int_t)(t->options->log ? log_bytes(t->options->log) : 0));
    if (!state)
        error_set(err, "no memory for a checkpoint");
    return state;
}

bool train_state_due(const struct trainer *trainer)
{
    const struct train_options *o = trainer->options;
    if (!o->checkpoint)
        return false;
    if (o->checkpoint_steps)
        return trainer->step % o->checkpoint_steps == 0;
    return progress_clock() - trainer->saved_at >= o->checkpoint_seconds;
}

bool train_state_save(struct trainer *trainer, struct error *err)
{
    struct trainer *t = trainer;
    const struct params *p = &t->params;
    if (!t->options->checkpoint)
        return true;
    if (!trainer_collect(t, err))
        return false;
    json_t *state = make_state(t, err);
    struct checkpoint_writer *to = state ? checkpoint_create(t->options->checkpoint, err) : NULL;
    bool ok = to && save_values(t, to, "weights", p->w, p->word.w, NULL, p->position.w, err) &&
              save_values(t, to, "moment1", p->m, p->word.m, p->word.place, p->position.m, err) &&
              save_values(t, to, "moment2", p->v, p->word.v, p->word.place, p->position.v, err) &&
              save_best(t, to, err);
    for (size_t i = 0; ok && i < t->options->n_hooks; i++)
        ok = save_hook(t, t->options->hook[i], to, err);
    if (ok)
        ok = checkpoint_commit(to, state, err);
    else
        checkpoint_abandon(to);
    json_decref(state);
    t->saved_at = progress_clock();
    if (ok)
        t->saved_step = t->step;
    return ok || error_at(err, "the checkpoint of step %zu: ", t->step);
}

/* ---- loading ---- */

/* The flags of a table, which must be 0 or 1. */
static const uint8_t *find_touched(const struct trainer *t, struct checkpoint *from,
                                   const char *part, const char *name,
                                   const struct params_table *table, struct error *err)
{
    const uint8_t *touched = checkpoint_find(from, part, name, DTYPE_U8, table->rows, err);
    for (size_t r = 0; touched && r < table->rows; r++)
        if (touched[r] > 1 || (touched[r] && table->place && table->place[r] < 0)) {
            error_set(err,
                      touched[r] > 1 ? "%s: %s: %s is neither 0 nor 1 at %zu"
                                     : "%s: %s: %s marks %zu, which is in no record of the run",
                      t->options->checkpoint, part, name, r);
            return NULL;
        }
    return touched;
}

/* Where the values of a part lie in the file. */
struct stored {
    const float *block, *word, *position;
    const uint8_t *word_touched, *position_touched;
    size_t words, positions; /* floats */
};

static bool find_values(const struct trainer *t, struct checkpoint *from, const char *part,
                        struct stored *stored, struct error *err)
{
    const struct params *p = &t->params;
    struct stored *s = stored;
    s->word_touched = find_touched(t, from, part, "word.touched", &p->word, err);
    s->position_touched =
        s->word_touched ? find_touched(t, from, part, "position.touched", &p->position, err) : NULL;
    if (!s->position_touched)
        return false;
    s->words = params_touched(s->word_touched, p->word.rows) * p->word.cols;
    s->positions = params_touched(s->position_touched, p->position.rows) * p->position.cols;
    return (s->block = checkpoint_find(from, part, "block", DTYPE_F32, p->n, err)) &&
           (s->word = checkpoint_find(from, part, "word", DTYPE_F32, s->words, err)) &&
           (s->position = checkpoint_find(from, part, "position", DTYPE_F32, s->positions, err));
}

static bool load_values(const struct trainer *t, struct checkpoint *from, const char *part,
                        float *block, float *word, const int32_t *place, float *position,
                        struct error *err)
{
    const struct params *p = &t->params;
    struct stored s;
    if (!find_values(t, from, part, &s, err))
        return false;
    t->dev->op->upload(t->dev, block, s.block, p->n * sizeof *block);
    params_scatter(p, &p->word, place, s.word_touched, s.word, word);
    params_scatter(p, &p->position, NULL, s.position_touched, s.position, position);
    memcpy(p->word.touched, s.word_touched, p->word.rows);
    memcpy(p->position.touched, s.position_touched, p->position.rows);
    return true;
}

static bool load_best(struct trainer *t, struct checkpoint *from, struct error *err)
{
    const struct params *p = &t->params;
    struct params_copy *best = &t->best;
    struct stored s;
    /* Kept only where an epoch was scored; the last one's weights are the current ones. */
    if (!t->options->dev || t->best_epoch == 0)
        return true;
    if (!find_values(t, from, "best", &s, err))
        return false;
    best->block = (float *)memory_copy(s.block, p->n * sizeof(float), err);
    best->word = (float *)memory_copy(s.word, s.words * sizeof(float), err);
    best->position = (float *)memory_copy(s.position, s.positions * sizeof(float), err);
    best->word_touched = (uint8_t *)memory_copy(s.word_touched, p->word.rows, err);
    best->position_touched = (uint8_t *)memory_copy(s.position_touched, p->position.rows, err);
    return best->block && best->word && best->position && best->word_touched &&
           best->position_touched;
}

static bool load_hook(const struct trainer *t, const struct trainer_hook *hook,
                      struct checkpoint *from, struct error *err)
{
    struct trainer_buffer buffer[TRAINER_HOOK_BUFFERS];
    char part[PART_BYTES];
    size_t n = hook_part(hook, part, buffer);
    for (size_t i = 0; i < n; i++) {
        const void *bytes =
            checkpoint_find(from, part, buffer[i].name, DTYPE_U8, buffer[i].bytes, err);
        if (!bytes)
            return false;
        if (buffer[i].on_device)
            t->dev->op->upload(t->dev, buffer[i].data, bytes, buffer[i].bytes);
        else
            memcpy(buffer[i].data, bytes, buffer[i].bytes);
    }
    return true;
}

static bool load(struct trainer *t, struct checkpoint *from, struct train_result *result,
                 struct error *err)
{
    const struct params *p = &t->params;
    const json_t *state = checkpoint_state(from);
    char device[sizeof result->other_device];
    bool ok = check_identity(t, state, err) &&
              take_numbers(t, json_object_get(state, "run"), err) &&
              load_values(t, from, "weights", p->w, p->word.w, NULL, p->position.w, err) &&
              load_values(t, from, "moment1", p->m, p->word.m, p->word.place, p->position.m, err) &&
              load_values(t, from, "moment2", p->v, p->word.v, p->word.place, p->position.v, err) &&
              load_best(t, from, err);
    for (size_t i = 0; ok && i < t->options->n_hooks; i++)
        ok = load_hook(t, t->options->hook[i], from, err);
    if (!ok)
        return false;
    if (t->epoch < 1 || t->epoch > t->options->epochs || t->step > t->total_steps ||
        t->skipped > t->step || t->best_epoch > t->epoch)
        return error_set(err, "%s: its state is of no step of this run", t->options->checkpoint);
    params_refresh(&t->params);
    t->saved_step = result->resumed_step = t->step;
    t->optimizer.step = t->step;
    const struct loss_scale scaled = {(float)t->grad_scale, (uint32_t)t->scale_age,
                                      (uint32_t)t->skipped};
    if (t->optimizer.scaled && !optimizer_scale(&t->optimizer, &scaled, err))
        return false;
    t->begun -= json_number_value(json_object_get(state, "seconds"));
    t->dev->op->describe(t->dev, device, sizeof device);
    const char *was = json_string_value(json_object_get(state, "device"));
    if (was && strcmp(was, device) != 0)
        snprintf(result->other_device, sizeof result->other_device, "%s", was);
    result->resumed = true;
    return !t->options->log ||
           log_rewind(t->options->log,
                      (uint64_t)json_integer_value(json_object_get(state, "log_bytes")), err);
}

bool train_state_begin(struct trainer *trainer, struct train_result *result, struct error *err)
{
    const char *path = trainer->options->checkpoint;
    struct stat st;
    if (!trainer->options->resume || (stat(path, &st) != 0 && errno == ENOENT))
        return !trainer->options->log || log_rewind(trainer->options->log, 0, err);
    struct checkpoint *from = checkpoint_open(path, err);
    bool ok = from && load(trainer, from, result, err);
    checkpoint_close(from);
    return ok;
}
