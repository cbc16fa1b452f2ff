/* report_json.c: the report as one JSON object. Every key is always there; what is unknown is null.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
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

static json_t *peak(const struct device_peak *peak)
{
    double unknown = NAN;
    return json_pack("{s:o, s:o, s:o, s:o}", "fp32_gops_per_s",
                     number(peak->f32 > 0 ? peak->f32 * 1e-9 : unknown), "bf16_gops_per_s",
                     number(peak->bf16 > 0 ? peak->bf16 * 1e-9 : unknown), "int8_gops_per_s",
                     number(peak->int8 > 0 ? peak->int8 * 1e-9 : unknown), "gbytes_per_s",
                     number(peak->bytes > 0 ? peak->bytes * 1e-9 : unknown));
}

static json_t *explain(const struct explain *explain)
{
    if (!explain->passes)
        return json_null();
    json_t *list = json_array();
    for (size_t i = 0; i < explain->n; i++) {
        const struct explain_row *row = &explain->row[i];
        json_array_append_new(
            list,
            json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", row->name, "share",
                      number(row->share), "seconds", number(row->seconds), "calls",
                      number(row->calls), "gops_per_s", number(row->operations_per_s * 1e-9),
                      "gbytes_per_s", number(row->bytes_per_s * 1e-9), "roofline",
                      number(row->roofline), "bound",
                      isnan(row->roofline) ? json_null()
                                           : json_string(row->by_bytes ? "bytes" : "operations")));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "passes", count(explain->passes), "pass_s",
                     number(explain->pass_s), "peak", peak(&explain->peak), "operations", list);
}

static json_t *subject(const struct report *report, const struct report_subject *subject)
{
    const struct metrics *metrics = &subject->metrics;
    const struct timing_result *timing = &subject->timing;
    double unknown = NAN, texts = (double)(report->n + report->n_unlabelled);
    double thousand = subject->joules * 1000 / texts;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
                     "s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o, s:o}",
                     "name", string(subject->name), "correct", count(metrics->correct), "accuracy",
                     number(metrics->accuracy), "accuracy_ci95", interval(subject->accuracy_ci95),
                     "micro_f1", number(metrics->micro_f1), "macro_f1", number(metrics->macro_f1),
                     "weighted_f1", number(metrics->weighted_f1), "parameters",
                     count_if(subject->is_model, subject->parameters), "bytes",
                     count_if(subject->is_model, subject->bytes), "macs_at_mean_length",
                     number(subject->is_model ? subject->macs : unknown), "flops_per_text",
                     number(subject->is_model ? subject->flops : unknown), "peak_memory_bytes",
                     number(subject->peak_memory), "joules_per_pass", number(subject->joules),
                     "joules_per_1000_texts", number(thousand), "gco2e_per_pass",
                     number(energy_co2e_g(subject->joules, report->grid)), "gco2e_per_1000_texts",
                     number(energy_co2e_g(thousand, report->grid)), "texts_per_s",
                     number(subject->timed ? timing->texts_per_s : unknown), "pass_s",
                     number(subject->timed ? timing->pass_s : unknown), "latency_ms", "p50",
                     number(subject->timed ? timing->p50_ms : unknown), "p95",
                     number(subject->timed ? timing->p95_ms : unknown), "timing_rounds",
                     count_if(subject->timed, timing->rounds), "explain",
                     explain(&subject->explain), "per_class", per_class(report, metrics),
                     "confusion", confusion(metrics));
}

static json_t *compare(const struct report *report)
{
    const struct report_compare *compare = &report->compare;
    return json_pack(
        "{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o}",
        "accuracy_difference", number(compare->accuracy_difference), "ci95",
        interval(compare->ci95), "ci95_method", "paired bootstrap, percentile", "resamples",
        count(report->resamples), "score_ci95", interval(compare->score_ci95), "margin",
        number(report->margin), "noninferior",
        isnan(report->margin) ? json_null() : json_boolean(compare->noninferior_p < 0.05),
        "noninferior_p", number(compare->noninferior_p), "lowest95", number(compare->lowest),
        "mcnemar_p", number(compare->mcnemar_p), "won", count(compare->pair.won), "lost",
        count(compare->pair.lost), "both_right", count(compare->pair.both_right), "agreement",
        number(compare->agreement), "speedup", number(compare->speedup), "latency_speedup",
        number(compare->latency_speedup));
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

static json_t *energy(const struct report *report)
{
    bool watts = report->energy == ENERGY_STATED || report->energy == ENERGY_ESTIMATED;
    return json_pack("{s:s, s:o, s:o, s:o, s:o}", "basis", energy_basis_name(report->energy),
                     "counters", report->energy_text ? string(report->energy_text) : json_null(),
                     "watts", number(watts ? report->watts : NAN), "grid_gco2e_per_kwh",
                     number(report->grid), "grid_source",
                     report->grid_text ? string(report->grid_text) : json_null());
}

static json_t *make_object(const struct report *report, struct error *err)
{
    /* json_pack frees what it was given and returns NULL when a part could not be made. */
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:o, s:b, s:o, s:o, s:o}", "n",
                  count(report->n), "unlabelled", count(report->n_unlabelled), "stream",
                  string(report->stream), "baseline_stream",
                  report->baseline_stream ? string(report->baseline_stream) : json_null(), "length",
                  "tokens", count(report->n_tokens), "mean", number(report->mean_tokens), "longest",
                  count(report->longest), "setup", setup(report), "energy", energy(report),
                  "labels", labels(report), "multi_label", report->multi_label, "model",
                  subject(report, &report->model), "baseline",
                  report->has_baseline ? subject(report, &report->baseline) : json_null(),
                  "compare", report->has_baseline ? compare(report) : json_null());
    if (!object)
        error_set(err, "the report does not fit into JSON: out of memory");
    return object;
}

bool report_json(const struct report *report, struct output *output, struct error *err)
{
    json_t *object = make_object(report, err);
    if (!object)
        return false;
    /* 12 digits are more than any measure has, and 0.335 stays 0.335. */
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    json_decref(object);
    bool ok =
        text ? output_write(output, text, strlen(text), err) && output_write(output, "\n", 1, err)
             : error_set(err, "out of memory while writing JSON");
    free(text);
    return ok;
}

/* ---- one value a line ---- */

/* Tabs and line breaks would end a value. */
static void put_text(FILE *to, const char *text)
{
    for (; *text; text++)
        fputc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, to);
}

static void put_value(FILE *to, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_STRING:
        put_text(to, json_string_value(value));
        break;
    case JSON_INTEGER:
        fprintf(to, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        fprintf(to, "%.12g", json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        fputs(json_is_true(value) ? "true" : "false", to);
        break;
    default:
        fputc('-', to);
    }
}

static bool is_table(const char *key)
{
    return strcmp(key, "per_class") == 0 || strcmp(key, "confusion") == 0 ||
           strcmp(key, "labels") == 0;
}

/* The lines of one member of an object; depth is bounded by the report's. */
static void put_lines(FILE *to, const char *path, json_t *value)
{
    char name[128];
    const char *key;
    json_t *member;
    if (json_is_object(value)) {
        json_object_foreach(value, key, member)
        {
            snprintf(name, sizeof name, "%s%s%s", path, *path ? "." : "", key);
            if (!is_table(key))
                put_lines(to, name, member);
        }
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            snprintf(name, sizeof name, "%s.%zu", path, i);
            put_lines(to, name, json_array_get(value, i));
        }
    } else {
        fprintf(to, "%s\t", path);
        put_value(to, value);
        fputc('\n', to);
    }
}

bool report_tsv(const struct report *report, struct output *output, struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    json_t *object = make_object(report, err);
    FILE *to = object ? open_memstream(&text, &n) : NULL;
    if (to)
        put_lines(to, "", object);
    json_decref(object);
    if (!object)
        return false;
    bool ok = to && !ferror(to);
    ok = to && fclose(to) == 0 && ok;
    ok = ok ? output_write(output, text, n, err) : error_set(err, "no memory for the report");
    free(text);
    return ok;
}
