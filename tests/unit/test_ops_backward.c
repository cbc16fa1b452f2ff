/* test_ops_backward.c: backward operations, losses, optimizer and pruning scores of every device
 * against the reference (whose own gradients are checked by test_ops_gradients.c). Gradients of
 * activations are written, of parameters added to: the latter start with random values. */
#include "tests/unit/ops_trial.h"

/* ---- products ---- */
struct linear_shape {
    size_t rows, in, out, gap;
    bool dx, dw, db;
    bool round; /* what is multiplied, to `format` */
    enum dtype format;
    unsigned how;
};

/* Sums of n products of size 1: n roundings of partial sums of size √n; n √n allowed relative to 1,
 * the values being √n large. */
static void linear_case(struct trial *t, const void *context)
{
    const struct linear_shape *s = context;
    struct error err = ERROR_INIT;
    float *w = trial_floats(t, s->out * s->in, 1, 0), *b = trial_floats(t, s->out, 1, 0);
    size_t x_stride = s->in + s->gap, dy_stride = s->out + 2 * s->gap;
    double by_out = (double)s->out * sqrt((double)s->out) + 4;
    double by_in = (double)s->in * sqrt((double)s->in) + 4;
    double by_rows = (double)s->rows * sqrt((double)s->rows) + 4;
    act *x = trial_act(t, s->rows * x_stride, 1), *dy = trial_act(t, s->rows * dy_stride, 1);
    bool add = s->how & BACKWARD_ADD_DX, set = s->how & BACKWARD_SET_DW;
    act *dx = !s->dx ? NULL
              : add  ? trial_change(t, "dx", s->rows * x_stride, by_out * EPSILON)
                     : trial_out(t, "dx", s->rows * x_stride, by_out * EPSILON);
    float *dw = !s->dw ? NULL
                : set  ? trial_out_floats(t, "dw", s->out * s->in, by_rows * EPSILON)
                       : trial_change_floats(t, "dw", s->out * s->in, by_rows * EPSILON);
    float *db = s->db ? trial_change_floats(t, "db", s->out, by_rows * EPSILON) : NULL;
    struct linear *linear = trial_bind(t, w, b, s->out, s->in, &err);
    enum dtype format = t->format == DTYPE_F32 ? s->format : t->format;
    trial_must(!s->round || t->dev->op->linear_round(t->dev, linear, format, &err), &err);
    if (s->round)
        t->dev->op->linear(t->dev, linear, x, x_stride, s->rows, EPILOGUE_NONE, NULL,
                           trial_out(t, "y", s->rows * s->out, by_in * EPSILON), s->out);
    t->dev->op->linear_backward(t->dev, linear, x, x_stride, dy, dy_stride, s->rows, dx, x_stride,
                                dw, db, s->how);
    t->dev->op->linear_free(t->dev, linear);
}

static void test_linear(void)
{
    static const struct linear_shape shapes[] = {
        {1, 1, 1, 0, true, true, true, false, DTYPE_F32, 0},
        {3, 17, 33, 0, true, true, true, false, DTYPE_F32, 0},
        {33, 3, 17, 1, true, true, false, false, DTYPE_F32, 0},
        {100, 33, 3, 2, false, true, true, false, DTYPE_F32, 0},
        {17, 100, 33, 3, true, false, true, false, DTYPE_F32, 0},
        {200, 64, 96, 0, true, true, true, false, DTYPE_F32, 0},
        {20, 64, 64, 4, true, false, false, false, DTYPE_F32, 0},
        {1, 130, 70, 0, true, true, true, false, DTYPE_F32, 0},
        {33, 17, 65, 1, true, true, true, true, DTYPE_BF16, 0},
        {200, 130, 96, 0, true, true, true, true, DTYPE_BF16, 0},
        {131, 1, 259, 0, true, true, true, true, DTYPE_BF16, 0},
        {2059, 33, 15, 5, true, true, true, true, DTYPE_BF16, BACKWARD_SET_DW},
        {33, 17, 65, 1, true, true, true, true, DTYPE_F16, 0},
        {200, 130, 96, 0, true, true, true, true, DTYPE_F16, 0},
        {33, 17, 65, 1, true, true, true, false, DTYPE_F32, BACKWARD_SET_DW | BACKWARD_ADD_DX},
        {0, 17, 5, 0, true, true, true, false, DTYPE_F32, BACKWARD_SET_DW | BACKWARD_ADD_DX},
        {100, 64, 33, 2, true, true, false, true, DTYPE_BF16, BACKWARD_ADD_DX},
        {70, 130, 96, 0, false, true, true, true, DTYPE_F16, BACKWARD_SET_DW}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char what[96];
        snprintf(what, sizeof what, "linear_backward %zu × %zu × %zu%s%s%s", shapes[i].rows,
                 shapes[i].in, shapes[i].out, shapes[i].round ? dtype_name(shapes[i].format) : "",
                 shapes[i].how & BACKWARD_SET_DW ? ", dw written" : "",
                 shapes[i].how & BACKWARD_ADD_DX ? ", dx added to" : "");
        trial_everywhere(linear_case, &shapes[i], what);
    }
}

/* Slopes carry 1e-6 (vec.h) = 17 ε at most, times dy, of size up to 4. */
static void epilogue_case(struct trial *t, const void *context)
{
    enum epilogue epilogue = *(const enum epilogue *)context;
    enum { ROWS = 77, COLS = 13, N = ROWS * COLS };
    const double tolerance = 4 * 20 * EPSILON;
    act *pre = trial_act(t, N, 3), *dy = trial_act(t, N, 1);
    act *dpre = trial_out(t, "dpre", N, tolerance);
    t->dev->op->epilogue_backward(t->dev, epilogue, pre, dy, ROWS, COLS, dpre, NULL);
    act *same = trial_change(t, "dpre in place", N, tolerance);
    t->dev->op->epilogue_backward(t->dev, epilogue, pre, same, ROWS, COLS, same, NULL);
    /* On 16 bits the sum may be of what dpre was before it was stored. */
    double rounding = trial_unit(t->format) * 4 * ROWS;
    act *summed = trial_out(t, "dpre of which columns are summed", N, tolerance);
    float *db = trial_change_floats(t, "db", COLS, ROWS * tolerance + rounding);
    t->dev->op->epilogue_backward(t->dev, epilogue, pre, dy, ROWS, COLS, summed, db);
}

/* ---- add_norm ---- */
struct norm_shape {
    enum norm norm;
    size_t rows, cols;
    float rate;
    bool in_place, dx;
};

/* xhat and dy have size 1; dz = rstd (g - mean(g) - xhat mean(g xhat)) is a difference of values of
 * size up to 4 with rstd about 1, means of n terms (n ε allowed). dgain and dbias are sums over
 * rows of products of size up to 16: rows ε √rows, 4 times. */
static void norm_case(struct trial *t, const void *context)
{
    const struct norm_shape *s = context;
    size_t n = s->rows * s->cols;
    double tolerance = (double)(s->cols + 64) * EPSILON;
    double by_rows = 4 * (double)s->rows * sqrt((double)s->rows) * EPSILON + tolerance;
    enum { MOST_ROWS = 8200 };
    static float host_stats[2 * MOST_ROWS];
    for (size_t r = 0; r < s->rows; r++) {
        host_stats[2 * r] = (float)(0.1 * rng_normal(&t->rng));
        host_stats[2 * r + 1] = (float)(0.8 + 0.4 * rng_uniform(&t->rng));
    }
    act *sum = trial_act(t, n, 1);
    float *stats =
        s->norm == NORM_LAYER ? trial_place(t, TRIAL_FLOAT, host_stats, 2 * s->rows) : NULL;
    float *gain = trial_floats(t, s->cols, 1, 0);
    act *dy = s->in_place ? trial_change(t, "dz", n, tolerance) : trial_act(t, n, 1);
    act *dz = s->in_place ? dy : trial_out(t, "dz", n, tolerance);
    act *dx = s->dx ? trial_out(t, "dx", n, 2 * tolerance) : NULL;
    float *dgain = trial_change_floats(t, "dgain", s->cols, by_rows);
    float *dbias = trial_change_floats(t, "dbias", s->cols, by_rows);
    /* dx has size 2 / (1 - rate); on 16 bits it may be summed before it is stored. */
    float *db = s->dx || s->rate <= 0
                    ? trial_change_floats(t, "db", s->cols,
                                          by_rows + (double)s->rows *
                                                        (2 * tolerance + 8 * trial_unit(t->format)))
                    : NULL;
    t->dev->op->add_norm_backward(t->dev, s->norm, sum, stats, gain, dy,
                                  (struct dropout){s->rate, 42}, s->rows, s->cols, dz, dx, dgain,
                                  dbias, db);
}

static void test_norm(void)
{
    static const struct norm_shape shapes[] = {
        {NORM_LAYER, 1, 1, 0, false, false},       {NORM_LAYER, 3, 17, 0, false, true},
        {NORM_LAYER, 100, 33, 0.1F, false, true},  {NORM_LAYER, 17, 100, 0, true, false},
        {NORM_LAYER, 200, 64, 0.5F, true, true},   {NORM_LAYER, 3, 768, 0.1F, true, true},
        {NORM_LAYER, 130, 3, 0.25F, false, true},  {NORM_AFFINE, 1, 1, 0, false, false},
        {NORM_AFFINE, 100, 33, 0.1F, false, true}, {NORM_AFFINE, 200, 64, 0.5F, true, true},
        {NORM_AFFINE, 17, 100, 0, true, false},    {NORM_LAYER, 21, 1030, 0.1F, true, true},
        {NORM_LAYER, 5, 1000, 0, false, true},     {NORM_AFFINE, 5, 1030, 0, true, false},
        {NORM_AFFINE, 8200, 3, 0.1F, false, true}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char what[96];
        snprintf(what, sizeof what, "%s %zu × %zu, dropout %g",
                 shapes[i].norm == NORM_LAYER ? "add_norm_backward" : "add_norm_backward, affine",
                 shapes[i].rows, shapes[i].cols, (double)shapes[i].rate);
        trial_everywhere(norm_case, &shapes[i], what);
    }
}

/* ---- attention ---- */
struct attention_shape {
    size_t heads, size;
    const int32_t *offset;
    size_t n, longest;
    bool first_only;
    float rate;
};

static const int32_t short_offset[] = {0, 1, 4, 21, 54, 154}, one_offset[] = {0, 1},
                     long_offset[] = {0, 300, 305}, far_offset[] = {0, 3, 532};

/* As in test_ops_forward.c, a probability has relative error (size + n + 16) ε. u = dout · v has
 * size √size, up to 4 √size, and its error size √size ε; dq and dk are sums over up to `longest`
 * rows of p (u - mean) / √size times values of size up to 4; probabilities of a row sum to 1, and
 * those of a column to about 1, more for keys that many queries favour. Hence the factor 16, and
 * twice that for dropout ½, which doubles the kept. */
static void attention_case(struct trial *t, const void *context)
{
    const struct attention_shape *s = context;
    const struct device_ops *op = t->dev->op;
    size_t tokens = (size_t)s->offset[s->n], width = s->heads * s->size, stride = 3 * width + 5;
    size_t q_rows = s->first_only ? s->n : tokens, q_stride = s->first_only ? width + 1 : stride;
    size_t out_stride = width + 3;
    double tolerance = 16 * (s->rate > 0 ? 2 : 1) * (double)(s->size + s->longest + 16) * EPSILON;
    struct attention a = {.seqs = {s->n, tokens, s->longest, trial_ints(t, s->offset, s->n + 1)},
                          .heads = s->heads,
                          .head_size = s->size,
                          .scale = (float)(1 / sqrt((double)s->size)),
                          .first_only = s->first_only,
                          .q_stride = q_stride,
                          .kv_stride = stride,
                          .out_stride = out_stride,
                          .dropout = {s->rate, 77}};
    act *qkv = trial_act(t, tokens * stride, 1);
    act *q = s->first_only ? trial_act(t, q_rows * q_stride, 1) : qkv;
    act *dout = trial_act(t, q_rows * out_stride, 1);
    act *out = trial_out(t, "out", q_rows * out_stride, tolerance);
    float *lse = trial_out_floats(t, "lse", q_rows * s->heads, tolerance);
    act *dqkv = trial_out(t, "dqkv", tokens * stride, tolerance);
    act *dq = s->first_only ? trial_out(t, "dq", q_rows * q_stride, tolerance) : dqkv;
    const act *k = act_at(t->dev, qkv, width), *v = act_at(t->dev, qkv, 2 * width);
    op->attention(t->dev, &a, q, k, v, out, lse);
    op->attention_backward(t->dev, &a, q, k, v, out, lse, dout, dq, act_at(t->dev, dqkv, width),
                           act_at(t->dev, dqkv, 2 * width));
}

static void test_attention(void)
{
    static const size_t sizes[] = {8, 16, 20, 32, 64, 3, 128, 97};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t k = 0; k < 4; k++) {
            struct attention_shape s = {.heads = i % 2 ? 3 : 1, .size = sizes[i]};
            bool far = sizes[i] == 8 && k == 3;
            s.offset = k == 1 ? one_offset : far ? far_offset : k == 3 ? long_offset : short_offset;
            s.n = k == 1 ? 1 : k == 3 ? 2 : 5;
            s.longest = k == 1 ? 1 : far ? 529 : k == 3 ? 300 : 100;
            s.first_only = k == 2;
            s.rate = (i + k) % 2 ? 0.5F : 0;
            char what[96];
            snprintf(what, sizeof what, "attention_backward %zu × %zu, longest %zu, dropout %g%s",
                     s.heads, s.size, s.longest, (double)s.rate,
                     s.first_only ? ", first rows" : "");
            trial_everywhere(attention_case, &s, what);
        }
}

/* ---- sums ---- */
struct sum_shape {
    size_t rows, cols;
};

/* n terms of size 1: n roundings of partial sums of size √n. */
static void column_sum_case(struct trial *t, const void *context)
{
    const struct sum_shape *s = context;
    double tolerance = ((double)s->rows * sqrt((double)s->rows) + 4) * EPSILON;
    act *d = trial_act(t, s->rows * s->cols, 1);
    t->dev->op->column_sum(t->dev, d, s->rows, s->cols,
                           trial_change_floats(t, "grad", s->cols, tolerance));
    act *y = trial_change(t, "y", s->rows * s->cols, EPSILON);
    t->dev->op->add(t->dev, d, s->rows * s->cols, y);
}

/* Slots with 1, 0, 5 and 3 rows and so on, 40 in all. */
static void rows_sum_case(struct trial *t, const void *context)
{
    size_t cols = *(const size_t *)context;
    enum { SLOTS = 12, ROWS = 40 };
    int32_t order[ROWS], bound[SLOTS + 1] = {0, 1, 1, 6, 9, 10, 11, 12, 20, 21, 22, 39, 40};
    for (int32_t i = 0; i < ROWS; i++)
        order[i] = (i * 7) % ROWS;
    int32_t *order_at = trial_ints(t, order, ROWS), *bound_at = trial_ints(t, bound, SLOTS + 1);
    act *d = trial_act(t, ROWS * cols, 1);
    float *grad = trial_change_floats(t, "grad", SLOTS * cols, 80 * EPSILON);
    t->dev->op->rows_sum(t->dev, d, order_at, bound_at, SLOTS, cols, grad);
}

static void scatter_case(struct trial *t, const void *context)
{
    size_t cols = *(const size_t *)context;
    struct seqs seqs = {5, 154, 100, trial_ints(t, short_offset, 6)};
    act *dy = trial_act(t, 5 * cols, 1), *x = trial_change(t, "x", 154 * cols, EPSILON);
    t->dev->op->scatter_first_add(t->dev, dy, &seqs, cols, x);
}

/* At most three terms of size 1; a quotient has one rounding. */
static void trigram_case(struct trial *t, const void *context)
{
    size_t cols = *(const size_t *)context;
    struct seqs seqs = {5, 154, 100, trial_ints(t, short_offset, 6)};
    act *dy = trial_act(t, 154 * 3 * cols, 1), *dmean = trial_act(t, 5 * cols, 1);
    t->dev->op->trigram_backward(t->dev, dy, &seqs, cols,
                                 trial_out(t, "dx", 154 * cols, 8 * EPSILON));
    t->dev->op->mean_pool_backward(t->dev, dmean, &seqs, cols,
                                   trial_out(t, "dx of the mean", 154 * cols, 2 * EPSILON));
}

/* ---- losses ---- */
struct loss_shape {
    enum loss_kind kind;
    size_t rows, classes;
    bool labels, gradient;
    float smoothing;
    bool weights; /* of the classes */
};

/* A loss scale of 4. */
static const struct loss_scale *trial_scaled(struct trial *t)
{
    static const float zeros_after[3] = {4, 0, 0}; /* counts of 0 have the bytes of 0.0 */
    return trial_place(t, TRIAL_FLOAT, zeros_after, 3);
}

/* The definition is double arithmetic on every device so far; 1e-5 leaves room for one that uses
 * floats: logits of size 3 have log-sum-exps of size 10, times T² = 4, so 40 ε = 2.4e-6. */
static void loss_case(struct trial *t, const void *context)
{
    const struct loss_shape *s = context;
    int32_t label[512];
    for (size_t r = 0; r < s->rows; r++)
        label[r] = (int32_t)rng_below(&t->rng, s->classes + 1) - 1;
    int32_t *labels = trial_ints(t, label, s->rows);
    struct loss loss = {.kind = s->kind,
                        .alpha = 0.9F,
                        .temperature = 2.0F,
                        .scale = 0.125F,
                        .smoothing = s->smoothing,
                        .class_weight = s->weights ? trial_floats(t, s->classes, 1, 2) : NULL};
    loss.scaled = s->weights ? trial_scaled(t) : NULL;
    act *logits = trial_act(t, s->rows * s->classes, 3);
    float *teacher = s->kind == LOSS_DISTIL ? trial_floats(t, s->rows * s->classes, 3, 0) : NULL;
    float *row_loss = trial_out_floats(t, "row_loss", s->rows, 1e-5);
    act *dlogits = s->gradient ? trial_out(t, "dlogits", s->rows * s->classes, 1e-5) : NULL;
    t->dev->op->loss(t->dev, &loss, logits, s->labels ? labels : NULL, teacher, s->rows, s->classes,
                     row_loss, dlogits);
}

/* A row in ten is unlabelled; every hundredth logit is far beyond what exp can take. */
static void multi_label_case(struct trial *t, const void *context)
{
    const struct loss_shape *s = context;
    size_t n = s->rows * s->classes;
    float *host = calloc(2 * n, sizeof *host), *logit = host + n;
    for (size_t i = 0; i < n; i++) {
        bool unknown = i / s->classes % 10 == 3;
        host[i] = unknown ? -1 : (float)rng_below(&t->rng, 2);
        logit[i] = (float)(rng_normal(&t->rng) * (i % 100 == 7 ? 1000 : 3));
    }
    float *target = trial_place(t, TRIAL_FLOAT, host, n);
    act *logits = trial_place(t, TRIAL_ACT, logit, n);
    free(host);
    struct loss loss = {.kind = s->kind,
                        .alpha = 0.9F,
                        .temperature = 2.0F,
                        .scale = 0.125F,
                        .smoothing = s->smoothing};
    loss.scaled = s->weights ? trial_scaled(t) : NULL;
    float *teacher = s->kind == LOSS_DISTIL ? trial_floats(t, n, 3, 0) : NULL;
    float *row_loss = trial_out_floats(t, "row_loss", s->rows, 1e-5);
    act *dlogits = s->gradient ? trial_out(t, "dlogits", n, 1e-5) : NULL;
    t->dev->op->loss_multi_label(t->dev, &loss, logits, s->labels ? target : NULL, teacher, s->rows,
                                 s->classes, row_loss, dlogits);
}

static void test_loss(void)
{
    static const struct loss_shape shapes[] = {
        {LOSS_CROSS_ENTROPY, 1, 2, true, true, 0, false},
        {LOSS_CROSS_ENTROPY, 300, 17, true, true, 0.1F, true},
        {LOSS_CROSS_ENTROPY, 33, 100, true, false, 0, true},
        {LOSS_DISTIL, 3, 12, true, true, 0.2F, false},
        {LOSS_DISTIL, 500, 12, true, true, 0, true},
        {LOSS_DISTIL, 5, 1500, true, true, 0.1F, false},
        {LOSS_DISTIL, 17, 1, false, true, 0, false}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char what[64];
        snprintf(what, sizeof what, "loss %d, %zu × %zu", (int)shapes[i].kind, shapes[i].rows,
                 shapes[i].classes);
        trial_everywhere(loss_case, &shapes[i], what);
        snprintf(what, sizeof what, "multi-label loss %d, %zu × %zu", (int)shapes[i].kind,
                 shapes[i].rows, shapes[i].classes);
        trial_everywhere(multi_label_case, &shapes[i], what);
    }
}

/* ---- optimizer ---- */
static const struct adamw settings = {
    .lr = 0.01F, .beta1 = 0.9F, .beta2 = 0.999F, .eps = 1e-6F, .weight_decay = 0.1F, .step = 3};

/* v must not be negative: 1 ± 0.1. */
static float *second_moment(struct trial *t, size_t n)
{
    float *v = trial_floats(t, n, 0.1, 1);
    trial_expect(t, "v", 4 * EPSILON);
    return v;
}

/* A handful of roundings of values of size 1; in w the move, of size lr / (1 - beta1^3) m / √v·…,
 * is below 1. */
static void adamw_case(struct trial *t, const void *context)
{
    size_t n = *(const size_t *)context;
    const float factor = 0.5F;
    float *clip = trial_place(t, TRIAL_FLOAT, &factor, 1), *grad = trial_floats(t, n, 1, 0);
    float *m = trial_change_floats(t, "m", n, 4 * EPSILON), *v = second_moment(t, n);
    float *w = trial_change_floats(t, "w", n, 8 * EPSILON);
    t->dev->op->adamw(t->dev, &settings, clip, n, grad, m, v, w);
}

/* Groups of a block, one of them empty, with a matrix that is multiplied in between: what products
 * see afterwards are the weights as they are now, also after a step that is skipped. */
static void adamw_block_case(struct trial *t, const void *context)
{
    enum { OUT = 5, IN = 17, AT = 13, N = AT + OUT * IN + 20, ROWS = 3 };
    static const struct adamw_group groups[] = {
        {AT, 0.1F, 0}, {AT + OUT * IN, 0.01F, 0.1F}, {AT + OUT * IN, 1, 1}, {N, 0.02F, 0}};
    static const float factors[] = {0.5F, -1};
    struct error err = ERROR_INIT;
    const struct device_ops *op = t->dev->op;
    float *grad = trial_floats(t, N, 1, 0), *m = trial_change_floats(t, "m", N, 4 * EPSILON);
    float *v = second_moment(t, N), *w = trial_change_floats(t, "w", N, 8 * EPSILON);
    act *x = trial_act(t, ROWS * IN, 1);
    (void)context;
    trial_must(op->block_bind(t->dev, w, N, &err), &err);
    struct linear *linear = trial_bind(t, w + AT, NULL, OUT, IN, &err);
    for (size_t i = 0; i < 2; i++) {
        float *factor = trial_place(t, TRIAL_FLOAT, &factors[i], 1);
        if (i > 0)
            op->zero(t->dev, w + AT, IN * sizeof *w);
        op->adamw_block(t->dev, &settings, groups, 4, factor, grad, m, v, w, &linear, 1);
        op->linear(
            t->dev, linear, x, IN, ROWS, EPILOGUE_NONE, NULL,
            trial_out(t, i ? "y of a step that is skipped" : "y", ROWS * OUT, IN * 5 * 8 * EPSILON),
            OUT);
    }
    op->linear_free(t->dev, linear);
    op->block_unbind(t->dev, w);
}

struct rows_case {
    size_t cols;
    bool compact;
};

/* With compact moments: of the rows that occur, in an order of their own. */
static void adamw_rows_case(struct trial *t, const void *context)
{
    const struct rows_case *of = context;
    enum { TABLE = 20, ROWS = 7, KEPT = 9 };
    static const int32_t row[ROWS] = {0, 3, 4, 11, 12, 18, 19};
    static const int32_t place[TABLE] = {2,  -1, -1, 5, 4,  -1, 8,  -1, -1, -1,
                                         -1, 0,  1,  3, -1, -1, -1, -1, 6,  7};
    size_t cols = of->cols, moments = of->compact ? KEPT : TABLE;
    int32_t *places = of->compact ? trial_ints(t, place, TABLE) : NULL;
    const float factor = 1;
    float *clip = trial_place(t, TRIAL_FLOAT, &factor, 1);
    int32_t *rows = trial_ints(t, row, ROWS);
    float *grad = trial_floats(t, ROWS * cols, 1, 0);
    float *m = trial_change_floats(t, "m", moments * cols, 4 * EPSILON);
    float *v = second_moment(t, moments * cols);
    float *w = trial_change_floats(t, "w", TABLE * cols, 8 * EPSILON);
    t->dev->op->adamw_rows(t->dev, &settings, clip, rows, ROWS, cols, places, grad, m, v, w);
}

/* The sum is a double, made of floats over at most 1024 elements each: relative error 64 ε (one
 * chain of 1024/16). */
static void clip_case(struct trial *t, const void *context)
{
    size_t n = *(const size_t *)context;
    float *x = trial_floats(t, n, 1, 0);
    float *sum = trial_made(t, TRIAL_INT, 2, 0, 0); /* one double of zero bytes */
    t->dev->op->sum_squares(t->dev, x, n, (double *)(void *)sum);
    static const float limits[] = {0, 0.5F, 1e6F};
    for (size_t i = 0; i < 3; i++)
        t->dev->op->clip_factor(t->dev, (double *)(void *)sum, limits[i], NULL,
                                trial_out_floats(t, "factor", 1, 256 * EPSILON));
    t->dev->op->sum_squares(t->dev, x, n, (double *)(void *)sum); /* adds: √2 more */
    t->dev->op->clip_factor(t->dev, (double *)(void *)sum, 1, NULL,
                            trial_out_floats(t, "factor of twice the sum", 1, 256 * EPSILON));
}

/* A NaN gradient must stay visible. */
static void test_nan_clip(void)
{
    for (size_t i = 0; i < trial_n_devices; i++) {
        struct device *dev = trial_devices[i].dev;
        struct error err = ERROR_INIT;
        if (!dev)
            continue;
        const double nan_sum = (double)NAN;
        float found = 0, *factor = dev->op->alloc(dev, sizeof *factor, &err);
        double *sum = dev->op->alloc(dev, sizeof *sum, &err);
        trial_must(factor && sum, &err);
        dev->op->upload(dev, sum, &nan_sum, sizeof nan_sum);
        dev->op->clip_factor(dev, sum, 1, NULL, factor);
        dev->op->download(dev, &found, factor, sizeof found);
        tap_ok(isnan(found), "%s: clipping does not hide a NaN", trial_devices[i].name);
        dev->op->free(dev, factor);
        dev->op->free(dev, sum);
    }
}

/* ---- pruning ---- */
struct slope_shape {
    size_t cols, group;
};

/* Slopes are sums of n = up to 100 rows × group products of size 1, |sum| some √n; each of n roundings
 * is of a partial sum of that size: √n n ε at worst. */
static void slope_case(struct trial *t, const void *context)
{
    const struct slope_shape *s = context;
    double n = 100 * (double)s->group;
    struct seqs seqs = {5, 154, 100, trial_ints(t, short_offset, 6)};
    act *x = trial_act(t, 154 * s->cols, 1), *dx = trial_act(t, 154 * s->cols, 1);
    float *slope = trial_change_floats(t, "slope", 5 * (s->cols / s->group), sqrt(n) * n * EPSILON);
    t->dev->op->unit_slope(t->dev, x, dx, &seqs, s->cols, s->group, slope);
}

/* a = xᵀx + n, whose condition is below 10 for as many rows as columns: solutions of doubles, rounded
 * to floats, but the right sides are floats, too: 10 ε. */
static void solve_case(struct trial *t, const void *context)
{
    const size_t *s = context;
    size_t n = s[0];
    struct error err = ERROR_INIT;
    act *x = trial_act(t, n * n, 1);
    float *a = t->dev->op->alloc(t->dev, (n * n + 1) * sizeof *a, &err);
    float *host = calloc(n * n + 1, sizeof *host);
    trial_must(a && host, &err);
    t->dev->op->zero(t->dev, a, n * n * sizeof *a);
    t->dev->op->gram(t->dev, x, n, n, a);
    t->dev->op->download(t->dev, host, a, n * n * sizeof *a);
    for (size_t i = 0; i < n; i++)
        host[i * n + i] += (float)n;
    t->dev->op->upload(t->dev, a, host, n * n * sizeof *a);
    t->dev->op->solve(t->dev, a, n, trial_change_floats(t, "solution", s[1] * n, 10 * EPSILON),
                      s[1]);
    t->dev->op->free(t->dev, a);
    free(host);
}

struct gram_shape {
    size_t rows, cols;
};

/* Sums of `rows` products of size 1, |sum| some √rows: each of the roundings is of a partial sum of
 * that size, on top of the rounding of the start. */
static void gram_case(struct trial *t, const void *context)
{
    const struct gram_shape *s = context;
    act *x = trial_act(t, s->rows * s->cols, 1);
    double n = (double)s->rows + 2;
    float *g = trial_change_floats(t, "g", s->cols * s->cols, sqrt(n) * n * EPSILON);
    t->dev->op->gram(t->dev, x, s->rows, s->cols, g);
}

/* No rows, no sequences: nothing happens. */
static void empty_case(struct trial *t, const void *context)
{
    (void)context;
    const struct device_ops *op = t->dev->op;
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    const struct seqs none = {0, 0, 0, trial_ints(t, short_offset, 1)};
    const int32_t *ints = trial_ints(t, short_offset, 1);
    act *x = trial_act(t, 6, 1), *y = trial_change(t, "y", 6, 0);
    float *floats = trial_change_floats(t, "floats", 6, 0);
    op->loss(t->dev, &loss, x, ints, NULL, 0, 3, floats, y);
    op->loss_multi_label(t->dev, &loss, x, floats, NULL, 0, 3, floats, y);
    op->add(t->dev, x, 0, y);
    op->column_sum(t->dev, x, 0, 3, floats);
    op->rows_sum(t->dev, x, ints, ints, 0, 3, floats);
    op->scatter_first_add(t->dev, x, &none, 3, y);
    op->trigram_backward(t->dev, x, &none, 3, y);
    op->mean_pool_backward(t->dev, x, &none, 3, y);
    op->gather_first(t->dev, x, &none, 3, y);
    op->trigram(t->dev, x, &none, 3, y);
    op->mean_pool(t->dev, x, &none, 3, y);
    op->embed(t->dev, NULL, NULL, NULL, NULL, NULL, 0, 3, y);
}

/* On a GPU, reading a class weight beyond the array may end the program: there such a label is an
 * error. On a device of its own, where the error stays. */
static void test_bad_label(void)
{
    struct error err = ERROR_INIT, late = ERROR_INIT;
    struct device *dev = device_cuda_open(0, DTYPE_F32, 0, &err);
    if (!dev) {
        tap_skip("a label beyond the classes", err.text);
        return;
    }
    const struct loss loss = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    const int32_t wrong[] = {0, 3};
    int32_t *label = dev->op->alloc(dev, sizeof wrong, &err);
    float *row_loss = dev->op->alloc(dev, 2 * sizeof *row_loss, &err);
    act *x = dev->op->alloc(dev, 6 * dev->act_bytes, &err);
    trial_must(!err.set, &err);
    dev->op->zero(dev, x, 6 * dev->act_bytes);
    dev->op->upload(dev, label, wrong, sizeof wrong);
    dev->op->loss(dev, &loss, x, label, NULL, 2, 3, row_loss, NULL);
    tap_ok(!dev->op->sync(dev, &late) && strstr(late.text, "loss: label 3 of 3 classes"),
           "a label beyond the classes is an error: %s", late.text);
    dev->op->free(dev, label);
    dev->op->free(dev, row_loss);
    dev->op->free(dev, x);
    dev->op->close(dev);
}

int main(void)
{
    static const enum epilogue epilogues[] = {EPILOGUE_NONE, EPILOGUE_GELU, EPILOGUE_GELU_TANH,
                                              EPILOGUE_RELU, EPILOGUE_TANH};
    static const size_t sizes[] = {1, 17, 33, 1000, 70001};
    static const struct sum_shape sums[] = {{1, 1}, {3, 17}, {100, 33}, {17, 1000}};
    static const struct gram_shape grams[] = {{1, 1}, {37, 30}, {3, 200}, {70, 333}, {0, 5}};
    static const size_t solves[][2] = {{1, 1}, {7, 3}, {130, 1}, {65, 200}};
    static const struct slope_shape units[] = {{192, 64}, {100, 1}, {60, 20}, {3, 3}};
    trial_open_devices();
    trial_add_set("avx512bf16");
    trial_report_devices();
    test_linear();
    for (size_t i = 0; i < 5; i++)
        trial_everywhere(epilogue_case, &epilogues[i], "epilogue_backward");
    test_norm();
    test_attention();
    for (size_t i = 0; i < 4; i++)
        trial_everywhere(column_sum_case, &sums[i], "column_sum and add");
    for (size_t i = 0; i < 4; i++)
        trial_everywhere(rows_sum_case, &sizes[i], "rows_sum");
    for (size_t i = 0; i < 3; i++)
        trial_everywhere(scatter_case, &sizes[i], "scatter_first_add");
    for (size_t i = 0; i < 3; i++)
        trial_everywhere(trigram_case, &sizes[i], "trigram_backward and mean_pool_backward");
    test_loss();
    trial_everywhere(empty_case, NULL, "rows, sequences and losses of nothing");
    test_bad_label();
    for (size_t i = 0; i < 5; i++)
        trial_everywhere(adamw_case, &sizes[i], "adamw");
    for (size_t i = 0; i < 8; i++) {
        const struct rows_case rows = {sizes[i / 2], i % 2 > 0};
        trial_everywhere(adamw_rows_case, &rows,
                         rows.compact ? "adamw_rows, compact moments" : "adamw_rows");
    }
    trial_everywhere(adamw_block_case, NULL, "adamw_block");
    for (size_t i = 0; i < 5; i++)
        trial_everywhere(clip_case, &sizes[i], "sum_squares and clip_factor");
    test_nan_clip();
    for (size_t i = 0; i < 4; i++)
        trial_everywhere(slope_case, &units[i], "unit_slope");
    for (size_t i = 0; i < 5; i++)
        trial_everywhere(gram_case, &grams[i], "gram");
    for (size_t i = 0; i < 4; i++)
        trial_everywhere(solve_case, solves[i], "solve");
    trial_close_devices();
    return tap_done();
}
