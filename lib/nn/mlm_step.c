/* mlm_step.c: a step of a masked language model: tokens masked before the encoder sees the batch,
 * losses at them after it; and the same on dev. */
#include <inttypes.h>
#include <math.h>

#include "core/memory.h"
#include "nn/mlm_state.h"
#include "nn/objective.h"

/* Numbers of streams beside those of trainer_seed(); that of dev is of no run. */
enum { STREAM = 0x6d6c6d, DEV_STREAM = 0x6d646576 };

/* ---- which tokens ---- */

static bool is_common(const struct mlm *m, int32_t id)
{
    return (size_t)id < m->n_tokens && !m->special[id];
}

static bool take(struct mlm *m, struct batch *batch, size_t t, struct rng *rng, struct error *err)
{
    struct mlm_places *p = &m->places;
    if (!memory_grow(&p->at, &p->room_at, p->n + 2, sizeof *p->at, err) ||
        !memory_grow(&p->label, &p->room_label, p->n + 1, sizeof *p->label, err))
        return false;
    p->at[p->n] = (int32_t)t;
    p->label[p->n++] = batch->id[t];
    double how = rng_uniform(rng);
    if (how < 0.8)
        batch->id[t] = m->mask;
    else if (how < 0.9)
        batch->id[t] = m->common[rng_below(rng, m->n_common)];
    return true;
}

bool mlm_choose(struct mlm *m, struct batch *batch, size_t begin, size_t end, struct rng *rng,
                struct error *err)
{
    for (size_t t = begin; t < end; t++)
        if (is_common(m, batch->id[t]) && rng_uniform(rng) < m->options.rate &&
            !take(m, batch, t, rng, err))
            return false;
    return true;
}

/* Where chance chose none of a small batch, any one. */
static bool choose_one(struct mlm *m, struct batch *batch, struct rng *rng, struct error *err)
{
    size_t n = 0, t = 0;
    for (size_t i = 0; i < batch->n_tokens; i++)
        n += is_common(m, batch->id[i]);
    if (n == 0)
        return true;
    for (size_t left = rng_below(rng, n) + 1; left > 0; t++)
        left -= is_common(m, batch->id[t]);
    return take(m, batch, t - 1, rng, err);
}

/* The places on the device, in a batch of so many tokens. */
static bool upload_places(struct mlm *m, size_t n_tokens, struct error *err)
{
    struct mlm_places *p = &m->places;
    struct device *dev = m->dev;
    if (p->n > p->room_device && !mlm_reserve_places(m, 2 * p->n, err))
        return false;
    p->at[p->n] = (int32_t)n_tokens;
    dev->op->upload(dev, p->device, p->at, (p->n + 1) * sizeof *p->at);
    dev->op->upload(dev, p->device + p->n + 1, p->label, p->n * sizeof *p->label);
    p->seqs =
        (struct seqs){.n = p->n, .n_tokens = n_tokens, .longest = n_tokens, .offset = p->device};
    p->device_label = p->device + p->n + 1;
    return true;
}

/* ---- a step ---- */

bool mlm_before_forward(void *context, struct trainer *trainer, struct error *err)
{
    struct mlm *m = context;
    struct batch *batch = &trainer->batch;
    struct rng rng;
    rng_seed(&rng, rng_hash(rng_hash(m->options.seed, STREAM), trainer->batch_number));
    m->places.n = 0;
    return mlm_ensure_head(m, trainer, err) &&
           mlm_choose(m, batch, 0, batch->n_tokens, &rng, err) &&
           (m->places.n || choose_one(m, batch, &rng, err)) &&
           (m->places.n == 0 ||
            (upload_places(m, batch->n_tokens, err) && batch_upload(batch, err)));
}

/* The teacher on the same masked batch; its rows go to its head. */
static bool run_teacher(struct mlm *m, const struct batch *student, struct error *err)
{
    struct mlm_teacher *t = &m->teacher;
    batch_clear(&t->batch);
    if (student->longest > shape_max_tokens(&t->shape))
        return error_set(err,
                         "--teacher: a record has %zu tokens, the teacher takes %zu; tokenise with "
                         "mtok --max-tokens %zu",
                         student->longest, shape_max_tokens(&t->shape),
                         shape_max_tokens(&t->shape));
    for (size_t i = 0; i < student->n; i++) {
        size_t begin = (size_t)student->offset[i], n = (size_t)student->offset[i + 1] - begin;
        if (!batch_add(&t->batch, student->id + begin, n, -1, NULL, err))
            return false;
    }
    size_t piece = mlm_head_piece(&m->head, 0, m->places.n) * t->shape.vocab;
    if (!batch_upload(&t->batch, err) ||
        !encoder_reserve(t->encoder, t->batch.n_tokens, t->batch.n, err) ||
        !mlm_head_reserve(&t->head, m->places.n, err) ||
        !mlm_grow_device(m, (void **)&t->logits, &t->room, piece, sizeof *t->logits, err) ||
        !memory_grow(&t->host, &t->room_host, piece, sizeof *t->host, err))
        return false;
    encoder_forward(t->encoder, &t->params.weights, &t->batch, NULL);
    return true;
}

static const act *teacher_states(const struct mlm *m)
{
    return encoder_hidden(m->teacher.encoder, m->teacher.shape.n_layers);
}

/* Logits of the teacher for a piece, as losses take them. */
static const float *teacher_logits(struct mlm *m, size_t first, size_t n)
{
    struct mlm_teacher *t = &m->teacher;
    size_t values = n * t->shape.vocab;
    const act *logits = mlm_head_logits(&t->head, first, n);
    m->dev->op->act_download(m->dev, t->host, logits, values);
    m->dev->op->upload(m->dev, t->logits, t->host, values * sizeof *t->host);
    return t->logits;
}

/* Losses of the chosen to row_loss, gradients of the table and dy of the head. */
static void answer(struct mlm *m, const struct trainer *t)
{
    struct mlm_places *p = &m->places;
    bool distil = m->teacher.there;
    size_t vocab = t->params.shape.vocab, n;
    /* The mean over the chosen, where loss_scale makes one over records. */
    double scale = (double)t->loss_scale * (double)t->batch.n / (double)p->n;
    const struct loss loss = {.kind = distil ? LOSS_DISTIL : LOSS_CROSS_ENTROPY,
                              .alpha = (float)m->options.alpha,
                              .temperature = (float)m->options.temperature,
                              .scale = (float)scale};
    if (distil)
        mlm_head_states(&m->teacher.head, teacher_states(m), &p->seqs);
    mlm_head_states(&m->head, encoder_hidden(t->encoder, t->params.shape.n_layers), &p->seqs);
    for (size_t first = 0; first < p->n; first += n) {
        n = mlm_head_piece(&m->head, first, p->n);
        const float *teacher = distil ? teacher_logits(m, first, n) : NULL;
        const act *logits = mlm_head_logits(&m->head, first, n);
        m->dev->op->loss(m->dev, &loss, logits, p->device_label + first, teacher, n, vocab,
                         m->row_loss + first, m->head.dlogits);
        mlm_head_backward_logits(&m->head, first, n);
    }
}

/* Each record's share of the loss, so that their mean is the batch's. */
static bool spread_losses(struct mlm *m, const struct trainer *t, struct error *err)
{
    const struct batch *batch = &t->batch;
    const struct mlm_places *p = &m->places;
    if (!memory_grow(&m->host_record, &m->room_record, batch->n, sizeof *m->host_record, err))
        return false;
    m->dev->op->download(m->dev, m->host_loss, m->row_loss, p->n * sizeof *m->host_loss);
    for (size_t i = 0, at = 0; i < batch->n; i++) {
        double sum = 0;
        for (; at < p->n && p->at[at] < batch->offset[i + 1]; at++)
            sum += (double)m->host_loss[at];
        m->host_record[i] = (float)(sum * (double)batch->n / (double)p->n);
    }
    m->dev->op->upload(m->dev, t->step_loss, m->host_record, batch->n * sizeof *m->host_record);
    return true;
}

bool mlm_after_forward(void *context, struct trainer *trainer, struct error *err)
{
    struct mlm *m = context;
    const struct batch *batch = &trainer->batch;
    size_t h = trainer->params.shape.hidden, last = trainer->params.shape.n_layers;
    if (m->places.n == 0)
        return true;
    if (!mlm_grow_losses(m, m->places.n, err) ||
        !mlm_grow_device(m, (void **)&m->gradient, &m->room_gradient, batch->n_tokens * h,
                         m->dev->act_bytes, err) ||
        (m->teacher.there && !run_teacher(m, batch, err)))
        return false;
    answer(m, trainer);
    if (!spread_losses(m, trainer, err))
        return false;
    const struct match match = {.kind = MATCH_DIRECTION,
                                .weight = (float)(m->options.cosine / 2), /* of 2 - 2 cos */
                                .scale = trainer->loss_scale};
    if (m->teacher.there && m->options.cosine > 0)
        m->dev->op->match(m->dev, &match, encoder_hidden(trainer->encoder, last), teacher_states(m),
                          &batch->seqs, h, trainer->step_loss, m->gradient);
    else
        m->dev->op->zero(m->dev, m->gradient, batch->n_tokens * h * m->dev->act_bytes);
    mlm_head_backward(&m->head, &m->places.seqs, m->gradient);
    encoder_add_hidden_gradient(trainer->encoder, last, m->gradient);
    return true;
}

/* ---- dev ---- */

struct tally {
    size_t n, right;
    double loss;
};

/* Records from *next on up to the budget, masked as each always is. */
static bool fill_dev(struct mlm *m, struct trainer *t, const struct records_set *dev, size_t *next,
                     struct error *err)
{
    struct batch *batch = &t->dev_batch;
    batch_clear(batch);
    m->places.n = 0;
    for (; *next < dev->n; ++*next) {
        struct record r = records_get(dev, *next);
        struct rng rng;
        size_t begin = batch->n_tokens;
        if (batch->n && begin + r.n_ids > t->options->batch_tokens)
            break;
        rng_seed(&rng, rng_hash(DEV_STREAM, *next));
        if (!objective_add(batch, &r, NULL, err) ||
            !mlm_choose(m, batch, begin, batch->n_tokens, &rng, err))
            return false;
    }
    return true;
}

static void count_right(struct mlm *m, const act *logits, size_t first, size_t n, size_t vocab,
                        struct tally *tally)
{
    m->dev->op->act_download(m->dev, m->host_logits, logits, n * vocab);
    for (size_t i = 0; i < n; i++) {
        const float *x = m->host_logits + i * vocab;
        size_t best = 0;
        for (size_t c = 1; c < vocab; c++)
            best = x[c] > x[best] ? c : best;
        tally->right += (size_t)m->places.label[first + i] == best;
    }
}

static bool score_dev(struct mlm *m, struct trainer *t, struct tally *tally, struct error *err)
{
    struct mlm_places *p = &m->places;
    struct batch *batch = &t->dev_batch;
    size_t vocab = t->params.shape.vocab, n;
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    if (p->n == 0)
        return true;
    if (!upload_places(m, batch->n_tokens, err) || !batch_upload(batch, err) ||
        !encoder_reserve(t->encoder, batch->n_tokens, batch->n, err) ||
        !mlm_grow_losses(m, p->n, err) ||
        !memory_grow(&m->host_logits, &m->room_logits, mlm_head_piece(&m->head, 0, p->n) * vocab,
                     sizeof *m->host_logits, err))
        return false;
    encoder_forward(t->encoder, &t->params.weights, batch, NULL);
    mlm_head_states(&m->head, encoder_hidden(t->encoder, t->params.shape.n_layers), &p->seqs);
    for (size_t first = 0; first < p->n; first += n) {
        n = mlm_head_piece(&m->head, first, p->n);
        const act *logits = mlm_head_logits(&m->head, first, n);
        m->dev->op->loss(m->dev, &loss, logits, p->device_label + first, NULL, n, vocab,
                         m->row_loss + first, NULL);
        count_right(m, logits, first, n, vocab, tally);
    }
    m->dev->op->download(m->dev, m->host_loss, m->row_loss, p->n * sizeof *m->host_loss);
    for (size_t i = 0; i < p->n; i++)
        tally->loss += (double)m->host_loss[i];
    tally->n += p->n;
    return m->dev->op->sync(m->dev, err);
}

static bool log_dev(const struct mlm *m, const struct trainer *t, double loss, struct error *err)
{
    if (!t->options->log)
        return true;
    json_t *line = json_pack("{s:I, s:I, s:f, s:f}", "step", (json_int_t)t->step, "epoch",
                             (json_int_t)t->epoch, "dev_cross_entropy", loss, "dev_masked_accuracy",
                             m->accuracy);
    return line ? log_write(t->options->log, line, err)
                : error_set(err, "no memory for a log line");
}

bool mlm_evaluate(void *context, struct trainer *trainer, const struct records_set *dev,
                  double *score, struct error *err)
{
    struct mlm *m = context;
    struct tally tally = {0};
    if (!mlm_ensure_head(m, trainer, err))
        return false;
    for (size_t next = 0; next < dev->n;)
        if (!fill_dev(m, trainer, dev, &next, err) || !score_dev(m, trainer, &tally, err))
            return false;
    if (tally.n == 0)
        return error_set(err, "the dev records are too short for any token to be masked");
    if (!isfinite(tally.loss))
        return error_set(err,
                         "the loss on the dev records is not finite after step %zu: training "
                         "diverged; lower --lr, or lengthen --warmup",
                         trainer->step);
    *score = -tally.loss / (double)tally.n;
    m->accuracy = (double)tally.right / (double)tally.n;
    return log_dev(m, trainer, -*score, err);
}
