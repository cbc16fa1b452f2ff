/* round.c: weights as int8 holds them, rotated and rounded, by whole rows. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/rotate_row.h"
#include "kernels/quantise.h"

enum { SMALL = 8192 }; /* elements: less is not worth waking a thread */

struct round_work {
    const float *from;
    float *to;
    size_t rows, cols;
    const struct rotate_row *rotate;
};

static void round_job(void *context, size_t member, size_t n_members)
{
    const struct round_work *work = context;
    size_t begin, end;
    threads_share(work->rows, member, n_members, &begin, &end);
    for (size_t r = begin; r < end; r++)
        quantise_weights(work->from + r * work->cols, work->cols, work->to + r * work->cols);
}

static void rotate_job(void *context, size_t member, size_t n_members)
{
    const struct round_work *work = context;
    size_t begin, end;
    threads_share(work->rows, member, n_members, &begin, &end);
    for (size_t r = begin; r < end; r++)
        work->rotate->run(work->from + r * work->cols, work->cols, work->to + r * work->cols);
}

static void run(struct cpu *cpu, threads_job *job, struct round_work *work)
{
    if (work->rows * work->cols < SMALL)
        job(work, 0, 1);
    else
        cpu_run(cpu, job, work);
}

void cpu_round_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to)
{
    struct round_work work = {from, to, rows, cols, NULL};
    run(cpu_of(dev), round_job, &work);
}

void cpu_rotate_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to)
{
    struct cpu *cpu = cpu_of(dev);
    struct round_work work = {from, to, rows, cols, ISA_PICK(rotate_row, cpu->isa)};
    run(cpu, rotate_job, &work);
}
