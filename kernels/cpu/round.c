/* round.c: weights as int8 holds them, by whole rows. */
#include "kernels/cpu/cpu.h"
#include "kernels/quantise.h"

enum { SMALL = 8192 }; /* elements: less is not worth waking a thread */

struct round_work {
    const float *from;
    float *to;
    size_t rows, cols;
};

static void round_job(void *context, size_t member, size_t n_members)
{
    const struct round_work *work = context;
    size_t begin, end;
    threads_share(work->rows, member, n_members, &begin, &end);
    for (size_t r = begin; r < end; r++)
        quantise_weights(work->from + r * work->cols, work->cols, work->to + r * work->cols);
}

void cpu_round_rows(struct device *dev, const float *from, size_t rows, size_t cols, float *to)
{
    struct round_work work = {from, to, rows, cols};
    if (rows * cols < SMALL)
        round_job(&work, 0, 1);
    else
        cpu_run(cpu_of(dev), round_job, &work);
}
