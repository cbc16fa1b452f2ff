/* mlm_head.c: see mlm_head.h. */
#include "nn/mlm_head.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

enum { PIECE_LOGITS = 1 << 24, ALIGN = 64 };

static const struct params_entry *entry(const struct params *params, const char *stem,
                                        const char *rest)
{
    char name[PARTS_NAME_BYTES];
    snprintf(name, sizeof name, "%s%s", stem, rest);
    for (size_t i = 0; i < params->n_entries; i++)
        if (strcmp(params->entry[i].name, name) == 0)
            return &params->entry[i];
    return NULL;
}

static float *weight(const struct mlm_head *head, const struct params_entry *e)
{
    return head->params->w + e->offset;
}

static float *gradient_of(const struct mlm_head *head, const struct params_entry *e)
{
    return head->params->grad + e->offset;
}

static bool bind(struct mlm_head *head, struct error *err)
{
    struct params *p = head->params;
    struct device *dev = head->dev;
    head->transform =
        dev->op->linear_bind(dev, weight(head, head->dense), weight(head, head->dense_bias),
                             p->shape.embed, p->shape.hidden, err);
    head->decoder = dev->op->linear_bind(dev, p->word.w, weight(head, head->bias), p->word.rows,
                                         p->word.cols, err);
    return head->transform && head->decoder;
}

size_t mlm_head_most(const struct shape *shape)
{
    size_t rows = PIECE_LOGITS / shape->vocab;
    return rows ? rows : 1;
}

bool mlm_head_open(struct mlm_head *head, struct params *params, bool backward, struct error *err)
{
    const struct shape *shape = &params->shape;
    const struct family_mlm *mlm = &shape->family->mlm;
    *head = (struct mlm_head){.params = params,
                              .dev = params->dev,
                              .dense = entry(params, mlm->dense, ".weight"),
                              .dense_bias = entry(params, mlm->dense, ".bias"),
                              .gain = entry(params, mlm->norm, ".weight"),
                              .norm_bias = entry(params, mlm->norm, ".bias"),
                              .bias = entry(params, mlm->bias, ""),
                              .activation = mlm->gelu ? EPILOGUE_GELU : shape->activation,
                              .backward = backward,
                              .piece = mlm_head_most(shape)};
    if (!head->dense || !head->dense_bias || !head->gain || !head->norm_bias || !head->bias)
        return error_set(err, "parameters of a shape without a language model's head");
    if (bind(head, err))
        return true;
    mlm_head_close(head);
    return false;
}

void mlm_head_close(struct mlm_head *head)
{
    if (head->transform)
        head->dev->op->linear_free(head->dev, head->transform);
    if (head->decoder)
        head->dev->op->linear_free(head->dev, head->decoder);
    if (head->arena)
        head->dev->op->free(head->dev, head->arena);
    *head = (struct mlm_head){0};
}

/* ---- room ---- */

/* One place in the arena. */
struct place {
    void **to;
    size_t rows, cols, element;
};

static bool lay(const struct place *place, size_t n, char *base, size_t *total)
{
    *total = 0;
    for (size_t i = 0; i < n; i++) {
        size_t count, bytes;
        if (!memory_multiply(place[i].rows, place[i].cols, &count) ||
            !memory_multiply(count, place[i].element, &bytes) || bytes > SIZE_MAX / 2 - *total)
            return false;
        if (base)
            *place[i].to = base + *total;
        *total += (bytes + ALIGN - 1) / ALIGN * ALIGN;
    }
    return true;
}

/* The arena of so many rows; base NULL: its size alone. a: bytes of an activation. */
static bool carve(struct mlm_head *head, const struct shape *shape, size_t a, size_t rows,
                  char *base, size_t *total, struct error *err)
{
    size_t h = shape->hidden, e = shape->embed, v = shape->vocab;
    size_t piece = rows < head->piece ? rows : head->piece, back = head->backward ? rows : 0;
    const struct place place[] = {
        {(void **)&head->x, rows, h, a},
        {(void **)&head->dx, back, h, a},
        {(void **)&head->pre, rows, e, a},
        {(void **)&head->h, rows, e, a},
        {(void **)&head->sum, rows, e, a},
        {(void **)&head->stats, rows, 2, sizeof(float)},
        {(void **)&head->y, rows, e, a},
        {(void **)&head->dy, back, e, a},
        {(void **)&head->dh, back, e, a},
        {(void **)&head->logits, piece, v, a},
        {(void **)&head->dlogits, back ? piece : 0, v, a},
    };
    return lay(place, sizeof place / sizeof place[0], base, total) ||
           error_set(err, "%zu masked tokens are too many for this machine", rows);
}

bool mlm_head_bytes(const struct shape *shape, const struct device *dev, bool backward, size_t rows,
                    size_t *bytes, struct error *err)
{
    struct mlm_head head = {.backward = backward, .piece = mlm_head_most(shape)};
    return carve(&head, shape, dev->act_bytes, rows, NULL, bytes, err);
}

bool mlm_head_reserve(struct mlm_head *head, size_t rows, struct error *err)
{
    const struct shape *shape = &head->params->shape;
    size_t a = head->dev->act_bytes, total;
    if (rows <= head->room)
        return true;
    if (!carve(head, shape, a, rows, NULL, &total, err))
        return false;
    if (head->arena)
        head->dev->op->free(head->dev, head->arena);
    head->room = 0;
    head->arena = head->dev->op->alloc(head->dev, total, err);
    if (!head->arena)
        return error_at(err, "room for the answers to masked tokens: ");
    head->room = rows;
    return carve(head, shape, a, rows, head->arena, &total, err);
}

/* ---- forward and backward ---- */

void mlm_head_states(struct mlm_head *head, const act *hidden, const struct seqs *places)
{
    const struct shape *shape = &head->params->shape;
    struct device *dev = head->dev;
    size_t h = shape->hidden, e = shape->embed;
    const struct dropout none = {0};
    dev->op->linear_refresh(dev, head->transform);
    dev->op->linear_refresh(dev, head->decoder);
    dev->op->gather_first(dev, hidden, places, h, head->x);
    dev->op->linear(dev, head->transform, head->x, h, places->n, head->activation, head->pre,
                    head->h, e);
    dev->op->add_norm(dev, NORM_LAYER, head->h, NULL, none, weight(head, head->gain),
                      weight(head, head->norm_bias), shape->eps, places->n, e, head->sum,
                      head->stats, head->y);
}

const act *mlm_head_logits(struct mlm_head *head, size_t first, size_t n)
{
    const struct shape *shape = &head->params->shape;
    head->dev->op->linear(head->dev, head->decoder,
                          act_at(head->dev, head->y, first * shape->embed), shape->embed, n,
                          EPILOGUE_NONE, NULL, head->logits, shape->vocab);
    return head->logits;
}

void mlm_head_backward_logits(struct mlm_head *head, size_t first, size_t n)
{
    const struct shape *shape = &head->params->shape;
    size_t e = shape->embed, at = first * e;
    head->dev->op->linear_backward(head->dev, head->decoder, act_at(head->dev, head->y, at), e,
                                   head->dlogits, shape->vocab, n, act_at(head->dev, head->dy, at),
                                   e, head->params->word.grad, gradient_of(head, head->bias), 0);
}

void mlm_head_backward(struct mlm_head *head, const struct seqs *places, act *gradient)
{
    const struct shape *shape = &head->params->shape;
    struct device *dev = head->dev;
    size_t h = shape->hidden, e = shape->embed, n = places->n;
    const struct dropout none = {0};
    dev->op->add_norm_backward(dev, NORM_LAYER, head->sum, head->stats, weight(head, head->gain),
                               head->dy, none, n, e, head->dh, NULL, gradient_of(head, head->gain),
                               gradient_of(head, head->norm_bias), NULL);
    dev->op->epilogue_backward(dev, head->activation, head->pre, head->dh, n, e, head->dh,
                               gradient_of(head, head->dense_bias));
    dev->op->linear_backward(dev, head->transform, head->x, h, head->dh, e, n, head->dx, h,
                             gradient_of(head, head->dense), NULL, 0);
    dev->op->scatter_first_add(dev, head->dx, places, h, gradient);
}
