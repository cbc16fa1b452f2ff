/* solve.c: symmetric positive definite systems by OpenBLAS' LAPACK: one factorisation, then the
 * right sides shared out. */
#include "kernels/solve.h"

#include <limits.h>

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/openblas.h"

struct solve_work {
    struct cpu *cpu;
    const double *u; /* the factor */
    bool lapack;
    size_t n, m;
    float *b;
};

static void solve_job(void *context, size_t member, size_t n_members)
{
    const struct solve_work *work = context;
    size_t begin, end, n = work->n;
    threads_share(work->m, member, n_members, &begin, &end);
    double *x = cpu_scratch(work->cpu, member, ((end - begin) * n + 1) * sizeof *x);
    if (!x)
        return;
    float *b = work->b + begin * n;
    for (size_t i = 0; i < (end - begin) * n; i++)
        x[i] = (double)b[i];
    if (work->lapack)
        openblas_solve(work->cpu->openblas, work->u, n, x, end - begin);
    else
        for (size_t r = 0; r < end - begin; r++)
            solve_row(work->u, n, x + r * n);
    for (size_t i = 0; i < (end - begin) * n; i++)
        b[i] = (float)x[i];
}

void cpu_solve(struct device *dev, float *a, size_t n, float *b, size_t m)
{
    struct cpu *cpu = cpu_of(dev);
    struct error err = ERROR_INIT;
    if (n > INT_MAX || m > INT_MAX) {
        cpu_fail(cpu, "solve: %zu unknowns, %zu right sides; at most %d", n, m, INT_MAX);
        return;
    }
    if (!cpu->openblas)
        cpu->openblas = openblas_open(&err); /* without it, plain loops */
    double *u = cpu_scratch_shared(cpu, (n * n + 1) * sizeof *u);
    if (!u)
        return;
    for (size_t i = 0; i < n * n; i++)
        u[i] = (double)a[i];
    struct solve_work work = {cpu, u, openblas_has_lapack(cpu->openblas), n, m, b};
    if (work.lapack ? openblas_factor(cpu->openblas, u, n) : solve_factor(u, n))
        cpu_run(cpu, solve_job, &work);
    else
        cpu_fail(cpu, "solve: the matrix is not positive definite");
}
