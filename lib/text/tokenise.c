/* tokenise.c: see tokenise.h. Files are read one after another into blocks; a block is tokenised by
 * the team and becomes one part of the stream. Labels that no model gives are collected in a first
 * pass, for which a pipe is spooled. */
#include "text/tokenise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/labels.h"
#include "text/tokenise_block.h"

enum { DEFAULT_MAX_TOKENS = 512, LABEL_LIST_BYTES = 300, LABEL_SHOWN = 80 };

static const char program[] = "mtok"; /* the producer's name in error.json */
static const char *const standard_input[] = {"-"};

struct job {
    const char *const *path;
    size_t n_paths;
    struct source **source; /* [n_paths]; opened on demand, kept between two passes */
    const struct tokenizer *tokenizer;
    const struct tokenise_options *options;
    size_t max_tokens;
    struct labels labels;
    bool want_labels; /* a stream is written and its labels are known */
    int32_t *set;     /* labels of the row at hand, where it may have several */
    size_t set_capacity;
    struct threads *team;
    const struct progress *progress;
    struct output *output;
    struct records_writer *writer; /* NULL when ids are written */
    struct tokenise_block *block;
    struct tokenise_counts *counts;
    struct augment augment;
    char mask[AUGMENT_MASK_BYTES]; /* what stands for a masked word */
    uint64_t n_texts;
};

static struct table *open_table(struct job *job, size_t i, bool spool, struct error *err)
{
    if (!job->source[i])
        job->source[i] = source_open(job->path[i], true, err);
    if (!job->source[i] || (spool && !source_spool(job->source[i], err)))
        return NULL;
    return table_open(job->source[i], &job->options->table, err);
}

/* Next row that is not skipped: stray headers always are, bad rows when asked. 1, 0, -1. */
static int next_row(const struct job *job, struct table *table, struct table_row *row,
                    struct tokenise_counts *counts, struct error *err)
{
    for (;;) {
        int more = table_next(table, row, err);
        if (more < 0 && job->options->skip_bad && table_recoverable(table)) {
            error_clear(err);
            counts->rows++;
            counts->skipped++;
            continue;
        }
        if (more <= 0)
            return more;
        counts->rows++;
        if (!row->stray_header)
            return 1;
        counts->stray_headers++;
    }
}

/* ---- labels ---- */

static bool collect_names(struct job *job, const struct table_row *row, struct error *err)
{
    const char *at = row->label, *name;
    size_t left = row->label ? row->n_label : 0, n;
    while (labels_next(&at, &left, job->options->table.separator, &name, &n))
        if (!labels_add(&job->labels, name, n, err))
            return false;
    return true;
}

static bool collect_file(struct job *job, size_t i, struct error *err)
{
    struct tokenise_counts ignored = {0};
    struct table_row row;
    struct table *table = open_table(job, i, true, err);
    if (!table)
        return false;
    int more = 1;
    while (table_has_labels(table) && (more = next_row(job, table, &row, &ignored, err)) > 0)
        if (!collect_names(job, &row, err)) {
            error_at(err, "%s:%llu: ", source_name(job->source[i]), (unsigned long long)row.line);
            more = -1;
            break;
        }
    table_close(table);
    return more >= 0;
}

static bool all_known(const struct labels *found, const struct labels *model)
{
    for (size_t i = 0; i < found->n; i++)
        if (labels_find(model, found->name[i], strlen(found->name[i])) < 0)
            return false;
    return true;
}

/* The model's labels when they are names; those of the data, sorted, when there are none or only
 * place holders (LABEL_0 …) that the data do not use. */
static bool decide_labels(struct job *job, struct error *err)
{
    const struct tokenise_options *o = job->options;
    struct labels model = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < o->n_labels; i++)
        ok = labels_add(&model, o->label[i], strlen(o->label[i]), err);
    ok = ok && labels_close(&model, false, err);
    if (ok && model.n != o->n_labels)
        ok = error_set(err, "two of the model's labels have the same name");
    for (size_t i = 0; ok && o->table.separator && i < o->n_labels; i++)
        if (strstr(o->label[i], o->table.separator))
            ok = error_set(
                err,
                "the model's label \"%.80s\" holds \"%s\", which separates labels; choose "
                "another separator with --multi-label=SEP",
                o->label[i], o->table.separator);
    if (ok && !o->unbuffered && labels_are_generic(o->label, o->n_labels)) {
        for (size_t i = 0; ok && i < job->n_paths; i++)
            ok = collect_file(job, i, err);
    }
    ok = ok && labels_close(&job->labels, true, err);
    if (ok && model.n && all_known(&job->labels, &model)) {
        struct labels found = job->labels;
        job->labels = model;
        model = found;
    }
    labels_free(&model);
    job->want_labels = ok;
    return ok;
}

static bool unknown_label(const struct job *job, uint64_t line, const char *label, size_t n_label,
                          const char *name, struct error *err)
{
    char list[LABEL_LIST_BYTES];
    labels_list(&job->labels, list, sizeof list);
    return error_set(
        err,
        "%s:%llu: label \"%.*s\" is not one of the model's %zu labels (%s); map it, drop the "
        "row, pass --skip-bad, or, to train a new classifier, --new-labels",
        name, (unsigned long long)line, (int)(n_label < LABEL_SHOWN ? n_label : LABEL_SHOWN), label,
        job->labels.n, list);
}

/* ---- blocks ---- */

static bool write_part(struct job *job, struct error *err)
{
    const struct tokenise_block *b = job->block;
    struct tensor_view tensor[8];
    size_t n = 0;
    tensor[n++] = tensor_view_1d("ids", DTYPE_I32, b->n_ids, b->id);
    tensor[n++] = tensor_view_1d("offsets", DTYPE_I64, b->n + 1, b->offset);
    if (job->options->table.separator) {
        tensor[n++] = tensor_view_1d("label_ids", DTYPE_I32, b->n_label_ids, b->label_id);
        tensor[n++] = tensor_view_1d("label_offsets", DTYPE_I64, b->n + 1, b->label_offset);
    } else
        tensor[n++] = tensor_view_1d("label", DTYPE_I32, b->n, b->label);
    if (job->options->grams.buckets) {
        tensor[n++] = tensor_view_1d("grams", DTYPE_I32, b->n_grams, b->gram);
        tensor[n++] = tensor_view_1d("gram_offsets", DTYPE_I64, b->n + 1, b->gram_offset);
    }
    if (job->options->keep_text) {
        tensor[n++] = tensor_view_1d("text", DTYPE_U8, b->n_text, b->text);
        tensor[n++] = tensor_view_1d("text_offsets", DTYPE_I64, b->n + 1, b->text_offset);
    }
    return records_write(job->writer, tensor, n, err);
}

static bool write_block(struct job *job, struct error *err)
{
    const struct tokenise_block *b = job->block;
    if (job->writer)
        return write_part(job, err);
    return output_write(job->output, b->line, b->n_line, err) &&
           (!job->options->unbuffered || output_flush(job->output, err));
}

static bool finish_block(struct job *job, struct error *err)
{
    struct tokenise_block *b = job->block;
    struct tokenise_counts *c = job->counts;
    if (!b->n)
        return true;
    if (!tokenise_block_run(b, job->team, err) || !write_block(job, err))
        return false;
    c->records += b->n;
    c->tokens += b->n_ids;
    c->bytes += b->n_text;
    c->truncated += b->truncated;
    c->empty += b->empty;
    tokenise_block_clear(b);
    progress_report(job->progress,
                    &(struct progress_event){
                        .stage = "tokenise", .done = c->records, .unit = "records", .loss = NAN});
    return true;
}

static int by_value(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* The ids of the row's labels to job->set, ascending, each once; *n 0: none holds. Where labels are
 * not known it is -1. 1: known, 0: one is not the model's, -1: failed. */
static int find_labels(struct job *job, const struct table_row *row, const char *file, size_t *n,
                       struct error *err)
{
    const char *at = row->label, *name;
    size_t left = row->label ? row->n_label : 0, n_name, kept = 0;
    *n = 0;
    while (labels_next(&at, &left, job->options->table.separator, &name, &n_name)) {
        int32_t id = labels_find(&job->labels, name, n_name);
        if (id < 0 && job->options->skip_bad)
            return 0;
        if (id < 0)
            return unknown_label(job, row->line, name, n_name, file, err), -1;
        if (!memory_grow(&job->set, &job->set_capacity, *n + 1, sizeof *job->set, err))
            return -1;
        job->set[(*n)++] = id;
    }
    if (*n == 0 && !row->label && !row->no_label) {
        if (!memory_grow(&job->set, &job->set_capacity, 1, sizeof *job->set, err))
            return -1;
        job->set[(*n)++] = RECORDS_LABEL_UNKNOWN;
    }
    if (*n)
        qsort(job->set, *n, sizeof *job->set, by_value);
    for (size_t i = 0; i < *n; i++)
        if (i == 0 || job->set[i] != job->set[kept - 1])
            job->set[kept++] = job->set[i];
    *n = kept;
    return 1;
}

/* A text with its labels [n] (one, or any number) into the block. */
static bool add_text(struct job *job, const char *text, size_t n_text, const int32_t *label,
                     size_t n, struct error *err)
{
    bool several = job->options->table.separator != NULL;
    int32_t one = n && !several ? label[0] : RECORDS_LABEL_UNKNOWN;
    return tokenise_block_add(job->block, text, n_text, one, err) &&
           (!several || tokenise_block_label(job->block, label, n, err)) &&
           (!(job->options->unbuffered || tokenise_block_full(job->block)) ||
            finish_block(job, err));
}

/* The altered copies of a text; row->text is good until the next row. */
static bool add_copies(struct job *job, const struct table_row *row, size_t n, struct error *err)
{
    static const int32_t unknown = RECORDS_LABEL_UNKNOWN;
    const struct augment_options *o = &job->options->augment;
    uint64_t number = job->n_texts++;
    for (size_t i = 0; i < o->copies; i++) {
        bool altered;
        if (!augment_make(&job->augment, o, job->mask, row->text, row->n_text, number, i, &altered,
                          err))
            return false;
        if (!altered)
            continue;
        job->counts->altered++;
        if (!add_text(job, job->augment.text, job->augment.n, o->labels ? job->set : &unknown,
                      o->labels ? n : 1, err))
            return false;
    }
    return true;
}

static bool take_row(struct job *job, const struct table_row *row, const char *name,
                     struct error *err)
{
    size_t n = 0;
    job->counts->invalid_utf8 += row->n_invalid;
    int known = job->want_labels ? find_labels(job, row, name, &n, err) : 1;
    if (known <= 0) {
        if (known == 0)
            job->counts->skipped++;
        return known == 0;
    }
    return add_text(job, row->text, row->n_text, job->set, n, err) && add_copies(job, row, n, err);
}

static bool tokenise_file(struct job *job, size_t i, struct error *err)
{
    struct table_row row;
    struct table *table = open_table(job, i, false, err);
    if (!table)
        return false;
    int more;
    while ((more = next_row(job, table, &row, job->counts, err)) > 0)
        if (!take_row(job, &row, source_name(job->source[i]), err)) {
            more = -1;
            break;
        }
    table_close(table);
    source_close(job->source[i]);
    job->source[i] = NULL;
    return more >= 0;
}

static bool tokenise_files(struct job *job, struct error *err)
{
    for (size_t i = 0; i < job->n_paths; i++)
        if (!tokenise_file(job, i, err))
            return false;
    if (!finish_block(job, err))
        return false;
    if (job->counts->records == 0)
        return error_set(err, "%s: there are no rows to tokenise (%llu read, %llu skipped)",
                         strcmp(job->path[0], "-") == 0 ? "<stdin>" : job->path[0],
                         (unsigned long long)job->counts->rows,
                         (unsigned long long)(job->counts->skipped + job->counts->stray_headers));
    return true;
}

/* ---- streams ---- */

static bool open_writer(struct job *job, json_t **stage, struct error *err)
{
    const struct tokenise_options *o = job->options;
    const char *field[8];
    size_t n = 0;
    field[n++] = "ids";
    field[n++] = "offsets";
    if (o->table.separator) {
        field[n++] = "label_ids";
        field[n++] = "label_offsets";
    } else
        field[n++] = "label";
    if (o->grams.buckets) {
        field[n++] = "grams";
        field[n++] = "gram_offsets";
    }
    if (o->keep_text) {
        field[n++] = "text";
        field[n++] = "text_offsets";
    }
    struct records_header header = {.tokenizer = tokenizer_fingerprint(job->tokenizer),
                                    .label = job->labels.name,
                                    .n_labels = job->labels.n,
                                    .separator = (char *)o->table.separator,
                                    .max_tokens = job->max_tokens,
                                    .grams = o->grams};
    job->writer = records_writer_open(job->output, &header, field, n, *stage, err);
    *stage = NULL; /* stolen */
    return job->writer != NULL;
}

static bool write_stream(struct job *job, json_t *stage, struct error *err)
{
    if (!decide_labels(job, err) || !open_writer(job, &stage, err)) {
        json_decref(stage);
        return false;
    }
    if (tokenise_files(job, err)) {
        struct records_writer *writer = job->writer;
        job->writer = NULL;
        return records_writer_finish(writer, err);
    }
    records_writer_fail(job->writer, program, err);
    job->writer = NULL;
    return false;
}

bool tokenise(const char *const *path, size_t n_paths, const struct tokenizer *tokenizer,
              const struct tokenise_options *options, struct threads *team,
              const struct progress *progress, struct output *output,
              struct tokenise_counts *counts, struct error *err)
{
    size_t stated = tokenizer_max_tokens(tokenizer);
    bool as_text = options->output == TOKENISE_IDS;
    struct job job = {.path = n_paths ? path : standard_input,
                      .n_paths = n_paths ? n_paths : 1,
                      .tokenizer = tokenizer,
                      .options = options,
                      .max_tokens = options->max_tokens ? options->max_tokens
                                    : stated            ? stated
                                                        : DEFAULT_MAX_TOKENS,
                      .team = team,
                      .progress = progress,
                      .output = output,
                      .counts = counts};
    *counts = (struct tokenise_counts){0};
    job.source = memory_zeroed(job.n_paths, sizeof *job.source, err);
    job.block = job.source ? tokenise_block_open(tokenizer, job.max_tokens, as_text,
                                                 &options->grams, team, err)
                           : NULL;
    bool ok = false;
    /* N-grams of a text with masks in it would be those of a word that no text has. */
    if (job.block && options->augment.copies && !options->grams.buckets &&
        !augment_mask(tokenizer, job.mask, err)) {
        tokenise_block_close(job.block);
        job.block = NULL;
    }
    if (!job.block || as_text) {
        json_decref(options->stage);
        ok = job.block && tokenise_files(&job, err);
    } else
        ok = write_stream(&job, options->stage, err);
    for (size_t i = 0; job.source && i < job.n_paths; i++)
        source_close(job.source[i]);
    free(job.source);
    tokenise_block_close(job.block);
    labels_free(&job.labels);
    augment_free(&job.augment);
    free(job.set);
    return ok;
}
