/* tokenise.h: the work of mtok: files of rows in, a record stream (or ids as text) out; in blocks,
 * parallel, in order. */
#ifndef MILLET_TEXT_TOKENISE_H
#define MILLET_TEXT_TOKENISE_H

#include "core/error.h"
#include "core/progress.h"
#include "core/threads.h"
#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "text/augment.h"
#include "text/table.h"
#include "text/tokenizer.h"

enum tokenise_output {
    TOKENISE_RECORDS, /* a record stream */
    TOKENISE_IDS      /* ids as text, one record a line, separated by spaces */
};

struct tokenise_options {
    struct table_options table;
    enum tokenise_output output;
    size_t max_tokens;              /* 0: the tokenizer's model_max_length, else 512 */
    bool keep_text;                 /* records carry the text */
    struct augment_options augment; /* altered copies behind each text; none: no copies */
    struct records_grams grams;     /* the hashed n-grams that records carry; no buckets: none */
    char *const *label; /* the model's labels; n_labels 0: labels are collected from the data,
                           sorted (a first pass over spooled input) */
    size_t n_labels;
    /* table.separator not NULL: a multi-label stream */
    bool skip_bad; /* rows with stray headers or labels unknown to the model are skipped and counted
                      instead of an error */
    /* Each row is tokenised and written before the next is read, as a part of its own, and no pass
     * before collects labels: those of the model are all there are. */
    bool unbuffered;
    json_t *stage; /* history stage; stolen */
};

struct tokenise_counts {
    uint64_t rows, records, tokens, bytes, truncated, invalid_utf8, stray_headers, skipped, empty,
        altered; /* of the records: altered copies */
};

/* Paths (n 0: standard input) to output. */
bool tokenise(const char *const *path, size_t n_paths, const struct tokenizer *tokenizer,
              const struct tokenise_options *options, struct threads *team,
              const struct progress *progress, struct output *output,
              struct tokenise_counts *counts, struct error *err) MUST_CHECK;

/* A record stream back to text, one record a line. */
bool tokenise_decode(const char *const *path, size_t n_paths, const struct tokenizer *tokenizer,
                     struct output *output, struct error *err) MUST_CHECK;

#endif
