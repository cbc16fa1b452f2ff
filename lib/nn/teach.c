/* teach.c: teachers and inputs opened and held against each other, then part by part. */
#include "nn/teach_state.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/ngram_fit.h"
#include "text/grams.h"
#include "text/labels.h"
#include "text/tokenizer.h"

/* Records of one call of the classifier without a cache: its lanes wait for each other at the end
 * of each, so fewer is better; progress is told after each. With a cache TEACH_BLOCK, so that a
 * kill loses little. */
enum { BLOCK_UNCACHED = 1024 };

/* ---- opening ---- */

static bool open_teacher(struct teach_job *job, const char *path, struct device *dev,
                         struct threads *team, struct error *err)
{
    struct teach_teacher *teacher = &job->teacher[job->n_teachers];
    if (!model_open(&teacher->model, path, err))
        return false;
    job->n_teachers++;
    if (!grams_of_config(teacher->model.config, teacher->model.name, &teacher->grams, err))
        return false;
    struct tokenizer *tokenizer = tokenizer_open(teacher->model.bundle, err);
    if (!tokenizer)
        return error_at(err, "%s: ", teacher->model.name);
    teacher->tokenizer = tokenizer_fingerprint(tokenizer);
    tokenizer_close(tokenizer);
    if (!model_fingerprint(&teacher->model, &teacher->fingerprint, err))
        return false;
    teacher->classifier = classifier_open(&teacher->model, dev, team, 0, err);
    return teacher->classifier != NULL;
}

static bool open_input(struct teach_job *job, const char *path, struct error *err)
{
    struct teach_input *input = &job->input[job->n_inputs];
    input->source = source_open(path, false, err);
    if (!input->source)
        return false;
    job->n_inputs++;
    input->reader = records_reader_open(input->source, err);
    return input->reader != NULL;
}

/* Every input's tokenizer and labels are every teacher's, its n-grams those of the first input,
 * which go into one header. */
static bool check_header(const struct teach_job *job, const struct records_header *header,
                         const char *from, struct error *err)
{
    for (size_t i = 0; i < job->n_teachers; i++) {
        const struct teach_teacher *teacher = &job->teacher[i];
        if (!records_check_model(header, from, teacher->tokenizer, teacher->model.label,
                                 teacher->model.n_labels, teacher->model.name, err) ||
            !records_check_kind(header, from, teacher->model.problem == MODEL_MULTI_LABEL,
                                teacher->model.name, err) ||
            !records_check_grams(header, from, &teacher->grams, teacher->model.name, err))
            return false;
    }
    return true;
}

static bool check_input(const struct teach_job *job, const struct teach_input *input,
                        struct error *err)
{
    const struct records_header *header = records_reader_header(input->reader);
    return records_header_agree_grams(records_reader_header(job->input[0].reader),
                                      source_name(job->input[0].source), header,
                                      source_name(input->source), err) &&
           check_header(job, header, source_name(input->source), err);
}

static bool check_teachers(const struct teach_job *job, struct error *err)
{
    for (size_t i = 0; i < job->n_teachers; i++) {
        const struct teach_teacher *teacher = &job->teacher[i], *first = &job->teacher[0];
        size_t outputs = classifier_labels(teacher->classifier);
        if (teacher->model.n_labels != outputs)
            return error_set(err,
                             "%s: config.json names %zu labels but the classifier has %zu outputs; "
                             "give id2label all of them",
                             teacher->model.name, teacher->model.n_labels, outputs);
        if (!labels_equal(first->model.label, first->model.n_labels, teacher->model.label,
                          teacher->model.n_labels))
            return error_set(
                err,
                "%s: labels differ from those of %s; teachers must share labels in the same order",
                teacher->model.name, first->model.name);
        if (teacher->model.problem != first->model.problem)
            return error_set(err,
                             "%s: is a %s-label model, %s is none; teachers must be of one kind",
                             teacher->model.name,
                             teacher->model.problem == MODEL_MULTI_LABEL ? "multi" : "single",
                             first->model.name);
        if (teacher->tokenizer != first->tokenizer)
            return error_set(err, "%s: tokenizer differs from that of %s; teachers must share one",
                             teacher->model.name, first->model.name);
    }
    return true;
}

/* The output's header: the first input's, with room for the longest record of all, and the
 * teachers' labels when the records have none. */
static bool make_header(struct teach_job *job, struct error *err)
{
    struct records_header first =
        job->has_set ? job->set.header : *records_reader_header(job->input[0].reader);
    for (size_t i = 1; i < job->n_inputs; i++) {
        const struct records_header *other = records_reader_header(job->input[i].reader);
        if (other->max_tokens > first.max_tokens)
            first.max_tokens = other->max_tokens;
    }
    const struct model *model = &job->teacher[0].model;
    job->n_labels = model->n_labels;
    if (first.n_labels == 0) {
        first.label = model->label;
        first.n_labels = model->n_labels;
        if (model->problem == MODEL_MULTI_LABEL && !first.separator)
            first.separator = (char *)"|";
    }
    return records_header_copy(&first, &job->header, err);
}

/* The whole input, for folds. */
static bool open_set(struct teach_job *job, const char *const *path, size_t n_paths,
                     struct error *err)
{
    bool any = false;
    for (size_t t = 0; t < job->n_teachers; t++)
        any = any || classifier_ngram(job->teacher[t].classifier);
    if (!any)
        return error_set(err,
                         "--folds: none of the teachers has an n-gram part (mstudent --ngram)");
    job->has_set = records_set_open(&job->set, path, n_paths, err);
    return job->has_set && check_header(job, &job->set.header, path[0], err);
}

/* What the n-gram parts say of each record when they are fitted without it. */
static bool answer_out_of_fold(struct teach_job *job, struct device *dev, struct threads *team,
                               struct error *err)
{
    size_t n;
    for (size_t t = 0; t < job->n_teachers; t++) {
        struct teach_teacher *teacher = &job->teacher[t];
        const struct ngram_part *part = classifier_ngram(teacher->classifier);
        struct ngram_fit_options fit;
        if (!part)
            continue;
        ngram_fit_defaults(&fit);
        fit.team = team;
        fit.progress = job->progress;
        if (part->described && !ngram_fit_recall(&fit, part->described, teacher->model.name, err))
            return false;
        if (!memory_multiply(job->set.n, job->n_labels, &n))
            return error_set(err, "%zu records are too many for --folds", job->set.n);
        teacher->out_of_fold = memory_array(n, sizeof *teacher->out_of_fold, err);
        if (!teacher->out_of_fold)
            return false;
        if (!ngram_fit_out_of_fold(&job->set, job->options->folds, job->options->seed, &fit, dev,
                                   teacher->out_of_fold, err))
            return error_at(err, "--folds: ");
    }
    return true;
}

static bool add_fingerprints(struct teach_job *job, json_t *stage, struct error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < job->n_teachers; i++) {
        char text[HASH_TEXT_BYTES];
        hash_text(job->teacher[i].fingerprint, text);
        if (json_array_append_new(list, json_string(text)) != 0)
            break;
    }
    bool whole = json_array_size(list) == job->n_teachers;
    if (json_object_set_new(stage, "teachers", list) != 0 || !whole)
        return error_set(err, "out of memory while writing the history");
    return true;
}

static bool open_all(struct teach_job *job, const char *const *path, size_t n_paths,
                     struct device *dev, struct threads *team, struct error *err)
{
    static const char *const standard_input[] = {"-"};
    if (n_paths == 0) {
        path = standard_input;
        n_paths = 1;
    }
    job->teacher = memory_zeroed(job->options->n_models, sizeof *job->teacher, err);
    job->input = memory_zeroed(n_paths, sizeof *job->input, err);
    if (!job->teacher || !job->input)
        return false;
    for (size_t i = 0; i < job->options->n_models; i++)
        if (!open_teacher(job, job->options->model[i], dev, team, err))
            return false;
    if (!check_teachers(job, err))
        return false;
    if (job->options->folds && !open_set(job, path, n_paths, err))
        return false;
    for (size_t i = 0; !job->has_set && i < n_paths; i++)
        if (!open_input(job, path[i], err) || !check_input(job, &job->input[i], err))
            return false;
    if (job->options->cache) {
        job->cache = cache_open(job->options->cache, err);
        if (!job->cache)
            return false;
    }
    return make_header(job, err);
}

static bool teach_input(struct teach_job *job, const struct teach_input *input, struct error *err)
{
    struct records_part part;
    uint64_t before = 0;
    int more;
    while ((more = records_next(input->reader, &part, err)) == 1) {
        bool ok = teach_part(job, source_name(input->source), &part, before, err);
        before += part.n;
        records_part_free(&part);
        if (!ok)
            return false;
    }
    return more == 0;
}

static bool teach_set(struct teach_job *job, const char *from, struct error *err)
{
    bool ok = true;
    for (size_t p = 0; ok && p < job->set.n_parts; p++)
        ok = teach_part(job, from, &job->set.part[p], job->set.first[p], err);
    return ok;
}

/* ---- the whole ---- */

static bool close_all(struct teach_job *job, struct error *err)
{
    bool ok = !job->cache || cache_close(job->cache, err);
    for (size_t i = 0; i < job->n_inputs; i++) {
        records_reader_close(job->input[i].reader);
        source_close(job->input[i].source);
    }
    if (job->has_set)
        records_set_close(&job->set);
    for (size_t i = 0; i < job->n_teachers; i++) {
        free(job->teacher[i].out_of_fold);
        classifier_close(job->teacher[i].classifier);
        model_close(&job->teacher[i].model);
    }
    teach_part_free(&job->buffer);
    records_header_free(&job->header);
    json_decref(job->options->stage);
    free(job->input);
    free(job->teacher);
    return ok;
}

bool teach(const char *const *path, size_t n_paths, const struct teach_options *options,
           struct device *dev, struct threads *team, const struct progress *progress,
           struct output *output, struct teach_counts *counts, struct error *err)
{
    struct teach_job job = {.options = options,
                            .output = output,
                            .progress = progress,
                            .block = options->cache ? TEACH_BLOCK : BLOCK_UNCACHED};
    bool ok = open_all(&job, path, n_paths, dev, team, err) &&
              add_fingerprints(&job, options->stage, err) &&
              (!job.has_set || answer_out_of_fold(&job, dev, team, err));
    const char *from = n_paths ? path[0] : "<stdin>";
    if (ok && job.has_set)
        ok = teach_set(&job, from, err);
    for (size_t i = 0; ok && i < job.n_inputs; i++)
        ok = teach_input(&job, &job.input[i], err);
    if (ok && !job.writer)
        ok = error_set(err, "%s: no records; nothing to teach", from);

    if (ok)
        ok = records_writer_finish(job.writer, err);
    else if (job.writer)
        records_writer_fail(job.writer, options->program, err);
    else
        records_write_failure(output, options->program, err);
    *counts = job.counts;
    return close_all(&job, err) && ok;
}
