/* host.h: what devices in the memory of the host have in common. */
#ifndef MILLET_KERNELS_HOST_H
#define MILLET_KERNELS_HOST_H

#include "kernels/kernels.h"

void host_memory(struct device *dev, struct device_memory *memory);
size_t host_work_bytes(const struct device *dev, const struct device_job *job);
bool host_reserve(struct device *dev, size_t work_bytes, struct error *err);

#endif
