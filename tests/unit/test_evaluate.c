/* test_evaluate.c: a whole score of logits that stand in two parts of a stream, worked out by hand;
 * and what is refused. */
#include <stdint.h>

#include "score/evaluate.h"
#include "tests/tap.h"

static char *labels[] = {"no", "yes"};

/* Five records: right, wrong, unlabelled | right, right. */
static const int64_t offset_a[] = {0, 2, 5, 9}, offset_b[] = {0, 3, 4};
static const int32_t id[9] = {0};
static const int32_t label_a[] = {0, 1, -1}, label_b[] = {1, 1};
static const float logits_a[] = {1, 0, 3, 2, 0, 5}, logits_b[] = {-1, 0, 0, 0.5f};

static void fill(struct records_set *set, struct records_part part[2], size_t first[3])
{
    part[0] = (struct records_part){
        .n = 3, .offset = offset_a, .id = id, .n_tokens = 9, .label = label_a, .logits = logits_a};
    part[1] = (struct records_part){
        .n = 2, .offset = offset_b, .id = id, .n_tokens = 4, .label = label_b, .logits = logits_b};
    first[0] = 0;
    first[1] = 3;
    first[2] = 5;
    *set = (struct records_set){.header = {.label = labels, .n_labels = 2},
                                .part = part,
                                .n_parts = 2,
                                .first = first,
                                .n = 5,
                                .n_tokens = 13,
                                .longest = 4,
                                .has_logits = true};
}

static bool score(const struct records_set *set, bool twice, struct report *report,
                  struct error *err)
{
    struct evaluate_options options = {.margin = 0.9, .watts = NAN, .seed = 1};
    struct subject carried;
    *report = (struct report){.version = "0", .threads = 1};
    return subject_open(&carried, NULL, NULL, NULL, err) &&
           evaluate(&carried, twice ? &carried : NULL, set, "s.tok", &options, NULL, report, err);
}

static void test_by_hand(void)
{
    struct records_set set;
    struct records_part part[2];
    size_t first[3];
    struct report report;
    struct error err = ERROR_INIT;
    fill(&set, part, first);
    if (!tap_ok(score(&set, true, &report, &err), "scored %s", err.text))
        return;
    tap_ok(report.n == 4 && report.n_unlabelled == 1, "unlabelled record counted apart");
    tap_ok(report.model.metrics.correct == 3 && report.model.metrics.accuracy == 0.75, "accuracy");
    tap_ok(report.model.metrics.confusion[2] == 1 && report.model.metrics.confusion[3] == 2,
           "confusion over both parts");
    tap_ok(fabs(report.mean_tokens - 13. / 5) < 1e-12 && report.longest == 4, "lengths");
    tap_ok(report.compare.accuracy_difference == 0 && report.compare.agreement == 1 &&
               report.compare.mcnemar_p == 1 && report.compare.pair.n_all == 5,
           "against itself");
    struct interval score = significance_tango_ci95(4, 0, 0);
    double lowest;
    tap_ok(report.compare.score_ci95.low == score.low &&
               report.compare.score_ci95.high == score.high,
           "the score interval is of the labelled records");
    tap_ok(report.margin == 0.9 &&
               report.compare.noninferior_p == significance_noninferior(4, 0, 0, 0.9, &lowest) &&
               report.compare.lowest == lowest,
           "so is the test of the margin");
    tap_ok(!report.model.is_model && !report.model.timed && isnan(report.compare.speedup) &&
               isnan(report.model.joules) && report.energy == ENERGY_UNKNOWN,
           "nothing claimed that was not measured");
    report_free(&report);
}

/* A baseline with a stream of its own: the same records, or an error that names the first other. */
static void test_twin(void)
{
    static const int32_t other_label[] = {1, 0};
    static char *other_names[] = {"yes", "no"};
    struct records_set set, twin;
    struct records_part part[2], twin_part[2];
    size_t first[3], twin_first[3];
    struct report report;
    struct error err = ERROR_INIT;
    struct evaluate_options options = {
        .margin = NAN, .watts = NAN, .baseline_set = &twin, .baseline_stream = "t.tok"};
    struct subject carried;
    fill(&set, part, first);
    fill(&twin, twin_part, twin_first);
    static const float better[] = {1, 0, 2, 3, 0, 5};
    twin_part[0].logits = better;
    report = (struct report){.version = "0"};
    tap_ok(subject_open(&carried, NULL, NULL, NULL, &err) &&
               evaluate(&carried, &carried, &set, "s.tok", &options, NULL, &report, &err) &&
               report.compare.pair.lost == 1 && report.compare.pair.won == 0 &&
               report.baseline.metrics.correct == 4,
           "each on its own stream %s", err.text);
    report_free(&report);
    for (int what = 0; what < 3; what++) {
        fill(&twin, twin_part, twin_first);
        if (what == 0)
            twin_part[1].label = other_label;
        else if (what == 1)
            twin.header.label = other_names;
        else
            twin.n = 4;
        report = (struct report){.version = "0"};
        bool ok = evaluate(&carried, &carried, &set, "s.tok", &options, NULL, &report, &err);
        static const char *const expected[] = {"t.tok: record 5 is another",
                                               "t.tok: its labels are",
                                               "t.tok: has 4 records, but s.tok has 5"};
        tap_ok(!ok && strstr(err.text, expected[what]), "%s", err.text);
        error_clear(&err);
        report_free(&report);
    }
}

static void refused(const struct records_set *set, const char *expected)
{
    struct report report;
    struct error err = ERROR_INIT;
    bool ok = score(set, false, &report, &err);
    if (!tap_ok(!ok && strstr(err.text, expected), "refused: %s", expected))
        printf("# %s\n", err.text);
    report_free(&report);
}

static void test_refusals(void)
{
    struct records_set set;
    struct records_part part[2];
    size_t first[3];
    static const float damaged[] = {0, 1, NAN, 0};
    static const int32_t none[] = {-1, -1, -1};
    fill(&set, part, first);
    part[1].logits = damaged;
    refused(&set, "s.tok: record 5: logits of the stream");
    part[1].logits = NULL;
    refused(&set, "s.tok: the stream carries no logits");
    fill(&set, part, first);
    part[0].label = part[1].label = none;
    refused(&set, "--predict");
    set.n = set.n_parts = 0;
    refused(&set, "s.tok: holds no records");
    fill(&set, part, first);
    set.header.n_labels = 0;
    refused(&set, "no labels");
}

int main(void)
{
    test_by_hand();
    test_twin();
    test_refusals();
    return tap_done();
}
