/* no_cuda.c: what stands for kernels/cuda in a build without it. */
#include "kernels/kernels.h"

struct device *device_cuda_open(int index, enum dtype precision, size_t max_memory,
                                struct error *err)
{
    (void)precision;
    (void)max_memory;
    error_set(err,
              "device cuda:%d: this build has no CUDA engine (make CUDA=1 builds it, with nvcc): "
              "use --device cpu",
              index);
    return NULL;
}

bool device_cuda_tf32(struct device *dev, struct error *err)
{
    return error_set(err, "device %s is no CUDA device: it has no TF32", dev->name);
}

const char *device_cuda_build(void)
{
    return "no cuda";
}
