/* host.c: see host.h. */
#include "kernels/host.h"

#include "core/memory.h"

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

bool host_reserve(struct device *dev, size_t work_bytes, struct error *err)
{
    (void)dev;
    (void)work_bytes;
    (void)err;
    return true;
}
