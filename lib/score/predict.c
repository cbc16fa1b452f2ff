/* predict.c: lines of predictions. */
#include "score/predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "score/metrics.h"

/* Text of one part's lines, and room for one record's probabilities. */
struct lines {
    char *text;
    size_t n, capacity;
    float *logits; /* [part's records, n_labels] */
    size_t n_logits;
    double *probability; /* [n_labels] */
    size_t n_labels, top;
    const char *separator; /* NULL: one label a record */
};

/* Add bytes; those that would break a line or a column become spaces. */
static bool add_column(struct lines *lines, const char *bytes, size_t n, struct error *err)
{
    if (!memory_grow(&lines->text, &lines->capacity, lines->n + n, 1, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        bool breaks = bytes[i] == '\t' || bytes[i] == '\n' || bytes[i] == '\r';
        lines->text[lines->n++] = breaks ? ' ' : bytes[i];
    }
    return true;
}

static bool add_raw(struct lines *lines, const char *bytes, size_t n, struct error *err)
{
    if (!memory_grow(&lines->text, &lines->capacity, lines->n + n, 1, err))
        return false;
    memcpy(lines->text + lines->n, bytes, n);
    lines->n += n;
    return true;
}

/* The best of what is left; taken ones are marked by a negative probability. Few are asked for, so
 * no sort. */
static size_t take_best(double *probability, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (probability[i] > probability[best])
            best = i;
    return best;
}

/* The labels that hold and their probabilities. */
static bool add_set(struct lines *lines, const struct subject *subject,
                    const struct records_header *header, const float *logits, struct error *err)
{
    size_t n_separator = strlen(lines->separator);
    for (int column = 0; column < 2; column++) {
        bool first = true;
        if (column == 1 && !add_raw(lines, "\t", 1, err))
            return false;
        for (size_t c = 0; c < lines->n_labels; c++) {
            char room[SUBJECT_LABEL_BYTES];
            const char *text = subject_label(subject, header, c, room);
            if (!(logits[c] > 0))
                continue;
            if (column == 1) {
                snprintf(room, sizeof room, "%.6f", lines->probability[c]);
                text = room;
            }
            if ((!first && !add_raw(lines, lines->separator, n_separator, err)) ||
                !add_column(lines, text, strlen(text), err))
                return false;
            first = false;
        }
    }
    return true;
}

static bool add_record(struct lines *lines, const struct subject *subject,
                       const struct records_header *header, const float *logits, struct error *err)
{
    size_t top = lines->top ? lines->top : 1;
    if (lines->separator)
        metrics_sigmoid(logits, lines->n_labels, lines->probability);
    else
        metrics_softmax(logits, lines->n_labels, lines->probability);
    if (lines->separator && !lines->top)
        return add_set(lines, subject, header, logits, err);
    for (size_t k = 0; k < top; k++) {
        char room[SUBJECT_LABEL_BYTES], number[32];
        size_t best = take_best(lines->probability, lines->n_labels);
        const char *label = subject_label(subject, header, best, room);
        int n = snprintf(number, sizeof number, "\t%.6f", lines->probability[best]);
        lines->probability[best] = -1;
        if ((k > 0 && !add_raw(lines, "\t", 1, err)) ||
            !add_column(lines, label, strlen(label), err) ||
            !add_raw(lines, number, (size_t)n, err))
            return false;
    }
    return true;
}

static bool add_text(struct lines *lines, const struct records_part *part, size_t i,
                     struct error *err)
{
    return add_raw(lines, "\t", 1, err) &&
           add_column(lines, (const char *)part->text + part->text_offset[i],
                      (size_t)(part->text_offset[i + 1] - part->text_offset[i]), err);
}

/* All lines of a part into lines->text. */
static bool add_part(struct lines *lines, const struct subject *subject,
                     const struct records_header *header, const struct records_part *part,
                     bool with_text, struct subject_place place, struct error *err)
{
    if (with_text && !part->text)
        return error_set(err,
                         "%s: the stream carries no text for --text; run mtok with --keep-text",
                         place.stream);
    size_t n_values;
    if (!memory_multiply(part->n, lines->n_labels, &n_values))
        return error_set(err, "%s: %zu records of %zu labels are too many for one part",
                         place.stream, part->n, lines->n_labels);
    if (!memory_grow(&lines->logits, &lines->n_logits, n_values, sizeof *lines->logits, err) ||
        !subject_logits(subject, part, place, lines->n_labels, lines->logits, err))
        return false;
    lines->n = 0;
    for (size_t i = 0; i < part->n; i++) {
        const float *logits = lines->logits + i * lines->n_labels;
        if (!add_record(lines, subject, header, logits, err) ||
            (with_text && !add_text(lines, part, i, err)) || !add_raw(lines, "\n", 1, err))
            return false;
    }
    return true;
}

/* Record i as a part of its own; borrows. */
static struct records_part single(const struct records_part *part, size_t i, size_t n_labels)
{
    return (struct records_part){
        .n = 1,
        .offset = part->offset + i,
        .id = part->id,
        .text = part->text,
        .text_offset = part->text ? part->text_offset + i : NULL,
        .logits = part->logits ? part->logits + i * n_labels : NULL,
        .gram = part->gram,
        .gram_offset = part->gram ? part->gram_offset + i : NULL,
    };
}

static bool write_part(struct lines *lines, const struct subject *subject,
                       const struct records_header *header, const struct records_part *part,
                       const struct predict_options *options, struct subject_place place,
                       struct output *output, struct error *err)
{
    size_t step = options->unbuffered ? 1 : part->n;
    for (size_t i = 0; i < part->n; i += step, place.first += step) {
        struct records_part one = step == part->n ? *part : single(part, i, lines->n_labels);
        if (!add_part(lines, subject, header, &one, options->text, place, err) ||
            !output_write(output, lines->text, lines->n, err) || !output_flush(output, err))
            return false;
    }
    return true;
}

static bool predict_parts(const struct subject *subject, struct records_reader *reader,
                          const struct predict_options *options, const struct progress *progress,
                          const char *stream_name, struct output *output, uint64_t *n_records,
                          struct error *err)
{
    const struct records_header *header = records_reader_header(reader);
    struct lines lines = {.n_labels = subject_n_labels(subject, header)};
    lines.top = options->top < lines.n_labels ? options->top : lines.n_labels;
    if (subject_is_multi_label(subject, header))
        lines.separator = header->separator ? header->separator : "|";
    lines.probability = memory_array(lines.n_labels, sizeof *lines.probability, err);
    bool ok = lines.probability != NULL;
    struct records_part part;
    int more = 0;
    struct subject_place place = {stream_name, 0};
    while (ok && (more = records_next(reader, &part, err)) > 0) {
        ok = write_part(&lines, subject, header, &part, options, place, output, err);
        place.first += part.n;
        *n_records += part.n;
        records_part_free(&part);
        progress_report(
            progress, &(struct progress_event){
                          .stage = "predict", .done = *n_records, .unit = "records", .loss = NAN});
    }
    free(lines.text);
    free(lines.logits);
    free(lines.probability);
    return ok && more == 0;
}

bool predict_stream(const struct subject *subject, struct source *source,
                    const struct predict_options *options, const struct progress *progress,
                    struct output *output, uint64_t *n_records, struct error *err)
{
    struct records_reader *reader = records_reader_open(source, err);
    if (!reader)
        return false;
    bool ok = subject_check(subject, records_reader_header(reader), source_name(source), err);
    if (ok && !predict_parts(subject, reader, options, progress, source_name(source), output,
                             n_records, err))
        ok = false;
    records_reader_close(reader);
    return ok;
}
