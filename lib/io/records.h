/* records.h: the record stream: tokens, labels, text, logits, hidden states, in columnar unpadded
 * parts inside a tar.
 *
 *   stream.json | part-00000000.safetensors … | end.json        complete
 *   stream.json | part-…                      | error.json      the producer failed: its message
 *                                                               becomes ours
 *   stream.json | part-…                                        cut short: an error, never a
 *                                                               shorter result
 *
 * After end.json another stream.json may follow (cat a.tok b.tok): same tokenizer and labels, or an
 * error. A stage that adds a field passes all others through untouched, known or not.
 */
#ifndef MILLET_IO_RECORDS_H
#define MILLET_IO_RECORDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/output.h"
#include "io/safetensors.h"
#include "io/source.h"

enum { RECORDS_FORMAT = 1, RECORDS_LABEL_UNKNOWN = -1 };

/* What stream.json says. */
struct records_header {
    uint64_t tokenizer; /* fingerprint: tokenizer_fingerprint() */
    char **label;       /* label names in order of id; n_labels 0: unlabelled */
    size_t n_labels;
    size_t max_tokens; /* what records were cut to, special tokens included; 0: nothing. Of a
                        * concatenation, the first stream's: no bound for an allocation */
    char **field;      /* columns its parts have, as the producer says; informative */
    size_t n_fields;
    json_t *history; /* array of stages */
};

void records_header_free(struct records_header *header);
bool records_header_copy(const struct records_header *from, struct records_header *to,
                         struct error *err) MUST_CHECK;

/* One part: n records. The pointers are views into st (the part's own tensors); optional ones are
 * NULL. */
struct records_part {
    size_t n;
    const int64_t *offset; /* [n + 1], from 0 to n_tokens, not decreasing; checked */
    const int32_t *id;     /* [n_tokens], not negative; checked */
    size_t n_tokens;
    const int32_t *label;       /* [n]: -1 or below n_labels; checked */
    const uint8_t *text;        /* [n_text_bytes] or NULL */
    const int64_t *text_offset; /* [n + 1] or NULL */
    const float *logits;        /* [n, n_labels] or NULL; finite, checked */
    struct safetensors st;      /* every tensor, known or not */
    uint64_t hash;              /* XXH3 of the whole member */
    void *owned;                /* the bytes, when not mapped */
};

void records_part_free(struct records_part *part);

struct records_reader;

/* Borrows the source. Reads and checks stream.json (format version, kind). */
struct records_reader *records_reader_open(struct source *source, struct error *err) MUST_CHECK;
const struct records_header *records_reader_header(const struct records_reader *reader);
/* 1: a part (the caller frees it; on a mapped source its bytes are the map's), 0: complete end, -1:
 * failed. Checks the part's checksum, all its fields, and at the end the totals. */
int records_next(struct records_reader *reader, struct records_part *part,
                 struct error *err) MUST_CHECK;
void records_reader_close(struct records_reader *reader);

struct records_writer;

/* Writes stream.json at once. Its "fields" are header->field and, after those, the names in `field`
 * that are new. `stage` (stolen, may be NULL) is appended to the history. */
struct records_writer *records_writer_open(struct output *output,
                                           const struct records_header *header,
                                           const char *const *field, size_t n_fields, json_t *stage,
                                           struct error *err) MUST_CHECK;
/* One part from tensors; must hold "ids", "offsets", "label". */
bool records_write(struct records_writer *writer, const struct tensor_view *tensor,
                   size_t n_tensors, struct error *err) MUST_CHECK;
/* The part's own tensors, with `add` replacing those of the same name or joining them. */
bool records_write_part(struct records_writer *writer, const struct records_part *part,
                        const struct tensor_view *add, size_t n_add, struct error *err) MUST_CHECK;
/* end.json. Frees the writer in any case; the caller commits the output. */
bool records_writer_finish(struct records_writer *writer, struct error *err) MUST_CHECK;
/* error.json with "program: text", so that the last tool of a pipe can show the first cause; then
 * frees the writer. Best effort. */
void records_writer_fail(struct records_writer *writer, const char *program,
                         const struct error *cause);

/* A writer that fails before it could open: the whole stream is an error.json. Best effort. */
void records_write_failure(struct output *output, const char *program, const struct error *cause);

/* A whole stream (or several files one after another) for random access: records by index over the
 * parts. Sources that are pipes are spooled and mapped, so memory is the page cache's. Used by what
 * needs its input more than once. */
struct records_set {
    struct records_header header;
    struct records_part *part;
    size_t n_parts;
    size_t *first; /* [n_parts + 1]: index of each part's first record */
    size_t n;      /* records */
    uint64_t n_tokens;
    size_t longest;  /* tokens of the longest record */
    bool has_logits; /* every part has them */
    bool has_text;
    uint64_t fingerprint;   /* of the content, for histories */
    struct source **source; /* owned */
    size_t n_sources;
};

/* n_paths 0 reads standard input. */
bool records_set_open(struct records_set *set, const char *const *path, size_t n_paths,
                      struct error *err) MUST_CHECK;
void records_set_close(struct records_set *set);

struct record {
    const int32_t *id;
    size_t n_ids;
    int32_t label;
    const float *logits; /* [n_labels] or NULL */
    const uint8_t *text; /* NULL or n_text bytes */
    size_t n_text;
};
struct record records_get(const struct records_set *set, size_t i);

/* Refuse a stream whose tokenizer or labels are not the model's; names both. */
bool records_check_model(const struct records_header *header, const char *stream_name,
                         uint64_t tokenizer, char *const *label, size_t n_labels,
                         const char *model_name, struct error *err) MUST_CHECK;

#endif
