#include "quant/encoder_alone.h"

#include <stdlib.h>

#include "core/memory.h"
#include "nn/classifier.h"
#include "nn/ngram_gate.h"

/* logits [set->n, labels]; silent: the n-gram part says 0 to everything. */
static bool answer(struct classifier *classifier, const struct records_set *set,
                   const float *silent, float *logits, struct error *err)
{
    for (size_t p = 0; p < set->n_parts; p++) {
        const struct records_part *part = &set->part[p];
        size_t at = set->first[p] * set->header.n_labels;
        const struct classifier_texts texts = {.offset = part->offset,
                                               .id = part->id,
                                               .gram_offset = part->gram_offset,
                                               .gram = part->gram,
                                               .ngram = silent ? silent + at : NULL};
        if (!classifier_answer(classifier, &texts, part->n, logits + at, err))
            return false;
    }
    return true;
}

static bool check(const struct model *model, const struct records_set *set,
                  const struct ngram_part *part, struct error *err)
{
    const char *name = set->n_sources ? source_name(set->source[0]) : "the stream";
    size_t labelled = 0;
    if (!part)
        return error_set(err, "%s: has no n-gram part; nothing is left out", model->name);
    if (!(part->encoder_gate > 0))
        return error_set(
            err,
            "%s: its encoder's gate is shut, so nothing of it is in the answers; drop --on, and "
            "score what is written",
            model->name);
    if (!records_check_grams(&set->header, name, &part->grams, model->name, err))
        return false;
    for (size_t i = 0; i < set->n; i++)
        labelled += records_get(set, i).labelled;
    return labelled > 0 || error_set(err, "%s: carries no labels to score against", name);
}

bool encoder_alone_measure(struct model *model, const struct records_set *set, struct device *dev,
                           struct threads *team, struct encoder_alone *result, struct error *err)
{
    struct classifier *classifier = classifier_open(model, dev, team, 0, err);
    size_t n = 0;
    bool ok = classifier && check(model, set, classifier_ngram(classifier), err);
    if (ok && !memory_multiply(set->n, set->header.n_labels, &n))
        ok = error_set(err, "%zu records are too many", set->n);
    float *logits = ok ? memory_array(n, sizeof *logits, err) : NULL;
    float *silent = ok ? memory_zeroed(n, sizeof *silent, err) : NULL;
    ok = logits && silent && answer(classifier, set, NULL, logits, err);
    if (ok) {
        result->both = ngram_gate_score(set, logits);
        ok = answer(classifier, set, silent, logits, err);
        result->encoder = ngram_gate_score(set, logits);
    }
    free(logits);
    free(silent);
    classifier_close(classifier);
    return ok;
}

bool encoder_alone_take(struct model *model, struct error *err)
{
    if (ngram_alone(model))
        return error_set(err,
                         "%s: is an n-gram part alone: neither Hugging Face's classes nor ONNX "
                         "nodes hash n-grams; it runs in Millet only (mscore, mteach)",
                         model->name);
    ngram_drop(model);
    return true;
}
