#include "nn/teach.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "io/cache.h"
#include "io/model.h"
#include "io/records.h"
#include "io/source.h"
#include "nn/classifier.h"
#include "nn/ngram_fit.h"
#include "text/grams.h"
#include "text/labels.h"
#include "text/tokenizer.h"

struct teacher {
    struct model model;
    struct classifier *classifier;
    uint64_t fingerprint; /* of weights and config */
    uint64_t tokenizer;
    struct records_grams grams; /* which n-grams it counts; no buckets: none */
    float *out_of_fold; /* [records, n_labels] of its n-gram part; NULL: it answers as it is */
};

struct input {
    struct source *source;
    struct records_reader *reader;
};

/* Records of one call of the classifier without a cache: its lanes wait for each other at the end
 * of each, so fewer is better; progress is told after each. With a cache TEACH_BLOCK, so that a
 * kill loses little. */
enum { BLOCK_UNCACHED = 1024 };

/* Buffers of one part, reused. */
struct part_buffers {
    float *each;         /* [n_models, n, n_labels] */
    float *mean;         /* [n, n_labels] */
    double *sum;         /* [n_labels] */
    struct hash128 *key; /* [n] */
    bool *found;         /* [n] */
    size_t *missing;     /* [n]: records to compute */
    size_t *twin;        /* [n]: an earlier record with the same ids, or itself */
    size_t *slot;        /* [n_slots]: hash table over `missing`; SIZE_MAX is free */
    size_t n_slots;
    int64_t *offset, *gram_offset; /* [block + 1] */
    int32_t *id, *gram;
    size_t id_capacity, gram_capacity;
    float *block; /* [block, n_labels] */
    float *ngram; /* [block, n_labels] out of fold */
    struct hash128 *block_key;
    size_t capacity; /* records */
};

struct job {
    const struct teach_options *options;
    struct teacher *teacher;
    size_t n_teachers; /* opened so far */
    struct input *input;
    size_t n_inputs;        /* opened so far */
    struct records_set set; /* with folds the whole input, and no `input` */
    bool has_set;
    struct cache *cache;
    struct records_header header;
    size_t n_labels, block;
    struct part_buffers buffer;
    struct records_writer *writer;
    struct output *output;
    const struct progress *progress;
    struct teach_counts counts;
};

void teach_mean(const float *logits, size_t n_models, size_t stride, size_t n_labels, double *sum,
                float *mean)
{
    if (n_models == 1) {
        memcpy(mean, logits, n_labels * sizeof *mean);
        return;
    }
    /* p[c] summed as exp(log softmax), each softmax with its own maximum taken out. */
    for (size_t c = 0; c < n_labels; c++)
        sum[c] = 0;
    for (size_t m = 0; m < n_models; m++) {
        const float *row = logits + m * stride;
        double max = (double)row[0], total = 0;
        for (size_t c = 1; c < n_labels; c++)
            max = (double)row[c] > max ? (double)row[c] : max;
        for (size_t c = 0; c < n_labels; c++)
            total += exp((double)row[c] - max);
        for (size_t c = 0; c < n_labels; c++)
            sum[c] += exp((double)row[c] - max) / total;
    }
    /* A probability that underflows in every teacher still needs a finite logarithm. */
    for (size_t c = 0; c < n_labels; c++)
        mean[c] = (float)log(fmax(sum[c] / (double)n_models, 1e-37));
}

void teach_mean_multi_label(const float *logits, size_t n_models, size_t stride, size_t n_labels,
                            float *mean)
{
    for (size_t c = 0; c < n_labels; c++) {
        double yes = 0, no = 0; /* two sums: 1 - p would lose what is left near 1 */
        for (size_t m = 0; m < n_models; m++) {
            yes += 1 / (1 + exp(-(double)logits[m * stride + c]));
            no += 1 / (1 + exp((double)logits[m * stride + c]));
        }
        mean[c] = n_models == 1 ? logits[c] : (float)(log(fmax(yes, 1e-37)) - log(fmax(no, 1e-37)));
    }
}

/* ---- opening ---- */

static bool open_teacher(struct job *job, const char *path, struct device *dev,
                         struct threads *team, struct error *err)
{
    struct teacher *teacher = &job->teacher[job->n_teachers];
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

static bool open_input(struct job *job, const char *path, struct error *err)
{
    struct input *input = &job->input[job->n_inputs];
    input->source = source_open(path, false, err);
    if (!input->source)
        return false;
    job->n_inputs++;
    input->reader = records_reader_open(input->source, err);
    return input->reader != NULL;
}

/* Every input's tokenizer and labels are every teacher's, its n-grams those of the first input,
 * which go into one header. */
static bool check_header(const struct job *job, const struct records_header *header,
                         const char *from, struct error *err)
{
    for (size_t i = 0; i < job->n_teachers; i++) {
        const struct teacher *teacher = &job->teacher[i];
        if (!records_check_model(header, from, teacher->tokenizer, teacher->model.label,
                                 teacher->model.n_labels, teacher->model.name, err) ||
            !records_check_kind(header, from, teacher->model.problem == MODEL_MULTI_LABEL,
                                teacher->model.name, err) ||
            !records_check_grams(header, from, &teacher->grams, teacher->model.name, err))
            return false;
    }
    return true;
}

static bool check_input(const struct job *job, const struct input *input, struct error *err)
{
    const struct records_header *header = records_reader_header(input->reader);
    return records_header_agree_grams(records_reader_header(job->input[0].reader),
                                      source_name(job->input[0].source), header,
                                      source_name(input->source), err) &&
           check_header(job, header, source_name(input->source), err);
}

static bool check_teachers(const struct job *job, struct error *err)
{
    for (size_t i = 0; i < job->n_teachers; i++) {
        const struct teacher *teacher = &job->teacher[i], *first = &job->teacher[0];
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
static bool make_header(struct job *job, struct error *err)
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
static bool open_set(struct job *job, const char *const *path, size_t n_paths, struct error *err)
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
static bool answer_out_of_fold(struct job *job, struct device *dev, struct threads *team,
                               struct error *err)
{
    size_t n;
    for (size_t t = 0; t < job->n_teachers; t++) {
        struct teacher *teacher = &job->teacher[t];
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

static bool add_fingerprints(struct job *job, json_t *stage, struct error *err)
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

static bool open_all(struct job *job, const char *const *path, size_t n_paths, struct device *dev,
                     struct threads *team, struct error *err)
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

/* ---- one part ---- */

static void buffers_free(struct part_buffers *b)
{
    free(b->each);
    free(b->mean);
    free(b->sum);
    free(b->key);
    free(b->found);
    free(b->missing);
    free(b->twin);
    free(b->slot);
    free(b->offset);
    free(b->gram_offset);
    free(b->id);
    free(b->gram);
    free(b->block);
    free(b->ngram);
    free(b->block_key);
    *b = (struct part_buffers){.n_slots = 0};
}

/* Room for a part of n records. */
static bool buffers_reserve(struct job *job, size_t n, struct error *err)
{
    struct part_buffers *b = &job->buffer;
    size_t values, all;
    if (n <= b->capacity && b->mean)
        return true;
    buffers_free(b);
    if (!memory_multiply(n, job->n_labels, &values) ||
        !memory_multiply(values, job->n_teachers, &all))
        return error_set(err, "a part of %zu records is too large; make the stream again with mtok",
                         n);
    for (b->n_slots = 16; b->n_slots < 2 * n; b->n_slots *= 2)
        ;
    b->each = memory_array(all, sizeof *b->each, err);
    b->mean = memory_array(values, sizeof *b->mean, err);
    b->sum = memory_array(job->n_labels, sizeof *b->sum, err);
    b->key = memory_array(n, sizeof *b->key, err);
    b->found = memory_array(n, sizeof *b->found, err);
    b->missing = memory_array(n, sizeof *b->missing, err);
    b->twin = memory_array(n, sizeof *b->twin, err);
    b->slot = memory_array(b->n_slots, sizeof *b->slot, err);
    b->offset = memory_array(job->block + 1, sizeof *b->offset, err);
    b->gram_offset = memory_array(job->block + 1, sizeof *b->gram_offset, err);
    b->block = memory_array(job->block * job->n_labels, sizeof *b->block, err);
    b->ngram = memory_array(job->block * job->n_labels, sizeof *b->ngram, err);
    b->block_key = memory_array(job->block, sizeof *b->block_key, err);
    b->capacity = n;
    return b->each && b->mean && b->sum && b->key && b->found && b->missing && b->twin && b->slot &&
           b->offset && b->gram_offset && b->block && b->ngram && b->block_key;
}

/* Records that a teacher cannot take, by their number in the input: blocks would hide it. */
static bool check_records(const struct job *job, const char *from, const struct records_part *part,
                          uint64_t before, struct error *err)
{
    for (size_t t = 0; t < job->n_teachers; t++) {
        const struct shape *shape = classifier_shape(job->teacher[t].classifier);
        const char *name = job->teacher[t].model.name;
        for (size_t i = 0; shape && i < part->n; i++) {
            uint64_t record = before + i + 1;
            int64_t begin = part->offset[i], end = part->offset[i + 1];
            if (begin == end)
                return error_set(
                    err, "%s: record %" PRIu64 " has no tokens; make the stream again with mtok",
                    from, record);
            if ((uint64_t)(end - begin) > shape->positions)
                return error_set(err,
                                 "%s: record %" PRIu64 " has %" PRId64
                                 " tokens; %s takes at most %zu "
                                 "(mtok --max-tokens)",
                                 from, record, end - begin, name, shape->positions);
            for (int64_t k = begin; k < end; k++)
                if ((size_t)part->id[k] >= shape->vocab)
                    return error_set(err,
                                     "%s: record %" PRIu64 ": token id %" PRId32
                                     " is outside the vocabulary of %s (%zu)",
                                     from, record, part->id[k], name, shape->vocab);
        }
    }
    return true;
}

/* Which records must be computed: those not found, each content once. */
static size_t collect_missing(struct part_buffers *b, size_t n)
{
    size_t n_missing = 0, mask = b->n_slots - 1;
    memset(b->slot, 0xFF, b->n_slots * sizeof *b->slot);
    for (size_t i = 0; i < n; i++) {
        b->twin[i] = i;
        if (b->found[i])
            continue;
        size_t at = (size_t)b->key[i].low & mask;
        while (b->slot[at] != SIZE_MAX) {
            const struct hash128 *other = &b->key[b->slot[at]];
            if (other->low == b->key[i].low && other->high == b->key[i].high)
                break;
            at = (at + 1) & mask;
        }
        if (b->slot[at] == SIZE_MAX) {
            b->slot[at] = i;
            b->missing[n_missing++] = i;
        }
        b->twin[i] = b->slot[at];
    }
    return n_missing;
}

/* Runs `missing` of a packed array, one after another. */
static bool gather(const int32_t *from, const int64_t *offset, const size_t *missing, size_t n,
                   int32_t **to, size_t *capacity, int64_t *to_offset, struct error *err)
{
    size_t all = 0;
    for (size_t i = 0; i < n; i++)
        all += (size_t)(offset[missing[i] + 1] - offset[missing[i]]);
    if (!memory_grow(to, capacity, all + 1, sizeof **to, err)) /* NULL would mean: none */
        return false;
    to_offset[0] = 0;
    for (size_t i = 0; i < n; i++) {
        int64_t begin = offset[missing[i]], count = offset[missing[i] + 1] - begin;
        memcpy(*to + to_offset[i], from + begin, (size_t)count * sizeof **to);
        to_offset[i + 1] = to_offset[i] + count;
    }
    return true;
}

static bool cached(const struct job *job, const struct teacher *teacher)
{
    return job->cache && !teacher->out_of_fold;
}

/* Compute records missing[0 … n-1] (at most a block), store them, and put their logits where they
 * belong. */
static bool compute_block(struct job *job, struct teacher *teacher, const struct records_part *part,
                          uint64_t before, const size_t *missing, size_t n, float *logits,
                          struct error *err)
{
    struct part_buffers *b = &job->buffer;
    bool grams = teacher->grams.buckets > 0;
    if (!gather(part->id, part->offset, missing, n, &b->id, &b->id_capacity, b->offset, err) ||
        (grams && !gather(part->gram, part->gram_offset, missing, n, &b->gram, &b->gram_capacity,
                          b->gram_offset, err)))
        return false;
    for (size_t i = 0; cached(job, teacher) && i < n; i++)
        b->block_key[i] = b->key[missing[i]];
    for (size_t i = 0; teacher->out_of_fold && i < n; i++)
        memcpy(b->ngram + i * job->n_labels,
               teacher->out_of_fold + ((size_t)before + missing[i]) * job->n_labels,
               job->n_labels * sizeof *b->ngram);
    const struct classifier_texts texts = {.offset = b->offset,
                                           .id = b->id,
                                           .gram_offset = b->gram_offset,
                                           .gram = grams ? b->gram : NULL,
                                           .ngram = teacher->out_of_fold ? b->ngram : NULL};
    if (!classifier_answer(teacher->classifier, &texts, n, b->block, err))
        return error_at(err, "%s: ", teacher->model.name);
    if (cached(job, teacher) &&
        !cache_put_many(job->cache, b->block_key, n, job->n_labels, b->block, NULL, err))
        return false;
    for (size_t i = 0; i < n; i++)
        memcpy(logits + missing[i] * job->n_labels, b->block + i * job->n_labels,
               job->n_labels * sizeof *logits);
    job->counts.computed += n;
    return true;
}

/* A record's key: all that the teacher sees of it. */
static struct hash128 record_key(const struct teacher *teacher, const struct records_part *part,
                                 size_t i)
{
    struct hash128 key = cache_key(teacher->fingerprint, part->id + part->offset[i],
                                   (size_t)(part->offset[i + 1] - part->offset[i]));
    if (!teacher->grams.buckets)
        return key;
    return cache_key_grams(key, part->gram + part->gram_offset[i],
                           (size_t)(part->gram_offset[i + 1] - part->gram_offset[i]));
}

/* One teacher's logits [n, n_labels] of a part: from the cache, the rest computed. */
static bool ask_teacher(struct job *job, struct teacher *teacher, const struct records_part *part,
                        uint64_t before, float *logits, struct error *err)
{
    struct part_buffers *b = &job->buffer;
    size_t n_missing = part->n;
    if (cached(job, teacher)) {
        for (size_t i = 0; i < part->n; i++)
            b->key[i] = record_key(teacher, part, i);
        if (!cache_get_many(job->cache, b->key, part->n, job->n_labels, logits, b->found, err))
            return false;
        n_missing = collect_missing(b, part->n);
    } else {
        for (size_t i = 0; i < part->n; i++)
            b->missing[i] = b->twin[i] = i;
    }
    for (size_t i = 0; i < n_missing; i += job->block) {
        size_t n = n_missing - i < job->block ? n_missing - i : job->block;
        if (!compute_block(job, teacher, part, before, b->missing + i, n, logits, err))
            return false;
        struct progress_event event = {.stage = "teach", .unit = "records", .loss = NAN};
        event.done = (job->counts.computed + job->counts.cached) / job->n_teachers;
        progress_report(job->progress, &event);
    }
    for (size_t i = 0; i < part->n; i++)
        if (b->twin[i] != i)
            memcpy(logits + i * job->n_labels, logits + b->twin[i] * job->n_labels,
                   job->n_labels * sizeof *logits);
    job->counts.cached += part->n - n_missing;
    return true;
}

/* stream.json names the fields, which the first part shows. */
static bool open_writer(struct job *job, const struct records_part *part, struct error *err)
{
    size_t n = 0;
    const char **field = memory_array(part->st.n_tensors + 1, sizeof *field, err);
    if (!field)
        return false;
    for (size_t i = 0; i < part->st.n_tensors; i++)
        if (strcmp(part->st.tensor[i].name, "logits") != 0)
            field[n++] = part->st.tensor[i].name;
    field[n++] = "logits";
    json_t *stage = json_incref(job->options->stage);
    job->writer = records_writer_open(job->output, &job->header, field, n, stage, err);
    free(field);
    return job->writer != NULL;
}

static bool teach_part(struct job *job, const char *from, const struct records_part *part,
                       uint64_t before, struct error *err)
{
    if (!job->writer && !open_writer(job, part, err))
        return false;
    if (!check_records(job, from, part, before, err) || !buffers_reserve(job, part->n, err))
        return false;
    struct part_buffers *b = &job->buffer;
    size_t stride = part->n * job->n_labels;
    for (size_t t = 0; t < job->n_teachers; t++)
        if (!ask_teacher(job, &job->teacher[t], part, before, b->each + t * stride, err))
            return false;
    for (size_t i = 0; i < part->n; i++)
        if (job->header.separator)
            teach_mean_multi_label(b->each + i * job->n_labels, job->n_teachers, stride,
                                   job->n_labels, b->mean + i * job->n_labels);
        else
            teach_mean(b->each + i * job->n_labels, job->n_teachers, stride, job->n_labels, b->sum,
                       b->mean + i * job->n_labels);
    job->counts.records += part->n;
    struct tensor_view logits =
        tensor_view_2d("logits", DTYPE_F32, part->n, job->n_labels, b->mean);
    return records_write_part(job->writer, part, &logits, 1, err);
}

static bool teach_input(struct job *job, const struct input *input, struct error *err)
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

static bool teach_set(struct job *job, const char *from, struct error *err)
{
    bool ok = true;
    for (size_t p = 0; ok && p < job->set.n_parts; p++)
        ok = teach_part(job, from, &job->set.part[p], job->set.first[p], err);
    return ok;
}

/* ---- the whole ---- */

static bool close_all(struct job *job, struct error *err)
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
    buffers_free(&job->buffer);
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
    struct job job = {.options = options,
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
