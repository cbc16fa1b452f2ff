/* Masks and sums over blocks of a matrix, against the reference device; the reference against sums
 * written out here. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/ops_trial.h"

static const float *trial_keep(struct trial *t, size_t n)
{
    float *keep = calloc(n, sizeof *keep);
    for (size_t i = 0; i < n; i++)
        keep[i] = rng_normal(&t->rng) > 0 ? 1.0F : 0.0F;
    const float *place = trial_place(t, TRIAL_FLOAT, keep, n);
    free(keep);
    return place;
}

/* Nothing is rounded. */
static void mask_case(struct trial *t, const void *context)
{
    const struct blocks *b = context;
    const float *keep = trial_keep(t, blocks_down(b) * blocks_across(b));
    const float *from = trial_floats(t, b->rows * b->cols, 1, 0);
    float *to = trial_out_floats(t, "to", b->rows * b->cols, 0);
    float *both = trial_change_floats(t, "in place", b->rows * b->cols, 0);
    t->dev->op->block_mask(t->dev, b, keep, from, to);
    t->dev->op->block_mask(t->dev, b, keep, both, both);
}

/* A block of R rows and n elements of products of size 1: a column's sum of R terms, size up to 3 √R,
 * has an error of at most R · 3 √R ε (that of its largest partial sum, R times); √(n / R) such
 * errors, independent, in sum. The result itself is rounded. */
static void sum_case(struct trial *t, const void *context)
{
    const struct blocks *b = context;
    double rows = (double)(b->block_rows < b->rows ? b->block_rows : b->rows);
    double cols = (double)(b->block_cols < b->cols ? b->block_cols : b->cols);
    double tolerance = (3 * rows * sqrt(rows) * sqrt(cols) + 4) * EPSILON;
    const float *x = trial_floats(t, b->rows * b->cols, 1, 0);
    const float *y = trial_floats(t, b->rows * b->cols, 1, 0);
    float *sum = trial_change_floats(t, "sum", blocks_down(b) * blocks_across(b), tolerance);
    t->dev->op->block_sum(t->dev, b, x, y, sum);
}

static void test_by_hand(void)
{
    static const float x[15] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    static const float ones[15] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const float keep[6] = {1, 0, 1, 0, 1, 0};
    static const float masked[15] = {1, 2, 0, 0, 5, 6, 7, 0, 0, 10, 0, 0, 13, 14, 0};
    const struct blocks b = {.rows = 3, .cols = 5, .block_rows = 2, .block_cols = 2};
    float to[15], sum[6] = {100, 0, 0, 0, 0, 0};
    struct device *dev = trial_reference;
    dev->op->block_mask(dev, &b, keep, x, to);
    dev->op->block_sum(dev, &b, x, ones, sum);
    tap_ok(memcmp(to, masked, sizeof to) == 0, "3 x 5 masked by blocks of 2 x 2");
    tap_ok(sum[0] == 116 && sum[1] == 24 && sum[2] == 15 && sum[3] == 23 && sum[4] == 27 &&
               sum[5] == 15,
           "and summed");
    const float bad[2] = {NAN, 1}, none[1] = {0};
    const struct blocks two = {.rows = 1, .cols = 2, .block_rows = 1, .block_cols = 2};
    dev->op->block_mask(dev, &two, none, bad, to);
    tap_ok(to[0] == 0 && to[1] == 0, "a masked NaN is 0");
}

int main(void)
{
    static const struct blocks shapes[] = {
        {1, 1, 1, 1},      {64, 96, 32, 32},   {33, 65, 32, 32},  {50, 40, 1, 40},
        {40, 50, 40, 1},   {7, 9, 1, 1},       {300, 70, 1, 1},   {384, 384, 32, 32},
        {130, 200, 24, 7}, {200, 130, 500, 3}, {90, 120, 90, 120}};
    trial_open_devices();
    trial_report_devices();
    test_by_hand();
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        trial_everywhere(mask_case, &shapes[i], "block_mask");
        trial_everywhere(sum_case, &shapes[i], "block_sum");
    }
    trial_close_devices();
    return tap_done();
}
