/* norm.c: layer normalisation and dropout, spread over the team by rows.
 *
 * Gradients of gain and bias are summed by chunks of a fixed number of rows, each chunk into a
 * partial row of its own, and the partial rows are added in order: which thread took which chunk
 * does not show in the result. */
#include <stdatomic.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/norm_rows.h"

enum {
    CHUNK_ROWS = 64,      /* 64 rows × 768 columns × 3 arrays: fits a second-level cache */
    SHARE_ELEMENTS = 4096 /* of element-wise work: less is not worth waking a thread */
};

struct norm_work {
    const struct norm_rows *kernel;
    const struct norm_forward *forward;
    const struct norm_backward *backward;
    float *partial; /* backward: [chunks][2][cols] */
    size_t rows, chunk_rows;
    atomic_size_t next; /* chunk */
};

/* Few rows: each member the same ones that it has of products (linear.c). */
static void norm_share_job(void *context, size_t member, size_t n_members)
{
    struct norm_work *work = context;
    size_t begin, end;
    threads_share(work->rows, member, n_members, &begin, &end);
    work->kernel->forward(work->forward, begin, end);
}

/* The next chunk of rows nobody has taken. */
static bool norm_take(struct norm_work *work, size_t *chunk, size_t *begin, size_t *end)
{
    *chunk = atomic_fetch_add(&work->next, 1);
    *begin = *chunk * work->chunk_rows;
    *end = *begin + work->chunk_rows < work->rows ? *begin + work->chunk_rows : work->rows;
    return *begin < work->rows;
}

static void norm_forward_job(void *context, size_t member, size_t n_members)
{
    (void)member;
    (void)n_members;
    struct norm_work *work = context;
    size_t chunk, begin, end;
    while (norm_take(work, &chunk, &begin, &end))
        work->kernel->forward(work->forward, begin, end);
}

void cpu_add_norm(struct device *dev, enum norm norm, const act *x, const act *residual,
                  struct dropout dropout, const float *gain, const float *bias, float eps,
                  size_t rows, size_t cols, act *sum, float *stats, act *y)
{
    struct cpu *cpu = cpu_of(dev);
    struct norm_forward forward = {.norm = norm,
                                   .x = (const float *)x,
                                   .residual = (const float *)residual,
                                   .gain = gain,
                                   .bias = bias,
                                   .key = dropout_key(dropout),
                                   .eps = eps,
                                   .cols = cols,
                                   .sum = (float *)sum,
                                   .stats = stats,
                                   .y = (float *)y};
    struct norm_work work = {.kernel = ISA_PICK(norm_rows, cpu->isa),
                             .forward = &forward,
                             .rows = rows,
                             .chunk_rows = CHUNK_ROWS};
    if (cpu->n_members == 1 || rows * cols <= SHARE_ELEMENTS)
        work.kernel->forward(&forward, 0, rows);
    else
        cpu_run(cpu, rows <= cpu->n_members * CHUNK_ROWS ? norm_share_job : norm_forward_job,
                &work);
}

static void norm_backward_job(void *context, size_t member, size_t n_members)
{
    (void)member;
    (void)n_members;
    struct norm_work *work = context;
    size_t chunk, begin, end, cols = work->backward->cols;
    while (norm_take(work, &chunk, &begin, &end)) {
        float *partial = work->partial + chunk * 2 * cols;
        memset(partial, 0, 2 * cols * sizeof *partial);
        work->kernel->backward(work->backward, begin, end, partial, partial + cols);
    }
}

void cpu_add_norm_backward(struct device *dev, enum norm norm, const act *sum, const float *stats,
                           const float *gain, const act *dy, struct dropout dropout, size_t rows,
                           size_t cols, act *dz, act *dx, float *dgain, float *dbias, float *db)
{
    struct cpu *cpu = cpu_of(dev);
    struct norm_backward backward = {.norm = norm,
                                     .sum = (const float *)sum,
                                     .stats = stats,
                                     .gain = gain,
                                     .dy = (const float *)dy,
                                     .key = dropout_key(dropout),
                                     .cols = cols,
                                     .dz = (float *)dz,
                                     .dx = (float *)dx};
    size_t n_chunks = (rows + CHUNK_ROWS - 1) / CHUNK_ROWS;
    struct norm_work work = {.kernel = ISA_PICK(norm_rows, cpu->isa),
                             .backward = &backward,
                             .rows = rows,
                             .chunk_rows = CHUNK_ROWS};
    work.partial = cpu_scratch(cpu, 0, n_chunks * 2 * cols * sizeof *work.partial);
    if (!work.partial)
        return;
    cpu_run(cpu, norm_backward_job, &work);
    const struct elementwise *kernel = ISA_PICK(elementwise, cpu->isa);
    for (size_t chunk = 0; chunk < n_chunks; chunk++) {
        if (dgain)
            kernel->add(work.partial + chunk * 2 * cols, cols, dgain);
        if (dbias)
            kernel->add(work.partial + (chunk * 2 + 1) * cols, cols, dbias);
    }
    if (db)
        cpu_column_sum(dev, dx ? dx : dz, rows, cols, db);
}

struct dropout_work {
    const struct norm_rows *kernel;
    struct dropout_key key;
    float *x;
    size_t n;
};

static void dropout_job(void *context, size_t member, size_t n_members)
{
    struct dropout_work *work = context;
    size_t begin, end;
    threads_share(work->n, member, n_members, &begin, &end);
    work->kernel->dropout(&work->key, work->x, begin, end);
}

void cpu_dropout(struct device *dev, act *x, size_t n, struct dropout dropout)
{
    struct cpu *cpu = cpu_of(dev);
    struct dropout_work work = {ISA_PICK(norm_rows, cpu->isa), dropout_key(dropout), (float *)x, n};
    if (!work.key.threshold)
        return;
    if (n <= SHARE_ELEMENTS)
        dropout_job(&work, 0, 1);
    else
        cpu_run(cpu, dropout_job, &work);
}
