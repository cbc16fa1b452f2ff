/* movement_hook.c: masks on, masks off, and the scores' own optimizer. */
#include "prune/movement_hook.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"
#include "nn/schedule.h"

static const float beta1 = 0.9f, beta2 = 0.999f, epsilon = 1e-8f;
static const double last_threshold = 0.1; /* Sanh et al. 2020, "soft" */

/* Where a use's matrix and bias lie in the parameters' block. */
struct movement_place {
    const struct movement_set *set;
    const struct movement_use *use;
    size_t weight, bias;
};

/* ---- the schedule ---- */

/* The steps that prune; after them blocks are dense again. */
static size_t pruning_steps(const struct movement_hook *hook, size_t total)
{
    return (size_t)((1 - hook->schedule.fill) * (double)total + 0.5);
}

static double progress(const struct movement_hook *hook, size_t step, size_t total)
{
    const struct movement_schedule *s = &hook->schedule;
    size_t steps = pruning_steps(hook, total);
    if (s->curriculum_epochs == 0)
        return movement_progress(s->start, s->settle, step, steps);
    double pass = (double)total / (double)s->curriculum_epochs;
    return movement_progress_admitted(s->start, s->settle, pass, step, steps);
}

static bool filling(const struct movement_hook *hook, size_t step, size_t total)
{
    return hook->schedule.fill > 0 && step >= pruning_steps(hook, total);
}

/* ---- masks ---- */

static size_t n_uses(const struct movement_layout *layout)
{
    size_t n = 0;
    for (size_t s = 0; s < layout->n_sets; s++)
        n += layout->set[s].n_uses;
    return n;
}

static const struct params_entry *find_entry(const struct params *params, size_t layer,
                                             enum family_role role, bool matrix)
{
    for (size_t i = 0; i < params->n_entries; i++) {
        const struct params_entry *e = &params->entry[i];
        if (e->part.role == role && e->part.layer == layer && (e->cols > 0) == matrix)
            return e;
    }
    return NULL;
}

/* With the first step: where everything lies. */
static bool attach(struct movement_hook *hook, const struct params *params, struct error *err)
{
    size_t n = 0;
    if (hook->place)
        return true;
    struct movement_place *place = memory_array(n_uses(&hook->layout), sizeof *place, err);
    hook->dense =
        place ? hook->dev->op->alloc(hook->dev, params->n * sizeof *hook->dense, err) : NULL;
    for (size_t s = 0; hook->dense && s < hook->layout.n_sets; s++) {
        const struct movement_set *set = &hook->layout.set[s];
        for (size_t u = 0; u < set->n_uses; u++)
            place[n++] = (struct movement_place){
                .set = set,
                .use = &set->use[u],
                .weight = find_entry(params, set->layer, set->use[u].role, true)->offset,
                .bias = find_entry(params, set->layer, set->use[u].role, false)->offset};
    }
    if (!hook->dense) {
        free(place);
        return false;
    }
    hook->place = place;
    return true;
}

/* Masks of the scores as they stand before step `step`. */
static bool choose(struct movement_hook *hook, const struct trainer *t, struct error *err)
{
    const struct movement_layout *layout = &hook->layout;
    const struct device_ops *op = hook->dev->op;
    double p = progress(hook, t->step, t->total_steps);
    const struct movement_choice choice = {.rule = p > 0 ? hook->schedule.rule : MOVEMENT_TOPK,
                                           .share = 1 + (hook->schedule.keep - 1) * p,
                                           .threshold = last_threshold * p};
    op->download(hook->dev, hook->host_score, hook->score,
                 layout->n_scores * sizeof *hook->host_score);
    movement_choose(layout, &choice, hook->host_score, hook->host_keep, hook->host_band);
    if (filling(hook, t->step, t->total_steps))
        movement_fill(layout, hook->host_keep, hook->host_band);
    op->upload(hook->dev, hook->keep, hook->host_keep, layout->n_scores * sizeof *hook->keep);
    op->upload(hook->dev, hook->band, hook->host_band, layout->n_bands * sizeof *hook->band);
    return op->sync(hook->dev, err);
}

static struct blocks one_block(size_t rows, size_t cols)
{
    return (struct blocks){rows, cols, rows, cols};
}

/* A bias has a mask value for each row of blocks. */
static struct blocks bias_blocks(const struct movement_use *use)
{
    return (struct blocks){use->blocks.rows, 1, use->blocks.block_rows, 1};
}

static void copy(const struct movement_hook *hook, const struct movement_place *place,
                 const float *from, float *to)
{
    const struct blocks *blocks = &place->use->blocks;
    const struct blocks matrix = one_block(blocks->rows, blocks->cols);
    const struct blocks vector = one_block(blocks->rows, 1);
    hook->dev->op->block_mask(hook->dev, &matrix, hook->one, from + place->weight,
                              to + place->weight);
    hook->dev->op->block_mask(hook->dev, &vector, hook->one, from + place->bias, to + place->bias);
}

static void mask(const struct movement_hook *hook, const struct movement_place *place,
                 const float *from, float *to)
{
    const struct blocks vector = bias_blocks(place->use);
    hook->dev->op->block_mask(hook->dev, &place->use->blocks, hook->keep + place->set->first,
                              from + place->weight, to + place->weight);
    hook->dev->op->block_mask(hook->dev, &vector, hook->band + place->use->band, from + place->bias,
                              to + place->bias);
}

static bool put_on(struct movement_hook *hook, struct trainer *t, struct error *err)
{
    if (!attach(hook, &t->params, err) || !choose(hook, t, err))
        return false;
    for (size_t i = 0; i < n_uses(&hook->layout); i++) {
        copy(hook, &hook->place[i], t->params.w, hook->dense);
        mask(hook, &hook->place[i], hook->dense, t->params.w);
    }
    params_refresh(&t->params);
    return true;
}

static void take_off(struct movement_hook *hook, struct trainer *t)
{
    for (size_t i = 0; i < n_uses(&hook->layout); i++)
        copy(hook, &hook->place[i], hook->dense, t->params.w);
}

/* ---- the moments of a step ---- */

static bool before_step(void *context, struct trainer *t, struct error *err)
{
    return put_on(context, t, err);
}

/* The penalty's gradient: lambda grows with the threshold; attention and feed-forward count alike,
 * and within each of them its sets of scores. */
static void penalise(struct movement_hook *hook, double lambda, float *grad)
{
    const struct movement_layout *layout = &hook->layout;
    size_t n_attention = 0;
    for (size_t s = 0; s < layout->n_sets; s++)
        n_attention += layout->set[s].attention;
    for (size_t s = 0; s < layout->n_sets; s++) {
        const struct movement_set *set = &layout->set[s];
        size_t n = set->attention ? n_attention : layout->n_sets - n_attention;
        double each = lambda / 2 / (double)n / (double)set->n;
        for (size_t i = set->first; i < set->first + set->n; i++) {
            double sigmoid = 1 / (1 + exp(-(double)hook->host_score[i]));
            grad[i] = (float)(each * sigmoid * (1 - sigmoid));
        }
    }
}

static void start_gradients(struct movement_hook *hook, const struct trainer *t)
{
    const struct device_ops *op = hook->dev->op;
    size_t bytes = hook->layout.n_scores * sizeof *hook->grad;
    if (hook->schedule.rule != MOVEMENT_THRESHOLD) {
        op->zero(hook->dev, hook->grad, bytes);
        return;
    }
    /* The masks are on the device by now; their copy makes room. */
    penalise(hook, hook->schedule.lambda * progress(hook, t->step, t->total_steps),
             hook->host_keep);
    op->upload(hook->dev, hook->grad, hook->host_keep, bytes);
}

static bool after_backward(void *context, struct trainer *t, struct error *err)
{
    struct movement_hook *hook = context;
    (void)err;
    start_gradients(hook, t);
    for (size_t i = 0; i < n_uses(&hook->layout); i++) {
        const struct movement_place *place = &hook->place[i];
        hook->dev->op->block_sum(hook->dev, &place->use->blocks, hook->dense + place->weight,
                                 t->params.grad + place->weight, hook->grad + place->set->first);
        mask(hook, place, t->params.grad, t->params.grad);
    }
    take_off(hook, t);
    return true;
}

/* t->step counts the step that was just made. */
static bool after_step(void *context, struct trainer *t, struct error *err)
{
    struct movement_hook *hook = context;
    (void)err;
    if (filling(hook, t->step - 1, t->total_steps))
        return true;
    const struct adamw adamw = {.lr =
                                    (float)schedule_lr(hook->schedule.score_lr, t->options->warmup,
                                                       t->step - 1, t->total_steps),
                                .beta1 = beta1,
                                .beta2 = beta2,
                                .eps = epsilon,
                                .step = t->step};
    hook->dev->op->adamw(hook->dev, &adamw, hook->one, hook->layout.n_scores, hook->grad, hook->m,
                         hook->v, hook->score);
    return true;
}

static bool before_evaluate(void *context, struct trainer *t, struct error *err)
{
    return put_on(context, t, err);
}

static bool after_evaluate(void *context, struct trainer *t, struct error *err)
{
    (void)err;
    take_off(context, t);
    params_refresh(&t->params);
    return true;
}

/* As sparse as asked for, and no longer being filled up. */
static bool ready(void *context, const struct trainer *t)
{
    const struct movement_hook *hook = context;
    return hook->schedule.fill > 0 ? filling(hook, t->step, t->total_steps)
                                   : progress(hook, t->step, t->total_steps) >= 1;
}

static size_t state(void *context, struct trainer_buffer *buffer, size_t n)
{
    struct movement_hook *hook = context;
    const char *const name[] = {"score", "m", "v"};
    float *const data[] = {hook->score, hook->m, hook->v};
    size_t count = 0;
    for (; count < sizeof data / sizeof data[0] && count < n; count++)
        buffer[count] = (struct trainer_buffer){.name = name[count],
                                                .data = data[count],
                                                .bytes = hook->layout.n_scores * sizeof(float),
                                                .on_device = true};
    return count;
}

/* A copy of the block of parameters. */
static bool memory_of(void *context, const struct shape *shape, const struct batch_size *size,
                      size_t *bytes, size_t *work, struct error *err)
{
    size_t n = 0;
    (void)context;
    (void)size;
    (void)work;
    if (!params_count(shape, &n, err))
        return false;
    *bytes = n * sizeof(float);
    return true;
}

static bool reserve(void *context, struct trainer *trainer, const struct batch_size *size,
                    struct error *err)
{
    (void)size;
    return attach(context, &trainer->params, err);
}

/* ---- life ---- */

static bool allocate(struct movement_hook *hook, struct error *err)
{
    struct device *dev = hook->dev;
    const float one = 1;
    size_t n = hook->layout.n_scores, bytes = n * sizeof(float);
    float **scores[] = {&hook->score, &hook->grad, &hook->m, &hook->v, &hook->keep};
    for (size_t i = 0; i < sizeof scores / sizeof scores[0]; i++) {
        *scores[i] = dev->op->alloc(dev, bytes, err);
        if (!*scores[i])
            return false;
        dev->op->zero(dev, *scores[i], bytes);
    }
    hook->band = dev->op->alloc(dev, hook->layout.n_bands * sizeof *hook->band, err);
    hook->one = hook->band ? dev->op->alloc(dev, sizeof one, err) : NULL;
    if (!hook->one)
        return false;
    dev->op->upload(dev, hook->one, &one, sizeof one);
    hook->host_score = memory_zeroed(n, sizeof *hook->host_score, err);
    hook->host_keep = memory_zeroed(n, sizeof *hook->host_keep, err);
    hook->host_band = memory_zeroed(hook->layout.n_bands, sizeof *hook->host_band, err);
    return hook->host_score && hook->host_keep && hook->host_band;
}

bool movement_hook_open(struct movement_hook *hook, const struct shape *shape,
                        enum movement_variant variant, size_t block_rows, size_t block_cols,
                        const struct movement_schedule *schedule, struct device *dev,
                        struct error *err)
{
    *hook = (struct movement_hook){.schedule = *schedule, .dev = dev};
    hook->hook = (struct trainer_hook){.name = "movement",
                                       .context = hook,
                                       .before_step = before_step,
                                       .after_backward = after_backward,
                                       .after_step = after_step,
                                       .before_evaluate = before_evaluate,
                                       .after_evaluate = after_evaluate,
                                       .ready = ready,
                                       .state = state,
                                       .memory = memory_of,
                                       .reserve = reserve};
    if (movement_layout_open(&hook->layout, shape, variant, block_rows, block_cols, err) &&
        allocate(hook, err))
        return true;
    movement_hook_close(hook);
    return false;
}

void movement_hook_close(struct movement_hook *hook)
{
    float *memory[] = {hook->score, hook->grad, hook->m,   hook->v,
                       hook->keep,  hook->band, hook->one, hook->dense};
    for (size_t i = 0; hook->dev && i < sizeof memory / sizeof memory[0]; i++)
        if (memory[i])
            hook->dev->op->free(hook->dev, memory[i]);
    free(hook->host_score);
    free(hook->host_keep);
    free(hook->host_band);
    free(hook->place);
    movement_layout_close(&hook->layout);
    *hook = (struct movement_hook){.dev = NULL};
}
