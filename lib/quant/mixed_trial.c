/* mixed_trial.c: see mixed_trial.h. */
#include "quant/mixed_trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/records_draw.h"
#include "nn/classifier.h"
#include "nn/parts.h"

enum { SET_BITS = 63 };

/* ---- records ---- */

static int64_t truth_of(const struct record *record, bool several)
{
    int64_t set = 0;
    if (!record->labelled)
        return -1;
    for (size_t i = 0; several && i < record->n_label_ids; i++)
        if (record->label_id[i] < SET_BITS)
            set |= INT64_C(1) << record->label_id[i];
    return several ? set : record->label;
}

static bool gather(struct mixed_trial *trial, const struct records_set *records,
                   const uint32_t *list, struct error *err)
{
    size_t tokens = 0, grams = 0, n = trial->n;
    for (size_t i = 0; i < n; i++) {
        struct record record = records_get(records, list[i]);
        tokens += record.n_ids;
        grams += record.n_grams;
    }
    trial->offset = memory_zeroed(n + 1, sizeof *trial->offset, err);
    trial->gram_offset = memory_zeroed(n + 1, sizeof *trial->gram_offset, err);
    trial->id = memory_array(tokens, sizeof *trial->id, err);
    trial->gram = memory_array(grams, sizeof *trial->gram, err);
    trial->truth = memory_array(n, sizeof *trial->truth, err);
    if (!trial->offset || !trial->gram_offset || !trial->id || !trial->gram || !trial->truth)
        return false;
    for (size_t i = 0; i < n; i++) {
        struct record record = records_get(records, list[i]);
        int64_t at = trial->offset[i], gram_at = trial->gram_offset[i];
        if (record.n_ids)
            memcpy(trial->id + at, record.id, record.n_ids * sizeof *record.id);
        if (record.n_grams)
            memcpy(trial->gram + gram_at, record.gram, record.n_grams * sizeof *record.gram);
        trial->offset[i + 1] = at + (int64_t)record.n_ids;
        trial->gram_offset[i + 1] = gram_at + (int64_t)record.n_grams;
        trial->truth[i] = truth_of(&record, trial->several);
    }
    if (records->header.grams.buckets == 0) {
        free(trial->gram);
        trial->gram = NULL;
    }
    return true;
}

/* ---- answers ---- */

static int64_t answer_of(const float *logits, size_t n, bool several)
{
    int64_t set = 0, best = 0;
    for (size_t c = 0; c < n; c++) {
        if (several && logits[c] > 0 && c < SET_BITS)
            set |= INT64_C(1) << c;
        if (logits[c] > logits[best])
            best = (int64_t)c;
    }
    return several ? set : best;
}

static double log_sum(const float *x, size_t n)
{
    double largest = (double)x[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        largest = fmax(largest, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - largest);
    return largest + log(sum);
}

/* log of the sigmoid. */
static double log_sigmoid(double x)
{
    return x > 0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

/* KL(p ‖ q) of the distributions that logits p and q stand for. */
static double divergence_of(const float *p, const float *q, size_t n, bool several)
{
    double sum = 0, p_all = several ? 0 : log_sum(p, n), q_all = several ? 0 : log_sum(q, n);
    for (size_t c = 0; c < n; c++) {
        double x = (double)p[c], y = (double)q[c];
        if (several)
            sum += exp(log_sigmoid(x)) * (log_sigmoid(x) - log_sigmoid(y)) +
                   exp(log_sigmoid(-x)) * (log_sigmoid(-x) - log_sigmoid(-y));
        else
            sum += exp(x - p_all) * ((x - p_all) - (y - q_all));
    }
    return sum > 0 ? sum : 0;
}

static bool answer(const struct mixed_trial *trial, struct model *model, size_t n, float *logits,
                   struct error *err)
{
    const struct classifier_texts texts = {.offset = trial->offset,
                                           .id = trial->id,
                                           .gram_offset = trial->gram_offset,
                                           .gram = trial->gram};
    struct classifier *classifier = classifier_open(model, trial->dev, trial->team, 0, err);
    bool ok = classifier && classifier_answer(classifier, &texts, n, logits, err);
    classifier_close(classifier);
    return ok;
}

static double right_share(const struct mixed_trial *trial, const float *logits, size_t n)
{
    size_t right = 0;
    for (size_t i = 0; i < n; i++)
        right += answer_of(logits + i * trial->n_labels, trial->n_labels, trial->several) ==
                 trial->truth[i];
    return (double)right / (double)n;
}

/* ---- models ---- */

static int by_name(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Says how the codes are to be read, as that of the model that will be written does. */
static json_t *config_of(const struct model *model)
{
    if (!format_rotates(model))
        return json_incref(model->config);
    json_t *config = json_copy(model->config);
    if (config && json_object_set_new(config, "quantization_config",
                                      json_pack("{s:s}", "quant_method", PARTS_INT8_ROTATED)) == 0)
        return config;
    json_decref(config);
    return NULL;
}

/* Scales of codes that the model has already stay beside what replaces their tensor, unused. */
static bool compose(const struct mixed_trial *trial, const struct format_made *const *made,
                    struct model *model, struct error *err)
{
    size_t n = 0;
    *model = *trial->model;
    model->tensor = memory_array(2 * model->n_tensors, sizeof *model->tensor, err);
    for (size_t i = 0; model->tensor && i < model->n_tensors; i++) {
        if (!made[i])
            model->tensor[n++] = trial->model->tensor[i];
        for (size_t k = 0; made[i] && k < made[i]->n; k++)
            model->tensor[n++] = made[i]->tensor[k];
    }
    model->n_tensors = n;
    if (model->tensor)
        qsort(model->tensor, n, sizeof *model->tensor, by_name);
    model->config = config_of(trial->model);
    if (model->tensor && model->config)
        return true;
    free(model->tensor);
    json_decref(model->config);
    return error_set(err, "no memory for a model to try");
}

bool mixed_trial_run(const struct mixed_trial *trial, const struct format_made *const *made,
                     size_t n, double *divergence, double *points, struct error *err)
{
    struct model model;
    size_t c = trial->n_labels;
    float *logits = memory_array(n * c, sizeof *logits, err);
    bool ok = logits && compose(trial, made, &model, err);
    if (ok) {
        ok = answer(trial, &model, n, logits, err);
        free(model.tensor);
        json_decref(model.config);
    }
    *divergence = 0;
    for (size_t i = 0; ok && i < n; i++)
        *divergence +=
            divergence_of(trial->base + i * c, logits + i * c, c, trial->several) / (double)n;
    if (ok)
        *points = 100 * (right_share(trial, trial->base, n) - right_share(trial, logits, n));
    free(logits);
    return ok;
}

bool mixed_trial_open(struct mixed_trial *trial, struct model *model,
                      const struct records_set *records, uint64_t seed, struct device *dev,
                      struct threads *team, struct error *err)
{
    *trial = (struct mixed_trial){.model = model,
                                  .dev = dev,
                                  .team = team,
                                  .n_labels = model->n_labels,
                                  .several = model->problem == MODEL_MULTI_LABEL};
    trial->labelled = records_any_labelled(records);
    uint32_t *list = records_draw(records, trial->labelled, records->n, seed, &trial->n, err);
    bool ok = list && gather(trial, records, list, err);
    free(list);
    if (ok)
        trial->base = memory_array(trial->n * trial->n_labels, sizeof *trial->base, err);
    ok = ok && trial->base && answer(trial, model, trial->n, trial->base, err);
    for (size_t i = 0; ok && !trial->labelled && i < trial->n; i++)
        trial->truth[i] =
            answer_of(trial->base + i * trial->n_labels, trial->n_labels, trial->several);
    if (ok)
        trial->right = right_share(trial, trial->base, trial->n);
    else
        mixed_trial_close(trial);
    return ok;
}

void mixed_trial_close(struct mixed_trial *trial)
{
    free(trial->offset);
    free(trial->gram_offset);
    free(trial->id);
    free(trial->gram);
    free(trial->truth);
    free(trial->base);
    *trial = (struct mixed_trial){.n = 0};
}
