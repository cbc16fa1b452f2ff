/* Movement pruning's part of a step: gradients of scores against central differences of the loss in a
 * relaxed mask, masked gradients, and weights that come back. On the reference device. */
#include "tests/tap.h"
#include "tests/unit/tiny_model.h"

#include "nn/encoder.h"
#include "prune/movement_hook.h"

/* A step's parts without its trainer's loop. */
struct problem {
    struct device *dev;
    struct shape shape;
    struct batch batch;
    struct train_options options;
    struct trainer trainer;
    struct movement_hook hook;
    float *row_loss;
};

static void open_problem(struct problem *p, enum movement_variant variant, double share)
{
    struct error err = ERROR_INIT;
    const struct movement_schedule schedule = {
        .keep = share, .start = 0, .settle = 1, .score_lr = 0.1};
    *p = (struct problem){.dev = device_reference_open(&err)};
    tiny_need(p->dev, &err);
    p->shape = tiny_shape(2);
    train_defaults(&p->options);
    p->trainer = (struct trainer){.options = &p->options, .dev = p->dev, .total_steps = 10};
    tiny_params(&p->trainer.params, &p->shape, p->dev);
    tiny_batch(&p->batch, p->dev, &p->shape, false);
    p->trainer.encoder = encoder_open(p->dev, &p->trainer.params.shape, true, &err);
    p->row_loss = p->dev->op->alloc(p->dev, TINY_RECORDS * sizeof(float), &err);
    tiny_need(p->trainer.encoder && p->row_loss &&
                  encoder_reserve(p->trainer.encoder, p->batch.n_tokens, p->batch.n, &err) &&
                  movement_hook_open(&p->hook, &p->shape, variant, 2, 5, &schedule, p->dev, &err),
              &err);
    for (size_t i = 0; i < p->hook.layout.n_scores; i++)
        p->hook.score[i] = (float)(rng_hash(5, i) % 1000) / 1000 - 0.5f;
}

static void close_problem(struct problem *p)
{
    movement_hook_close(&p->hook);
    encoder_close(p->trainer.encoder);
    batch_free(&p->batch);
    params_close(&p->trainer.params);
    shape_free(&p->shape);
    p->dev->op->free(p->dev, p->row_loss);
    p->dev->op->close(p->dev);
}

static double loss_of(struct problem *p, bool backward)
{
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1.0f / TINY_RECORDS};
    struct params *params = &p->trainer.params;
    struct encoder_rows_grad rows;
    struct error err = ERROR_INIT;
    double sum = 0;
    tiny_need(params_zero_grad(params, &p->batch, &rows, &err), &err);
    const act *logits = encoder_forward(p->trainer.encoder, &params->weights, &p->batch, NULL);
    p->dev->op->loss(p->dev, &loss, logits, p->batch.device_label, NULL, p->batch.n, TINY_LABELS,
                     p->row_loss, encoder_dlogits(p->trainer.encoder));
    if (backward)
        encoder_backward(p->trainer.encoder, &params->weights, &p->batch, NULL, &rows, NULL);
    for (size_t i = 0; i < TINY_RECORDS; i++)
        sum += (double)p->row_loss[i];
    return sum / TINY_RECORDS;
}

/* Add `much` times the dense weights of block i of a set to the masked ones. */
static void relax(struct problem *p, const struct movement_set *set, size_t i, const float *dense,
                  float much)
{
    for (size_t u = 0; u < set->n_uses; u++) {
        const struct blocks *b = &set->use[u].blocks;
        size_t across = blocks_across(b);
        size_t at = 0;
        for (size_t e = 0; e < p->trainer.params.n_entries; e++) {
            const struct params_entry *entry = &p->trainer.params.entry[e];
            if (entry->cols && entry->part.role == set->use[u].role &&
                entry->part.layer == set->layer)
                at = entry->offset;
        }
        for (size_t r = 0; r < b->rows; r++)
            for (size_t c = 0; c < b->cols; c++)
                if (r / b->block_rows * across + c / b->block_cols == i)
                    p->trainer.params.w[at + r * b->cols + c] += much * dense[at + r * b->cols + c];
    }
    params_refresh(&p->trainer.params);
}

/* The loss is of order 1 and computed in float activations, rounded by about 3e-7; a step of 1e-2 gives a
 * difference 3e-5 of noise, and truncation far below 1 % of blocks' slopes. */
static void test_gradient(enum movement_variant variant, double share, const char *what)
{
    struct problem p;
    struct error err = ERROR_INIT;
    const float step = 1e-2f;
    bool ok = true, back = true, masked = true;
    open_problem(&p, variant, share);
    struct params *params = &p.trainer.params;
    float *dense = malloc(params->n * sizeof *dense), *found;
    memcpy(dense, params->w, params->n * sizeof *dense);
    tiny_need(p.hook.hook.before_step(&p.hook, &p.trainer, &err), &err);
    (void)loss_of(&p, true);
    tiny_need(p.hook.hook.after_backward(&p.hook, &p.trainer, &err), &err);
    back = memcmp(dense, params->w, params->n * sizeof *dense) == 0;
    found = malloc(p.hook.layout.n_scores * sizeof *found);
    memcpy(found, p.hook.grad, p.hook.layout.n_scores * sizeof *found);
    for (size_t s = 0; s < p.hook.layout.n_sets; s++) {
        const struct movement_set *set = &p.hook.layout.set[s];
        for (size_t i = rng_hash(3, s) % 3; i < set->n; i += 1 + set->n / 6) {
            double loss[2];
            for (int side = 0; side < 2; side++) {
                tiny_need(p.hook.hook.before_evaluate(&p.hook, &p.trainer, &err), &err);
                relax(&p, set, i, dense, side ? step : -step);
                loss[side] = loss_of(&p, false);
                tiny_need(p.hook.hook.after_evaluate(&p.hook, &p.trainer, &err), &err);
            }
            double expected = (loss[1] - loss[0]) / (2 * (double)step);
            double diff = fabs(expected - (double)found[set->first + i]);
            if (!(diff <= 1e-4 + 0.01 * fabs(expected))) {
                printf("# set %zu, score %zu: gradient %.6g, by differences %.6g\n", s, i,
                       (double)found[set->first + i], expected);
                ok = false;
            }
        }
    }
    tiny_need(p.hook.hook.before_step(&p.hook, &p.trainer, &err), &err);
    (void)loss_of(&p, true);
    tiny_need(p.hook.hook.after_backward(&p.hook, &p.trainer, &err), &err);
    for (size_t s = 0; s < p.hook.layout.n_sets; s++) {
        const struct movement_set *set = &p.hook.layout.set[s];
        const struct params_entry *entry = params->entry;
        while (!(entry->cols && entry->part.role == set->use[0].role &&
                 entry->part.layer == set->layer))
            entry++;
        for (size_t r = 0; r < entry->rows; r++)
            for (size_t c = 0; c < entry->cols; c++) {
                const struct blocks *b = &set->use[0].blocks;
                size_t i = r / b->block_rows * blocks_across(b) + c / b->block_cols;
                masked = masked && (p.hook.keep[set->first + i] != 0 ||
                                    params->grad[entry->offset + r * entry->cols + c] == 0);
            }
    }
    tap_ok(ok, "%s: the score's gradient is the loss's by a relaxed mask", what);
    tap_ok(back, "%s: after the backward pass the weights are dense again", what);
    tap_ok(masked, "%s: masked weights get no gradient", what);
    free(dense);
    free(found);
    close_problem(&p);
}

int main(void)
{
    test_gradient(MOVEMENT_HYBRID, 1, "hybrid, nothing masked");
    test_gradient(MOVEMENT_HYBRID, 0.6, "hybrid");
    test_gradient(MOVEMENT_STRUCT, 0.6, "struct");
    test_gradient(MOVEMENT_UNSTRUCTURED, 0.5, "unstructured");
    return tap_done();
}
