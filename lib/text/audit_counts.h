/* audit_counts.h: what an audit has found: a count and some places for each defect, a line of
 * figures for each label. Filled by audit.c, told by audit_report.c. */
#ifndef MILLET_TEXT_AUDIT_COUNTS_H
#define MILLET_TEXT_AUDIT_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/output.h"
#include "text/labels.h"

enum audit_defect {
    AUDIT_DUPLICATE_WITHIN, /* rows whose text stood earlier in the same file */
    AUDIT_DUPLICATE_ACROSS, /* rows whose text stands in an earlier file */
    AUDIT_LABEL_CONFLICT,   /* rows whose text stood earlier under another label */
    AUDIT_STRAY_HEADER,
    AUDIT_EMPTY,
    AUDIT_NO_LABEL,
    AUDIT_MOJIBAKE,
    AUDIT_INVALID_UTF8,
    AUDIT_OVERLONG,
    AUDIT_BAD_ROW,     /* cannot be read: too few cells, no JSON … */
    AUDIT_ROW_DEFECTS, /* those above are counted in rows, those below in labels */
    AUDIT_RARE_LABEL = AUDIT_ROW_DEFECTS,
    AUDIT_REPEATING_LABEL, /* most of a label's rows are copies */
    AUDIT_DEFECTS
};

struct audit_place {
    uint32_t file;
    uint64_t line;
    uint32_t of_file; /* + 1; 0: no other place */
    uint64_t of_line;
    char note[96]; /* "CP866", the two labels … */
};

struct audit_finding {
    uint64_t count;
    uint64_t *in_file; /* [n_files] */
    struct audit_place *place;
    size_t n_places;
};

struct audit_label {
    uint64_t rows, distinct, empty, mojibake;
};

struct audit_counts {
    const char **file; /* names, borrowed */
    uint64_t *file_rows;
    size_t n_files;
    uint64_t rows, distinct; /* rows with a text; stray headers and bad rows not among them */
    struct audit_finding finding[AUDIT_DEFECTS];
    struct labels labels;
    struct audit_label *label; /* by number of arrival */
    size_t label_capacity;
    size_t max_tokens;
    const char *unit; /* of lengths: "tokens" or "words" */
};

/* A label with fewer rows than this is rare: an evaluation of it would mean nothing. */
enum { AUDIT_RARE_ROWS = 10 };

bool audit_report_text(const struct audit_counts *counts, struct output *output,
                       struct error *err) MUST_CHECK;
bool audit_report_json(const struct audit_counts *counts, struct output *output,
                       struct error *err) MUST_CHECK;

#endif
