/* openblas.c: OpenBLAS by dlopen, with the right kernels. */
#include "kernels/cpu/openblas.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

/* enum CBLAS_ORDER and CBLAS_TRANSPOSE of the C interface to the BLAS. */
enum { ROW_MAJOR = 101, PLAIN = 111, TRANSPOSED = 112 };

typedef void sgemm_function(int order, int a_form, int b_form, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);

/* Fortran: by reference, column-major, lengths of strings last. */
typedef void dpotrf_function(const char *triangle, const int *n, double *a, const int *lda,
                             int *info, size_t triangle_length);
typedef void dpotrs_function(const char *triangle, const int *n, const int *m, const double *a,
                             const int *lda, double *x, const int *ldx, int *info,
                             size_t triangle_length);

struct openblas {
    sgemm_function *sgemm;
    dpotrf_function *dpotrf; /* NULL, as dpotrs: a build without LAPACK */
    dpotrs_function *dpotrs;
    char name[80]; /* "OpenBLAS 0.3.21 Cooperlake" */
};

/* The name of OpenBLAS' best kernels for this processor; NULL: let it choose. */
static const char *best_core(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return __builtin_cpu_supports("avx512vnni") ? "Cooperlake" : "SkylakeX";
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return __builtin_cpu_is("amd") ? "Zen" : "Haswell";
#endif
    return NULL;
}

const char *openblas_core(void)
{
    const char *core = getenv("OPENBLAS_CORETYPE");
    if (!core || !core[0])
        core = best_core();
    return core ? core : "its own choice";
}

static void *load(struct error *err)
{
    const char *core = best_core();
    if (core)
        setenv("OPENBLAS_CORETYPE", core, 0);
    setenv("OPENBLAS_NUM_THREADS", "1", 0);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        error_set(err,
                  "OpenBLAS, which pruning by least squares needs, cannot be loaded (%s); install "
                  "it (Debian: "
                  "apt-get install libopenblas0)",
                  dlerror());
    return library;
}

/* A function of the library; ISO C has no conversion from object to function pointer, POSIX demands
 * that it works. */
static bool find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

struct openblas *openblas_open(struct error *err)
{
    void *library = load(err);
    if (!library)
        return NULL;
    sgemm_function *sgemm;
    void (*set_threads)(int) = NULL;
    char *(*config)(void) = NULL, *(*core)(void) = NULL;
    /* The library stays loaded to the end of the process: it registers fork handlers and keeps
     * buffers. */
    if (!find(library, "cblas_sgemm", &sgemm) ||
        !find(library, "openblas_set_num_threads", &set_threads) ||
        !find(library, "openblas_get_config", &config) ||
        !find(library, "openblas_get_corename", &core)) {
        error_set(err, "libopenblas.so.0 lacks functions of OpenBLAS (cblas_sgemm, "
                       "openblas_get_config, …); install Debian's libopenblas0");
        return NULL;
    }
    struct openblas *blas = memory_zeroed(1, sizeof *blas, err);
    if (!blas)
        return NULL;
    set_threads(1);
    blas->sgemm = sgemm;
    if (!find(library, "dpotrf_", &blas->dpotrf) || !find(library, "dpotrs_", &blas->dpotrs))
        blas->dpotrf = NULL;
    char version[32] = "";
    if (sscanf(config(), "OpenBLAS %31s", version) != 1)
        version[0] = '\0';
    snprintf(blas->name, sizeof blas->name, "OpenBLAS %s %.24s", version, core());
    return blas;
}

void openblas_close(struct openblas *blas)
{
    free(blas);
}

void openblas_describe(const struct openblas *blas, char *text, size_t n)
{
    snprintf(text, n, "%s", blas ? blas->name : "OpenBLAS not loaded");
}

void openblas_run(const struct openblas *blas, const struct openblas_product *p)
{
    if (p->m == 0 || p->n == 0)
        return;
    blas->sgemm(ROW_MAJOR, p->a_transposed ? TRANSPOSED : PLAIN,
                p->b_transposed ? TRANSPOSED : PLAIN, (int)p->m, (int)p->n, (int)p->k, 1.0f, p->a,
                (int)p->a_stride, p->b, (int)p->b_stride, p->beta, p->c, (int)p->c_stride);
}

bool openblas_has_lapack(const struct openblas *blas)
{
    return blas && blas->dpotrf;
}

/* Row-major upper is column-major lower. */
bool openblas_factor(const struct openblas *blas, double *a, size_t n)
{
    int order = (int)n, stride = n > 0 ? order : 1, info = 0;
    blas->dpotrf("L", &order, a, &stride, &info, 1);
    return info == 0;
}

void openblas_solve(const struct openblas *blas, const double *u, size_t n, double *x, size_t m)
{
    int order = (int)n, rows = (int)m, stride = n > 0 ? order : 1, info = 0;
    blas->dpotrs("L", &order, &rows, u, &stride, x, &stride, &info, 1);
}
