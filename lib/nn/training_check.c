/* training_check.c: records, model and shape against each other, before anything is allocated. */
#include "nn/training.h"

#include <inttypes.h>

#include "text/labels.h"

/* Ids and lengths of every record against the shape; `what` names the stream. Counts labelled
 * records. */
static bool check_set(const struct records_set *set, const struct shape *shape, const char *what,
                      size_t *labelled, struct error *err)
{
    *labelled = 0;
    for (size_t i = 0; i < set->n; i++) {
        struct record r = records_get(set, i);
        *labelled += r.labelled;
        if (r.n_ids < 1 || r.n_ids > shape_max_tokens(shape))
            return error_set(
                err,
                "%s: record %zu has %zu tokens, expected 1 to %zu (the model's positions); "
                "tokenise with mtok --max-tokens %zu",
                what, i + 1, r.n_ids, shape_max_tokens(shape), shape_max_tokens(shape));
        for (size_t t = 0; t < r.n_ids; t++)
            if (r.id[t] < 0 || (size_t)r.id[t] >= shape->vocab)
                return error_set(err,
                                 "%s: record %zu: token id %" PRId32
                                 " is outside the vocabulary of %zu; tokenise with the model's own "
                                 "tokenizer (mtok -m)",
                                 what, i + 1, r.id[t], shape->vocab);
    }
    return true;
}

static bool check_dev(const struct trainer *t, const struct shape *shape, struct error *err)
{
    const struct records_set *dev = t->options->dev;
    size_t labelled;
    if (!dev)
        return true;
    if (t->options->mlm)
        return check_set(dev, shape, "dev", &labelled, err) &&
               (dev->n || error_set(err, "the dev stream has no records to score on"));
    if (!labels_equal(dev->header.label, dev->header.n_labels, t->records->header.label,
                      t->records->header.n_labels))
        return error_set(err,
                         "the labels of the dev records are not those of the training records; "
                         "tokenise both with mtok -m of one model");
    if (!dev->header.separator != !t->records->header.separator)
        return error_set(err,
                         "the dev records have %s, the training records %s; make both with or "
                         "both without mtok --multi-label",
                         dev->header.separator ? "any number of labels" : "one label each",
                         dev->header.separator ? "one each" : "any number");
    if (!check_set(dev, shape, "dev", &labelled, err))
        return false;
    if (!labelled)
        return error_set(err, "the dev records carry no labels to score against");
    return true;
}

bool training_check_records(const struct trainer *t, const struct shape *shape, struct error *err)
{
    const struct records_set *records = t->records;
    size_t labelled;
    if (records->header.n_labels == 0 && !t->options->mlm)
        return error_set(err,
                         "the records name no labels; tokenise labelled text with mtok --label");
    if (records->n == 0)
        return error_set(err, "the stream has no records to train on");
    if (t->options->distil && !records->has_logits)
        return error_set(
            err, "--kd: the records carry no logits; run them through mteach -m TEACHER first");
    if (!check_set(records, shape, "training", &labelled, err))
        return false;
    if (!labelled && !t->options->distil && !t->options->mlm)
        return error_set(err,
                         "none of the %zu records has a label; tokenise with mtok --label, or "
                         "distil with --kd",
                         records->n);
    return check_dev(t, shape, err);
}

/* Another view of the text than the model's own needs another classifier. */
static bool choose_pool(struct shape *shape, const struct model *model, bool keeps_classifier,
                        const struct train_options *options, struct error *err)
{
    if (!options->choose_pool || options->pool == shape->pool)
        return true;
    if (options->pool == SHAPE_FIRST)
        return error_set(err,
                         "--pool first: the classifier of %s sees the mean of a text's tokens and "
                         "has no pooler; start from the model that it was made of",
                         model->name);
    if (keeps_classifier)
        return error_set(err,
                         "--pool mean: the classifier of %s was trained on the first token of a "
                         "text; start a new one with --new-head",
                         model->name);
    shape->pool = SHAPE_MEAN;
    shape->no_pooler = shape->has_pooler = true;
    return true;
}

static void choose_dropout(struct shape *shape, const struct train_options *options)
{
    if (options->dropout >= 0)
        shape->hidden_dropout = shape->attention_dropout = shape->classifier_dropout =
            (float)options->dropout;
    if (options->attention_dropout >= 0)
        shape->attention_dropout = (float)options->attention_dropout;
}

bool training_find_shape(struct shape *shape, const struct shape *asked, const struct model *model,
                         const struct records_set *records, const struct train_options *options,
                         struct error *err)
{
    const struct records_header *header = &records->header;
    if (!asked && ngram_alone(model))
        return error_set(err,
                         "%s: is an n-gram part alone, with no encoder to train; give a shape "
                         "(--shape layers=2,hidden=128), or refit it: --shape ngram",
                         model->name);
    if (asked ? !shape_copy(asked, shape, err) : !shape_from_model(shape, model, err))
        return false;
    choose_dropout(shape, options);
    if (options->mlm)
        return shape_make_mlm(shape, asked ? NULL : model, err);
    bool keeps_classifier = !asked && shape->has_classifier && !options->new_head;
    const char *stream = records->n_sources ? source_name(records->source[0]) : "the stream";
    if (keeps_classifier &&
        (!model_check_problem(model, err) ||
         !records_check_kind(header, stream, model->problem == MODEL_MULTI_LABEL, model->name,
                             err)))
        return false;
    if (keeps_classifier && model->n_labels &&
        !labels_equal(model->label, model->n_labels, header->label, header->n_labels))
        return error_set(err,
                         "%s: the classifier's %zu labels are not the %zu of the records; tokenise "
                         "with mtok -m of this model, or start a new classifier with --new-head",
                         model->name, model->n_labels, header->n_labels);
    if (keeps_classifier && shape->n_labels != header->n_labels)
        return error_set(err,
                         "%s: the classifier has %zu classes, the records have %zu labels; start a "
                         "new one with --new-head",
                         model->name, shape->n_labels, header->n_labels);
    if (!choose_pool(shape, model, keeps_classifier, options, err))
        return false;
    shape->n_labels = header->n_labels;
    shape->all_rows = options->all_rows;
    return true;
}
