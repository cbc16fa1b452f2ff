/* reference_epilogue.c: the activation functions and their slopes. */
#include "kernels/reference/reference.h"

#include <math.h>

static const double SQRT_HALF = 0.70710678118654752440;
static const double SQRT_2_OVER_PI = 0.79788456080286535588;
static const double SQRT_HALF_OVER_PI = 0.39894228040143267794; /* 1/sqrt(2 pi) */
static const double GELU_CUBIC = 0.044715; /* Hendrycks and Gimpel 2016, section 2 */

double reference_epilogue(enum epilogue epilogue, double x)
{
    switch (epilogue) {
    case EPILOGUE_NONE:
        break;
    case EPILOGUE_GELU:
        return 0.5 * x * erfc(-x * SQRT_HALF);
    case EPILOGUE_GELU_TANH:
        return 0.5 * x * (1 + tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)));
    case EPILOGUE_RELU:
        return x < 0 ? 0 : x; /* NaN stays */
    case EPILOGUE_TANH:
        return tanh(x);
    }
    return x;
}

double reference_epilogue_slope(enum epilogue epilogue, double x)
{
    switch (epilogue) {
    case EPILOGUE_NONE:
        break;
    case EPILOGUE_GELU:
        return 0.5 * erfc(-x * SQRT_HALF) + x * SQRT_HALF_OVER_PI * exp(-0.5 * x * x);
    case EPILOGUE_GELU_TANH: {
        double t = tanh(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
        return 0.5 * (1 + t) +
               0.5 * x * (1 - t * t) * SQRT_2_OVER_PI * (1 + 3 * GELU_CUBIC * x * x);
    }
    case EPILOGUE_RELU:
        return x > 0 ? 1 : 0;
    case EPILOGUE_TANH: {
        double t = tanh(x);
        return 1 - t * t;
    }
    }
    return 1;
}

void reference_epilogue_backward(struct device *dev, enum epilogue epilogue, const act *pre,
                                 const act *dy, size_t rows, size_t cols, act *dpre, float *db)
{
    size_t n = rows * cols;
    for (size_t i = 0; i < n; i++) {
        double slope = reference_epilogue_slope(epilogue, (double)reference_read(pre)[i]);
        reference_values(dpre)[i] = (float)((double)reference_read(dy)[i] * slope);
    }
    if (db)
        reference_column_sum(dev, dpre, rows, cols, db);
}
