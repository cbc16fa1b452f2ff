/* device.c: devices by name. */
#include "kernels/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/openblas.h"

static const struct device_precision known_precision[] = {{"fp32", DTYPE_F32, false},
                                                          {"tf32", DTYPE_F32, true},
                                                          {"bf16", DTYPE_BF16, false},
                                                          {"fp16", DTYPE_F16, false}};
enum { N_PRECISIONS = sizeof known_precision / sizeof *known_precision };

const struct device_precision *device_precision_find(const char *name)
{
    for (size_t i = 0; i < N_PRECISIONS; i++)
        if (strcmp(known_precision[i].name, name) == 0)
            return &known_precision[i];
    return NULL;
}

const char *device_precision_name(enum dtype type, bool tf32)
{
    for (size_t i = 0; i < N_PRECISIONS; i++)
        if (known_precision[i].type == type && known_precision[i].tf32 == tf32)
            return known_precision[i].name;
    return dtype_name(type);
}

/* N of "cuda:N"; false: not a number. */
static bool cuda_index(const char *name, int *index)
{
    char *end = NULL;
    *index = 0;
    if (strcmp(name, "cuda") == 0)
        return true;
    if (strncmp(name, "cuda:", 5) != 0 || name[5] < '0' || name[5] > '9')
        return false;
    long number = strtol(name + 5, &end, 10);
    *index = number < 1 << 20 ? (int)number : 1 << 20;
    return *end == '\0';
}

bool device_is_cuda(const char *name)
{
    int index;
    return cuda_index(name, &index);
}

static struct device *open_cuda(const struct device_choice *choice, int index, struct error *err)
{
    struct device *dev = device_cuda_open(index, choice->precision, choice->max_memory, err);
    if (!dev || !choice->tf32 || device_cuda_tf32(dev, err))
        return dev;
    dev->op->close(dev);
    return NULL;
}

struct device *device_choose(const struct device_choice *choice, struct error *why,
                             struct error *err)
{
    const char *name = choice->name;
    int index;
    if (strcmp(name, "auto") == 0) {
        struct device *dev = open_cuda(choice, 0, why);
        return dev ? dev : device_cpu_open(choice->n_threads, err);
    }
    if (strcmp(name, "cpu") == 0)
        return device_cpu_open(choice->n_threads, err);
    if (strcmp(name, "reference") == 0)
        return device_reference_open(err);
    if (cuda_index(name, &index))
        return open_cuda(choice, index, err);
    error_set(err, "device \"%s\" is not known; expected cpu, cuda, cuda:N, reference or auto",
              name);
    return NULL;
}

struct device *device_open(const char *name, size_t n_threads, struct error *err)
{
    const struct device_choice choice = {
        .name = name, .n_threads = n_threads, .precision = DTYPE_F32};
    struct error why = ERROR_INIT;
    return device_choose(&choice, &why, err);
}

void device_list(char *text, size_t n)
{
    struct error err = ERROR_INIT;
    enum isa isa;
    if (isa_choose(&isa, &err))
        snprintf(text, n, "cpu (own kernels %s; OpenBLAS, loaded when pruning, core %s), %s",
                 isa_name(isa), openblas_core(), device_cuda_build());
    else
        snprintf(text, n, "no cpu (%s), %s", err.text, device_cuda_build());
}
