/* report.c: the report as text. */
#include "score/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void report_free(struct report *report)
{
    metrics_free(&report->model.metrics);
    metrics_free(&report->baseline.metrics);
    *report = (struct report){0};
}

enum { NAME_WIDTH = 22, COLUMN_WIDTH = 20, CELL_BYTES = 64 };

/* A number or, where it was not measured, a dash. */
static const char *cell(char room[CELL_BYTES], const char *format, double value)
{
    if (isnan(value))
        snprintf(room, CELL_BYTES, "-");
    else
        snprintf(room, CELL_BYTES, format, value);
    return room;
}

/* One line of the summary: a name and a value per subject. */
static void row(FILE *to, const struct report *report, const char *name, const char *model,
                const char *baseline)
{
    fprintf(to, "%-*s%*s", NAME_WIDTH, name, COLUMN_WIDTH, model);
    if (report->has_baseline)
        fprintf(to, "%*s", COLUMN_WIDTH, baseline);
    fputc('\n', to);
}

static void number_row(FILE *to, const struct report *report, const char *name, const char *format,
                       double model, double baseline)
{
    char a[CELL_BYTES], b[CELL_BYTES];
    row(to, report, name, cell(a, format, model), cell(b, format, baseline));
}

static void interval_row(FILE *to, const struct report *report, const char *name,
                         struct interval model, struct interval baseline)
{
    char a[CELL_BYTES], b[CELL_BYTES];
    snprintf(a, sizeof a, "%.4f to %.4f", model.low, model.high);
    snprintf(b, sizeof b, "%.4f to %.4f", baseline.low, baseline.high);
    row(to, report, name, a, b);
}

static void put_setup(FILE *to, const struct report *report)
{
    fprintf(to, "stream     %s: %zu records scored, %zu without a label left out\n", report->stream,
            report->n, report->n_unlabelled);
    fprintf(to, "lengths    mean %.1f tokens, longest %zu; %" PRIu64 " tokens in all\n",
            report->mean_tokens, report->longest, report->n_tokens);
    fprintf(to, "model      %s\n", report->model.name);
    if (report->has_baseline)
        fprintf(to, "baseline   %s%s%s\n", report->baseline.name,
                report->baseline_stream ? ", on " : "",
                report->baseline_stream ? report->baseline_stream : "");
    if (report->device) /* it names its threads itself */
        fprintf(to, "device     %s; unpadded, batches of up to %zu tokens\n", report->device,
                report->batch_tokens);
}

static void put_quality(FILE *to, const struct report *report)
{
    const struct report_subject *m = &report->model, *b = &report->baseline;
    fputc('\n', to);
    row(to, report, "", "model", "baseline");
    number_row(to, report, report->multi_label ? "exact match" : "accuracy", "%.4f",
               m->metrics.accuracy, b->metrics.accuracy);
    interval_row(to, report, "  95 % (Wilson)", m->accuracy_ci95, b->accuracy_ci95);
    if (report->multi_label)
        number_row(to, report, "micro F1", "%.4f", m->metrics.micro_f1, b->metrics.micro_f1);
    number_row(to, report, "macro F1", "%.4f", m->metrics.macro_f1, b->metrics.macro_f1);
    number_row(to, report, "weighted F1", "%.4f", m->metrics.weighted_f1, b->metrics.weighted_f1);
    if (!m->is_model && !b->is_model)
        return;
    number_row(to, report, "parameters", "%.0f", m->is_model ? (double)m->parameters : NAN,
               b->is_model ? (double)b->parameters : NAN);
    number_row(to, report, "bytes of weights", "%.0f", m->is_model ? (double)m->bytes : NAN,
               b->is_model ? (double)b->bytes : NAN);
    number_row(to, report, "multiply-adds/text", "%.3g", m->is_model ? m->macs : NAN,
               b->is_model ? b->macs : NAN);
    number_row(to, report, "FLOPs/text, mean", "%.3g", m->is_model ? m->flops : NAN,
               b->is_model ? b->flops : NAN);
    if (!isnan(m->peak_memory) || !isnan(b->peak_memory))
        number_row(to, report, "peak memory, MB", "%.1f", m->peak_memory / 1e6,
                   b->peak_memory / 1e6);
}

static void put_energy(FILE *to, const struct report *report)
{
    double thousand = 1000 / (double)(report->n + report->n_unlabelled);
    double m = report->model.joules, b = report->baseline.joules, grid = report->grid;
    number_row(to, report, "J/1000 texts", "%.4g", m * thousand, b * thousand);
    number_row(to, report, "gCO2e/1000 texts", "%.3g", energy_co2e_g(m * thousand, grid),
               energy_co2e_g(b * thousand, grid));
    number_row(to, report, "gCO2e/pass", "%.3g", energy_co2e_g(m, grid), energy_co2e_g(b, grid));
}

static void put_energy_basis(FILE *to, const struct report *report)
{
    const char *text = report->energy_text ? report->energy_text : "";
    fprintf(to, "energy     %s", energy_basis_name(report->energy));
    switch (report->energy) {
    case ENERGY_UNKNOWN:
        fprintf(to, ": %s; say what the machine takes with --watts\n", text);
        return;
    case ENERGY_MEASURED:
        fprintf(to, ": %s", text);
        break;
    case ENERGY_STATED:
        fprintf(to, ": %.4g W (--watts) for the time of a pass", report->watts);
        break;
    case ENERGY_ESTIMATED:
        fprintf(to, ", not measured (%s): %zu thread%s x %d W for the time of a pass", text,
                report->threads, report->threads == 1 ? "" : "s", ENERGY_THREAD_WATTS);
        break;
    }
    fprintf(to, "; %.4g gCO2e/kWh (%s)\n", report->grid, report->grid_text);
}

static void put_speed(FILE *to, const struct report *report)
{
    static const struct timing_result unknown = {.texts_per_s = NAN, .p50_ms = NAN, .p95_ms = NAN};
    bool both = report->baseline.timed;
    const struct timing_result *m = &report->model.timing;
    const struct timing_result *b = both ? &report->baseline.timing : &unknown;
    if (!report->model.timed)
        return;
    number_row(to, report, "texts/s", "%.1f", m->texts_per_s, b->texts_per_s);
    number_row(to, report, "latency p50, ms", "%.3f", m->p50_ms, b->p50_ms);
    number_row(to, report, "latency p95, ms", "%.3f", m->p95_ms, b->p95_ms);
    put_energy(to, report);
    fprintf(to,
            "\ntiming     texts/s: all %zu texts, median of %zu passes; latency: one text alone, "
            "%zu measures of %zu texts%s\n",
            report->n + report->n_unlabelled, m->rounds, m->n_singles, m->n_single_texts,
            both ? "; model and baseline take turns" : "");
    put_energy_basis(to, report);
}

/* Units of 10^9 a second, or a dash. */
static const char *giga(char room[CELL_BYTES], double value)
{
    return cell(room, "%.1f", value > 0 ? value * 1e-9 : NAN);
}

/* Where the time of a pass goes. */
static void put_explain(FILE *to, const char *who, const struct explain *explain)
{
    char a[CELL_BYTES], b[CELL_BYTES], c[CELL_BYTES], d[CELL_BYTES];
    if (!explain->passes)
        return;
    fprintf(to,
            "\noperations of the %s: %zu passes of %.3f ms on average, %zu thread%s\n"
            "peak here  fp32 %s, bf16 %s, int8 %s GOP/s; %s GB/s in the outer caches\n",
            who, explain->passes, 1e3 * explain->pass_s, explain->threads,
            explain->threads == 1 ? "" : "s", giga(a, explain->peak.f32),
            giga(b, explain->peak.bf16), giga(c, explain->peak.int8), giga(d, explain->peak.bytes));
    fprintf(to, "%-20s%9s%10s%9s%9s%9s%12s\n", "", "% of time", "ms", "calls", "GOP/s", "GB/s",
            "% of roof");
    for (size_t i = 0; i < explain->n; i++) {
        const struct explain_row *row = &explain->row[i];
        fprintf(to, "%-20s%9.1f%10.3f%9s%9s%9s%12s%s\n", row->name, 100 * row->share,
                1e3 * row->seconds, cell(a, "%.0f", row->calls), giga(b, row->operations_per_s),
                giga(c, row->bytes_per_s), cell(d, "%.0f", 100 * row->roofline),
                isnan(row->roofline) ? ""
                : row->by_bytes      ? "  bytes"
                                     : "  operations");
    }
}

/* Non-inferiority in words. */
static void put_margin(FILE *to, const struct report *report)
{
    const struct report_compare *c = &report->compare;
    if (isnan(report->margin))
        return;
    double points = 100 * report->margin;
    fprintf(to,
            "margin     not worse by %g point%s of %s: %s (one-sided p = %.4g, Tango's score test; "
            "with 95 %% confidence the difference is above %+.4f)\n",
            points, fabs(points - 1) < 1e-9 ? "" : "s",
            report->multi_label ? "exact match" : "accuracy",
            c->noninferior_p < 0.05 ? "shown" : "not shown", c->noninferior_p, c->lowest);
}

static void put_compare(FILE *to, const struct report *report)
{
    const struct report_compare *c = &report->compare;
    if (!report->has_baseline)
        return;
    fprintf(to, "\nmodel against baseline\n");
    fprintf(to,
            "difference %+.4f %s, 95 %% interval %+.4f to %+.4f (paired bootstrap, %zu "
            "resamples, seed %" PRIu64 ")\n",
            c->accuracy_difference, report->multi_label ? "exact match" : "accuracy", c->ci95.low,
            c->ci95.high, report->resamples, report->seed);
    if (c->pair.won + c->pair.lost == 0)
        fprintf(to, "           no record sets the two apart, so this interval says nothing of "
                    "records not seen\n");
    fprintf(to, "           95 %% interval %+.4f to %+.4f (score, Tango)\n", c->score_ci95.low,
            c->score_ci95.high);
    put_margin(to, report);
    fprintf(to,
            "McNemar    p = %.4g (exact, two-sided; %" PRIu64 " lost, %" PRIu64
            " won); p > 0.05 is not proof of equality: read the interval\n",
            c->mcnemar_p, c->pair.lost, c->pair.won);
    fprintf(to, "agreement  %.4f of all %" PRIu64 " records\n", c->agreement, c->pair.n_all);
    if (report->model.timed && report->baseline.timed)
        fprintf(to, "speed-up   %.2fx (ratio of the median texts/s); %.2fx by the median latency\n",
                c->speedup, c->latency_speedup);
}

/* A label as a cell of a table: tabs and line breaks would end it. */
static void put_cell(FILE *to, const char *label)
{
    fputc('\t', to);
    for (; *label; label++)
        fputc(*label == '\t' || *label == '\n' || *label == '\r' ? ' ' : *label, to);
}

static void put_ratio(FILE *to, double value)
{
    char room[CELL_BYTES];
    fprintf(to, "\t%s", cell(room, "%.4f", value));
}

static void put_classes(FILE *to, const struct report *report, const char *who,
                        const struct metrics *metrics)
{
    for (size_t c = 0; c < report->n_labels; c++) {
        const struct metrics_class *class = &metrics->class[c];
        fprintf(to, "class\t%s", who);
        put_cell(to, report->label[c]);
        put_ratio(to, class->precision);
        put_ratio(to, class->recall);
        put_ratio(to, class->f1);
        fprintf(to, "\t%" PRIu64 "\t%" PRIu64 "\n", class->support, class->predicted);
    }
}

static void put_confusion(FILE *to, const struct report *report, const char *who,
                          const struct metrics *metrics)
{
    if (!metrics->confusion)
        return;
    fprintf(to, "\nconfusion\tof\tlabel \\ predicted");
    for (size_t c = 0; c < report->n_labels; c++)
        put_cell(to, report->label[c]);
    fputc('\n', to);
    for (size_t r = 0; r < report->n_labels; r++) {
        fprintf(to, "confusion\t%s", who);
        put_cell(to, report->label[r]);
        for (size_t c = 0; c < report->n_labels; c++)
            fprintf(to, "\t%" PRIu64, metrics->confusion[r * report->n_labels + c]);
        fputc('\n', to);
    }
}

bool report_text(const struct report *report, struct output *output, struct error *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    if (!to)
        return error_set_errno(err, "no memory for the report");
    put_setup(to, report);
    put_quality(to, report);
    put_speed(to, report);
    put_explain(to, "model", &report->model.explain);
    put_explain(to, "baseline", &report->baseline.explain);
    put_compare(to, report);
    fprintf(to, "\nclass\tof\tlabel\tprecision\trecall\tf1\trecords\tpredicted\n");
    put_classes(to, report, "model", &report->model.metrics);
    if (report->has_baseline)
        put_classes(to, report, "baseline", &report->baseline.metrics);
    put_confusion(to, report, "model", &report->model.metrics);
    if (report->has_baseline)
        put_confusion(to, report, "baseline", &report->baseline.metrics);
    bool ok = !ferror(to);
    ok = fclose(to) == 0 && ok;
    ok = ok ? output_write(output, text, n, err) : error_set_errno(err, "no memory for the report");
    free(text);
    return ok;
}
