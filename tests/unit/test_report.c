/* test_report.c: both forms of a report whose numbers are known. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "score/report.h"
#include "tests/tap.h"

static const char *const labels[] = {"sport", "a\tb"};

/* Model: 3 of 4 right; baseline, the stream's logits: 2 of 4. */
static void fill(struct report *report, bool has_baseline, bool timed)
{
    static const int32_t label[] = {0, 0, 1, 1}, model[] = {0, 0, 1, 0}, baseline[] = {0, 1, 1, 0};
    struct error err = ERROR_INIT;
    *report = (struct report){.version = "1.2.3", .stream = "caf\xe9.tok", .label = labels};
    report->n_labels = 2;
    report->n = 4;
    report->n_unlabelled = 1;
    report->n_tokens = 35;
    report->mean_tokens = 7;
    report->longest = 9;
    report->device = "test device";
    report->threads = 2;
    report->batch_tokens = 512;
    report->resamples = 10000;
    report->has_baseline = has_baseline;
    struct report_subject *m = &report->model, *b = &report->baseline;
    bool ok = metrics_compute(&m->metrics, label, model, 4, 2, &err);
    ok = ok && (!has_baseline || metrics_compute(&b->metrics, label, baseline, 4, 2, &err));
    tap_ok(ok, "metrics made");
    m->name = "student.tar";
    m->is_model = true;
    m->parameters = 1234;
    m->bytes = 4936;
    m->macs = 5000;
    m->timed = timed;
    m->timing =
        (struct timing_result){.texts_per_s = 100, .p50_ms = 1.5, .p95_ms = 2.5, .rounds = 5};
    m->accuracy_ci95 = (struct interval){0.3, 0.95};
    b->name = "logits of the stream";
    report->compare = (struct report_compare){.pair = metrics_compare(label, model, baseline, 4),
                                              .accuracy_difference = 0.25,
                                              .ci95 = {0, 0.75},
                                              .mcnemar_p = 1,
                                              .agreement = 0.75,
                                              .score_ci95 = {-0.5, 0.875},
                                              .noninferior_p = NAN,
                                              .lowest = NAN,
                                              .speedup = NAN,
                                              .latency_speedup = NAN};
    report->margin = NAN;
    report->grid = 500;
    report->grid_text = "a test";
    m->flops = 11000;
    m->peak_memory = b->peak_memory = m->joules = b->joules = NAN;
    if (!timed)
        return;
    m->peak_memory = 5e6;
    m->joules = 7.2;
    report->energy = ENERGY_STATED;
    report->watts = 30;
}

/* What report_text() or report_json() writes; free() it. */
static char *written(const struct report *report,
                     bool (*write)(const struct report *, struct output *, struct error *))
{
    char path[] = "/tmp/test_report.XXXXXX", *text = calloc(1, 65536);
    int fd = mkstemp(path);
    struct error err = ERROR_INIT;
    struct output *output = fd < 0 ? NULL : output_open(path, false, &err);
    bool ok = output && write(report, output, &err) && output_commit(output, &err);
    FILE *file = ok ? fopen(path, "r") : NULL;
    if (file && text && fread(text, 1, 65535, file) == 0)
        text[0] = '\0';
    if (file)
        fclose(file);
    if (fd >= 0)
        close(fd);
    unlink(path);
    tap_ok(ok, "written %s", err.text);
    return text;
}

static void has(const char *text, const char *expected)
{
    const char *shown = expected + strspn(expected, "\n");
    if (!tap_ok(strstr(text, expected), "says: %.*s", (int)strcspn(shown, "\n"), shown))
        printf("# in:\n%s\n", text);
}

static void test_text(void)
{
    struct report report;
    fill(&report, true, true);
    char *text = written(&report, report_text);
    has(text, "4 records scored, 1 without a label left out");
    has(text, "test device; unpadded, batches of up to 512 tokens");
    has(text, "0.7500");
    has(text, "difference +0.2500 accuracy, 95 % interval +0.0000 to +0.7500 (paired bootstrap");
    has(text,
        "McNemar    p = 1 (exact, two-sided; 0 lost, 1 won); p > 0.05 is not proof of equality");
    has(text, "\nclass\tmodel\tsport\t0.6667\t1.0000\t0.8000\t2\t3\n");
    has(text, "\nconfusion\tbaseline\ta b\t1\t1\n");
    has(text, "texts/s");
    has(text, "95 % interval -0.5000 to +0.8750 (score, Tango)");
    has(text, "stated: 30 W (--watts) for the time of a pass; 500 gCO2e/kWh (a test)");
    tap_ok(!strstr(text, "margin"), "no margin: not a word of it");
    free(text);
    report.margin = 0.015;
    report.compare.noninferior_p = 0.0625;
    report.compare.lowest = -0.25;
    report.energy = ENERGY_UNKNOWN;
    report.energy_text = "no counters";
    report.model.joules = NAN;
    text = written(&report, report_text);
    has(text, "not worse by 1.5 points of accuracy: not shown (one-sided p = 0.0625");
    has(text, "above -0.2500)");
    has(text, "energy     unknown: no counters; say");
    free(text);
    report.margin = 0.01;
    report.compare.noninferior_p = 0.0125;
    report.energy = ENERGY_ESTIMATED;
    text = written(&report, report_text);
    has(text, "not worse by 1 point of accuracy: shown (one-sided p = 0.0125");
    has(text, "estimated, not measured (no counters): 2 threads x 4 W");
    free(text);
    report_free(&report);

    fill(&report, false, false);
    text = written(&report, report_text);
    tap_ok(!strstr(text, "baseline") && !strstr(text, "texts/s") && !strstr(text, "McNemar"),
           "no baseline, no timing: not a word of them");
    free(text);
    report_free(&report);
}

/* Number at a path of keys, NaN when it is not one. */
static double at(const json_t *object, const char *key, const char *inner)
{
    const json_t *value = json_object_get(object, key);
    if (inner)
        value = json_object_get(value, inner);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void test_json(void)
{
    struct report report;
    fill(&report, true, true);
    char *text = written(&report, report_json);
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    const json_t *model = json_object_get(object, "model"),
                 *baseline = json_object_get(object, "baseline"),
                 *compare = json_object_get(object, "compare");
    tap_ok(object != NULL, "is JSON");
    tap_is(json_string_value(json_object_get(object, "stream")), "caf?.tok", "names become UTF-8");
    tap_ok(at(object, "n", NULL) == 4 && at(object, "unlabelled", NULL) == 1 &&
               at(object, "length", "mean") == 7 && at(object, "setup", "threads") == 2,
           "counts and setup");
    tap_ok(at(model, "accuracy", NULL) == 0.75 && at(model, "parameters", NULL) == 1234 &&
               at(model, "bytes", NULL) == 4936 && at(model, "texts_per_s", NULL) == 100 &&
               at(model, "latency_ms", "p50") == 1.5 && at(model, "latency_ms", "p95") == 2.5 &&
               fabs(at(model, "macro_f1", NULL) - (0.8 + 2. / 3) / 2) < 1e-12,
           "model");
    tap_ok(at(baseline, "accuracy", NULL) == 0.5 &&
               json_is_null(json_object_get(baseline, "parameters")) &&
               json_is_null(json_object_get(baseline, "texts_per_s")),
           "what is unknown of the baseline is null");
    tap_ok(at(compare, "accuracy_difference", NULL) == 0.25 &&
               at(compare, "mcnemar_p", NULL) == 1 && at(compare, "won", NULL) == 1 &&
               at(compare, "lost", NULL) == 0 && at(compare, "agreement", NULL) == 0.75 &&
               json_is_null(json_object_get(compare, "speedup")) &&
               json_array_size(json_object_get(compare, "ci95")) == 2,
           "compare");
    const json_t *row = json_array_get(json_object_get(model, "confusion"), 1);
    tap_ok(json_integer_value(json_array_get(row, 0)) == 1 &&
               json_array_size(json_object_get(model, "per_class")) == 2,
           "confusion matrix and classes");
    json_decref(object);
    free(text);
    report_free(&report);

    fill(&report, false, false);
    text = written(&report, report_json);
    object = json_loads(text, 0, NULL);
    tap_ok(json_is_null(json_object_get(object, "baseline")) &&
               json_is_null(json_object_get(object, "compare")),
           "no baseline: null, but there");
    json_decref(object);
    free(text);
    report_free(&report);
}

static void test_tsv(void)
{
    struct report report;
    fill(&report, true, true);
    report.stream = "a\tb";
    char *text = written(&report, report_tsv);
    has(text, "n\t4\n");
    has(text, "\nstream\ta b\n");
    has(text, "\nmodel.accuracy\t0.75\n");
    has(text, "\nmodel.accuracy_ci95.1\t0.95\n");
    has(text, "\nmodel.flops_per_text\t11000\n");
    has(text, "\nmodel.latency_ms.p95\t2.5\n");
    has(text, "\nmodel.peak_memory_bytes\t5000000\n");
    /* 7.2 J a pass of 5 texts: 1440 J for 1000, and 0.0004 kWh of 500 g. */
    has(text, "\nmodel.joules_per_1000_texts\t1440\n");
    has(text, "\nmodel.gco2e_per_1000_texts\t0.2\n");
    has(text, "\nbaseline.parameters\t-\n");
    has(text, "\ncompare.speedup\t-\n");
    has(text, "\nmulti_label\tfalse\n");
    tap_ok(!strstr(text, "per_class") && !strstr(text, "confusion"), "no tables");
    free(text);
    report_free(&report);
    fill(&report, false, false);
    text = written(&report, report_tsv);
    has(text, "\nbaseline\t-\ncompare\t-\n");
    free(text);
    report_free(&report);
}

int main(void)
{
    test_text();
    test_tsv();
    test_json();
    return tap_done();
}
