/* onnx_graph.h: an ONNX model as it is put together: inputs, nodes, initializers, outputs; and its
 * file.
 *
 * Schema: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, IR version 8, operator set 17.
 *
 * Values are known by their names, which the graph owns. The graph keeps its first failure: what
 * gets or gives NULL afterwards does nothing, so that a builder reads as mathematics and only
 * onnx_graph_finish() is looked at. Weights are not copied: the graph borrows their bytes and
 * converts them to F32 while they are written. The bytes of nodes and names are all it holds.
 */
#ifndef MILLET_QUANT_ONNX_GRAPH_H
#define MILLET_QUANT_ONNX_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/safetensors.h"

enum { ONNX_OPSET = 17, ONNX_IR_VERSION = 8 };

/* TensorProto.DataType */
enum onnx_type { ONNX_FLOAT = 1, ONNX_INT64 = 7 };

/* AttributeProto.AttributeType */
enum onnx_attribute_kind {
    ONNX_ATTRIBUTE_FLOAT = 1,
    ONNX_ATTRIBUTE_INT = 2,
    ONNX_ATTRIBUTE_INTS = 7
};

struct onnx_attribute {
    const char *name;
    enum onnx_attribute_kind kind;
    float real;
    int64_t integer;
    const int64_t *integers; /* [n] */
    size_t n;
};

struct onnx_graph;

struct onnx_graph *onnx_graph_open(const char *name, struct error *err) MUST_CHECK;
void onnx_graph_close(struct onnx_graph *graph); /* NULL is fine */

/* What stands in front of the names of the nodes that follow: "layer.3/". */
void onnx_graph_scope(struct onnx_graph *graph, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* An axis that is not fixed has a name, a fixed one a size. */
struct onnx_axis {
    const char *name;
    int64_t size;
};

const char *onnx_graph_input(struct onnx_graph *graph, const char *name, enum onnx_type type,
                             const struct onnx_axis *axis, size_t rank);
/* The value becomes the model's output `name`. */
void onnx_graph_output(struct onnx_graph *graph, const char *value, const char *name,
                       enum onnx_type type, const struct onnx_axis *axis, size_t rank);

/* A node of operator `op` with one output, whose name is returned. attribute may be NULL. */
const char *onnx_graph_node(struct onnx_graph *graph, const char *op,
                            const struct onnx_attribute *attribute, const char *const *input,
                            size_t n_inputs);

/* Constants. A weight may be any float type of at most two dimensions (it is F32 in the file);
 * transposed, a matrix [rows, cols] becomes [cols, rows] and its name gets ".T". The same bytes
 * asked for again are the same initializer. */
const char *onnx_graph_weight(struct onnx_graph *graph, const struct tensor_view *view,
                              bool transposed);
const char *onnx_graph_integer(struct onnx_graph *graph, int64_t value); /* a scalar */
const char *onnx_graph_integers(struct onnx_graph *graph, const int64_t *value, size_t n); /* [n] */
const char *onnx_graph_real(struct onnx_graph *graph, float value); /* a scalar */

/* What the file says of itself. */
struct onnx_about {
    const char *producer, *version;
    const char *const *metadata; /* key, value, key, value … */
    size_t n_metadata;           /* pairs */
};

/* All is there: lay the file out. *bytes: its size. More than 2 GiB, which no reader of Protocol
 * Buffers takes, is an error. */
bool onnx_graph_finish(struct onnx_graph *graph, const struct onnx_about *about, uint64_t *bytes,
                       struct error *err) MUST_CHECK;
/* The file, in order, after onnx_graph_finish(). Memory: 64 columns of one weight. */
bool onnx_graph_write(const struct onnx_graph *graph, safetensors_sink *sink, void *context,
                      struct error *err) MUST_CHECK;

/* Nodes, and values of all weights, each counted once. */
size_t onnx_graph_nodes(const struct onnx_graph *graph);
uint64_t onnx_graph_weights(const struct onnx_graph *graph);

#endif
