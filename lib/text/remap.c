/* remap.c: see remap.h. */
#include "text/remap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "io/records_header.h"
#include "text/vocabulary_map.h"

static const char program[] = "mtok";

struct job {
    const struct tokenizer *tokenizer;
    struct tokenizer_scratch *scratch;
    struct vocabulary_map map;
    struct records_writer *writer; /* NULL: nothing was written yet */
    struct records_header first;   /* the first stream's; the others must fit it */
    const char *first_name, *path; /* path: of the stream at hand */
    struct output *output;
    json_t *stage;
    size_t max_tokens; /* of the stream at hand */
    uint64_t gone;     /* records that cannot be helped: counted to the end, then told */
    int32_t *id;       /* of the part at hand */
    int64_t *offset;
    size_t n_ids, id_capacity, offset_capacity;
    struct remap_counts *counts;
};

/* The ids of record i renumbered, behind those of the part so far; *ok false: one is gone. */
static bool renumber(struct job *job, const struct records_part *part, size_t i, bool *ok,
                     struct error *err)
{
    size_t begin = (size_t)part->offset[i], n = (size_t)part->offset[i + 1] - begin;
    if (!memory_grow(&job->id, &job->id_capacity, job->n_ids + n, sizeof *job->id, err))
        return false;
    *ok = true;
    for (size_t k = 0; k < n; k++) {
        size_t id = (size_t)part->id[begin + k];
        int32_t number = id < job->map.n_before ? job->map.number[id] : -1;
        *ok = *ok && number >= 0;
        job->id[job->n_ids + k] = number;
    }
    job->n_ids += *ok ? n : 0;
    return true;
}

static bool tokenise_again(struct job *job, const struct records_part *part, size_t i,
                           struct error *err)
{
    size_t begin = (size_t)part->text_offset[i], n = (size_t)part->text_offset[i + 1] - begin;
    const int32_t *id;
    size_t n_ids;
    if (!tokenizer_encode(job->tokenizer, job->scratch, (const char *)part->text + begin, n,
                          job->max_tokens, &id, &n_ids, err) ||
        !memory_grow(&job->id, &job->id_capacity, job->n_ids + n_ids, sizeof *job->id, err))
        return false;
    memcpy(job->id + job->n_ids, id, n_ids * sizeof *id);
    job->n_ids += n_ids;
    job->counts->tokenised++;
    return true;
}

static bool remap_part(struct job *job, const struct records_part *part, struct error *err)
{
    if (!memory_grow(&job->offset, &job->offset_capacity, part->n + 1, sizeof *job->offset, err))
        return false;
    job->n_ids = 0;
    job->offset[0] = 0;
    job->counts->records += part->n;
    for (size_t i = 0; i < part->n; i++) {
        bool ok;
        if (!renumber(job, part, i, &ok, err))
            return false;
        if (!ok && !part->text)
            job->gone++;
        else if (!ok && !tokenise_again(job, part, i, err))
            return false;
        job->offset[i + 1] = (int64_t)job->n_ids;
    }
    if (job->gone)
        return true;
    const struct tensor_view add[] = {
        tensor_view_1d("ids", DTYPE_I32, job->n_ids, job->id),
        tensor_view_1d("offsets", DTYPE_I64, part->n + 1, job->offset),
    };
    return records_write_part(job->writer, part, add, sizeof add / sizeof *add, err);
}

/* The stream must be of the tokenizer before; the first one's header is the result's. */
static bool take_header(struct job *job, const struct records_header *header, const char *name,
                        struct error *err)
{
    if (header->tokenizer == tokenizer_fingerprint(job->tokenizer))
        return error_set(err, "%s has the trimmed tokenizer's ids already; use it as it is", name);
    if (header->tokenizer != job->map.tokenizer)
        return error_set(err,
                         "%s is not of the tokenizer that was trimmed; make it from its text with "
                         "mtok -m",
                         name);
    job->max_tokens = header->max_tokens;
    if (job->writer)
        return records_header_match(&job->first, job->first_name, header, name, err);
    if (!records_header_copy(header, &job->first, err))
        return false;
    job->first_name = job->path;
    job->first.tokenizer = tokenizer_fingerprint(job->tokenizer);
    job->writer = records_writer_open(job->output, &job->first, NULL, 0, job->stage, err);
    job->first.tokenizer = header->tokenizer;
    job->stage = NULL;
    return job->writer != NULL;
}

static bool remap_stream(struct job *job, const char *path, struct error *err)
{
    job->path = path;
    struct source *source = source_open(path, false, err);
    struct records_reader *reader = source ? records_reader_open(source, err) : NULL;
    struct records_part part;
    int more = -1;
    if (reader && take_header(job, records_reader_header(reader), source_name(source), err))
        while ((more = records_next(reader, &part, err)) > 0) {
            bool ok = remap_part(job, &part, err);
            records_part_free(&part);
            if (!ok) {
                more = -1;
                break;
            }
        }
    if (more == 0 && job->gone)
        error_set(err,
                  "%s: %" PRIu64 " of %" PRIu64 " records hold pieces that are gone, and carry no "
                  "text to cut anew; make the stream with mtok --keep-text, or trim with this "
                  "stream among those of --vocab-from",
                  source_name(source), job->gone, job->counts->records);
    records_reader_close(reader);
    source_close(source);
    return more == 0 && !job->gone;
}

bool remap(const char *const *path, size_t n_paths, struct bundle *bundle,
           const struct tokenizer *tokenizer, json_t *stage, struct output *output,
           struct remap_counts *counts, struct error *err)
{
    static const char *const standard_input[] = {"-"};
    struct job job = {.tokenizer = tokenizer, .output = output, .stage = stage, .counts = counts};
    *counts = (struct remap_counts){0, 0};
    if (!n_paths) {
        path = standard_input;
        n_paths = 1;
    }
    bool ok = vocabulary_map_read(&job.map, bundle, err) &&
              (job.scratch = tokenizer_scratch_open(tokenizer, err)) != NULL;
    for (size_t i = 0; ok && i < n_paths; i++)
        ok = remap_stream(&job, path[i], err);
    if (job.writer && ok)
        ok = records_writer_finish(job.writer, err);
    else if (job.writer)
        records_writer_fail(job.writer, program, err);
    json_decref(job.stage);
    tokenizer_scratch_close(job.scratch);
    vocabulary_map_free(&job.map);
    records_header_free(&job.first);
    free(job.id);
    free(job.offset);
    return ok;
}
