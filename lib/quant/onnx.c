/* onnx.c: shape and weights to a graph, the graph to a model stream. */
#include "quant/onnx.h"

#include <stdlib.h>
#include <string.h>

#include "nn/shape.h"
#include "quant/encoder_alone.h"
#include "quant/onnx_encoder.h"
#include "quant/onnx_graph.h"

static bool check_types(const struct model *model, struct error *err)
{
    for (size_t i = 0; i < model->n_tensors; i++)
        if (model->tensor[i].type == DTYPE_I8 || model->tensor[i].type == DTYPE_U8)
            return error_set(
                err,
                "%s: tensor %s is of codes: an int8 model rounds its activations, too, which "
                "ONNX nodes of floats would not; convert it first: mquant --to fp32",
                model->name, model->tensor[i].name);
    return true;
}

static bool read_shape(struct shape *shape, const struct model *model, struct error *err)
{
    if (!model_check_weights(model, err) || !check_types(model, err) ||
        !shape_from_model(shape, model, err))
        return false;
    if (shape->has_pooler && shape->has_classifier)
        return true;
    error_set(err, "%s: the model has no %s; train it first: mstudent -m %s", model->name,
              shape->has_classifier ? "pooler" : "classifier", model->name);
    shape_free(shape);
    return false;
}

/* The names of the labels in order, as a JSON list; release with free(). */
static char *label_list(const struct model *model, struct error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < model->n_labels; i++)
        ok = json_array_append_new(list, json_string(model->label[i])) == 0;
    char *text = ok ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    if (!text)
        error_set(err, "no memory for the labels");
    return text;
}

static bool finish(struct onnx_graph *graph, const struct model *model, const char *version,
                   uint64_t *bytes, struct error *err)
{
    char *labels = label_list(model, err);
    const char *const metadata[] = {"labels", labels};
    const struct onnx_about about = {.producer = "millet",
                                     .version = version,
                                     .metadata = metadata,
                                     .n_metadata = model->n_labels ? 1 : 0};
    bool ok = labels && onnx_graph_finish(graph, &about, bytes, err);
    free(labels);
    return ok;
}

static bool write_graph(void *context, safetensors_sink *sink, void *sink_context,
                        struct error *err)
{
    return onnx_graph_write(context, sink, sink_context, err);
}

/* Steals stage. */
static bool write_stream(struct model *model, struct onnx_graph *graph, uint64_t bytes,
                         json_t *stage, struct output *output, struct error *err)
{
    json_t *extra = model_keep_extra(model, json_pack("{s:s}", "format", "onnx"), err);
    if (!extra) {
        json_decref(stage);
        return false;
    }
    const struct model_writer_options options = {
        .from = model,
        .config = model->config,
        .stream = {"model.onnx", bytes, write_graph, graph},
        .stage = stage,
        .extra = extra,
    };
    return model_write(output, &options, err);
}

bool onnx_write(struct model *model, const char *version, json_t *stage, struct output *output,
                struct onnx_result *result, struct error *err)
{
    struct shape shape = {.layer = NULL};
    struct onnx_graph *graph = NULL;
    uint64_t bytes = 0;
    bool ok = encoder_alone_take(model, err) && read_shape(&shape, model, err);
    if (ok) {
        graph = onnx_graph_open("millet", err);
        ok = graph && onnx_encoder_build(graph, &shape, model, err) &&
             finish(graph, model, version, &bytes, err);
    }
    if (!ok)
        json_decref(stage);
    else if (result)
        *result = (struct onnx_result){onnx_graph_nodes(graph), onnx_graph_weights(graph), bytes};
    ok = ok && write_stream(model, graph, bytes, stage, output, err);
    onnx_graph_close(graph);
    shape_free(&shape);
    return ok;
}
