/* embed.c: tables of rows (only rows that are asked for are touched, wherever the table lies), and
 * sums of gradient rows and columns. */
#include <stdatomic.h>

#include "core/int4.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/rotate_row.h"
#include "kernels/cpu/table_row.h"
#include "kernels/host.h"
#include "kernels/rotate.h"

enum {
    /* columns converted at a time, on the stack; whole groups of int4 and blocks of a rotation */
    PIECE = 4 * ROTATE_BLOCK,
    SMALL = 8192,   /* elements: less is not worth waking a thread */
    SLOTS_TAKEN = 8 /* rows of the gradient a thread takes at a time */
};

/* n columns of a row from `column`, a multiple of PIECE, on, as floats. */
static void table_row(const struct table_weights *table, enum isa isa, size_t row, size_t column,
                      size_t n, float *to)
{
    const struct table_row *kernel = ISA_PICK(table_row, isa);
    const struct weight *weight = &table->weight;
    if (weight->type == DTYPE_U8) {
        const uint8_t *codes = (const uint8_t *)weight->data + row * int4_row_bytes(weight->cols);
        const float *scale = weight->scale + row * int4_groups(weight->cols);
        kernel->int4(codes + column / 2, scale + column / INT4_GROUP, n, to);
        return;
    }
    size_t at = (row * weight->cols + column) * dtype_bytes(weight->type);
    if (weight->type == DTYPE_I8)
        kernel->int8((const int8_t *)weight->data + at, weight->scale[row], n, to);
    else
        dtype_to_float(weight->type, (const char *)weight->data + at, n, to);
    if (weight->rotated)
        ISA_PICK(rotate_row, isa)->run(to, n, to);
}

struct embed_work {
    struct cpu *cpu;
    const struct table_weights *word, *position, *type;
    const int32_t *id, *place;
    size_t n_tokens, cols;
    float *out;
};

static bool embed_check(const struct embed_work *work, size_t t)
{
    if (work->word && (size_t)work->id[t] >= work->word->weight.rows) { /* negative: too large */
        cpu_fail(work->cpu, "embed: token id %d, the table has %zu rows", work->id[t],
                 work->word->weight.rows);
        return false;
    }
    if (work->position && (size_t)work->place[t] >= work->position->weight.rows) {
        cpu_fail(work->cpu, "embed: position %d, the table has %zu rows; cut sequences shorter",
                 work->place[t], work->position->weight.rows);
        return false;
    }
    return true;
}

/* `type` NULL, or row 0 of that table [cols]. */
static void embed_token(const struct embed_work *work, const float *type, size_t t)
{
    const struct elementwise *kernel = ISA_PICK(elementwise, work->cpu->isa);
    enum isa isa = work->cpu->isa;
    float piece[PIECE], *out = work->out + t * work->cols;
    for (size_t c = 0; c < work->cols; c += PIECE) {
        size_t n = work->cols - c < PIECE ? work->cols - c : PIECE;
        if (work->word)
            table_row(work->word, isa, (size_t)work->id[t], c, n, out + c);
        if (work->position) {
            table_row(work->position, isa, (size_t)work->place[t], c, n, piece);
            kernel->add(piece, n, out + c);
        }
        if (type)
            kernel->add(type + c, n, out + c);
    }
}

static void embed_job(void *context, size_t member, size_t n_members)
{
    const struct embed_work *work = context;
    size_t begin, end;
    float *type = NULL;
    if (work->type) {
        type = cpu_scratch(work->cpu, member, work->cols * sizeof *type);
        if (!type)
            return;
        for (size_t c = 0; c < work->cols; c += PIECE)
            table_row(work->type, work->cpu->isa, 0, c,
                      work->cols - c < PIECE ? work->cols - c : PIECE, type + c);
    }
    threads_share(work->n_tokens, member, n_members, &begin, &end);
    for (size_t t = begin; t < end && embed_check(work, t); t++)
        embed_token(work, type, t);
}

void cpu_embed(struct device *dev, const struct table_weights *word,
               const struct table_weights *position, const struct table_weights *type,
               const int32_t *id, const int32_t *place, size_t n_tokens, size_t cols, act *out)
{
    struct cpu *cpu = cpu_of(dev);
    struct embed_work work = {cpu, word, position, type, id, place, n_tokens, cols, (float *)out};
    const struct table_weights *tables[] = {word, position, type};
    for (size_t i = 0; i < 3; i++)
        if (tables[i] && tables[i]->weight.cols != cols) {
            cpu_fail(cpu, "embed: a table of %zu columns, expected %zu", tables[i]->weight.cols,
                     cols);
            return;
        }
    if (n_tokens * cols <= SMALL)
        embed_job(&work, 0, 1);
    else
        cpu_run(cpu, embed_job, &work);
}

struct sum_work {
    const struct elementwise *kernel;
    const float *from;
    float *to;
    size_t rows, cols;
    const int32_t *order, *bound; /* rows_sum */
    atomic_size_t next;
};

static void add_job(void *context, size_t member, size_t n_members)
{
    struct sum_work *work = context;
    size_t begin, end;
    threads_share(work->cols, member, n_members, &begin, &end);
    work->kernel->add(work->from + begin, end - begin, work->to + begin);
}

void cpu_add(struct device *dev, const act *x, size_t n, act *y)
{
    struct cpu *cpu = cpu_of(dev);
    struct sum_work work = {.kernel = ISA_PICK(elementwise, cpu->isa),
                            .from = (const float *)x,
                            .to = (float *)y,
                            .cols = n};
    if (n <= SMALL)
        add_job(&work, 0, 1);
    else
        cpu_run(cpu, add_job, &work);
}

/* Members take slots as they come: the slot of [CLS] has a row of every sequence, most have one. */
static void rows_sum_job(void *context, size_t member, size_t n_members)
{
    (void)member;
    (void)n_members;
    struct sum_work *work = context;
    for (;;) {
        size_t first = atomic_fetch_add(&work->next, SLOTS_TAKEN), end = first + SLOTS_TAKEN;
        if (first >= work->rows)
            return;
        for (size_t slot = first; slot < end && slot < work->rows; slot++)
            for (int32_t i = work->bound[slot]; i < work->bound[slot + 1]; i++)
                work->kernel->add(work->from + (size_t)work->order[i] * work->cols, work->cols,
                                  work->to + slot * work->cols);
    }
}

void cpu_rows_sum(struct device *dev, const act *d, const int32_t *order, const int32_t *bound,
                  size_t n_slots, size_t cols, float *grad)
{
    struct cpu *cpu = cpu_of(dev);
    struct sum_work work = {.kernel = ISA_PICK(elementwise, cpu->isa),
                            .from = (const float *)d,
                            .to = grad,
                            .rows = n_slots,
                            .cols = cols,
                            .order = order,
                            .bound = bound};
    if (n_slots * cols <= SMALL)
        rows_sum_job(&work, 0, 1);
    else
        cpu_run(cpu, rows_sum_job, &work);
}

/* Columns are shared out, so that each sum is taken over all rows in order by one member. */
static void column_sum_job(void *context, size_t member, size_t n_members)
{
    struct sum_work *work = context;
    size_t begin, end;
    threads_share(work->cols, member, n_members, &begin, &end);
    for (size_t r = 0; r < work->rows; r++)
        work->kernel->add(work->from + r * work->cols + begin, end - begin, work->to + begin);
}

void cpu_column_sum(struct device *dev, const act *d, size_t rows, size_t cols, float *grad)
{
    struct cpu *cpu = cpu_of(dev);
    struct sum_work work = {.kernel = ISA_PICK(elementwise, cpu->isa),
                            .from = (const float *)d,
                            .to = grad,
                            .rows = rows,
                            .cols = cols};
    if (rows * cols <= SMALL)
        column_sum_job(&work, 0, 1);
    else
        cpu_run(cpu, column_sum_job, &work);
}
