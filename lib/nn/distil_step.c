/* distil_step.c: the losses of a step: teacher forward, matches, gradients handed to the student's
 * encoder; after the step, W's own. */
#include <inttypes.h>

#include "core/memory.h"
#include "nn/distil_state.h"
#include "nn/schedule.h"

enum { PROJECTION_RATE = 10 }; /* W starts from nothing and is of no use at the student's pace */

/* ---- room ---- */

/* Columns of the student's query, where relations are matched. */
static size_t relation_width(const struct distil *d)
{
    return d->options.relations > 0
               ? d->student.layer[d->student.n_layers - 1].heads * d->student.head_size
               : 0;
}

static bool arena_bytes(const struct distil *d, size_t tokens, size_t *bytes, struct error *err)
{
    size_t h = d->student.hidden, wide = d->shape.hidden, n;
    size_t of_token = d->n_pairs * h + 2 * wide + 3 * relation_width(d);
    return (memory_multiply(tokens, of_token + 2 * h + wide, &n) &&
            memory_multiply(n, d->dev->act_bytes, bytes)) ||
           error_set(err, "a batch of %zu tokens is too large for this machine", tokens);
}

static bool reserve(struct distil *d, size_t tokens, size_t records, struct error *err)
{
    size_t h = d->student.hidden, wide = d->shape.hidden, inner = relation_width(d), bytes;
    if (d->arena && tokens <= d->room_tokens && records <= d->room_records)
        return true;
    tokens = tokens > d->room_tokens ? tokens : d->room_tokens;
    records = records > d->room_records ? records : d->room_records;
    if (d->arena)
        d->dev->op->free(d->dev, d->arena);
    d->arena = NULL;
    if (!arena_bytes(d, tokens, &bytes, err))
        return false;
    d->arena = d->dev->op->alloc(d->dev, bytes, err);
    if (!d->arena)
        return false;
    act *at = d->arena;
    for (size_t i = 0; i < d->n_pairs; i++, at = act_at(d->dev, at, tokens * h))
        d->gradient[i] = at;
    d->projected = at;
    d->dprojected = act_at(d->dev, at, tokens * wide);
    d->dqkv = act_at(d->dev, at, 2 * tokens * wide);
    d->target = act_at(d->dev, d->dqkv, tokens * 3 * inner);
    d->first = act_at(d->dev, d->target, records * wide);
    d->dfirst = act_at(d->dev, d->first, records * h);
    d->room_tokens = tokens;
    d->room_records = records;
    return true;
}

bool distil_memory(void *context, const struct shape *shape, const struct batch_size *size,
                   size_t *bytes, size_t *work, struct error *err)
{
    const struct distil *d = context;
    const struct device_job job[] = {
        {WORK_LINEAR_BACKWARD, size->tokens, d->shape.hidden, d->student.hidden, DTYPE_F32},
        {WORK_MATCH, size->tokens, 0, 0, DTYPE_F32},
        {WORK_RELATION, size->tokens, relation_width(d), d->relation_heads, DTYPE_F32}};
    size_t arena, activations;
    (void)shape; /* d->student */
    if (!arena_bytes(d, size->tokens, &arena, err) ||
        !encoder_bytes(d->dev, &d->shape, true, size->tokens, size->records, &activations, err))
        return false;
    *bytes = arena + activations + batch_bytes(&d->batch, size, &d->shape);
    *work = 0;
    for (size_t i = 0; i < sizeof job / sizeof job[0]; i++) {
        bool without = i < 2 ? d->n_pairs == 0 : !(d->options.relations > 0);
        size_t of_job = without ? 0 : d->dev->op->work_bytes(d->dev, &job[i]);
        *work = of_job > *work ? of_job : *work;
    }
    return true;
}

bool distil_reserve(void *context, struct trainer *trainer, const struct batch_size *size,
                    struct error *err)
{
    struct distil *d = context;
    (void)trainer;
    return reserve(d, size->tokens, size->records, err) &&
           batch_reserve(&d->batch, size, &d->shape, err) &&
           encoder_reserve(d->encoder, size->tokens, size->records, err);
}

/* ---- the teacher ---- */

static bool check_ids(const struct distil *d, const struct batch *batch, struct error *err)
{
    for (size_t t = 0; t < batch->n_tokens; t++)
        if ((size_t)batch->id[t] >= d->shape.vocab)
            return error_set(err,
                             "--teacher: token id %" PRId32 " is outside the teacher's vocabulary "
                             "of %zu",
                             batch->id[t], d->shape.vocab);
    return batch->longest <= shape_max_tokens(&d->shape) ||
           error_set(err,
                     "--teacher: a record has %zu tokens, the teacher takes %zu; tokenise with "
                     "mtok --max-tokens %zu",
                     batch->longest, shape_max_tokens(&d->shape), shape_max_tokens(&d->shape));
}

static bool run_teacher(struct distil *d, const struct batch *student, struct error *err)
{
    struct batch *batch = &d->batch;
    if (!check_ids(d, student, err))
        return false;
    batch_clear(batch);
    for (size_t i = 0; i < student->n; i++) {
        size_t begin = (size_t)student->offset[i], n = (size_t)student->offset[i + 1] - begin;
        if (!batch_add(batch, student->id + begin, n, -1, NULL, err))
            return false;
    }
    if (!encoder_prepare(d->encoder, &d->weights, batch, err))
        return false;
    encoder_forward(d->encoder, &d->weights, batch, NULL);
    return true;
}

/* ---- losses ---- */

/* One step's losses. */
struct pass {
    struct distil *d;
    struct trainer *trainer;
    const struct batch *batch;
};

/* match(W x, target) of rows x [rows, H]; dx is their gradient. */
static void match_rows(const struct pass *p, enum match_kind kind, double weight, const act *x,
                       const act *target, const struct seqs *seqs, size_t rows, act *dx)
{
    struct distil *d = p->d;
    const struct device_ops *op = d->dev->op;
    size_t h = d->student.hidden, wide = d->shape.hidden;
    const struct match match = {
        .kind = kind, .weight = (float)weight, .scale = p->trainer->loss_scale};
    op->linear(d->dev, d->projection.linear, x, h, rows, EPILOGUE_NONE, NULL, d->projected, wide);
    op->match(d->dev, &match, d->projected, target, seqs, wide, p->trainer->step_loss,
              d->dprojected);
    op->linear_backward(d->dev, d->projection.linear, x, h, d->dprojected, wide, rows, dx, h,
                        d->projection.grad, NULL, 0);
}

static bool first_only(const struct pass *p, const struct distil_pair *pair)
{
    const struct shape *shape = &p->trainer->params.shape;
    return pair->student > 0 && shape_first_only(shape, pair->student - 1);
}

static const act *teacher_first(const struct pass *p, const struct distil_pair *pair)
{
    p->d->dev->op->gather_first(p->d->dev, encoder_hidden(p->d->encoder, pair->teacher),
                                &p->d->batch.seqs, p->d->shape.hidden, p->d->target);
    return p->d->target;
}

static void match_hidden(const struct pass *p, size_t i)
{
    struct distil *d = p->d;
    const struct distil_pair *pair = &d->pair[i];
    bool first = first_only(p, pair);
    const act *x = encoder_hidden(p->trainer->encoder, pair->student);
    const act *target = first ? teacher_first(p, pair) : encoder_hidden(d->encoder, pair->teacher);
    match_rows(p, MATCH_SQUARED, d->options.hidden / (double)d->n_pairs, x, target,
               first ? &p->batch->first_seqs : &p->batch->seqs,
               first ? p->batch->n : p->batch->n_tokens, d->gradient[i]);
}

/* Pairs of `patient` are never of first rows only. */
static void match_patient(const struct pass *p, size_t i)
{
    struct distil *d = p->d;
    const struct device_ops *op = d->dev->op;
    const struct distil_pair *pair = &d->pair[i];
    const struct seqs *seqs = &p->batch->seqs;
    size_t h = d->student.hidden;
    op->gather_first(d->dev, encoder_hidden(p->trainer->encoder, pair->student), seqs, h, d->first);
    match_rows(p, MATCH_DIRECTION, d->options.patient / (double)d->n_patient, d->first,
               teacher_first(p, pair), &p->batch->first_seqs, p->batch->n, d->dfirst);
    if (!(d->options.hidden > 0))
        op->zero(d->dev, d->gradient[i], p->batch->n_tokens * h * d->dev->act_bytes);
    op->scatter_first_add(d->dev, d->dfirst, seqs, h, d->gradient[i]);
}

static void match_states(const struct pass *p)
{
    struct distil *d = p->d;
    struct distil_projection *w = &d->projection;
    if (d->n_pairs && p->trainer->part == 0)
        d->dev->op->zero(d->dev, w->grad, w->n * sizeof *w->grad);
    for (size_t i = 0; i < d->n_pairs; i++) {
        bool hidden = d->options.hidden > 0, patient = i < d->n_patient;
        if (hidden)
            match_hidden(p, i);
        if (patient)
            match_patient(p, i);
        if (hidden || patient)
            encoder_add_hidden_gradient(p->trainer->encoder, d->pair[i].student, d->gradient[i]);
    }
}

static void match_relations(const struct pass *p)
{
    struct distil *d = p->d;
    size_t last = d->student.n_layers - 1;
    size_t own = d->student.layer[last].heads * d->student.head_size;
    size_t wide = d->shape.layer[d->relation_layer].heads * d->shape.head_size;
    const struct relation relation = {.seqs = p->batch->seqs,
                                      .heads = d->relation_heads,
                                      .cols = own,
                                      .stride = 3 * own,
                                      .target_cols = wide,
                                      .target_stride = 3 * wide,
                                      .weight = (float)(d->options.relations / 3),
                                      .scale = p->trainer->loss_scale};
    const act *x = encoder_qkv(p->trainer->encoder, last);
    const act *target = encoder_qkv(d->encoder, d->relation_layer);
    for (size_t i = 0; i < 3; i++)
        d->dev->op->relation(d->dev, &relation, act_at_const(d->dev, x, i * own),
                             act_at_const(d->dev, target, i * wide), p->trainer->step_loss,
                             act_at(d->dev, d->dqkv, i * own));
    encoder_add_qkv_gradient(p->trainer->encoder, last, d->dqkv);
}

bool distil_after_forward(void *context, struct trainer *trainer, struct error *err)
{
    struct distil *d = context;
    const struct pass pass = {d, trainer, &trainer->batch};
    if (!run_teacher(d, pass.batch, err) || !reserve(d, pass.batch->n_tokens, pass.batch->n, err))
        return false;
    match_states(&pass);
    if (d->options.relations > 0)
        match_relations(&pass);
    return true;
}

bool distil_after_step(void *context, struct trainer *trainer, struct error *err)
{
    struct distil *d = context;
    struct distil_projection *p = &d->projection;
    const struct device_ops *op = d->dev->op;
    const struct train_options *o = trainer->options;
    (void)err;
    if (!p->w)
        return true;
    const struct adamw adamw = {
        .lr = (float)(PROJECTION_RATE *
                      schedule_lr(trainer->lr, o->warmup, trainer->step - 1, trainer->total_steps)),
        .beta1 = 0.9F,
        .beta2 = 0.999F,
        .eps = 1e-8F,
        .step = trainer->step};
    op->zero(d->dev, p->sum, sizeof *p->sum);
    op->sum_squares(d->dev, p->grad, p->n, p->sum);
    op->clip_factor(d->dev, p->sum, (float)o->clip, NULL, p->factor);
    op->adamw(d->dev, &adamw, p->factor, p->n, p->grad, p->m, p->v, p->w);
    return true;
}
