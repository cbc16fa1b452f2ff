/* update.c: AdamW and the sum of squares. Both stream through memory once; arithmetic is hidden
 * behind that. */
#include "kernels/cpu/update.h"

#include "kernels/cpu/isa/vec_part.h"

static void adamw(const struct update_step *step, size_t n, const float *grad, float *m, float *v,
                  float *w)
{
    vec beta1 = vec_set(step->beta1), beta2 = vec_set(step->beta2);
    for (size_t i = 0; i < n; i += VEC_N) {
        size_t left = n - i;
        vec g = vec_load_part(grad + i, left) * step->factor;
        vec mean = vec_fma(beta1, vec_load_part(m + i, left), (1.0F - step->beta1) * g);
        vec square = vec_fma(beta2, vec_load_part(v + i, left), (1.0F - step->beta2) * g * g);
        vec root = vec_fma(vec_sqrt(square), vec_set(step->root_correction), vec_set(step->eps));
        vec old = vec_load_part(w + i, left);
        vec_store_part(m + i, mean, left);
        vec_store_part(v + i, square, left);
        vec_store_part(w + i, old * step->decay - step->rate * mean / root, left);
    }
}

/* Floats within runs of RUN elements, doubles over runs. */
static double sum_squares(const float *x, size_t n)
{
    enum { RUN = 1024 };
    double total = 0;
    for (size_t begin = 0; begin < n; begin += RUN) {
        size_t end = n - begin < RUN ? n : begin + RUN;
        vec sum = {0};
        for (size_t i = begin; i < end; i += VEC_N) {
            vec v = vec_load_part(x + i, end - i);
            sum = vec_fma(v, v, sum);
        }
        total += (double)vec_sum(sum);
    }
    return total;
}

const struct update ISA_SYMBOL(update) = {
    .adamw = adamw,
    .sum_squares = sum_squares,
};
