/* norm_rows.c: layer normalisation of rows. A row of up to some thousand columns stays in the
 * first-level cache, so each further pass over it is cheap: mean first, then squares of differences
 * (no cancellation), then the result. */
#include "kernels/cpu/norm_rows.h"

#include "kernels/cpu/isa/vec_part.h"

/* Columns from i on, a register of them or `left`: steps of layer_rows(). */
#define STEP static inline __attribute__((always_inline)) void

/* z = x + residual into y; its sum. */
STEP step_add(const struct norm_forward *norm, size_t row, bool drop, size_t i, size_t left,
              vec *total)
{
    size_t at = row * norm->cols + i;
    vec z = vec_load_part(norm->x + at, left);
    if (drop)
        z *= vec_dropout(&norm->key, (uint32_t)at);
    if (norm->residual)
        z += vec_load_part(norm->residual + at, left);
    *total += z; /* zeros beyond n */
    vec_store_part(norm->y + at, z, left);
}

/* The row stays in the first-level cache between the two passes. */
static void affine_forward(const struct norm_forward *norm, size_t begin, size_t end)
{
    size_t n = norm->cols;
    for (size_t row = begin; row < end; row++) {
        float *y = norm->y + row * n, *sum = norm->sum ? norm->sum + row * n : NULL;
        vec total = {0}; /* not wanted */
        for (size_t i = 0; i < n; i += VEC_N)
            step_add(norm, row, norm->key.threshold != 0, i, n - i, &total);
        for (size_t i = 0; i < n; i += VEC_N) {
            vec z = vec_load_part(y + i, n - i), gain = vec_load_part(norm->gain + i, n - i);
            if (sum)
                vec_store_part(sum + i, z, n - i);
            vec_store_part(y + i, vec_fma(z, gain, vec_load_part(norm->bias + i, n - i)), n - i);
        }
    }
}

/* Of `rows` rows from number `row` on; a constant, so that loops over them unroll. */
STEP step_squares(const struct norm_forward *norm, size_t row, size_t rows, size_t i, size_t left,
                  const float *mean, vec *squares)
{
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        vec z = vec_load_part(norm->y + (row + r) * norm->cols + i, left);
        vec d = vec_first(z - mean[r], left, (vec){0});
        squares[r] = vec_fma(d, d, squares[r]);
    }
}

STEP step_put(const struct norm_forward *norm, size_t row, size_t rows, size_t i, size_t left,
              const float *mean, const float *rstd)
{
    vec gain = vec_load_part(norm->gain + i, left), bias = vec_load_part(norm->bias + i, left);
    VEC_UNROLL
    for (size_t r = 0; r < rows; r++) {
        size_t at = (row + r) * norm->cols + i;
        vec z = vec_load_part(norm->y + at, left);
        if (norm->sum)
            vec_store_part(norm->sum + at, z, left);
        vec_store_part(norm->y + at, vec_fma((z - mean[r]) * rstd[r], gain, bias), left);
    }
}

/* Some rows side by side: each is a chain of sums, whose additions wait for one another. */
enum { ROWS_AT_ONCE = 4 };

STEP layer_rows(const struct norm_forward *norm, size_t row, size_t rows, bool drop)
{
    size_t n = norm->cols, whole = n - n % VEC_N;
    vec total[ROWS_AT_ONCE] = {{0}}, squares[ROWS_AT_ONCE] = {{0}};
    float mean[ROWS_AT_ONCE], rstd[ROWS_AT_ONCE];
    for (size_t r = 0; r < rows; r++) { /* by rows: what comes from afar comes in order */
        for (size_t i = 0; i < whole; i += VEC_N)
            step_add(norm, row + r, drop, i, VEC_N, &total[r]);
        if (whole < n)
            step_add(norm, row + r, drop, whole, n - whole, &total[r]);
    }
    for (size_t r = 0; r < rows; r++)
        mean[r] = vec_sum(total[r]) / (float)n;
    for (size_t i = 0; i < whole; i += VEC_N)
        step_squares(norm, row, rows, i, VEC_N, mean, squares);
    if (whole < n)
        step_squares(norm, row, rows, whole, n - whole, mean, squares);
    for (size_t r = 0; r < rows; r++)
        rstd[r] = 1.0F / sqrtf(vec_sum(squares[r]) / (float)n + norm->eps);
    for (size_t i = 0; i < whole; i += VEC_N)
        step_put(norm, row, rows, i, VEC_N, mean, rstd);
    if (whole < n)
        step_put(norm, row, rows, whole, n - whole, mean, rstd);
    for (size_t r = 0; norm->stats && r < rows; r++) {
        norm->stats[2 * (row + r)] = mean[r];
        norm->stats[2 * (row + r) + 1] = rstd[r];
    }
}

static void forward(const struct norm_forward *norm, size_t begin, size_t end)
{
    size_t row = begin;
    if (norm->norm == NORM_AFFINE) {
        affine_forward(norm, begin, end);
        return;
    }
    for (; norm->key.threshold && row < end; row++)
        layer_rows(norm, row, 1, true);
    for (; row + ROWS_AT_ONCE <= end; row += ROWS_AT_ONCE)
        layer_rows(norm, row, ROWS_AT_ONCE, false);
    for (; row < end; row++)
        layer_rows(norm, row, 1, false);
}

static void affine_backward(const struct norm_backward *norm, size_t begin, size_t end,
                            float *dgain, float *dbias)
{
    size_t n = norm->cols;
    for (size_t row = begin; row < end; row++) {
        size_t at = row * n;
        for (size_t i = 0; i < n; i += VEC_N) {
            vec d = vec_load_part(norm->dy + at + i, n - i);
            vec z = vec_load_part(norm->sum + at + i, n - i);
            vec dz = d * vec_load_part(norm->gain + i, n - i);
            vec_store_part(dgain + i, vec_fma(d, z, vec_load_part(dgain + i, n - i)), n - i);
            vec_store_part(dbias + i, d + vec_load_part(dbias + i, n - i), n - i);
            vec_store_part(norm->dz + at + i, dz, n - i);
            if (norm->dx && norm->key.threshold)
                dz *= vec_dropout(&norm->key, (uint32_t)(at + i));
            if (norm->dx)
                vec_store_part(norm->dx + at + i, dz, n - i);
        }
    }
}

/* With xhat = (z - mean) rstd and g = dy gain:  dz = rstd (g - mean(g) - xhat mean(g xhat)). */
static void backward(const struct norm_backward *norm, size_t begin, size_t end, float *dgain,
                     float *dbias)
{
    size_t n = norm->cols;
    if (norm->norm == NORM_AFFINE) {
        affine_backward(norm, begin, end, dgain, dbias);
        return;
    }
    for (size_t row = begin; row < end; row++) {
        size_t at = row * n;
        const float *z = norm->sum + at, *dy = norm->dy + at;
        float mean = norm->stats[2 * row], rstd = norm->stats[2 * row + 1];
        vec sum_g = {0}, sum_gx = {0};
        for (size_t i = 0; i < n; i += VEC_N) {
            vec d = vec_load_part(dy + i, n - i); /* 0 beyond n, and so is g */
            vec xhat = (vec_load_part(z + i, n - i) - mean) * rstd;
            vec g = d * vec_load_part(norm->gain + i, n - i);
            sum_g += g;
            sum_gx = vec_fma(g, xhat, sum_gx);
            vec_store_part(dgain + i, vec_fma(d, xhat, vec_load_part(dgain + i, n - i)), n - i);
            vec_store_part(dbias + i, d + vec_load_part(dbias + i, n - i), n - i);
        }
        float mean_g = vec_sum(sum_g) / (float)n, mean_gx = vec_sum(sum_gx) / (float)n;
        for (size_t i = 0; i < n; i += VEC_N) {
            vec xhat = (vec_load_part(z + i, n - i) - mean) * rstd;
            vec g = vec_load_part(dy + i, n - i) * vec_load_part(norm->gain + i, n - i);
            vec dz = (g - mean_g - xhat * mean_gx) * rstd;
            vec_store_part(norm->dz + at + i, dz, n - i);
            if (norm->dx && norm->key.threshold)
                dz *= vec_dropout(&norm->key, (uint32_t)(at + i));
            if (norm->dx)
                vec_store_part(norm->dx + at + i, dz, n - i);
        }
    }
}

static void dropout(const struct dropout_key *key, float *x, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i += VEC_N) {
        vec v = vec_load_part(x + i, end - i) * vec_dropout(key, (uint32_t)i);
        vec_store_part(x + i, v, end - i);
    }
}

static void multiply_add(const float *x, const float *y, size_t n, float *sum)
{
    for (size_t i = 0; i < n; i += VEC_N) {
        vec old = vec_load_part(sum + i, n - i);
        vec new = vec_fma(vec_load_part(x + i, n - i), vec_load_part(y + i, n - i), old);
        vec_store_part(sum + i, new, n - i);
    }
}

const struct norm_rows ISA_SYMBOL(norm_rows) = {
    .forward = forward,
    .backward = backward,
    .dropout = dropout,
    .multiply_add = multiply_add,
};
