/* blocks.c: masking a matrix by blocks and sums over them, spread over the team by whole blocks, so
 * that results do not depend on it. */
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/norm_rows.h"

enum { SMALL = 8192 }; /* elements: less is not worth waking a thread */

struct blocks_work {
    struct cpu *cpu;
    const struct blocks *blocks;
    const float *keep, *x, *y;
    float *to;
};

/* The blocks of one member: rows or columns of the grid, whichever there are more of. */
struct region {
    size_t down, down_end, across, across_end;
};

static struct region region_of(const struct blocks *blocks, size_t member, size_t n_members)
{
    struct region region = {.down_end = blocks_down(blocks), .across_end = blocks_across(blocks)};
    if (region.down_end >= region.across_end)
        threads_share(region.down_end, member, n_members, &region.down, &region.down_end);
    else
        threads_share(region.across_end, member, n_members, &region.across, &region.across_end);
    return region;
}

static void run(struct blocks_work *work, threads_job *job)
{
    if (work->blocks->rows * work->blocks->cols < SMALL)
        job(work, 0, 1);
    else
        cpu_run(work->cpu, job, work);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void mask_row(const struct blocks_work *work, const struct region *region, const float *keep,
                     size_t row)
{
    const struct blocks *blocks = work->blocks;
    const float *from = work->x + row * blocks->cols;
    float *to = work->to + row * blocks->cols;
    size_t width = blocks->block_cols;
    if (width == 1) {
        for (size_t c = region->across; c < region->across_end; c++)
            to[c] = keep[c] != 0.0F ? from[c] : 0.0F;
        return;
    }
    for (size_t j = region->across; j < region->across_end; j++) {
        size_t begin = j * width, n = least(width, blocks->cols - begin);
        if (keep[j] == 0.0F)
            memset(to + begin, 0, n * sizeof *to);
        else if (to != from)
            memcpy(to + begin, from + begin, n * sizeof *to);
    }
}

static void mask_job(void *context, size_t member, size_t n_members)
{
    const struct blocks_work *work = context;
    const struct blocks *blocks = work->blocks;
    const struct region region = region_of(blocks, member, n_members);
    size_t across = blocks_across(blocks);
    for (size_t i = region.down; i < region.down_end; i++) {
        size_t end = least((i + 1) * blocks->block_rows, blocks->rows);
        for (size_t r = i * blocks->block_rows; r < end; r++)
            mask_row(work, &region, work->keep + i * across, r);
    }
}

void cpu_block_mask(struct device *dev, const struct blocks *blocks, const float *keep,
                    const float *from, float *to)
{
    struct blocks_work work = {
        .cpu = cpu_of(dev), .blocks = blocks, .keep = keep, .x = from, .to = to};
    run(&work, mask_job);
}

/* Column sums over the rows of a row of blocks, then over the columns of each block. */
static void sum_job(void *context, size_t member, size_t n_members)
{
    const struct blocks_work *work = context;
    const struct blocks *blocks = work->blocks;
    const struct norm_rows *kernel = ISA_PICK(norm_rows, work->cpu->isa);
    const struct region region = region_of(blocks, member, n_members);
    size_t begin = region.across * blocks->block_cols, across = blocks_across(blocks);
    size_t end = least(region.across_end * blocks->block_cols, blocks->cols);
    if (region.down == region.down_end || begin >= end)
        return;
    float *column = cpu_scratch(work->cpu, member, (end - begin) * sizeof *column);
    for (size_t i = region.down; column && i < region.down_end; i++) {
        size_t row_end = least((i + 1) * blocks->block_rows, blocks->rows);
        memset(column, 0, (end - begin) * sizeof *column);
        for (size_t r = i * blocks->block_rows; r < row_end; r++) {
            size_t at = r * blocks->cols + begin;
            kernel->multiply_add(work->x + at, work->y + at, end - begin, column);
        }
        for (size_t j = region.across; j < region.across_end; j++) {
            size_t c = j * blocks->block_cols, c_end = least(c + blocks->block_cols, end);
            double total = 0;
            for (; c < c_end; c++)
                total += (double)column[c - begin];
            work->to[i * across + j] += (float)total;
        }
    }
}

void cpu_block_sum(struct device *dev, const struct blocks *blocks, const float *x, const float *y,
                   float *sum)
{
    struct blocks_work work = {.cpu = cpu_of(dev), .blocks = blocks, .x = x, .y = y, .to = sum};
    run(&work, sum_job);
}
