/* teach_state.h: what teach.c opens and teach_part.c works with. Private to teach*.c. */
#ifndef MILLET_NN_TEACH_STATE_H
#define MILLET_NN_TEACH_STATE_H

#include "core/hash.h"
#include "io/cache.h"
#include "io/model.h"
#include "io/records.h"
#include "io/source.h"
#include "nn/classifier.h"
#include "nn/teach.h"

struct teach_input {
    struct source *source;
    struct records_reader *reader;
};

struct teach_teacher {
    struct model model;
    struct classifier *classifier;
    uint64_t fingerprint; /* of weights and config */
    uint64_t tokenizer;
    struct records_grams grams; /* which n-grams it counts; no buckets: none */
    float *out_of_fold; /* [records, n_labels] of its n-gram part; NULL: it answers as it is */
};

/* Buffers of one part, reused. */
struct teach_buffers {
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

struct teach_job {
    const struct teach_options *options;
    struct teach_teacher *teacher;
    size_t n_teachers; /* opened so far */
    struct teach_input *input;
    size_t n_inputs;        /* opened so far */
    struct records_set set; /* with folds the whole input, and no `input` */
    bool has_set;
    struct cache *cache;
    struct records_header header;
    size_t n_labels, block;
    struct teach_buffers buffer;
    struct records_writer *writer;
    struct output *output;
    const struct progress *progress;
    struct teach_counts counts;
};

/* One part of the input, its records numbered from `before` on, into the output with the teachers'
 * logits; the first part opens the output's stream. from: the input's name. */
bool teach_part(struct teach_job *job, const char *from, const struct records_part *part,
                uint64_t before, struct error *err) MUST_CHECK;
void teach_part_free(struct teach_buffers *buffers); /* safe on zeroed ones */

#endif
