/* onnx_encoder.c: the steps of lib/nn/encoder_forward.c, in the patterns that exporters use,
 * because ONNX Runtime recognises and fuses these (LayerNormalization, Erf-GELU, MatMul + Add,
 * Softmax over scores + mask).
 *
 * Padding: scores of keys whose attention_mask is 0 get the lowest float added. Next to any other
 * score their exponential is exactly 0, so a padded batch gives what its texts give alone.
 *
 * The last layer of a classifier that reads the first token is computed for that token only: its
 * queries, output projection and feed-forward have length 1.
 */
#include "quant/onnx_encoder.h"

#include <float.h>
#include <math.h>

#include "nn/parts.h"
#include "nn/weights.h"

struct builder {
    struct onnx_graph *graph;
    const struct shape *shape;
    struct model *model;
    struct error *err;
    const char *keep; /* [batch, length] as floats: 1 for a token, 0 for padding */
    const char *mask; /* [batch, 1, 1, length], added to scores */
};

/* ---- nodes ---- */

static const char *one(struct builder *b, const char *op, const char *x)
{
    return onnx_graph_node(b->graph, op, NULL, &x, 1);
}

static const char *two(struct builder *b, const char *op, const char *x, const char *y)
{
    return onnx_graph_node(b->graph, op, NULL, (const char *[]){x, y}, 2);
}

static const char *with_integer(struct builder *b, const char *op, const char *name, int64_t value,
                                const char *const *input, size_t n)
{
    const struct onnx_attribute attribute = {
        .name = name, .kind = ONNX_ATTRIBUTE_INT, .integer = value};
    return onnx_graph_node(b->graph, op, &attribute, input, n);
}

static const char *gather(struct builder *b, const char *table, const char *index)
{
    return with_integer(b, "Gather", "axis", 0, (const char *[]){table, index}, 2);
}

static const char *transpose(struct builder *b, const char *x, const int64_t order[4])
{
    const struct onnx_attribute attribute = {
        .name = "perm", .kind = ONNX_ATTRIBUTE_INTS, .integers = order, .n = 4};
    return onnx_graph_node(b->graph, "Transpose", &attribute, &x, 1);
}

static const char *real(struct builder *b, double value)
{
    return onnx_graph_real(b->graph, (float)value);
}

static const char *list(struct builder *b, int64_t value)
{
    return onnx_graph_integers(b->graph, &value, 1);
}

/* x from `first` up to `end` of an axis; all but the numbers are one-element lists. */
static const char *slice(struct builder *b, const char *x, const char *first, const char *end,
                         int64_t axis)
{
    return onnx_graph_node(b->graph, "Slice", NULL, (const char *[]){x, first, end, list(b, axis)},
                           4);
}

/* ---- weights ---- */

static const struct tensor_view *find(struct builder *b, const char *name)
{
    const struct tensor_view *view = parts_find_tensor(b->model, name);
    if (!view) {
        error_set(b->err, "%s: no tensor %s", b->model->name, name);
        return NULL;
    }
    if (!bundle_verify(b->model->bundle, view->data, (size_t)view->bytes, b->err))
        return NULL;
    if (weights_finite(view))
        return view;
    error_set(
        b->err,
        "%s: tensor %s has values that are not finite (NaN or infinity); the model is damaged "
        "or its training diverged",
        b->model->name, view->name);
    return NULL;
}

/* Where a role's tensors are: of a layer, of a network in its stack. */
struct place {
    enum family_role role;
    size_t layer, stack;
};

static const char *weight(struct builder *b, struct place at, const char *rest, bool transposed)
{
    char name[PARTS_NAME_BYTES];
    family_name(b->shape->family, at.role, at.layer, at.stack, rest, name, sizeof name);
    return onnx_graph_weight(b->graph, find(b, name), transposed);
}

static const char *table(struct builder *b, enum family_role role)
{
    return weight(b, (struct place){.role = role}, "weight", false);
}

/* y = x Wᵀ + bias */
static const char *linear(struct builder *b, struct place at, const char *x)
{
    const char *product = two(b, "MatMul", x, weight(b, at, "weight", true));
    return two(b, "Add", product, weight(b, at, "bias", false));
}

static const char *norm(struct builder *b, struct place at, const char *x)
{
    const struct onnx_attribute eps = {
        .name = "epsilon", .kind = ONNX_ATTRIBUTE_FLOAT, .real = b->shape->eps};
    const char *gain = weight(b, at, "weight", false), *bias = weight(b, at, "bias", false);
    if (b->shape->family->norm == NORM_AFFINE)
        return two(b, "Add", two(b, "Mul", x, gain), bias);
    return onnx_graph_node(b->graph, "LayerNormalization", &eps, (const char *[]){x, gain, bias},
                           3);
}

/* ---- the encoder ---- */

static const char *activate(struct builder *b, enum epilogue activation, const char *x)
{
    switch (activation) {
    case EPILOGUE_RELU:
        return one(b, "Relu", x);
    case EPILOGUE_TANH:
        return one(b, "Tanh", x);
    case EPILOGUE_GELU: { /* x (1 + erf(x / √2)) / 2 */
        const char *erf1 = one(b, "Erf", two(b, "Div", x, real(b, sqrt(2))));
        return two(b, "Mul", two(b, "Mul", x, two(b, "Add", erf1, real(b, 1))), real(b, 0.5));
    }
    case EPILOGUE_GELU_TANH: { /* x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2 */
        const char *cube = two(b, "Mul", two(b, "Mul", x, x), x);
        const char *sum = two(b, "Add", x, two(b, "Mul", cube, real(b, 0.044715)));
        const char *th = one(b, "Tanh", two(b, "Mul", sum, real(b, sqrt(2 / acos(-1)))));
        return two(b, "Mul", two(b, "Mul", x, two(b, "Add", th, real(b, 1))), real(b, 0.5));
    }
    case EPILOGUE_NONE:
        break;
    }
    return x;
}

/* 0 for a token, the lowest float for padding: [batch, 1, 1, length]. */
static const char *score_mask(struct builder *b)
{
    const int64_t axes[] = {1, 2};
    const char *wide = two(b, "Unsqueeze", b->keep, onnx_graph_integers(b->graph, axes, 2));
    const char *padding = two(b, "Sub", real(b, 1), wide);
    return two(b, "Mul", padding, real(b, -(double)FLT_MAX));
}

/* ---- embeddings ---- */

/* Rows of the position table: [length, columns], or one list for each text. */
static const char *positions(struct builder *b, const char *ids)
{
    const char *rows = table(b, FAMILY_POSITION);
    if (b->shape->family->positions == FAMILY_FROM_ZERO) {
        const char *length = gather(b, one(b, "Shape", ids), list(b, 1));
        return slice(b, rows, list(b, 0), length, 0);
    }
    const char *pad = onnx_graph_integer(b->graph, b->shape->pad);
    const char *is_text = one(b, "Not", two(b, "Equal", ids, pad));
    const char *text = with_integer(b, "Cast", "to", ONNX_INT64, &is_text, 1);
    const char *number = two(b, "CumSum", text, onnx_graph_integer(b->graph, 1));
    return gather(b, rows, two(b, "Add", two(b, "Mul", number, text), pad));
}

/* x moved along the text, zeros where nothing follows: row t becomes row t + 1, or t - 1. */
static const char *shifted(struct builder *b, const char *x, bool next)
{
    const int64_t at_end[] = {0, 0, 0, 0, 1, 0}, at_start[] = {0, 1, 0, 0, 0, 0};
    const char *rest = next ? slice(b, x, list(b, 1), list(b, INT64_MAX), 1)
                            : slice(b, x, list(b, 0), list(b, -1), 1);
    return two(b, "Pad", rest, onnx_graph_integers(b->graph, next ? at_end : at_start, 6));
}

/* x [batch, length, n] with 0 in the rows of padding. */
static const char *without_padding(struct builder *b, const char *x)
{
    return two(b, "Mul", x, two(b, "Unsqueeze", b->keep, list(b, 2)));
}

/* Each row beside the next and the previous one. Padding counts as none: lib/nn has no padding. */
static const char *trigrams(struct builder *b, const char *words)
{
    const char *x = without_padding(b, words);
    const char *next = shifted(b, x, true), *previous = shifted(b, x, false);
    return with_integer(b, "Concat", "axis", 2, (const char *[]){next, x, previous}, 3);
}

static const char *embed(struct builder *b, const char *ids)
{
    static const struct place projection = {.role = FAMILY_EMBED_PROJECTION};
    const struct shape *shape = b->shape;
    bool three = shape->family->embedding == FAMILY_TRIGRAM;
    const char *sum = gather(b, table(b, FAMILY_WORD), ids);
    if (three)
        sum = linear(b, projection, trigrams(b, sum));
    if (shape->types) { /* the first row: one text is all of type 0 */
        const char *zero = onnx_graph_integer(b->graph, 0);
        sum = two(b, "Add", sum, gather(b, table(b, FAMILY_TYPE), zero));
    }
    sum = two(b, "Add", sum, positions(b, ids));
    const char *x = norm(b, (struct place){.role = FAMILY_EMBED_NORM}, sum);
    return shape_projects(shape) && !three ? linear(b, projection, x) : x;
}

/* ---- a layer ---- */

/* [batch, length, heads * size] to [batch, heads, length, size], or the last two the other way. */
static const char *split_heads(struct builder *b, size_t l, const char *x, bool columns)
{
    static const int64_t rows_order[] = {0, 2, 1, 3}, columns_order[] = {0, 2, 3, 1};
    const int64_t dims[] = {0, 0, (int64_t)b->shape->layer[l].heads, (int64_t)b->shape->head_size};
    const char *split = two(b, "Reshape", x, onnx_graph_integers(b->graph, dims, 4));
    return transpose(b, split, columns ? columns_order : rows_order);
}

/* What the attention of a layer is computed from. */
struct sources {
    const char *query, *key, *value;
};

static const char *attend(struct builder *b, size_t l, struct sources from)
{
    static const int64_t back[] = {0, 2, 1, 3};
    size_t size = b->shape->head_size;
    const int64_t dims[] = {0, 0, (int64_t)(b->shape->layer[l].heads * size)};
    const char *q = linear(b, (struct place){FAMILY_QUERY, l, 0}, from.query);
    const char *k = linear(b, (struct place){FAMILY_KEY, l, 0}, from.key);
    const char *v = linear(b, (struct place){FAMILY_VALUE, l, 0}, from.value);
    q = split_heads(b, l, q, false);
    k = split_heads(b, l, k, true);
    v = split_heads(b, l, v, false);
    const char *scores = two(b, "Div", two(b, "MatMul", q, k), real(b, sqrt((double)size)));
    const char *masked = two(b, "Add", scores, b->mask);
    const char *p = with_integer(b, "Softmax", "axis", -1, &masked, 1);
    const char *context = transpose(b, two(b, "MatMul", p, v), back);
    return two(b, "Reshape", context, onnx_graph_integers(b->graph, dims, 3));
}

/* The feed-forward networks, one after another; each ends in a norm of itself and its input. */
static const char *feed_forward(struct builder *b, size_t l, const char *x)
{
    for (size_t s = 0; s < b->shape->stack; s++) {
        bool last = s + 1 == b->shape->stack;
        struct place in = {last ? FAMILY_FFN_IN : FAMILY_STACK_IN, l, s};
        struct place out = {last ? FAMILY_FFN_OUT : FAMILY_STACK_OUT, l, s};
        struct place end = {last ? FAMILY_NORM2 : FAMILY_STACK_NORM, l, s};
        const char *wide = activate(b, b->shape->activation, linear(b, in, x));
        x = norm(b, end, two(b, "Add", linear(b, out, wide), x));
    }
    return x;
}

static const char *first_row(struct builder *b, const char *x)
{
    return slice(b, x, list(b, 0), list(b, 1), 1);
}

static const char *layer(struct builder *b, size_t l, const char *x)
{
    bool first = shape_first_only(b->shape, l), bottleneck = b->shape->family->bottleneck;
    onnx_graph_scope(b->graph, "layer.%zu/", l);
    const char *rows = first ? first_row(b, x) : x, *inside = rows;
    struct sources from = {rows, x, x};
    if (bottleneck) {
        from.key = linear(b, (struct place){FAMILY_SHARED, l, 0}, x);
        from.key = norm(b, (struct place){FAMILY_SHARED_NORM, l, 0}, from.key);
        from.query = first ? first_row(b, from.key) : from.key;
        inside = linear(b, (struct place){FAMILY_NARROW, l, 0}, rows);
        inside = norm(b, (struct place){FAMILY_NARROW_NORM, l, 0}, inside);
    }
    const char *out = linear(b, (struct place){FAMILY_CONTEXT, l, 0}, attend(b, l, from));
    const char *y = norm(b, (struct place){FAMILY_NORM1, l, 0}, two(b, "Add", out, inside));
    y = feed_forward(b, l, y);
    if (!bottleneck)
        return y;
    y = linear(b, (struct place){FAMILY_WIDEN, l, 0}, y);
    return norm(b, (struct place){FAMILY_WIDEN_NORM, l, 0}, two(b, "Add", y, rows));
}

/* ---- the head ---- */

/* Sum over the tokens of a text, [batch, n]. */
static const char *sum_tokens(struct builder *b, const char *x, int64_t keep_axis)
{
    return with_integer(b, "ReduceSum", "keepdims", keep_axis, (const char *[]){x, list(b, 1)}, 2);
}

static const char *head(struct builder *b, const char *x)
{
    const struct shape *shape = b->shape;
    const char *pooled;
    if (shape->pool == SHAPE_MEAN) {
        const char *sum = sum_tokens(b, without_padding(b, x), 0);
        pooled = two(b, "Div", sum, sum_tokens(b, b->keep, 1));
    } else {
        pooled = two(b, "Squeeze", x, list(b, 1));
    }
    if (!shape->no_pooler)
        pooled = activate(b, shape->family->head_activation,
                          linear(b, (struct place){.role = FAMILY_POOLER}, pooled));
    return linear(b, (struct place){.role = FAMILY_CLASSIFIER}, pooled);
}

bool onnx_encoder_build(struct onnx_graph *graph, const struct shape *shape, struct model *model,
                        struct error *err)
{
    static const struct onnx_axis tokens[] = {{"batch", 0}, {"length", 0}};
    const struct onnx_axis answer[] = {{"batch", 0}, {NULL, (int64_t)shape->n_labels}};
    struct builder b = {.graph = graph, .shape = shape, .model = model, .err = err};
    const char *ids = onnx_graph_input(graph, "input_ids", ONNX_INT64, tokens, 2);
    const char *mask = onnx_graph_input(graph, "attention_mask", ONNX_INT64, tokens, 2);
    onnx_graph_scope(graph, "embeddings/");
    b.keep = with_integer(&b, "Cast", "to", ONNX_FLOAT, &mask, 1);
    b.mask = score_mask(&b);
    const char *x = embed(&b, ids);
    for (size_t l = 0; l < shape->n_layers; l++)
        x = layer(&b, l, x);
    onnx_graph_scope(graph, "head/");
    onnx_graph_output(graph, head(&b, x), "logits", ONNX_FLOAT, answer, 2);
    return !err->set;
}
