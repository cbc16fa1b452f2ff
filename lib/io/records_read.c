/* records_read.c: a record stream, part by part. Every field is checked here once, so that nobody
 * after must.
 *
 *     state    member       next state
 *     BEFORE   stream.json  INSIDE     (a second one must match the first)
 *     INSIDE   part-N       INSIDE     N counts from 0
 *     INSIDE   end.json     BEFORE     totals must agree
 *     BEFORE   (end)        complete, when at least one stream was read
 *     INSIDE   (end)        cut short
 *     any      error.json   the producer's failure
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"
#include "io/failure.h"
#include "io/records_header.h"
#include "io/tar.h"

/* More than any part of ours has; what a hostile header can make us allocate still grows only with
 * the data. */
static const uint64_t max_member_bytes = (uint64_t)4 << 30;

struct records_reader {
    struct source *source;
    struct tar_reader *tar;
    struct records_header header;
    bool inside, failed;
    size_t n_parts;            /* of the current stream */
    uint64_t records, tokens;  /* of the current stream */
    uint64_t records_before;   /* of the streams before it */
    struct hash_stream *chain; /* over the hashes of the current stream's parts */
};

/* ---- fields of a part ---- */

struct check {
    const char *place;
    struct records_part *part;
    uint64_t first_record; /* the part's first record in the whole input, from 1, for messages */
    struct error *err;
};

static bool find_field(const struct check *check, const char *name, enum dtype type, int rank,
                       bool required, const struct tensor_view **view)
{
    *view = safetensors_find(&check->part->st, name);
    if (!*view)
        return !required || error_set(check->err, "%s: has no field \"%s\"", check->place, name);
    if ((*view)->type != type || (*view)->rank != rank) {
        char shape[160];
        tensor_view_describe(*view, shape, sizeof shape);
        return error_set(check->err, "%s: field \"%s\" is %s; expected %d dimension%s of %s",
                         check->place, name, shape, rank, rank == 1 ? "" : "s", dtype_name(type));
    }
    if ((uintptr_t)(*view)->data % dtype_bytes(type) != 0)
        return error_set(check->err,
                         "%s: field \"%s\" is not aligned to its elements: put wide types first",
                         check->place, name);
    return true;
}

/* offset[0 … n] from 0 to total, not decreasing. */
static bool check_offsets(const struct check *check, const char *name, const int64_t *offset,
                          size_t n, uint64_t total)
{
    if (offset[0] != 0 || offset[n] < 0 || (uint64_t)offset[n] != total)
        return error_set(check->err,
                         "%s: field \"%s\" runs from %" PRId64 " to %" PRId64
                         "; expected 0 to %" PRIu64,
                         check->place, name, offset[0], offset[n], total);
    for (size_t i = 0; i < n; i++)
        if (offset[i + 1] < offset[i])
            return error_set(
                check->err, "%s: record %" PRIu64 ": \"%s\" decreases from %" PRId64 " to %" PRId64,
                check->place, check->first_record + i, name, offset[i], offset[i + 1]);
    return true;
}

static bool check_tokens(const struct check *check)
{
    struct records_part *part = check->part;
    const struct tensor_view *id, *offset;
    if (!find_field(check, "ids", DTYPE_I32, 1, true, &id) ||
        !find_field(check, "offsets", DTYPE_I64, 1, true, &offset))
        return false;
    if (offset->dim[0] == 0)
        return error_set(check->err, "%s: field \"offsets\" is empty", check->place);
    part->n = (size_t)offset->dim[0] - 1;
    part->offset = offset->data;
    part->id = id->data;
    part->n_tokens = (size_t)id->dim[0];
    if (!check_offsets(check, "offsets", part->offset, part->n, part->n_tokens))
        return false;
    for (size_t i = 0; i < part->n; i++)
        for (int64_t t = part->offset[i]; t < part->offset[i + 1]; t++)
            if (part->id[t] < 0)
                return error_set(check->err,
                                 "%s: record %" PRIu64 ": token id %" PRId32 " is negative",
                                 check->place, check->first_record + i, part->id[t]);
    return true;
}

static bool check_label(const struct check *check, const struct records_header *header)
{
    struct records_part *part = check->part;
    const struct tensor_view *label;
    if (!find_field(check, "label", DTYPE_I32, 1, true, &label))
        return false;
    if (label->dim[0] != part->n)
        return error_set(check->err, "%s: %" PRIu64 " labels for %zu records", check->place,
                         label->dim[0], part->n);
    part->label = label->data;
    for (size_t i = 0; i < part->n; i++)
        if (part->label[i] < RECORDS_LABEL_UNKNOWN || part->label[i] >= (int64_t)header->n_labels)
            return error_set(check->err,
                             "%s: record %" PRIu64 ": label %" PRId32 "; expected -1 to %" PRId64,
                             check->place, check->first_record + i, part->label[i],
                             (int64_t)header->n_labels - 1);
    return true;
}

/* The labels of record i: known and ascending, or -1 alone. */
static bool check_label_set(const struct check *check, size_t i, int64_t n_labels)
{
    const struct records_part *part = check->part;
    int64_t begin = part->label_offset[i], end = part->label_offset[i + 1];
    if (end - begin == 1 && part->label_id[begin] == RECORDS_LABEL_UNKNOWN)
        return true;
    for (int64_t k = begin; k < end; k++) {
        int32_t id = part->label_id[k];
        if (id < 0 || id >= n_labels)
            return error_set(check->err,
                             "%s: record %" PRIu64 ": label %" PRId32 "; expected 0 to %" PRId64
                             ", or -1 alone",
                             check->place, check->first_record + i, id, n_labels - 1);
        if (k > begin && id <= part->label_id[k - 1])
            return error_set(check->err,
                             "%s: record %" PRIu64 ": label %" PRId32 " after %" PRId32
                             "; expected ascending labels",
                             check->place, check->first_record + i, id, part->label_id[k - 1]);
    }
    return true;
}

/* Of a multi-label stream. A part made before labels were known has "label" with -1 only. */
static bool check_label_sets(const struct check *check, const struct records_header *header)
{
    struct records_part *part = check->part;
    const struct tensor_view *id, *offset;
    if (!safetensors_find(&part->st, "label_ids") && safetensors_find(&part->st, "label")) {
        struct records_header none = {.n_labels = 0};
        bool ok = check_label(check, &none);
        part->label = NULL;
        return ok;
    }
    if (!find_field(check, "label_ids", DTYPE_I32, 1, true, &id) ||
        !find_field(check, "label_offsets", DTYPE_I64, 1, true, &offset))
        return false;
    if (offset->dim[0] != part->n + 1)
        return error_set(check->err, "%s: %" PRIu64 " label offsets for %zu records", check->place,
                         offset->dim[0], part->n);
    part->label_id = id->data;
    part->label_offset = offset->data;
    if (!check_offsets(check, "label_offsets", part->label_offset, part->n, id->dim[0]))
        return false;
    for (size_t i = 0; i < part->n; i++)
        if (!check_label_set(check, i, (int64_t)header->n_labels))
            return false;
    return true;
}

static bool check_labels(const struct check *check, const struct records_header *header)
{
    if (header->separator)
        return check_label_sets(check, header);
    if (safetensors_find(&check->part->st, "label_ids"))
        return error_set(check->err,
                         "%s: has the field \"label_ids\", but " RECORDS_FIRST_MEMBER
                         " has no \"multi_label\"",
                         check->place);
    return check_label(check, header);
}

static bool check_text(const struct check *check)
{
    struct records_part *part = check->part;
    const struct tensor_view *text, *offset;
    if (!find_field(check, "text", DTYPE_U8, 1, false, &text) || !text)
        return !check->err->set;
    if (!find_field(check, "text_offsets", DTYPE_I64, 1, true, &offset))
        return false;
    if (offset->dim[0] != part->n + 1)
        return error_set(check->err, "%s: %" PRIu64 " text offsets for %zu records", check->place,
                         offset->dim[0], part->n);
    part->text = text->data;
    part->text_offset = offset->data;
    return check_offsets(check, "text_offsets", part->text_offset, part->n, text->dim[0]);
}

/* The n-grams of record i: below `buckets`, ascending. */
static bool check_record_grams(const struct check *check, size_t i, uint32_t buckets)
{
    const struct records_part *part = check->part;
    for (int64_t k = part->gram_offset[i]; k < part->gram_offset[i + 1]; k++) {
        int32_t id = part->gram[k];
        if (id < 0 || (uint32_t)id >= buckets)
            return error_set(check->err,
                             "%s: record %" PRIu64 ": n-gram %" PRId32 "; expected 0 to %" PRIu32,
                             check->place, check->first_record + i, id, buckets - 1);
        if (k > part->gram_offset[i] && id < part->gram[k - 1])
            return error_set(check->err,
                             "%s: record %" PRIu64 ": n-gram %" PRId32 " after %" PRId32
                             "; expected ascending n-grams",
                             check->place, check->first_record + i, id, part->gram[k - 1]);
    }
    return true;
}

static bool check_grams(const struct check *check, const struct records_header *header)
{
    struct records_part *part = check->part;
    const struct tensor_view *gram, *offset;
    if (!header->grams.buckets)
        return !safetensors_find(&part->st, "grams") ||
               error_set(check->err,
                         "%s: has the field \"grams\", but " RECORDS_FIRST_MEMBER
                         " does not say which n-grams they are",
                         check->place);
    if (!find_field(check, "grams", DTYPE_I32, 1, true, &gram) ||
        !find_field(check, "gram_offsets", DTYPE_I64, 1, true, &offset))
        return false;
    if (offset->dim[0] != part->n + 1)
        return error_set(check->err, "%s: %" PRIu64 " n-gram offsets for %zu records", check->place,
                         offset->dim[0], part->n);
    part->gram = gram->data;
    part->gram_offset = offset->data;
    if (!check_offsets(check, "gram_offsets", part->gram_offset, part->n, gram->dim[0]))
        return false;
    for (size_t i = 0; i < part->n; i++)
        if (!check_record_grams(check, i, header->grams.buckets))
            return false;
    return true;
}

static bool check_logits(const struct check *check, const struct records_header *header)
{
    struct records_part *part = check->part;
    const struct tensor_view *logits;
    if (!find_field(check, "logits", DTYPE_F32, 2, false, &logits) || !logits)
        return !check->err->set;
    if (logits->dim[0] != part->n || logits->dim[1] != header->n_labels)
        return error_set(check->err,
                         "%s: logits are [%" PRIu64 ", %" PRIu64 "]; expected [%zu, %zu]",
                         check->place, logits->dim[0], logits->dim[1], part->n, header->n_labels);
    part->logits = logits->data;
    for (size_t i = 0; i < part->n * header->n_labels; i++)
        if (!isfinite(part->logits[i]))
            return error_set(check->err, "%s: record %" PRIu64 ": logit %zu is not finite",
                             check->place, check->first_record + i / header->n_labels,
                             i % header->n_labels);
    return true;
}

static bool check_checksum(const struct check *check)
{
    const struct safetensors *st = &check->part->st;
    const char *text = safetensors_metadata(st, "xxh3");
    uint64_t expected, found = hash_bytes(st->data, st->data_bytes);
    if (!text || !hash_parse(text, &expected))
        return error_set(check->err, "%s: has no checksum (\"xxh3\" in __metadata__)",
                         check->place);
    return found == expected ||
           error_set(check->err,
                     "%s: its data has checksum %016" PRIx64 ", expected %s: the stream is damaged",
                     check->place, found, text);
}

/* ---- members ---- */

static bool read_part(struct records_reader *reader, const struct tar_member *member,
                      const char *place, struct records_part *part, struct error *err)
{
    *part = (struct records_part){0};
    if (!safetensors_parse(&part->st, place, member->bytes, member->n, err))
        return false;
    const struct check check = {.place = place,
                                .part = part,
                                .first_record = reader->records_before + reader->records + 1,
                                .err = err};
    if (!check_checksum(&check) || !check_tokens(&check) ||
        !check_labels(&check, &reader->header) || !check_text(&check) ||
        !check_grams(&check, &reader->header) || !check_logits(&check, &reader->header)) {
        records_part_free(part);
        return false;
    }
    part->hash = hash_bytes(member->bytes, member->n);
    hash_stream_add_number(reader->chain, part->hash);
    reader->n_parts++;
    reader->records += part->n;
    reader->tokens += part->n_tokens;
    part->owned = tar_take(reader->tar);
    return true;
}

static bool check_total(const char *place, const char *key, uint64_t found, const json_t *end,
                        struct error *err)
{
    int64_t expected = 0;
    if (!jobject_integer(end, place, key, true, 0, INT64_MAX, &expected, err))
        return false;
    return found == (uint64_t)expected ||
           error_set(err, "%s: says %" PRId64 " %s, but %" PRIu64 " came: the stream is damaged",
                     place, expected, key, found);
}

static bool read_end(struct records_reader *reader, const struct tar_member *member,
                     const char *place, struct error *err)
{
    const char *checksum = NULL;
    char found[HASH_TEXT_BYTES];
    hash_text(hash_stream_value(reader->chain), found);
    json_t *end = jobject_parse((const char *)member->bytes, member->n, place, err);
    bool ok = end && records_header_check(end, place, "end", err) &&
              check_total(place, "parts", reader->n_parts, end, err) &&
              check_total(place, "records", reader->records, end, err) &&
              check_total(place, "tokens", reader->tokens, end, err) &&
              jobject_string(end, place, "checksum", true, &checksum, err);
    if (ok && strcmp(checksum, found) != 0)
        ok = error_set(err, "%s: the parts have checksum %s, expected %s: the stream is damaged",
                       place, found, checksum);
    json_decref(end);
    reader->inside = false;
    return ok;
}

static bool read_header(struct records_reader *reader, const struct tar_member *member,
                        const char *place, struct error *err)
{
    struct records_header header;
    bool first = reader->header.history == NULL;
    if (!records_header_parse(&header, place, member->bytes, member->n, err))
        return false;
    if (first) {
        reader->header = header;
    } else {
        bool ok =
            records_header_match(&reader->header, "the stream before it", &header, place, err);
        records_header_free(&header);
        if (!ok)
            return false;
    }
    hash_stream_close(reader->chain);
    reader->chain = hash_stream_open();
    reader->records_before += reader->records;
    reader->records = reader->tokens = reader->n_parts = 0;
    reader->inside = true;
    return reader->chain || error_set(err, "no memory for a checksum");
}

/* The member is none that may stand here: say what it looks like. */
static bool refuse_member(const struct records_reader *reader, const char *name, struct error *err)
{
    static const char *const of_model[] = {"config.json", "model.safetensors", "millet.json",
                                           "vocab.txt", "tokenizer.json"};
    const char *place = source_name(reader->source), *slash = strrchr(name, '/');
    for (size_t i = 0; i < sizeof of_model / sizeof *of_model; i++)
        if (strcmp(slash ? slash + 1 : name, of_model[i]) == 0)
            return error_set(err,
                             "%s: is a model (it holds %s); a record stream is expected here "
                             "(mtok makes one; models go with -m)",
                             place, name);
    if (reader->inside && strcmp(name, RECORDS_FIRST_MEMBER) == 0)
        return error_set(err,
                         "%s: a new stream begins before " RECORDS_LAST_MEMBER
                         " of the one before it: that one was cut short",
                         place);
    return error_set(
        err,
        "%s: found %s where %s is expected: this is no record stream, or parts of it are "
        "missing or out of order",
        place, name,
        reader->inside ? "the next part or " RECORDS_LAST_MEMBER : RECORDS_FIRST_MEMBER);
}

/* 2: go on, 1: *part is filled, -1: failed. */
static int read_member(struct records_reader *reader, const struct tar_member *member,
                       struct records_part *part, struct error *err)
{
    char expected[RECORDS_PART_NAME_BYTES];
    snprintf(expected, sizeof expected, RECORDS_PART_FORMAT, reader->n_parts);
    char *place = memory_format(err, "%s: %s", source_name(reader->source), member->name);
    int result = -1;
    if (!place)
        return -1;
    if (strcmp(member->name, FAILURE_MEMBER) == 0)
        failure_tell(source_name(reader->source), member->bytes, member->n, err);
    else if (reader->inside && strcmp(member->name, expected) == 0)
        result = read_part(reader, member, place, part, err) ? 1 : -1;
    else if (reader->inside && strcmp(member->name, RECORDS_LAST_MEMBER) == 0)
        result = read_end(reader, member, place, err) ? 2 : -1;
    else if (!reader->inside && strcmp(member->name, RECORDS_FIRST_MEMBER) == 0)
        result = read_header(reader, member, place, err) ? 2 : -1;
    else
        refuse_member(reader, member->name, err);
    free(place);
    return result;
}

/* ---- the interface ---- */

void records_part_free(struct records_part *part)
{
    safetensors_free(&part->st);
    free(part->owned);
    *part = (struct records_part){0};
}

struct records_reader *records_reader_open(struct source *source, struct error *err)
{
    struct records_reader *reader = memory_zeroed(1, sizeof *reader, err);
    if (!reader)
        return NULL;
    struct tar_member member;
    reader->source = source;
    reader->tar = tar_reader_open(source, max_member_bytes, err);
    int more = reader->tar ? tar_next(reader->tar, &member, err) : -1;
    if (more == 0)
        error_set(err, "%s: is a tar archive without members; a record stream is expected",
                  source_name(source));
    if (more > 0 && read_member(reader, &member, NULL, err) == 2)
        return reader;
    records_reader_close(reader);
    return NULL;
}

const struct records_header *records_reader_header(const struct records_reader *reader)
{
    return &reader->header;
}

int records_next(struct records_reader *reader, struct records_part *part, struct error *err)
{
    struct tar_member member;
    int result = reader->failed ? -1 : 2;
    while (result == 2) {
        int more = tar_next(reader->tar, &member, err);
        if (more > 0) {
            result = read_member(reader, &member, part, err);
        } else {
            result = more;
            if (more == 0 && reader->inside) {
                error_set(err,
                          "%s: ends without " RECORDS_LAST_MEMBER
                          ": the program that wrote it stopped early",
                          source_name(reader->source));
                result = -1;
            }
        }
    }
    reader->failed = result < 0;
    return result;
}

void records_reader_close(struct records_reader *reader)
{
    if (!reader)
        return;
    tar_reader_close(reader->tar);
    records_header_free(&reader->header);
    hash_stream_close(reader->chain);
    free(reader);
}
