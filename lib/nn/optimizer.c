/* optimizer.c: one AdamW step over the groups of the block and the touched rows of the tables. */
#include "nn/optimizer.h"

#include <math.h>

#include "core/memory.h"

/* Devlin et al. 2019 and Hugging Face's Trainer. */
static const float beta1 = 0.9f, epsilon = 1e-8f;

static bool open_moments(struct params *p, struct error *err)
{
    const struct device_ops *op = p->dev->op;
    struct params_table *table[] = {&p->word, &p->position};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        /* No more than the size of table->w, which fitted. */
        size_t bytes = table[i]->n_moments * table[i]->cols * sizeof(float);
        table[i]->m = op->alloc(p->dev, bytes, err);
        table[i]->v = table[i]->m ? op->alloc(p->dev, bytes, err) : NULL;
        if (!table[i]->v)
            return false;
        op->zero(p->dev, table[i]->m, bytes);
        op->zero(p->dev, table[i]->v, bytes);
    }
    p->m = op->alloc(p->dev, p->n * sizeof *p->m, err);
    p->v = p->m ? op->alloc(p->dev, p->n * sizeof *p->v, err) : NULL;
    if (!p->v)
        return false;
    op->zero(p->dev, p->m, p->n * sizeof *p->m);
    op->zero(p->dev, p->v, p->n * sizeof *p->v);
    return true;
}

bool optimizer_open(struct optimizer *optimizer, struct params *params, double clip,
                    double weight_decay, double head_lr_factor, struct error *err)
{
    struct device *dev = params->dev;
    *optimizer = (struct optimizer){.params = params,
                                    .clip = clip,
                                    .weight_decay = weight_decay,
                                    .head_lr_factor = head_lr_factor,
                                    .beta2 = 0.999};
    optimizer->sum = dev->op->alloc(dev, sizeof *optimizer->sum, err);
    optimizer->factor = optimizer->sum ? dev->op->alloc(dev, sizeof *optimizer->factor, err) : NULL;
    if (optimizer->factor && open_moments(params, err))
        return true;
    optimizer_close(optimizer);
    return error_at(err, "room for the optimizer's state: ");
}

void optimizer_close(struct optimizer *optimizer)
{
    if (!optimizer->params)
        return;
    struct device *dev = optimizer->params->dev;
    if (optimizer->sum)
        dev->op->free(dev, optimizer->sum);
    if (optimizer->factor)
        dev->op->free(dev, optimizer->factor);
    if (optimizer->scaled)
        dev->op->free(dev, optimizer->scaled);
    *optimizer = (struct optimizer){0};
}

static void touch(struct params_table *table, const struct batch_rows *rows)
{
    for (size_t i = 0; i < rows->n; i++)
        table->touched[rows->row[i]] = 1;
}

bool optimizer_scale(struct optimizer *optimizer, const struct loss_scale *start, struct error *err)
{
    struct device *dev = optimizer->params->dev;
    if (!optimizer->scaled && !(optimizer->scaled = dev->op->alloc(dev, sizeof *start, err)))
        return false;
    dev->op->upload(dev, optimizer->scaled, start, sizeof *start);
    return true;
}

struct loss_scale optimizer_scale_now(const struct optimizer *optimizer)
{
    struct device *dev = optimizer->params->dev;
    struct loss_scale now;
    dev->op->download(dev, &now, optimizer->scaled, sizeof now);
    return now;
}

void optimizer_step(struct optimizer *optimizer, const struct batch *batch, double lr)
{
    struct params *p = optimizer->params;
    struct device *dev = p->dev;
    const struct device_ops *op = dev->op;

    params_settle_grad(p);
    op->zero(dev, optimizer->sum, sizeof *optimizer->sum);
    op->sum_squares(dev, p->grad, p->n, optimizer->sum);
    op->sum_squares(dev, p->word.grad, batch->word.n * p->word.cols, optimizer->sum);
    op->sum_squares(dev, p->position.grad, batch->position.n * p->position.cols, optimizer->sum);
    op->clip_factor(dev, optimizer->sum, (float)optimizer->clip, optimizer->scaled,
                    optimizer->factor);

    float beta2 = (float)optimizer->beta2;
    optimizer->step++;
    const struct adamw adamw = {.lr = (float)lr,
                                .beta1 = beta1,
                                .beta2 = beta2,
                                .eps = epsilon,
                                .weight_decay = (float)optimizer->weight_decay,
                                .step = optimizer->step,
                                .scaled = optimizer->scaled};
    struct adamw_group group[PARAMS_GROUPS];
    for (size_t g = 0; g < PARAMS_GROUPS; g++) {
        bool head = g == PARAMS_HEAD_MATRICES || g == PARAMS_HEAD_VECTORS;
        bool matrices = g == PARAMS_MATRICES || g == PARAMS_HEAD_MATRICES;
        group[g] =
            (struct adamw_group){.end = p->group_begin[g + 1],
                                 .lr = (float)(head ? lr * optimizer->head_lr_factor : lr),
                                 .weight_decay = matrices ? (float)optimizer->weight_decay : 0};
    }
    op->adamw_block(dev, &adamw, group, PARAMS_GROUPS, optimizer->factor, p->grad, p->m, p->v, p->w,
                    p->linear, p->n_linears);
    struct params_table *table[] = {&p->word, &p->position};
    const struct batch_rows *rows[] = {&batch->word, &batch->position};
    for (size_t i = 0; i < 2; i++) {
        touch(table[i], rows[i]);
        op->adamw_rows(dev, &adamw, optimizer->factor, rows[i]->device_row, rows[i]->n,
                       table[i]->cols, table[i]->device_place, table[i]->grad, table[i]->m,
                       table[i]->v, table[i]->w);
    }
}

double optimizer_grad_norm(const struct optimizer *optimizer)
{
    double sum;
    struct device *dev = optimizer->params->dev;
    dev->op->download(dev, &sum, optimizer->sum, sizeof sum);
    return sqrt(sum);
}
