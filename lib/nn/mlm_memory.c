/* mlm_memory.c: what a masked language model's head and its teacher need on the device, before the
 * run and, where chance chooses more tokens than ever, during it. */
#include <math.h>

#include "core/memory.h"
#include "nn/mlm_state.h"

bool mlm_ensure_head(struct mlm *m, struct trainer *t, struct error *err)
{
    if (m->head.params)
        return true;
    if (m->n_tokens > t->params.shape.vocab)
        return error_set(err, "--mlm: the model has %zu rows for the tokenizer's %zu tokens",
                         t->params.shape.vocab, m->n_tokens);
    if (m->teacher.there && m->teacher.shape.vocab != t->params.shape.vocab)
        return error_set(err, "--teacher: has a vocabulary of %zu, the student of %zu",
                         m->teacher.shape.vocab, t->params.shape.vocab);
    if (m->teacher.there && m->options.cosine > 0 &&
        m->teacher.shape.hidden != t->params.shape.hidden)
        return error_set(err,
                         "--kd cosine: compares hidden states of one width; the teacher's are %zu "
                         "wide, the student's %zu",
                         m->teacher.shape.hidden, t->params.shape.hidden);
    enum dtype format = t->options->precision;
    return mlm_head_open(&m->head, &t->params, true, err) &&
           (format == DTYPE_F32 ||
            (m->dev->op->linear_round(m->dev, m->head.transform, format, err) &&
             m->dev->op->linear_round(m->dev, m->head.decoder, format, err)));
}

bool mlm_reserve_places(struct mlm *m, size_t n, struct error *err)
{
    struct mlm_places *p = &m->places;
    if (n <= p->room_device)
        return true;
    if (p->device)
        m->dev->op->free(m->dev, p->device);
    p->room_device = 0;
    p->device = m->dev->op->alloc(m->dev, (2 * n + 1) * sizeof *p->device, err);
    p->room_device = p->device ? n : 0;
    return p->device != NULL;
}

bool mlm_grow_device(struct mlm *m, void **memory, size_t *room, size_t n, size_t element,
                     struct error *err)
{
    size_t bytes;
    if (n <= *room)
        return true;
    if (*memory)
        m->dev->op->free(m->dev, *memory);
    *room = 0;
    *memory = NULL;
    if (!memory_multiply(n, element, &bytes))
        return error_set(err, "a batch too large for this machine");
    *memory = m->dev->op->alloc(m->dev, bytes, err);
    *room = *memory ? n : 0;
    return *memory != NULL;
}

bool mlm_grow_losses(struct mlm *m, size_t n, struct error *err)
{
    return mlm_head_reserve(&m->head, n, err) &&
           mlm_grow_device(m, (void **)&m->row_loss, &m->room_loss, n, sizeof *m->row_loss, err) &&
           memory_grow(&m->host_loss, &m->room_host, n, sizeof *m->host_loss, err);
}

/* ---- before the run ---- */

/* So many of n tokens are chosen: eight standard deviations above the mean, which chance passes
 * once in 10^15 batches. */
static size_t most_places(const struct mlm *m, size_t n)
{
    double mean = m->options.rate * (double)n;
    double most = ceil(mean + 8 * sqrt(mean * (1 - m->options.rate)) + 8);
    return most < (double)n ? (size_t)most : n;
}

/* Of the teacher's logits that losses take. */
static size_t teacher_values(const struct mlm *m, size_t rows)
{
    size_t most = mlm_head_most(&m->teacher.shape);
    return (rows < most ? rows : most) * m->teacher.shape.vocab;
}

static bool count_teacher(const struct mlm *m, const struct batch_size *size, size_t rows,
                          size_t *bytes, struct error *err)
{
    const struct mlm_teacher *t = &m->teacher;
    size_t activations, head;
    if (!t->there)
        return true;
    if (!encoder_bytes(m->dev, &t->shape, false, size->tokens, size->records, &activations, err) ||
        !mlm_head_bytes(&t->shape, m->dev, false, rows, &head, err))
        return false;
    *bytes += activations + head + batch_bytes(&t->batch, size, &t->shape) +
              teacher_values(m, rows) * sizeof *t->logits;
    return true;
}

bool mlm_memory(void *context, const struct shape *shape, const struct batch_size *size,
                size_t *bytes, size_t *work, struct error *err)
{
    const struct mlm *m = context;
    size_t rows = most_places(m, size->tokens), most = mlm_head_most(shape), a = m->dev->act_bytes;
    const struct device_job job[] = {
        {WORK_LINEAR_BACKWARD, rows < most ? rows : most, shape->vocab, shape->embed, DTYPE_F32},
        {WORK_LINEAR_BACKWARD, rows, shape->embed, shape->hidden, DTYPE_F32},
        {WORK_ADD_NORM_BACKWARD, rows, shape->embed, 0, DTYPE_F32},
        {WORK_COLUMN_SUM, rows, shape->embed, 0, DTYPE_F32},
        {WORK_MATCH, size->tokens, 0, 0, DTYPE_F32}};
    if (!mlm_head_bytes(shape, m->dev, true, rows, bytes, err) ||
        !count_teacher(m, size, rows, bytes, err))
        return false;
    *bytes += (2 * rows + 1) * sizeof *m->places.device + rows * sizeof *m->row_loss +
              size->tokens * shape->hidden * a;
    if (a < sizeof(float)) /* the decoder's copy of the word table */
        *bytes += shape->vocab * shape->embed * a;
    for (size_t i = 0; i < sizeof job / sizeof job[0]; i++) {
        size_t of_job = m->dev->op->work_bytes(m->dev, &job[i]);
        *work = of_job > *work ? of_job : *work;
    }
    return true;
}

bool mlm_reserve(void *context, struct trainer *trainer, const struct batch_size *size,
                 struct error *err)
{
    struct mlm *m = context;
    struct mlm_teacher *t = &m->teacher;
    size_t rows = most_places(m, size->tokens), h = trainer->params.shape.hidden;
    return mlm_ensure_head(m, trainer, err) && mlm_reserve_places(m, rows, err) &&
           mlm_grow_losses(m, rows, err) &&
           mlm_grow_device(m, (void **)&m->gradient, &m->room_gradient, size->tokens * h,
                           m->dev->act_bytes, err) &&
           (!t->there || (batch_reserve(&t->batch, size, &t->shape, err) &&
                          encoder_reserve(t->encoder, size->tokens, size->records, err) &&
                          mlm_head_reserve(&t->head, rows, err) &&
                          mlm_grow_device(m, (void **)&t->logits, &t->room, teacher_values(m, rows),
                                          sizeof *t->logits, err)));
}
