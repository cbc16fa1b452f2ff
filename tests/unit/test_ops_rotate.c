/* Rows rotated before they become int8: the definition against Sylvester's matrices, every device
 * against the reference, bit for bit. */
#include "kernels/rotate.h"
#include "tests/unit/ops_trial.h"

struct rotate_shape {
    size_t rows, cols;
};

/* The same sums in the same order, each exactly rounded: nothing may differ. */
static void rotate_case(struct trial *t, const void *context)
{
    const struct rotate_shape *s = context;
    const float *from = trial_floats(t, s->rows * s->cols, 1, 0);
    float *to = trial_out_floats(t, "to", s->rows * s->cols, 0);
    float *both = trial_change_floats(t, "in place", s->rows * s->cols, 0);
    t->dev->op->rotate_rows(t->dev, from, s->rows, s->cols, to);
    t->dev->op->rotate_rows(t->dev, both, s->rows, s->cols, both);
}

/* Sylvester: an entry's sign is the parity of the bits that row and column have in common. Six
 * rounded sums of values that grow to 8: errors below 64 ε. */
static void test_matrix(size_t n)
{
    float x[200], y[200];
    double largest = 0, back = 0;
    struct rng rng;
    rng_seed(&rng, n);
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] = (float)rng_normal(&rng);
    rotate_row(y, n);
    for (size_t at = 0, block; at < n; at += block) {
        block = n - at >= 64 ? 64 : n - at >= 16 ? 16 : 1;
        for (size_t i = 0; i < block; i++) {
            double sum = 0;
            for (size_t k = 0; k < block; k++)
                sum += (__builtin_parityll(i & k) ? -1.0 : 1.0) * (double)x[at + k];
            largest = fmax(largest, fabs(sum / sqrt((double)block) - (double)y[at + i]));
        }
    }
    rotate_row(y, n);
    for (size_t i = 0; i < n; i++)
        back = fmax(back, fabs((double)x[i] - (double)y[i]));
    tap_ok(largest < 64 * EPSILON, "%zu columns: products with Sylvester's matrices, off by %g", n,
           largest);
    tap_ok(back < 128 * EPSILON, "%zu columns: rotated twice is what there was, off by %g", n,
           back);
}

/* What it is for: one column of 100 among noise. */
static void test_outlier(void)
{
    enum { N = 64 };
    float x[N], largest = 0;
    struct rng rng;
    rng_seed(&rng, 1);
    for (size_t i = 0; i < N; i++)
        x[i] = (float)rng_normal(&rng);
    x[5] = 100;
    rotate_row(x, N);
    for (size_t i = 0; i < N; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    tap_ok(largest < 17, "a column of 100 among 64 leaves none above %g", (double)largest);
}

int main(void)
{
    static const struct rotate_shape shapes[] = {{1, 1},    {3, 15},  {5, 16},  {7, 17},
                                                 {9, 63},   {33, 64}, {12, 79}, {129, 80},
                                                 {31, 384}, {5, 4097}};
    static const size_t n[] = {1, 16, 17, 64, 100, 128, 191};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        test_matrix(n[i]);
    test_outlier();
    trial_open_devices();
    trial_report_devices();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char what[64];
        snprintf(what, sizeof what, "rotate %zu x %zu", shapes[i].rows, shapes[i].cols);
        trial_everywhere(rotate_case, &shapes[i], what);
    }
    trial_close_devices();
    return tap_done();
}
