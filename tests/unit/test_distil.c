/* Losses from inside a teacher: their gradients through the whole student, and of the projection,
 * against central differences, on the reference device; what is matched with what; what is refused.
 *
 * Step 4e-3 on weights of size 0.4: the loss is of order 1 in float activations (rounding 3e-7), so
 * a difference carries 4e-5 of noise; truncation below 1e-3 relative. Tolerance 4e-4 + 1 %. */
#include "tests/tap.h"
#include "tests/unit/tiny.h"

#include <math.h>

#include "nn/distil.h"
#include "nn/distil_state.h"

enum { RECORDS = 4, SAMPLES = 3 };
static const size_t lengths[RECORDS] = {5, 1, 7, 3};
static const float step = 4e-3F;

struct problem {
    struct device *dev;
    struct tiny tiny;
    struct model teacher;
    struct shape shape;
    struct train_options options;
    struct trainer trainer;
    struct distil *distil;
    float *row_loss;
    struct encoder_rows_grad rows;
};

static void fill_batch(struct problem *p)
{
    struct error err = ERROR_INIT;
    batch_init(&p->trainer.batch, p->dev, &p->shape, 0, true);
    for (size_t i = 0; i < RECORDS; i++) {
        int32_t id[8];
        for (size_t t = 0; t < lengths[i]; t++)
            id[t] = (int32_t)(t == 0 ? 2 : rng_hash(i, t) % 9 * 2 + 1);
        tiny_must(batch_add(&p->trainer.batch, id, lengths[i], 0, NULL, &err), &err);
    }
    tiny_must(batch_upload(&p->trainer.batch, &err), &err);
}

/* A student of this shape beside the tiny teacher of 3 layers, 12 wide. */
static void open_student(struct problem *p, const char *text, bool all_rows)
{
    struct error err = ERROR_INIT;
    *p = (struct problem){.dev = device_reference_open(&err)};
    tiny_make(&p->tiny, 3);
    tiny_model(&p->tiny, &p->teacher, "teacher.tar");
    tiny_must(shape_from_text(&p->shape, text, TINY_VOCAB, TINY_LABELS, &err), &err);
    p->shape.initializer_range = 0.4F;
    p->shape.all_rows = all_rows;
    train_defaults(&p->options);
}

static void open_problem(struct problem *p, const char *text, const struct distil_options *options)
{
    struct error err = ERROR_INIT;
    struct trainer *t = &p->trainer;
    open_student(p, text, distil_needs_all_rows(options));
    *t = (struct trainer){.options = &p->options, .dev = p->dev, .loss_scale = 1.0F / RECORDS};
    tiny_must(params_open(&t->params, &p->shape, NULL, false, 11, p->dev, &err), &err);
    fill_batch(p);
    t->encoder = encoder_open(p->dev, &t->params.shape, true, &err);
    tiny_must(t->encoder && encoder_reserve(t->encoder, t->batch.n_tokens, RECORDS, &err), &err);
    p->row_loss = t->step_loss = p->dev->op->alloc(p->dev, RECORDS * sizeof(float), &err);
    tiny_must(p->row_loss, &err);
    p->distil = distil_open(&p->teacher, &p->shape, options, p->dev, &err);
    tiny_must(p->distil != NULL, &err);
}

static void close_problem(struct problem *p)
{
    distil_close(p->distil);
    if (p->row_loss)
        p->dev->op->free(p->dev, p->row_loss);
    encoder_close(p->trainer.encoder);
    if (p->trainer.batch.dev)
        batch_free(&p->trainer.batch);
    params_close(&p->trainer.params);
    shape_free(&p->shape);
    model_close(&p->teacher);
    p->dev->op->close(p->dev);
}

/* The mean of the records' losses: the hook's alone. */
static double loss_of(struct problem *p, bool backward)
{
    struct error err = ERROR_INIT;
    struct trainer *t = &p->trainer;
    const struct trainer_hook *hook = distil_hook(p->distil);
    float host[RECORDS];
    double sum = 0;
    p->dev->op->zero(p->dev, p->row_loss, sizeof host);
    encoder_forward(t->encoder, &t->params.weights, &t->batch, NULL);
    p->dev->op->zero(p->dev, encoder_dlogits(t->encoder),
                     RECORDS * TINY_LABELS * p->dev->act_bytes);
    tiny_must(hook->after_forward(hook->context, t, &err), &err);
    if (backward)
        encoder_backward(t->encoder, &t->params.weights, &t->batch, NULL, &p->rows, NULL);
    p->dev->op->download(p->dev, host, p->row_loss, sizeof host);
    for (size_t i = 0; i < RECORDS; i++)
        sum += (double)host[i];
    return sum / RECORDS;
}

/* d loss / d *w. */
static double difference(struct problem *p, float *w)
{
    float old = *w; /* on the reference device memory is memory */
    double loss[2];
    for (int side = 0; side < 2; side++) {
        *w = old + (side ? step : -step);
        params_refresh(&p->trainer.params);
        loss[side] = loss_of(p, false);
    }
    *w = old;
    params_refresh(&p->trainer.params);
    return (loss[1] - loss[0]) / (2 * (double)step);
}

static bool agree(struct problem *p, const char *name, float *w, const float *grad, size_t n,
                  uint64_t salt, double *size)
{
    for (size_t s = 0; s < SAMPLES; s++) {
        size_t i = rng_hash(salt, s) % n;
        double found = (double)grad[i], expected = difference(p, w + i);
        *size = fmax(*size, fabs(expected));
        if (!(fabs(found - expected) <= 4e-4 + 0.01 * fabs(expected))) {
            printf("# %s[%zu]: gradient %.6g, by differences %.6g\n", name, i, found, expected);
            return false;
        }
    }
    return true;
}

static void check(const char *text, const struct distil_options *options, const char *what)
{
    struct error err = ERROR_INIT;
    struct problem p;
    open_problem(&p, text, options);
    struct params *params = &p.trainer.params;
    tiny_must(params_zero_grad(params, &p.trainer.batch, &p.rows, &err), &err);
    double loss = loss_of(&p, true), size = 0;
    float grad[TINY_HIDDEN * TINY_HIDDEN];
    struct distil_projection *w = &p.distil->projection;
    if (w->w)
        memcpy(grad, w->grad, w->n * sizeof *grad); /* further passes write it again */
    tap_ok(isfinite(loss) && loss > 1e-3, "%s: the loss is %g", what, loss);
    bool ok = true;
    for (size_t i = 0; i < params->n_entries; i++) {
        const struct params_entry *e = &params->entry[i];
        ok = agree(&p, e->name, params->w + e->offset, params->grad + e->offset,
                   e->rows * (e->cols ? e->cols : 1), i, &size) &&
             ok;
    }
    tap_ok(ok, "%s: every parameter of the student, largest slope %.3g", what, size);
    const struct batch_rows *word = &p.trainer.batch.word;
    for (size_t slot = 0; slot < word->n && ok; slot++)
        ok = agree(&p, "word", params->word.w + (size_t)word->row[slot] * params->word.cols,
                   params->word.grad + slot * params->word.cols, params->word.cols, 900 + slot,
                   &size);
    tap_ok(ok, "%s: its word rows", what);
    if (w->w)
        tap_ok(agree(&p, "W", w->w, grad, w->n, 77, &size), "%s: the projection", what);
    tap_ok(p.dev->op->sync(p.dev, &err), "%s: no failure", what);
    close_problem(&p);
}

/* A student that is its teacher has nothing to learn. */
static void test_equal(void)
{
    struct error err = ERROR_INIT;
    struct problem p;
    struct shape shape;
    const struct distil_options all = {.hidden = 1, .patient = 1, .relations = 1};
    open_problem(&p, "layers=2,hidden=12,heads=3,ffn=6,positions=16", &all);
    params_close(&p.trainer.params);
    encoder_close(p.trainer.encoder);
    distil_close(p.distil);
    tiny_must(shape_from_model(&shape, &p.teacher, &err), &err);
    shape.all_rows = true;
    struct trainer *t = &p.trainer;
    tiny_must(params_open(&t->params, &shape, &p.teacher, false, 1, p.dev, &err), &err);
    t->encoder = encoder_open(p.dev, &t->params.shape, true, &err);
    tiny_must(t->encoder && encoder_reserve(t->encoder, t->batch.n_tokens, RECORDS, &err), &err);
    p.distil = distil_open(&p.teacher, &shape, &all, p.dev, &err);
    tiny_must(p.distil != NULL, &err);
    double loss = loss_of(&p, false);
    tap_ok(fabs(loss) <= 1e-5, "a student that is its teacher: %g", loss);
    shape_free(&shape);
    close_problem(&p);
}

static void test_refusals(void)
{
    static const size_t one[] = {1}, far[] = {1, 4};
    static const struct {
        const char *shape;
        struct distil_options options;
        const char *text;
    } bad[] = {
        {"layers=1,hidden=12,heads=3", {.patient = 1}, "has none before the last"},
        {"layers=0,hidden=12", {.relations = 1}, "no query"},
        {"layers=2,hidden=12,heads=3", {.hidden = 1, .map = one, .n_map = 1}, "one for each"},
        {"layers=2,hidden=12,heads=3", {.hidden = 1, .map = far, .n_map = 2}, "layers 1 to 3"},
        {"layers=2,hidden=12,heads=3", {.relations = 1, .relation_layer = 4}, "layers 1 to 3"},
        {"layers=2,hidden=12,heads=3", {.relations = 1, .relation_heads = 5}, "does not divide"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct problem p;
        struct error err = ERROR_INIT;
        open_student(&p, bad[i].shape, false);
        struct distil *d = distil_open(&p.teacher, &p.shape, &bad[i].options, p.dev, &err);
        tap_ok(!d && strstr(err.text, bad[i].text), "refused: %s", err.text);
        distil_close(d);
        close_problem(&p);
        error_clear(&err);
    }
}

int main(void)
{
    static const size_t map[] = {3, 1};
    const char *narrow = "layers=2,hidden=8,heads=2,ffn=7,positions=16";
    const char *equal = "layers=2,hidden=12,heads=3,ffn=7,positions=16";
    check(narrow, &(struct distil_options){.hidden = 0.7}, "hidden states, narrower");
    check(equal, &(struct distil_options){.hidden = 0.7, .map = map, .n_map = 2}, "a given map");
    check("layers=0,hidden=8", &(struct distil_options){.hidden = 1}, "hidden states, a bag");
    check(narrow, &(struct distil_options){.patient = 2}, "patient");
    check(narrow, &(struct distil_options){.relations = 3}, "relations");
    check(equal, &(struct distil_options){.relations = 3, .relation_layer = 2, .relation_heads = 2},
          "relations of a layer, other heads");
    check(narrow, &(struct distil_options){.hidden = 0.5, .patient = 1, .relations = 1},
          "all of them");
    tap_ok(distil_even(12, 4, 1) == 3 && distil_even(12, 4, 4) == 12 && distil_even(12, 5, 2) == 5,
           "layers lie evenly");
    test_equal();
    test_refusals();
    return tap_done();
}
