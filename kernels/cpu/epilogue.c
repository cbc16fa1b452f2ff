/* epilogue.c: the derivative of what follows a product, over all threads. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/elementwise.h"

struct epilogue_job {
    const struct elementwise *kernel;
    enum epilogue epilogue;
    const float *pre, *dy;
    float *dpre;
    size_t n;
};

static void backward(void *context, size_t member, size_t n_members)
{
    const struct epilogue_job *job = context;
    size_t begin, end;
    threads_share(job->n, member, n_members, &begin, &end);
    job->kernel->epilogue_backward(job->epilogue, job->pre + begin, job->dy + begin, end - begin,
                                   job->dpre + begin);
}

void cpu_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                           const act *dy, size_t rows, size_t cols, act *dpre, float *db)
{
    size_t n = rows * cols;
    struct cpu *cpu = cpu_of(dev);
    struct epilogue_job job = {.kernel = ISA_PICK(elementwise, cpu->isa),
                               .epilogue = epilogue,
                               .pre = (const float *)pre,
                               .dy = (const float *)dy,
                               .dpre = (float *)dpre,
                               .n = n};
    cpu_run(cpu, backward, &job);
    if (db)
        cpu_column_sum(dev, dpre, rows, cols, db);
}
