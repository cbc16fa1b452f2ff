/* ngram_part.c: the n-gram part in the files of a model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "nn/ngram.h"
#include "nn/weights.h"
#include "text/grams.h"

bool ngram_of_model(const struct model *model)
{
    return json_is_object(json_object_get(model->config, NGRAM_KEY));
}

bool ngram_alone(const struct model *model)
{
    const char *type = json_string_value(json_object_get(model->config, "model_type"));
    return type && strcmp(type, NGRAM_MODEL_TYPE) == 0;
}

bool ngram_owns(const char *tensor_name)
{
    return strncmp(tensor_name, NGRAM_PREFIX, sizeof NGRAM_PREFIX - 1) == 0;
}

void ngram_drop(struct model *model)
{
    size_t n = 0;
    for (size_t i = 0; i < model->n_tensors; i++)
        if (!ngram_owns(model->tensor[i].name))
            model->tensor[n++] = model->tensor[i];
    model->n_tensors = n;
    json_object_del(model->config, NGRAM_KEY);
}

void ngram_part_free(struct ngram_part *part)
{
    free(part->bucket);
    free(part->kept);
    free(part->idf);
    free(part->bias);
    if (!part->mapped)
        free(part->weight);
    free(part->scale);
    json_decref(part->described);
    *part = (struct ngram_part){0};
}

/* ---- reading ---- */

static bool read_key(struct ngram_part *part, const struct model *model, struct error *err)
{
    char place[512];
    const json_t *object = json_object_get(model->config, NGRAM_KEY);
    snprintf(place, sizeof place, "%s: config.json: " NGRAM_KEY, model->name);
    part->encoder_gate = part->ngram_gate = 1;
    if (!json_is_object(object))
        return error_set(err, "%s: not there; the model has no n-gram part", place);
    if (!grams_of_config(model->config, model->name, &part->grams, err) ||
        !jobject_number(object, place, "encoder_gate", !ngram_alone(model), &part->encoder_gate,
                        err) ||
        !jobject_number(object, place, "ngram_gate", true, &part->ngram_gate, err))
        return false;
    return (isfinite(part->encoder_gate) && isfinite(part->ngram_gate)) ||
           error_set(err, "%s: a gate is not finite", place);
}

/* A tensor of the part: [n], or [n, cols] where cols is not 0; verified. */
static const struct tensor_view *find(const struct model *model, const char *name, bool matrix,
                                      struct error *err)
{
    char found[64];
    const struct tensor_view *view = model_find(model, name);
    if (!view) {
        error_set(err, "%s: config.json has \"" NGRAM_KEY "\", but there is no tensor %s",
                  model->name, name);
        return NULL;
    }
    if (view->rank != (matrix ? 2 : 1)) {
        tensor_view_describe(view, found, sizeof found);
        error_set(err, "%s: tensor %s is %s, expected a %s", model->name, name, found,
                  matrix ? "matrix" : "vector");
        return NULL;
    }
    return bundle_verify(model->bundle, view->data, (size_t)view->bytes, err) ? view : NULL;
}

/* A vector of n floats, of any float type, in new memory. */
static float *read_floats(const struct model *model, const char *name, size_t n, struct error *err)
{
    char found[64];
    const struct tensor_view *view = find(model, name, false, err);
    if (!view)
        return NULL;
    if (!dtype_is_float(view->type) || view->dim[0] != n) {
        tensor_view_describe(view, found, sizeof found);
        error_set(err, "%s: tensor %s is %s, expected [%zu] of floats", model->name, name, found,
                  n);
        return NULL;
    }
    if (!weights_finite(view)) {
        error_set(err, "%s: tensor %s holds NaN or infinity; the model is damaged", model->name,
                  name);
        return NULL;
    }
    float *values = memory_array(n, sizeof *values, err);
    if (values)
        dtype_to_float(view->type, view->data, n, values);
    return values;
}

static size_t map_bytes(const struct ngram_part *part)
{
    return ((size_t)part->grams.buckets + 7) / 8;
}

static bool has(const uint8_t *map, size_t bucket)
{
    return map[bucket / 8] >> bucket % 8 & 1;
}

/* The rows of a map, as a list. */
static bool read_kept(struct ngram_part *part, const struct model *model, struct error *err)
{
    const struct tensor_view *view = find(model, NGRAM_PREFIX "kept", false, err);
    if (!view)
        return false;
    if (model_find(model, NGRAM_PREFIX "bucket"))
        return error_set(err, "%s: has both %s and " NGRAM_PREFIX "bucket; one of them is too many",
                         model->name, view->name);
    const uint8_t *map = view->data;
    bool fits = view->type == DTYPE_U8 && view->dim[0] == map_bytes(part);
    for (size_t b = part->grams.buckets; fits && b < 8 * map_bytes(part); b++)
        fits = !has(map, b);
    if (!fits)
        return error_set(err, "%s: tensor %s is not U8 with a bit for each of the %u \"buckets\"",
                         model->name, view->name, (unsigned)part->grams.buckets);
    for (size_t i = 0; i < map_bytes(part); i++)
        part->rows += (size_t)__builtin_popcount(map[i]);
    part->bucket = memory_array(part->rows, sizeof *part->bucket, err);
    for (size_t i = 0, row = 0; part->bucket && i < map_bytes(part); i++)
        for (unsigned left = map[i]; left; left &= left - 1)
            part->bucket[row++] = (int32_t)(8 * i) + __builtin_ctz(left);
    return part->bucket != NULL;
}

static bool read_buckets(struct ngram_part *part, const struct model *model, struct error *err)
{
    if (model_find(model, NGRAM_PREFIX "kept"))
        return read_kept(part, model, err);
    const struct tensor_view *view = find(model, NGRAM_PREFIX "bucket", false, err);
    if (!view)
        return false;
    if (view->type != DTYPE_I32 || view->dim[0] > part->grams.buckets)
        return error_set(err, "%s: tensor %s is not I32, or has more rows than there are buckets",
                         model->name, view->name);
    part->rows = (size_t)view->dim[0];
    part->bucket = memory_array(part->rows, sizeof *part->bucket, err);
    if (!part->bucket)
        return false;
    memcpy(part->bucket, view->data, part->rows * sizeof *part->bucket);
    for (size_t r = 0; r < part->rows; r++)
        if (part->bucket[r] < 0 || (uint32_t)part->bucket[r] >= part->grams.buckets ||
            (r > 0 && part->bucket[r] <= part->bucket[r - 1]))
            return error_set(err,
                             "%s: tensor %s: row %zu is %d; expected ascending numbers below "
                             "\"buckets\", %u",
                             model->name, view->name, r, (int)part->bucket[r],
                             (unsigned)part->grams.buckets);
    return true;
}

static bool read_weight(struct ngram_part *part, const struct model *model, bool mapped,
                        struct error *err)
{
    char found[64];
    const struct tensor_view *view = find(model, NGRAM_PREFIX "weight", true, err);
    if (!view)
        return false;
    tensor_view_describe(view, found, sizeof found);
    if (view->dim[1] != part->rows || view->dim[0] == 0 || view->dim[0] > INT32_MAX ||
        !(dtype_is_float(view->type) || view->type == DTYPE_I8))
        return error_set(err,
                         "%s: tensor %s is %s, expected [classes, %zu] of floats or of I8 with a "
                         "scale",
                         model->name, view->name, found, part->rows);
    if (!weights_finite(view))
        return error_set(err, "%s: tensor %s holds NaN or infinity; the model is damaged",
                         model->name, view->name);
    part->classes = (size_t)view->dim[0];
    part->type = view->type;
    part->mapped = mapped;
    part->weight =
        mapped ? (void *)(uintptr_t)view->data : memory_copy(view->data, (size_t)view->bytes, err);
    if (part->type == DTYPE_I8)
        part->scale = read_floats(model, NGRAM_PREFIX "weight_scale", part->classes, err);
    return part->weight && (part->type != DTYPE_I8 || part->scale);
}

static bool read_part(struct ngram_part *part, const struct model *model, bool mapped,
                      struct error *err)
{
    *part = (struct ngram_part){0};
    bool ok = model_check_weights(model, err) && read_key(part, model, err) &&
              read_buckets(part, model, err) && ngram_part_pack(part, err) &&
              read_weight(part, model, mapped, err);
    if (ok) {
        part->idf = read_floats(model, NGRAM_PREFIX "idf", part->rows, err);
        part->bias = part->idf ? read_floats(model, NGRAM_PREFIX "bias", part->classes, err) : NULL;
        ok = part->bias != NULL;
    }
    if (ok && model->n_labels && model->n_labels != part->classes)
        ok = error_set(err, "%s: config.json names %zu labels, the n-gram part has %zu classes",
                       model->name, model->n_labels, part->classes);
    if (!ok)
        ngram_part_free(part);
    else if (model->millet)
        part->described = json_incref(json_object_get(model->millet, "ngram"));
    return ok;
}

bool ngram_part_read(struct ngram_part *part, const struct model *model, struct error *err)
{
    return read_part(part, model, false, err);
}

bool ngram_part_map(struct ngram_part *part, const struct model *model, struct error *err)
{
    return read_part(part, model, true, err);
}

/* ---- writing ---- */

bool ngram_part_pack(struct ngram_part *part, struct error *err)
{
    if (map_bytes(part) >= part->rows * sizeof *part->bucket)
        return true;
    part->kept = memory_zeroed(map_bytes(part), 1, err);
    for (size_t r = 0; part->kept && r < part->rows; r++)
        part->kept[part->bucket[r] / 8] |= (uint8_t)(1U << part->bucket[r] % 8);
    return part->kept != NULL;
}

size_t ngram_part_tensors(const struct ngram_part *part, struct tensor_view tensor[NGRAM_TENSORS])
{
    tensor[0] =
        tensor_view_2d(NGRAM_PREFIX "weight", part->type, part->classes, part->rows, part->weight);
    tensor[1] = part->kept
                    ? tensor_view_1d(NGRAM_PREFIX "kept", DTYPE_U8, map_bytes(part), part->kept)
                    : tensor_view_1d(NGRAM_PREFIX "bucket", DTYPE_I32, part->rows, part->bucket);
    tensor[2] = tensor_view_1d(NGRAM_PREFIX "idf", DTYPE_F32, part->rows, part->idf);
    tensor[3] = tensor_view_1d(NGRAM_PREFIX "bias", DTYPE_F32, part->classes, part->bias);
    if (part->type == DTYPE_I8)
        tensor[4] =
            tensor_view_1d(NGRAM_PREFIX "weight_scale", DTYPE_F32, part->classes, part->scale);
    return part->type == DTYPE_I8 ? 5 : 4;
}

bool ngram_part_configure(const struct ngram_part *part, json_t *config, struct error *err)
{
    const struct records_grams *grams = &part->grams;
    json_t *object = json_pack("{s:I, s:[I, I], s:I, s:f, s:f}", "buckets",
                               (json_int_t)grams->buckets, "chars", (json_int_t)grams->char_min,
                               (json_int_t)grams->char_max, "words", (json_int_t)grams->word_max,
                               "encoder_gate", part->encoder_gate, "ngram_gate", part->ngram_gate);
    return (object && json_object_set_new(config, NGRAM_KEY, object) == 0) ||
           error_set(err, "no memory for config.json");
}

json_t *ngram_part_config(const struct ngram_part *part, char *const *label, bool multi_label,
                          struct error *err)
{
    enum model_problem problem = multi_label ? MODEL_MULTI_LABEL : MODEL_SINGLE_LABEL;
    json_t *names = json_object(), *ids = json_object();
    bool ok = names && ids;
    for (size_t i = 0; ok && i < part->classes; i++) {
        char key[24];
        snprintf(key, sizeof key, "%zu", i);
        ok = json_object_set_new(names, key, json_string(label[i])) == 0 &&
             json_object_set_new(ids, label[i], json_integer((json_int_t)i)) == 0;
    }
    json_t *config =
        json_pack("{s:s, s:s, s:O, s:O}", "model_type", NGRAM_MODEL_TYPE, "problem_type",
                  model_problem_name(problem), "id2label", names, "label2id", ids);
    json_decref(names);
    json_decref(ids);
    if (ok && config && ngram_part_configure(part, config, err) &&
        model_state_type(config, DTYPE_F32, err))
        return config;
    json_decref(config);
    error_set(err, "no memory for config.json, or a label that is not UTF-8");
    return NULL;
}
