/* model.c: a bundle seen as a model: config, labels, tensors by name. */
#include "io/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"
#include "io/model_weights.h"

/* ---- labels ---- */

struct numbered_label {
    const char *name;
    size_t number;
};

static int compare_labels(const void *a, const void *b)
{
    const struct numbered_label *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* Sorted, because a label set may have 100 000 names. */
static bool check_distinct(const struct model *model, struct error *err)
{
    size_t n = model->n_labels;
    struct numbered_label *label = memory_array(n, sizeof *label, err);
    if (!label)
        return false;
    for (size_t i = 0; i < n; i++)
        label[i] = (struct numbered_label){model->label[i], i};
    if (n)
        qsort(label, n, sizeof *label, compare_labels);
    bool ok = true;
    for (size_t i = 1; i < n && ok; i++)
        if (strcmp(label[i - 1].name, label[i].name) == 0)
            ok = error_set(err, "%s: config.json: labels %zu and %zu are both \"%s\"", model->name,
                           label[i - 1].number, label[i].number, label[i].name);
    free(label);
    return ok;
}

/* id2label: {"0": "name", …, "n-1": "name"}, names distinct. */
static bool read_labels(struct model *model, struct error *err)
{
    const json_t *map = json_object_get(model->config, "id2label");
    size_t n = json_object_size(map);
    if (!map || json_is_null(map))
        return true;
    if (!json_is_object(map))
        return error_set(err, "%s: config.json: \"id2label\" is not an object", model->name);
    model->label = memory_zeroed(n, sizeof *model->label, err);
    if (!model->label)
        return false;
    for (size_t i = 0; i < n; i++) {
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        const char *name = json_string_value(json_object_get(map, key));
        if (!name)
            return error_set(
                err,
                "%s: config.json: \"id2label\" has %zu entries, but none of them names label %zu",
                model->name, n, i);
        model->label[i] = memory_copy(name, strlen(name), err);
        if (!model->label[i])
            return false;
        model->n_labels++;
    }
    return check_distinct(model, err);
}

/* ---- what the outputs mean ---- */

const char *model_problem_name(enum model_problem problem)
{
    static const char *const name[] = {[MODEL_SINGLE_LABEL] = "single_label_classification",
                                       [MODEL_MULTI_LABEL] = "multi_label_classification",
                                       [MODEL_REGRESSION] = "regression"};
    return name[problem];
}

/* As transformers has it, one output means regression unless the config says otherwise; one label
 * with a name of its own says so. */
static bool read_problem(struct model *model, struct error *err)
{
    const json_t *value = json_object_get(model->config, "problem_type");
    const char *text = json_string_value(value);
    if (!value || json_is_null(value)) {
        if (model->n_labels ? model->n_labels == 1 && strcmp(model->label[0], "LABEL_0") == 0
                            : json_integer_value(json_object_get(model->config, "num_labels")) == 1)
            model->problem = MODEL_REGRESSION;
        return true;
    }
    for (int problem = MODEL_SINGLE_LABEL; text && problem <= MODEL_REGRESSION; problem++)
        if (strcmp(text, model_problem_name((enum model_problem)problem)) == 0) {
            model->problem = (enum model_problem)problem;
            return true;
        }
    return error_set(err,
                     "%s: config.json: \"problem_type\" is %s%s%s; expected "
                     "\"single_label_classification\" or \"multi_label_classification\"",
                     model->name, text ? "\"" : "", text ? text : "no string", text ? "\"" : "");
}

bool model_check_problem(const struct model *model, struct error *err)
{
    if (model->problem != MODEL_REGRESSION)
        return true;
    if (json_is_string(json_object_get(model->config, "problem_type")))
        return error_set(err,
                         "%s: config.json: \"problem_type\" is \"regression\": the model gives a "
                         "number, Millet classifies; start a new classifier with mstudent "
                         "--new-head",
                         model->name);
    return error_set(err,
                     "%s: config.json: %s, which means regression; give it a name in \"id2label\" "
                     "if it is a label (and \"problem_type\")",
                     model->name,
                     model->n_labels ? "\"id2label\" has the single label \"LABEL_0\""
                                     : "\"num_labels\" is 1 and no \"id2label\" names it");
}

/* ---- the interface ---- */

static bool read_config(struct model *model, struct error *err)
{
    const struct bundle_member *member = bundle_require(model->bundle, "config.json", err);
    char *place = member ? memory_format(err, "%s: config.json", model->name) : NULL;
    if (place)
        model->config = jobject_parse((const char *)member->bytes, member->n, place, err);
    free(place);
    return model->config != NULL;
}

bool model_open(struct model *model, const char *path, struct error *err)
{
    *model = (struct model){0};
    struct bundle *bundle = bundle_open(path, err);
    return bundle && model_open_bundle(model, bundle, err);
}

bool model_open_bundle(struct model *model, struct bundle *bundle, struct error *err)
{
    *model = (struct model){.bundle = bundle};
    model->name = bundle_name(model->bundle);
    model->millet = bundle_millet(model->bundle);
    if (read_config(model, err) && read_labels(model, err) && read_problem(model, err) &&
        model_weights_open(model, err))
        return true;
    model_close(model);
    return false;
}

void model_close(struct model *model)
{
    model_weights_close(model);
    for (size_t i = 0; i < model->n_labels; i++)
        free(model->label[i]);
    free(model->label);
    json_decref(model->config);
    bundle_close(model->bundle);
    *model = (struct model){0};
}

static int compare_tensors(const void *a, const void *b)
{
    const struct tensor_view *x = a, *y = b;
    return strcmp(x->name, y->name);
}

const struct tensor_view *model_find(const struct model *model, const char *name)
{
    struct tensor_view key = {.name = name};
    return model->n_tensors ? bsearch(&key, model->tensor, model->n_tensors, sizeof *model->tensor,
                                      compare_tensors)
                            : NULL;
}

bool model_check_weights(const struct model *model, struct error *err)
{
    if (model->n_tensors > 0)
        return true;
    if (bundle_find(model->bundle, "model.onnx"))
        return error_set(err,
                         "%s: the weights are in model.onnx, which is for ONNX Runtime and which "
                         "Millet does not read; take the model that it was made from",
                         model->name);
    char list[300];
    bundle_list(model->bundle, list, sizeof list);
    return error_set(
        err,
        "%s: the model has no weights (no model.safetensors, no pytorch_model.bin and no "
        "index of several such files; it has: %s); train one with mstudent --shape",
        model->name, list);
}

bool model_fingerprint(struct model *model, uint64_t *fingerprint, struct error *err)
{
    struct hash_stream *stream = hash_stream_open();
    if (!stream)
        return error_set(err, "no memory for a fingerprint");
    bool ok = true;
    size_t n = bundle_count(model->bundle);
    for (size_t i = 0; i < n && ok; i++) {
        const struct bundle_member *member = bundle_member(model->bundle, i);
        bool weights = false;
        for (size_t s = 0; s < model->n_shards; s++)
            weights = weights || model->shard[s].member == member;
        if (!weights && strcmp(member->name, "config.json") != 0)
            continue;
        uint64_t hash = 0;
        ok = bundle_member_hash(model->bundle, member, &hash, err);
        hash_stream_add_number(stream, hash);
    }
    *fingerprint = hash_stream_value(stream);
    hash_stream_close(stream);
    return ok;
}
