/* host.h: what devices in the memory of the host have in common. */
#ifndef MILLET_KERNELS_HOST_H
#define MILLET_KERNELS_HOST_H

#include "kernels/kernels.h"

void host_memory(struct device *dev, struct device_memory *memory);
size_t host_work_bytes(const struct device *dev, const struct device_job *job);
size_t host_weight_bytes(const struct device *dev, enum dtype type, size_t rows, size_t cols,
                         bool table);
/* Nothing is known. */
void host_peak(struct device *dev, struct device_peak *peak);
bool host_reserve(struct device *dev, size_t work_bytes, struct error *err);

/* A table is read where it lies, whatever its type. */
struct table_weights {
    struct weight weight;
};
struct table_weights *host_table_prepare(struct device *dev, const struct weight *weight,
                                         struct error *err);
struct table_weights *host_table_bind(struct device *dev, float *w, size_t rows, size_t cols,
                                      struct error *err);
void host_table_free(struct device *dev, struct table_weights *table);

bool host_block_bind(struct device *dev, float *w, size_t n, struct error *err);
void host_block_unbind(struct device *dev, float *w);
void host_adamw_block(struct device *dev, const struct adamw *adamw,
                      const struct adamw_group *group, size_t n_groups, const float *factor,
                      const float *grad, float *m, float *v, float *w, struct linear *const *linear,
                      size_t n_linears);

void host_linear_norm(struct device *dev, const struct linear *linear, const act *x,
                      size_t x_stride, size_t rows, act *product, enum norm norm,
                      const act *residual, struct dropout dropout, const float *gain,
                      const float *bias, float eps, size_t cols, act *sum, float *stats, act *y);

#endif
