/* evaluate.c: predictions of each subject over a record set, then metrics, comparison and timing.
 */
#include "score/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/labels.h"

/* One subject at work on the set; also the context of its timing callbacks. */
struct work {
    const struct subject *subject;
    const struct records_set *set;
    const char *stream_name;
    size_t n_labels;
    float *logits;              /* [records of the largest part, n_labels], owned */
    struct label_sets *sets;    /* NULL: one label a record */
    int32_t *predicted;         /* [set->n] a label, or the number of a set; owned */
    struct energy_meter *meter; /* to be read between parts, which may take long; or NULL */
};

static void work_close(struct work *work)
{
    free(work->logits);
    free(work->predicted);
}

static bool work_open(struct work *work, const struct subject *subject,
                      const struct records_set *set, struct label_sets *sets,
                      const char *stream_name, struct error *err)
{
    *work = (struct work){.subject = subject, .set = set, .sets = sets, .stream_name = stream_name};
    if (!subject_check(subject, &set->header, stream_name, err))
        return false;
    work->n_labels = subject_n_labels(subject, &set->header);
    if (work->n_labels != set->header.n_labels)
        return error_set(
            err,
            "%s: %s tells %zu labels apart, the stream has %zu; score with the stream's own model",
            stream_name, subject->name, work->n_labels, set->header.n_labels);
    size_t largest = 0, n_values;
    for (size_t p = 0; p < set->n_parts; p++)
        largest = set->part[p].n > largest ? set->part[p].n : largest;
    if (!memory_multiply(largest, work->n_labels, &n_values))
        return error_set(err, "%s: %zu records of %zu labels are too many for one part",
                         stream_name, largest, work->n_labels);
    work->logits = memory_array(n_values, sizeof *work->logits, err);
    work->predicted = memory_array(set->n, sizeof *work->predicted, err);
    return work->logits && work->predicted;
}

static bool predict(struct work *work, const struct progress *progress, struct error *err)
{
    for (size_t p = 0; p < work->set->n_parts; p++) {
        const struct records_part *part = &work->set->part[p];
        size_t first = work->set->first[p];
        struct subject_place place = {work->stream_name, first};
        if (!subject_logits(work->subject, part, place, work->n_labels, work->logits, err))
            return false;
        for (size_t i = 0; i < part->n; i++) {
            const float *logits = work->logits + i * work->n_labels;
            int32_t answer = work->sets ? label_sets_of_logits(work->sets, logits, err)
                                        : metrics_argmax(logits, work->n_labels);
            if (answer < 0)
                return false;
            work->predicted[first + i] = answer;
        }
        progress_report(progress, &(struct progress_event){.stage = "score",
                                                           .done = first + part->n,
                                                           .total = work->set->n,
                                                           .unit = "records",
                                                           .loss = NAN});
    }
    return true;
}

static bool time_pass(void *context, struct error *err)
{
    const struct work *work = context;
    for (size_t p = 0; p < work->set->n_parts; p++) {
        if (!subject_logits(work->subject, &work->set->part[p],
                            (struct subject_place){work->stream_name, work->set->first[p]},
                            work->n_labels, work->logits, err))
            return false;
        if (work->meter && p + 1 < work->set->n_parts)
            energy_read(work->meter);
    }
    return true;
}

static bool time_single(void *context, size_t i, struct error *err)
{
    const struct work *work = context;
    struct record record = records_get(work->set, i);
    const struct classifier_texts texts = {.offset = (const int64_t[]){0, (int64_t)record.n_ids},
                                           .id = record.id,
                                           .gram_offset =
                                               (const int64_t[]){0, (int64_t)record.n_grams},
                                           .gram = record.gram};
    return classifier_answer(work->subject->classifier, &texts, 1, work->logits, err);
}

/* What a pass took, and what that stands on: the same for both, or they could not be compared. */
static void take_energy(const struct evaluate_options *options, struct report *report)
{
    struct report_subject *to[2] = {&report->model, &report->baseline};
    bool measured = !isnan(to[0]->timing.pass_j) && (!to[1]->timed || !isnan(to[1]->timing.pass_j));
    report->watts = options->watts;
    if (measured && !options->watts_stated)
        report->energy = ENERGY_MEASURED;
    else if (!isnan(options->watts))
        report->energy = options->watts_stated ? ENERGY_STATED : ENERGY_ESTIMATED;
    for (size_t s = 0; s < 2; s++)
        if (to[s]->timed)
            to[s]->joules = report->energy == ENERGY_MEASURED
                                ? to[s]->timing.pass_j
                                : options->watts * to[s]->timing.pass_s;
}

static bool measure(struct work *work, size_t n_subjects, const struct evaluate_options *options,
                    const struct progress *progress, struct report *report, struct error *err)
{
    struct timing_subject subject[2];
    struct timing_result result[2];
    struct timing_options timing = options->timing;
    timing.n_texts = work[0].set->n;
    for (size_t s = 0; s < n_subjects; s++) {
        work[s].meter = timing.meter;
        subject[s] = (struct timing_subject){time_pass, time_single, &work[s]};
    }
    if (!timing_run(subject, n_subjects, &timing, progress, result, err))
        return false;
    report->model.timing = result[0];
    report->model.timed = true;
    if (n_subjects == 2) {
        report->baseline.timing = result[1];
        report->baseline.timed = true;
        report->compare.speedup = result[0].texts_per_s / result[1].texts_per_s;
        report->compare.latency_speedup = result[1].p50_ms / result[0].p50_ms;
    }
    take_energy(options, report);
    for (size_t s = 0; s < n_subjects && options->explained; s++)
        if (!explain_run(options->explained, &subject[s], &timing,
                         s ? &report->baseline.explain : &report->model.explain, err))
            return false;
    return true;
}

/* Do two streams hold the same texts, as far as that can be seen? */
static bool check_twin(const struct records_set *set, const char *name,
                       const struct records_set *other, const char *other_name, struct error *err)
{
    if (set->n != other->n)
        return error_set(
            err, "%s: has %zu records, but %s has %zu; the baseline must get the same texts",
            other_name, other->n, name, set->n);
    if (!records_check_kind(&other->header, other_name, set->header.separator != NULL, name, err))
        return false;
    if (!labels_equal(set->header.label, set->header.n_labels, other->header.label,
                      other->header.n_labels))
        return error_set(err, "%s: its labels are not those of %s, or in another order", other_name,
                         name);
    for (size_t i = 0; i < set->n; i++) {
        struct record a = records_get(set, i), b = records_get(other, i);
        bool same = a.labelled == b.labelled && a.label == b.label &&
                    a.n_label_ids == b.n_label_ids &&
                    (a.n_label_ids == 0 ||
                     memcmp(a.label_id, b.label_id, a.n_label_ids * sizeof *a.label_id) == 0);
        if (same && a.text && b.text)
            same = a.n_text == b.n_text && (!a.n_text || memcmp(a.text, b.text, a.n_text) == 0);
        if (!same)
            return error_set(err,
                             "%s: record %zu is another than in %s; make both streams of the same "
                             "rows in the same order",
                             other_name, i + 1, name);
    }
    return true;
}

static double mean_grams(const struct records_set *set)
{
    double n = 0;
    for (size_t p = 0; p < set->n_parts; p++)
        if (set->part[p].gram_offset)
            n += (double)set->part[p].gram_offset[set->part[p].n];
    return set->n ? n / (double)set->n : 0;
}

/* Mean over all texts, each with its own tokens and n-grams. */
static double mean_flops(const struct work *work)
{
    double sum = 0;
    for (size_t p = 0; p < work->set->n_parts; p++) {
        const struct records_part *part = &work->set->part[p];
        for (size_t i = 0; i < part->n; i++) {
            int64_t tokens = part->offset[i + 1] - part->offset[i], grams = 0;
            if (part->gram_offset)
                grams = part->gram_offset[i + 1] - part->gram_offset[i];
            sum += 2 * classifier_macs(work->subject->classifier, (size_t)tokens, (size_t)grams);
        }
    }
    return sum / (double)work->set->n;
}

/* Quality and size of one subject whose predictions are made. */
static bool describe(const struct work *work, const int32_t *label, struct report_subject *to,
                     struct error *err)
{
    to->name = work->subject->name;
    bool counted = work->sets ? metrics_compute_sets(&to->metrics, work->sets, label,
                                                     work->predicted, work->set->n, err)
                              : metrics_compute(&to->metrics, label, work->predicted, work->set->n,
                                                work->n_labels, err);
    if (!counted)
        return false;
    to->accuracy_ci95 = significance_wilson(to->metrics.correct, to->metrics.n);
    to->is_model = work->subject->is_model;
    if (!to->is_model)
        return true;
    const struct classifier *classifier = work->subject->classifier;
    to->parameters = classifier_parameters(classifier);
    double tokens = (double)work->set->n_tokens / (double)work->set->n;
    to->macs =
        classifier_macs(classifier, (size_t)lround(tokens), (size_t)lround(mean_grams(work->set)));
    to->flops = mean_flops(work);
    for (size_t t = 0; t < work->subject->model.n_tensors; t++)
        to->bytes += work->subject->model.tensor[t].bytes;
    return true;
}

static bool compare(const struct work *work, const int32_t *label,
                    const struct evaluate_options *options, struct report *report,
                    struct error *err)
{
    struct report_compare *to = &report->compare;
    to->pair = metrics_compare(label, work[0].predicted, work[1].predicted, work[0].set->n);
    to->accuracy_difference = ((double)to->pair.won - (double)to->pair.lost) / (double)report->n;
    to->mcnemar_p = significance_mcnemar(to->pair.lost, to->pair.won);
    to->agreement = (double)to->pair.agree / (double)to->pair.n_all;
    to->score_ci95 = significance_tango_ci95(report->n, to->pair.lost, to->pair.won);
    if (!isnan(report->margin))
        to->noninferior_p = significance_noninferior(report->n, to->pair.lost, to->pair.won,
                                                     report->margin, &to->lowest);
    return significance_bootstrap(report->n, to->pair.lost, to->pair.won, report->resamples,
                                  options->seed, &to->ci95, err);
}

/* Labels of all records, or numbers of their sets, one after another; owned by the caller. */
static int32_t *collect_labels(const struct records_set *set, struct label_sets *sets,
                               const char *stream_name, struct report *report, struct error *err)
{
    if (set->n == 0) {
        error_set(err, "%s: holds no records, so there is nothing to score", stream_name);
        return NULL;
    }
    int32_t *label = memory_array(set->n, sizeof *label, err);
    if (!label)
        return NULL;
    for (size_t i = 0; i < set->n; i++) {
        struct record record = records_get(set, i);
        label[i] = record.label;
        if (sets && record.labelled) {
            label[i] = label_sets_of_ids(sets, record.label_id, record.n_label_ids, err);
            if (label[i] < 0) {
                free(label);
                return NULL;
            }
        }
        report->n_unlabelled += !record.labelled;
    }
    report->n = set->n - report->n_unlabelled;
    if (report->n > 0)
        return label;
    free(label);
    error_set(err,
              "%s: none of the %zu records has a label, so there is nothing to score; label the "
              "data (mtok --label), or ask for predictions with --predict",
              stream_name, set->n);
    return NULL;
}

bool evaluate(const struct subject *model, const struct subject *baseline,
              const struct records_set *set, const char *stream_name,
              const struct evaluate_options *options, const struct progress *progress,
              struct report *report, struct error *err)
{
    report->stream = stream_name;
    report->baseline_stream = options->baseline_set ? options->baseline_stream : NULL;
    report->label = (const char *const *)set->header.label;
    report->n_labels = set->header.n_labels;
    report->n_tokens = set->n_tokens;
    report->longest = set->longest;
    report->mean_tokens = set->n ? (double)set->n_tokens / (double)set->n : 0;
    const struct subject *ran = model->classifier ? model : baseline;
    report->batch_tokens = ran && ran->classifier ? classifier_batch_tokens(ran->classifier) : 0;
    report->seed = options->seed;
    report->resamples = SIGNIFICANCE_RESAMPLES;
    report->has_baseline = baseline != NULL;
    report->compare.speedup = report->compare.latency_speedup = NAN;
    report->compare.noninferior_p = report->compare.lowest = NAN;
    report->model.joules = report->baseline.joules = NAN;
    report->margin = options->margin;

    report->multi_label = set->header.separator != NULL;

    struct label_sets sets = {0};
    if (report->multi_label && !label_sets_open(&sets, set->header.n_labels, err))
        return false;
    int32_t *label =
        collect_labels(set, report->multi_label ? &sets : NULL, stream_name, report, err);
    struct work work[2] = {{0}};
    const struct subject *subject[2] = {model, baseline};
    const struct records_set *own = options->baseline_set;
    struct report_subject *described[2] = {&report->model, &report->baseline};
    size_t n_subjects = baseline ? 2 : 1;
    bool ok = label != NULL;
    ok = ok && (!own || check_twin(set, stream_name, own, options->baseline_stream, err));
    for (size_t s = 0; s < n_subjects && ok; s++)
        ok = work_open(&work[s], subject[s], s && own ? own : set,
                       report->multi_label ? &sets : NULL,
                       s && own ? options->baseline_stream : stream_name, err);
    for (size_t s = 0; s < n_subjects && ok; s++)
        ok = predict(&work[s], progress, err) && describe(&work[s], label, described[s], err);
    ok = ok && (!baseline || compare(work, label, options, report, err)) &&
         (!options->time ||
          measure(work, baseline && baseline->is_model ? 2 : 1, options, progress, report, err));
    work_close(&work[0]);
    work_close(&work[1]);
    label_sets_close(&sets);
    free(label);
    return ok;
}
