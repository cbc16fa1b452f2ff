/* teach_part.c: one part of a stream through the teachers: what the cache knows is looked up, the
 * rest computed in blocks, each content once, and the answers of several are averaged. */
#include "nn/teach_state.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

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

void teach_part_free(struct teach_buffers *b)
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
    *b = (struct teach_buffers){.n_slots = 0};
}

/* Room for a part of n records. */
static bool buffers_reserve(struct teach_job *job, size_t n, struct error *err)
{
    struct teach_buffers *b = &job->buffer;
    size_t values, all;
    if (n <= b->capacity && b->mean)
        return true;
    teach_part_free(b);
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
static bool check_records(const struct teach_job *job, const char *from,
                          const struct records_part *part, uint64_t before, struct error *err)
{
    for (size_t t = 0; t < job->n_teachers; t++) {
        const struct shape *shape = classifier_shape(job->teacher[t].classifier);
        const char *name = job->teacher[t].model.name;
        size_t most = shape ? shape_max_tokens(shape) : 0;
        for (size_t i = 0; shape && i < part->n; i++) {
            uint64_t record = before + i + 1;
            int64_t begin = part->offset[i], end = part->offset[i + 1];
            if (begin == end)
                return error_set(
                    err, "%s: record %" PRIu64 " has no tokens; make the stream again with mtok",
                    from, record);
            if ((uint64_t)(end - begin) > most)
                return error_set(err,
                                 "%s: record %" PRIu64 " has %" PRId64
                                 " tokens; %s takes at most %zu "
                                 "(mtok --max-tokens)",
                                 from, record, end - begin, name, most);
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
static size_t collect_missing(struct teach_buffers *b, size_t n)
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

static bool cached(const struct teach_job *job, const struct teach_teacher *teacher)
{
    return job->cache && !teacher->out_of_fold;
}

/* Compute records missing[0 … n-1] (at most a block), store them, and put their logits where they
 * belong. */
static bool compute_block(struct teach_job *job, struct teach_teacher *teacher,
                          const struct records_part *part, uint64_t before, const size_t *missing,
                          size_t n, float *logits, struct error *err)
{
    struct teach_buffers *b = &job->buffer;
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
static struct hash128 record_key(const struct teach_teacher *teacher,
                                 const struct records_part *part, size_t i)
{
    struct hash128 key = cache_key(teacher->fingerprint, part->id + part->offset[i],
                                   (size_t)(part->offset[i + 1] - part->offset[i]));
    if (!teacher->grams.buckets)
        return key;
    return cache_key_grams(key, part->gram + part->gram_offset[i],
                           (size_t)(part->gram_offset[i + 1] - part->gram_offset[i]));
}

/* One teacher's logits [n, n_labels] of a part: from the cache, the rest computed. */
static bool ask_teacher(struct teach_job *job, struct teach_teacher *teacher,
                        const struct records_part *part, uint64_t before, float *logits,
                        struct error *err)
{
    struct teach_buffers *b = &job->buffer;
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
static bool open_writer(struct teach_job *job, const struct records_part *part, struct error *err)
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

bool teach_part(struct teach_job *job, const char *from, const struct records_part *part,
                uint64_t before, struct error *err)
{
    if (!job->writer && !open_writer(job, part, err))
        return false;
    if (!check_records(job, from, part, before, err) || !buffers_reserve(job, part->n, err))
        return false;
    struct teach_buffers *b = &job->buffer;
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
