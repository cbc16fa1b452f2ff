/* rounded.c: see rounded.h. */
#include "kernels/cpu/rounded.h"

#include <stdlib.h>

#include "core/memory.h"

enum { SMALL = 1 << 14 }; /* values: fewer are not worth waking a thread */

struct rounding {
    enum dtype format;
    const float *x;
    size_t stride, rows, cols;
    float *to;
};

static void round_job(void *context, size_t member, size_t n_members)
{
    const struct rounding *r = context;
    size_t begin, end;
    threads_share(r->rows, member, n_members, &begin, &end);
    for (size_t row = begin; row < end; row++) {
        const float *from = r->x + row * r->stride;
        float *to = r->to + row * r->cols;
        if (r->format == DTYPE_BF16)
            for (size_t i = 0; i < r->cols; i++)
                to[i] = dtype_bf16_to_float(dtype_float_to_bf16(from[i]));
        else
            for (size_t i = 0; i < r->cols; i++)
                to[i] = dtype_half_to_float(dtype_float_to_half(from[i]));
    }
}

const float *rounded_rows(struct cpu *cpu, enum dtype format, const float *x, size_t stride,
                          size_t rows, size_t cols, float **to, size_t *room)
{
    struct error err = ERROR_INIT;
    if (!memory_grow(to, room, rows * cols, sizeof **to, &err)) {
        cpu_fail(cpu, "%s", err.text);
        return NULL;
    }
    struct rounding work = {format, x, stride, rows, cols, *to};
    if (rows * cols <= SMALL)
        round_job(&work, 0, 1);
    else
        cpu_run(cpu, round_job, &work);
    return *to;
}

void rounded_free(struct rounded *rounded)
{
    if (!rounded)
        return;
    free(rounded->w);
    free(rounded->x);
    free(rounded->dy);
    free(rounded);
}
