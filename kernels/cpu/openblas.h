/* openblas.h: OpenBLAS, opened at the first operation that needs it (gram.c, solve.c): a tool that only asks for
 * --version, or runs packed kernels, does not pay for loading it, and does not need it to be
 * installed. It works single-threaded inside our threads. */
#ifndef MILLET_KERNELS_CPU_OPENBLAS_H
#define MILLET_KERNELS_CPU_OPENBLAS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

struct openblas;

/* Loads the library, or gives the one that is loaded. NULL: not installed, or not usable; the text
 * names the package.
 *
 * The library chooses its kernels while it is loaded, from OPENBLAS_CORETYPE; versions that do not
 * know a processor fall back to SSE3 (a fifth of the speed). Hence this function sets
 * OPENBLAS_CORETYPE from our own detection, and OPENBLAS_NUM_THREADS to 1, unless the user has set
 * them. The environment is the process's: call it from the thread that opened the device; nothing
 * else in Millet reads or writes the environment after start-up. */
struct openblas *openblas_open(struct error *err) MUST_CHECK;
void openblas_close(struct openblas *blas); /* NULL is fine */

/* The kernels openblas_open() would ask for, without loading anything: OPENBLAS_CORETYPE, or ours;
 * "its own choice" where there is nothing to choose. */
const char *openblas_core(void);

/* "OpenBLAS 0.3.21 Cooperlake"; of NULL "OpenBLAS not loaded". */
void openblas_describe(const struct openblas *blas, char *text, size_t n);

/* Row-major C [m, n] = A B + beta C; A is [m, k] or, when a_transposed, [k, m]; B is [k, n] or [n,
 * k]. */
struct openblas_product {
    bool a_transposed, b_transposed;
    size_t m, n, k;
    const float *a;
    size_t a_stride;
    const float *b;
    size_t b_stride;
    float beta;
    float *c;
    size_t c_stride;
};
/* Sizes and strides must be at most INT_MAX. Any thread. */
void openblas_run(const struct openblas *blas, const struct openblas_product *product);

/* LAPACK, which some builds of OpenBLAS leave out. blas NULL: no. */
bool openblas_has_lapack(const struct openblas *blas);
/* a [n, n], triangle i <= j, row-major, becomes the factor U of a = Uᵀ U; false: not positive
 * definite. Then each row of x [m, n] becomes (Uᵀ U)⁻¹ of it. n and m at most INT_MAX. Any
 * thread. */
bool openblas_factor(const struct openblas *blas, double *a, size_t n);
void openblas_solve(const struct openblas *blas, const double *u, size_t n, double *x, size_t m);

#endif
