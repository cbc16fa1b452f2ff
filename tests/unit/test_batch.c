/* Positions by both rules, and which rows of the tables learn from a batch. */
#include "tests/tap.h"
#include "tests/unit/tiny_model.h"

#include "nn/optimizer.h"

enum { PAD = 1 };
static const int32_t text[] = {5, 7, PAD, 7, 6, PAD}, short_text[] = {5, 6};

static void fill(struct batch *batch, struct device *dev, const struct shape *shape)
{
    struct error err = ERROR_INIT;
    batch_init(batch, dev, shape, 0, true);
    tiny_need(batch_add(batch, text, 6, 0, NULL, &err) &&
                  batch_add(batch, short_text, 2, 1, NULL, &err) && batch_upload(batch, &err),
              &err);
}

static bool rows_are(const struct batch_rows *rows, const int32_t *row, size_t n)
{
    return rows->n == n && memcmp(rows->row, row, n * sizeof *row) == 0;
}

static void test_places(struct device *dev)
{
    static const int32_t from_zero[] = {0, 1, 2, 3, 4, 5, 0, 1};
    static const int32_t after_pad[] = {2, 3, PAD, 4, 5, PAD, 2, 3};
    static const int32_t words[] = {5, 6, 7}, all[] = {0, 1, 2, 3, 4, 5}, some[] = {2, 3, 4, 5};
    struct shape shape = tiny_shape(1);
    struct batch batch;
    shape.pad = PAD;
    fill(&batch, dev, &shape);
    tap_ok(memcmp(batch.place, from_zero, sizeof from_zero) == 0, "BERT counts from 0");
    tap_ok(rows_are(&batch.word, words, 3), "the padding's word row does not learn");
    tap_ok(rows_are(&batch.position, all, 6), "all positions do");
    batch_free(&batch);

    shape.family = family_find("roberta");
    tap_ok(shape_max_tokens(&shape) == shape.positions - 2, "RoBERTa's texts are 2 tokens shorter");
    fill(&batch, dev, &shape);
    tap_ok(memcmp(batch.place, after_pad, sizeof after_pad) == 0,
           "RoBERTa counts what is no padding, from the row after the padding's");
    tap_ok(rows_are(&batch.position, some, 4), "the padding's position row does not learn");
    tap_ok(batch.position.bound[4] == 6 && batch.position.bound[1] == 2 &&
               batch.position.order[0] == 0 && batch.position.order[1] == 6,
           "the tokens of a row are summed in order");
    batch_free(&batch);

    shape.pad = -1;
    shape.family = family_find("bert");
    fill(&batch, dev, &shape);
    tap_ok(batch.word.n == 4 && batch.word.row[0] == PAD, "without padding every word row learns");
    batch_free(&batch);
    shape_free(&shape);
}

/* A step on texts of padding alone: no row of a table learns, the rest does. */
static void test_nothing_but_padding(struct device *dev)
{
    static const int32_t pads[] = {PAD, PAD};
    struct error err = ERROR_INIT;
    struct shape shape = tiny_shape(1);
    struct params params;
    struct optimizer optimizer;
    struct batch batch;
    struct encoder_rows_grad rows;
    float row_loss[1];
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    shape.family = family_find("roberta");
    shape.pad = PAD;
    tiny_params(&params, &shape, dev);
    batch_init(&batch, dev, &shape, 0, true);
    struct encoder *encoder = encoder_open(dev, &params.shape, true, &err);
    float *losses = dev->op->alloc(dev, sizeof row_loss, &err);
    tiny_need(encoder && losses && optimizer_open(&optimizer, &params, 1, 0.01, 1, &err) &&
                  batch_add(&batch, pads, 2, 0, NULL, &err) && batch_upload(&batch, &err) &&
                  encoder_reserve(encoder, 2, 1, &err) &&
                  params_zero_grad(&params, &batch, &rows, &err),
              &err);
    const act *logits = encoder_forward(encoder, &params.weights, &batch, NULL);
    dev->op->loss(dev, &loss, logits, batch.device_label, NULL, 1, TINY_LABELS, losses,
                  encoder_dlogits(encoder));
    encoder_backward(encoder, &params.weights, &batch, NULL, &rows, NULL);
    optimizer_step(&optimizer, &batch, 1e-3);
    double norm = optimizer_grad_norm(&optimizer);
    tap_ok(batch.word.n == 0 && batch.position.n == 0 && dev->op->sync(dev, &err) &&
               isfinite(norm) && norm > 0,
           "%s: texts of padding alone train everything but the tables", dev->name);
    dev->op->free(dev, losses);
    encoder_close(encoder);
    batch_free(&batch);
    optimizer_close(&optimizer);
    params_close(&params);
    shape_free(&shape);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct device *device[] = {device_reference_open(&err), device_cpu_open(1, &err)};
    for (size_t i = 0; i < 2; i++) {
        tiny_need(device[i] != NULL, &err);
        test_places(device[i]);
        test_nothing_but_padding(device[i]);
        device[i]->op->close(device[i]);
    }
    return tap_done();
}
