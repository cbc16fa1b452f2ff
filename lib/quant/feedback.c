/* feedback.c: Cholesky's factor from the last column to the first, then rows side by side. */
#include "quant/feedback.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/quantise.h"

enum {
    PANEL =
        64, /* rows of the factor that are taken off all others while they are in a near cache */
    ABREAST = 8, /* rows of a matrix at once: their sums stay in registers */
    RUN = 8,
    MAX_CODE = 127
};

static const double first_damping = 0.01;

/* ---- the factor ---- */

/* H = L' L with L lower triangular: L[c][b] = (I + A)[b][c] times the root of D[c]. */
struct factoring {
    double *a; /* [n, n], its triangle i >= j */
    size_t n, begin, end;
};

/* to [n] less factor times from. Runs of a fixed length are what compilers make vectors of. */
static void subtract(double *restrict to, const double *restrict from, double factor, size_t n)
{
    size_t i = 0;
    for (; i + RUN <= n; i += RUN)
        for (size_t k = 0; k < RUN; k++)
            to[i + k] -= factor * from[i + k];
    for (; i < n; i++)
        to[i] -= factor * from[i];
}

/* a[row] less what rows `first` … end - 1 of the panel give it, the last first. */
static void take_off(const struct factoring *work, size_t row, size_t first)
{
    for (size_t k = work->end; k-- > first;) {
        const double *from = work->a + k * work->n;
        subtract(work->a + row * work->n, from, from[row], row + 1);
    }
}

static void below_job(void *context, size_t member, size_t n_members)
{
    const struct factoring *work = context;
    for (size_t row = member; row < work->begin; row += n_members)
        take_off(work, row, work->begin);
}

static bool factor(struct factoring *work, struct threads *team)
{
    for (work->end = work->n; work->end > 0; work->end = work->begin) {
        work->begin = work->end > PANEL ? work->end - PANEL : 0;
        for (size_t row = work->end; row-- > work->begin;) {
            double *a = work->a + row * work->n;
            take_off(work, row, row + 1);
            if (!(a[row] > 0))
                return false;
            double root = sqrt(a[row]);
            for (size_t i = 0; i <= row; i++)
                a[i] /= root;
        }
        threads_run(team, below_job, work);
    }
    return true;
}

static void set_damped(double *a, const float *gram, size_t n, double damping)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j <= i; j++)
            a[i * n + j] = (double)gram[j * n + i];
        a[i * n + i] += damping;
    }
}

bool feedback_open(struct feedback *feedback, const float *gram, size_t n, struct threads *team,
                   struct error *err)
{
    size_t values = 0;
    double mean = 0, damping = first_damping;
    if (!memory_multiply(n, n, &values))
        return error_set(err, "a matrix of %zu columns is too wide for this machine", n);
    *feedback = (struct feedback){.n = n, .factor = memory_zeroed(values, sizeof(double), err)};
    struct factoring work = {.a = feedback->factor, .n = n};
    if (!feedback->factor)
        return false;
    for (size_t i = 0; i < n; i++)
        mean += (double)gram[i * n + i] / (double)n;
    if (!(mean > 0))
        return true;
    for (bool done = false; !done; damping *= 10) {
        set_damped(work.a, gram, n, damping * mean);
        done = factor(&work, team);
    }
    for (size_t c = 0; c < n; c++)
        for (size_t b = 0; b < c; b++)
            work.a[c * n + b] /= work.a[c * n + c];
    return true;
}

void feedback_close(struct feedback *feedback)
{
    free(feedback->factor);
    *feedback = (struct feedback){.n = 0};
}

/* ---- rows ---- */

struct rounding {
    const struct feedback *feedback;
    const float *w;
    size_t rows;
    int8_t *code;
    float *scale;
    double *error; /* [members, n, ABREAST] */
};

static int8_t code_of(double value, float scale)
{
    float code = (float)value / scale;
    return (int8_t)lrintf(fmaxf(-MAX_CODE, fminf(code, MAX_CODE)));
}

/* sum = what the errors of columns before c move column c by; four columns between each load and
 * store of the sums. */
static void feed_back(const double *factor, const double *error, size_t c, double sum[ABREAST])
{
    enum { A = ABREAST };
    double total[ABREAST] = {0};
    size_t b = 0;
    for (; b + 4 <= c; b += 4, error += 4 * A) {
        const double f[4] = {factor[b], factor[b + 1], factor[b + 2], factor[b + 3]};
        for (size_t r = 0; r < A; r++)
            total[r] += (f[0] * error[r] + f[1] * error[A + r]) +
                        (f[2] * error[2 * A + r] + f[3] * error[3 * A + r]);
    }
    for (; b < c; b++, error += A)
        for (size_t r = 0; r < A; r++)
            total[r] += factor[b] * error[r];
    memcpy(sum, total, sizeof total);
}

/* Rows first … first + n_rows - 1, at most ABREAST. */
static void round_rows(const struct rounding *work, size_t first, size_t n_rows, double *error)
{
    size_t n = work->feedback->n;
    const float *w = work->w + first * n;
    int8_t *code = work->code + first * n;
    float scale[ABREAST] = {0};
    for (size_t r = 0; r < n_rows; r++) {
        scale[r] = quantise_weight_scale(w + r * n, n);
        work->scale[first + r] = scale[r] > 0 ? scale[r] : 1;
    }
    memset(error, 0, n * ABREAST * sizeof *error);
    for (size_t c = 0; c < n; c++) {
        double moved[ABREAST];
        feed_back(work->feedback->factor + c * n, error, c, moved);
        for (size_t r = 0; r < n_rows; r++) {
            double value = (double)w[r * n + c];
            int8_t to = scale[r] > 0 ? code_of(value + moved[r], scale[r]) : 0;
            code[r * n + c] = to;
            error[c * ABREAST + r] = scale[r] > 0 ? value - to * (double)scale[r] : 0;
        }
    }
}

static void round_job(void *context, size_t member, size_t n_members)
{
    const struct rounding *work = context;
    double *error = work->error + member * work->feedback->n * ABREAST;
    size_t first, last, groups = work->rows / ABREAST + (work->rows % ABREAST > 0);
    threads_share(groups, member, n_members, &first, &last);
    for (size_t g = first; g < last; g++) {
        size_t at = g * ABREAST, left = work->rows - at;
        round_rows(work, at, left < ABREAST ? left : ABREAST, error);
    }
}

bool feedback_round(const struct feedback *feedback, const float *w, size_t rows,
                    struct threads *team, int8_t *code, float *scale, struct error *err)
{
    size_t room = 0, members = team ? threads_count(team) : 1;
    if (!memory_multiply(feedback->n * ABREAST, members, &room))
        return error_set(err, "%zu columns are too many for this machine", feedback->n);
    struct rounding work = {feedback, w,     rows,
                            code,     scale, memory_aligned(room, sizeof(double), err)};
    if (!work.error)
        return false;
    threads_run(team, round_job, &work);
    free(work.error);
    return true;
}
