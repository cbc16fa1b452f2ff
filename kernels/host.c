/* host.c: see host.h. */
#include "kernels/host.h"

#include <stdlib.h>

#include "core/memory.h"
#include "kernels/weight.h"

void host_memory(struct device *dev, struct device_memory *memory)
{
    (void)dev;
    *memory = (struct device_memory){.free = memory_available()};
}

size_t host_work_bytes(const struct device *dev, const struct device_job *job)
{
    (void)dev;
    (void)job;
    return 0;
}

size_t host_weight_bytes(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                         bool table)
{
    (void)dev;
    size_t element = type == DTYPE_I8 ? sizeof(int8_t) : sizeof(float);
    return table ? 0 : rows * (cols * element + sizeof(float));
}

void host_peak(struct device *dev, struct device_peak *peak)
{
    (void)dev;
    *peak = (struct device_peak){0};
}

bool host_reserve(struct device *dev, size_t work_bytes, struct error *err)
{
    (void)dev;
    (void)work_bytes;
    (void)err;
    return true;
}

struct table_weights *host_table_prepare(struct device *dev, const struct weight *weight,
                                         struct error *err)
{
    (void)dev;
    if (!weight_check_table(weight, err))
        return NULL;
    struct table_weights *table = memory_zeroed(1, sizeof *table, err);
    if (table)
        table->weight = *weight;
    return table;
}

struct table_weights *host_table_bind(struct device *dev, float *w, size_t rows, size_t cols,
                                      struct error *err)
{
    struct weight weight = {.data = w, .type = DTYPE_F32, .rows = rows, .cols = cols};
    return host_table_prepare(dev, &weight, err);
}

void host_table_free(struct device *dev, struct table_weights *table)
{
    (void)dev;
    free(table);
}

/* Matrices are multiplied as they are bound. */
bool host_block_bind(struct device *dev, float *w, size_t n, struct error *err)
{
    (void)dev;
    (void)w;
    (void)n;
    (void)err;
    return true;
}

void host_block_unbind(struct device *dev, float *w)
{
    (void)dev;
    (void)w;
}

void host_adamw_block(struct device *dev, const struct adamw *adamw,
                      const struct adamw_group *group, size_t n_groups, const float *factor,
                      const float *grad, float *m, float *v, float *w, struct linear *const *linear,
                      size_t n_linears)
{
    for (size_t g = 0, at = 0; g < n_groups; at = group[g++].end) {
        struct adamw own = *adamw;
        own.lr = group[g].lr;
        own.weight_decay = group[g].weight_decay;
        dev->op->adamw(dev, &own, factor, group[g].end - at, grad + at, m + at, v + at, w + at);
    }
    for (size_t i = 0; i < n_linears; i++)
        dev->op->linear_refresh(dev, linear[i]);
}

void host_linear_norm(struct device *dev, const struct linear *linear, const act *x,
                      size_t x_stride, size_t rows, act *product, enum norm norm,
                      const act *residual, struct dropout dropout, const float *gain,
                      const float *bias, float eps, size_t cols, act *sum, float *stats, act *y)
{
    dev->op->linear(dev, linear, x, x_stride, rows, EPILOGUE_NONE, NULL, product, cols);
    dev->op->add_norm(dev, norm, product, residual, dropout, gain, bias, eps, rows, cols, sum,
                      stats, y);
}
