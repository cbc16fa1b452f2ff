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

enum { RECORDS_FORMAT = 1, RECORDS_LABEL_UNKNOWN = -1, RECORDS_SEPARATOR_BYTES = 8 };

enum {
    RECORDS_GRAMS_MIN_BUCKETS = 16,
    RECORDS_GRAMS_MAX_BUCKETS = 1 << 24, /* a weight of each for each label must fit in memory */
    RECORDS_GRAMS_MAX_CHARS = 8,
    RECORDS_GRAMS_MAX_WORDS = 5,
    RECORDS_GRAMS_TEXT = 64 /* bytes of "buckets=…,chars=…,words=…" */
};

/* Which hashed n-grams the records carry beside their tokens; text/grams.h makes them. In
 * stream.json "grams": {"buckets": 262144, "chars": [2, 5], "words": 2}, the same in a model's
 * config.json under "millet_ngram". */
struct records_grams {
    uint32_t buckets;            /* ids are below; 0: the stream has none */
    uint32_t char_min, char_max; /* n-grams of characters, inside words; 0, 0: none */
    uint32_t word_max;           /* n-grams of 1 to so many words; 0: none */
};

/* What stream.json says. */
struct records_header {
    uint64_t tokenizer; /* fingerprint: tokenizer_fingerprint() */
    char **label;       /* label names in order of id; n_labels 0: unlabelled */
    size_t n_labels;
    char *separator;   /* not NULL: a multi-label stream; what stands between labels in text */
    size_t max_tokens; /* what records were cut to, special tokens included; 0: nothing. Of a
                        * concatenation, the first stream's: no bound for an allocation */
    struct records_grams grams;
    char **field; /* columns its parts have, as the producer says; informative */
    size_t n_fields;
    json_t *history; /* array of stages */
};

/* Whether text can separate labels: 1 to 8 bytes of UTF-8, no control characters, not all
 * spaces. */
bool records_check_separator(const char *text, struct error *err) MUST_CHECK;

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
    const int32_t *label; /* [n]: -1 or below n_labels; checked. NULL in a multi-label stream */
    /* Of a multi-label stream: record i has label_id[label_offset[i] … label_offset[i+1]-1], ids
     * ascending, or the only "id" -1: unknown. NULL: unknown for all. Checked. */
    const int32_t *label_id;
    const int64_t *label_offset;
    const uint8_t *text;        /* [n_text_bytes] or NULL */
    const int64_t *text_offset; /* [n + 1] or NULL */
    const float *logits;        /* [n, n_labels] or NULL; finite, checked */
    /* "grams" and "gram_offsets": hashed n-grams of the text, ascending, one that occurs k times
     * stands k times. NULL where header.grams.buckets is 0, else there. Checked. */
    const int32_t *gram;
    const int64_t *gram_offset; /* [n + 1] */
    struct safetensors st;      /* every tensor, known or not */
    uint64_t hash;              /* XXH3 of the whole member */
    void *owned;                /* the bytes, when not mapped */
};

void records_part_free(struct records_part *part);

/* Are all numbers in range, and is there something to count? */
bool records_grams_check(const struct records_grams *grams, struct error *err) MUST_CHECK;
/* Without buckets nothing else matters. */
bool records_grams_equal(const struct records_grams *a, const struct records_grams *b);
/* As mtok --ngrams takes it, "none" without buckets. Returns `text`. */
const char *records_grams_text(const struct records_grams *grams, char text[RECORDS_GRAMS_TEXT]);
/* {"buckets": …, "chars": […, …], "words": …}. New reference, NULL: no memory. */
json_t *records_grams_json(const struct records_grams *grams);
/* Of such an object; other keys are no concern of this. `place` names it in messages. */
bool records_grams_from_json(const json_t *object, const char *place, struct records_grams *grams,
                             struct error *err) MUST_CHECK;

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
/* One part from tensors; must hold "ids", "offsets", and "label" or "label_ids" with
 * "label_offsets". */
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
    bool labelled; /* its label, or labels, are known */
    int32_t label; /* -1 when not labelled, and in a multi-label stream */
    const int32_t
        *label_id; /* of a multi-label stream: those that hold, [n_label_ids], ascending */
    size_t n_label_ids;
    const float *logits; /* [n_labels] or NULL */
    const int32_t *gram; /* [n_grams], NULL: the stream has none */
    size_t n_grams;
    const uint8_t *text; /* NULL or n_text bytes */
    size_t n_text;
};
struct record records_get(const struct records_set *set, size_t i);
/* Has any record a label, or labels, that are known? */
bool records_any_labelled(const struct records_set *set);

/* Refuse a stream that gives each record one label for a model of several, or the other way. A
 * stream without label names fits both. */
bool records_check_kind(const struct records_header *header, const char *stream_name,
                        bool multi_label, const char *model_name, struct error *err) MUST_CHECK;

/* Refuse a stream whose tokenizer or labels are not the model's; names both. */
bool records_check_model(const struct records_header *header, const char *stream_name,
                         uint64_t tokenizer, char *const *label, size_t n_labels,
                         const char *model_name, struct error *err) MUST_CHECK;

/* Refuse streams with other n-grams than the first of those that become one. */
bool records_header_agree_grams(const struct records_header *first, const char *first_place,
                                const struct records_header *other, const char *other_place,
                                struct error *err) MUST_CHECK;

/* Refuse a stream without the n-grams that a model needs (no buckets: none), or with others. */
bool records_check_grams(const struct records_header *header, const char *stream_name,
                         const struct records_grams *grams, const char *model_name,
                         struct error *err) MUST_CHECK;

#endif
