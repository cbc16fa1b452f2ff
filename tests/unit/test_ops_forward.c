/* test_ops_forward.c: forward operations of every device against the reference. */
#include "core/int4.h"
#include "tests/unit/ops_trial.h"

/* ---- products ---- */
struct linear_shape {
    size_t rows, in, out, x_stride, y_stride;
    enum epilogue epilogue;
    bool pre, bias;
    enum dtype type;
    float x_scale; /* found beforehand; 0: not */
};

/* Weights of `type` in host memory, one byte off any alignment, as they may lie in a mapped file.
 */
struct stored {
    char *memory;
    float *scale, *bias;
    struct weight weight;
};

static struct stored store(struct trial *t, enum dtype type, size_t rows, size_t cols)
{
    struct stored s = {0};
    size_t n = rows * cols;
    float *values = malloc(n * sizeof *values);
    s.memory = malloc(n * dtype_bytes(type) + 1);
    size_t n_scales = type == DTYPE_U8 ? rows * int4_groups(cols) : rows;
    s.scale = malloc(n_scales * sizeof *s.scale);
    s.bias = malloc(rows * sizeof *s.bias);
    for (size_t i = 0; i < n; i++)
        values[i] = type == DTYPE_U8 ? (float)rng_below(&t->rng, 256) /* two codes */
                                     : (float)(rng_normal(&t->rng) * (type == DTYPE_I8 ? 40 : 0.5));
    for (size_t i = 0; i < n_scales; i++)
        s.scale[i] = (float)(0.01 + 0.01 * rng_uniform(&t->rng));
    for (size_t i = 0; i < rows; i++)
        s.bias[i] = (float)rng_normal(&t->rng);
    if (dtype_is_float(type))
        trial_round(t, values, n);
    dtype_from_float(type, values, n, s.memory + 1);
    free(values);
    s.weight = (struct weight){.data = s.memory + 1,
                               .type = type,
                               .scale = dtype_is_float(type) ? NULL : s.scale,
                               .rows = rows,
                               .cols = cols};
    return s;
}

static void store_release(struct stored *s)
{
    free(s->memory);
    free(s->scale);
    free(s->bias);
}

/* Products of values of size 1 and ½: a sum of n has size ½√n, and its rounding error is at most n
 * roundings of partial sums of at most that size, in practice √n of them; n is allowed. Epilogues
 * have slopes up to 1.13 and errors up to 4e-7 = 7 ε max(1, |x|). */
static void linear_case(struct trial *t, const void *context)
{
    const struct linear_shape *s = context;
    struct error err = ERROR_INIT;
    double tolerance = (double)(s->in + 16) * EPSILON;
    struct stored w = store(t, s->type, s->out, s->in);
    const float *bias = w.bias;
    act *x = trial_act(t, s->rows * s->x_stride, 1);
    act *pre = s->pre ? trial_out(t, "pre", s->rows * s->out, tolerance) : NULL;
    act *y = trial_out(t, "y", s->rows * s->y_stride, tolerance);
    struct linear *linear =
        t->dev->op->linear_prepare(t->dev, &w.weight, s->bias ? &bias : NULL, 1, &err);
    trial_must(linear != NULL, &err);
    if (s->x_scale > 0)
        t->dev->op->linear_scale(t->dev, linear, s->x_scale);
    t->dev->op->linear(t->dev, linear, x, s->x_stride, s->rows, s->epilogue, pre, y, s->y_stride);
    t->dev->op->linear_free(t->dev, linear);
    store_release(&w);
}

static void test_linear(void)
{
    static const size_t sizes[][3] = {{1, 1, 1},    {3, 17, 33}, {17, 33, 3},   {33, 100, 17},
                                      {1, 100, 33}, {100, 3, 1}, {20, 64, 256}, {5, 300, 130}};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8};
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct linear_shape s = {.rows = sizes[i][0],
                                     .in = sizes[i][1],
                                     .out = sizes[i][2],
                                     .type = types[k],
                                     .bias = i % 3 != 2,
                                     .pre = i % 2 == 0,
                                     .epilogue = (enum epilogue)(i % 5)};
            s.x_stride = s.in + (i % 2 ? 5 : 0);
            s.y_stride = s.out + (i % 3 ? 3 : 0);
            char what[96];
            snprintf(what, sizeof what, "linear %s %zu × %zu × %zu, epilogue %d",
                     dtype_name(s.type), s.rows, s.in, s.out, (int)s.epilogue);
            trial_everywhere(linear_case, &s, what);
            /* Values of size 1: some are cut at 127 scales, then nearly all, then none. */
            static const float x_scale[] = {0.01F, 1e-4F, 1};
            for (size_t f = 0; s.type == DTYPE_I8 && f < 3; f++) {
                s.x_scale = x_scale[f];
                snprintf(what, sizeof what, "linear %zu × %zu × %zu, activations in steps of %g",
                         s.rows, s.in, s.out, (double)s.x_scale);
                trial_everywhere(linear_case, &s, what);
            }
        }
}

/* Queries, keys and values stacked: three parts, the middle one without bias. */
static void stacked_case(struct trial *t, const void *context)
{
    enum dtype type = *(const enum dtype *)context;
    enum { ROWS = 7, IN = 24, OUT = 10 };
    struct error err = ERROR_INIT;
    struct stored part[3];
    struct weight weight[3];
    for (size_t i = 0; i < 3; i++) {
        part[i] = store(t, type, OUT + i, IN);
        weight[i] = part[i].weight;
    }
    const float *bias[] = {part[0].bias, NULL, part[2].bias};
    act *x = trial_act(t, ROWS * IN, 1);
    act *y = trial_out(t, "y", ROWS * (3 * OUT + 3), (IN + 2) * EPSILON);
    struct linear *linear = t->dev->op->linear_prepare(t->dev, weight, bias, 3, &err);
    trial_must(linear != NULL, &err);
    t->dev->op->linear(t->dev, linear, x, IN, ROWS, EPILOGUE_NONE, NULL, y, 3 * OUT + 3);
    t->dev->op->linear_free(t->dev, linear);
    for (size_t i = 0; i < 3; i++)
        store_release(&part[i]);
}

/* Weights that change under a bound product. */
static void bound_case(struct trial *t, const void *context)
{
    (void)context;
    enum { ROWS = 5, IN = 19, OUT = 33 };
    struct error err = ERROR_INIT;
    const double tolerance = (IN + 2) * EPSILON;
    float *w = trial_change_floats(t, "w", IN * OUT, EPSILON), *b = trial_floats(t, OUT, 1, 0);
    act *x = trial_act(t, ROWS * IN, 1);
    act *before = trial_out(t, "y before", ROWS * OUT, tolerance);
    act *after = trial_out(t, "y after a change", ROWS * OUT, tolerance);
    float *other = trial_floats(t, IN * OUT, 1, 0);
    struct linear *linear = trial_bind(t, w, b, OUT, IN, &err);
    t->dev->op->linear(t->dev, linear, x, IN, ROWS, EPILOGUE_NONE, NULL, before, OUT);
    float host[IN * OUT];
    t->dev->op->download(t->dev, host, other, sizeof host);
    t->dev->op->upload(t->dev, w, host, sizeof host);
    t->dev->op->linear_refresh(t->dev, linear);
    t->dev->op->linear(t->dev, linear, x, IN, ROWS, EPILOGUE_NONE, NULL, after, OUT);
    t->dev->op->linear_free(t->dev, linear);
}

/* ---- embeddings ---- */
struct embed_shape {
    size_t cols;
    enum dtype type;
    bool with_word, with_position, with_type, rotated;
};

/* Three values of size ½ to 1 added: two roundings. */
static void embed_case(struct trial *t, const void *context)
{
    const struct embed_shape *s = context;
    const struct device_ops *op = t->dev->op;
    struct error err = ERROR_INIT;
    static const int32_t id[] = {3, 0, 10, 10, 7, 1, 2}, place[] = {2, 2, 3, 4, 5, 0, 1};
    struct stored word = store(t, s->type, 11, s->cols), position = store(t, s->type, 6, s->cols),
                  type = store(t, DTYPE_F32, 2, s->cols);
    word.weight.rotated = position.weight.rotated = s->rotated;
    int32_t *ids = trial_ints(t, id, 7), *places = trial_ints(t, place, 7);
    act *out = s->with_word ? trial_out(t, "out", 7 * s->cols, 4 * EPSILON)
                            : trial_change(t, "out", 7 * s->cols, 4 * EPSILON);
    struct table_weights *table[3] = {op->table_prepare(t->dev, &word.weight, &err),
                                      op->table_prepare(t->dev, &position.weight, &err),
                                      op->table_prepare(t->dev, &type.weight, &err)};
    trial_must(table[0] && table[1] && table[2], &err);
    op->embed(t->dev, s->with_word ? table[0] : NULL, s->with_position ? table[1] : NULL,
              s->with_type ? table[2] : NULL, s->with_word ? ids : NULL,
              s->with_position ? places : NULL, 7, s->cols, out);
    for (size_t i = 0; i < 3; i++)
        op->table_free(t->dev, table[i]);
    store_release(&word);
    store_release(&position);
    store_release(&type);
}

static void test_embed(void)
{
    static const size_t cols[] = {1, 17, 33, 1500};
    static const enum dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8, DTYPE_U8};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 10; k++) {
            struct embed_shape s = {cols[i], types[k % 5], k < 5, k % 5 != 1, k % 5 != 2, false};
            for (size_t rotated = 0; rotated <= (s.type == DTYPE_I8); rotated++) {
                char what[64];
                s.rotated = rotated;
                snprintf(what, sizeof what, "embed %s, %zu columns%s%s", dtype_name(s.type), s.cols,
                         s.with_word ? "" : ", no words", rotated ? ", rotated" : "");
                trial_everywhere(embed_case, &s, what);
            }
        }
}

/* ---- add_norm ---- */
struct norm_shape {
    enum norm norm;
    size_t rows, cols;
    float rate;
    bool residual, keep, in_place;
};

/* z has one or two roundings. y = (z - mean) rstd gain + bias: mean and variance are sums of n
 * terms with relative error √n ε (n allowed, halved in rstd); a row of one or few columns has a
 * variance near eps, where the error of z - mean, 2 ε |z|, is multiplied by rstd = 1/√eps = 1000 at
 * most: the inputs are of size 1 and gain too. For one column z - mean is 0 exactly. NORM_AFFINE
 * has two roundings more than z, of values up to 16 (4 standard deviations, squared). */
static void norm_case(struct trial *t, const void *context)
{
    const struct norm_shape *s = context;
    size_t n = s->rows * s->cols;
    double tolerance = (double)(s->cols + 32) * 4 * EPSILON;
    act *x = s->in_place ? trial_change(t, "y", n, tolerance) : trial_act(t, n, 1);
    act *residual = s->residual ? trial_act(t, n, 1) : NULL;
    float *gain = trial_floats(t, s->cols, 1, 0), *bias = trial_floats(t, s->cols, 1, 0);
    act *sum = s->keep ? trial_out(t, "sum", n, 2 * EPSILON) : NULL;
    float *stats = s->keep && s->norm == NORM_LAYER
                       ? trial_out_floats(t, "stats", 2 * s->rows, tolerance)
                       : NULL;
    act *y = s->in_place ? x : trial_out(t, "y", n, tolerance);
    t->dev->op->add_norm(t->dev, s->norm, x, residual, (struct dropout){s->rate, 42}, gain, bias,
                         1e-6F, s->rows, s->cols, sum, stats, y);
}

static void test_norm(void)
{
    static const struct norm_shape shapes[] = {
        {NORM_LAYER, 1, 1, 0, true, true, false},
        {NORM_LAYER, 3, 17, 0, true, true, false},
        {NORM_LAYER, 100, 33, 0.1F, true, true, false},
        {NORM_LAYER, 17, 100, 0, false, false, true},
        {NORM_LAYER, 200, 64, 0.5F, true, true, true},
        {NORM_LAYER, 3, 768, 0.1F, false, true, false},
        {NORM_LAYER, 130, 3, 0, true, false, true},
        {NORM_AFFINE, 1, 1, 0, true, true, false},
        {NORM_AFFINE, 100, 33, 0.1F, true, true, false},
        {NORM_AFFINE, 17, 100, 0, false, false, true},
        {NORM_AFFINE, 200, 64, 0.5F, true, true, true},
        {NORM_LAYER, 5, 1000, 0.1F, true, true, false},
        {NORM_LAYER, 5, 1030, 0.1F, true, true, true},
        {NORM_AFFINE, 5, 1030, 0, false, true, true},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char what[96];
        snprintf(what, sizeof what, "%s %zu × %zu, dropout %g%s",
                 shapes[i].norm == NORM_LAYER ? "add_norm" : "add_norm, affine", shapes[i].rows,
                 shapes[i].cols, (double)shapes[i].rate, shapes[i].in_place ? ", in place" : "");
        trial_everywhere(norm_case, &shapes[i], what);
    }
}

/* A product and a norm: tolerances of both, the product's (of IN terms of size 1, a sum of size 4)
 * multiplied by rstd, about 1/4, and a gain of at most 4. On 16 bits one device rounds the product
 * before the bias is added, another after. */
static void linear_norm_case(struct trial *t, const void *context)
{
    const struct norm_shape *s = context;
    enum { IN = 17 };
    struct error err = ERROR_INIT;
    size_t n = s->rows * s->cols;
    double product = IN * 4 * EPSILON + (t->format == DTYPE_F32 ? 0 : 16 * trial_unit(t->format));
    double tolerance = (double)(s->cols + 32) * 4 * EPSILON + 8 * product;
    float *w = trial_floats(t, s->cols * IN, 1, 0);
    float *b = s->keep ? trial_floats(t, s->cols, 1, 0) : NULL;
    act *x = trial_act(t, s->rows * (IN + 2), 1);
    act *residual = s->residual ? trial_act(t, n, 1) : NULL;
    float *gain = trial_floats(t, s->cols, 1, 0), *bias = trial_floats(t, s->cols, 1, 0);
    act *y = trial_out(t, "y", n, tolerance);
    act *sum = s->keep ? trial_out(t, "sum", n, 2 * product) : NULL;
    float *stats = s->keep && s->norm == NORM_LAYER
                       ? trial_out_floats(t, "stats", 2 * s->rows, tolerance)
                       : NULL;
    struct linear *linear = trial_bind(t, w, b, s->cols, IN, &err);
    t->dev->op->linear_norm(t->dev, linear, x, IN + 2, s->rows, sum ? sum : y, s->norm, residual,
                            (struct dropout){s->rate, 42}, gain, bias, 1e-6F, s->cols, sum, stats,
                            y);
    t->dev->op->linear_free(t->dev, linear);
}

static void test_linear_norm(void)
{
    static const struct norm_shape shapes[] = {
        {NORM_LAYER, 3, 64, 0, true, true, false},   {NORM_LAYER, 33, 100, 0.1F, true, true, false},
        {NORM_LAYER, 5, 1030, 0, true, true, false}, {NORM_LAYER, 17, 65, 0, true, false, false},
        {NORM_AFFINE, 9, 33, 0, false, true, false}, {NORM_LAYER, 0, 64, 0, true, true, false}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        trial_everywhere(linear_norm_case, &shapes[i], "linear_norm");
}

/* sum written over the residual, as the training loop does. */
static void norm_over_residual_case(struct trial *t, const void *context)
{
    (void)context;
    enum { ROWS = 5, COLS = 20 };
    act *x = trial_act(t, ROWS * COLS, 1);
    act *residual = trial_change(t, "sum", ROWS * COLS, 2 * EPSILON);
    float *gain = trial_floats(t, COLS, 1, 0), *bias = trial_floats(t, COLS, 1, 0);
    act *y = trial_out(t, "y", ROWS * COLS, (COLS + 32) * 4 * EPSILON);
    t->dev->op->add_norm(t->dev, NORM_LAYER, x, residual, (struct dropout){0, 0}, gain, bias, 1e-5F,
                         ROWS, COLS, residual, NULL, y);
}

/* ---- attention ---- */
struct attention_shape {
    size_t heads, size;
    const int32_t *offset; /* [n + 1] */
    size_t n;
    bool first_only, lse;
    float rate;
};

static const int32_t short_offset[] = {0, 1, 4, 21, 54, 154}, one_offset[] = {0, 1},
                     long_offset[] = {0, 300, 305}, far_offset[] = {0, 3, 532};

static size_t longest(const int32_t *offset, size_t n)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        if ((size_t)(offset[i + 1] - offset[i]) > most)
            most = (size_t)(offset[i + 1] - offset[i]);
    return most;
}

/* q, k of size 1: a score has size √size scaled to 1 by 1/√size, its error size ε; the largest of
 * some hundred scores is about 4. A probability's relative error is that of its exponent, (size +
 * 16) ε, plus those of the sum, n ε; out is a mean of values of size 1 with weights of sum 1 (2
 * with dropout ½), plus its own n roundings. */
static void attention_case(struct trial *t, const void *context)
{
    const struct attention_shape *s = context;
    size_t tokens = (size_t)s->offset[s->n], width = s->heads * s->size,
           most = longest(s->offset, s->n);
    size_t stride = 3 * width + 7, q_rows = s->first_only ? s->n : tokens;
    double tolerance = (double)(4 * s->size + 2 * most + 64) * EPSILON;
    act *qkv = trial_act(t, tokens * stride, 1);
    act *q = s->first_only ? trial_act(t, q_rows * (width + 1), 1) : qkv;
    struct attention a = {.seqs = {s->n, tokens, most, trial_ints(t, s->offset, s->n + 1)},
                          .heads = s->heads,
                          .head_size = s->size,
                          .scale = (float)(1 / sqrt((double)s->size)),
                          .first_only = s->first_only,
                          .q_stride = s->first_only ? width + 1 : stride,
                          .kv_stride = stride,
                          .out_stride = width + 3,
                          .dropout = {s->rate, 77}};
    act *out = trial_out(t, "out", q_rows * (width + 3), tolerance);
    float *lse = s->lse ? trial_out_floats(t, "lse", q_rows * s->heads, tolerance) : NULL;
    t->dev->op->attention(t->dev, &a, q, act_at(t->dev, qkv, width), act_at(t->dev, qkv, 2 * width),
                          out, lse);
}

static void test_attention(void)
{
    static const size_t sizes[] = {8, 16, 20, 32, 64, 3, 128, 97};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < 4; k++) {
            bool far = sizes[i] == 8 && k == 3;
            struct attention_shape s = {.heads = i % 2 ? 1 : 3,
                                        .size = sizes[i],
                                        .offset = k == 1   ? one_offset
                                                  : far    ? far_offset
                                                  : k == 3 ? long_offset
                                                           : short_offset,
                                        .n = k == 1   ? 1
                                             : k == 3 ? 2
                                                      : 5,
                                        .first_only = k == 2,
                                        .lse = k % 2 == 0,
                                        .rate = i % 2 ? 0.5F : 0};
            char what[96];
            snprintf(what, sizeof what, "attention %zu × %zu, longest %zu, dropout %g%s", s.heads,
                     s.size, longest(s.offset, s.n), (double)s.rate,
                     s.first_only ? ", first rows" : "");
            trial_everywhere(attention_case, &s, what);
        }
}

/* ---- small ones ---- */
static void gather_case(struct trial *t, const void *context)
{
    size_t cols = *(const size_t *)context;
    struct seqs seqs = {5, 154, 100, trial_ints(t, short_offset, 6)};
    act *x = trial_act(t, 154 * cols, 1);
    t->dev->op->gather_first(t->dev, x, &seqs, cols, trial_out(t, "y", 5 * cols, 0));
}

/* Neighbours are copied; a mean of n terms of size 1 has at most n roundings of partial sums, divided
 * by n, and one more. */
static void trigram_case(struct trial *t, const void *context)
{
    size_t cols = *(const size_t *)context;
    struct seqs seqs = {5, 154, 100, trial_ints(t, short_offset, 6)};
    act *x = trial_act(t, 154 * cols, 1);
    t->dev->op->trigram(t->dev, x, &seqs, cols, trial_out(t, "y", 154 * 3 * cols, 0));
    t->dev->op->mean_pool(t->dev, x, &seqs, cols, trial_out(t, "mean", 5 * cols, 16 * EPSILON));
}

/* By hand: sequences (1), (2 3 4) of one column. */
static void test_trigram_values(void)
{
    static const float x[] = {1, 2, 3, 4};
    static const float rows[] = {0, 1, 0, 3, 2, 0, 4, 3, 2, 0, 4, 3}, means[] = {1, 3};
    static const int32_t offset[] = {0, 1, 4};
    struct device *dev = trial_reference;
    struct error err = ERROR_INIT;
    float *memory = dev->op->alloc(dev, 64 * sizeof *memory, &err);
    trial_must(memory != NULL, &err);
    struct seqs seqs = {2, 4, 3, offset};
    dev->op->trigram(dev, (const act *)(const void *)x, &seqs, 1, (act *)(void *)memory);
    tap_close(memory, rows, 12, 0, "trigram is next, own, previous, zeros at the ends");
    dev->op->mean_pool(dev, (const act *)(const void *)x, &seqs, 1, (act *)(void *)memory);
    tap_close(memory, means, 2, 0, "means of a row and of three");
    dev->op->free(dev, memory);
}

static void dropout_case(struct trial *t, const void *context)
{
    size_t n = *(const size_t *)context;
    act *x = trial_change(t, "x", n, EPSILON);
    t->dev->op->dropout(t->dev, x, n, (struct dropout){0.3F, 5});
    act *untouched = trial_change(t, "x at rate 0", n, 0);
    t->dev->op->dropout(t->dev, untouched, n, (struct dropout){0, 5});
}

static void test_bad_rows(void)
{
    static const float table[] = {1, 2, 3, 4};
    for (size_t i = 0; i <= trial_n_devices; i++) {
        struct device *dev = i < trial_n_devices ? trial_devices[i].dev : NULL;
        struct error err = ERROR_INIT, ignored = ERROR_INIT;
        if (i == trial_n_devices)
            dev = device_reference_open(&err);
        if (!dev)
            continue;
        struct weight weight = {.data = table, .type = DTYPE_F32, .rows = 2, .cols = 2};
        struct table_weights *word = dev->op->table_prepare(dev, &weight, &err);
        int32_t id = 2, *at = dev->op->alloc(dev, sizeof id, &err);
        act *out = dev->op->alloc(dev, 64, &err);
        trial_must(word && at && out, &err);
        dev->op->upload(dev, at, &id, sizeof id);
        dev->op->embed(dev, word, NULL, NULL, at, NULL, 1, 2, out);
        bool failed = !dev->op->sync(dev, &ignored);
        tap_ok(failed && strstr(ignored.text, "embed"),
               "%s: a token beyond the table is an error: %s",
               i < trial_n_devices ? trial_devices[i].name : "reference", ignored.text);
        dev->op->table_free(dev, word);
        dev->op->free(dev, at);
        dev->op->free(dev, out);
        if (i == trial_n_devices)
            dev->op->close(dev);
    }
}

int main(void)
{
    static const enum dtype f32 = DTYPE_F32, i8 = DTYPE_I8;
    static const size_t one = 1, odd = 33, wide = 130, large = 30001;
    trial_open_devices();
    trial_report_devices();
    test_linear();
    trial_everywhere(stacked_case, &f32, "stacked F32 parts");
    trial_everywhere(stacked_case, &i8, "stacked I8 parts");
    trial_everywhere(bound_case, NULL, "a bound product follows its weights");
    test_embed();
    test_norm();
    test_linear_norm();
    trial_everywhere(norm_over_residual_case, NULL, "add_norm, sum over residual");
    test_attention();
    trial_everywhere(gather_case, &one, "gather_first, 1 column");
    trial_everywhere(gather_case, &odd, "gather_first, 33 columns");
    trial_everywhere(trigram_case, &one, "trigram and mean_pool, 1 column");
    trial_everywhere(trigram_case, &odd, "trigram and mean_pool, 33 columns");
    trial_everywhere(trigram_case, &wide, "trigram and mean_pool, 130 columns");
    test_trigram_values();
    trial_everywhere(dropout_case, &odd, "dropout of 33");
    trial_everywhere(dropout_case, &large, "dropout of 30001");
    test_bad_rows(); /* last: the error stays */
    trial_close_devices();
    return tap_done();
}
