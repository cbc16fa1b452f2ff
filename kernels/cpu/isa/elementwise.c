/* elementwise.c: functions of one array in vectors; the last, partial vector goes through the same
 * arithmetic. */
#include "kernels/cpu/elementwise.h"

#include "kernels/cpu/isa/vec.h"

/* y[i] = expression of v = x[i], for whole vectors and the rest. */
#define MAP(expression)                                                                            \
    do {                                                                                           \
        size_t i = 0;                                                                              \
        for (; i + VEC_N <= n; i += VEC_N) {                                                       \
            vec v = vec_load(x + i);                                                               \
            vec_store(y + i, expression);                                                          \
        }                                                                                          \
        if (i < n) {                                                                               \
            vec v = vec_load_n(x + i, n - i);                                                      \
            vec_store_n(y + i, expression, n - i);                                                 \
        }                                                                                          \
    } while (0)

static void map_exp(const float *x, size_t n, float *y)
{
    MAP(vec_exp(v));
}

static void add(const float *x, size_t n, float *y)
{
    size_t i = 0;
    for (; i + VEC_N <= n; i += VEC_N)
        vec_store(y + i, vec_load(y + i) + vec_load(x + i));
    for (; i < n; i++)
        y[i] += x[i];
}

static void epilogue_forward(enum epilogue epilogue, const float *x, size_t n, float *y)
{
    switch (epilogue) {
    case EPILOGUE_GELU:
        MAP(vec_gelu(v));
        break;
    case EPILOGUE_GELU_TANH:
        MAP(vec_gelu_tanh(v));
        break;
    case EPILOGUE_RELU:
        MAP(vec_max(vec_set(0.0f), v));
        break;
    case EPILOGUE_TANH:
        MAP(vec_tanh(v));
        break;
    case EPILOGUE_NONE:
        if (y != x)
            memmove(y, x, n * sizeof *y);
        break;
    }
}

/* dpre[i] = dy[i] * derivative at v = x[i]. */
#define MAP_BACKWARD(derivative)                                                                   \
    do {                                                                                           \
        size_t i = 0;                                                                              \
        for (; i + VEC_N <= n; i += VEC_N) {                                                       \
            vec v = vec_load(x + i);                                                               \
            vec_store(dpre + i, vec_load(dy + i) * (derivative));                                  \
        }                                                                                          \
        if (i < n) {                                                                               \
            vec v = vec_load_n(x + i, n - i);                                                      \
            vec_store_n(dpre + i, vec_load_n(dy + i, n - i) * (derivative), n - i);                \
        }                                                                                          \
    } while (0)

static void epilogue_backward(enum epilogue epilogue, const float *x, const float *dy, size_t n,
                              float *dpre)
{
    switch (epilogue) {
    case EPILOGUE_GELU:
        MAP_BACKWARD(vec_gelu_derivative(v));
        break;
    case EPILOGUE_GELU_TANH:
        MAP_BACKWARD(vec_gelu_tanh_derivative(v));
        break;
    case EPILOGUE_RELU:
        MAP_BACKWARD(vec_select(v > 0.0f, vec_set(1.0f), vec_set(0.0f)));
        break;
    case EPILOGUE_TANH:
        MAP_BACKWARD(1.0f - vec_tanh(v) * vec_tanh(v));
        break;
    case EPILOGUE_NONE:
        if (dpre != dy)
            memmove(dpre, dy, n * sizeof *dpre);
        break;
    }
}

const struct elementwise ISA_SYMBOL(elementwise) = {
    .exp = map_exp,
    .add = add,
    .epilogue = epilogue_forward,
    .epilogue_backward = epilogue_backward,
};
