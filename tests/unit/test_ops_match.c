/* Losses on a teacher's states: every device against the reference, the reference against finite
 * differences, and values known by hand. */
#include "tests/unit/ops_trial.h"

#include <math.h>

/* Sequences of 1, 9, 40, 3 and 97 rows. */
static const int32_t offset[] = {0, 1, 10, 50, 53, 150};
enum { SEQUENCES = 5, ROWS = 150, LONGEST = 97 };

struct match_case {
    enum match_kind kind;
    size_t cols;
};

/* Values of size 1. Sums over `cols` products on the way: relative error cols ε of the loss, whose
 * size is at most 4, and of the direction's cosine; the gradients are below 4 weight / (rows |x|). */
static void match_case(struct trial *t, const void *context)
{
    const struct match_case *c = context;
    const struct match match = {.kind = c->kind, .weight = 0.7F, .scale = 0.25F};
    struct seqs seqs = {SEQUENCES, ROWS, LONGEST, trial_ints(t, offset, SEQUENCES + 1)};
    size_t n = ROWS * c->cols;
    double tolerance = (4 * (double)c->cols + 16) * EPSILON;
    act *x = trial_act(t, n, 1), *target = trial_act(t, n, 1);
    float *loss = trial_change_floats(t, "loss", SEQUENCES, tolerance);
    t->dev->op->match(t->dev, &match, x, target, &seqs, c->cols, loss,
                      trial_out(t, "dx", n, tolerance));
}

struct relation_case {
    size_t heads, cols, target_cols, beside; /* beside: columns of others between rows */
};

/* Scores are sums of `cols` / heads products divided by its root, of size 1 but for a row with
 * itself, whose size is that root; the same error in a logarithm of a probability, and twice that
 * times 97 in a sum over rows, which is divided by their number. The expf of the library is good to an ε or two. */
static void relation_case(struct trial *t, const void *context)
{
    const struct relation_case *c = context;
    size_t stride = c->cols + c->beside, target_stride = c->target_cols + 2 * c->beside;
    double d = (double)(c->cols > c->target_cols ? c->cols : c->target_cols) / (double)c->heads;
    double tolerance = (8 * d + 64) * EPSILON * (1 + sqrt(d));
    struct relation relation = {
        .seqs = {SEQUENCES, ROWS, LONGEST, trial_ints(t, offset, SEQUENCES + 1)},
        .heads = c->heads,
        .cols = c->cols,
        .stride = stride,
        .target_cols = c->target_cols,
        .target_stride = target_stride,
        .weight = 0.5F,
        .scale = 0.25F};
    act *x = trial_act(t, ROWS * stride, 1), *target = trial_act(t, ROWS * target_stride, 1);
    float *loss = trial_change_floats(t, "loss", SEQUENCES, tolerance);
    t->dev->op->relation(t->dev, &relation, x, target, loss,
                         trial_out(t, "dx", ROWS * stride, tolerance));
}

/* ---- gradients of the reference ---- */

enum { COLS = 12, SMALL_ROWS = 9 };

struct problem {
    struct device *dev;
    float x[SMALL_ROWS * COLS], target[SMALL_ROWS * COLS], dx[SMALL_ROWS * COLS];
    int kind; /* of match; 2: relation */
};

static double loss_of(struct problem *p)
{
    static const int32_t small_offset[] = {0, 5, 6, 9};
    const struct seqs seqs = {3, SMALL_ROWS, 5, small_offset};
    float loss[3] = {0};
    if (p->kind < 2) {
        const struct match match = {(enum match_kind)p->kind, 0.7F, 1};
        p->dev->op->match(p->dev, &match, (act *)(void *)p->x, (act *)(void *)p->target, &seqs,
                          COLS, loss, (act *)(void *)p->dx);
    } else {
        const struct relation relation = {seqs, 3, COLS, COLS, COLS, COLS, 0.7F, 1};
        p->dev->op->relation(p->dev, &relation, (act *)(void *)p->x, (act *)(void *)p->target, loss,
                             (act *)(void *)p->dx);
    }
    return (double)loss[0] + (double)loss[1] + (double)loss[2];
}

/* Step 1e-2: a loss of size 3 in floats has 2e-7 of noise, 1e-5 in a difference quotient; the
 * truncation is h²/6 of third derivatives of size 1 to 10: 2e-4. */
static void test_gradient(struct problem *p, const char *what)
{
    struct rng rng;
    float dx[SMALL_ROWS * COLS];
    double worst = 0;
    rng_seed(&rng, 12);
    for (size_t i = 0; i < SMALL_ROWS * COLS; i++) {
        p->x[i] = (float)rng_normal(&rng);
        p->target[i] = (float)rng_normal(&rng);
    }
    loss_of(p);
    memcpy(dx, p->dx, sizeof dx);
    for (size_t i = 0; i < SMALL_ROWS * COLS; i++) {
        float old = p->x[i];
        p->x[i] = old + 0.01F;
        double up = loss_of(p);
        p->x[i] = old - 0.01F;
        double slope = (up - loss_of(p)) / 0.02;
        p->x[i] = old;
        worst = fmax(worst, fabs(slope - (double)dx[i]));
    }
    tap_ok(worst <= 5e-4, "%s: gradient by differences, off by %.2g", what, worst);
    memcpy(p->x, p->target, sizeof p->x);
    double none = loss_of(p);
    bool flat = fabs(none) <= 1e-6;
    for (size_t i = 0; i < SMALL_ROWS * COLS; i++)
        flat = flat && fabs((double)p->dx[i]) <= 1e-6;
    tap_ok(flat, "%s: nothing to learn from oneself (%.2g)", what, none);
}

/* Two rows of one column: known by hand. */
static void test_by_hand(struct device *dev)
{
    static const int32_t two[] = {0, 2};
    const struct seqs seqs = {1, 2, 2, two};
    float x[2] = {3, 0}, target[2] = {-1, 2}, dx[2], loss = 1;
    const struct match squared = {MATCH_SQUARED, 1, 2}, direction = {MATCH_DIRECTION, 1, 1};
    dev->op->match(dev, &squared, (act *)(void *)x, (act *)(void *)target, &seqs, 1, &loss,
                   (act *)(void *)dx);
    tap_ok(fabs((double)loss - 11) <= 1e-6 && fabs((double)dx[0] - 8) <= 1e-6 &&
               fabs((double)dx[1] + 4) <= 1e-6,
           "(16 + 4) / 2 on top of 1, gradients 2 · 4 and -2 · 2");
    loss = 0;
    dev->op->match(dev, &direction, (act *)(void *)x, (act *)(void *)target, &seqs, 1, &loss,
                   (act *)(void *)dx);
    tap_ok(fabs((double)loss - 2) <= 1e-6 && fabs((double)dx[1]) <= 0,
           "an opposite direction is 4, none is 0: %g", (double)loss);
}

/* No sequences: nothing happens. */
static void empty_case(struct trial *t, const void *context)
{
    (void)context;
    const struct match match = {MATCH_SQUARED, 1, 1};
    const struct seqs none = {0, 0, 0, trial_ints(t, offset, 1)};
    const struct relation relation = {none, 1, 3, 3, 3, 3, 1, 1};
    act *x = trial_act(t, 3, 1), *target = trial_act(t, 3, 1), *dx = trial_change(t, "dx", 3, 0);
    float *loss = trial_change_floats(t, "loss", 1, 0);
    t->dev->op->match(t->dev, &match, x, target, &none, 3, loss, dx);
    t->dev->op->relation(t->dev, &relation, x, target, loss, dx);
}

/* A NaN in the second of three sequences, in the student's rows or in the teacher's: that sequence's
 * loss is NaN, the others' are not. Match by both kinds, then relation. */
static void test_nan(struct device *dev, const char *name)
{
    enum { N = 3, COUNT = 5 * COLS };
    static const int32_t host_offset[] = {0, 2, 3, 5};
    struct error err = ERROR_INIT;
    int32_t *at = dev->op->alloc(dev, sizeof host_offset, &err);
    act *side[2] = {dev->op->alloc(dev, COUNT * dev->act_bytes, &err),
                    dev->op->alloc(dev, COUNT * dev->act_bytes, &err)};
    act *dx = dev->op->alloc(dev, COUNT * dev->act_bytes, &err);
    float *loss = dev->op->alloc(dev, N * sizeof *loss, &err);
    trial_must(at && side[0] && side[1] && dx && loss, &err);
    dev->op->upload(dev, at, host_offset, sizeof host_offset);
    const struct seqs seqs = {N, 5, 2, at};
    const struct relation relation = {seqs, 3, COLS, COLS, COLS, COLS, 0.7F, 1};
    bool seen = true, alone = true;
    for (int i = 0; i < 6; i++) {
        float host[COUNT], found[N], slope[COUNT];
        for (int k = 0; k < 2; k++) {
            for (int c = 0; c < COUNT; c++)
                host[c] = c == 2 * COLS + 7 && k == i % 2 ? NAN : (float)((c + k) % 7 - 3);
            dev->op->act_upload(dev, side[k], host, COUNT);
        }
        dev->op->zero(dev, loss, N * sizeof *loss);
        const struct match match = {(enum match_kind)(i / 2), 0.7F, 1};
        if (i < 4)
            dev->op->match(dev, &match, side[0], side[1], &seqs, COLS, loss, dx);
        else
            dev->op->relation(dev, &relation, side[0], side[1], loss, dx);
        dev->op->download(dev, found, loss, sizeof found);
        dev->op->act_download(dev, slope, dx, COUNT);
        seen = seen && isnan(found[1]);
        alone = alone && isfinite(found[0]) && isfinite(found[2]);
        for (int c = 0; c < COUNT; c++)
            alone = alone && (c / COLS == 2 || isfinite(slope[c]));
    }
    tap_ok(seen && alone && dev->op->sync(dev, &err), "%s: a NaN shows%s%s %s", name,
           seen ? "" : ", but not in every loss", alone ? "" : ", elsewhere, too", err.text);
    dev->op->free(dev, at);
    dev->op->free(dev, side[0]);
    dev->op->free(dev, side[1]);
    dev->op->free(dev, dx);
    dev->op->free(dev, loss);
}

int main(void)
{
    static const struct match_case matches[] = {{MATCH_SQUARED, 1},    {MATCH_SQUARED, 33},
                                                {MATCH_SQUARED, 384},  {MATCH_DIRECTION, 1},
                                                {MATCH_DIRECTION, 33}, {MATCH_DIRECTION, 384}};
    static const struct relation_case relations[] = {
        {1, 1, 1, 0}, {3, 9, 15, 4}, {4, 64, 128, 32}, {1, 40, 7, 1}};
    trial_open_devices();
    trial_report_devices();
    for (size_t i = 0; i < 6; i++)
        trial_everywhere(match_case, &matches[i], i < 3 ? "match, squared" : "match, direction");
    /* Between rows nothing is written: those columns stay as they were. */
    for (size_t i = 0; i < 4; i++)
        trial_everywhere(relation_case, &relations[i], "relation");
    trial_everywhere(empty_case, NULL, "match and relation of nothing");
    struct problem p = {.dev = trial_reference};
    static const char *const name[] = {"squared", "direction", "relation"};
    for (p.kind = 0; p.kind < 3; p.kind++)
        test_gradient(&p, name[p.kind]);
    test_by_hand(trial_reference);
    test_nan(trial_reference, "reference");
    for (size_t i = 0; i < trial_n_devices; i++)
        if (trial_devices[i].dev)
            test_nan(trial_devices[i].dev, trial_devices[i].name);
    trial_close_devices();
    return tap_done();
}
