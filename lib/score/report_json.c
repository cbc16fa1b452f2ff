/* report_json.c: the report as one JSON object. Every key is always there; what is unknown is null.
 */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "score/report.h"

/* JSON has no NaN and no infinity. */
static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* A path may hold any bytes, JSON only UTF-8: then each byte beyond ASCII becomes '?'. */
static json_t *string(const char *text)
{
    json_t *value = json_string(text);
    char *plain = value ? NULL : strdup(text);
    if (!plain)
        return value;
    for (char *p = plain; *p; p++)
        *p = *p & 0x80 ? '?' : *p;
    value = json_string(plain);
    free(plain);
    return value;
}

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *count_if(bool known, uint64_t value)
{
    return known ? count(value) : json_null();
}

static json_t *interval(struct interval ends)
{
    return json_pack("[o, o]", number(ends.low), number(ends.high));
}

static json_t *per_class(const struct report *report, const struct metrics *metrics)
{
    json_t *list = json_array();
    for (size_t c = 0; c < report->n_labels; c++) {
        const struct metrics_class *class = &metrics->class[c];
        json_array_append_new(
            list,
            json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "label", string(report->label[c]),
                      "precision", number(class->precision), "recall", number(class->recall), "f1",
                      number(class->f1), "support", count(class->support), "predicted",
                      count(class->predicted), "correct", count(class->correct)));
    }
    return list;
}

static json_t *confusion(const struct metrics *metrics)
{
    if (!metrics->confusion)
        return json_null();
    json_t *rows = json_array();
    for (size_t r = 0; r < metrics->n_labels; r++) {
        json_t *row = json_array();
        for (size_t c = 0; c < metrics->n_labels; c++)
            json_array_append_new(row, count(metrics->confusion[r * metrics->n_labels + c]));
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *subject(const struct report *report, const struct report_subject *subject)
{
    const struct metrics *metrics = &subject->metrics;
    const struct timing_result *timing = &subject->timing;
    double unknown = NAN;
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o}",
        "name", string(subject->name), "correct", count(metrics->correct), "accuracy",
        number(metrics->accuracy), "accuracy_ci95", interval(subject->accuracy_ci95), "micro_f1",
        number(metrics->micro_f1), "macro_f1", number(metrics->macro_f1), "weighted_f1",
        number(metrics->weighted_f1), "parameters",
        count_if(subject->is_model, subject->parameters), "bytes",
        count_if(subject->is_model, subject->bytes), "macs_at_mean_length",
        number(subject->is_model ? subject->macs : unknown), "texts_per_s",
        number(subject->timed ? timing->texts_per_s : unknown), "pass_s",
        number(subject->timed ? timing->pass_s : unknown), "latency_ms", "p50",
        number(subject->timed ? timing->p50_ms : unknown), "p95",
        number(subject->timed ? timing->p95_ms : unknown), "timing_rounds",
        count_if(subject->timed, timing->rounds), "per_class", per_class(report, metrics),
        "confusion", confusion(metrics));
}

static json_t *compare(const struct report *report)
{
    const struct report_compare *compare = &report->compare;
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "accuracy_difference", number(compare->accuracy_difference), "ci95",
                     interval(compare->ci95), "ci95_method", "paired bootstrap, percentile",
                     "resamples", count(report->resamples), "mcnemar_p", number(compare->mcnemar_p),
                     "won", count(compare->pair.won), "lost", count(compare->pair.lost),
                     "both_right", count(compare->pair.both_right), "agreement",
                     number(compare->agreement), "speedup", number(compare->speedup),
                     "latency_speedup", number(compare->latency_speedup));
}

static json_t *labels(const struct report *report)
{
    json_t *list = json_array();
    for (size_t c = 0; c < report->n_labels; c++)
        json_array_append_new(list, string(report->label[c]));
    return list;
}

static json_t *setup(const struct report *report)
{
    return json_pack("{s:s, s:o, s:o, s:o, s:o, s:s}", "version", report->version, "device",
                     report->device ? string(report->device) : json_null(), "threads",
                     count(report->threads), "seed", count(report->seed), "batch_tokens",
                     count(report->batch_tokens), "padding", "none");
}

bool report_json(const struct report *report, struct output *output, struct error *err)
{
    /* json_pack frees what it was given and returns NULL when a part could not be made. */
    json_t *object = json_pack(
        "{s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:b, s:o, s:o, s:o}", "n", count(report->n),
        "unlabelled", count(report->n_unlabelled), "stream", string(report->stream), "length",
        "tokens", count(report->n_tokens), "mean", number(report->mean_tokens), "longest",
        count(report->longest), "setup", setup(report), "labels", labels(report), "multi_label",
        report->multi_label, "model", subject(report, &report->model), "baseline",
        report->has_baseline ? subject(report, &report->baseline) : json_null(), "compare",
        report->has_baseline ? compare(report) : json_null());
    if (!object)
        return error_set(err, "the report does not fit into JSON: out of memory");
    /* 12 digits are more than any measure has, and 0.335 stays 0.335. */
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    json_decref(object);
    bool ok =
        text ? output_write(output, text, strlen(text), err) && output_write(output, "\n", 1, err)
             : error_set(err, "out of memory while writing JSON");
    free(text);
    return ok;
}
