/* Masked language models: which tokens are masked and how often; the loss against a slow reference;
 * gradients through head, encoder and word table against central differences, without and with a
 * teacher, on the reference device.
 *
 * Step 4e-3 on weights of size 0.4: the loss is of order 3 in float activations (rounding 3e-7), so
 * a difference carries 1e-4 of noise; truncation below 1e-3 relative. Tolerance 4e-4 + 1 %. */
#include "tests/tap.h"
#include "tests/unit/tiny.h"

#include <math.h>

#include "core/memory.h"
#include "nn/mlm_state.h"

enum { RECORDS = 4, SAMPLES = 3, FIRST_WORD = 5 };
static const size_t lengths[RECORDS] = {5, 1, 7, 3};
static const float step = 4e-3F;
static struct model vocabulary;
static struct tokenizer *tokenizer;

struct problem {
    struct device *dev;
    struct model teacher;
    struct shape shape;
    struct train_options options;
    struct trainer trainer;
    struct mlm *mlm;
    float *row_loss;
    struct encoder_rows_grad rows;
};

static void open_tokenizer(void)
{
    static const char config[] = "{\"model_type\": \"bert\", \"vocab_size\": 20}";
    struct error err = ERROR_INIT;
    char text[512] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n";
    for (size_t i = FIRST_WORD; i < TINY_VOCAB; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "word%c\n", (char)('a' + i));
    mkdir(scratch_path("tokenizer"), 0700);
    scratch_write("tokenizer/vocab.txt", text, strlen(text));
    scratch_write("tokenizer/config.json", config, strlen(config));
    tiny_open(&vocabulary, "tokenizer");
    tokenizer = tokenizer_open(vocabulary.bundle, &err);
    tiny_must(tokenizer != NULL, &err);
}

static struct shape make_shape(const char *text)
{
    struct error err = ERROR_INIT;
    struct shape shape;
    tiny_must(shape_from_text(&shape, text, TINY_VOCAB, 1, &err), &err);
    shape.initializer_range = 0.4F;
    tiny_must(shape_make_mlm(&shape, NULL, &err), &err);
    return shape;
}

/* A model with a head, of random weights. */
static void make_teacher(struct problem *p, const char *text, uint64_t seed)
{
    struct error err = ERROR_INIT;
    struct params params;
    struct shape shape = make_shape(text);
    struct output *output = tiny_output("teacher.tar");
    tiny_must(params_open(&params, &shape, NULL, false, seed, p->dev, &err), &err);
    json_t *config = shape_config(&shape, NULL, NULL, &err);
    tiny_must(config && params_write(&params, NULL, config, NULL, output, &err), &err);
    tiny_reopen(output, &p->teacher, "teacher.tar");
    json_decref(config);
    params_close(&params);
    shape_free(&shape);
}

static void fill_batch(struct problem *p)
{
    struct error err = ERROR_INIT;
    struct batch *batch = &p->trainer.batch;
    batch_init(batch, p->dev, &p->shape, 0, true);
    batch->word_rows = TINY_VOCAB;
    for (size_t i = 0; i < RECORDS; i++) {
        int32_t id[8] = {2};
        for (size_t t = 1; t < lengths[i]; t++)
            id[t] = (int32_t)(FIRST_WORD + rng_hash(i, t) % (TINY_VOCAB - FIRST_WORD));
        tiny_must(batch_add(batch, id, lengths[i], -1, NULL, &err), &err);
    }
    tiny_must(batch_upload(batch, &err), &err);
}

/* teacher NULL: none; otherwise its shape. */
static void open_problem(struct problem *p, const char *text, const char *teacher, uint64_t seed,
                         const struct mlm_options *options)
{
    struct error err = ERROR_INIT;
    struct trainer *t = &p->trainer;
    *p = (struct problem){.dev = device_reference_open(&err), .shape = make_shape(text)};
    train_defaults(&p->options);
    if (teacher)
        make_teacher(p, teacher, seed);
    *t = (struct trainer){.options = &p->options, .dev = p->dev, .loss_scale = 1.0F / RECORDS};
    tiny_must(params_open(&t->params, &p->shape, NULL, false, 11, p->dev, &err), &err);
    fill_batch(p);
    t->encoder = encoder_open(p->dev, &t->params.shape, true, &err);
    tiny_must(t->encoder && encoder_reserve(t->encoder, t->batch.n_tokens, RECORDS, &err), &err);
    p->row_loss = t->step_loss = p->dev->op->alloc(p->dev, RECORDS * sizeof(float), &err);
    tiny_must(p->row_loss, &err);
    p->mlm = mlm_open(tokenizer, teacher ? &p->teacher : NULL, options, p->dev, &err);
    tiny_must(p->mlm != NULL, &err);
    tiny_must(mlm_before_forward(p->mlm, t, &err), &err);
    tiny_must(params_zero_grad(&t->params, &t->batch, &p->rows, &err), &err);
}

static void close_problem(struct problem *p)
{
    mlm_close(p->mlm);
    if (p->row_loss)
        p->dev->op->free(p->dev, p->row_loss);
    encoder_close(p->trainer.encoder);
    batch_free(&p->trainer.batch);
    params_close(&p->trainer.params);
    shape_free(&p->shape);
    if (p->teacher.bundle)
        model_close(&p->teacher);
    p->dev->op->close(p->dev);
}

/* The mean of the records' losses. */
static double loss_of(struct problem *p, bool backward)
{
    struct error err = ERROR_INIT;
    struct trainer *t = &p->trainer;
    double sum = 0;
    encoder_forward(t->encoder, &t->params.weights, &t->batch, NULL);
    tiny_must(mlm_after_forward(p->mlm, t, &err), &err);
    if (backward)
        encoder_backward(t->encoder, &t->params.weights, &t->batch, NULL, &p->rows, NULL);
    for (size_t i = 0; i < RECORDS; i++)
        sum += (double)p->row_loss[i]; /* on the reference device memory is memory */
    return sum / RECORDS;
}

/* ---- the loss, slowly ---- */

static const float *values(const struct params *params, const char *name)
{
    for (size_t i = 0; i < params->n_entries; i++)
        if (strcmp(params->entry[i].name, name) == 0)
            return params->w + params->entry[i].offset;
    printf("Bail out! no %s\n", name);
    exit(1);
}

/* log p of the label at one row x. */
static double log_probability(const struct params *p, const float *x, int32_t label)
{
    const float *dense = values(p, "cls.predictions.transform.dense.weight");
    const float *dense_bias = values(p, "cls.predictions.transform.dense.bias");
    const float *gain = values(p, "cls.predictions.transform.LayerNorm.weight");
    const float *shift = values(p, "cls.predictions.transform.LayerNorm.bias");
    const float *bias = values(p, "cls.predictions.bias");
    size_t h = p->shape.hidden;
    double z[TINY_HIDDEN], mean = 0, square = 0, total = 0, of_label = 0;
    for (size_t i = 0; i < h; i++) {
        double sum = (double)dense_bias[i];
        for (size_t k = 0; k < h; k++)
            sum += (double)x[k] * (double)dense[i * h + k];
        z[i] = sum * 0.5 * (1 + erf(sum / sqrt(2)));
        mean += z[i] / (double)h;
    }
    for (size_t i = 0; i < h; i++)
        square += (z[i] - mean) * (z[i] - mean) / (double)h;
    for (size_t v = 0; v < p->shape.vocab; v++) {
        double logit = (double)bias[v];
        for (size_t i = 0; i < h; i++)
            logit += ((z[i] - mean) / sqrt(square + 1e-12) * (double)gain[i] + (double)shift[i]) *
                     (double)p->word.w[v * h + i];
        total += exp(logit);
        if ((int32_t)v == label)
            of_label = logit;
    }
    return of_label - log(total);
}

static void test_loss(void)
{
    struct problem p;
    const struct mlm_options options = {.rate = 0.5, .seed = 3};
    open_problem(&p, "layers=2,hidden=12,heads=3,ffn=7,positions=16", NULL, 0, &options);
    double found = loss_of(&p, false), expected = 0;
    const struct mlm_places *places = &p.mlm->places;
    const float *hidden = (const float *)encoder_hidden(p.trainer.encoder, 2);
    for (size_t i = 0; i < places->n; i++)
        expected -= log_probability(&p.trainer.params, hidden + (size_t)places->at[i] * TINY_HIDDEN,
                                    places->label[i]) /
                    (double)places->n;
    tap_ok(places->n > 2 && fabs(found - expected) <= 1e-5 * expected,
           "the mean over %zu masked tokens: %.7g, slowly %.7g", places->n, found, expected);
    close_problem(&p);
}

/* ---- gradients ---- */

static double difference(struct problem *p, float *w)
{
    float old = *w;
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

static void check(const char *text, const char *teacher, const struct mlm_options *options,
                  const char *what)
{
    struct error err = ERROR_INIT;
    struct problem p;
    open_problem(&p, text, teacher, 77, options);
    struct params *params = &p.trainer.params;
    double loss = loss_of(&p, true), size = 0;
    size_t words = params->word.rows * params->word.cols;
    /* Further passes add to the head's and the table's. */
    float *grad = (float *)memory_copy(params->grad, params->n * sizeof *grad, &err);
    float *word = (float *)memory_copy(params->word.grad, words * sizeof *word, &err);
    tiny_must(grad && word, &err);
    tap_ok(isfinite(loss) && loss > 0.1, "%s: the loss is %g", what, loss);
    bool ok = true;
    for (size_t i = 0; i < params->n_entries; i++) {
        const struct params_entry *e = &params->entry[i];
        ok = agree(&p, e->name, params->w + e->offset, grad + e->offset,
                   e->rows * (e->cols ? e->cols : 1), i, &size) &&
             ok;
    }
    tap_ok(ok, "%s: every parameter, largest slope %.3g", what, size);
    for (size_t row = 0; row < params->word.rows && ok; row++)
        ok = agree(&p, "word", params->word.w + row * params->word.cols,
                   word + row * params->word.cols, params->word.cols, 900 + row, &size);
    tap_ok(ok, "%s: all rows of the word table", what);
    tap_ok(p.dev->op->sync(p.dev, &err), "%s: no failure", what);
    free(grad);
    free(word);
    close_problem(&p);
}

/* A student that is its teacher differs from it in nothing. */
static void test_equal(void)
{
    struct problem p;
    const char *text = "layers=2,hidden=12,heads=3,ffn=7,positions=16";
    const struct mlm_options options = {
        .rate = 0.5, .seed = 3, .alpha = 1, .temperature = 2, .cosine = 3};
    open_problem(&p, text, text, 11, &options);
    double loss = loss_of(&p, false);
    tap_ok(fabs(loss) <= 1e-5, "a student that is its teacher: %g", loss);
    close_problem(&p);
}

/* ---- masks ---- */

static void test_masks(void)
{
    enum { TEXTS = 400, TOKENS = 52, WORDS = 50 };
    struct error err = ERROR_INIT;
    struct problem p;
    const struct mlm_options options = {.rate = 0.15, .seed = 3};
    open_problem(&p, "layers=1,hidden=12,heads=3,ffn=7,positions=64", NULL, 0, &options);
    struct batch *batch = &p.trainer.batch;
    batch_clear(batch);
    for (size_t i = 0; i < TEXTS; i++) {
        int32_t id[TOKENS] = {2};
        for (size_t t = 1; t + 1 < TOKENS; t++)
            id[t] = (int32_t)(FIRST_WORD + rng_hash(i, t) % (TINY_VOCAB - FIRST_WORD));
        id[TOKENS - 1] = 3;
        tiny_must(batch_add(batch, id, TOKENS, -1, NULL, &err), &err);
    }
    tiny_must(mlm_before_forward(p.mlm, &p.trainer, &err), &err);
    const struct mlm_places *places = &p.mlm->places;
    size_t masked = 0, same = 0, special = 0, ends = 0;
    for (size_t i = 0; i < places->n; i++) {
        int32_t now = batch->id[places->at[i]];
        masked += now == 4;
        same += now == places->label[i];
        special += now != 4 && now < FIRST_WORD;
        ends += places->label[i] < FIRST_WORD;
    }
    /* Of 20 000 words and 3000 chosen: deviations 0.25 and 0.7 %; a random word is the same in 1 of
     * 15 cases. */
    double rate = (double)places->n / (TEXTS * WORDS), n = (double)places->n;
    tap_ok(fabs(rate - 0.15) < 0.01, "15 %% are chosen: %.4f", rate);
    tap_ok(fabs((double)masked / n - 0.8) < 0.03, "80 %% of them masked: %.3f", (double)masked / n);
    tap_ok(fabs((double)same / n - 0.1 - 0.1 / 15) < 0.025, "10 %% stay: %.3f", (double)same / n);
    tap_ok(special == 0 && ends == 0, "special tokens neither chosen nor put in");
    close_problem(&p);
}

static void test_refusals(void)
{
    struct error err = ERROR_INIT;
    struct tiny tiny;
    struct model model;
    struct device *dev = device_reference_open(&err);
    const struct mlm_options options = {.rate = 0.15};
    tiny_make(&tiny, 3);
    tiny_model(&tiny, &model, "plain.tar");
    tap_ok(!mlm_open(tokenizer, &model, &options, dev, &err) &&
               strstr(err.text, "no masked language model's head"),
           "a teacher without a head: %s", err.text);
    error_clear(&err);
    struct shape bag, mobile = tiny.shape;
    tiny_must(shape_from_text(&bag, "layers=0,hidden=8", TINY_VOCAB, 1, &err), &err);
    tap_ok(!shape_make_mlm(&bag, NULL, &err), "a bag: %s", err.text);
    error_clear(&err);
    mobile.family = family_find("mobilebert");
    tap_ok(!shape_make_mlm(&mobile, &model, &err), "MobileBERT: %s", err.text);
    error_clear(&err);
    shape_free(&bag);
    model_close(&model);
    dev->op->close(dev);
}

int main(void)
{
    const char *equal = "layers=2,hidden=12,heads=3,ffn=7,positions=16";
    scratch_open();
    open_tokenizer();
    test_masks();
    test_loss();
    check(equal, NULL, &(struct mlm_options){.rate = 0.5, .seed = 3}, "cross-entropy");
    check("layers=1,hidden=8,heads=2,ffn=5,positions=16", equal,
          &(struct mlm_options){.rate = 0.4, .seed = 5, .alpha = 0.7, .temperature = 2},
          "a narrower student's teacher");
    check(equal, "layers=3,hidden=12,heads=3,ffn=9,positions=16",
          &(struct mlm_options){
              .rate = 0.5, .seed = 4, .alpha = 0.5, .temperature = 1.5, .cosine = 0.7},
          "a teacher and its hidden states");
    test_equal();
    test_refusals();
    tokenizer_close(tokenizer);
    model_close(&vocabulary);
    return tap_done();
}
