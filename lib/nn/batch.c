/* batch.c: packing of records, and the one upload that takes a batch to the device. */
#include "nn/batch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { ALIGN = 64 };

void batch_init(struct batch *batch, struct device *dev, const struct shape *shape,
                size_t n_classes, bool for_training)
{
    *batch = (struct batch){.dev = dev,
                            .n_classes = n_classes,
                            .for_training = for_training,
                            .after_pad = shape->family->positions == FAMILY_AFTER_PAD,
                            .pad = shape->pad};
}

static void rows_free(struct batch_rows *rows)
{
    free(rows->row);
    free(rows->order);
    free(rows->bound);
}

void batch_free(struct batch *batch)
{
    if (batch->block)
        batch->dev->op->free(batch->dev, batch->block);
    free(batch->id);
    free(batch->place);
    free(batch->offset);
    free(batch->label);
    free(batch->first);
    free(batch->teacher);
    free(batch->target);
    rows_free(&batch->word);
    rows_free(&batch->position);
    free(batch->shared.word);
    free(batch->shared.place);
    *batch = (struct batch){0};
}

bool batch_check_record(const struct shape *shape, const struct record *record, size_t i,
                        struct error *err)
{
    if (record->n_ids == 0 || record->n_ids > shape_max_tokens(shape))
        return error_set(
            err, "record %zu has %zu tokens, the model takes 1 to %zu; use mtok --max-tokens",
            i + 1, record->n_ids, shape_max_tokens(shape));
    for (size_t t = 0; t < record->n_ids; t++)
        if (record->id[t] < 0 || (size_t)record->id[t] >= shape->vocab)
            return error_set(err, "record %zu: id %" PRId32 " is outside the vocabulary of %zu",
                             i + 1, record->id[t], shape->vocab);
    return true;
}

void batch_clear(struct batch *batch)
{
    batch->n = batch->n_tokens = batch->longest = 0;
    batch->word.n = batch->position.n = 0;
}

/* Room for n_records + 1 entries in each per-record array. */
static bool grow_records(struct batch *batch, size_t n_records, struct error *err)
{
    size_t need = n_records + 1, room = 0;
    if (need <= batch->room_records)
        return true;
    int32_t **array[] = {&batch->offset, &batch->label, &batch->first};
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++) {
        room = batch->room_records;
        if (!memory_grow(array[i], &room, need, sizeof(int32_t), err))
            return false;
    }
    batch->room_records = room;
    return true;
}

/* The row of the position table of each token of one text. */
static void set_places(const struct batch *batch, const int32_t *id, size_t n, int32_t *place)
{
    int32_t next = batch->after_pad ? batch->pad + 1 : 0;
    for (size_t t = 0; t < n; t++)
        place[t] = batch->after_pad && id[t] == batch->pad ? batch->pad : next++;
}

bool batch_add(struct batch *batch, const int32_t *id, size_t n_ids, int32_t label,
               const float *teacher, struct error *err)
{
    if (n_ids > (size_t)INT32_MAX - batch->n_tokens)
        return error_set(err, "a batch of more than %d tokens", INT32_MAX);
    if (!grow_records(batch, batch->n + 1, err) ||
        !memory_grow(&batch->id, &batch->room_tokens, batch->n_tokens + n_ids, sizeof *batch->id,
                     err) ||
        !memory_grow(&batch->place, &batch->room_places, batch->n_tokens + n_ids,
                     sizeof *batch->place, err))
        return false;
    if (batch->n_classes) {
        size_t have = batch->n * batch->n_classes;
        if (!memory_grow(&batch->teacher, &batch->room_teacher, have + batch->n_classes,
                         sizeof *batch->teacher, err))
            return false;
        memcpy(batch->teacher + have, teacher, batch->n_classes * sizeof *teacher);
    }
    memcpy(batch->id + batch->n_tokens, id, n_ids * sizeof *id);
    set_places(batch, id, n_ids, batch->place + batch->n_tokens);
    batch->offset[batch->n] = (int32_t)batch->n_tokens;
    batch->first[batch->n] = (int32_t)batch->n;
    batch->label[batch->n] = label;
    batch->n++;
    batch->n_tokens += n_ids;
    batch->offset[batch->n] = (int32_t)batch->n_tokens;
    batch->first[batch->n] = (int32_t)batch->n;
    batch->longest = n_ids > batch->longest ? n_ids : batch->longest;
    return true;
}

bool batch_add_targets(struct batch *batch, const int32_t *id, size_t n, bool known,
                       struct error *err)
{
    size_t width = batch->n_targets, first = (batch->n - 1) * width;
    if (!memory_grow(&batch->target, &batch->room_target, first + width, sizeof *batch->target,
                     err))
        return false;
    for (size_t c = 0; c < width; c++)
        batch->target[first + c] = known ? 0 : -1;
    for (size_t i = 0; known && i < n; i++)
        batch->target[first + (size_t)id[i]] = 1;
    return true;
}

/* ---- rows of several batches ---- */

void batch_share_nothing(struct batch *batch)
{
    batch->shared.there = false;
}

void batch_share_begin(struct batch *batch)
{
    batch->shared.there = false;
    batch->shared.n_tokens = 0;
}

bool batch_share(struct batch *batch, const int32_t *id, size_t n_ids, struct error *err)
{
    struct batch_shared *s = &batch->shared;
    size_t n = s->n_tokens + n_ids;
    if (!memory_grow(&s->word, &s->room_words, n, sizeof *s->word, err) ||
        !memory_grow(&s->place, &s->room_places, n, sizeof *s->place, err))
        return false;
    memcpy(s->word + s->n_tokens, id, n_ids * sizeof *id);
    set_places(batch, id, n_ids, s->place + s->n_tokens);
    s->n_tokens = n;
    return true;
}

static int compare_rows(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Ascending, each once, without `skip`. Returns how many. */
static size_t distinct(int32_t *row, size_t n, int64_t skip)
{
    size_t kept = 0;
    qsort(row, n, sizeof *row, compare_rows);
    for (size_t i = 0; i < n; i++)
        if (row[i] != skip && (kept == 0 || row[i] != row[kept - 1]))
            row[kept++] = row[i];
    return kept;
}

/* Which rows learn: not those of padding. */
static int64_t skipped_place(const struct batch *batch)
{
    return batch->after_pad ? batch->pad : -1;
}

void batch_share_end(struct batch *batch)
{
    struct batch_shared *s = &batch->shared;
    s->n_words = distinct(s->word, s->n_tokens, batch->pad);
    s->n_places = distinct(s->place, s->n_tokens, skipped_place(batch));
    s->there = true;
}

/* ---- orders of the embedding gradients ---- */

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool grow_rows(struct batch *batch, size_t n_tokens, struct error *err)
{
    if (n_tokens + 1 <= batch->room_rows)
        return true;
    size_t room = 0;
    int32_t **array[] = {&batch->word.row,     &batch->word.order,     &batch->word.bound,
                         &batch->position.row, &batch->position.order, &batch->position.bound};
    for (size_t i = 0; i < sizeof array / sizeof array[0]; i++) {
        room = batch->room_rows;
        if (!memory_grow(array[i], &room, n_tokens + 1, sizeof(int32_t), err))
            return false;
    }
    batch->room_rows = room;
    return true;
}

/* Keys of the tokens whose row is not `skip` (padding's rows do not learn: padding_idx of PyTorch).
 * Returns how many. */
static size_t row_keys(const int32_t *row, size_t n, int64_t skip, uint64_t *key)
{
    size_t kept = 0;
    for (size_t t = 0; t < n; t++)
        if (row[t] != skip)
            key[kept++] = (uint64_t)row[t] << 32 | t;
    return kept;
}

/* key[t] = row << 32 | token: one sort gives rows ascending and, within a row, tokens ascending, so
 * the order of summation is fixed. */
static void order_rows(uint64_t *key, size_t n, struct batch_rows *rows)
{
    qsort(key, n, sizeof *key, compare_keys);
    rows->n = 0;
    for (size_t t = 0; t < n; t++) {
        int32_t row = (int32_t)(key[t] >> 32);
        rows->order[t] = (int32_t)(key[t] & 0xffffffff);
        if (t == 0 || row != rows->row[rows->n - 1]) {
            rows->row[rows->n] = row;
            rows->bound[rows->n++] = (int32_t)t;
        }
    }
    rows->bound[rows->n] = (int32_t)n;
}

/* The rows of `row` [all], ascending, in place of some of them; NULL: 0 … all-1. The others are of
 * no tokens. Backwards: a row moves behind where it was, or stays. */
static void spread_rows(const int32_t *row, size_t all, struct batch_rows *rows)
{
    int32_t begin = rows->bound[rows->n];
    size_t left = rows->n;
    rows->bound[all] = begin;
    for (size_t r = all; r-- > 0;) {
        int32_t of = row ? row[r] : (int32_t)r;
        if (left && rows->row[left - 1] == of)
            begin = rows->bound[--left];
        rows->row[r] = of;
        rows->bound[r] = begin;
    }
    rows->n = all;
}

static bool build_rows(struct batch *batch, struct error *err)
{
    const struct batch_shared *shared = &batch->shared;
    size_t n = batch->n_tokens, room = batch->word_rows > n ? batch->word_rows : n;
    uint64_t *key = memory_array(n, sizeof *key, err);
    room = shared->there && shared->n_tokens > room ? shared->n_tokens : room;
    if (!key || !grow_rows(batch, room, err)) {
        free(key);
        return false;
    }
    order_rows(key, row_keys(batch->id, n, batch->pad, key), &batch->word);
    if (batch->word_rows)
        spread_rows(NULL, batch->word_rows, &batch->word);
    else if (shared->there)
        spread_rows(shared->word, shared->n_words, &batch->word);
    order_rows(key, row_keys(batch->place, n, skipped_place(batch), key), &batch->position);
    if (shared->there)
        spread_rows(shared->place, shared->n_places, &batch->position);
    free(key);
    return true;
}

/* ---- upload ---- */

/* One piece of the device block: where it comes from, and which pointer shall point at it. */
struct piece {
    const void *from;
    size_t bytes;
    const void **to;
};

static size_t padded(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static bool make_room(struct batch *batch, size_t bytes, struct error *err)
{
    struct device *dev = batch->dev;
    if (batch->block)
        dev->op->free(dev, batch->block);
    batch->block_bytes = 0;
    batch->block = dev->op->alloc(dev, bytes, err);
    batch->block_bytes = batch->block ? bytes : 0;
    return batch->block != NULL;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

struct batch_size batch_largest(const struct records_set *records, const uint32_t *record, size_t n,
                                size_t batch_tokens, size_t longest)
{
    struct batch_size most = {0};
    for (size_t i = 0, tokens = 0, in_batch = 0; i < n; i++) {
        size_t length = least(records_get(records, record[i]).n_ids, longest);
        if (in_batch && tokens + length > batch_tokens)
            tokens = in_batch = 0;
        tokens += length;
        most.tokens = larger(most.tokens, tokens);
        most.records = larger(most.records, ++in_batch);
        most.longest = larger(most.longest, length);
    }
    return most;
}

size_t batch_most_words(const struct batch *batch, const struct batch_size *size,
                        const struct shape *shape)
{
    return batch->word_rows ? batch->word_rows
                            : least(size->words ? size->words : size->tokens, shape->vocab);
}

size_t batch_most_places(const struct batch_size *size, const struct shape *shape)
{
    return least(size->longest, shape->positions);
}

/* The sizes are those of the pieces of batch_upload(). */
size_t batch_bytes(const struct batch *batch, const struct batch_size *size,
                   const struct shape *shape)
{
    const size_t word = sizeof(int32_t), n = size->records, t = size->tokens;
    size_t bytes = 2 * padded(t * word) + 2 * padded((n + 1) * word) + padded(n * word) +
                   padded(n * batch->n_classes * sizeof(float)) +
                   padded(n * batch->n_targets * sizeof(float));
    if (n == 0 || !batch->for_training)
        return n == 0 ? 0 : bytes;
    size_t rows[] = {batch_most_words(batch, size, shape), batch_most_places(size, shape)};
    for (size_t i = 0; i < 2; i++)
        bytes += padded(rows[i] * word) + padded(t * word) + padded((rows[i] + 1) * word);
    return bytes;
}

bool batch_reserve(struct batch *batch, const struct batch_size *size, const struct shape *shape,
                   struct error *err)
{
    size_t bytes = batch_bytes(batch, size, shape);
    return bytes <= batch->block_bytes || make_room(batch, bytes, err);
}

static bool upload_pieces(struct batch *batch, const struct piece *piece, size_t n,
                          struct error *err)
{
    struct device *dev = batch->dev;
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += padded(piece[i].bytes);
    if (total > batch->block_bytes && !make_room(batch, total + total / 4, err))
        return false;
    char *at = batch->block;
    for (size_t i = 0; i < n; i++) {
        *piece[i].to = at;
        if (piece[i].bytes)
            dev->op->upload(dev, at, piece[i].from, piece[i].bytes);
        at += padded(piece[i].bytes);
    }
    return true;
}

bool batch_upload(struct batch *batch, struct error *err)
{
    enum { WORD = sizeof(int32_t) };
    if (batch->n == 0)
        return error_set(err, "an empty batch");
    if (batch->for_training && !build_rows(batch, err))
        return false;
    size_t n = batch->n, t = batch->n_tokens;
    size_t words = batch->for_training ? batch->word.n : 0;
    size_t positions = batch->for_training ? batch->position.n : 0;
    const void *id, *place, *offset, *first, *label, *teacher, *target, *row[2], *order[2],
        *bound[2];
    const struct piece piece[] = {
        {batch->id, t * WORD, &id},
        {batch->place, t * WORD, &place},
        {batch->offset, (n + 1) * WORD, &offset},
        {batch->first, (n + 1) * WORD, &first},
        {batch->label, n * WORD, &label},
        {batch->teacher, n * batch->n_classes * sizeof(float), &teacher},
        {batch->target, n * batch->n_targets * sizeof(float), &target},
        {batch->word.row, words * WORD, &row[0]},
        {batch->word.order, (words ? (size_t)batch->word.bound[words] : 0) * WORD, &order[0]},
        {batch->word.bound, (words ? words + 1 : 0) * WORD, &bound[0]},
        {batch->position.row, positions * WORD, &row[1]},
        {batch->position.order, (positions ? (size_t)batch->position.bound[positions] : 0) * WORD,
         &order[1]},
        {batch->position.bound, (positions ? positions + 1 : 0) * WORD, &bound[1]},
    };
    if (!upload_pieces(batch, piece, sizeof piece / sizeof piece[0], err))
        return false;
    batch->device_id = id;
    batch->device_place = place;
    batch->device_label = label;
    batch->device_teacher = batch->n_classes ? teacher : NULL;
    batch->device_target = batch->n_targets ? target : NULL;
    batch->seqs = (struct seqs){.n = n, .n_tokens = t, .longest = batch->longest, .offset = offset};
    batch->first_seqs = (struct seqs){.n = n, .n_tokens = n, .longest = 1, .offset = first};
    struct batch_rows *rows[] = {&batch->word, &batch->position};
    for (size_t i = 0; i < 2; i++) {
        rows[i]->device_row = row[i];
        rows[i]->device_order = order[i];
        rows[i]->device_bound = bound[i];
    }
    return true;
}
