/* train_labels.c: see train_labels.h. */
#include "nn/train_labels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"

static void count_record(const struct record *record, size_t *count)
{
    if (record->labelled && record->label >= 0)
        count[record->label]++;
    for (size_t i = 0; record->labelled && i < record->n_label_ids; i++)
        if (record->label_id[i] >= 0)
            count[record->label_id[i]]++;
}

/* Records of each label among `usable` (NULL: all). Owned by the caller. */
static size_t *count_labels(const struct records_set *set, const uint32_t *usable, size_t n,
                            struct error *err)
{
    size_t *count = memory_zeroed(set->header.n_labels, sizeof *count, err);
    for (size_t i = 0; count && i < n; i++) {
        struct record record = records_get(set, usable ? usable[i] : i);
        count_record(&record, count);
    }
    return count;
}

static size_t list_absent(const struct records_header *header, const size_t *count, char *first,
                          size_t first_bytes)
{
    size_t n = 0;
    for (size_t c = 0; c < header->n_labels; c++)
        if (count[c] == 0 && n++ == 0)
            snprintf(first, first_bytes, "%s", header->label[c]);
    return n;
}

bool train_find_absent(const struct trainer *trainer, struct train_result *result,
                       struct error *err)
{
    const struct records_set *records = trainer->records, *dev = trainer->options->dev;
    size_t *count = count_labels(records, trainer->usable, trainer->n_usable, err);
    if (!count)
        return false;
    result->n_absent = list_absent(&records->header, count, result->absent, sizeof result->absent);
    free(count);
    if (!dev)
        return true;
    count = count_labels(dev, NULL, dev->n, err);
    if (!count)
        return false;
    result->n_absent_dev =
        list_absent(&dev->header, count, result->absent_dev, sizeof result->absent_dev);
    free(count);
    return true;
}

/* n / (C n_c); a class that never occurs weighs nothing. */
static bool balance(const struct trainer *t, float *weight, struct error *err)
{
    size_t classes = t->records->header.n_labels, present = 0, labelled = 0;
    size_t *count = count_labels(t->records, t->usable, t->n_usable, err);
    if (!count)
        return false;
    for (size_t c = 0; c < classes; c++) {
        present += count[c] > 0;
        labelled += count[c];
    }
    for (size_t c = 0; c < classes; c++)
        weight[c] = count[c] ? (float)((double)labelled / ((double)present * (double)count[c])) : 0;
    free(count);
    return true;
}

bool train_weigh(struct trainer *trainer, struct error *err)
{
    const struct train_options *o = trainer->options;
    const struct records_header *header = &trainer->records->header;
    size_t classes = header->n_labels;
    if (!o->balance_classes && !o->class_weight)
        return true;
    if (header->separator)
        return error_set(err, "--class-weights: a record has any number of labels; weights are for "
                              "records with one each");
    if (!o->balance_classes && o->n_class_weights != classes)
        return error_set(err,
                         "--class-weights: %zu weights for %zu labels; one for each, in the "
                         "order of the labels",
                         o->n_class_weights, classes);
    float *weight = memory_array(classes, sizeof *weight, err);
    trainer->class_weight =
        weight ? trainer->dev->op->alloc(trainer->dev, classes * sizeof *weight, err) : NULL;
    bool ok = trainer->class_weight && (!o->balance_classes || balance(trainer, weight, err));
    if (ok) {
        for (size_t c = 0; !o->balance_classes && c < classes; c++)
            weight[c] = (float)o->class_weight[c];
        trainer->dev->op->upload(trainer->dev, trainer->class_weight, weight,
                                 classes * sizeof *weight);
    }
    free(weight);
    return ok;
}

/* ---- easy and hard ---- */

struct confidence {
    float p;
    uint32_t record;
};

static int compare_falling(const void *a, const void *b)
{
    const struct confidence *x = a, *y = b;
    int order = (x->p < y->p) - (x->p > y->p);
    return order ? order : (x->record > y->record) - (x->record < y->record);
}

/* softmax(logits) of the label, or of the largest. */
static float confidence_of(const struct record *record, size_t classes)
{
    const float *x = record->logits;
    size_t best = 0;
    double total = 0;
    for (size_t c = 1; c < classes; c++)
        best = x[c] > x[best] ? c : best;
    for (size_t c = 0; c < classes; c++)
        total += exp((double)x[c] - (double)x[best]);
    size_t of = record->label >= 0 ? (size_t)record->label : best;
    return (float)(exp((double)x[of] - (double)x[best]) / total);
}

bool train_rank(struct trainer *trainer, struct error *err)
{
    size_t n = trainer->n_usable;
    if (!trainer->records->has_logits)
        return error_set(err, "--curriculum: the records carry no logits, which say what is easy; "
                              "run them through mteach -m TEACHER first");
    struct confidence *all = memory_array(n, sizeof *all, err);
    trainer->rank = all ? memory_array(n, sizeof *trainer->rank, err) : NULL;
    if (trainer->rank) {
        for (size_t i = 0; i < n; i++) {
            struct record record = records_get(trainer->records, trainer->usable[i]);
            all[i] = (struct confidence){confidence_of(&record, trainer->records->header.n_labels),
                                         (uint32_t)i};
        }
        qsort(all, n, sizeof *all, compare_falling);
        for (size_t i = 0; i < n; i++)
            trainer->rank[i] = all[i].record;
    }
    free(all);
    return trainer->rank != NULL;
}
