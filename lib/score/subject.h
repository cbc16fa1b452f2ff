/* subject.h: what is scored: a model, loaded once and used for accuracy and timing alike, or the
 * logits that a stream carries.
 */
#ifndef MILLET_SCORE_SUBJECT_H
#define MILLET_SCORE_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"
#include "io/model.h"
#include "io/records.h"
#include "kernels/kernels.h"
#include "nn/classifier.h"

enum {
    SUBJECT_LABEL_BYTES = 32 /* room for "LABEL_" and any number */
};

struct subject {
    const char *name; /* the model's, or "logits of the stream" */
    bool is_model;
    struct model model;            /* owned, where is_model */
    struct classifier *classifier; /* owned; NULL: the stream's logits */
    uint64_t tokenizer;            /* fingerprint, where is_model */
};

/* Open the model at `path`; NULL: the stream's logits are the subject. Device and team must outlive
 * it. */
bool subject_open(struct subject *subject, const char *path, struct device *dev,
                  struct threads *team, struct error *err) MUST_CHECK;
void subject_close(struct subject *subject);

/* Refuse a stream made with another tokenizer or for other labels. */
bool subject_check(const struct subject *subject, const struct records_header *header,
                   const char *stream_name, struct error *err) MUST_CHECK;

/* Whether the subject's answers to a stream are sets of labels. */
bool subject_is_multi_label(const struct subject *subject, const struct records_header *header);

/* Labels the subject tells apart on a stream that passed subject_check(). */
size_t subject_n_labels(const struct subject *subject, const struct records_header *header);
/* Name of label i: the model's, else the stream's, else LABEL_i (as Hugging Face calls nameless
 * ones), written to `room`. */
const char *subject_label(const struct subject *subject, const struct records_header *header,
                          size_t i, char room[SUBJECT_LABEL_BYTES]);

/* A part of a stream: for messages, the stream's name and the index of the part's first record in
 * it. */
struct subject_place {
    const char *stream;
    size_t first;
};

/* logits[part->n, n_labels]: computed, or copied from the part. Not finite is an error. */
bool subject_logits(const struct subject *subject, const struct records_part *part,
                    struct subject_place place, size_t n_labels, float *logits,
                    struct error *err) MUST_CHECK;

#endif
