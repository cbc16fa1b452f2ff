/* onnx_graph.c: messages of the schema, and a file that is laid out before a weight is read. */
#include "quant/onnx_graph.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "quant/onnx_proto.h"

/* Field numbers of onnx.proto. */
enum {
    MODEL_IR_VERSION = 1,
    MODEL_PRODUCER_NAME = 2,
    MODEL_PRODUCER_VERSION = 3,
    MODEL_GRAPH = 7,
    MODEL_OPSET_IMPORT = 8,
    MODEL_METADATA_PROPS = 14,
    GRAPH_NODE = 1,
    GRAPH_NAME = 2,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    GRAPH_OUTPUT = 12,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_OP_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    ATTRIBUTE_NAME = 1,
    ATTRIBUTE_F = 2,
    ATTRIBUTE_I = 3,
    ATTRIBUTE_INTS = 8,
    ATTRIBUTE_TYPE = 20,
    TENSOR_DIMS = 1,
    TENSOR_DATA_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_RAW_DATA = 9,
    VALUE_INFO_NAME = 1,
    VALUE_INFO_TYPE = 2,
    TYPE_TENSOR = 1,
    TYPE_TENSOR_ELEM = 1,
    TYPE_TENSOR_SHAPE = 2,
    SHAPE_DIM = 1,
    DIM_VALUE = 1,
    DIM_PARAM = 2,
    OPSET_DOMAIN = 1,
    OPSET_VERSION = 2,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
};

enum {
    SCOPE_BYTES = 64,
    BLOCK_COLUMNS = 64, /* of a matrix that is transposed, read at once: four cache lines of F32 */
    BLOCK_VALUES = 1 << 14
};

/* A constant. Small ones (indices, scalars) carry their bytes with them. */
struct constant {
    char *name; /* owned */
    enum onnx_type type;
    int64_t dim[2];
    size_t rank;
    bool transposed;
    struct tensor_view view; /* of a weight; .data NULL: a small one */
    uint8_t *small;          /* owned */
    size_t bytes;            /* of raw_data */
};

struct onnx_graph {
    struct error *err;
    bool failed;
    char *name;
    char scope[SCOPE_BYTES];
    char **value; /* names given out; owned */
    size_t n_values, room_values;
    struct constant *constant;
    size_t n_constants, room_constants;
    size_t n_nodes;
    struct onnx_proto nodes, inputs, outputs; /* fields of GraphProto */
    struct onnx_proto part, detail, inner;    /* messages on their way into others */
    struct onnx_proto head, tail;             /* of the file: before and after GraphProto */
};

struct onnx_graph *onnx_graph_open(const char *name, struct error *err)
{
    struct onnx_graph *graph = memory_zeroed(1, sizeof *graph, err);
    if (!graph)
        return NULL;
    graph->err = err;
    graph->name = memory_copy(name, strlen(name), err);
    struct onnx_proto *all[] = {&graph->nodes,  &graph->inputs, &graph->outputs, &graph->part,
                                &graph->detail, &graph->inner,  &graph->head,    &graph->tail};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = onnx_proto_new(err);
    if (graph->name)
        return graph;
    onnx_graph_close(graph);
    return NULL;
}

void onnx_graph_close(struct onnx_graph *graph)
{
    if (!graph)
        return;
    for (size_t i = 0; i < graph->n_values; i++)
        free(graph->value[i]);
    for (size_t i = 0; i < graph->n_constants; i++) {
        free(graph->constant[i].name);
        free(graph->constant[i].small);
    }
    struct onnx_proto *all[] = {&graph->nodes,  &graph->inputs, &graph->outputs, &graph->part,
                                &graph->detail, &graph->inner,  &graph->head,    &graph->tail};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        onnx_proto_free(all[i]);
    free(graph->value);
    free(graph->constant);
    free(graph->name);
    free(graph);
}

void onnx_graph_scope(struct onnx_graph *graph, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(graph->scope, sizeof graph->scope, format, list);
    va_end(list);
}

/* Takes the name over. */
static const char *keep_name(struct onnx_graph *graph, char *name)
{
    if (name && memory_grow(&graph->value, &graph->room_values, graph->n_values + 1,
                            sizeof *graph->value, graph->err))
        return graph->value[graph->n_values++] = name;
    free(name);
    graph->failed = true;
    return NULL;
}

/* ---- nodes, inputs, outputs ---- */

static void put_attribute(struct onnx_proto *node, struct onnx_proto *room,
                          const struct onnx_attribute *attribute)
{
    onnx_proto_clear(room);
    onnx_proto_string(room, ATTRIBUTE_NAME, attribute->name);
    switch (attribute->kind) {
    case ONNX_ATTRIBUTE_FLOAT:
        onnx_proto_float(room, ATTRIBUTE_F, attribute->real);
        break;
    case ONNX_ATTRIBUTE_INT:
        onnx_proto_integer(room, ATTRIBUTE_I, attribute->integer);
        break;
    case ONNX_ATTRIBUTE_INTS:
        for (size_t i = 0; i < attribute->n; i++)
            onnx_proto_integer(room, ATTRIBUTE_INTS, attribute->integers[i]);
        break;
    }
    onnx_proto_integer(room, ATTRIBUTE_TYPE, (int64_t)attribute->kind);
    onnx_proto_message(node, NODE_ATTRIBUTE, room);
}

static void put_node(struct onnx_graph *graph, const char *op, const char *name, const char *output,
                     const struct onnx_attribute *attribute, const char *const *input,
                     size_t n_inputs)
{
    struct onnx_proto *node = &graph->part;
    onnx_proto_clear(node);
    for (size_t i = 0; i < n_inputs; i++)
        onnx_proto_string(node, NODE_INPUT, input[i]);
    onnx_proto_string(node, NODE_OUTPUT, output);
    onnx_proto_string(node, NODE_NAME, name);
    onnx_proto_string(node, NODE_OP_TYPE, op);
    if (attribute)
        put_attribute(node, &graph->detail, attribute);
    onnx_proto_message(&graph->nodes, GRAPH_NODE, node);
    graph->n_nodes++;
}

const char *onnx_graph_node(struct onnx_graph *graph, const char *op,
                            const struct onnx_attribute *attribute, const char *const *input,
                            size_t n_inputs)
{
    for (size_t i = 0; i < n_inputs; i++)
        graph->failed = graph->failed || !input[i];
    if (graph->failed)
        return NULL;
    char *made = memory_format(graph->err, "%s%s_%zu", graph->scope, op, graph->n_nodes);
    const char *name = keep_name(graph, made);
    if (name)
        put_node(graph, op, name, name, attribute, input, n_inputs);
    return name;
}

/* A ValueInfoProto into inputs or outputs. */
static void put_value(struct onnx_graph *graph, struct onnx_proto *list, unsigned field,
                      const char *name, enum onnx_type type, const struct onnx_axis *axis,
                      size_t rank)
{
    struct onnx_proto *shape = &graph->detail, *inner = &graph->inner, *part = &graph->part;
    onnx_proto_clear(shape);
    for (size_t i = 0; i < rank; i++) {
        onnx_proto_clear(inner);
        if (axis[i].name)
            onnx_proto_string(inner, DIM_PARAM, axis[i].name);
        else
            onnx_proto_integer(inner, DIM_VALUE, axis[i].size);
        onnx_proto_message(shape, SHAPE_DIM, inner);
    }
    onnx_proto_clear(inner);
    onnx_proto_integer(inner, TYPE_TENSOR_ELEM, (int64_t)type);
    onnx_proto_message(inner, TYPE_TENSOR_SHAPE, shape);
    onnx_proto_clear(shape);
    onnx_proto_message(shape, TYPE_TENSOR, inner);
    onnx_proto_clear(part);
    onnx_proto_string(part, VALUE_INFO_NAME, name);
    onnx_proto_message(part, VALUE_INFO_TYPE, shape);
    onnx_proto_message(list, field, part);
}

const char *onnx_graph_input(struct onnx_graph *graph, const char *name, enum onnx_type type,
                             const struct onnx_axis *axis, size_t rank)
{
    put_value(graph, &graph->inputs, GRAPH_INPUT, name, type, axis, rank);
    return keep_name(graph, memory_copy(name, strlen(name), graph->err));
}

void onnx_graph_output(struct onnx_graph *graph, const char *value, const char *name,
                       enum onnx_type type, const struct onnx_axis *axis, size_t rank)
{
    graph->failed = graph->failed || !value;
    if (graph->failed)
        return;
    put_node(graph, "Identity", name, name, NULL, &value, 1);
    put_value(graph, &graph->outputs, GRAPH_OUTPUT, name, type, axis, rank);
}

/* ---- constants ---- */

/* Takes the name over; NULL: failed. */
static struct constant *add_constant(struct onnx_graph *graph, char *name)
{
    if (!name || graph->failed ||
        !memory_grow(&graph->constant, &graph->room_constants, graph->n_constants + 1,
                     sizeof *graph->constant, graph->err)) {
        free(name);
        graph->failed = true;
        return NULL;
    }
    struct constant *constant = &graph->constant[graph->n_constants++];
    *constant = (struct constant){.name = name};
    return constant;
}

/* Layers may share a tensor. Two tensors of a file of PyTorch's may begin at one byte and be of
 * different shapes. */
static bool same_weight(const struct constant *constant, const struct tensor_view *view,
                        bool transposed)
{
    const struct tensor_view *there = &constant->view;
    bool same = there->data == view->data && there->type == view->type &&
                there->rank == view->rank && constant->transposed == transposed;
    for (int i = 0; same && i < view->rank; i++)
        same = there->dim[i] == view->dim[i];
    return same;
}

const char *onnx_graph_weight(struct onnx_graph *graph, const struct tensor_view *view,
                              bool transposed)
{
    if (graph->failed || !view) {
        graph->failed = true;
        return NULL;
    }
    for (size_t i = 0; i < graph->n_constants; i++)
        if (same_weight(&graph->constant[i], view, transposed))
            return graph->constant[i].name;
    size_t bytes = 0;
    if (view->rank < 1 || view->rank > 2 || !dtype_is_float(view->type) ||
        !memory_multiply((size_t)tensor_view_elements(view), sizeof(float), &bytes)) {
        char text[128];
        tensor_view_describe(view, text, sizeof text);
        error_set(graph->err, "tensor %s is %s; only floats of one or two dimensions can be used",
                  view->name, text);
        graph->failed = true;
        return NULL;
    }
    struct constant *constant =
        add_constant(graph, memory_format(graph->err, "%s%s", view->name, transposed ? ".T" : ""));
    if (!constant)
        return NULL;
    constant->type = ONNX_FLOAT;
    constant->rank = (size_t)view->rank;
    for (size_t i = 0; i < constant->rank; i++)
        constant->dim[i] = (int64_t)view->dim[transposed ? constant->rank - 1 - i : i];
    constant->transposed = transposed;
    constant->view = *view;
    constant->bytes = bytes;
    return constant->name;
}

/* The constant of these bytes, made when there is none yet. A constant moves when the next one is
 * added; its name stays where it is. */
static const char *small_constant(struct onnx_graph *graph, enum onnx_type type, size_t rank,
                                  size_t n, const void *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < graph->n_constants; i++) {
        const struct constant *c = &graph->constant[i];
        if (c->small && c->type == type && c->rank == rank && c->bytes == n_bytes &&
            memcmp(c->small, bytes, n_bytes) == 0)
            return c->name;
    }
    struct constant *constant =
        add_constant(graph, memory_format(graph->err, "constant_%zu", graph->n_constants));
    if (!constant)
        return NULL;
    constant->type = type;
    constant->rank = rank;
    constant->dim[0] = (int64_t)n;
    constant->bytes = n_bytes;
    constant->small = (uint8_t *)memory_copy(bytes, n_bytes, graph->err);
    graph->failed = graph->failed || !constant->small;
    return constant->name;
}

const char *onnx_graph_integer(struct onnx_graph *graph, int64_t value)
{
    return small_constant(graph, ONNX_INT64, 0, 1, &value, sizeof value);
}

const char *onnx_graph_integers(struct onnx_graph *graph, const int64_t *value, size_t n)
{
    return small_constant(graph, ONNX_INT64, 1, n, value, n * sizeof *value);
}

const char *onnx_graph_real(struct onnx_graph *graph, float value)
{
    return small_constant(graph, ONNX_FLOAT, 0, 1, &value, sizeof value);
}

/* ---- the file ---- */

/* A constant up to its raw bytes: key and length of the field of GraphProto, then the fields of
 * TensorProto. */
static void put_constant(struct onnx_proto *proto, struct onnx_proto *room,
                         const struct constant *constant)
{
    onnx_proto_clear(room);
    for (size_t i = 0; i < constant->rank; i++)
        onnx_proto_integer(room, TENSOR_DIMS, constant->dim[i]);
    onnx_proto_integer(room, TENSOR_DATA_TYPE, (int64_t)constant->type);
    onnx_proto_string(room, TENSOR_NAME, constant->name);
    onnx_proto_begin(room, TENSOR_RAW_DATA, constant->bytes);
    onnx_proto_begin(proto, GRAPH_INITIALIZER, (uint64_t)room->n + constant->bytes);
    onnx_proto_append(proto, room);
}

static void put_entry(struct onnx_graph *graph, const char *key, const char *value)
{
    onnx_proto_clear(&graph->part);
    onnx_proto_string(&graph->part, ENTRY_KEY, key);
    onnx_proto_string(&graph->part, ENTRY_VALUE, value);
    onnx_proto_message(&graph->tail, MODEL_METADATA_PROPS, &graph->part);
}

/* What stands after GraphProto. */
static void put_tail(struct onnx_graph *graph, const struct onnx_about *about)
{
    onnx_proto_clear(&graph->part);
    onnx_proto_string(&graph->part, OPSET_DOMAIN, "");
    onnx_proto_integer(&graph->part, OPSET_VERSION, ONNX_OPSET);
    onnx_proto_message(&graph->tail, MODEL_OPSET_IMPORT, &graph->part);
    for (size_t i = 0; i < about->n_metadata; i++)
        put_entry(graph, about->metadata[2 * i], about->metadata[2 * i + 1]);
}

/* What stands before the nodes; graph_bytes is the size of GraphProto without its name. */
static void put_head(struct onnx_graph *graph, const struct onnx_about *about, uint64_t graph_bytes)
{
    struct onnx_proto *name = &graph->part;
    onnx_proto_clear(name);
    onnx_proto_string(name, GRAPH_NAME, graph->name);
    onnx_proto_integer(&graph->head, MODEL_IR_VERSION, ONNX_IR_VERSION);
    onnx_proto_string(&graph->head, MODEL_PRODUCER_NAME, about->producer);
    onnx_proto_string(&graph->head, MODEL_PRODUCER_VERSION, about->version);
    onnx_proto_begin(&graph->head, MODEL_GRAPH, graph_bytes + name->n);
    onnx_proto_append(&graph->head, name);
}

static bool whole(const struct onnx_graph *graph)
{
    return !(graph->failed || graph->nodes.failed || graph->inputs.failed ||
             graph->outputs.failed || graph->part.failed || graph->detail.failed ||
             graph->inner.failed || graph->head.failed || graph->tail.failed);
}

bool onnx_graph_finish(struct onnx_graph *graph, const struct onnx_about *about, uint64_t *bytes,
                       struct error *err)
{
    uint64_t n = (uint64_t)graph->nodes.n + graph->inputs.n + graph->outputs.n;
    for (size_t i = 0; i < graph->n_constants; i++) {
        onnx_proto_clear(&graph->part);
        put_constant(&graph->part, &graph->detail, &graph->constant[i]);
        n += graph->part.n + graph->constant[i].bytes;
    }
    put_head(graph, about, n);
    put_tail(graph, about);
    if (!whole(graph))
        return error_set(err, "no memory for the graph");
    *bytes = n + graph->head.n + graph->tail.n;
    if (*bytes <= INT32_MAX)
        return true;
    return error_set(err,
                     "the ONNX file would have %" PRIu64
                     " bytes, and a Protocol Buffers file ends at 2 GiB; prune the model first",
                     *bytes);
}

/* Columns [first, first + n) of a matrix, as rows of F32. */
static bool write_columns(const struct tensor_view *view, size_t first, size_t n, float *row,
                          float *block, safetensors_sink *sink, void *context, struct error *err)
{
    size_t rows = (size_t)view->dim[0], cols = (size_t)view->dim[1];
    size_t element = dtype_bytes(view->type);
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *from = (const uint8_t *)view->data + (r * cols + first) * element;
        dtype_to_float(view->type, from, n, row);
        for (size_t c = 0; c < n; c++)
            block[c * rows + r] = row[c];
    }
    return sink(context, block, n * rows * sizeof *block, err);
}

static bool write_transposed(const struct tensor_view *view, safetensors_sink *sink, void *context,
                             struct error *err)
{
    size_t rows = (size_t)view->dim[0], cols = (size_t)view->dim[1];
    float row[BLOCK_COLUMNS];
    float *block = memory_array(rows, BLOCK_COLUMNS * sizeof *block, err);
    bool ok = block != NULL;
    for (size_t first = 0; ok && first < cols; first += BLOCK_COLUMNS) {
        size_t n = cols - first < BLOCK_COLUMNS ? cols - first : BLOCK_COLUMNS;
        ok = write_columns(view, first, n, row, block, sink, context, err);
    }
    free(block);
    return ok;
}

static bool write_plain(const struct tensor_view *view, safetensors_sink *sink, void *context,
                        struct error *err)
{
    size_t n = (size_t)tensor_view_elements(view), element = dtype_bytes(view->type);
    if (view->type == DTYPE_F32)
        return sink(context, view->data, (size_t)view->bytes, err);
    float *block = memory_array(BLOCK_VALUES, sizeof *block, err);
    bool ok = block != NULL;
    for (size_t first = 0; ok && first < n; first += BLOCK_VALUES) {
        size_t part = n - first < BLOCK_VALUES ? n - first : BLOCK_VALUES;
        dtype_to_float(view->type, (const uint8_t *)view->data + first * element, part, block);
        ok = sink(context, block, part * sizeof *block, err);
    }
    free(block);
    return ok;
}

static bool write_constant(const struct constant *constant, struct onnx_proto *head,
                           struct onnx_proto *room, safetensors_sink *sink, void *context,
                           struct error *err)
{
    onnx_proto_clear(head);
    put_constant(head, room, constant);
    if (head->failed || room->failed || !sink(context, head->bytes, head->n, err))
        return false;
    if (constant->small)
        return sink(context, constant->small, constant->bytes, err);
    return constant->transposed ? write_transposed(&constant->view, sink, context, err)
                                : write_plain(&constant->view, sink, context, err);
}

static bool write_fields(const struct onnx_proto *fields, safetensors_sink *sink, void *context,
                         struct error *err)
{
    return fields->n == 0 || sink(context, fields->bytes, fields->n, err);
}

bool onnx_graph_write(const struct onnx_graph *graph, safetensors_sink *sink, void *context,
                      struct error *err)
{
    struct onnx_proto head = onnx_proto_new(err), room = onnx_proto_new(err);
    bool ok = write_fields(&graph->head, sink, context, err) &&
              write_fields(&graph->nodes, sink, context, err);
    for (size_t i = 0; ok && i < graph->n_constants; i++)
        ok = write_constant(&graph->constant[i], &head, &room, sink, context, err);
    ok = ok && write_fields(&graph->inputs, sink, context, err) &&
         write_fields(&graph->outputs, sink, context, err) &&
         write_fields(&graph->tail, sink, context, err);
    onnx_proto_free(&head);
    onnx_proto_free(&room);
    return ok;
}

size_t onnx_graph_nodes(const struct onnx_graph *graph)
{
    return graph->n_nodes;
}

uint64_t onnx_graph_weights(const struct onnx_graph *graph)
{
    uint64_t n = 0;
    for (size_t i = 0; i < graph->n_constants; i++)
        if (!graph->constant[i].small)
            n += tensor_view_elements(&graph->constant[i].view);
    return n;
}
