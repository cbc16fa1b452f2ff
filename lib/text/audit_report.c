/* audit_report.c: the findings of an audit as text and as JSON. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/jobject.h"
#include "core/memory.h"
#include "text/audit_counts.h"

/* By enum audit_defect: the name in JSON, and the sentence. */
static const struct {
    const char *name, *title;
} defect[AUDIT_DEFECTS] = {
    {"duplicates_within", "exact duplicates within a file"},
    {"duplicates_across", "rows whose text stands in an earlier file"},
    {"label_conflicts", "the same text under two labels"},
    {"stray_headers", "stray header rows inside the data"},
    {"empty", "empty texts"},
    {"no_label", "rows without a label"},
    {"mojibake", "mojibake: UTF-8 read as another code page and encoded again"},
    {"invalid_utf8", "rows with invalid UTF-8"},
    {"overlong", "over-long texts"},
    {"bad_rows", "rows that cannot be read (too few cells, broken JSON)"},
    {"rare_labels", "labels with few rows"},
    {"repeating_labels", "labels most of whose rows are copies"},
};

static double percent(uint64_t part, uint64_t whole)
{
    return whole ? 100.0 * (double)part / (double)whole : 0;
}

__attribute__((format(printf, 3, 4))) static bool say(struct output *output, struct error *err,
                                                      const char *format, ...)
{
    char *line; /* of any length: labels and paths are */
    va_list list;
    va_start(list, format);
    int n = vasprintf(&line, format, list);
    va_end(list);
    if (n < 0)
        return error_set(err, "no memory for the report");
    bool ok = output_write(output, line, (size_t)n, err);
    free(line);
    return ok;
}

/* ---- text ---- */

static bool text_place(const struct audit_counts *c, const struct audit_place *p,
                       struct output *output, struct error *err)
{
    if (!p->line)
        return say(output, err, "    %s\n", p->note);
    if (p->of_file)
        return say(output, err, "    %s:%llu\tas %s:%llu%s%s\n", c->file[p->file],
                   (unsigned long long)p->line, c->file[p->of_file - 1],
                   (unsigned long long)p->of_line, p->note[0] ? "\t" : "", p->note);
    return say(output, err, "    %s:%llu%s%s\n", c->file[p->file], (unsigned long long)p->line,
               p->note[0] ? "\t" : "", p->note);
}

static bool text_finding(const struct audit_counts *c, size_t i, struct output *output,
                         struct error *err)
{
    const struct audit_finding *f = &c->finding[i];
    bool of_rows = i < AUDIT_ROW_DEFECTS;
    bool ok = of_rows ? say(output, err, "%s: %llu (%.1f%% of the rows)\n", defect[i].title,
                            (unsigned long long)f->count, percent(f->count, c->rows))
                      : say(output, err, "%s: %llu of %zu\n", defect[i].title,
                            (unsigned long long)f->count, c->labels.set.n);
    for (size_t k = 0; ok && of_rows && c->n_files > 1 && k < c->n_files; k++)
        if (f->in_file[k])
            ok = say(output, err, "  %llu in %s\n", (unsigned long long)f->in_file[k], c->file[k]);
    for (size_t k = 0; ok && k < f->n_places; k++)
        ok = text_place(c, &f->place[k], output, err);
    return ok && say(output, err, "\n");
}

/* The defects that were looked for and not found. */
static bool text_clean(const struct audit_counts *c, struct output *output, struct error *err)
{
    const char *before = "not found: ";
    for (size_t i = 0; i < AUDIT_DEFECTS; i++) {
        if (c->finding[i].count)
            continue;
        if (!say(output, err, "%s%s", before, defect[i].title))
            return false;
        before = "; ";
    }
    return say(output, err, "\n\n");
}

static bool text_labels(const struct audit_counts *c, struct output *output, struct error *err)
{
    if (!c->labels.set.n)
        return say(output, err, "no labels\n");
    bool ok = say(output, err, "label\trows\tshare\tdistinct\tempty\tmojibake\n");
    for (size_t i = 0; ok && i < c->labels.n; i++) {
        const char *name = c->labels.name[i];
        const struct audit_label *l =
            &c->label[string_table_find(&c->labels.set, name, strlen(name))];
        ok = say(output, err, "%s\t%llu\t%.1f%%\t%llu\t%llu\t%llu\n", name,
                 (unsigned long long)l->rows, percent(l->rows, c->rows),
                 (unsigned long long)l->distinct, (unsigned long long)l->empty,
                 (unsigned long long)l->mojibake);
    }
    return ok;
}

bool audit_report_text(const struct audit_counts *c, struct output *output, struct error *err)
{
    struct audit_counts sorted = *c; /* its labels get ids by name */
    sorted.labels.name = NULL;
    sorted.labels.id = NULL;
    bool ok = labels_close(&sorted.labels, true, err) &&
              say(output, err, "%llu rows in %zu %s, %llu distinct texts, %zu labels\n",
                  (unsigned long long)c->rows, c->n_files, c->n_files == 1 ? "file" : "files",
                  (unsigned long long)c->distinct, c->labels.set.n);
    for (size_t i = 0; ok && i < c->n_files; i++)
        ok = say(output, err, "  %llu in %s\n", (unsigned long long)c->file_rows[i], c->file[i]);
    ok = ok && say(output, err, "\n");
    size_t clean = 0;
    for (size_t i = 0; ok && i < AUDIT_DEFECTS; i++)
        if (c->finding[i].count)
            ok = text_finding(c, i, output, err);
        else
            clean++;
    ok = ok && (!clean || text_clean(c, output, err));
    ok = ok && text_labels(&sorted, output, err);
    free(sorted.labels.name);
    free(sorted.labels.id);
    return ok;
}

/* ---- JSON ---- */

static json_t *json_place(const struct audit_counts *c, const struct audit_place *p)
{
    json_t *place = json_object();
    if (p->line) {
        json_object_set_new(place, "file", jobject_text(c->file[p->file]));
        json_object_set_new(place, "line", json_integer((json_int_t)p->line));
    }
    if (p->of_file)
        json_object_set_new(place, "as",
                            json_pack("{s:o, s:I}", "file", jobject_text(c->file[p->of_file - 1]),
                                      "line", (json_int_t)p->of_line));
    if (p->note[0])
        json_object_set_new(place, "note", jobject_text(p->note));
    return place;
}

static json_t *json_finding(const struct audit_counts *c, size_t i)
{
    const struct audit_finding *f = &c->finding[i];
    json_t *finding = json_pack("{s:I}", "count", (json_int_t)f->count);
    json_t *files = json_array(), *places = json_array();
    if (i < AUDIT_ROW_DEFECTS) {
        json_object_set_new(finding, "share", json_real(percent(f->count, c->rows) / 100));
        for (size_t k = 0; k < c->n_files; k++)
            json_array_append_new(files, json_integer((json_int_t)f->in_file[k]));
        json_object_set(finding, "in_file", files);
    }
    for (size_t k = 0; k < f->n_places; k++)
        json_array_append_new(places, json_place(c, &f->place[k]));
    json_object_set(finding, "examples", places);
    json_decref(files);
    json_decref(places);
    return finding;
}

static json_t *json_labels(const struct audit_counts *c)
{
    json_t *labels = json_object();
    for (size_t i = 0; i < c->labels.set.n; i++) {
        const struct audit_label *l = &c->label[i];
        json_object_set_new(labels, string_table_text(&c->labels.set, (int32_t)i),
                            json_pack("{s:I, s:I, s:I, s:I}", "rows", (json_int_t)l->rows,
                                      "distinct", (json_int_t)l->distinct, "empty",
                                      (json_int_t)l->empty, "mojibake", (json_int_t)l->mojibake));
    }
    return labels;
}

bool audit_report_json(const struct audit_counts *c, struct output *output, struct error *err)
{
    json_t *files = json_array(), *defects = json_object();
    for (size_t i = 0; i < c->n_files; i++)
        json_array_append_new(files, json_pack("{s:o, s:I}", "name", jobject_text(c->file[i]),
                                               "rows", (json_int_t)c->file_rows[i]));
    for (size_t i = 0; i < AUDIT_DEFECTS; i++)
        json_object_set_new(defects, defect[i].name, json_finding(c, i));
    json_t *report = json_pack(
        "{s:I, s:I, s:o, s:o, s:o, s:{s:I, s:s}}", "rows", (json_int_t)c->rows, "distinct",
        (json_int_t)c->distinct, "files", files, "defects", defects, "labels", json_labels(c),
        "longest_allowed", "length", (json_int_t)c->max_tokens, "unit", c->unit);
    char *text = report ? jobject_dump(report, err) : NULL;
    bool ok = text ? output_write(output, text, strlen(text), err)
                   : error_set(err, "no memory for the report");
    free(text);
    json_decref(report);
    return ok;
}
