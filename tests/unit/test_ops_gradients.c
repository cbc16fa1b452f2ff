/* test_ops_gradients.c: the backward operations of the reference device against finite differences
 * of its forward ones.
 *
 * The loss is L = Σ c_i y_i with fixed random c. The derivative by one input is estimated from four
 * points, (8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12 h,   error h⁴ L⁽⁵⁾ / 30. With h = 2⁻⁶ that is
 * 2e-9 of the fifth derivative; the outputs are floats, so L carries about 6e-8 √n ≈ 1e-6 of noise,
 * times 18/(12 h) ≈ 1e2: 1e-4. TOLERANCE is five times that, relative to values above 1.
 */
#include <stdlib.h>

#include "core/rng.h"
#include "kernels/kernels.h"
#include "tests/tap.h"

static const double STEP = 1.0 / 64, TOLERANCE = 5e-4;

static struct device *dev;

/* Everything a test allocates; freed by release(). */
static void *pool[64];
static size_t n_pool;

static void *keep(void *memory, const struct error *err)
{
    if (!memory) {
        printf("Bail out! %s\n", err->text);
        exit(1);
    }
    return pool[n_pool++] = memory;
}

static void release(void)
{
    while (n_pool)
        dev->op->free(dev, pool[--n_pool]);
}

/* n normal values of the given size, the same in every run; size 0: zeros. On the reference device
 * an act is a float. */
static float *fill(size_t n, double size, uint64_t seed)
{
    struct error err = ERROR_INIT;
    float *x = keep(dev->op->alloc(dev, n * sizeof *x, &err), &err);
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(size * rng_normal(&rng));
    return x;
}

static act *as_act(float *x)
{
    return (act *)(void *)x;
}

static double weighted(const float *y, const float *c, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)y[i] * (double)c[i];
    return sum;
}

/* A loss reads what its context points to, some of which is being varied. */
typedef double loss_function(void *context);

static double slope(loss_function *loss, void *context, float *x)
{
    static const double at[4] = {1, -1, 2, -2}, weight[4] = {8, -8, -1, 1};
    float old = *x;
    double sum = 0;
    for (size_t i = 0; i < 4; i++) {
        *x = (float)((double)old + at[i] * STEP);
        sum += weight[i] * loss(context);
    }
    *x = old;
    return sum / (12 * STEP);
}

static void check(const char *name, const char *of, loss_function *loss, void *context, float *x,
                  const float *gradient, size_t n)
{
    struct error err = ERROR_INIT;
    float *expected = keep(dev->op->alloc(dev, n * sizeof *expected, &err), &err);
    for (size_t i = 0; i < n; i++)
        expected[i] = (float)slope(loss, context, x + i);
    char what[128];
    snprintf(what, sizeof what, "%s: %s", name, of);
    tap_close(gradient, expected, n, TOLERANCE, what);
}

/* ---- linear ---- */
struct linear_case {
    struct linear *linear;
    float *x, *y, *c;
    size_t rows, in, out;
};

static double linear_loss(void *context)
{
    struct linear_case *l = context;
    dev->op->linear(dev, l->linear, as_act(l->x), l->in, l->rows, EPILOGUE_NONE, NULL, as_act(l->y),
                    l->out);
    return weighted(l->y, l->c, l->rows * l->out);
}

static void test_linear(void)
{
    struct error err = ERROR_INIT;
    struct linear_case l = {.rows = 5, .in = 7, .out = 3};
    l.x = fill(l.rows * l.in, 1, 1);
    l.y = fill(l.rows * l.out, 0, 0);
    l.c = fill(l.rows * l.out, 1, 3);
    float *w = fill(l.out * l.in, 1, 4), *b = fill(l.out, 1, 5);
    float *dx = fill(l.rows * l.in, 0, 0), *dw = fill(l.out * l.in, 0, 0), *db = fill(l.out, 0, 0);
    l.linear = dev->op->linear_bind(dev, w, b, l.out, l.in, &err);
    dev->op->linear_backward(dev, l.linear, as_act(l.x), l.in, as_act(l.c), l.out, l.rows,
                             as_act(dx), l.in, dw, db, 0);
    check("linear", "dx", linear_loss, &l, l.x, dx, l.rows * l.in);
    check("linear", "dw", linear_loss, &l, w, dw, l.out * l.in);
    check("linear", "db", linear_loss, &l, b, db, l.out);
    dev->op->linear_free(dev, l.linear);
    release();
}

/* ---- epilogues, carried by a 1 × 1 product with weight 1 ---- */
struct epilogue_case {
    struct linear *one;
    float *x, *y, *c;
    enum epilogue epilogue;
    size_t n;
};

static double epilogue_loss(void *context)
{
    struct epilogue_case *e = context;
    dev->op->linear(dev, e->one, as_act(e->x), 1, e->n, e->epilogue, NULL, as_act(e->y), 1);
    return weighted(e->y, e->c, e->n);
}

static void test_epilogue(enum epilogue epilogue, const char *name)
{
    struct error err = ERROR_INIT;
    struct epilogue_case e = {.n = 64, .epilogue = epilogue};
    float *one = fill(1, 0, 0), *dx = fill(e.n, 0, 0);
    *one = 1;
    e.one = dev->op->linear_bind(dev, one, NULL, 1, 1, &err);
    e.x = fill(e.n, 2, 11);
    e.y = fill(e.n, 0, 0);
    e.c = fill(e.n, 1, 12);
    for (size_t i = 0; i < e.n; i++) /* differences must not straddle the corner of relu */
        if (fabsf(e.x[i]) < 0.1F)
            e.x[i] = 0.25F;
    dev->op->epilogue_backward(dev, epilogue, as_act(e.x), as_act(e.c), 1, e.n, as_act(dx), NULL);
    check("epilogue", name, epilogue_loss, &e, e.x, dx, e.n);
    dev->op->linear_free(dev, e.one);
    release();
}

/* ---- add_norm ---- */
struct norm_case {
    enum norm norm;
    float *x, *residual, *gain, *bias, *sum, *stats, *y, *c;
    struct dropout dropout;
    size_t rows, cols;
};

static double norm_loss(void *context)
{
    struct norm_case *n = context;
    dev->op->add_norm(dev, n->norm, as_act(n->x), as_act(n->residual), n->dropout, n->gain, n->bias,
                      1e-5F, n->rows, n->cols, as_act(n->sum), n->stats, as_act(n->y));
    return weighted(n->y, n->c, n->rows * n->cols);
}

static void test_norm(enum norm norm, float rate, const char *name)
{
    struct norm_case n = {.norm = norm, .rows = 4, .cols = 17, .dropout = {rate, 99}};
    size_t all = n.rows * n.cols;
    n.x = fill(all, 1, 21);
    n.residual = fill(all, 1, 22);
    n.gain = fill(n.cols, 1, 23);
    n.bias = fill(n.cols, 1, 24);
    n.sum = fill(all, 0, 0);
    n.stats = norm == NORM_LAYER ? fill(2 * n.rows, 0, 0) : NULL;
    n.y = fill(all, 0, 0);
    n.c = fill(all, 1, 25);
    float *dz = fill(all, 0, 0), *dx = fill(all, 0, 0), *dgain = fill(n.cols, 0, 0),
          *dbias = fill(n.cols, 0, 0), *db = fill(n.cols, 0, 0);
    norm_loss(&n);
    dev->op->add_norm_backward(dev, norm, as_act(n.sum), n.stats, n.gain, as_act(n.c), n.dropout,
                               n.rows, n.cols, as_act(dz), as_act(dx), dgain, dbias, db);
    check(name, "dx", norm_loss, &n, n.x, dx, all);
    check(name, "dz", norm_loss, &n, n.residual, dz, all);
    check(name, "dgain", norm_loss, &n, n.gain, dgain, n.cols);
    check(name, "dbias", norm_loss, &n, n.bias, dbias, n.cols);
    for (size_t c = 0; c < n.cols; c++) { /* one bias for the column of all rows */
        double sum = 0;
        for (size_t r = 0; r < n.rows; r++)
            sum += (double)dx[r * n.cols + c];
        if (!(fabs(sum - (double)db[c]) <= 1e-5))
            tap_ok(false, "%s: db[%zu] is %g, the column's sum %g", name, c, (double)db[c], sum);
    }
    release();
}

/* ---- trigram, mean_pool ---- */
struct sequence_case {
    struct seqs seqs;
    bool mean;
    float *x, *y, *c;
};

enum { SEQUENCE_TOKENS = 9, SEQUENCE_COLS = 3, SEQUENCES = 4 };

static size_t sequence_outputs(const struct sequence_case *s)
{
    return (s->mean ? SEQUENCES : 3 * SEQUENCE_TOKENS) * SEQUENCE_COLS;
}

static double sequence_loss(void *context)
{
    struct sequence_case *s = context;
    if (s->mean)
        dev->op->mean_pool(dev, as_act(s->x), &s->seqs, SEQUENCE_COLS, as_act(s->y));
    else
        dev->op->trigram(dev, as_act(s->x), &s->seqs, SEQUENCE_COLS, as_act(s->y));
    return weighted(s->y, s->c, sequence_outputs(s));
}

static void test_sequence(void)
{
    static const int32_t offset[] = {0, 1, 3, 6, 9};
    for (int mean = 0; mean < 2; mean++) {
        struct sequence_case s = {{SEQUENCES, SEQUENCE_TOKENS, 3, offset}, mean, NULL, NULL, NULL};
        size_t n = SEQUENCE_TOKENS * SEQUENCE_COLS;
        s.x = fill(n, 1, 51);
        s.y = fill(sequence_outputs(&s), 0, 0);
        s.c = fill(sequence_outputs(&s), 1, 52);
        float *dx = fill(n, 1, 53); /* written, not added to */
        if (mean)
            dev->op->mean_pool_backward(dev, as_act(s.c), &s.seqs, SEQUENCE_COLS, as_act(dx));
        else
            dev->op->trigram_backward(dev, as_act(s.c), &s.seqs, SEQUENCE_COLS, as_act(dx));
        check(mean ? "mean_pool" : "trigram", "dx", sequence_loss, &s, s.x, dx, n);
        release();
    }
}

/* ---- attention ---- */
struct attention_case {
    struct attention attention;
    float *qkv, *q, *out, *lse, *c; /* q: rows of its own when first_only */
    size_t q_rows, width;
};

static double attention_loss(void *context)
{
    struct attention_case *a = context;
    dev->op->attention(dev, &a->attention, as_act(a->q), as_act(a->qkv + a->width),
                       as_act(a->qkv + 2 * a->width), as_act(a->out), a->lse);
    return weighted(a->out, a->c, a->q_rows * a->width);
}

static void test_attention(bool first_only, float rate, const char *name)
{
    static const int32_t offset[] = {0, 1, 6, 9};
    enum { TOKENS = 9, HEADS = 2, SIZE = 4, WIDTH = HEADS * SIZE };
    struct attention_case a = {.q_rows = first_only ? 3 : TOKENS, .width = WIDTH};
    a.attention =
        (struct attention){.seqs = {.n = 3, .n_tokens = TOKENS, .longest = 5, .offset = offset},
                           .heads = HEADS,
                           .head_size = SIZE,
                           .scale = 0.5F,
                           .first_only = first_only,
                           .q_stride = first_only ? WIDTH : 3 * WIDTH,
                           .kv_stride = 3 * WIDTH,
                           .out_stride = WIDTH,
                           .dropout = {rate, 7}};
    a.qkv = fill(TOKENS * 3 * WIDTH, 1, 31);
    a.q = first_only ? fill(3 * WIDTH, 1, 32) : a.qkv;
    a.out = fill(a.q_rows * WIDTH, 0, 0);
    a.lse = fill(a.q_rows * HEADS, 0, 0);
    a.c = fill(a.q_rows * WIDTH, 1, 33);
    float *dqkv = fill(TOKENS * 3 * WIDTH, 0, 0), *dq = first_only ? fill(3 * WIDTH, 0, 0) : dqkv;
    attention_loss(&a);
    dev->op->attention_backward(dev, &a.attention, as_act(a.q), as_act(a.qkv + WIDTH),
                                as_act(a.qkv + 2 * WIDTH), as_act(a.out), a.lse, as_act(a.c),
                                as_act(dq), as_act(dqkv + WIDTH), as_act(dqkv + 2 * WIDTH));
    if (first_only) /* the query columns of qkv take no part: their gradient is 0, and so is the
                       estimate */
        check(name, "dq", attention_loss, &a, a.q, dq, 3 * WIDTH);
    check(name, "dq, dk, dv", attention_loss, &a, a.qkv, dqkv, TOKENS * 3 * WIDTH);
    release();
}

/* ---- losses ---- */
struct loss_case {
    struct loss loss;
    float *logits, *teacher, *row_loss;
    int32_t label[4];
};

enum { LOSS_ROWS = 4, LOSS_CLASSES = 5 };

static double loss_loss(void *context)
{
    struct loss_case *l = context;
    dev->op->loss(dev, &l->loss, as_act(l->logits), l->label, l->teacher, LOSS_ROWS, LOSS_CLASSES,
                  l->row_loss, NULL);
    double sum = 0;
    for (size_t r = 0; r < LOSS_ROWS; r++)
        sum += (double)l->row_loss[r];
    return sum * (double)l->loss.scale;
}

static void test_loss(enum loss_kind kind, float smoothing, bool weights, const char *name)
{
    struct loss_case l = {.loss = {.kind = kind,
                                   .alpha = 0.75F,
                                   .temperature = 2,
                                   .scale = 0.5F,
                                   .smoothing = smoothing,
                                   .class_weight = weights ? fill(LOSS_CLASSES, 1, 43) : NULL},
                          .label = {1, 4, -1, 0}};
    l.logits = fill(LOSS_ROWS * LOSS_CLASSES, 2, 41);
    l.teacher = kind == LOSS_DISTIL ? fill(LOSS_ROWS * LOSS_CLASSES, 2, 42) : NULL;
    l.row_loss = fill(LOSS_ROWS, 0, 0);
    float *dlogits = fill(LOSS_ROWS * LOSS_CLASSES, 0, 0);
    dev->op->loss(dev, &l.loss, as_act(l.logits), l.label, l.teacher, LOSS_ROWS, LOSS_CLASSES,
                  l.row_loss, as_act(dlogits));
    check(name, "dlogits", loss_loss, &l, l.logits, dlogits, LOSS_ROWS * LOSS_CLASSES);
    release();
}

struct multi_label_case {
    struct loss loss;
    float *logits, *target, *teacher, *row_loss;
};

static double multi_label_loss(void *context)
{
    struct multi_label_case *l = context;
    dev->op->loss_multi_label(dev, &l->loss, as_act(l->logits), l->target, l->teacher, LOSS_ROWS,
                              LOSS_CLASSES, l->row_loss, NULL);
    double sum = 0;
    for (size_t r = 0; r < LOSS_ROWS; r++)
        sum += (double)l->row_loss[r];
    return sum * (double)l->loss.scale;
}

/* Row 2 has unknown labels. */
static void test_multi_label(enum loss_kind kind, const char *name)
{
    enum { N = LOSS_ROWS * LOSS_CLASSES };
    struct multi_label_case l = {
        .loss = {.kind = kind, .alpha = 0.75F, .temperature = 2, .scale = 0.5F, .smoothing = 0.1F}};
    l.logits = fill(N, 2, 41);
    l.target = fill(N, 0, 0);
    for (size_t i = 0; i < N; i++)
        l.target[i] = i / LOSS_CLASSES == 2 ? -1 : (float)(i % 3 == 0);
    l.teacher = kind == LOSS_DISTIL ? fill(N, 2, 42) : NULL;
    l.row_loss = fill(LOSS_ROWS, 0, 0);
    float *dlogits = fill(N, 0, 0);
    dev->op->loss_multi_label(dev, &l.loss, as_act(l.logits), l.target, l.teacher, LOSS_ROWS,
                              LOSS_CLASSES, l.row_loss, as_act(dlogits));
    check(name, "dlogits", multi_label_loss, &l, l.logits, dlogits, N);
    release();
}

/* Expected values by PyTorch 2.15 in float64: torch.nn.functional.binary_cross_entropy_with_logits
 * (x, y), the mean of everything, and its gradient; for distillation with q = sigmoid(t / T), T = 2,
 * the mean of 0.75 T² (bce(x / T, q) - bce(t / T, q)) + 0.25 bce(x, y). */
static void test_multi_label_values(void)
{
    float x[] = {1.5F, -2.25F, 0.5F, 100, -0.75F, 3, -120, 0}, row_loss[2], gradient[8];
    const float y[] = {1, 0, 1, 0, 0, 1, 0, 1}, t[] = {2, -1, 0.5F, 3, -4, 1, 0.25F, -0.5F};
    const struct loss plain = {.kind = LOSS_CROSS_ENTROPY, .scale = 0.5F},
                      distil = {
                          .kind = LOSS_DISTIL, .alpha = 0.75F, .temperature = 2, .scale = 0.5F};
    const float plain_rows[] = {25.1939242F, 0.282151385F},
                distil_rows[] = {12.8202070F, 23.6929008F};
    const float plain_gradient[] = {
        -0.0228031905F, 0.0119186831F, -0.0471925836F, 0.125F, 0.0401026626F, -0.00592823415F, 0,
        -0.0625F};
    const float distil_gradient[] = {-0.0154282750F, -0.0218557647F, -0.0117981459F,
                                     0.0654547857F,  0.0640501303F,  0.0351020311F,
                                     -0.0996017576F, -0.00396690608F};
    dev->op->loss_multi_label(dev, &plain, as_act(x), y, NULL, 2, 4, row_loss, as_act(gradient));
    tap_close(row_loss, plain_rows, 2, 1e-6, "multi-label cross-entropy is torch's");
    tap_close(gradient, plain_gradient, 8, 1e-7, "and so is its gradient");
    dev->op->loss_multi_label(dev, &distil, as_act(x), y, t, 2, 4, row_loss, as_act(gradient));
    tap_close(row_loss, distil_rows, 2, 1e-6, "multi-label distillation is torch's");
    tap_close(gradient, distil_gradient, 8, 1e-7, "and so is its gradient");
}

/* Expected values by PyTorch 2.15 in float64: cross_entropy(x, label, label_smoothing=0.1,
 * reduction='none') times the label's weight, and the gradient of half their sum. */
static void test_smoothed_values(void)
{
    float x[] = {1.5F, -2.25F, 0.5F, 0.25F, 3, -0.75F}, weight[] = {2, 1, 0.5F};
    float row_loss[2], gradient[6];
    const int32_t label[] = {0, 2};
    const struct loss loss = {
        .kind = LOSS_CROSS_ENTROPY, .scale = 0.5F, .smoothing = 0.1F, .class_weight = weight};
    const float rows[] = {0.977283492F, 1.83774907F};
    const float slopes[] = {-0.214631291F,  -0.0164310814F, 0.231062372F,
                            0.00636346180F, 0.221563223F,   -0.227926685F};
    dev->op->loss(dev, &loss, as_act(x), label, NULL, 2, 3, row_loss, as_act(gradient));
    tap_close(row_loss, rows, 2, 1e-6, "smoothed and weighted cross-entropy is torch's");
    tap_close(gradient, slopes, 6, 1e-7, "and so is its gradient");
}

/* Values worked out by hand. */
static void test_loss_values(void)
{
    float logits[] = {0, 0, 0, 0}, teacher[] = {2, 0, 0, 0}, row_loss[2];
    const int32_t label[] = {1, -1};
    struct loss plain = {.kind = LOSS_CROSS_ENTROPY, .scale = 1};
    struct loss distil = {.kind = LOSS_DISTIL, .alpha = 1, .temperature = 2, .scale = 1};
    dev->op->loss(dev, &plain, as_act(logits), label, NULL, 2, 2, row_loss, NULL);
    const float expected[] = {0.69314718F, 0}; /* ln 2; no label, no loss */
    tap_close(row_loss, expected, 2, 1e-6, "cross-entropy of even logits is ln 2");
    dev->op->loss(dev, &distil, as_act(logits), label, teacher, 2, 2, row_loss, NULL);
    /* T² KL((e, 1)/(e + 1) ‖ (½, ½)) at T = 2: 4 (0.731059 ln 1.462117 + 0.268941 ln 0.537883) */
    const float kl[] = {0.44378F, 0};
    tap_close(row_loss, kl, 2, 1e-4, "distillation loss of two classes");
}

static void test_dropout_rate(void)
{
    enum { N = 1 << 16 };
    float *x = fill(N, 0, 0), *y = fill(N, 0, 0);
    size_t dropped = 0, together = 0, repeated = 0;
    for (size_t i = 0; i < N; i++)
        x[i] = y[i] = 1;
    dev->op->dropout(dev, as_act(x), N, (struct dropout){0.25F, 1});
    dev->op->dropout(dev, as_act(y), N, (struct dropout){0.25F, 2});
    for (size_t i = 0; i < N; i++) {
        dropped += x[i] < 0.5F;
        together += x[i] < 0.5F && y[i] < 0.5F;
        repeated += i && x[i] < 0.5F && x[i - 1] < 0.5F;
    }
    /* five standard deviations: sqrt(65536 * 1/4 * 3/4) = 111, sqrt(65536 * 1/16 * 15/16) = 62 */
    tap_ok(dropped > N / 4 - 555 && dropped < N / 4 + 555, "a quarter is dropped (%zu)", dropped);
    tap_ok(together > N / 16 - 310 && together < N / 16 + 310, "seeds are independent (%zu)",
           together);
    tap_ok(repeated > N / 16 - 310 && repeated < N / 16 + 310, "neighbours are independent (%zu)",
           repeated);
    tap_ok(fabsf(x[0] > 0 ? x[0] - 4.0F / 3 : 0) < 1e-6F, "kept elements are scaled by 1/(1-rate)");
    release();
}

int main(void)
{
    struct error err = ERROR_INIT;
    dev = device_reference_open(&err);
    if (!tap_ok(dev != NULL, "the reference device opens %s", err.text))
        return tap_done();
    test_linear();
    test_epilogue(EPILOGUE_NONE, "none");
    test_epilogue(EPILOGUE_GELU, "gelu");
    test_epilogue(EPILOGUE_GELU_TANH, "gelu_tanh");
    test_epilogue(EPILOGUE_RELU, "relu");
    test_epilogue(EPILOGUE_TANH, "tanh");
    test_norm(NORM_LAYER, 0, "add_norm");
    test_norm(NORM_LAYER, 0.3F, "add_norm with dropout");
    test_norm(NORM_AFFINE, 0, "add_norm, affine");
    test_norm(NORM_AFFINE, 0.3F, "add_norm, affine, with dropout");
    test_sequence();
    test_attention(false, 0, "attention");
    test_attention(false, 0.3F, "attention with dropout");
    test_attention(true, 0, "attention of first rows");
    test_attention(true, 0.3F, "attention of first rows with dropout");
    test_loss(LOSS_CROSS_ENTROPY, 0, false, "cross-entropy");
    test_loss(LOSS_CROSS_ENTROPY, 0.1F, false, "smoothed cross-entropy");
    test_loss(LOSS_CROSS_ENTROPY, 0.1F, true, "smoothed cross-entropy of weighted classes");
    test_loss(LOSS_DISTIL, 0, false, "distillation");
    test_loss(LOSS_DISTIL, 0.1F, true, "distillation, smoothed and weighted");
    test_loss_values();
    test_multi_label(LOSS_CROSS_ENTROPY, "multi-label cross-entropy");
    test_multi_label(LOSS_DISTIL, "multi-label distillation");
    test_multi_label_values();
    test_smoothed_values();
    test_dropout_rate();
    tap_ok(dev->op->sync(dev, &err), "no operation failed %s", err.text);
    dev->op->close(dev);
    return tap_done();
}
