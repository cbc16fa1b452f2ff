/* test_cuda_refusals.c: what a CUDA device refuses: weights it cannot hold, operations that do not
 * fit their operands, no memory for an operation's inside. Each with a message that names the
 * operation, nothing leaked; and a device with a failure does nothing more. */
#include <limits.h>
#include <stdlib.h>

#include "core/dtype.h"
#include "kernels/kernels.h"
#include "tests/tap.h"

enum { ROWS = 4, COLS = 8, PIECE = 4096, PIECES = 8, FILLERS = 20, LIMIT = 1 << FILLERS };

/* A device with one allocation, all zero, cut into pieces, and matrices of COLS × COLS. */
struct world {
    struct device *dev;
    char *memory;
    struct linear *prepared, *int8, *rounded;
    struct table_weights *table; /* [3, COLS] */
    void *filler[FILLERS];
    struct seqs seqs; /* of two rows each */
};

static const float zeros[COLS * COLS];
static const int8_t codes[COLS * COLS];

static act *act_piece(const struct world *w, size_t i)
{
    return (act *)(void *)(w->memory + i * PIECE);
}
static float *float_piece(const struct world *w, size_t i)
{
    return (float *)(void *)(w->memory + i * PIECE);
}

static bool world_open(struct world *w, enum dtype precision, struct error *err)
{
    static const int32_t offsets[] = {0, 2, 4};
    const struct weight weight = {.data = zeros, .type = DTYPE_F32, .rows = COLS, .cols = COLS};
    const struct weight int8 = {codes, DTYPE_I8, zeros, COLS, COLS, false};
    const struct weight table = {.data = zeros, .type = DTYPE_F32, .rows = 3, .cols = COLS};
    *w = (struct world){.dev = device_cuda_open(0, precision, LIMIT, err)};
    if (!w->dev || !(w->memory = w->dev->op->alloc(w->dev, PIECE * PIECES, err)))
        return false;
    w->dev->op->zero(w->dev, w->memory, PIECE * PIECES);
    w->dev->op->upload(w->dev, act_piece(w, PIECES - 1), offsets, sizeof offsets);
    w->seqs = (struct seqs){2, ROWS, 2, (int32_t *)(void *)act_piece(w, PIECES - 1)};
    w->prepared = w->dev->op->linear_prepare(w->dev, &weight, NULL, 1, err);
    w->int8 = w->prepared ? w->dev->op->linear_prepare(w->dev, &int8, NULL, 1, err) : NULL;
    w->rounded =
        w->int8 ? w->dev->op->linear_bind(w->dev, float_piece(w, 6), NULL, COLS, COLS, err) : NULL;
    w->table = w->rounded ? w->dev->op->table_prepare(w->dev, &table, err) : NULL;
    return w->table && (precision != DTYPE_F32 ||
                        w->dev->op->linear_round(w->dev, w->rounded, DTYPE_BF16, err));
}

/* All that the limit leaves is taken. */
static void world_fill(struct world *w)
{
    for (size_t i = 0; i < FILLERS; i++) {
        struct error ignored = ERROR_INIT;
        w->filler[i] = w->dev->op->alloc(w->dev, (size_t)1 << (FILLERS - 1 - i), &ignored);
    }
}

static void world_close(struct world *w)
{
    if (!w->dev)
        return;
    for (size_t i = 0; i < FILLERS; i++)
        w->dev->op->free(w->dev, w->filler[i]);
    w->dev->op->table_free(w->dev, w->table);
    w->dev->op->linear_free(w->dev, w->rounded);
    w->dev->op->linear_free(w->dev, w->int8);
    w->dev->op->linear_free(w->dev, w->prepared);
    w->dev->op->free(w->dev, w->memory);
    w->dev->op->close(w->dev);
}

/* ---- operations, well called: they fail for want of memory only ---- */

static void run_column_sum(struct world *w)
{
    w->dev->op->column_sum(w->dev, act_piece(w, 0), ROWS, COLS, float_piece(w, 1));
}
static void run_norm(struct world *w)
{
    w->dev->op->add_norm_backward(w->dev, NORM_LAYER, act_piece(w, 0), float_piece(w, 1),
                                  float_piece(w, 2), act_piece(w, 3), (struct dropout){0, 0}, ROWS,
                                  COLS, act_piece(w, 3), NULL, float_piece(w, 4), float_piece(w, 5),
                                  NULL);
}
static void run_attention(struct world *w)
{
    const struct attention a = {.seqs = w->seqs,
                                .heads = 1,
                                .head_size = COLS,
                                .scale = 1,
                                .q_stride = COLS,
                                .kv_stride = COLS,
                                .out_stride = COLS};
    act *x = act_piece(w, 0);
    w->dev->op->attention_backward(w->dev, &a, x, x, x, x, float_piece(w, 1), x, act_piece(w, 2),
                                   act_piece(w, 3), act_piece(w, 4));
}
static void run_sum_squares(struct world *w)
{
    w->dev->op->sum_squares(w->dev, float_piece(w, 0), COLS, (double *)(void *)float_piece(w, 1));
}
static void run_match(struct world *w)
{
    const struct match match = {MATCH_SQUARED, 1, 1};
    w->dev->op->match(w->dev, &match, act_piece(w, 0), act_piece(w, 1), &w->seqs, COLS,
                      float_piece(w, 2), act_piece(w, 3));
}
static void run_relation(struct world *w)
{
    const struct relation relation = {w->seqs, 2, COLS, COLS, COLS, COLS, 1, 1};
    w->dev->op->relation(w->dev, &relation, act_piece(w, 0), act_piece(w, 1), float_piece(w, 2),
                         act_piece(w, 3));
}
static void run_slope(struct world *w)
{
    w->dev->op->unit_slope(w->dev, act_piece(w, 0), act_piece(w, 1), &w->seqs, COLS, 2,
                           float_piece(w, 2));
}
static void run_solve(struct world *w)
{
    w->dev->op->solve(w->dev, float_piece(w, 0), COLS, float_piece(w, 1), 2);
}
static void run_int8(struct world *w)
{
    w->dev->op->linear(w->dev, w->int8, act_piece(w, 0), COLS, ROWS, EPILOGUE_NONE, NULL,
                       act_piece(w, 1), COLS);
}
static void run_linear(struct world *w)
{
    w->dev->op->linear(w->dev, w->rounded, act_piece(w, 0), COLS, ROWS, EPILOGUE_GELU, NULL,
                       act_piece(w, 1), COLS);
}
static void run_backward(struct world *w)
{
    w->dev->op->linear_backward(w->dev, w->rounded, act_piece(w, 0), COLS, act_piece(w, 1), COLS,
                                ROWS, act_piece(w, 2), COLS, float_piece(w, 3), float_piece(w, 4),
                                0);
}
static void run_gram(struct world *w)
{
    w->dev->op->gram(w->dev, act_piece(w, 0), ROWS, COLS, float_piece(w, 1));
}

/* ---- operations that cannot be done ---- */

static void run_solve_zeros(struct world *w)
{
    run_solve(w); /* of a matrix of zeros */
}
static void run_solve_many(struct world *w)
{
    w->dev->op->solve(w->dev, float_piece(w, 0), (size_t)1 << 21, float_piece(w, 1), 1);
}
static void run_many_rows(struct world *w)
{
    w->dev->op->linear(w->dev, w->prepared, act_piece(w, 0), COLS, (size_t)INT_MAX + 1,
                       EPILOGUE_NONE, NULL, act_piece(w, 1), COLS);
}
static void run_backward_prepared(struct world *w)
{
    w->dev->op->linear_backward(w->dev, w->prepared, act_piece(w, 0), COLS, act_piece(w, 1), COLS,
                                ROWS, act_piece(w, 2), COLS, float_piece(w, 3), NULL, 0);
}
static void run_wide_heads(struct world *w)
{
    const struct attention a = {.seqs = w->seqs, .heads = 1, .head_size = 300, .scale = 1};
    w->dev->op->attention(w->dev, &a, act_piece(w, 0), act_piece(w, 0), act_piece(w, 0),
                          act_piece(w, 1), NULL);
}
static void run_foreign_free(struct world *w)
{
    w->dev->op->free(w->dev, w);
}
static void run_other_width(struct world *w)
{
    w->dev->op->embed(w->dev, w->table, NULL, NULL, w->seqs.offset, NULL, 2, COLS - 1,
                      act_piece(w, 0));
}
static void run_far_place(struct world *w) /* 0, 2, 4 of three rows */
{
    w->dev->op->embed(w->dev, NULL, w->table, NULL, NULL, w->seqs.offset, 3, COLS, act_piece(w, 0));
}

struct refusal {
    void (*run)(struct world *w);
    const char *expected;
};
static const struct refusal needy[] = {
    {run_column_sum, "column_sum: "},
    {run_norm, "add_norm_backward: "},
    {run_sum_squares, "sum_squares: "},
    {run_attention, "attention_backward: "},
    {run_match, "match: "},
    {run_relation, "relation: "},
    {run_slope, "unit_slope: "},
    {run_solve, "solve: "},
    {run_int8, "linear: "},
    {run_linear, "linear: "},
    {run_backward, "linear_backward: "},
};
static const struct refusal wrong[] = {
    {run_solve_zeros, "solve: the matrix is not positive definite"},
    {run_solve_many, "solve: 2097152 unknowns, 1 right sides are too many"},
    {run_many_rows, "linear: a product of 2147483648 × 8 × 8"},
    {run_backward_prepared, "linear_backward: the weights were prepared for inference"},
    {run_wide_heads, "attention: heads of 300 columns"},
    {run_foreign_free, "free of memory that is not the device's"},
    {run_other_width, "embed: a table of 3 rows of 8 columns, wanted are rows of 7"},
    {run_far_place, "embed: position 4, the table has 3 rows"},
};
enum { NEEDY = sizeof needy / sizeof *needy, WRONG = sizeof wrong / sizeof *wrong };

/* The operation fails as expected; then all others do nothing, and that failure stays. */
static void expect(const struct refusal *refusal, enum dtype precision, bool full)
{
    struct error err = ERROR_INIT, first = ERROR_INIT, last = ERROR_INIT;
    struct world w;
    float back[COLS] = {1};
    if (!world_open(&w, precision, &err)) {
        tap_ok(false, "a device to refuse: %s", err.text);
        world_close(&w);
        return;
    }
    if (full)
        world_fill(&w);
    refusal->run(&w);
    bool failed = !w.dev->op->sync(w.dev, &first);
    tap_ok(failed && strstr(first.text, refusal->expected) &&
               (!full || strstr(first.text, "out of memory")),
           "%s%s: %s", dtype_name(precision), full ? ", no memory" : "", first.text);
    for (size_t i = 0; i < NEEDY; i++)
        needy[i].run(&w);
    run_gram(&w);
    w.dev->op->download(w.dev, back, w.memory, 0);
    w.dev->op->download(w.dev, back, w.memory, sizeof back);
    bool none = !w.dev->op->alloc(w.dev, 1, &err) && strstr(err.text, refusal->expected);
    bool same = !w.dev->op->sync(w.dev, &last) && strcmp(first.text, last.text) == 0;
    tap_ok(none && same && back[0] >= 0 && back[0] <= 0, "nothing is done after that");
    world_close(&w);
}

/* ---- weights ---- */

/* What linear_prepare, table_prepare (1) or bag_prepare (2) says of a weight; "" when it takes it. */
static const char *prepared(struct device *dev, int how, const struct weight *weight,
                            const float *bias)
{
    static struct error err;
    struct linear *linear = NULL;
    struct table_weights *table = NULL;
    struct bag_weights *bag = NULL;
    err = (struct error)ERROR_INIT;
    if (how == 0)
        linear = dev->op->linear_prepare(dev, weight, bias ? &bias : NULL, 1, &err);
    else if (how == 1)
        table = dev->op->table_prepare(dev, weight, &err);
    else
        bag = dev->op->bag_prepare(dev, weight, &err);
    dev->op->linear_free(dev, linear);
    dev->op->table_free(dev, table);
    dev->op->bag_free(dev, bag);
    return err.text;
}

static void test_weights(struct device *dev)
{
    static const size_t many = SIZE_MAX / 2;
    static const struct {
        int how;
        struct weight weight;
        const char *expected;
    } cases[] = {
        {0, {zeros, DTYPE_I32, NULL, 2, 2, false}, "linear: weights of type I32"},
        {0, {codes, DTYPE_I8, NULL, 2, 2, false}, "linear: int8 weights need a scale"},
        {0, {zeros, DTYPE_F32, NULL, many, 4, false}, "weights are too many"},
        {0, {codes, DTYPE_I8, zeros, many, 32, false}, "weights are too many"},
        {1, {zeros, DTYPE_I32, NULL, 2, 2, false}, "table: weights of type I32"},
        {1, {codes, DTYPE_I8, NULL, 2, 2, false}, "table: weights of type I8"},
        {1, {zeros, DTYPE_F32, NULL, many, 4, false}, "weights are too many"},
        {0, {zeros, DTYPE_F32, NULL, 2, 2, true}, "linear: rotated weights of type F32"},
        {1, {zeros, DTYPE_F32, NULL, 2, 2, true}, "table: rotated weights of type F32"},
        {2, {zeros, DTYPE_I32, NULL, 2, 2, false}, "bag: weights of type I32"},
        {2, {zeros, DTYPE_F32, NULL, many, 4, false}, "features are too many"},
        {2, {zeros, DTYPE_F32, NULL, SIZE_MAX / 4096, 0, false}, "classes are too many"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *said = prepared(dev, cases[i].how, &cases[i].weight, NULL);
        tap_ok(strstr(said, cases[i].expected) != NULL, "refused: %s", said);
    }
    const struct weight two[] = {{zeros, DTYPE_F32, NULL, 2, 3, false},
                                 {zeros, DTYPE_F32, NULL, 2, 4, false}};
    struct error err = ERROR_INIT, late = ERROR_INIT;
    tap_ok(!dev->op->linear_prepare(dev, two, NULL, 2, &err) &&
               strstr(err.text, "stacked parts must agree"),
           "refused: %s", err.text);
    const struct weight mixed[] = {{codes, DTYPE_I8, zeros, 2, 3, false},
                                   {codes, DTYPE_I8, zeros, 2, 3, true}};
    struct error apart = ERROR_INIT;
    tap_ok(!dev->op->linear_prepare(dev, mixed, NULL, 2, &apart) &&
               strstr(apart.text, "part 1 is rotated, part 0 is not"),
           "refused: %s", apart.text);
    struct linear *linear = dev->op->linear_prepare(dev, two, NULL, 1, &late);
    err = (struct error)ERROR_INIT;
    tap_ok(linear && !dev->op->linear_round(dev, linear, DTYPE_BF16, &err) &&
               strstr(err.text, "of bound weights"),
           "refused: %s", err.text);
    dev->op->linear_free(dev, linear);
}

/* Each allocation of a weight fails in turn; then there is room. */
static void test_room(int how, const struct weight *weight, const float *bias, const char *what)
{
    size_t limit = 0;
    int refused = 0;
    const char *said = "out of memory";
    while (strstr(said, "out of memory") && limit < 1000) {
        struct error err = ERROR_INIT;
        limit += 4;
        struct device *dev = device_cuda_open(0, DTYPE_F32, limit, &err);
        said = dev ? prepared(dev, how, weight, bias) : err.text;
        refused += *said != '\0';
        if (dev)
            dev->op->close(dev);
    }
    tap_ok(*said == '\0' && refused > 0, "%s: refused %d times, fits in %zu bytes %s", what,
           refused, limit, said);
}

static void test_rounding(void)
{
    struct error err = ERROR_INIT, refused = ERROR_INIT;
    struct world w;
    bool ok = world_open(&w, DTYPE_F32, &err) &&
              w.dev->op->linear_round(w.dev, w.rounded, DTYPE_F16, &err) &&
              w.dev->op->sync(w.dev, &err);
    tap_ok(ok && w.dev->op->lane(w.dev, 0) == w.dev, "rounded to bf16, then to fp16 %s", err.text);
    world_close(&w);
    ok = world_open(&w, DTYPE_BF16, &err) &&
         !w.dev->op->linear_round(w.dev, w.rounded, DTYPE_F16, &refused);
    tap_ok(ok && strstr(refused.text, "but the activations of cuda:0 are BF16"), "refused: %s",
           refused.text);
    struct error many = ERROR_INIT;
    ok = w.dev && !w.dev->op->linear_bind(w.dev, NULL, NULL, SIZE_MAX / 2, 4, &many);
    tap_ok(ok && strstr(many.text, "weights are too many"), "refused: %s", many.text);
    world_close(&w);
}

/* A table of doubles becomes one of floats, also beyond the first chunk. */
static void test_doubles(struct device *dev)
{
    enum { TALL = 9000 };
    struct error err = ERROR_INIT;
    double *host = calloc(TALL * COLS, sizeof *host);
    for (size_t i = 0; host && i < TALL * COLS; i++)
        host[i] = (double)i + 0.1;
    const struct weight weight = {host, DTYPE_F64, NULL, TALL, COLS, false};
    struct table_weights *table = host ? dev->op->table_prepare(dev, &weight, &err) : NULL;
    int32_t row = TALL - 1, *id = dev->op->alloc(dev, sizeof row, &err);
    act *out = dev->op->alloc(dev, COLS * dev->act_bytes, &err);
    float found[COLS] = {0};
    bool right = table && id && out;
    if (right) {
        dev->op->upload(dev, id, &row, sizeof row);
        dev->op->embed(dev, table, NULL, NULL, id, NULL, 1, COLS, out);
        dev->op->act_download(dev, found, out, COLS);
    }
    for (size_t c = 0; right && c < COLS; c++)
        right = found[c] == (float)host[(TALL - 1) * COLS + c];
    tap_ok(right && dev->op->sync(dev, &err), "a table of doubles %s", err.text);
    dev->op->table_free(dev, table);
    dev->op->free(dev, id);
    dev->op->free(dev, out);
    free(host);
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_cuda_open(0, DTYPE_F32, 0, &err);
    if (!dev) {
        tap_skip("what a CUDA device refuses", err.text);
        return tap_done();
    }
    test_weights(dev);
    test_doubles(dev);
    dev->op->close(dev);
    const struct weight f32 = {zeros, DTYPE_F32, NULL, 2, 3, false},
                        i8 = {codes, DTYPE_I8, zeros, 2, 3, false};
    test_room(0, &f32, zeros, "linear of floats");
    test_room(0, &i8, zeros, "linear of int8");
    test_room(1, &i8, NULL, "table of int8");
    test_room(2, &f32, NULL, "bag of floats");
    test_room(2, &i8, NULL, "bag of int8");
    test_rounding();
    for (size_t i = 0; i < NEEDY; i++)
        expect(&needy[i], DTYPE_F32, true);
    for (size_t i = 0; i < WRONG; i++) {
        expect(&wrong[i], DTYPE_F32, false);
        expect(&wrong[i], DTYPE_F16, false);
    }
    return tap_done();
}
