/* match.c: losses between a student's states and its teacher's. Each member takes whole sequences,
 * so that a sequence's loss is summed in one order whoever has it. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

enum { LANES = 8 }; /* sums side by side: what lets the compiler use vectors */

static float dot(const float *x, const float *y, size_t n)
{
    float part[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            part[l] += x[i + l] * y[i + l];
    for (; i < n; i++)
        part[i % LANES] += x[i] * y[i];
    for (size_t l = 0; l < LANES; l++)
        sum += part[l];
    return sum;
}

/* ---- rows ---- */

struct match_work {
    const struct match *match;
    const struct seqs *seqs;
    const float *x, *target;
    size_t cols;
    float *row_loss, *dx;
};

/* Loss of one row; dx = factor times its gradient. */
static double match_squared(const float *x, const float *t, size_t cols, float factor, float *dx)
{
    float step = 2 * factor / (float)cols;
    for (size_t c = 0; c < cols; c++)
        dx[c] = x[c] - t[c];
    double sum = (double)dot(dx, dx, cols);
    for (size_t c = 0; c < cols; c++)
        dx[c] *= step;
    return sum / (double)cols;
}

static double match_direction(const float *x, const float *t, size_t cols, float factor, float *dx)
{
    double xx = (double)dot(x, x, cols), tt = (double)dot(t, t, cols);
    if (xx <= 0 || tt <= 0) { /* not where one is NaN: that is to show */
        memset(dx, 0, cols * sizeof *dx);
        return 0;
    }
    double both = sqrt(xx) * sqrt(tt), cosine = (double)dot(x, t, cols) / both;
    float of_t = (float)(-2 * (double)factor / both),
          of_x = (float)(2 * (double)factor * cosine / xx);
    for (size_t c = 0; c < cols; c++)
        dx[c] = of_t * t[c] + of_x * x[c];
    return 2 - 2 * cosine;
}

static void match_job(void *context, size_t member, size_t n_members)
{
    const struct match_work *work = context;
    const struct match *match = work->match;
    size_t begin, end, cols = work->cols;
    threads_share(work->seqs->n, member, n_members, &begin, &end);
    for (size_t s = begin; s < end; s++) {
        size_t first = (size_t)work->seqs->offset[s], last = (size_t)work->seqs->offset[s + 1];
        double sum = 0, share = (double)match->weight / (double)(last - first);
        float factor = (float)(share * (double)match->scale);
        for (size_t at = first * cols; at < last * cols; at += cols)
            sum +=
                match->kind == MATCH_SQUARED
                    ? match_squared(work->x + at, work->target + at, cols, factor, work->dx + at)
                    : match_direction(work->x + at, work->target + at, cols, factor, work->dx + at);
        work->row_loss[s] += (float)(share * sum);
    }
}

void cpu_match(struct device *dev, const struct match *match, const act *x, const act *target,
               const struct seqs *seqs, size_t cols, float *row_loss, act *dx)
{
    struct match_work work = {.match = match,
                              .seqs = seqs,
                              .x = (const float *)x,
                              .target = (const float *)target,
                              .cols = cols,
                              .row_loss = row_loss,
                              .dx = (float *)dx};
    cpu_run(cpu_of(dev), match_job, &work);
}

/* ---- relations ---- */

struct relation_work {
    struct cpu *cpu;
    const struct relation *relation;
    const float *x, *target;
    float *row_loss, *dx;
};

/* Logarithms of one slice's relation to log_p [n, n]. */
static void relate(const float *x, size_t stride, size_t n, size_t cols, float *log_p)
{
    float scale = 1 / sqrtf((float)cols);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++)
            log_p[i * n + j] = log_p[j * n + i] = scale * dot(x + i * stride, x + j * stride, cols);
    for (size_t i = 0; i < n; i++) {
        float most = -INFINITY, sum = 0, *row = log_p + i * n;
        for (size_t j = 0; j < n; j++)
            most = row[j] > most ? row[j] : most;
        for (size_t j = 0; j < n; j++)
            sum += expf(row[j] - most);
        float lse = most + logf(sum);
        for (size_t j = 0; j < n; j++)
            row[j] -= lse;
    }
}

/* The divergence of the relations p of x and q of target (logarithms); p becomes the gradient of
 * p's scores. */
static double diverge(float *p, const float *q, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n * n; i++) {
        float of_q = expf(q[i]);
        sum += (double)(of_q * (q[i] - p[i]));
        p[i] = expf(p[i]) - of_q;
    }
    return sum;
}

/* dx of one slice from the gradient d of its scores. */
static void spread(const float *d, const float *x, size_t stride, size_t n, size_t cols,
                   float factor, float *dx)
{
    for (size_t i = 0; i < n; i++) {
        float *to = dx + i * stride;
        memset(to, 0, cols * sizeof *to);
        for (size_t j = 0; j < n; j++) {
            const float *from = x + j * stride;
            float both = factor * (d[i * n + j] + d[j * n + i]);
            for (size_t c = 0; c < cols; c++)
                to[c] += both * from[c];
        }
    }
}

static void relation_job(void *context, size_t member, size_t n_members)
{
    const struct relation_work *work = context;
    const struct relation *r = work->relation;
    size_t begin, end, most = r->seqs.longest, cols = r->cols / r->heads;
    size_t target_cols = r->target_cols / r->heads;
    threads_share(r->seqs.n, member, n_members, &begin, &end);
    float *p = cpu_scratch(work->cpu, member, (2 * most * most + 1) * sizeof *p);
    for (size_t s = begin; p && s < end; s++) {
        size_t first = (size_t)r->seqs.offset[s], n = (size_t)r->seqs.offset[s + 1] - first;
        float *q = p + most * most;
        double sum = 0, share = (double)r->weight / (double)(r->heads * n);
        float factor = (float)(share * (double)r->scale / sqrt((double)cols));
        for (size_t h = 0; h < r->heads; h++) {
            size_t at = first * r->stride + h * cols;
            relate(work->x + at, r->stride, n, cols, p);
            relate(work->target + first * r->target_stride + h * target_cols, r->target_stride, n,
                   target_cols, q);
            sum += diverge(p, q, n);
            spread(p, work->x + at, r->stride, n, cols, factor, work->dx + at);
        }
        work->row_loss[s] += (float)(share * sum);
    }
}

void cpu_relation(struct device *dev, const struct relation *relation, const act *x,
                  const act *target, float *row_loss, act *dx)
{
    struct relation_work work = {.cpu = cpu_of(dev),
                                 .relation = relation,
                                 .x = (const float *)x,
                                 .target = (const float *)target,
                                 .row_loss = row_loss,
                                 .dx = (float *)dx};
    cpu_run(work.cpu, relation_job, &work);
}
