/* test_ngram_fit.c: L-BFGS on a function whose minimum is known; the gradient of the n-gram
 * objective by finite differences; its value against a slow reference; what a fit gives. */
#include "nn/ngram_problem.h"

#include "nn/lbfgs.h"
#include "tests/tap.h"
#include "tests/unit/tiny_grams.h"

enum { CLASSES = TINY_GRAMS_CLASSES, RECORDS = TINY_GRAMS_RECORDS };

static struct tiny_grams tiny;

/* ---- L-BFGS ---- */

/* Rosenbrock's valley, minimum 0 at (1, 1, 1, 1). */
static bool valley(void *context, const float *x, double *value, float *gradient, struct error *err)
{
    (void)context, (void)err;
    *value = 0;
    memset(gradient, 0, 4 * sizeof *gradient);
    for (size_t i = 0; i < 3; i++) {
        double a = (double)x[i], b = (double)x[i + 1];
        *value += 100 * (b - a * a) * (b - a * a) + (1 - a) * (1 - a);
        gradient[i] += (float)(-400 * a * (b - a * a) - 2 * (1 - a));
        gradient[i + 1] += (float)(200 * (b - a * a));
    }
    return true;
}

static void test_lbfgs(void)
{
    struct error err = ERROR_INIT;
    struct lbfgs_result result;
    const struct lbfgs_options options = {.memory = 3, .iterations = 200, .tolerance = 1e-5};
    float x[] = {-1.2F, 1, -0.5F, 2};
    static const float one[] = {1, 1, 1, 1};
    tiny_grams_need(lbfgs_minimise(valley, NULL, x, 4, &options, &result, &err), &err);
    tap_close(x, one, 4, 1e-3, "the bottom of a curved valley is found");
    tap_ok(result.iterations < 100 && result.gradient_norm < 1e-3,
           "in %zu iterations, gradient %.2g", result.iterations, result.gradient_norm);
}

/* ---- the objective ---- */

static double reference_term(const struct ngram_fit_options *o, const struct record *r,
                             const double *z)
{
    double student = 0, teacher = 0, ce = 0, kl = 0, plain = 0, t = o->temperature;
    for (size_t c = 0; c < CLASSES; c++) {
        plain += exp(z[c]);
        student += exp(z[c] / t);
        teacher += exp((double)r->logits[c] / t);
    }
    if (r->labelled)
        ce = log(plain) - z[r->label];
    for (size_t c = 0; c < CLASSES; c++) {
        double q = exp((double)r->logits[c] / t) / teacher, p = exp(z[c] / t) / student;
        kl += q * log(q / p);
    }
    return o->distil ? (1 - o->alpha) * ce + o->alpha * t * t * kl : ce;
}

static double reference_terms(const struct ngram_fit_options *o, const struct record *r,
                              const double *z)
{
    double ce = 0, kl = 0, t = o->temperature;
    for (size_t c = 0; c < CLASSES; c++) {
        bool yes = false;
        for (size_t k = 0; k < r->n_label_ids; k++)
            yes |= r->label_id[k] == (int32_t)c;
        double p = 1 / (1 + exp(-z[c])), s = 1 / (1 + exp(-z[c] / t));
        double q = 1 / (1 + exp(-(double)r->logits[c] / t));
        ce -= log(yes ? p : 1 - p);
        kl += q * log(q / s) + (1 - q) * log((1 - q) / (1 - s));
    }
    ce = r->labelled ? ce : 0;
    return (o->distil ? (1 - o->alpha) * ce + o->alpha * t * t * kl : ce) / CLASSES;
}

static double reference_hinges(const struct record *r, const double *z)
{
    double sum = 0;
    for (size_t c = 0; c < CLASSES; c++) {
        bool yes = r->label == (int32_t)c;
        for (size_t k = 0; tiny.set.header.separator && k < r->n_label_ids; k++)
            yes |= r->label_id[k] == (int32_t)c;
        double lacks = yes ? 1 - z[c] : 1 + z[c];
        sum += lacks > 0 ? lacks * lacks : 0;
    }
    return sum;
}

/* Value of the objective by loops over everything: document frequencies, features, losses. */
static double reference_value(const struct ngram_fit_options *o, const float *w, size_t stride)
{
    size_t n = 0, rows = 0, df[TINY_GRAMS_BUCKETS] = {0}, row_of[TINY_GRAMS_BUCKETS];
    double sum = 0, square = 0;
    bool used[RECORDS];
    for (size_t i = 0; i < RECORDS; i++) {
        struct record r = records_get(&tiny.set, i);
        used[i] = o->distil || r.labelled;
        n += used[i];
        for (int32_t b = 0; used[i] && b < TINY_GRAMS_BUCKETS; b++)
            for (size_t k = 0; k < r.n_grams; k++)
                if (r.gram[k] == b) {
                    df[b]++;
                    break;
                }
    }
    for (size_t b = 0; b < TINY_GRAMS_BUCKETS; b++)
        row_of[b] = df[b] >= o->min_df && df[b] ? rows++ : SIZE_MAX;
    for (size_t i = 0; i < RECORDS; i++) {
        struct record r = records_get(&tiny.set, i);
        double feature[TINY_GRAMS_BUCKETS] = {0}, length = 0, z[CLASSES];
        if (!used[i])
            continue;
        for (int32_t b = 0; b < TINY_GRAMS_BUCKETS; b++) {
            double times = 0;
            for (size_t k = 0; k < r.n_grams; k++)
                times += r.gram[k] == b;
            if (times > 0 && row_of[b] != SIZE_MAX)
                feature[b] = (1 + log(times)) * (log((1 + (double)n) / (1 + (double)df[b])) + 1);
            length += feature[b] * feature[b];
        }
        for (size_t c = 0; c < CLASSES; c++) {
            z[c] =
                (double)w[rows * stride + c] + (o->offset ? (double)o->offset[i * CLASSES + c] : 0);
            for (size_t b = 0; b < TINY_GRAMS_BUCKETS; b++)
                if (feature[b] > 0)
                    z[c] += feature[b] / sqrt(length) * (double)w[row_of[b] * stride + c];
        }
        if (o->loss == NGRAM_HINGE)
            sum += reference_hinges(&r, z);
        else
            sum += tiny.set.header.separator ? reference_terms(o, &r, z) : reference_term(o, &r, z);
    }
    for (size_t k = 0; k < rows * stride; k++)
        square += (double)w[k] * (double)w[k];
    return sum / (double)n + o->l2 / 2 * square;
}

static void test_objective(enum ngram_loss loss, bool several, bool distil, bool offset,
                           const char *what)
{
    struct error err = ERROR_INIT;
    struct ngram_fit_options o;
    float offsets[RECORDS * CLASSES];
    double value, up, down;
    ngram_fit_defaults(&o);
    o.loss = loss;
    o.l2 = 0.01;
    o.distil = distil;
    tiny_grams_make(&tiny, several);
    for (size_t i = 0; i < RECORDS * CLASSES; i++)
        offsets[i] = (float)(rng_hash(3, i) % 100) / 50 - 1;
    o.offset = offset ? offsets : NULL;
    struct ngram_problem *problem = ngram_problem_open(&tiny.set, NULL, 0, &o, &err);
    tiny_grams_need(problem != NULL, &err);
    size_t n = ngram_problem_size(problem), stride = ngram_problem_stride(CLASSES);
    float *w = calloc(n, sizeof *w), *gradient = malloc(n * sizeof *gradient);
    float *other = malloc(n * sizeof *other);
    for (size_t k = 0; k < n; k++)
        if (k % stride < CLASSES)
            w[k] = (float)(rng_hash(5, k) % 1000) / 400 - 1.2F;
    tiny_grams_need(ngram_problem_value(problem, w, &value, gradient, &err), &err);
    double reference = reference_value(&o, w, stride);
    /* Logits are sums of floats of size 1: 1e-6 each, and so their means. */
    tap_ok(fabs(value - reference) < 2e-5 * fabs(reference), "%s: value %.7g, by slow loops %.7g",
           what, value, reference);
    double worst = 0;
    /* Central differences of a step 0.01: the third derivative gives 1e-4 of size at most; values
     * are exact to 1e-7, divided by 0.02. The slope of a squared hinge has a kink: where a record
     * passes it within the step, its share, 2/records times the step, is off by a quarter. */
    double limit = loss == NGRAM_HINGE ? 2e-4 : 5e-5;
    for (size_t k = 0; k < n; k++) {
        float kept = w[k];
        if (k % stride >= CLASSES) {
            worst = fmax(worst, fabs((double)gradient[k]) * 1e6);
            continue;
        }
        w[k] = kept + 0.01F;
        double step = (double)w[k];
        tiny_grams_need(ngram_problem_value(problem, w, &up, other, &err), &err);
        w[k] = kept - 0.01F;
        step -= (double)w[k];
        tiny_grams_need(ngram_problem_value(problem, w, &down, other, &err), &err);
        w[k] = kept;
        worst = fmax(worst, fabs((up - down) / step - (double)gradient[k]));
    }
    tap_ok(worst < limit, "%s: the gradient is that of finite differences, to %.2g", what, worst);
    free(other);
    free(gradient);
    free(w);
    ngram_problem_close(problem);
}

/* ---- fits ---- */

static double right(const float *logits)
{
    double n = 0, good = 0;
    for (size_t i = 0; i < RECORDS; i++, logits += CLASSES) {
        struct record r = records_get(&tiny.set, i);
        size_t best = logits[1] > logits[0] ? 1 : 0;
        best = logits[2] > logits[best] ? 2 : best;
        n += r.labelled;
        good += r.labelled && r.label == (int32_t)best;
    }
    return good / n;
}

static void test_fit(enum ngram_loss loss)
{
    struct error err = ERROR_INIT;
    struct ngram_fit_options o;
    struct ngram_fit_result result;
    struct ngram_part part, again;
    float logits[RECORDS * CLASSES], out[RECORDS * CLASSES];
    struct device *dev = device_cpu_open(1, &err);
    struct threads *team = threads_open(2, &err);
    tiny_grams_make(&tiny, false);
    ngram_fit_defaults(&o);
    o.loss = loss;
    o.l2 = loss == NGRAM_HINGE ? NAN : 1e-3;
    tiny_grams_need(dev && team && ngram_fit(&part, &tiny.set, NULL, 0, &o, &result, &err), &err);
    tap_ok(result.records == RECORDS - 8 && part.rows == result.rows && part.rows <= 60,
           "%zu labelled records, %zu rows", result.records, result.rows);
    tiny_grams_need(ngram_fit_answer(&part, &tiny.set, dev, logits, &err), &err);
    tap_ok(right(logits) > 0.95, "learnt: %.2f of the labels right", right(logits));
    o.team = team;
    tiny_grams_need(ngram_fit(&again, &tiny.set, NULL, 0, &o, NULL, &err), &err);
    tap_ok(memcmp(part.weight, again.weight, part.rows * CLASSES * sizeof(float)) == 0 &&
               memcmp(part.bias, again.bias, CLASSES * sizeof(float)) == 0,
           "two threads give the same bytes");
    tiny_grams_need(ngram_fit_out_of_fold(&tiny.set, 5, 1, &o, dev, out, &err), &err);
    tap_ok(right(out) < right(logits) && right(out) > 0.5,
           "out of fold %.2f are right, fewer than of what was learnt", right(out));
    ngram_part_free(&part);
    ngram_part_free(&again);
    threads_close(team);
    dev->op->close(dev);
}

/* What millet.json keeps comes back, also from before there were hinges; what it cannot mean is
 * refused. */
static void test_described(void)
{
    struct error err = ERROR_INIT, bad = ERROR_INIT;
    struct ngram_fit_options hinge, back, old;
    ngram_fit_defaults(&hinge);
    hinge.loss = NGRAM_HINGE;
    hinge.min_df = 3;
    ngram_fit_defaults(&back);
    ngram_fit_defaults(&old);
    json_t *described = ngram_fit_describe(&hinge), *before = json_pack("{s:f}", "l2", 0.5);
    tiny_grams_need(ngram_fit_recall(&back, described, "millet.json", &err) &&
                        ngram_fit_recall(&old, before, "millet.json", &err),
                    &err);
    tap_ok(back.loss == NGRAM_HINGE && isnan(back.l2) && back.min_df == 3, "hinges come back");
    tap_ok(old.loss == NGRAM_LOGISTIC && old.l2 > 0.49, "no loss said: logistic");
    json_object_set_new(before, "loss", json_string("square"));
    tap_ok(!ngram_fit_recall(&old, before, "millet.json", &bad) && strstr(bad.text, "square"),
           "refused: %s", bad.text);
    json_decref(described);
    json_decref(before);
}

static void test_refusals(void)
{
    struct ngram_fit_options o;
    struct ngram_part part;
    const struct {
        const char *what;
        int change;
    } cases[] = {
        {"mtok --ngrams", 0}, {"no n-gram occurs in 1000", 1}, {"mteach", 2}, {"labels alone", 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = ERROR_INIT;
        tiny_grams_make(&tiny, false);
        ngram_fit_defaults(&o);
        if (cases[i].change == 0)
            tiny.set.header.grams.buckets = 0;
        if (cases[i].change == 1)
            o.min_df = 1000;
        if (cases[i].change == 2) {
            o.distil = true;
            tiny.set.has_logits = false;
        }
        if (cases[i].change == 3) {
            o.distil = true;
            o.loss = NGRAM_HINGE;
        }
        bool ok = ngram_fit(&part, &tiny.set, NULL, 0, &o, NULL, &err);
        tap_ok(!ok && strstr(err.text, cases[i].what), "refused: %s", err.text);
    }
}

int main(void)
{
    test_lbfgs();
    test_objective(NGRAM_LOGISTIC, false, false, false, "labels");
    test_objective(NGRAM_LOGISTIC, false, true, false, "labels and a teacher");
    test_objective(NGRAM_LOGISTIC, false, true, true, "labels and a teacher, on offsets");
    test_objective(NGRAM_LOGISTIC, true, false, false, "several labels");
    test_objective(NGRAM_LOGISTIC, true, true, false, "several labels and a teacher");
    test_objective(NGRAM_HINGE, false, false, false, "hinges");
    test_objective(NGRAM_HINGE, true, false, false, "hinges, several labels");
    test_fit(NGRAM_LOGISTIC);
    test_fit(NGRAM_HINGE);
    test_described();
    test_refusals();
    return tap_done();
}
