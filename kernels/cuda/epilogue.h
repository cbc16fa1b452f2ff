/* epilogue.h: the activation functions and their slopes on the device, in float. */
#ifndef MILLET_KERNELS_CUDA_EPILOGUE_H
#define MILLET_KERNELS_CUDA_EPILOGUE_H

#include "kernels/cuda/cuda.h"

constexpr float SQRT_HALF = 0.70710678f, SQRT_2_OVER_PI = 0.79788456f,
                SQRT_HALF_OVER_PI = 0.39894228f; /* 1/sqrt(2 pi) */
constexpr float GELU_CUBIC = 0.044715f;          /* Hendrycks and Gimpel 2016, section 2 */

static __device__ inline float epilogue_value(enum epilogue epilogue, float x)
{
    switch (epilogue) {
    case EPILOGUE_GELU: /* erfc keeps what is left of large negative x */
        return 0.5f * x * erfcf(-x * SQRT_HALF);
    case EPILOGUE_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)));
    case EPILOGUE_RELU:
        return x < 0.0f ? 0.0f : x; /* NaN stays */
    case EPILOGUE_TANH:
        return tanhf(x);
    default:
        return x;
    }
}

static __device__ inline float epilogue_slope(enum epilogue epilogue, float x)
{
    switch (epilogue) {
    case EPILOGUE_GELU:
        return 0.5f * erfcf(-x * SQRT_HALF) + x * SQRT_HALF_OVER_PI * expf(-0.5f * x * x);
    case EPILOGUE_GELU_TANH: {
        float t = tanhf(SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x));
        return 0.5f * (1.0f + t) +
               0.5f * x * (1.0f - t * t) * SQRT_2_OVER_PI * (1.0f + 3.0f * GELU_CUBIC * x * x);
    }
    case EPILOGUE_RELU:
        return x > 0.0f ? 1.0f : 0.0f;
    case EPILOGUE_TANH: {
        float t = tanhf(x);
        return 1.0f - t * t;
    }
    default:
        return 1.0f;
    }
}

#endif
