/* The vector functions of every instruction set this machine can run, against libm in double.
 * Bounds are those that kernels/cpu/isa/vec.h states. */
#include <math.h>
#include <stdlib.h>

#include "kernels/cpu/elementwise.h"
#include "kernels/cpu/widen.h"
#include "tests/tap.h"

enum { N = 60001 }; /* not a multiple of any width */

static float x[N], y[N], ones[N];

static double gelu(double v)
{
    return v * 0.5 * erfc(-v * M_SQRT1_2);
}
static double gelu_slope(double v)
{
    return 0.5 * erfc(-v * M_SQRT1_2) + v * exp(-0.5 * v * v) / sqrt(2 * M_PI);
}
static double gelu_tanh(double v)
{
    return 0.5 * v * (1 + tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
}
static double gelu_tanh_slope(double v)
{
    double t = tanh(sqrt(2 / M_PI) * (v + 0.044715 * v * v * v));
    return 0.5 * (1 + t) + 0.5 * v * (1 - t * t) * sqrt(2 / M_PI) * (1 + 3 * 0.044715 * v * v);
}
static double relu(double v)
{
    return v > 0 ? v : 0;
}
static double relu_slope(double v)
{
    return v > 0 ? 1 : 0;
}
static double tanh_slope(double v)
{
    return 1 / (cosh(v) * cosh(v));
}

/* Even steps from -range to range, and near zero by powers of two. */
static void fill(double range)
{
    for (int i = 0; i < N; i++)
        x[i] = (float)(range * (2.0 * i / (N - 1) - 1));
    for (int i = 0; i < 100; i++)
        x[i * 7] = (float)((i % 2 ? 1 : -1) * pow(2, -i));
}

/* Largest error of y against f(x): absolute / max(1, |x|), or relative to f. NaN gives infinity. */
static double worst(double (*f)(double), bool relative, int *where)
{
    double most = 0;
    for (int i = 0; i < N; i++) {
        double v = (double)x[i], right = f(v);
        double unit = relative ? fabs(right) : fabs(v) > 1 ? fabs(v) : 1;
        double error = unit > 0 ? fabs((double)y[i] - right) / unit : fabs((double)y[i] - right);
        if (!(error <= most)) {
            most = isnan(error) ? INFINITY : error;
            *where = i;
        }
    }
    return most;
}

static void bound(const char *set, const char *what, double (*f)(double), bool relative,
                  double limit)
{
    int where = 0;
    double most = worst(f, relative, &where);
    tap_ok(most <= limit, "%s: %s within %.1e (%.2e at %g)", set, what, limit, most,
           (double)x[where]);
}

static void test_exp(const struct elementwise *kernel, const char *set)
{
    fill(87.0);
    kernel->exp(x, N, y);
    bound(set, "exp", exp, true, 3e-7);
    float edge[] = {-INFINITY, -1000, -104, 0, 89, 1000, INFINITY, NAN, -100};
    float found[9];
    kernel->exp(edge, 9, found);
    tap_ok(found[0] == 0 && found[1] == 0 && found[2] == 0 && found[3] == 1 && isinf(found[4]) &&
               isinf(found[5]) && isinf(found[6]) && isnan(found[7]),
           "%s: exp of infinities, NaN and zero", set);
    tap_ok(found[8] > 0 && fabsf(found[8] - expf(-100)) <= 2e-45f, "%s: exp gives denormals", set);
}

struct function {
    enum epilogue epilogue;
    const char *name, *slope_name;
    double (*value)(double), (*slope)(double);
    bool relative; /* the value's bound is relative; slopes are always absolute */
    double limit, slope_limit;
};

static const struct function functions[] = {
    {EPILOGUE_GELU, "gelu", "gelu derivative", gelu, gelu_slope, false, 4e-7, 4e-7},
    {EPILOGUE_GELU_TANH, "gelu_tanh", "gelu_tanh derivative", gelu_tanh, gelu_tanh_slope, false,
     4e-7, 1e-6},
    {EPILOGUE_RELU, "relu", "relu derivative", relu, relu_slope, false, 0, 0},
    {EPILOGUE_TANH, "tanh", "tanh derivative", tanh, tanh_slope, true, 4e-7, 4e-7},
};

static void test_epilogue(const struct elementwise *kernel, const char *set,
                          const struct function *function)
{
    fill(12.0);
    kernel->epilogue(function->epilogue, x, N, y);
    bound(set, function->name, function->value, function->relative, function->limit);
    kernel->epilogue_backward(function->epilogue, x, ones, N, y);
    bound(set, function->slope_name, function->slope, false, function->slope_limit);
    float nan = NAN, result = 0;
    kernel->epilogue(function->epilogue, &nan, 1, &result);
    tap_ok(isnan(result), "%s: %s of NaN is NaN", set, function->name);
}

static void test_end(const struct elementwise *kernel, const char *set)
{
    fill(12.0);
    y[5] = 42;
    kernel->epilogue(EPILOGUE_GELU, x, 5, y);
    tap_ok(y[5] == 42, "%s: nothing is written behind the end", set);
}

/* All 65536 values of both 16-bit types, unaligned; a NaN stays one. */
static void test_widen(enum isa isa)
{
    static char narrow[2 * 65536 + 1];
    static float wide[65536], right[65536];
    for (size_t i = 0; i < 65536; i++) {
        uint16_t bits = (uint16_t)i;
        memcpy(narrow + 1 + 2 * i, &bits, sizeof bits);
    }
    static const enum dtype type[] = {DTYPE_F16, DTYPE_BF16};
    for (size_t t = 0; t < 2; t++) {
        bool same = true;
        ISA_PICK(widen, isa)->run(type[t], narrow + 1, 65535, wide); /* an odd number */
        dtype_to_float(type[t], narrow + 1, 65535, right);
        for (size_t i = 0; i < 65535; i++)
            same = same && (isnan(right[i]) ? isnan(wide[i])
                                            : memcmp(&wide[i], &right[i], sizeof wide[i]) == 0);
        tap_ok(same, "%s: %s to float", isa_name(isa), dtype_name(type[t]));
    }
}

static void test_choice(void)
{
    struct error err = ERROR_INIT;
    enum isa isa = ISA_PORTABLE;
    setenv("MILLET_ISA", "sse9", 1);
    tap_ok(!isa_choose(&isa, &err) && strstr(err.text, "sse9") && strstr(err.text, "portable"),
           "an unknown set is refused, with a list of what there is");
    error_clear(&err);
    setenv("MILLET_ISA", "portable", 1);
    tap_ok(isa_choose(&isa, &err) && isa == ISA_PORTABLE, "MILLET_ISA forces a set");
    unsetenv("MILLET_ISA");
    char text[200];
    device_list(text, sizeof text);
    tap_ok(strstr(text, "cpu (own kernels") && strstr(text, "OpenBLAS") && strstr(text, "cuda"),
           "devices: %s", text);
    if (strstr(text, "no cuda"))
        tap_ok(!device_open("cuda:1", 1, &err) && strstr(err.text, "--device cpu"),
               "cuda is refused, with what to do");
    error_clear(&err);
    tap_ok(!device_open("tpu", 1, &err) && strstr(err.text, "expected cpu"),
           "an unknown device is refused");
}

int main(void)
{
    for (int i = 0; i < N; i++)
        ones[i] = 1;
    for (enum isa isa = ISA_PORTABLE; isa < ISA_COUNT; isa++) {
        if (!isa_supported(isa)) {
            tap_skip(isa_name(isa), "this machine does not have it");
            continue;
        }
        const struct elementwise *kernel = ISA_PICK(elementwise, isa);
        test_exp(kernel, isa_name(isa));
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
            test_epilogue(kernel, isa_name(isa), &functions[i]);
        test_end(kernel, isa_name(isa));
        test_widen(isa);
    }
    test_choice();
    return tap_done();
}
