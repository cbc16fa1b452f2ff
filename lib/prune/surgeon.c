/* surgeon.c: inverse by Cholesky in double; removal in float on what is left, in W transposed so
 * that a column lies together. */
#include "prune/surgeon.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { CHUNK = 16 };

/* Four floats and two doubles at a time, for the compiler: what all machines have. */
typedef float floats __attribute__((vector_size(16), aligned(4)));
typedef double doubles __attribute__((vector_size(16), aligned(8)));

/* y += a x */
static void add_floats(float a, const float *x, float *y, size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        *(floats *)(void *)(y + i) += a * *(const floats *)(const void *)(x + i);
    for (; i < n; i++)
        y[i] += a * x[i];
}

static void add_doubles(double a, const double *x, double *y, size_t n)
{
    size_t i = 0;
    for (; i + 2 <= n; i += 2)
        *(doubles *)(void *)(y + i) += a * *(const doubles *)(const void *)(x + i);
    for (; i < n; i++)
        y[i] += a * x[i];
}

static double dot_doubles(const double *x, const double *y, size_t n)
{
    doubles one = {0, 0}, two = {0, 0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        one += *(const doubles *)(const void *)(x + i) * *(const doubles *)(const void *)(y + i);
        two += *(const doubles *)(const void *)(x + i + 2) *
               *(const doubles *)(const void *)(y + i + 2);
    }
    one += two;
    double sum = one[0] + one[1];
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* a [n, n] becomes L with L Lᵀ = a, in the lower triangle. false: not positive. */
static bool cholesky(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *row = a + i * n;
        for (size_t j = 0; j < i; j++)
            row[j] = (row[j] - dot_doubles(row, a + j * n, j)) / a[j * n + j];
        double left = row[i] - dot_doubles(row, row, i);
        if (!(left > 0))
            return false;
        row[i] = sqrt(left);
    }
    return true;
}

/* The lower triangle L becomes M = L⁻¹, row by row. */
static void invert_triangle(double *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double *row = a + i * n, scale = 1 / row[i];
        for (size_t k = 0; k < i; k++) {
            double factor = -row[k] * scale;
            row[k] = 0;
            add_doubles(factor, a + k * n, row, k + 1);
        }
        row[i] = scale;
    }
}

/* h, damped, [cols, cols]. A matrix of zeros (no input ever moves) gets ones: every choice is as
 * good. */
static double *damped(const struct surgeon *s, struct error *err)
{
    size_t n = s->cols;
    double *a = memory_array(n * n, sizeof *a, err), trace = 0;
    if (!a)
        return NULL;
    for (size_t i = 0; i < n; i++)
        trace += (double)s->h[i * n + i];
    double more = fmax(trace > 0 ? s->damping * trace / (double)n : 0, s->floor);
    more = more > 0 ? more : 1;
    for (size_t i = 0; i < n * n; i++)
        a[i] = (double)s->h[i];
    for (size_t i = 0; i < n; i++)
        a[i * n + i] += more;
    return a;
}

static bool not_positive(struct error *err)
{
    return error_set(err, "the inputs' second moments are not a positive matrix; the model's "
                          "activations are not finite, or too few records were given");
}

/* ---- order ---- */

/* What is left while groups go: n columns, `alive` of them not yet gone. */
struct work {
    size_t rows, group, n, n_groups;
    float *inverse;   /* [n, n], i <= j is valid */
    float *wt;        /* [n, rows] */
    float *solved;    /* [group, n]: ([H⁻¹]_SS)⁻¹ [H⁻¹]_S,: */
    float *taken;     /* [group, n]: [H⁻¹]_S,: */
    double *block;    /* [group, group] */
    size_t *original; /* [n_groups] */
    bool *gone;
};

static float inverse_at(const struct work *w, size_t i, size_t j)
{
    return i <= j ? w->inverse[i * w->n + j] : w->inverse[j * w->n + i];
}

/* block = Cholesky factor of [H⁻¹]_SS. */
static bool factor_block(const struct work *w, size_t g)
{
    size_t b = w->group;
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j < b; j++)
            w->block[i * b + j] = (double)inverse_at(w, g * b + i, g * b + j);
    return cholesky(w->block, b);
}

/* sum over rows of |L⁻¹ w_S|²: what taking group g out now costs. */
static double cost_of(const struct work *w, size_t g)
{
    size_t b = w->group;
    double sum = 0, z[b];
    if (!factor_block(w, g))
        return INFINITY; /* rounding: it is as if it could not be spared */
    for (size_t r = 0; r < w->rows; r++)
        for (size_t i = 0; i < b; i++) {
            double value = (double)w->wt[(g * b + i) * w->rows + r];
            for (size_t k = 0; k < i; k++)
                value -= w->block[i * b + k] * z[k];
            z[i] = value / w->block[i * b + i];
            sum += z[i] * z[i];
        }
    return sum;
}

/* The same where a group is one column, which is most of the time. */
static double cost_of_column(const struct work *w, size_t c)
{
    floats one = {0, 0, 0, 0};
    const float *at = w->wt + c * w->rows;
    size_t r = 0;
    for (; r + 4 <= w->rows; r += 4) {
        floats value = *(const floats *)(const void *)(at + r);
        one += value * value;
    }
    double sum = (double)one[0] + (double)one[1] + (double)one[2] + (double)one[3];
    for (; r < w->rows; r++)
        sum += (double)at[r] * (double)at[r];
    double pivot = (double)w->inverse[c * w->n + c];
    return pivot > 0 ? sum / pivot : INFINITY;
}

/* taken and solved of group g, whose factor is in block. */
static void solve_group(const struct work *w, size_t g)
{
    size_t b = w->group, n = w->n;
    for (size_t i = 0; i < b; i++)
        for (size_t j = 0; j < n; j++)
            w->taken[i * n + j] = w->gone[j / b] ? 0 : inverse_at(w, g * b + i, j);
    for (size_t j = 0; j < n; j++) {
        double z[b];
        for (size_t i = 0; i < b; i++) {
            z[i] = (double)w->taken[i * n + j];
            for (size_t k = 0; k < i; k++)
                z[i] -= w->block[i * b + k] * z[k];
            z[i] /= w->block[i * b + i];
        }
        for (size_t i = b; i-- > 0;) {
            for (size_t k = i + 1; k < b; k++)
                z[i] -= w->block[k * b + i] * z[k];
            z[i] /= w->block[i * b + i];
        }
        for (size_t i = 0; i < b; i++)
            w->solved[i * n + j] = (float)z[i];
    }
}

static void remove_group(const struct work *w, size_t g)
{
    size_t b = w->group, n = w->n;
    solve_group(w, g);
    w->gone[g] = true;
    for (size_t i = 0; i < n; i++) {
        if (w->gone[i / b])
            continue;
        for (size_t k = 0; k < b; k++) {
            add_floats(-w->taken[k * n + i], w->solved + k * n + i, w->inverse + i * n + i, n - i);
            add_floats(-w->solved[k * n + i], w->wt + (g * b + k) * w->rows, w->wt + i * w->rows,
                       w->rows);
        }
    }
}

/* Move what is left together, so that time is spent on it alone. */
static void close_ranks(struct work *w)
{
    size_t b = w->group, left = 0;
    for (size_t g = 0; g < w->n_groups; g++)
        left += !w->gone[g];
    size_t to = 0, m = left * b;
    for (size_t g = 0; g < w->n_groups; g++) {
        if (w->gone[g])
            continue;
        for (size_t i = 0; i < b; i++) {
            size_t at = 0, row = g * b + i;
            float *into = w->inverse + (to * b + i) * m;
            /* Rows and columns only move to the front: nothing is overwritten before it is read. */
            for (size_t other = 0; other < w->n_groups; other++)
                for (size_t j = 0; j < b && !w->gone[other]; j++, at++)
                    into[at] = w->inverse[row * w->n + other * b + j];
            memmove(w->wt + (to * b + i) * w->rows, w->wt + row * w->rows, w->rows * sizeof(float));
        }
        w->original[to++] = w->original[g];
    }
    for (size_t g = 0; g < left; g++)
        w->gone[g] = false;
    w->n_groups = left;
    w->n = m;
}

static void free_work(struct work *w)
{
    free(w->inverse);
    free(w->wt);
    free(w->solved);
    free(w->taken);
    free(w->block);
    free(w->original);
    free(w->gone);
}

/* inverse = Mᵀ M, a few rows of M at a time, while a row of the result stays near. */
static void multiply_triangle(const double *m, size_t n, float *inverse)
{
    for (size_t from = 0; from < n; from += CHUNK) {
        size_t to = from + CHUNK < n ? from + CHUNK : n;
        for (size_t i = 0; i < to; i++)
            for (size_t k = i > from ? i : from; k < to; k++) {
                double factor = m[k * n + i];
                const double *row = m + k * n;
                for (size_t j = i; j <= k; j++)
                    inverse[i * n + j] += (float)(factor * row[j]);
            }
    }
}

static bool begin(struct work *w, const struct surgeon *s, struct error *err)
{
    size_t n = s->cols, b = s->group;
    *w = (struct work){.rows = s->rows, .group = b, .n = n, .n_groups = n / b};
    double *a = damped(s, err);
    w->inverse = memory_zeroed(n * n, sizeof(float), err);
    w->wt = memory_array(n * s->rows, sizeof(float), err);
    w->solved = memory_array(b * n, sizeof(float), err);
    w->taken = memory_array(b * n, sizeof(float), err);
    w->block = memory_array(b * b, sizeof(double), err);
    w->original = memory_array(w->n_groups, sizeof(size_t), err);
    w->gone = memory_zeroed(w->n_groups, sizeof(bool), err);
    bool ok = a && w->inverse && w->wt && w->solved && w->taken && w->block && w->original &&
              w->gone && (cholesky(a, n) || not_positive(err));
    if (ok) {
        invert_triangle(a, n);
        multiply_triangle(a, n, w->inverse);
        for (size_t c = 0; c < n; c++)
            for (size_t r = 0; r < s->rows; r++)
                w->wt[c * s->rows + r] = s->w[r * n + c];
        for (size_t g = 0; g < w->n_groups; g++)
            w->original[g] = g;
    }
    free(a);
    return ok;
}

/* tr(W H Wᵀ), by what each column has with the others. */
static double whole_energy(const struct surgeon *s, const struct work *w)
{
    double sum = 0;
    float *row = w->taken; /* [n] */
    for (size_t r = 0; r < s->rows; r++) {
        memset(row, 0, s->cols * sizeof *row);
        for (size_t c = 0; c < s->cols; c++)
            add_floats(s->w[r * s->cols + c], s->h + c * s->cols, row, s->cols);
        for (size_t c = 0; c < s->cols; c++)
            sum += (double)row[c] * (double)s->w[r * s->cols + c];
    }
    return sum;
}

bool surgeon_order(const struct surgeon *surgeon, size_t *order, double *error, double *energy,
                   struct error *err)
{
    struct work w;
    size_t n = surgeon->cols / surgeon->group;
    bool ok = begin(&w, surgeon, err);
    double sum = 0;
    if (ok)
        *energy = whole_energy(surgeon, &w);
    for (size_t k = 0, since = 0; ok && k < n; k++, since++) {
        size_t best = 0;
        double least = INFINITY;
        if (4 * since > w.n_groups) {
            close_ranks(&w);
            since = 0;
        }
        for (size_t g = 0; g < w.n_groups; g++) {
            if (w.gone[g])
                continue;
            double cost = w.group == 1 ? cost_of_column(&w, g) : cost_of(&w, g);
            if (cost < least || w.gone[best]) {
                least = cost;
                best = g;
            }
        }
        ok = factor_block(&w, best) || not_positive(err);
        if (ok)
            remove_group(&w, best);
        order[k] = w.original[best];
        error[k] = sum += isfinite(least) ? least : 0;
    }
    free_work(&w);
    return ok;
}

/* ---- weights ---- */

/* x [n] = a⁻¹ x, a = L Lᵀ. */
static void solve(const double *l, size_t n, double *x)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (x[i] - dot_doubles(l + i * n, x, i)) / l[i * n + i];
    for (size_t i = n; i-- > 0;) {
        x[i] /= l[i * n + i];
        add_doubles(-x[i], l + i * n, x, i);
    }
}

bool surgeon_weights(const struct surgeon *surgeon, const size_t *kept, size_t n_kept, float *out,
                     struct error *err)
{
    size_t cols = surgeon->cols, b = surgeon->group, k = n_kept * b;
    double *a = damped(surgeon, err);
    double *l = a ? memory_array(k * k + 1, sizeof *l, err) : NULL;
    double *product = l ? memory_array(cols, sizeof *product, err) : NULL;
    double *x = product ? memory_array(k + 1, sizeof *x, err) : NULL;
    bool ok = x != NULL;
    for (size_t i = 0; ok && i < k; i++)
        for (size_t j = 0; j < k; j++)
            l[i * k + j] = a[(kept[i / b] * b + i % b) * cols + kept[j / b] * b + j % b];
    ok = ok && (cholesky(l, k) || not_positive(err));
    for (size_t r = 0; ok && r < surgeon->rows; r++) {
        /* W'_K = W_K + W_R H_RK H_KK⁻¹ of the kept columns K and the others R. */
        const float *w = surgeon->w + r * cols;
        float *to = out + r * cols;
        memset(product, 0, cols * sizeof *product);
        for (size_t c = 0, at = 0; c < cols; c++) {
            to[c] = 0;
            if (at < n_kept && kept[at] == c / b)
                at += c % b + 1 == b;
            else
                add_doubles((double)w[c], a + c * cols, product, cols);
        }
        for (size_t i = 0; i < k; i++)
            x[i] = product[kept[i / b] * b + i % b];
        solve(l, k, x);
        for (size_t i = 0; i < k; i++) {
            size_t c = kept[i / b] * b + i % b;
            to[c] = (float)((double)w[c] + x[i]);
        }
    }
    free(a);
    free(l);
    free(product);
    free(x);
    return ok;
}
