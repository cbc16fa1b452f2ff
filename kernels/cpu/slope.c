/* slope.c: derivatives by masks on heads and neurons, spread over the team by columns. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/norm_rows.h"

struct slope_work {
    struct cpu *cpu;
    const float *x, *dx;
    const struct seqs *seqs;
    size_t cols, group;
    float *slope;
};

static void slope_job(void *context, size_t member, size_t n_members)
{
    const struct slope_work *work = context;
    const struct norm_rows *kernel = ISA_PICK(norm_rows, work->cpu->isa);
    size_t begin, end, n_units = work->cols / work->group;
    threads_share(n_units, member, n_members, &begin, &end);
    size_t n = (end - begin) * work->group, first = begin * work->group;
    float *column = cpu_scratch(work->cpu, member, (n + 1) * sizeof *column);
    for (size_t s = 0; column && s < work->seqs->n; s++) {
        memset(column, 0, n * sizeof *column);
        for (int32_t t = work->seqs->offset[s]; t < work->seqs->offset[s + 1]; t++) {
            size_t at = (size_t)t * work->cols + first;
            kernel->multiply_add(work->x + at, work->dx + at, n, column);
        }
        for (size_t unit = begin; unit < end; unit++) {
            double sum = 0;
            for (size_t c = 0; c < work->group; c++)
                sum += (double)column[(unit - begin) * work->group + c];
            work->slope[s * n_units + unit] = (float)sum;
        }
    }
}

void cpu_unit_slope(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                    size_t cols, size_t group, float *slope)
{
    struct slope_work work = {.cpu = cpu_of(dev),
                              .x = (const float *)x,
                              .dx = (const float *)dx,
                              .seqs = seqs,
                              .cols = cols,
                              .group = group,
                              .slope = slope};
    cpu_run(work.cpu, slope_job, &work);
}
