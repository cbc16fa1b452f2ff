/* records_write.c: a record stream, written part by part; each part reaches the pipe before the
 * next is begun. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/jobject.h"
#include "core/memory.h"
#include "io/failure.h"
#include "io/records_header.h"
#include "io/tar.h"

struct records_writer {
    struct output *output;
    struct tar_writer *tar;
    bool grams; /* stream.json says that parts have them */
    size_t n_parts;
    uint64_t records, tokens;
    struct hash_stream *chain; /* over the hashes of the parts */
    struct hash_stream *part;  /* over the bytes of the part being written */
};

static void writer_free(struct records_writer *writer)
{
    if (!writer)
        return;
    tar_writer_abandon(writer->tar);
    hash_stream_close(writer->chain);
    hash_stream_close(writer->part);
    free(writer);
}

static bool write_header(struct records_writer *writer, char *text, struct error *err)
{
    bool ok = text && tar_write(writer->tar, RECORDS_FIRST_MEMBER, text, strlen(text), err) &&
              output_flush(writer->output, err);
    free(text);
    return ok;
}

struct records_writer *records_writer_open(struct output *output,
                                           const struct records_header *header,
                                           const char *const *field, size_t n_fields, json_t *stage,
                                           struct error *err)
{
    char *text = records_header_dump(header, field, n_fields, stage, err);
    struct records_writer *writer = text ? memory_zeroed(1, sizeof *writer, err) : NULL;
    if (!writer) {
        free(text);
        return NULL;
    }
    writer->output = output;
    writer->grams = header->grams.buckets != 0;
    writer->chain = hash_stream_open();
    writer->tar = tar_writer_open(output, err);
    if (!writer->chain)
        error_set(err, "no memory for a checksum");
    if (writer->chain && writer->tar) {
        if (write_header(writer, text, err))
            return writer;
    } else {
        free(text);
    }
    writer_free(writer);
    return NULL;
}

static bool put(void *context, const void *bytes, size_t n, struct error *err)
{
    struct records_writer *writer = context;
    hash_stream_add(writer->part, bytes, n);
    return tar_put(writer->tar, bytes, n, err);
}

static const struct tensor_view *find_view(const struct tensor_view *tensor, size_t n,
                                           const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(tensor[i].name, name) == 0)
            return &tensor[i];
    return NULL;
}

/* What a reader would refuse must not be written. */
static bool check_fields(const struct records_writer *writer, const struct tensor_view *tensor,
                         size_t n_tensors, uint64_t *records, uint64_t *tokens, struct error *err)
{
    const struct tensor_view *id = find_view(tensor, n_tensors, "ids");
    const struct tensor_view *offset = find_view(tensor, n_tensors, "offsets");
    const struct tensor_view *label = find_view(tensor, n_tensors, "label");
    const struct tensor_view *sets = find_view(tensor, n_tensors, "label_offsets");
    if (!label && sets && find_view(tensor, n_tensors, "label_ids"))
        label = sets;
    if (!id || !offset || !label)
        return error_set(err, "a part needs the fields ids, offsets and label (or label_ids and "
                              "label_offsets)");
    if (id->rank != 1 || offset->rank != 1 || label->rank != 1 ||
        offset->dim[0] != label->dim[0] + (label != sets))
        return error_set(err, "ids, offsets and label of a part do not fit each other");
    if (writer->grams != (find_view(tensor, n_tensors, "grams") != NULL))
        return error_set(err, "a part %s n-grams, but " RECORDS_FIRST_MEMBER " says %s",
                         writer->grams ? "has no" : "has", writer->grams ? "which" : "of none");
    *records = offset->dim[0] - (offset->dim[0] > 0);
    *tokens = id->dim[0];
    return true;
}

static bool write_member(struct records_writer *writer, const struct tensor_view *tensor,
                         size_t n_tensors, const char *const *metadata, struct error *err)
{
    char name[RECORDS_PART_NAME_BYTES];
    uint64_t bytes = 0;
    snprintf(name, sizeof name, RECORDS_PART_FORMAT, writer->n_parts);
    return safetensors_size(tensor, n_tensors, metadata, 1, &bytes, err) &&
           tar_begin(writer->tar, name, bytes, err) &&
           safetensors_write(tensor, n_tensors, metadata, 1, put, writer, err) &&
           output_flush(writer->output, err);
}

bool records_write(struct records_writer *writer, const struct tensor_view *tensor,
                   size_t n_tensors, struct error *err)
{
    char checksum[HASH_TEXT_BYTES];
    const char *const metadata[] = {"xxh3", checksum};
    uint64_t records = 0, tokens = 0, hash = 0;
    if (!check_fields(writer, tensor, n_tensors, &records, &tokens, err) ||
        !safetensors_data_hash(tensor, n_tensors, &hash, err))
        return false;
    hash_text(hash, checksum);
    writer->part = hash_stream_open();
    if (!writer->part)
        return error_set(err, "no memory for a checksum");
    bool ok = write_member(writer, tensor, n_tensors, metadata, err);
    hash_stream_add_number(writer->chain, hash_stream_value(writer->part));
    hash_stream_close(writer->part);
    writer->part = NULL;
    writer->n_parts++;
    writer->records += records;
    writer->tokens += tokens;
    return ok;
}

bool records_write_part(struct records_writer *writer, const struct records_part *part,
                        const struct tensor_view *add, size_t n_add, struct error *err)
{
    struct tensor_view *all = memory_array(part->st.n_tensors + n_add, sizeof *all, err);
    if (!all)
        return false;
    size_t n = 0;
    for (size_t i = 0; i < part->st.n_tensors; i++)
        if (!find_view(add, n_add, part->st.tensor[i].name))
            all[n++] = part->st.tensor[i];
    for (size_t i = 0; i < n_add; i++)
        all[n++] = add[i];
    bool ok = records_write(writer, all, n, err);
    free(all);
    return ok;
}

static char *end_text(const struct records_writer *writer, struct error *err)
{
    char checksum[HASH_TEXT_BYTES];
    hash_text(hash_stream_value(writer->chain), checksum);
    json_t *end =
        json_pack("{s:i, s:s, s:I, s:I, s:I, s:s}", "millet", RECORDS_FORMAT, "kind", "end",
                  "parts", (json_int_t)writer->n_parts, "records", (json_int_t)writer->records,
                  "tokens", (json_int_t)writer->tokens, "checksum", checksum);
    if (!end)
        error_set(err, "no memory for " RECORDS_LAST_MEMBER);
    char *text = end && jobject_seal(end, err) ? jobject_dump(end, err) : NULL;
    json_decref(end);
    return text;
}

bool records_writer_finish(struct records_writer *writer, struct error *err)
{
    char *text = end_text(writer, err);
    bool ok = text && tar_write(writer->tar, RECORDS_LAST_MEMBER, text, strlen(text), err);
    free(text);
    if (ok) {
        ok = tar_writer_finish(writer->tar, err) && output_flush(writer->output, err);
        writer->tar = NULL;
    }
    writer_free(writer);
    return ok;
}

/* Ends the archive with error.json, as far as the output still takes it. */
static void end_with_failure(struct tar_writer *tar, struct output *output, const char *program,
                             const struct error *cause)
{
    struct error ignored = ERROR_INIT;
    bool ok = failure_write(tar, program, cause, &ignored);
    ok = tar_writer_finish(tar, &ignored) && ok;
    if (ok)
        ok = output_flush(output, &ignored);
    (void)ok;
}

void records_writer_fail(struct records_writer *writer, const char *program,
                         const struct error *cause)
{
    end_with_failure(writer->tar, writer->output, program, cause);
    writer->tar = NULL;
    writer_free(writer);
}

void records_write_failure(struct output *output, const char *program, const struct error *cause)
{
    struct error ignored = ERROR_INIT;
    struct tar_writer *tar = tar_writer_open(output, &ignored);
    if (tar)
        end_with_failure(tar, output, program, cause);
}
