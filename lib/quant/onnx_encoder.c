/* onnx_encoder.c: in the patterns that exporters use, because ONNX Runtime recognises and fuses
 * these (LayerNormalization, Erf-GELU, MatMul + Add, Softmax over scores + mask).
 *
 * Padding: scores of keys whose attention_mask is 0 get the lowest float added. Next to any other
 * score their exponential is exactly 0, so a padded batch gives what its texts give alone.
 *
 * The last layer of a classifier that reads the first token is computed for that token only, as
 * lib/nn does: its queries, output projection and feed-forward have length 1.
 */
#include "quant/onnx_encoder.h"

#include <float.h>
#include <math.h>
#include <stdio.h>

#include "nn/weights.h"

enum { NAME_BYTES = 160 };

struct builder {
    struct onnx_graph *graph;
    const struct shape *shape;
    struct model *model;
    struct error *err;
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

static const char *cast_float(struct builder *b, const char *x)
{
    return with_integer(b, "Cast", "to", ONNX_FLOAT, &x, 1);
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
    const struct tensor_view *view = shape_find_tensor(b->model, name);
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

static const char *weight(struct builder *b, const char *name, bool transposed)
{
    return onnx_graph_weight(b->graph, find(b, name), transposed);
}

/* y = x Wᵀ + bias */
static const char *linear(struct builder *b, const char *place, const char *x)
{
    char matrix[NAME_BYTES], bias[NAME_BYTES];
    snprintf(matrix, sizeof matrix, "%s.weight", place);
    snprintf(bias, sizeof bias, "%s.bias", place);
    return two(b, "Add", two(b, "MatMul", x, weight(b, matrix, true)), weight(b, bias, false));
}

static const char *norm(struct builder *b, const char *place, const char *x)
{
    char gain[NAME_BYTES], bias[NAME_BYTES];
    const struct onnx_attribute eps = {
        .name = "epsilon", .kind = ONNX_ATTRIBUTE_FLOAT, .real = b->shape->eps};
    snprintf(gain, sizeof gain, "%s.weight", place);
    snprintf(bias, sizeof bias, "%s.bias", place);
    return onnx_graph_node(b->graph, "LayerNormalization", &eps,
                           (const char *[]){x, weight(b, gain, false), weight(b, bias, false)}, 3);
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
static const char *score_mask(struct builder *b, const char *attention_mask)
{
    const int64_t axes[] = {1, 2};
    const char *wide = two(b, "Unsqueeze", attention_mask, onnx_graph_integers(b->graph, axes, 2));
    const char *padding = two(b, "Sub", real(b, 1), cast_float(b, wide));
    return two(b, "Mul", padding, real(b, -(double)FLT_MAX));
}

static const char *embed(struct builder *b, const char *ids)
{
    const char *length = gather(b, one(b, "Shape", ids), list(b, 1));
    const char *words = gather(b, weight(b, "bert.embeddings.word_embeddings.weight", false), ids);
    /* The first row of the type table: one text is all of type 0. */
    const char *type = gather(b, weight(b, "bert.embeddings.token_type_embeddings.weight", false),
                              onnx_graph_integer(b->graph, 0));
    const char *positions = slice(b, weight(b, "bert.embeddings.position_embeddings.weight", false),
                                  list(b, 0), length, 0);
    const char *sum = two(b, "Add", two(b, "Add", words, type), positions);
    return norm(b, "bert.embeddings.LayerNorm", sum);
}

static const char *layer_linear(struct builder *b, size_t l, const char *rest, const char *x)
{
    char place[NAME_BYTES];
    shape_tensor_name(place, sizeof place, l, rest);
    return linear(b, place, x);
}

static const char *layer_norm(struct builder *b, size_t l, const char *rest, const char *x)
{
    char place[NAME_BYTES];
    shape_tensor_name(place, sizeof place, l, rest);
    return norm(b, place, x);
}

/* [batch, length, heads * size] to [batch, heads, length, size], or the last two the other way. */
static const char *split_heads(struct builder *b, size_t l, const char *x, bool columns)
{
    static const int64_t rows_order[] = {0, 2, 1, 3}, columns_order[] = {0, 2, 3, 1};
    const int64_t dims[] = {0, 0, (int64_t)b->shape->layer[l].heads, (int64_t)b->shape->head_size};
    const char *split = two(b, "Reshape", x, onnx_graph_integers(b->graph, dims, 4));
    return transpose(b, split, columns ? columns_order : rows_order);
}

/* Attention of layer l from the rows `from` over all of x. */
static const char *attend(struct builder *b, size_t l, const char *from, const char *x)
{
    static const int64_t back[] = {0, 2, 1, 3};
    size_t size = b->shape->head_size;
    const int64_t dims[] = {0, 0, (int64_t)(b->shape->layer[l].heads * size)};
    const char *q = split_heads(b, l, layer_linear(b, l, "attention.self.query", from), false);
    const char *k = split_heads(b, l, layer_linear(b, l, "attention.self.key", x), true);
    const char *v = split_heads(b, l, layer_linear(b, l, "attention.self.value", x), false);
    const char *scores = two(b, "Div", two(b, "MatMul", q, k), real(b, sqrt((double)size)));
    const char *masked = two(b, "Add", scores, b->mask);
    const char *p = with_integer(b, "Softmax", "axis", -1, &masked, 1);
    const char *context = transpose(b, two(b, "MatMul", p, v), back);
    return two(b, "Reshape", context, onnx_graph_integers(b->graph, dims, 3));
}

static const char *layer(struct builder *b, size_t l, const char *x)
{
    bool last = l + 1 == b->shape->n_layers;
    onnx_graph_scope(b->graph, "layer.%zu/", l);
    const char *rows = last ? slice(b, x, list(b, 0), list(b, 1), 1) : x;
    const char *context = attend(b, l, rows, x);
    const char *out = layer_linear(b, l, "attention.output.dense", context);
    const char *mid = layer_norm(b, l, "attention.output.LayerNorm", two(b, "Add", out, rows));
    const char *wide =
        activate(b, b->shape->activation, layer_linear(b, l, "intermediate.dense", mid));
    const char *narrow = layer_linear(b, l, "output.dense", wide);
    return layer_norm(b, l, "output.LayerNorm", two(b, "Add", narrow, mid));
}

static const char *head(struct builder *b, const char *x)
{
    const char *first = two(b, "Squeeze", x, list(b, 1));
    const char *pooled = activate(b, EPILOGUE_TANH, linear(b, "bert.pooler.dense", first));
    return linear(b, "classifier", pooled);
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
    b.mask = score_mask(&b, mask);
    const char *x = embed(&b, ids);
    for (size_t l = 0; l < shape->n_layers; l++)
        x = layer(&b, l, x);
    onnx_graph_scope(graph, "head/");
    onnx_graph_output(graph, head(&b, x), "logits", ONNX_FLOAT, answer, 2);
    return !err->set;
}
