/* solve.h: symmetric positive definite systems by Cholesky's factors, plain loops in double: the
 * reference, and the CPU where there is no LAPACK. */
#ifndef MILLET_KERNELS_SOLVE_H
#define MILLET_KERNELS_SOLVE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* a [n, n], its triangle i <= j is read, becomes upper U with a = Uᵀ U. false: not positive
 * definite. */
static inline bool solve_factor(double *a, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        double *row = a + k * n;
        if (!(row[k] > 0))
            return false;
        double pivot = sqrt(row[k]);
        for (size_t j = k; j < n; j++)
            row[j] /= pivot;
        for (size_t i = k + 1; i < n; i++)
            for (size_t j = i; j < n; j++)
                a[i * n + j] -= row[i] * row[j];
    }
    return true;
}

/* x [n] = (Uᵀ U)⁻¹ x. */
static inline void solve_row(const double *u, size_t n, double *x)
{
    for (size_t k = 0; k < n; k++) {
        x[k] /= u[k * n + k];
        for (size_t j = k + 1; j < n; j++)
            x[j] -= u[k * n + j] * x[k];
    }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++)
            x[k] -= u[k * n + j] * x[j];
        x[k] /= u[k * n + k];
    }
}

#endif
