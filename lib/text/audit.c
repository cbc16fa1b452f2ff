/* audit.c: see audit.h: one pass over all files; texts are remembered as hashes. */
#include "text/audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/audit_counts.h"
#include "text/audit_seen.h"
#include "text/bert_normalise.h"
#include "text/mojibake.h"
#include "text/utf8.h"

enum { EXAMPLES = 3, MAX_LENGTH = 512, LABEL_SHOWN = 30 };

static const char *const standard_input[] = {"-"};

struct auditor {
    const struct audit_options *options;
    struct tokenizer_scratch *scratch; /* NULL: lengths in words */
    struct audit_counts counts;
    struct audit_seen_table text, text_with_label;
    uint32_t file;
    size_t n_examples;
};

static void found(struct auditor *a, enum audit_defect defect, uint64_t line,
                  const struct audit_seen *of, const char *note)
{
    struct audit_finding *f = &a->counts.finding[defect];
    f->count++;
    f->in_file[a->file]++;
    if (f->n_places == a->n_examples)
        return;
    struct audit_place *place = &f->place[f->n_places++];
    *place = (struct audit_place){.file = a->file,
                                  .line = line,
                                  .of_file = of ? of->first_file : 0,
                                  .of_line = of ? of->first_line : 0};
    snprintf(place->note, sizeof place->note, "%s", note);
}

/* Bytes of a name that go into a note: at most LABEL_SHOWN, whole characters. */
static int shown(const char *name)
{
    size_t n = strlen(name);
    return (int)(n <= LABEL_SHOWN ? n : utf8_valid_prefix(name, LABEL_SHOWN));
}

/* The label's number, -1 without one, -2 when memory is short. */
static int32_t label_number(struct auditor *a, const struct table_row *row, struct error *err)
{
    struct audit_counts *c = &a->counts;
    if (!row->label)
        return -1;
    size_t before = c->labels.set.n;
    if (!labels_add(&c->labels, row->label, row->n_label, err) ||
        !memory_grow(&c->label, &c->label_capacity, c->labels.set.n, sizeof *c->label, err))
        return -2;
    int32_t number = string_table_find(&c->labels.set, row->label, row->n_label);
    if (c->labels.set.n > before)
        c->label[number] = (struct audit_label){0};
    return number;
}

/* Nothing but white space and characters that BERT's clean text removes. */
static bool is_empty(const char *text, size_t n)
{
    static const struct bert_options clean = {.clean_text = true};
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    while (p < end) {
        struct bert_mapping m;
        bert_map(&clean, utf8_next(&p), &m);
        if (m.class == BERT_KEEP || m.class == BERT_ALONE)
            return false;
    }
    return true;
}

static size_t count_words(const char *text, size_t n)
{
    size_t words = 0;
    bool inside = false;
    for (size_t i = 0; i < n; i++) {
        bool space = strchr(" \t\r\n", text[i]) && text[i];
        words += !space && !inside;
        inside = !space;
    }
    return words;
}

static bool check_length(struct auditor *a, const struct table_row *row, struct error *err)
{
    char note[64];
    const int32_t *ids;
    size_t n = 0;
    if (!a->scratch)
        n = count_words(row->text, row->n_text);
    else if (!tokenizer_encode(a->options->tokenizer, a->scratch, row->text, row->n_text, 0, &ids,
                               &n, err))
        return false;
    if (n > a->counts.max_tokens) {
        snprintf(note, sizeof note, "%zu %s", n, a->counts.unit);
        found(a, AUDIT_OVERLONG, row->line, NULL, note);
    }
    return true;
}

/* A text's first row under a label. */
static bool first_with_label(struct auditor *a, struct hash128 hash, int32_t label,
                             struct error *err)
{
    bool fresh;
    struct audit_seen *seen;
    hash.low += (uint64_t)(label + 1) * 0x9E3779B97F4A7C15u;
    seen = audit_seen_at(&a->text_with_label, hash, &fresh, err);
    if (!seen)
        return false;
    seen->first_file = 1;
    if (fresh && label >= 0)
        a->counts.label[label].distinct++;
    return true;
}

static void check_conflict(struct auditor *a, const struct table_row *row, struct audit_seen *seen,
                           int32_t label)
{
    char note[96];
    if (label < 0 || seen->label < 0 || label == seen->label)
        return;
    const char *here = string_table_text(&a->counts.labels.set, label);
    const char *there = string_table_text(&a->counts.labels.set, seen->label);
    snprintf(note, sizeof note, "%.*s, there %.*s", shown(here), here, shown(there), there);
    found(a, AUDIT_LABEL_CONFLICT, row->line, seen, note);
}

static bool check_repeated(struct auditor *a, const struct table_row *row, int32_t label,
                           struct error *err)
{
    bool fresh;
    struct hash128 hash = hash128_bytes(row->text, row->n_text);
    struct audit_seen *seen = audit_seen_at(&a->text, hash, &fresh, err);
    if (!seen || !first_with_label(a, hash, label, err))
        return false;
    if (fresh) {
        *seen = (struct audit_seen){.hash = hash,
                                    .first_file = a->file + 1,
                                    .last_file = a->file + 1,
                                    .first_line = row->line,
                                    .label = label};
        a->counts.distinct++;
        return true;
    }
    if (seen->last_file == a->file + 1)
        found(a, AUDIT_DUPLICATE_WITHIN, row->line, seen, "");
    if (seen->first_file != a->file + 1)
        found(a, AUDIT_DUPLICATE_ACROSS, row->line, seen, "");
    seen->last_file = a->file + 1;
    check_conflict(a, row, seen, label);
    return true;
}

static bool check_row(struct auditor *a, const struct table_row *row, bool labelled,
                      struct error *err)
{
    struct audit_counts *c = &a->counts;
    if (row->stray_header) {
        found(a, AUDIT_STRAY_HEADER, row->line, NULL, "");
        return true;
    }
    int32_t label = label_number(a, row, err);
    if (label < -1)
        return false;
    c->rows++;
    c->file_rows[a->file]++;
    struct audit_label none = {0}, *of = label >= 0 ? &c->label[label] : &none;
    of->rows++;
    if (labelled && label < 0)
        found(a, AUDIT_NO_LABEL, row->line, NULL, "");
    if (row->n_invalid)
        found(a, AUDIT_INVALID_UTF8, row->line, NULL, "");
    if (is_empty(row->text, row->n_text)) { /* its copies are no news */
        of->empty++;
        found(a, AUDIT_EMPTY, row->line, NULL, "");
        return true;
    }
    enum mojibake kind = mojibake_find(row->text, row->n_text);
    if (kind != MOJIBAKE_NONE) {
        of->mojibake++;
        found(a, AUDIT_MOJIBAKE, row->line, NULL, mojibake_name(kind));
    }
    return check_length(a, row, err) && check_repeated(a, row, label, err);
}

static bool audit_table(struct auditor *a, struct table *table, struct error *err)
{
    struct table_row row;
    for (;;) {
        int more = table_next(table, &row, err);
        if (more < 0 && table_recoverable(table)) {
            found(a, AUDIT_BAD_ROW, row.line, NULL, "");
            error_clear(err);
            continue;
        }
        if (more <= 0)
            return more == 0;
        if (!check_row(a, &row, table_has_labels(table), err))
            return false;
    }
}

static bool audit_file(struct auditor *a, const char *path, struct error *err)
{
    struct source *source = source_open(path, true, err);
    struct table *table = source ? table_open(source, &a->options->table, err) : NULL;
    bool ok = table && audit_table(a, table, err);
    table_close(table);
    source_close(source);
    return ok;
}

/* Defects of labels, known at the end. */
static void check_labels(struct auditor *a)
{
    struct audit_counts *c = &a->counts;
    a->file = 0;
    for (size_t i = 0; i < c->labels.set.n; i++) {
        char note[96];
        const struct audit_label *label = &c->label[i];
        const char *name = string_table_text(&c->labels.set, (int32_t)i);
        snprintf(note, sizeof note, "%.*s: %llu rows, %llu distinct texts", shown(name), name,
                 (unsigned long long)label->rows, (unsigned long long)label->distinct);
        if (label->rows < AUDIT_RARE_ROWS)
            found(a, AUDIT_RARE_LABEL, 0, NULL, note);
        else if (2 * label->distinct < label->rows)
            found(a, AUDIT_REPEATING_LABEL, 0, NULL, note);
    }
}

static bool prepare(struct auditor *a, const char *const *path, size_t n_paths, struct error *err)
{
    const struct audit_options *o = a->options;
    struct audit_counts *c = &a->counts;
    c->max_tokens = o->max_tokens ? o->max_tokens : MAX_LENGTH;
    c->unit = o->tokenizer ? "tokens" : "words";
    c->n_files = n_paths;
    c->file = memory_zeroed(n_paths, sizeof *c->file, err);
    c->file_rows = memory_zeroed(n_paths, sizeof *c->file_rows, err);
    if (!c->file || !c->file_rows)
        return false;
    for (size_t i = 0; i < n_paths; i++)
        c->file[i] = strcmp(path[i], "-") == 0 ? "<stdin>" : path[i];
    for (size_t i = 0; i < AUDIT_DEFECTS; i++) {
        struct audit_finding *f = &c->finding[i];
        f->in_file = memory_zeroed(n_paths, sizeof *f->in_file, err);
        f->place = memory_zeroed(a->n_examples, sizeof *f->place, err);
        if (!f->in_file || !f->place)
            return false;
    }
    if (o->tokenizer && !(a->scratch = tokenizer_scratch_open(o->tokenizer, err)))
        return false;
    return true;
}

static void release(struct auditor *a)
{
    struct audit_counts *c = &a->counts;
    for (size_t i = 0; i < AUDIT_DEFECTS; i++) {
        free(c->finding[i].in_file);
        free(c->finding[i].place);
    }
    free(c->file);
    free(c->file_rows);
    free(c->label);
    labels_free(&c->labels);
    audit_seen_free(&a->text);
    audit_seen_free(&a->text_with_label);
    tokenizer_scratch_close(a->scratch);
}

bool audit(const char *const *path, size_t n_paths, const struct audit_options *options,
           struct output *output, struct error *err)
{
    struct auditor a = {.options = options,
                        .n_examples = options->examples ? options->examples : EXAMPLES};
    if (!n_paths) {
        path = standard_input;
        n_paths = 1;
    }
    bool ok = prepare(&a, path, n_paths, err);
    for (a.file = 0; ok && a.file < n_paths; a.file++)
        ok = audit_file(&a, path[a.file], err);
    if (ok) {
        check_labels(&a);
        ok = options->json ? audit_report_json(&a.counts, output, err)
                           : audit_report_text(&a.counts, output, err);
    }
    release(&a);
    return ok;
}
