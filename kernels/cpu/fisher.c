/* fisher.c: importance of heads and neurons, spread over the team by columns. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/norm_rows.h"

struct fisher_work {
    struct cpu *cpu;
    const float *x, *dx;
    const struct seqs *seqs;
    size_t cols, group;
    float *score;
};

static void fisher_job(void *context, size_t member, size_t n_members)
{
    const struct fisher_work *work = context;
    const struct norm_rows *kernel = ISA_PICK(norm_rows, work->cpu->isa);
    size_t begin, end;
    threads_share(work->cols / work->group, member, n_members, &begin, &end);
    size_t n = (end - begin) * work->group, first = begin * work->group;
    float *slope = cpu_scratch(work->cpu, member, (n + 1) * sizeof *slope);
    for (size_t s = 0; slope && s < work->seqs->n; s++) {
        memset(slope, 0, n * sizeof *slope);
        for (int32_t t = work->seqs->offset[s]; t < work->seqs->offset[s + 1]; t++) {
            size_t at = (size_t)t * work->cols + first;
            kernel->multiply_add(work->x + at, work->dx + at, n, slope);
        }
        for (size_t unit = begin; unit < end; unit++) {
            double sum = 0;
            for (size_t c = 0; c < work->group; c++)
                sum += (double)slope[(unit - begin) * work->group + c];
            work->score[unit] += (float)(sum * sum);
        }
    }
}

void cpu_unit_fisher(struct device *dev, const act *x, const act *dx, const struct seqs *seqs,
                     size_t cols, size_t group, float *score)
{
    struct fisher_work work = {.cpu = cpu_of(dev),
                               .x = (const float *)x,
                               .dx = (const float *)dx,
                               .seqs = seqs,
                               .cols = cols,
                               .group = group,
                               .score = score};
    cpu_run(work.cpu, fisher_job, &work);
}
