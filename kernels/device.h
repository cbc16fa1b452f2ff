/* device.h: a device by name, for who knows more than the name. */
#ifndef MILLET_KERNELS_DEVICE_H
#define MILLET_KERNELS_DEVICE_H

#include "kernels/kernels.h"

/* What a device computes in, as options name it. */
#define DEVICE_PRECISIONS "fp32, tf32, bf16 or fp16"
struct device_precision {
    const char *name;
    enum dtype type; /* of products, and of activations on a GPU */
    bool tf32;       /* device_cuda_tf32() */
};
const struct device_precision *device_precision_find(const char *name); /* NULL: not known */
const char *device_precision_name(enum dtype type, bool tf32);

struct device_choice {
    const char *name; /* as for device_open() */
    size_t n_threads; /* of a CPU */
    /* Of a GPU: what activations are, F32, BF16 or F16, and how much of its memory may be used, in
     * bytes (0: all). */
    enum dtype precision;
    size_t max_memory;
    bool tf32; /* of a GPU with precision F32 */
};

/* Of "auto", `why` has afterwards the reason for which it is no GPU, if it is none. */
struct device *device_choose(const struct device_choice *choice, struct error *why,
                             struct error *err) MUST_CHECK;

/* Whether the name asks for a GPU: "cuda", "cuda:N". */
bool device_is_cuda(const char *name);

#endif
