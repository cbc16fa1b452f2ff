/* optimizer.c: gradient norm, clipping and AdamW, spread over the team. */
#include <math.h>
#include <stdatomic.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/update.h"
#include "kernels/loss_scale.h"

enum {
    SMALL = 8192, /* elements: less is not worth waking a thread */
    RUN = 1 << 16 /* elements of one partial sum: fixed, so that the total does not depend on the
                     team */
};

struct squares_work {
    const struct update *kernel;
    const float *x;
    size_t n;
    double *partial; /* [runs] */
    atomic_size_t next;
};

static void squares_job(void *context, size_t member, size_t n_members)
{
    (void)member;
    (void)n_members;
    struct squares_work *work = context;
    for (;;) {
        size_t run = atomic_fetch_add(&work->next, 1), begin = run * RUN;
        if (begin >= work->n)
            return;
        size_t left = work->n - begin;
        work->partial[run] = work->kernel->sum_squares(work->x + begin, left < RUN ? left : RUN);
    }
}

void cpu_sum_squares(struct device *dev, const float *x, size_t n, double *sum)
{
    struct cpu *cpu = cpu_of(dev);
    size_t n_runs = n / RUN + 1;
    struct squares_work work = {.kernel = ISA_PICK(update, cpu->isa), .x = x, .n = n};
    if (n <= RUN) {
        *sum += work.kernel->sum_squares(x, n);
        return;
    }
    work.partial = cpu_scratch(cpu, 0, n_runs * sizeof *work.partial);
    if (!work.partial)
        return;
    cpu_run(cpu, squares_job, &work);
    double total = 0;
    for (size_t run = 0; run * RUN < n; run++)
        total += work.partial[run];
    *sum += total;
}

void cpu_clip_factor(struct device *dev, double *sum, float max_norm, struct loss_scale *scaled,
                     float *factor)
{
    (void)dev;
    *factor = loss_scale_clip(sum, max_norm, scaled);
}

struct adamw_work {
    const struct update *kernel;
    struct update_step step;
    const int32_t *row, *place; /* row NULL: all elements, n_rows = 1 */
    size_t n_rows, cols;
    const float *grad;
    float *m, *v, *w;
};

static struct update_step adamw_step(const struct adamw *adamw, float factor)
{
    double step = (double)loss_scale_step(adamw->step, adamw->scaled);
    double correct1 = 1 - pow((double)adamw->beta1, step);
    double correct2 = 1 - pow((double)adamw->beta2, step);
    return (struct update_step){.factor = factor,
                                .beta1 = adamw->beta1,
                                .beta2 = adamw->beta2,
                                .rate = (float)((double)adamw->lr / correct1),
                                .root_correction = (float)(1 / sqrt(correct2)),
                                .eps = adamw->eps,
                                .decay =
                                    (float)(1 - (double)adamw->lr * (double)adamw->weight_decay)};
}

static void adamw_job(void *context, size_t member, size_t n_members)
{
    const struct adamw_work *work = context;
    size_t begin, end;
    threads_share(work->cols, member, n_members, &begin, &end);
    work->kernel->adamw(&work->step, end - begin, work->grad + begin, work->m + begin,
                        work->v + begin, work->w + begin);
}

void cpu_adamw(struct device *dev, const struct adamw *adamw, const float *factor, size_t n,
               const float *grad, float *m, float *v, float *w)
{
    struct cpu *cpu = cpu_of(dev);
    struct adamw_work work = {.kernel = ISA_PICK(update, cpu->isa),
                              .step = adamw_step(adamw, *factor),
                              .cols = n,
                              .grad = grad,
                              .m = m,
                              .v = v,
                              .w = w};
    if (*factor < 0)
        return;
    if (n <= SMALL)
        adamw_job(&work, 0, 1);
    else
        cpu_run(cpu, adamw_job, &work);
}

static void adamw_rows_job(void *context, size_t member, size_t n_members)
{
    const struct adamw_work *work = context;
    size_t begin, end;
    threads_share(work->n_rows, member, n_members, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        size_t row = (size_t)work->row[r], at = row * work->cols;
        size_t of = work->place ? (size_t)work->place[row] * work->cols : at;
        work->kernel->adamw(&work->step, work->cols, work->grad + r * work->cols, work->m + of,
                            work->v + of, work->w + at);
    }
}

void cpu_adamw_rows(struct device *dev, const struct adamw *adamw, const float *factor,
                    const int32_t *row, size_t n_rows, size_t cols, const int32_t *place,
                    const float *grad, float *m, float *v, float *w)
{
    struct cpu *cpu = cpu_of(dev);
    struct adamw_work work = {.kernel = ISA_PICK(update, cpu->isa),
                              .step = adamw_step(adamw, *factor),
                              .row = row,
                              .place = place,
                              .n_rows = n_rows,
                              .cols = cols,
                              .grad = grad,
                              .m = m,
                              .v = v,
                              .w = w};
    if (*factor < 0)
        return;
    if (n_rows * cols <= SMALL)
        adamw_rows_job(&work, 0, 1);
    else
        cpu_run(cpu, adamw_rows_job, &work);
}
