/* device.c: devices by name. */
#include <stdio.h>
#include <string.h>

#include "kernels/cpu/isa.h"
#include "kernels/cpu/openblas.h"
#include "kernels/kernels.h"

struct device *device_open(const char *name, size_t n_threads, struct error *err)
{
    if (strcmp(name, "cpu") == 0 || strcmp(name, "auto") == 0)
        return device_cpu_open(n_threads, err);
    if (strcmp(name, "reference") == 0)
        return device_reference_open(err);
    if (strcmp(name, "cuda") == 0 || strncmp(name, "cuda:", 5) == 0)
        error_set(err, "device \"%s\": this build has no CUDA engine yet: use --device cpu", name);
    else
        error_set(err, "device \"%s\" is not known; expected cpu, reference or auto", name);
    return NULL;
}

void device_list(char *text, size_t n)
{
    struct error err = ERROR_INIT;
    enum isa isa;
    if (isa_choose(&isa, &err))
        snprintf(text, n, "cpu (own kernels %s; OpenBLAS, loaded when training, core %s), no cuda",
                 isa_name(isa), openblas_core());
    else
        snprintf(text, n, "no cpu (%s), no cuda", err.text);
}
