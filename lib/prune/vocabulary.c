/* vocabulary.c: see vocabulary.h. */
#include "prune/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/records.h"
#include "io/source.h"

/* Keys of config.json that hold an id. Lists of ids there are (eos_token_id of generators), but not
 * for encoders. */
static const char *const id_key[] = {"pad_token_id",  "bos_token_id",          "eos_token_id",
                                     "sep_token_id",  "cls_token_id",          "unk_token_id",
                                     "mask_token_id", "decoder_start_token_id"};
enum { N_ID_KEYS = sizeof id_key / sizeof *id_key };

/* Counts by id, grown as ids come. */
struct counts {
    uint64_t *count;
    size_t n_rows; /* of the word table: what an id is below */
    size_t n, capacity;
    uint64_t tokenizer;
    const char *name; /* of a stream, for messages; NULL: none was read */
};

static bool count_part(struct counts *counts, const struct records_part *part, const char *path,
                       struct error *err)
{
    for (size_t i = 0; i < part->n_tokens; i++) {
        size_t id = (size_t)part->id[i];
        if (id >= counts->n_rows)
            return error_set(err,
                             "%s: has the id %zu, but the model's words are numbered below %zu; "
                             "make the stream with mtok -m and this model",
                             path, id, counts->n_rows);
        if (id >= counts->n) {
            if (!memory_grow(&counts->count, &counts->capacity, id + 1, sizeof *counts->count, err))
                return false;
            memset(counts->count + counts->n, 0,
                   (counts->capacity - counts->n) * sizeof *counts->count);
            counts->n = counts->capacity;
        }
        counts->count[id]++;
    }
    return true;
}

static bool count_stream(struct counts *counts, const char *path, struct error *err)
{
    struct source *source = source_open(path, false, err);
    struct records_reader *reader = source ? records_reader_open(source, err) : NULL;
    struct records_part part;
    int more = -1;
    bool ok = reader != NULL;
    while (ok && (more = records_next(reader, &part, err)) > 0) {
        ok = count_part(counts, &part, path, err);
        records_part_free(&part);
    }
    ok = ok && more == 0;
    if (ok) {
        uint64_t tokenizer = records_reader_header(reader)->tokenizer;
        if (counts->name && tokenizer != counts->tokenizer)
            ok = error_set(err,
                           "%s and %s are of different tokenizers; take streams of one, the "
                           "model's",
                           counts->name, path);
        counts->tokenizer = tokenizer;
        counts->name = path;
    }
    records_reader_close(reader);
    source_close(source);
    return ok;
}

/* Ids that config.json names; and, where rows of positions are counted from the padding's id, all
 * below that, so that it stays where it is. */
static bool list_musts(const struct model *model, const struct shape *shape, int32_t **must,
                       size_t *n, struct error *err)
{
    size_t below = shape->pad < 0                                 ? 0
                   : shape->family->positions == FAMILY_AFTER_PAD ? (size_t)shape->pad + 1
                                                                  : 0;
    *n = 0;
    if (!(*must = memory_array(below + 1 + N_ID_KEYS, sizeof **must, err)))
        return false;
    for (size_t id = 0; id < below; id++)
        (*must)[(*n)++] = (int32_t)id;
    if (shape->pad >= 0)
        (*must)[(*n)++] = shape->pad;
    for (size_t k = 0; k < N_ID_KEYS; k++) {
        const json_t *value = json_object_get(model->config, id_key[k]);
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id >= 0 && (uint64_t)id < shape->vocab)
            (*must)[(*n)++] = (int32_t)id;
    }
    return true;
}

bool vocabulary_open(struct vocabulary *vocabulary, struct model *model, const struct shape *shape,
                     const char *const *path, size_t n_paths, size_t size, struct error *err)
{
    struct counts counts = {.n_rows = shape->vocab};
    int32_t *must = NULL;
    size_t n_must = 0;
    *vocabulary = (struct vocabulary){.n_rows = shape->vocab, .pad = shape->pad};
    bool ok = true;
    for (size_t i = 0; ok && i < n_paths; i++)
        ok = count_stream(&counts, path[i], err);
    ok = ok && list_musts(model, shape, &must, &n_must, err);
    if (ok) {
        const struct vocabulary_trim_options options = {.count = counts.count,
                                                        .n_counts = counts.n,
                                                        .size = size,
                                                        .must = must,
                                                        .n_must = n_must};
        ok = vocabulary_trim_open(&vocabulary->trim, model->bundle, &options, err);
    }
    const struct vocabulary_trim *trim = &vocabulary->trim;
    if (ok && counts.tokenizer != trim->fingerprint)
        ok = error_set(err,
                       "%s was made with another tokenizer than %s has; make it again with "
                       "mtok -m %s",
                       counts.name, model->name, model->name);
    if (ok && trim->n_before > shape->vocab)
        ok = error_set(err, "%s: the tokenizer has %zu ids, but the word table only %zu rows",
                       model->name, trim->n_before, shape->vocab);
    free(counts.count);
    free(must);
    if (!ok)
        vocabulary_close(vocabulary);
    return ok;
}

void vocabulary_close(struct vocabulary *vocabulary)
{
    vocabulary_trim_free(&vocabulary->trim);
}

/* ---- tensors ---- */

/* What predicts words, in checkpoints that still have it. */
static const char *const head_name[] = {
    "cls.predictions.bias",   "cls.predictions.decoder.weight", "cls.predictions.decoder.bias",
    "lm_head.bias",           "lm_head.decoder.weight",         "lm_head.decoder.bias",
    "predictions.bias",       "predictions.decoder.weight",     "predictions.decoder.bias",
    "vocab_projector.weight", "vocab_projector.bias",
};

bool vocabulary_has_rows(const struct vocabulary *vocabulary, const struct family *family,
                         const struct tensor_view *view)
{
    struct family_tensor tensor;
    bool word = family_parse(family, view->name, &tensor) && tensor.role == FAMILY_WORD;
    for (size_t i = 0; !word && i < sizeof head_name / sizeof *head_name; i++)
        word = strcmp(view->name, head_name[i]) == 0;
    return word && view->rank >= 1 && view->dim[0] == vocabulary->n_rows;
}

void *vocabulary_cut(const struct vocabulary *vocabulary, struct tensor_view *view,
                     struct error *err)
{
    size_t row = (size_t)view->bytes / vocabulary->n_rows, n = vocabulary->trim.n_kept;
    uint8_t *data = memory_aligned(n, row, err);
    for (size_t i = 0; data && i < n; i++)
        memcpy(data + i * row, (const uint8_t *)view->data + (size_t)vocabulary->trim.kept[i] * row,
               row);
    if (data) {
        view->data = data;
        view->dim[0] = n;
        view->bytes = n * row;
    }
    return data;
}

/* ---- config.json ---- */

bool vocabulary_config(const struct vocabulary *vocabulary, json_t *config, struct error *err)
{
    const struct vocabulary_trim *trim = &vocabulary->trim;
    for (size_t k = 0; k < N_ID_KEYS; k++) {
        json_t *value = json_object_get(config, id_key[k]);
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0)
            continue;
        if ((uint64_t)id < trim->n_before)
            json_integer_set(value, trim->number[id]);
        else if (json_object_del(config, id_key[k]) != 0) /* of a row that no token has */
            return error_set(err, "no memory for config.json");
    }
    if (vocabulary->pad < 0 || (size_t)vocabulary->pad >= trim->n_before)
        return true;
    /* The config may have left it to the family's default. */
    return json_object_set_new(config, "pad_token_id",
                               json_integer(trim->number[vocabulary->pad])) == 0 ||
           error_set(err, "no memory for config.json");
}

json_t *vocabulary_json(const struct vocabulary *vocabulary)
{
    const struct vocabulary_trim *trim = &vocabulary->trim;
    double share = trim->tokens ? (double)trim->covered / (double)trim->tokens : 1;
    return json_pack("{s:I, s:I, s:I, s:f}", "before", (json_int_t)vocabulary->n_rows, "after",
                     (json_int_t)trim->n_kept, "least", (json_int_t)trim->n_least, "covered",
                     share);
}
