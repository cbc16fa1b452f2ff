/* keep.c: lists of numbers per layer. */
#include "prune/keep.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"

static bool make_layers(struct keep *keep, const struct shape *shape, size_t n_layers,
                        struct error *err)
{
    *keep = (struct keep){.layer = memory_zeroed(n_layers, sizeof *keep->layer, err)};
    if (!keep->layer)
        return false;
    keep->n_layers = n_layers;
    /* Room for the widest layer in each. */
    size_t heads = 0, neurons = 0;
    for (size_t l = 0; l < shape->n_layers; l++) {
        heads = shape->layer[l].heads > heads ? shape->layer[l].heads : heads;
        neurons = shape->layer[l].ffn > neurons ? shape->layer[l].ffn : neurons;
    }
    for (size_t i = 0; i < n_layers; i++) {
        keep->layer[i].head = memory_array(heads, sizeof(size_t), err);
        keep->layer[i].neuron = memory_array(neurons, sizeof(size_t), err);
        if (!keep->layer[i].head || !keep->layer[i].neuron) {
            keep_free(keep);
            return false;
        }
    }
    return true;
}

bool keep_of_layers(struct keep *keep, const struct shape *shape, const size_t *layer,
                    size_t n_layers, struct error *err)
{
    if (!make_layers(keep, shape, n_layers, err))
        return false;
    for (size_t i = 0; i < n_layers; i++) {
        struct keep_layer *to = &keep->layer[i];
        const struct layer_shape *from = &shape->layer[layer[i]];
        to->layer = layer[i];
        for (size_t h = 0; h < from->heads; h++)
            to->head[to->n_heads++] = h;
        for (size_t f = 0; f < from->ffn; f++)
            to->neuron[to->n_neurons++] = f;
    }
    return true;
}

bool keep_of_units(struct keep *keep, const struct shape *shape, const struct unit *unit,
                   size_t n_units, struct error *err)
{
    if (!make_layers(keep, shape, shape->n_layers, err))
        return false;
    for (size_t l = 0; l < shape->n_layers; l++)
        keep->layer[l].layer = l;
    for (size_t i = 0; i < n_units; i++) {
        struct keep_layer *to = &keep->layer[unit[i].layer];
        if (!unit[i].keep)
            continue;
        if (unit[i].kind == UNIT_HEAD)
            to->head[to->n_heads++] = unit[i].index;
        else
            to->neuron[to->n_neurons++] = unit[i].index;
    }
    return true;
}

void keep_free(struct keep *keep)
{
    for (size_t i = 0; i < keep->n_layers; i++) {
        free(keep->layer[i].head);
        free(keep->layer[i].neuron);
    }
    free(keep->layer);
    *keep = (struct keep){.n_layers = 0};
}

bool keep_shape(const struct keep *keep, const struct shape *from, struct shape *to,
                struct error *err)
{
    if (!shape_copy(from, to, err))
        return false;
    to->n_layers = keep->n_layers;
    if (keep->vocabulary) {
        const struct vocabulary_trim *trim = &keep->vocabulary->trim;
        to->vocab = trim->n_kept;
        if (to->pad >= 0 && (size_t)to->pad < trim->n_before)
            to->pad = trim->number[to->pad];
    }
    for (size_t i = 0; i < keep->n_layers; i++)
        to->layer[i] =
            (struct layer_shape){.heads = keep->layer[i].n_heads, .ffn = keep->layer[i].n_neurons};
    return true;
}

/* "0,3-5" of ascending numbers. */
static json_t *ranges(const size_t *number, size_t n)
{
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return NULL;
    for (size_t i = 0, end = 0; i < n; i = end) {
        for (end = i + 1; end < n && number[end] == number[end - 1] + 1;)
            end++;
        fprintf(stream, "%s%zu", i ? "," : "", number[i]);
        if (end - i > 1)
            fprintf(stream, "-%zu", number[end - 1]);
    }
    bool written = fclose(stream) == 0;
    json_t *string = written ? json_string(text) : NULL;
    free(text);
    return string;
}

json_t *keep_json(const struct keep *keep, struct error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < keep->n_layers; i++) {
        const struct keep_layer *layer = &keep->layer[i];
        json_t *heads = ranges(layer->head, layer->n_heads);
        json_t *neurons = ranges(layer->neuron, layer->n_neurons);
        json_t *entry = json_pack("{s:I, s:o, s:o}", "layer", (json_int_t)layer->layer, "heads",
                                  heads, "neurons", neurons);
        ok = entry && json_array_append_new(list, entry) == 0;
    }
    if (ok)
        return list;
    json_decref(list);
    error_set(err, "no memory for the list of what is kept");
    return NULL;
}
