/* ngram.h: the n-gram part of a model: a linear classifier on hashed n-grams of characters and
 * words, in microseconds a text. It stands alone ("model_type": "millet-ngram") or beside an
 * encoder, whose logits are added to its own.
 *
 *     feature of a kept bucket   (1 + ln times it occurs) * idf, the vector scaled to length 1
 *     its logits                 bias + W feature
 *     the model's                encoder_gate * the encoder's + ngram_gate * these
 *
 * Weighting: Salton and Buckley 1988 (sublinear tf, idf, cosine); hashing: Weinberger et al. 2009.
 *
 * In the model's files: config.json "millet_ngram": {"buckets", "chars": [min, max], "words",
 * "encoder_gate", "ngram_gate"}; tensors "millet.ngram.weight" [classes, rows] (F32, F16, BF16, or
 * I8 with "millet.ngram.weight_scale" F32 [classes]), "millet.ngram.idf" [rows],
 * "millet.ngram.bias" [classes], and the hash of each row: "millet.ngram.bucket" I32 [rows],
 * ascending, or, where that is smaller, "millet.ngram.kept" U8 [ceil(buckets / 8)]: bit b % 8 of
 * byte b / 8 is 1 where bucket b has a row. Readers of before know the first of these two alone.
 */
#ifndef MILLET_NN_NGRAM_H
#define MILLET_NN_NGRAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"

#define NGRAM_KEY        "millet_ngram" /* in config.json */
#define NGRAM_PREFIX     "millet.ngram."
#define NGRAM_MODEL_TYPE "millet-ngram"

enum { NGRAM_TENSORS = 5 };

/* The part as data; free with ngram_part_free(). */
struct ngram_part {
    struct records_grams grams;
    size_t classes, rows;
    double encoder_gate, ngram_gate;
    int32_t *bucket; /* [rows], owned */
    uint8_t *kept;   /* as in files, owned; NULL: the list is smaller, or ngram_part_pack() to do */
    float *idf;      /* [rows], owned */
    float *bias;     /* [classes], owned */
    void *weight;    /* [classes, rows] of `type`, owned unless `mapped` */
    bool mapped;     /* the model's own bytes, not to be written */
    enum dtype type;
    float *scale;      /* [classes], owned, of I8; else NULL */
    json_t *described; /* owned: how it was fitted (ngram_fit.h), "ngram" of millet.json; or NULL */
};

bool ngram_of_model(const struct model *model); /* has an n-gram part */
bool ngram_alone(const struct model *model);    /* has nothing else */
/* Whether a tensor is one of the part's. */
bool ngram_owns(const char *tensor_name);

/* Take the part out of an open model (not out of its file): tensors and key. */
void ngram_drop(struct model *model);

/* Read and check everything: keys, sizes, order of the buckets, values finite, bytes verified. */
bool ngram_part_read(struct ngram_part *part, const struct model *model,
                     struct error *err) MUST_CHECK;
/* The same for who only looks, while the model is open: the weights are those of its file. */
bool ngram_part_map(struct ngram_part *part, const struct model *model,
                    struct error *err) MUST_CHECK;
void ngram_part_free(struct ngram_part *part); /* safe on a zeroed struct */

/* Once the buckets stand: `kept`, where it takes fewer bytes in a file than they do. */
bool ngram_part_pack(struct ngram_part *part, struct error *err) MUST_CHECK;

/* The part's tensors; names are static, data the part's. Returns how many. */
size_t ngram_part_tensors(const struct ngram_part *part, struct tensor_view tensor[NGRAM_TENSORS]);
/* Set the key of config.json. */
bool ngram_part_configure(const struct ngram_part *part, json_t *config,
                          struct error *err) MUST_CHECK;
/* config.json of a model that is an n-gram part alone. New reference; NULL: failed. */
json_t *ngram_part_config(const struct ngram_part *part, char *const *label, bool multi_label,
                          struct error *err);

/* Row of each kept bucket, and the feature vector of a text. */
struct ngram_index {
    uint32_t buckets;
    int32_t *row;     /* [buckets]: -1: not kept; owned */
    const float *idf; /* [rows], borrowed */
};
bool ngram_index_open(struct ngram_index *index, uint32_t buckets, const int32_t *bucket,
                      size_t rows, const float *idf, struct error *err) MUST_CHECK;
void ngram_index_close(struct ngram_index *index);
/* gram [n]: a record's, ascending, below buckets. At most n features into feature and value, by
 * ascending row; returns how many. */
size_t ngram_features(const struct ngram_index *index, const int32_t *gram, size_t n,
                      int32_t *feature, float *value);

/* A part ready to answer on a device. */
struct ngram;

/* Borrows part and device. */
struct ngram *ngram_open(const struct ngram_part *part, struct device *dev,
                         struct error *err) MUST_CHECK;
void ngram_close(struct ngram *ngram); /* NULL is fine */
/* What that takes of the device's memory. */
size_t ngram_bytes(const struct ngram_part *part, const struct device *dev);

/* What one thread needs to ask; zeroed at first. */
struct ngram_scratch {
    struct device *dev; /* the device or a lane of it */
    int32_t *feature, *offset;
    float *value;
    size_t room_features, room_values, room_offsets;
    void *block; /* on the device */
    size_t block_bytes;
};
void ngram_scratch_free(struct ngram_scratch *scratch);

/* What ngram_run() allocates on the device for n records of so many n-grams in all, at most. */
size_t ngram_run_bytes(const struct ngram_part *part, const struct device *dev, size_t n_grams,
                       size_t n);
/* logits [n, classes] on the host of records whose n-grams are gram[gram_offset[i] …], without the
 * gate. Thread-safe where each thread has its scratch. */
bool ngram_run(const struct ngram *ngram, struct ngram_scratch *scratch, const int32_t *gram,
               const int64_t *gram_offset, size_t n, float *logits, struct error *err) MUST_CHECK;

#endif
