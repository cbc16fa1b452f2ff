/* audit.h: the defects of a labelled text data set: duplicates within and across files, one text
 * under two labels, stray header rows, empty texts, mojibake (UTF-8 read as CP866 or CP1252 and
 * encoded again), invalid UTF-8, labels with few rows, over-long texts. */
#ifndef MILLET_TEXT_AUDIT_H
#define MILLET_TEXT_AUDIT_H

#include "core/error.h"
#include "io/output.h"
#include "text/table.h"
#include "text/tokenizer.h"

struct audit_options {
    struct table_options table;
    const struct tokenizer *tokenizer; /* NULL: lengths are in words */
    size_t max_tokens;                 /* over-long beyond this; 0: 512 */
    bool json;
    size_t examples; /* places named per defect; 3 */
};

/* Writes the report. A data set with defects is not a failure. */
bool audit(const char *const *path, size_t n_paths, const struct audit_options *options,
           struct output *output, struct error *err) MUST_CHECK;

#endif
