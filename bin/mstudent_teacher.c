#include "bin/mstudent_teacher.h"

#include <stdlib.h>

#include "text/labels.h"
#include "text/tokenizer.h"

/* "3:6:9" up to a comma. */
static void parse_map(struct tool *tool, struct teacher_arguments *to, const char *text)
{
    size_t n = 0;
    const char *at = text;
    do {
        char *end;
        unsigned long layer = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || layer < 1 || n == TEACHER_MAP ||
            (*end && *end != ':' && *end != ','))
            tool_usage_error(tool, "--kd map: \"%s\" is not teacher layers such as 3:6:9", text);
        to->map[n++] = layer;
        at = end;
    } while (*at++ == ':');
    to->options.map = to->map;
    to->options.n_map = n;
}

void mstudent_parse_kd(struct tool *tool, struct teacher_arguments *arguments,
                       struct train_options *train)
{
    struct distil_options *o = &arguments->options;
    const char *map = NULL;
    double layer = (double)o->relation_layer, heads = (double)o->relation_heads;
    const struct tool_kd_key key[] = {
        {.key = "hidden", .max = 1e6, .value = &o->hidden},
        {.key = "patient", .max = 1e6, .value = &o->patient},
        {.key = "relations", .max = 1e6, .value = &o->relations},
        {.key = "cosine", .max = 1e6, .value = &arguments->cosine},
        {.key = "relation-layer", .min = 1, .max = 1024, .value = &layer},
        {.key = "relation-heads", .min = 1, .max = 65536, .value = &heads},
        {.key = "map", .text = &map},
    };
    tool_argument_kd(tool, train, key, sizeof key / sizeof *key);
    o->relation_layer = (size_t)layer;
    o->relation_heads = (size_t)heads;
    if ((double)o->relation_layer < layer || (double)o->relation_heads < heads)
        tool_usage_error(tool, "--kd: relation-layer and relation-heads are whole numbers");
    if (map)
        parse_map(tool, arguments, map);
}

void mstudent_check_teacher(struct tool *tool, const struct teacher_arguments *arguments)
{
    const struct distil_options *o = &arguments->options;
    if (arguments->cosine > 0)
        tool_usage_error(tool, "--kd cosine is for --mlm; elsewhere there are hidden and patient");
    bool wanted = o->hidden > 0 || o->patient > 0 || o->relations > 0;
    if (wanted && !arguments->model)
        tool_usage_error(tool,
                         "--kd hidden, patient and relations need the teacher itself: --teacher "
                         "MODEL");
    if (arguments->model && !wanted)
        tool_usage_error(tool, "--teacher: what to learn from inside it is missing: --kd hidden=1, "
                               "relations=1 or patient=1 (its logits come from mteach)");
    if (o->map && !(o->hidden > 0 || o->patient > 0))
        tool_usage_error(tool, "--kd map needs hidden or patient");
    if ((o->relation_layer || o->relation_heads) && !(o->relations > 0))
        tool_usage_error(tool, "--kd relation-layer and relation-heads need relations");
}

static bool check_tokenizer(const struct model *model, uint64_t tokenizer, struct error *err)
{
    struct tokenizer *own = tokenizer_open(model->bundle, err);
    if (!own)
        return error_at(err, "--teacher: ");
    bool same = tokenizer_fingerprint(own) == tokenizer;
    tokenizer_close(own);
    if (!same)
        return error_set(err,
                         "--teacher: %s has another tokenizer than the student, so their tokens "
                         "cannot be compared; distil its logits instead (mteach), or start the "
                         "student with its tokenizer",
                         model->name);
    return true;
}

static bool check_labels(const struct model *model, const struct records_set *records,
                         struct error *err)
{
    if (model->n_labels && records->header.n_labels &&
        !labels_equal(model->label, model->n_labels, records->header.label,
                      records->header.n_labels))
        return error_set(err,
                         "--teacher: %s has other labels (%zu) than the records (%zu); take a "
                         "teacher of the same task, or a model without labels",
                         model->name, model->n_labels, records->header.n_labels);
    return true;
}

bool mstudent_open_teacher(struct tool *tool, const struct teacher_arguments *arguments,
                           uint64_t tokenizer, struct teacher *teacher)
{
    if (!arguments->model)
        return true;
    teacher->has_model = model_open(&teacher->model, arguments->model, &tool->err);
    return teacher->has_model && check_tokenizer(&teacher->model, tokenizer, &tool->err);
}

bool mstudent_teacher(struct tool *tool, struct teacher_arguments *arguments,
                      const struct shape *student, const struct records_set *records,
                      uint64_t tokenizer, struct device *device, struct teacher *teacher,
                      struct train_options *train)
{
    if (!arguments->model)
        return true;
    arguments->options.seed = tool->seed;
    if (!mstudent_open_teacher(tool, arguments, tokenizer, teacher) ||
        !check_labels(&teacher->model, records, &tool->err))
        return false;
    teacher->distil =
        distil_open(&teacher->model, student, &arguments->options, device, &tool->err);
    if (!teacher->distil)
        return false;
    if (train->distil && !records->has_logits) {
        train->distil = false;
        tool_note(tool, "the records carry no logits: the student learns from labels and from "
                        "inside the teacher");
    }
    teacher->hook = distil_hook(teacher->distil);
    train->hook = &teacher->hook;
    train->n_hooks = 1;
    train->all_rows = distil_needs_all_rows(&arguments->options);
    return true;
}

void mstudent_teacher_close(struct teacher *teacher)
{
    distil_close(teacher->distil);
    mlm_close(teacher->mlm);
    if (teacher->has_model)
        model_close(&teacher->model);
}
