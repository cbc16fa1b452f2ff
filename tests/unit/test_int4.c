/* Rows of 4 bits: what comes back, which scale is taken, parts of a row. */
#include "core/int4.h"

#include <math.h>
#include <string.h>

#include "core/rng.h"
#include "tests/tap.h"

enum { MOST = 200 };

static void exact(void)
{
    float w[15], back[15], scale = 0;
    uint8_t codes[8];
    for (int i = 0; i < 15; i++)
        w[i] = (float)(i - 7) * 0.25F;
    int4_encode_row(w, 15, codes, &scale);
    int4_decode(codes, &scale, 0, 15, back);
    tap_ok(memcmp(w, back, sizeof w) == 0 && scale == 0.25F, "15 levels come back as they were");
    tap_ok(codes[0] == (1 | 2 << 4) && codes[7] == (15 | 8 << 4),
           "the even column is the low half, the rest of the last byte is zero's code");
    int4_decode(codes, &scale, 5, 3, back);
    tap_ok(memcmp(w + 5, back, 3 * sizeof *w) == 0, "columns from the middle");
}

static void edges(void)
{
    const float row[] = {0, -0.0F, 1e-44F, 0};
    float scale = 0, back[4];
    uint8_t codes[2];
    int4_encode_row(row, 4, codes, &scale);
    int4_decode(codes, &scale, 0, 4, back);
    tap_ok(scale == 1 && back[0] == 0 && back[2] == 0, "zeros, and what is almost");
    const float large[] = {3e38F, -3e38F, 1e38F, 0};
    int4_encode_row(large, 4, codes, &scale);
    int4_decode(codes, &scale, 0, 4, back);
    tap_ok(isfinite(scale) && back[0] > 2e38F && back[1] == -back[0] && back[3] == 0,
           "values near the largest float");
}

/* Squared error of rounding with the scale that reaches the largest value. */
static double plain_error(const float *w, size_t n)
{
    double largest = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)w[i]));
    for (size_t i = 0; i < n; i++) {
        double s = largest / 7, d = nearbyint((double)w[i] / s) * s - (double)w[i];
        sum += d * d;
    }
    return sum;
}

/* Every group: no worse than the plain scale, no value off by more than the plain step or what was
 * cut; the scale is at least 0.65 of the plain one. */
static void bounds(void)
{
    struct rng rng;
    size_t far = 0, worse = 0, better = 0;
    rng_seed(&rng, 5);
    for (size_t trial = 0; trial < 200; trial++) {
        float w[MOST], back[MOST], scale[4];
        uint8_t codes[MOST / 2];
        size_t n = 1 + rng_below(&rng, MOST);
        for (size_t i = 0; i < n; i++)
            w[i] = (float)(rng_normal(&rng) * pow(10, (double)(i / INT4_GROUP) - 2));
        int4_encode_row(w, n, codes, scale);
        int4_decode(codes, scale, 0, n, back);
        for (size_t begin = 0; begin < n; begin += INT4_GROUP) {
            size_t m = n - begin < INT4_GROUP ? n - begin : INT4_GROUP;
            double error = 0, largest = 0, plain = plain_error(w + begin, m);
            for (size_t i = begin; i < begin + m; i++) {
                double d = fabs((double)w[i] - (double)back[i]);
                error += d * d;
                largest = fmax(largest, fabs((double)w[i]));
                double reach = 7 * (double)scale[i / INT4_GROUP], cut = fabs((double)w[i]) - reach;
                far += !(d <= fmax(0.5 * reach / 7, cut) * (1 + 1e-5));
            }
            far += !((double)scale[begin / INT4_GROUP] >= 0.649 * largest / 7);
            worse += !(error <= plain * (1 + 1e-5));
            better += error < 0.99 * plain;
        }
    }
    tap_ok(far == 0, "no value is further off than half a step, or than it was cut (%zu)", far);
    tap_ok(worse == 0 && better > 100,
           "errors are never larger than with the plain scale, often "
           "less (%zu, %zu)",
           worse, better);
}

int main(void)
{
    exact();
    edges();
    bounds();
    return tap_done();
}
