/* training_write.c: the written model: its tensors, config.json, and what its history says. */
#include "nn/training.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

const char *training_score_name(const struct trainer *t)
{
    for (size_t i = 0; i < t->options->n_hooks; i++)
        if (t->options->hook[i]->score_name)
            return t->options->hook[i]->score_name;
    return t->records->header.separator ? "dev_micro_f1" : "dev_accuracy";
}

/* The n-gram part of the model given is part of the one written. */
static bool keeps_ngram(const struct trainer *t, const struct model *from)
{
    return from && !t->options->hybrid && !t->options->new_head && !t->options->mlm &&
           ngram_of_model(from);
}

/* Is the tensor one of the shape's? Buffers that are made anew (position_ids) count as such. */
static bool used(const struct shape *shape, const char *name)
{
    struct family_tensor tensor;
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    if (strcmp(last, "position_ids") == 0 || strcmp(last, "token_type_ids") == 0)
        return true;
    if (shape->mlm && family_owns_mlm(shape->family, name))
        return true;
    return family_parse(shape->family, name, &tensor) && tensor.role != FAMILY_ROLES &&
           !(tensor.role == FAMILY_POOLER && shape->no_pooler) &&
           !(tensor.role == FAMILY_CLASSIFIER && shape->mlm);
}

/* Names of the model's tensors that the trained one has no place for: a language model's head. */
static bool list_left_out(const struct trainer *t, const struct model *model, json_t *list,
                          struct train_result *result)
{
    bool ok = list != NULL;
    for (size_t i = 0; ok && i < model->n_tensors; i++) {
        const char *name = model->tensor[i].name;
        if (used(&t->params.shape, name) ||
            (ngram_owns(name) && (t->options->hybrid || keeps_ngram(t, model))))
            continue;
        if (result->n_left_out++ == 0)
            snprintf(result->left_out, sizeof result->left_out, "%s", name);
        ok = json_array_append_new(list, json_string(name)) == 0;
    }
    return ok;
}

/* What the history says of this run, and the tensors that started at random although a model was
 * given, or were left out of it. from NULL: none was. */
static bool describe(const struct trainer *t, const struct model *from, struct train_result *result,
                     json_t *stage, struct error *err)
{
    json_t *run = json_pack("{s:I, s:I, s:I, s:f}", "records", (json_int_t)t->n_usable, "steps",
                            (json_int_t)result->steps, "best_epoch", (json_int_t)result->best_epoch,
                            "loss", result->train_loss);
    json_t *fresh = json_array(), *left_out = json_array();
    bool ok = run && fresh && (!from || list_left_out(t, from, left_out, result));
    if (ok && isfinite(result->dev_score)) /* no epoch, no score */
        ok = json_object_set_new(run, training_score_name(t), json_real(result->dev_score)) == 0;
    for (size_t i = 0; ok && from && i < t->params.n_entries; i++) {
        const struct params_entry *e = &t->params.entry[i];
        if (!e->fresh)
            continue;
        ok = json_array_append_new(fresh, json_string(e->name)) == 0;
        result->fresh_mlm |= e->part.role == FAMILY_ROLES;
        result->fresh_pooler |= e->part.role == FAMILY_POOLER;
        result->fresh_classifier |= e->part.role == FAMILY_CLASSIFIER;
    }
    if (ok && stage) {
        ok = json_object_set(stage, "run", run) == 0;
        if (ok && json_array_size(fresh))
            ok = json_object_set(stage, "fresh", fresh) == 0;
        if (ok && json_array_size(left_out))
            ok = json_object_set(stage, "left_out", left_out) == 0;
    }
    json_decref(left_out);
    json_decref(run);
    json_decref(fresh);
    return ok || error_set(err, "no memory for the model's history");
}

/* transformers' classes take the loss from "problem_type"; without it, one output means
 * regression. */
static bool state_problem(json_t *config, const struct records_header *header, struct error *err)
{
    enum model_problem problem = header->separator ? MODEL_MULTI_LABEL : MODEL_SINGLE_LABEL;
    if (problem == MODEL_SINGLE_LABEL && header->n_labels > 1 &&
        !json_object_get(config, "problem_type"))
        return true;
    return json_object_set_new(config, "problem_type", json_string(model_problem_name(problem))) ==
               0 ||
           error_set(err, "no memory for config.json");
}

/* "millet_ngram" of the part that is made; of one that does not stay, nothing. */
static bool configure_ngram(const struct training *training, json_t *config, struct error *err)
{
    const struct model *from = training->from_scratch ? NULL : training->model;
    if (training->ngram.rows)
        return ngram_part_configure(&training->ngram, config, err);
    if (!keeps_ngram(&training->trainer, from))
        json_object_del(config, NGRAM_KEY);
    return true;
}

json_t *train_config(const struct training *training, struct error *err)
{
    const struct records_header *header = &training->trainer.records->header;
    json_t *config = shape_config(&training->shape, training->model->config, header->label, err);
    if (config && (training->shape.mlm || state_problem(config, header, err)) &&
        model_state_type(config, DTYPE_F32, err) && configure_ngram(training, config, err))
        return config;
    json_decref(config);
    return NULL;
}

bool train_describe(struct training *training, json_t *stage, struct error *err)
{
    return describe(&training->trainer, training->from_scratch ? NULL : training->model,
                    &training->result, stage, err) &&
           (!training->ngram.rows || hybrid_describe(&training->result.hybrid, stage, err));
}

/* The tensors of the n-gram part: the new one's, or those of the model given. */
static struct tensor_view *ngram_tensors(const struct training *training, size_t *n,
                                         struct error *err)
{
    const struct model *from = training->from_scratch ? NULL : training->model;
    struct tensor_view *tensor =
        memory_array(NGRAM_TENSORS + training->model->n_tensors, sizeof *tensor, err);
    *n = 0;
    if (tensor && training->ngram.rows) {
        *n = ngram_part_tensors(&training->ngram, tensor);
    } else if (tensor && keeps_ngram(&training->trainer, from)) {
        for (size_t i = 0; i < from->n_tensors; i++)
            if (ngram_owns(from->tensor[i].name))
                tensor[(*n)++] = from->tensor[i];
    }
    return tensor;
}

/* What millet.json says of the part; NULL: nothing. */
static json_t *ngram_extra(const struct training *training)
{
    const struct model *from = training->from_scratch ? NULL : training->model;
    json_t *described = training->ngram.described;
    if (!described && keeps_ngram(&training->trainer, from))
        described = json_object_get(from->millet, "ngram");
    return described ? json_pack("{s:O}", "ngram", described) : NULL;
}

bool train_write(struct training *training, json_t *stage, struct output *output, struct error *err)
{
    struct trainer *t = &training->trainer;
    struct params_beside beside = {.n_tensors = 0};
    struct tensor_view *tensor = NULL;
    json_t *config = NULL;
    params_drop_moments(&t->params);
    bool ok =
        (!t->options->hybrid || hybrid_finish(t, t->options->hybrid, training->model,
                                              &training->ngram, &training->result.hybrid, err)) &&
        train_describe(training, stage, err) && (config = train_config(training, err)) &&
        (tensor = ngram_tensors(training, &beside.n_tensors, err));
    if (ok) {
        beside.tensor = tensor;
        beside.extra = ngram_extra(training);
        ok = params_write_with(&t->params, training->model, config, &beside, stage, output, err);
        stage = NULL;
    }
    json_decref(stage);
    json_decref(config);
    free(tensor);
    return ok;
}
