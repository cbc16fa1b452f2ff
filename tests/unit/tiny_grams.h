/* tiny_grams.h: a set of made-up records with n-grams, one label or several, teacher logits; in
 * memory, for tests of what is fitted to them. Header only, like tap.h.
 */
#ifndef MILLET_TESTS_TINY_GRAMS_H
#define MILLET_TESTS_TINY_GRAMS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "io/records.h"

enum {
    TINY_GRAMS_RECORDS = 60,
    TINY_GRAMS_BUCKETS = 64,
    TINY_GRAMS_CLASSES = 3,
    TINY_GRAMS_ROOM = 16
};

struct tiny_grams {
    struct records_set set;
    struct records_part part;
    size_t first[2];
    int64_t offset[TINY_GRAMS_RECORDS + 1], gram_offset[TINY_GRAMS_RECORDS + 1];
    int64_t label_offset[TINY_GRAMS_RECORDS + 1];
    int32_t id[TINY_GRAMS_RECORDS], label[TINY_GRAMS_RECORDS], label_id[2 * TINY_GRAMS_RECORDS];
    int32_t gram[TINY_GRAMS_RECORDS * TINY_GRAMS_ROOM];
    float logits[TINY_GRAMS_RECORDS * TINY_GRAMS_CLASSES];
};

static char *tiny_grams_label[TINY_GRAMS_CLASSES] = {(char *)"alpha", (char *)"beta",
                                                     (char *)"gamma"};

static inline int tiny_grams_order(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* n-grams of record i: 4 to 12, most from a third of the buckets that its class likes. */
static inline void tiny_grams_text(struct tiny_grams *t, size_t i)
{
    size_t n = 4 + rng_hash(i, 1) % 9, used = (size_t)t->gram_offset[i];
    for (size_t k = 0; k < n; k++) {
        uint64_t x = rng_hash(100 + i, k);
        bool likes = x % 10 < 6;
        t->gram[used + k] = (int32_t)(likes ? x / 16 % 20 * 3 + i % 3 : x / 16 % 60);
    }
    qsort(t->gram + used, n, sizeof *t->gram, tiny_grams_order);
    t->gram_offset[i + 1] = (int64_t)(used + n);
}

/* Record i is of class i % 3 (every seventh of none: unknown), or where there are several labels of
 * that one and, every fourth, the next. */
static inline void tiny_grams_make(struct tiny_grams *t, bool several)
{
    *t = (struct tiny_grams){.first = {0, TINY_GRAMS_RECORDS}};
    size_t labels = 0;
    for (size_t i = 0; i < TINY_GRAMS_RECORDS; i++) {
        int32_t label = (int32_t)(i % TINY_GRAMS_CLASSES);
        t->id[i] = 2;
        t->offset[i + 1] = (int64_t)i + 1;
        t->label[i] = i % 7 == 6 ? RECORDS_LABEL_UNKNOWN : label;
        if (i % 7 == 6)
            t->label_id[labels++] = RECORDS_LABEL_UNKNOWN;
        else {
            t->label_id[labels++] = label;
            if (i % 4 == 0 && label < 2)
                t->label_id[labels++] = label + 1;
        }
        t->label_offset[i + 1] = (int64_t)labels;
        for (size_t c = 0; c < TINY_GRAMS_CLASSES; c++)
            t->logits[i * TINY_GRAMS_CLASSES + c] =
                (float)(rng_hash(7 + i, c) % 100) / 40 - 1 + (i % 3 == c ? 2.0F : 0.0F);
        tiny_grams_text(t, i);
    }
    t->part = (struct records_part){.n = TINY_GRAMS_RECORDS,
                                    .offset = t->offset,
                                    .id = t->id,
                                    .n_tokens = TINY_GRAMS_RECORDS,
                                    .label = several ? NULL : t->label,
                                    .label_id = several ? t->label_id : NULL,
                                    .label_offset = several ? t->label_offset : NULL,
                                    .logits = t->logits,
                                    .gram = t->gram,
                                    .gram_offset = t->gram_offset};
    t->set = (struct records_set){.header = {.label = tiny_grams_label,
                                             .n_labels = TINY_GRAMS_CLASSES,
                                             .separator = several ? (char *)"|" : NULL,
                                             .grams = {TINY_GRAMS_BUCKETS, 2, 3, 1}},
                                  .part = &t->part,
                                  .n_parts = 1,
                                  .first = t->first,
                                  .n = TINY_GRAMS_RECORDS,
                                  .has_logits = true};
}

static inline void tiny_grams_need(bool ok, const struct error *err)
{
    if (ok)
        return;
    printf("Bail out! %s\n", err->text);
    exit(1);
}

#endif
