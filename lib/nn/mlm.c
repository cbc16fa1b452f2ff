/* mlm.c: opening: the tokenizer's special tokens, the teacher. The steps are in mlm_step.c, what they
 * need of the device in mlm_memory.c. */
#include "nn/mlm.h"

#include <math.h>
#include <stdlib.h>

#include "core/hash.h"
#include "core/memory.h"
#include "nn/mlm_state.h"

static bool list_tokens(struct mlm *m, const struct tokenizer *tokenizer, struct error *err)
{
    m->n_tokens = tokenizer_size(tokenizer);
    m->mask = tokenizer_mask(tokenizer);
    if (m->mask < 0)
        return error_set(err, "--mlm: the tokenizer has no special token [MASK] or <mask>");
    m->special = memory_array(m->n_tokens, sizeof *m->special, err);
    m->common = m->special ? memory_array(m->n_tokens, sizeof *m->common, err) : NULL;
    if (!m->common)
        return false;
    for (size_t i = 0; i < m->n_tokens; i++) {
        m->special[i] = tokenizer_is_special(tokenizer, (int32_t)i);
        if (!m->special[i])
            m->common[m->n_common++] = (int32_t)i;
    }
    return m->n_common || error_set(err, "--mlm: the tokenizer has special tokens only");
}

/* ---- the teacher ---- */

static bool require_head(const struct model *model, const struct params *params, struct error *err)
{
    for (size_t i = 0; i < params->n_entries; i++)
        if (params->entry[i].fresh)
            return error_set(
                err,
                "%s has no masked language model's head (there is no tensor %s); take one "
                "that mstudent --mlm wrote or that was published with its head",
                model->name, params->entry[i].name);
    return true;
}

static bool open_teacher(struct mlm *m, struct model *model, struct error *err)
{
    struct mlm_teacher *t = &m->teacher;
    t->there = true;
    if (!shape_from_model(&t->shape, model, err) || !shape_make_mlm(&t->shape, model, err) ||
        !params_open(&t->params, &t->shape, model, false, 0, m->dev, err) ||
        !require_head(model, &t->params, err))
        return false;
    if (m->n_tokens > t->shape.vocab)
        return error_set(err, "%s has %zu rows for the tokenizer's %zu tokens", model->name,
                         t->shape.vocab, m->n_tokens);
    batch_init(&t->batch, m->dev, &t->shape, 0, false);
    t->encoder = encoder_open(m->dev, &t->params.shape, false, err);
    return t->encoder && mlm_head_open(&t->head, &t->params, false, err);
}

static void close_teacher(struct mlm_teacher *t, struct device *dev)
{
    if (!t->there)
        return;
    mlm_head_close(&t->head);
    encoder_close(t->encoder);
    if (t->batch.dev)
        batch_free(&t->batch);
    params_close(&t->params);
    shape_free(&t->shape);
    if (t->logits)
        dev->op->free(dev, t->logits);
    free(t->host);
}

/* ---- the hook ---- */

/* What a checkpoint must be of. */
static bool identify(struct mlm *m, struct model *teacher, struct error *err)
{
    const struct mlm_options *o = &m->options;
    char text[HASH_TEXT_BYTES] = "none";
    uint64_t fingerprint = 0;
    if (teacher && !model_fingerprint(teacher, &fingerprint, err))
        return false;
    if (teacher)
        hash_text(fingerprint, text);
    m->identity = json_pack("{s:f, s:s, s:f, s:f, s:f}", "rate", o->rate, "teacher", text, "alpha",
                            o->alpha, "temperature", o->temperature, "cosine", o->cosine);
    m->hook = (struct trainer_hook){.name = "--mlm",
                                    .context = m,
                                    .before_forward = mlm_before_forward,
                                    .after_forward = mlm_after_forward,
                                    .evaluate = mlm_evaluate,
                                    .score_name = "dev_log_likelihood",
                                    .memory = mlm_memory,
                                    .reserve = mlm_reserve,
                                    .identity = m->identity};
    return m->identity || error_set(err, "no memory for a checkpoint's identity");
}

struct mlm *mlm_open(const struct tokenizer *tokenizer, struct model *teacher,
                     const struct mlm_options *options, struct device *dev, struct error *err)
{
    struct mlm *m = memory_zeroed(1, sizeof *m, err);
    if (!m)
        return NULL;
    *m = (struct mlm){.options = *options, .dev = dev, .accuracy = NAN};
    bool ok = list_tokens(m, tokenizer, err);
    if (ok && teacher && !open_teacher(m, teacher, err))
        ok = error_at(err, "--teacher: ");
    if (ok && identify(m, teacher, err))
        return m;
    mlm_close(m);
    return NULL;
}

void mlm_close(struct mlm *mlm)
{
    if (!mlm)
        return;
    struct device *dev = mlm->dev;
    void *on_device[] = {mlm->row_loss, mlm->gradient, mlm->places.device};
    mlm_head_close(&mlm->head);
    close_teacher(&mlm->teacher, dev);
    for (size_t i = 0; i < sizeof on_device / sizeof on_device[0]; i++)
        if (on_device[i])
            dev->op->free(dev, on_device[i]);
    free(mlm->places.at);
    free(mlm->places.label);
    free(mlm->host_loss);
    free(mlm->host_record);
    free(mlm->host_logits);
    free(mlm->special);
    free(mlm->common);
    json_decref(mlm->identity);
    free(mlm);
}

const struct trainer_hook *mlm_hook(const struct mlm *mlm)
{
    return &mlm->hook;
}

double mlm_accuracy(const struct mlm *mlm)
{
    return mlm->accuracy;
}
