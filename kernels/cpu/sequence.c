/* sequence.c: operations along the rows of a sequence: first rows, neighbours, means. Each member
 * takes whole sequences. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/elementwise.h"

enum { SMALL = 8192 }; /* elements: less is not worth waking a thread */

void cpu_gather_first(struct device *dev, const act *x, const struct seqs *seqs, size_t cols,
                      act *y)
{
    (void)dev;
    for (size_t s = 0; s < seqs->n; s++)
        memcpy((float *)y + s * cols, (const float *)x + (size_t)seqs->offset[s] * cols,
               cols * sizeof(float));
}

void cpu_scatter_first_add(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                           act *x)
{
    const struct elementwise *kernel = ISA_PICK(elementwise, cpu_of(dev)->isa);
    for (size_t s = 0; s < seqs->n; s++)
        kernel->add((const float *)dy + s * cols, cols,
                    (float *)x + (size_t)seqs->offset[s] * cols);
}

struct sequence_work;
/* Sequence s, its rows first … last - 1. */
typedef void each_sequence(const struct sequence_work *work, size_t s, size_t first, size_t last);

struct sequence_work {
    each_sequence *each;
    const struct elementwise *kernel;
    const struct seqs *seqs;
    const float *from;
    float *to;
    size_t cols;
};

static void sequence_job(void *context, size_t member, size_t n_members)
{
    const struct sequence_work *work = context;
    const int32_t *offset = work->seqs->offset;
    size_t begin, end;
    threads_share(work->seqs->n, member, n_members, &begin, &end);
    for (size_t s = begin; s < end; s++)
        work->each(work, s, (size_t)offset[s], (size_t)offset[s + 1]);
}

/* `each` on the sequences, an array of T rows being read or written. */
static void share_sequences(struct device *dev, each_sequence *each, const act *from,
                            const struct seqs *seqs, size_t cols, act *to)
{
    struct cpu *cpu = cpu_of(dev);
    struct sequence_work work = {.each = each,
                                 .kernel = ISA_PICK(elementwise, cpu->isa),
                                 .seqs = seqs,
                                 .from = (const float *)from,
                                 .to = (float *)to,
                                 .cols = cols};
    if (seqs->n_tokens * cols <= SMALL)
        sequence_job(&work, 0, 1);
    else
        cpu_run(cpu, sequence_job, &work);
}

static void copy_or_zero(const float *from, bool there, size_t n, float *to)
{
    if (there)
        memcpy(to, from, n * sizeof *to);
    else
        memset(to, 0, n * sizeof *to);
}

static void each_trigram(const struct sequence_work *work, size_t s, size_t first, size_t last)
{
    (void)s;
    size_t n = work->cols;
    for (size_t t = first; t < last; t++) {
        const float *x = work->from + t * n;
        float *y = work->to + 3 * t * n;
        copy_or_zero(x + n, t + 1 < last, n, y);
        memcpy(y + n, x, n * sizeof *y);
        copy_or_zero(t > first ? x - n : x, t > first, n, y + 2 * n);
    }
}

void cpu_trigram(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y)
{
    share_sequences(dev, each_trigram, x, seqs, cols, y);
}

/* Row t is the own part of row t, the next part of row t - 1, the previous part of row t + 1. */
static void each_trigram_backward(const struct sequence_work *work, size_t s, size_t first,
                                  size_t last)
{
    (void)s;
    size_t n = work->cols;
    for (size_t t = first; t < last; t++) {
        const float *dy = work->from + 3 * t * n;
        float *dx = work->to + t * n;
        memcpy(dx, dy + n, n * sizeof *dx);
        if (t > first)
            work->kernel->add(dy - 3 * n, n, dx);
        if (t + 1 < last)
            work->kernel->add(dy + 5 * n, n, dx);
    }
}

void cpu_trigram_backward(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                          act *dx)
{
    share_sequences(dev, each_trigram_backward, dy, seqs, cols, dx);
}

static void each_mean_pool(const struct sequence_work *work, size_t s, size_t first, size_t last)
{
    size_t n = work->cols;
    float *y = work->to + s * n;
    memset(y, 0, n * sizeof *y);
    for (size_t t = first; t < last; t++)
        work->kernel->add(work->from + t * n, n, y);
    for (size_t c = 0; c < n && last > first; c++)
        y[c] /= (float)(last - first);
}

void cpu_mean_pool(struct device *dev, const act *x, const struct seqs *seqs, size_t cols, act *y)
{
    share_sequences(dev, each_mean_pool, x, seqs, cols, y);
}

static void each_mean_pool_backward(const struct sequence_work *work, size_t s, size_t first,
                                    size_t last)
{
    size_t n = work->cols;
    for (size_t t = first; t < last; t++)
        for (size_t c = 0; c < n; c++)
            work->to[t * n + c] = work->from[s * n + c] / (float)(last - first);
}

void cpu_mean_pool_backward(struct device *dev, const act *dy, const struct seqs *seqs, size_t cols,
                            act *dx)
{
    share_sequences(dev, each_mean_pool_backward, dy, seqs, cols, dx);
}
