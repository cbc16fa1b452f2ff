/* The gradient of the whole model against central differences of its loss, on the reference device:
 * every kind of parameter of every architecture, layers of different shapes, first-rows-only last
 * layer and the mean of all rows, no layer, dropout on (its masks are fixed by the seed), both
 * losses, and gradients that join at hidden states and at query, key and value.
 *
 * Step 4e-3: the loss is of order 1 and computed in float activations (rounding about 3e-7), so a
 * difference carries 3e-7 / 8e-3 = 4e-5 of noise; the truncation h²/6 f''' is below 1e-3 relative
 * for weights of 0.4. Tolerance 4e-4 + 1 %. */
#include "tests/tap.h"
#include "tests/unit/tiny_model.h"

#include "core/memory.h"
#include "nn/encoder.h"

enum { SAMPLES = 4 };
enum special { NOTHING, NO_LAYERS, FURTHER, ALL_ROWS };
static const float step = 4e-3f;

struct problem {
    struct device *dev;
    struct shape shape;
    struct params params;
    struct batch batch;
    struct encoder *encoder;
    struct encoder_dropout dropout;
    struct loss loss;
    float *row_loss;
    struct encoder_rows_grad rows;
    bool further; /* a loss on hidden states and on the first layer's query, key and value */
    act *gradient[4];
};

/* Sum of a fixed coefficient times each of the values; the coefficients to `gradient`. */
static double weigh(struct problem *p, const act *x, size_t n, uint64_t salt, act *gradient)
{
    struct error err = ERROR_INIT;
    float *value = memory_array(2 * n, sizeof *value, &err), *factor = value + n;
    double sum = 0;
    tiny_need(value, &err);
    p->dev->op->act_download(p->dev, value, x, n);
    for (size_t i = 0; i < n; i++) {
        factor[i] = (float)(rng_hash(salt, i) % 200) / 2000 - 0.05f;
        sum += (double)factor[i] * (double)value[i];
    }
    p->dev->op->act_upload(p->dev, gradient, factor, n);
    free(value);
    return sum;
}

/* The further loss after a forward pass; its gradients are given to the encoder. */
static double further_loss(struct problem *p)
{
    const struct shape *shape = &p->params.shape;
    double sum = 0;
    for (size_t l = 0; l <= shape->n_layers; l++) {
        bool first = l == shape->n_layers && shape_first_only(shape, l - 1);
        size_t rows = first ? p->batch.n : p->batch.n_tokens;
        sum +=
            weigh(p, encoder_hidden(p->encoder, l), rows * shape->hidden, 70 + l, p->gradient[l]);
        encoder_add_hidden_gradient(p->encoder, l, p->gradient[l]);
    }
    size_t inner = shape->layer[0].heads * shape->head_size;
    sum += weigh(p, encoder_qkv(p->encoder, 0), p->batch.n_tokens * 3 * inner, 80, p->gradient[3]);
    encoder_add_qkv_gradient(p->encoder, 0, p->gradient[3]);
    return sum;
}

static double loss_of(struct problem *p, bool backward)
{
    const struct device_ops *op = p->dev->op;
    float host[TINY_RECORDS];
    double sum = 0;
    const act *logits = encoder_forward(p->encoder, &p->params.weights, &p->batch, &p->dropout);
    op->loss(p->dev, &p->loss, logits, p->batch.device_label, p->batch.device_teacher, p->batch.n,
             TINY_LABELS, p->row_loss, encoder_dlogits(p->encoder));
    double further = p->further ? further_loss(p) : 0;
    if (backward)
        encoder_backward(p->encoder, &p->params.weights, &p->batch, &p->dropout, &p->rows, NULL);
    op->download(p->dev, host, p->row_loss, sizeof host);
    for (size_t i = 0; i < TINY_RECORDS; i++)
        sum += (double)host[i];
    return sum / TINY_RECORDS + further;
}

/* d loss / d *w by central differences. */
static double difference(struct problem *p, float *w)
{
    const struct device_ops *op = p->dev->op;
    float old, moved;
    double loss[2];
    op->download(p->dev, &old, w, sizeof old);
    for (int side = 0; side < 2; side++) {
        moved = old + (side ? step : -step);
        op->upload(p->dev, w, &moved, sizeof moved);
        params_refresh(&p->params);
        loss[side] = loss_of(p, false);
    }
    op->upload(p->dev, w, &old, sizeof old);
    params_refresh(&p->params);
    return (loss[1] - loss[0]) / (2 * (double)step);
}

/* Compare `n` sampled elements of w with grad; both device. */
static bool agree(struct problem *p, const char *name, float *w, const float *grad, size_t n,
                  uint64_t salt)
{
    bool ok = true;
    for (size_t s = 0; s < SAMPLES; s++) {
        size_t i = rng_hash(salt, s) % n;
        float found;
        p->dev->op->download(p->dev, &found, grad + i, sizeof found);
        double expected = difference(p, w + i), diff = fabs((double)found - expected);
        if (!(diff <= 4e-4 + 0.01 * fabs(expected))) {
            printf("# %s[%zu]: gradient %.6g, by differences %.6g\n", name, i, (double)found,
                   expected);
            ok = false;
        }
    }
    return ok;
}

/* A tiny model of any family: the tables 8 wide where there is a projection, the bottleneck 6. */
static void be_of_family(struct shape *shape, const char *model_type)
{
    const struct family *family = family_find(model_type);
    shape->family = family;
    shape->types = family->types;
    shape->pad = family->pad;
    if (family->embedding != FAMILY_PLAIN)
        shape->embed = 8;
    if (family->bottleneck) {
        shape->width = 6;
        shape->head_size = 2;
        shape->stack = 3;
    }
    if (family->norm == NORM_AFFINE) /* nothing keeps the rows small */
        shape->initializer_range = 0.2f;
    if (family_shares_layers(family))
        shape->layer[1] = shape->layer[0];
}

static void open_problem(struct problem *p, const char *model_type, enum shape_pool pool,
                         enum epilogue activation, enum loss_kind kind, enum special special)
{
    struct error err = ERROR_INIT;
    p->further = special == FURTHER || special == ALL_ROWS;
    p->dev = device_reference_open(&err);
    tiny_need(p->dev, &err);
    p->shape = tiny_shape(2);
    be_of_family(&p->shape, model_type);
    p->shape.pool = pool;
    p->shape.no_pooler = pool == SHAPE_MEAN;
    p->shape.activation = activation;
    p->shape.all_rows = special == ALL_ROWS;
    if (special == NO_LAYERS)
        p->shape.n_layers = 0;
    tiny_params(&p->params, &p->shape, p->dev);
    tiny_batch(&p->batch, p->dev, &p->shape, kind == LOSS_DISTIL);
    p->encoder = encoder_open(p->dev, &p->params.shape, true, &err);
    tiny_need(p->encoder && encoder_reserve(p->encoder, p->batch.n_tokens, p->batch.n, &err), &err);
    p->dropout = (struct encoder_dropout){
        .hidden = 0.2f, .attention = 0.15f, .classifier = 0.25f, .seed = 99};
    p->loss =
        (struct loss){.kind = kind, .alpha = 0.7f, .temperature = 2, .scale = 1.0f / TINY_RECORDS};
    p->row_loss = p->dev->op->alloc(p->dev, TINY_RECORDS * sizeof(float), &err);
    tiny_need(p->row_loss, &err);
    for (size_t i = 0; i < 4; i++) {
        p->gradient[i] = p->dev->op->alloc(
            p->dev, p->batch.n_tokens * 3 * TINY_HIDDEN * p->dev->act_bytes, &err);
        tiny_need(p->gradient[i], &err);
    }
}

static void close_problem(struct problem *p)
{
    p->dev->op->free(p->dev, p->row_loss);
    for (size_t i = 0; i < 4; i++)
        p->dev->op->free(p->dev, p->gradient[i]);
    encoder_close(p->encoder);
    batch_free(&p->batch);
    params_close(&p->params);
    shape_free(&p->shape);
    p->dev->op->close(p->dev);
}

static void check_table(struct problem *p, struct params_table *table,
                        const struct batch_rows *rows, const char *what)
{
    bool ok = rows->n > 1;
    for (size_t slot = 0; slot < rows->n; slot++)
        ok = agree(p, table->name, table->w + (size_t)rows->row[slot] * table->cols,
                   table->grad + slot * table->cols, table->cols, 1000 + slot) &&
             ok;
    tap_ok(ok, "%s: every touched row of %s", what, table->name);
}

static void check_special(const char *model_type, enum shape_pool pool, enum epilogue activation,
                          enum loss_kind kind, enum special special, const char *what)
{
    struct error err = ERROR_INIT;
    struct problem p = {0};
    open_problem(&p, model_type, pool, activation, kind, special);
    tiny_need(params_zero_grad(&p.params, &p.batch, &p.rows, &err), &err);
    double loss = loss_of(&p, true);
    tap_ok(isfinite(loss) && (loss > 0.1 || special), "%s: the loss is %g", what, loss);
    for (size_t i = 0; i < p.params.n_entries; i++) {
        const struct params_entry *e = &p.params.entry[i];
        tap_ok(agree(&p, e->name, p.params.w + e->offset, p.params.grad + e->offset,
                     e->rows * (e->cols ? e->cols : 1), i),
               "%s: %s", what, e->name);
    }
    check_table(&p, &p.params.word, &p.batch.word, what);
    check_table(&p, &p.params.position, &p.batch.position, what);
    tap_ok(p.dev->op->sync(p.dev, &err), "%s: the device reports no failure", what);
    close_problem(&p);
}

static void check(const char *model_type, enum shape_pool pool, enum epilogue activation,
                  enum loss_kind kind, const char *what)
{
    check_special(model_type, pool, activation, kind, NOTHING, what);
}

int main(void)
{
    const enum shape_pool first = SHAPE_FIRST, mean = SHAPE_MEAN;
    check("bert", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, "gelu, cross-entropy");
    check("bert", first, EPILOGUE_GELU_TANH, LOSS_DISTIL, "gelu_new, distillation");
    check("bert", mean, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, "mean of the tokens");
    check("distilbert", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, "DistilBERT");
    check("xlm-roberta", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, "XLM-R");
    check("albert", first, EPILOGUE_GELU_TANH, LOSS_CROSS_ENTROPY, "ALBERT");
    check("albert", mean, EPILOGUE_GELU_TANH, LOSS_DISTIL, "ALBERT, mean of the tokens");
    check("electra", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, "ELECTRA");
    check("mobilebert", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, "MobileBERT");
    check("mobilebert", mean, EPILOGUE_GELU, LOSS_DISTIL, "MobileBERT, mean of the tokens");
    check_special("bert", mean, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, NO_LAYERS, "embedding bag");
    check_special("albert", mean, EPILOGUE_GELU, LOSS_DISTIL, NO_LAYERS, "ALBERT's embedding bag");
    check_special("bert", first, EPILOGUE_GELU, LOSS_DISTIL, FURTHER, "further losses");
    check_special("bert", first, EPILOGUE_GELU, LOSS_DISTIL, ALL_ROWS, "all rows");
    check_special("bert", mean, EPILOGUE_GELU, LOSS_DISTIL, FURTHER, "further losses, mean");
    check_special("mobilebert", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, FURTHER,
                  "further losses, MobileBERT");
    check_special("albert", first, EPILOGUE_GELU, LOSS_CROSS_ENTROPY, ALL_ROWS, "all rows, ALBERT");
    return tap_done();
}
