/* batch.h: records on their way to the device: packed ids and offsets, labels, teacher logits, and
 * for training the orders in which the gradients of touched embedding rows are summed. Unpadded;
 * room grows with the largest batch seen and is kept.
 *
 *     batch_clear(&b); batch_add(&b, …) …; batch_upload(&b, dev, err); encoder_forward(…, &b, …)
 */
#ifndef MILLET_NN_BATCH_H
#define MILLET_NN_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/shape.h"

/* Touched rows of an embedding table (padding's do not learn: padding_idx of PyTorch): slot r is
 * table row row[r], the sum over tokens order[bound[r]] … order[bound[r+1]-1]. */
struct batch_rows {
    size_t n;               /* slots */
    int32_t *row;           /* host [n], ascending */
    int32_t *order, *bound; /* host [n_tokens], [n + 1] */
    const int32_t *device_row, *device_order, *device_bound;
};

/* The rows that several batches touch together, ascending, without padding's. */
struct batch_shared {
    bool there;
    size_t n_words, n_places;
    int32_t *word, *place; /* host */
    size_t n_tokens;       /* of them, while they are collected */
    size_t room_words, room_places;
};

struct batch {
    size_t n, n_tokens, longest;
    /* host, owned */
    int32_t *id, *place, *offset, *label, *first;
    float *teacher, *target;
    size_t room_tokens, room_places, room_records, room_teacher, room_target;
    size_t n_classes; /* width of a teacher row; 0: none given */
    size_t n_targets; /* width of a row of targets; 0: a record has one label */
    bool for_training;
    bool after_pad; /* positions as FAMILY_AFTER_PAD, else from 0 */
    int32_t pad;    /* padding inside a text: its rows of the tables do not learn */
    /* Not 0: `word` has all so many rows, touched or not, for gradients from elsewhere. */
    size_t word_rows;
    struct batch_rows word, position;
    size_t room_rows;
    struct batch_shared shared; /* where it is there, slots are its rows, touched or not */
    /* device, owned: one block */
    struct device *dev;
    void *block;
    size_t block_bytes;
    /* valid after batch_upload */
    struct seqs seqs;       /* tokens */
    struct seqs first_seqs; /* one row per sequence: the rows of the last layer */
    const int32_t *device_id, *device_place, *device_label;
    const float *device_teacher; /* [n, n_classes] or NULL */
    const float *device_target;  /* [n, n_targets] or NULL: 0 and 1, or -1 where unknown */
};

/* For models of the shape's rule of positions. n_classes > 0: every record comes with teacher
 * logits. for_training: keep labels and the row orders. */
void batch_init(struct batch *batch, struct device *dev, const struct shape *shape,
                size_t n_classes, bool for_training);
void batch_free(struct batch *batch); /* safe on a zeroed struct */

/* May record i, counted from 0, go through a model of this shape? Labels are not looked at. */
bool batch_check_record(const struct shape *shape, const struct record *record, size_t i,
                        struct error *err) MUST_CHECK;

void batch_clear(struct batch *batch);
/* Copies. n_ids > 0; ids checked by the caller. */
bool batch_add(struct batch *batch, const int32_t *id, size_t n_ids, int32_t label,
               const float *teacher, struct error *err) MUST_CHECK;
/* Where n_targets is set: the labels that hold for the record added last, id [n] below
 * n_targets. */
bool batch_add_targets(struct batch *batch, const int32_t *id, size_t n, bool known,
                       struct error *err) MUST_CHECK;
/* Batches whose gradients of rows are to add up have the same slots: told all their texts first,
 * from batch_share_begin() to batch_share_end(), then filled and uploaded one after the other, until
 * batch_share_nothing(). */
void batch_share_begin(struct batch *batch);
bool batch_share(struct batch *batch, const int32_t *id, size_t n_ids,
                 struct error *err) MUST_CHECK;
void batch_share_end(struct batch *batch);
void batch_share_nothing(struct batch *batch);

/* Device memory of batches of so many tokens and records, of which the longest has `longest`
 * tokens, and room for them now. */
struct batch_size {
    size_t tokens, records, longest;
    size_t words; /* rows of the word table at most; of one batch or of those that share their rows;
                   * 0: no more than tokens */
};
/* The largest that these records make, one behind the other, where a batch ends before the record
 * that would pass the budget; `longest`: what a record may have. */
struct batch_size batch_largest(const struct records_set *records, const uint32_t *record, size_t n,
                                size_t batch_tokens, size_t longest);
size_t batch_bytes(const struct batch *batch, const struct batch_size *size,
                   const struct shape *shape);
bool batch_reserve(struct batch *batch, const struct batch_size *size, const struct shape *shape,
                   struct error *err) MUST_CHECK;
/* The most rows of the tables that such a batch touches. */
size_t batch_most_words(const struct batch *batch, const struct batch_size *size,
                        const struct shape *shape);
size_t batch_most_places(const struct batch_size *size, const struct shape *shape);
bool batch_upload(struct batch *batch, struct error *err) MUST_CHECK;

#endif
