/* cpu.c: life of the CPU device, its memory and its operation table. */
#include "kernels/cpu/cpu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/memory.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/openblas.h"
#include "kernels/host.h"
#include "kernels/reference/reference.h"

/* 3 to 10 % faster than 512 in int8, at widths 256 to 768 with 1 MB of L2 a core; in fp32 the same. */
enum { PASS_TOKENS = 256 };

void cpu_fail(struct cpu *cpu, const char *format, ...)
{
    char text[ERROR_TEXT_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    pthread_mutex_lock(&cpu->error_lock);
    error_set(&cpu->error, "%s", text);
    pthread_mutex_unlock(&cpu->error_lock);
}

void *cpu_scratch(struct cpu *cpu, size_t member, size_t bytes)
{
    struct cpu_scratch *scratch = &cpu->scratch[member];
    if (bytes <= scratch->bytes && scratch->memory)
        return scratch->memory;
    struct error err = ERROR_INIT;
    size_t room = bytes + bytes / 4; /* grow ahead: batches grow in small steps */
    free(scratch->memory);
    scratch->memory = memory_aligned(room, 1, &err);
    scratch->bytes = scratch->memory ? room : 0;
    if (!scratch->memory)
        cpu_fail(cpu, "working memory of a CPU operation: %s", err.text);
    return scratch->memory;
}

void *cpu_scratch_shared(struct cpu *cpu, size_t bytes)
{
    return cpu_scratch(cpu, cpu->n_members, bytes);
}

void cpu_run(struct cpu *cpu, threads_job *job, void *context)
{
    threads_run(cpu->team, job, context);
}

/* ---- memory ---- */

/* A page fault costs as much as packing a thousand weights, and rows of activations lie on more
 * small pages than the first-level TLB holds. */
void *cpu_memory(size_t bytes, struct error *err)
{
    const size_t huge = (size_t)2 << 20;
    void *memory;
    if (bytes < huge || bytes > PTRDIFF_MAX || posix_memalign(&memory, huge, bytes) != 0)
        return memory_aligned(bytes, 1, err);
    (void)madvise(memory, bytes / huge * huge, MADV_HUGEPAGE); /* a wish; the answer is unused */
    return memory;
}

static void *cpu_alloc(struct device *dev, size_t bytes, struct error *err)
{
    (void)dev;
    return cpu_memory(bytes, err);
}

static void cpu_free(struct device *dev, void *memory)
{
    (void)dev;
    free(memory);
}

static void cpu_zero(struct device *dev, void *memory, size_t bytes)
{
    (void)dev;
    if (bytes > 0)
        memset(memory, 0, bytes);
}

static void cpu_upload(struct device *dev, void *to, const void *from_host, size_t bytes)
{
    (void)dev;
    if (bytes > 0)
        memcpy(to, from_host, bytes);
}

static void cpu_download(struct device *dev, void *to_host, const void *from, size_t bytes)
{
    (void)dev;
    if (bytes > 0)
        memcpy(to_host, from, bytes);
}

static void cpu_act_upload(struct device *dev, act *to, const float *from_host, size_t n)
{
    cpu_upload(dev, to, from_host, n * sizeof(float));
}

static void cpu_act_download(struct device *dev, float *to_host, const act *from, size_t n)
{
    cpu_download(dev, to_host, from, n * sizeof(float));
}

/* ---- life ---- */

static bool cpu_sync(struct device *dev, struct error *err)
{
    struct cpu *cpu = cpu_of(dev);
    if (cpu->error.set)
        return error_set(err, "%s", cpu->error.text);
    for (size_t i = 0; cpu->lanes && i < dev->n_lanes; i++)
        if (cpu->lanes[i].error.set)
            return error_set(err, "%s", cpu->lanes[i].error.text);
    return true;
}

static struct device *cpu_lane(struct device *dev, size_t lane)
{
    struct cpu *cpu = cpu_of(dev);
    return cpu->lanes ? &cpu->lanes[lane].device : dev;
}

static void cpu_describe(const struct device *dev, char *text, size_t n)
{
    const struct cpu *cpu = (const struct cpu *)dev;
    char blas[80];
    openblas_describe(cpu->openblas, blas, sizeof blas);
    snprintf(text, n, "own kernels %s, %s, %zu thread%s", isa_name(cpu->isa), blas, cpu->n_members,
             cpu->n_members == 1 ? "" : "s");
}

static void release(struct cpu *cpu)
{
    for (size_t i = 0; cpu->scratch && i <= cpu->n_members; i++)
        free(cpu->scratch[i].memory);
    free(cpu->scratch);
    openblas_close(cpu->openblas);
    pthread_mutex_destroy(&cpu->error_lock);
}

static void cpu_close(struct device *dev)
{
    struct cpu *cpu = cpu_of(dev);
    for (size_t i = 0; cpu->lanes && i < dev->n_lanes; i++)
        release(&cpu->lanes[i]);
    free(cpu->lanes);
    threads_close(cpu->team);
    release(cpu);
    free(cpu);
}

static const struct device_ops operations = {
    .close = cpu_close,
    .lane = cpu_lane,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .zero = cpu_zero,
    .upload = cpu_upload,
    .download = cpu_download,
    .act_upload = cpu_act_upload,
    .act_download = cpu_act_download,
    .sync = cpu_sync,
    .memory = host_memory,
    .work_bytes = host_work_bytes,
    .weight_bytes = cpu_weight_bytes,
    .reserve = host_reserve,
    .describe = cpu_describe,
    .peak = cpu_peak,
    .linear_prepare = cpu_linear_prepare,
    .linear_scale = cpu_linear_scale,
    .linear_bind = cpu_linear_bind,
    .linear_refresh = cpu_linear_refresh,
    .block_bind = host_block_bind,
    .block_unbind = host_block_unbind,
    .linear_round = cpu_linear_round,
    .linear_free = cpu_linear_free,
    .linear_size = cpu_linear_size,
    .table_prepare = host_table_prepare,
    .table_bind = host_table_bind,
    .table_free = host_table_free,
    .bag_prepare = cpu_bag_prepare,
    .bag_free = cpu_bag_free,
    .bag = cpu_bag,
    .embed = cpu_embed,
    .linear = cpu_linear,
    .add_norm = cpu_add_norm,
    .linear_norm = host_linear_norm,
    .attention = cpu_attention,
    .gather_first = cpu_gather_first,
    .trigram = cpu_trigram,
    .trigram_backward = cpu_trigram_backward,
    .mean_pool = cpu_mean_pool,
    .mean_pool_backward = cpu_mean_pool_backward,
    .dropout = cpu_dropout,
    .linear_backward = cpu_linear_backward,
    .epilogue_backward = cpu_epilogue_backward,
    .add_norm_backward = cpu_add_norm_backward,
    .attention_backward = cpu_attention_backward,
    .scatter_first_add = cpu_scatter_first_add,
    .add = cpu_add,
    .rows_sum = cpu_rows_sum,
    .column_sum = cpu_column_sum,
    .loss = cpu_loss,
    .loss_multi_label = cpu_loss_multi_label,
    .sum_squares = cpu_sum_squares,
    .clip_factor = cpu_clip_factor,
    .adamw = cpu_adamw,
    .adamw_block = host_adamw_block,
    .adamw_rows = cpu_adamw_rows,
    .match = cpu_match,
    .relation = cpu_relation,
    .unit_slope = cpu_unit_slope,
    .solve = cpu_solve,
    .gram = cpu_gram,
    .block_mask = cpu_block_mask,
    .round_rows = cpu_round_rows,
    .rotate_rows = cpu_rotate_rows,
    .block_sum = cpu_block_sum,
};

static bool set_up(struct cpu *cpu, enum isa isa, size_t n_members, size_t n_lanes,
                   struct error *err)
{
    pthread_mutex_init(&cpu->error_lock, NULL);
    cpu->device = (struct device){.op = &operations,
                                  .name = "cpu",
                                  .act_bytes = sizeof(float),
                                  .n_lanes = n_lanes,
                                  .pass_tokens = PASS_TOKENS};
    cpu->isa = isa;
    cpu->n_members = n_members;
    cpu->scratch = memory_zeroed(n_members + 1, sizeof *cpu->scratch, err);
    return cpu->scratch != NULL;
}

struct device *device_cpu_open(size_t n_threads, struct error *err)
{
    enum isa isa;
    if (n_threads == 0) {
        error_set(err, "CPU device: 0 threads asked for; at least 1 is needed");
        return NULL;
    }
    if (!isa_choose(&isa, err))
        return NULL;
    struct cpu *cpu = memory_zeroed(1, sizeof *cpu, err);
    if (!cpu)
        return NULL;
    bool ok = set_up(cpu, isa, n_threads, n_threads, err);
    if (ok)
        ok = (cpu->lanes = memory_zeroed(n_threads, sizeof *cpu->lanes, err)) != NULL;
    for (size_t i = 0; cpu->lanes && i < n_threads; i++)
        ok = set_up(&cpu->lanes[i], isa, 1, 1, err) && ok;
    if (ok && n_threads > 1)
        ok = (cpu->team = threads_open(n_threads, err)) != NULL;
    if (ok)
        return &cpu->device;
    cpu_close(&cpu->device);
    return NULL;
}
