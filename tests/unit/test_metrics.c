/* test_metrics.c: predictions, F1, confusion matrix and pair counts on cases small enough to work
 * out by hand. */
#include <stdint.h>

#include "score/metrics.h"
#include "tests/tap.h"

static bool near(double found, double expected)
{
    return fabs(found - expected) <= 1e-12;
}

static void test_argmax(void)
{
    tap_ok(metrics_argmax((const float[]){-3, 2, 1}, 3) == 1, "largest logit");
    tap_ok(metrics_argmax((const float[]){2, 5, 5}, 3) == 1, "first of equal logits");
    tap_ok(metrics_argmax((const float[]){-9}, 1) == 0, "a single label");
    tap_ok(metrics_finite((const float[]){0, -3e38f, 1}, 3) == 3, "finite");
    tap_ok(metrics_finite((const float[]){0, NAN, 1}, 3) == 1, "NaN is found");
    tap_ok(metrics_finite((const float[]){-INFINITY, 1}, 2) == 0, "infinity is found");
    tap_ok(metrics_finite(NULL, 0) == 0, "nothing is finite");
}

static void test_softmax(void)
{
    double p[3];
    metrics_softmax((const float[]){0, 0, 0}, 3, p);
    tap_ok(near(p[0], 1. / 3) && near(p[2], 1. / 3), "equal logits share the probability");
    metrics_softmax((const float[]){1000, 1000, -1000}, 3, p);
    tap_ok(near(p[0], 0.5) && p[2] == 0, "large logits do not overflow");
    metrics_softmax((const float[]){2, 1}, 2, p);
    tap_ok(near(p[0], 1 / (1 + exp(-1.))), "two logits: the logistic function of their difference");
}

/* label 0 0 0 1 1 2, predicted 0 0 1 1 0 1, and one record without a label. */
static void test_by_hand(void)
{
    const int32_t label[] = {0, 0, -1, 0, 1, 1, 2}, predicted[] = {0, 0, 2, 1, 1, 0, 1};
    const uint64_t confusion[] = {2, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0};
    struct error err = ERROR_INIT;
    struct metrics m;
    if (!tap_ok(metrics_compute(&m, label, predicted, 7, 4, &err), "computed"))
        return;
    tap_ok(m.n == 6 && m.correct == 3 && near(m.accuracy, 0.5), "unlabelled record left out");
    tap_ok(memcmp(m.confusion, confusion, sizeof confusion) == 0, "confusion matrix");
    tap_ok(near(m.class[0].f1, 2. / 3) && near(m.class[1].f1, 0.4) && m.class[2].f1 == 0,
           "F1 by class");
    tap_ok(near(m.class[1].precision, 1. / 3) && near(m.class[1].recall, 0.5),
           "precision and recall");
    tap_ok(isnan(m.class[2].precision) && m.class[2].recall == 0, "never predicted: no precision");
    tap_ok(isnan(m.class[3].f1) && isnan(m.class[3].recall), "absent class has no F1");
    tap_ok(near(m.macro_f1, (2. / 3 + 0.4) / 3), "macro F1 leaves the absent class out");
    tap_ok(near(m.weighted_f1, (3 * 2. / 3 + 2 * 0.4) / 6), "weighted F1");
    metrics_free(&m);
}

static void test_edges(void)
{
    struct error err = ERROR_INIT;
    struct metrics m;
    tap_ok(metrics_compute(&m, (const int32_t[]){1}, (const int32_t[]){1}, 1, 2, &err) &&
               m.accuracy == 1 && m.macro_f1 == 1 && m.weighted_f1 == 1,
           "one record, right");
    metrics_free(&m);
    tap_ok(metrics_compute(&m, (const int32_t[]){0}, (const int32_t[]){1}, 1, 2, &err) &&
               m.accuracy == 0 && m.macro_f1 == 0,
           "one record, wrong");
    metrics_free(&m);
    tap_ok(metrics_compute(&m, (const int32_t[]){-1}, (const int32_t[]){1}, 1, 2, &err) &&
               m.n == 0 && isnan(m.accuracy) && isnan(m.macro_f1) && isnan(m.weighted_f1),
           "no label at all: nothing is claimed");
    metrics_free(&m);
    tap_ok(!metrics_compute(&m, NULL, NULL, 0, SIZE_MAX, &err) && err.set && !m.confusion,
           "a hostile number of labels is refused");
}

static void test_pair(void)
{
    const int32_t label[] = {0, 0, 0, 1, 1, -1, -1}, model[] = {0, 0, 1, 0, 1, 1, 0},
                  baseline[] = {0, 1, 0, 0, 0, 1, 1};
    struct metrics_pair pair = metrics_compare(label, model, baseline, 7);
    tap_ok(pair.both_right == 1 && pair.won == 2 && pair.lost == 1 && pair.both_wrong == 1,
           "four cells over the labelled records");
    tap_ok(pair.agree == 3 && pair.n_all == 7, "agreement over all records");
}

/* Wanted {0,2} {} {1} ? {2}, given {0} {} {1,2} {0} {2}. */
static void test_sets(void)
{
    static const int32_t ids[] = {0, 2, 1};
    struct error err = ERROR_INIT;
    struct label_sets sets;
    struct metrics m;
    tap_ok(label_sets_open(&sets, 3, &err), "sets of three labels %s", err.text);
    int32_t both = label_sets_of_ids(&sets, ids, 2, &err),
            none = label_sets_of_ids(&sets, NULL, 0, &err),
            one = label_sets_of_ids(&sets, ids + 2, 1, &err),
            two = label_sets_of_logits(&sets, (const float[]){-1, 0, 0.5F}, &err),
            first = label_sets_of_logits(&sets, (const float[]){3, -2, -1}, &err),
            last = label_sets_of_logits(&sets, (const float[]){-3, 2, 1}, &err);
    tap_ok(two == label_sets_of_ids(&sets, ids + 1, 1, &err) && two != both &&
               none == label_sets_of_logits(&sets, (const float[]){-1, -1, -1}, &err),
           "equal sets have equal numbers; a probability of one half is not above it");
    tap_ok(label_sets_has(&sets, both, 0) && !label_sets_has(&sets, both, 1) &&
               label_sets_has(&sets, both, 2) && !label_sets_has(&sets, none, 2),
           "what is in a set");
    const int32_t label[] = {both, none, one, -1, two},
                  predicted[] = {first, none, last, first, two};
    tap_ok(metrics_compute_sets(&m, &sets, label, predicted, 5, &err), "counted %s", err.text);
    tap_ok(m.n == 4 && m.correct == 2 && near(m.accuracy, 0.5) && !m.confusion,
           "two of four match exactly");
    tap_ok(near(m.class[0].f1, 1) && near(m.class[1].f1, 1) && near(m.class[2].f1, 0.5) &&
               m.class[2].support == 2 && m.class[2].predicted == 2,
           "per label");
    tap_ok(near(m.micro_f1, 0.75) && near(m.macro_f1, 2.5 / 3) && near(m.weighted_f1, 0.75),
           "micro, macro, weighted F1: %g %g %g", m.micro_f1, m.macro_f1, m.weighted_f1);
    metrics_free(&m);
    label_sets_close(&sets);
    static const int32_t far[] = {7, 8, 64};
    tap_ok(label_sets_open(&sets, 65, &err) &&
               label_sets_has(&sets, label_sets_of_ids(&sets, far, 3, &err), 64) &&
               label_sets_has(&sets, 0, 8) && !label_sets_has(&sets, 0, 63),
           "sets of many labels");
    label_sets_close(&sets);
    double p[2];
    metrics_sigmoid((const float[]){0, -1000}, 2, p);
    tap_ok(near(p[0], 0.5) && p[1] == 0, "sigmoids");
}

int main(void)
{
    test_sets();
    test_argmax();
    test_softmax();
    test_by_hand();
    test_edges();
    test_pair();
    return tap_done();
}
