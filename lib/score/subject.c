/* subject.c: opening a model for scoring, and the one place where logits are computed or taken from
 * the stream. */
#include "score/subject.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "score/metrics.h"
#include "text/tokenizer.h"

bool subject_open(struct subject *subject, const char *path, struct device *dev,
                  struct threads *team, struct error *err)
{
    *subject = (struct subject){.name = "logits of the stream"};
    if (!path)
        return true;
    if (!model_open(&subject->model, path, err))
        return false;
    subject->is_model = true;
    subject->name = subject->model.name;
    bool ok = tokenizer_fingerprint_of(subject->model.bundle, &subject->tokenizer, err);
    memory_trim();
    if (ok)
        subject->classifier = classifier_open(&subject->model, dev, team, 0, err);
    if (!subject->classifier)
        subject_close(subject);
    return subject->classifier != NULL;
}

void subject_close(struct subject *subject)
{
    classifier_close(subject->classifier);
    if (subject->is_model)
        model_close(&subject->model);
    *subject = (struct subject){0};
}

static bool check_grams(const struct subject *subject, const struct records_header *header,
                        const char *stream_name, struct error *err)
{
    const struct ngram_part *part = classifier_ngram(subject->classifier);
    return !part || records_check_grams(header, stream_name, &part->grams, subject->name, err);
}

bool subject_check(const struct subject *subject, const struct records_header *header,
                   const char *stream_name, struct error *err)
{
    size_t n = subject_n_labels(subject, header);
    if (subject->is_model && !subject->model.n_labels && header->n_labels && header->n_labels != n)
        return error_set(err,
                         "%s: has %zu labels, but %s gives %zu and its config.json does not name "
                         "them; name them there (id2label)",
                         stream_name, header->n_labels, subject->name, n);
    if (subject->is_model)
        return records_check_model(header, stream_name, subject->tokenizer, subject->model.label,
                                   subject->model.n_labels, subject->name, err) &&
               records_check_kind(header, stream_name, subject->model.problem == MODEL_MULTI_LABEL,
                                  subject->name, err) &&
               check_grams(subject, header, stream_name, err);
    if (header->n_labels == 0)
        return error_set(
            err,
            "%s: the stream has no labels, so it carries no logits to score; give a model (-m)",
            stream_name);
    return true;
}

bool subject_is_multi_label(const struct subject *subject, const struct records_header *header)
{
    return subject->is_model ? subject->model.problem == MODEL_MULTI_LABEL
                             : header->separator != NULL;
}

size_t subject_n_labels(const struct subject *subject, const struct records_header *header)
{
    return subject->is_model ? classifier_labels(subject->classifier) : header->n_labels;
}

const char *subject_label(const struct subject *subject, const struct records_header *header,
                          size_t i, char room[SUBJECT_LABEL_BYTES])
{
    if (subject->is_model && i < subject->model.n_labels)
        return subject->model.label[i];
    if (i < header->n_labels)
        return header->label[i];
    snprintf(room, SUBJECT_LABEL_BYTES, "LABEL_%zu", i);
    return room;
}

/* The engine numbers records from the first of a call; the reader of the message sees the stream.
 */
static bool fail_at(struct subject_place place, struct error *err)
{
    return place.first == 0 ? error_at(err, "%s: ", place.stream)
                            : error_at(err, "%s: after record %zu: ", place.stream, place.first);
}

bool subject_logits(const struct subject *subject, const struct records_part *part,
                    struct subject_place place, size_t n_labels, float *logits, struct error *err)
{
    if (subject->is_model) {
        const struct classifier_texts texts = {.offset = part->offset,
                                               .id = part->id,
                                               .gram_offset = part->gram_offset,
                                               .gram = part->gram};
        if (!classifier_answer(subject->classifier, &texts, part->n, logits, err))
            return fail_at(place, err);
    } else if (part->logits)
        memcpy(logits, part->logits, part->n * n_labels * sizeof *logits);
    else
        return error_set(
            err,
            "%s: the stream carries no logits; give a model (-m, --baseline), or run mteach before",
            place.stream);
    size_t bad = metrics_finite(logits, part->n * n_labels);
    if (bad == part->n * n_labels)
        return true;
    return error_set(err,
                     "%s: record %zu: %s: the logits are not finite (NaN or infinity); the model's "
                     "training diverged, or its number format is too narrow",
                     place.stream, place.first + bad / n_labels + 1, subject->name);
}
