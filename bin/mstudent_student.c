/* mstudent_student.c: which scores a narrower student is made by: gradients where the model is a
 * classifier of the records' labels, else weights. */
#include "bin/mstudent_student.h"

#include <stdlib.h>

#include "core/memory.h"
#include "nn/student.h"
#include "prune/importance.h"
#include "prune/search.h"
#include "text/labels.h"

enum { SAMPLES = 2048, SAMPLE_TOKENS = 64 };

/* Scores of all units, and where a layer's heads and neurons begin. */
struct scores {
    double *score;
    const double **head, **neuron; /* [n_layers] */
};

static void scores_free(struct scores *scores)
{
    free(scores->score);
    free(scores->head);
    free(scores->neuron);
}

static bool scores_fill(struct scores *to, const struct shape *shape, const struct unit *unit,
                        size_t n, struct error *err)
{
    to->score = memory_array(n, sizeof *to->score, err);
    to->head = memory_zeroed(shape->n_layers, sizeof *to->head, err);
    to->neuron = memory_zeroed(shape->n_layers, sizeof *to->neuron, err);
    if (!to->score || !to->head || !to->neuron)
        return false;
    for (size_t i = 0; i < n; i++) {
        const double **first = unit[i].kind == UNIT_HEAD ? to->head : to->neuron;
        to->score[i] = unit[i].score;
        if (unit[i].index == 0)
            first[unit[i].layer] = to->score + i;
    }
    return true;
}

/* Whether the model can be asked what the records' labels are. */
static bool answers(const struct model *model, const struct shape *shape,
                    const struct records_set *records)
{
    bool labelled = false, several = model->problem == MODEL_MULTI_LABEL;
    for (size_t i = 0; i < records->n && !labelled; i++)
        labelled = records_get(records, i).labelled;
    return labelled && shape->has_pooler && shape->has_classifier && shape->n_layers > 0 &&
           !family_shares_layers(shape->family) && model->problem != MODEL_REGRESSION &&
           several == (records->header.separator != NULL) &&
           labels_equal(model->label, model->n_labels, records->header.label,
                        records->header.n_labels);
}

static bool score_units(struct tool *tool, struct model *model, const struct shape *shape,
                        const struct records_set *records, struct device *device,
                        struct scores *scores)
{
    const struct importance_options how = {.samples = SAMPLES, .seed = tool->seed};
    size_t n = 0;
    struct unit *unit = search_units(shape, SAMPLE_TOKENS, &n, &tool->err);
    bool ok = unit &&
              importance_score(model, shape, records, &how, device, &tool->progress, unit, n, NULL,
                               &tool->err) &&
              scores_fill(scores, shape, unit, n, &tool->err);
    free(unit);
    return ok;
}

static bool cut_down(struct tool *tool, const struct student_choice *asked, struct model *model,
                     const struct records_set *records, struct device *device)
{
    struct student_choice choice = *asked;
    struct scores scores = {0};
    struct shape shape;
    if (!shape_from_model(&shape, model, &tool->err))
        return false;
    bool narrower = choice.heads || choice.ffn || choice.hidden, ok = true;
    if (narrower && answers(model, &shape, records)) {
        ok = score_units(tool, model, &shape, records, device, &scores);
        choice.head_score = scores.head;
        choice.neuron_score = scores.neuron;
    }
    if (ok && narrower && tool->verbose)
        tool_note(tool, "heads and neurons are chosen by %s",
                  scores.head ? "their importance for the records' labels" : "their weights");
    ok = ok && student_make(model, &shape, &choice, &tool->err);
    if (ok && tool->verbose)
        tool_note(tool, "the student: %zu layers, %zu columns", shape.n_layers, shape.hidden);
    scores_free(&scores);
    shape_free(&shape);
    return ok;
}

/* An embedding bag as wide as the model takes the model's tables. */
static bool adopt_tables(struct tool *tool, struct arguments *a, const struct model *model,
                         size_t vocab)
{
    struct shape asked = {0}, own = {0};
    if (!model->n_tensors)
        return true;
    bool ok = shape_from_text(&asked, a->shape, vocab, 1, &tool->err);
    if (ok && asked.n_layers == 0) {
        ok = shape_from_model(&own, model, &tool->err);
        if (ok && own.hidden == asked.hidden) {
            a->shape = NULL;
            a->student.layers = "0";
        }
    }
    shape_free(&own);
    shape_free(&asked);
    return ok;
}

bool mstudent_student(struct tool *tool, struct arguments *arguments, struct model *model,
                      size_t vocab, const struct records_set *records, struct device *device)
{
    const struct student_choice *asked = &arguments->student;
    if (arguments->shape && !adopt_tables(tool, arguments, model, vocab))
        return false;
    if (!asked->layers && !asked->heads && !asked->ffn && !asked->hidden)
        return true;
    return cut_down(tool, asked, model, records, device);
}

json_t *mstudent_start(const struct arguments *arguments)
{
    const struct student_choice *asked = &arguments->student;
    return json_pack("{s:b, s:s, s:I, s:I, s:I}", "--shape", arguments->shape != NULL,
                     "--from-layers", asked->layers ? asked->layers : "all", "--heads",
                     (json_int_t)asked->heads, "--ffn", (json_int_t)asked->ffn, "--hidden",
                     (json_int_t)asked->hidden);
}
