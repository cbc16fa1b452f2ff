/* toy.h: records in memory, as a set of one part, and a model without weights to train on them. */
#ifndef MILLET_TESTS_TOY_H
#define MILLET_TESTS_TOY_H

#include "io/model.h"
#include "io/output.h"
#include "io/records.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

enum { TOY_RECORDS = 240, TOY_LONGEST = 14, TOY_LABELS = 3 };

static char *toy_label[TOY_LABELS] = {(char *)"sport", (char *)"money", (char *)"film"};

struct toy {
    struct records_part part;
    size_t first[2];
    int64_t offset[TOY_RECORDS + 1]; /* of `id`, from 0 */
    int32_t id[TOY_RECORDS * TOY_LONGEST], label[TOY_RECORDS];
    float logits[TOY_RECORDS * TOY_LABELS];
    struct records_set set;
};

/* The set of the first n records, once offset, id and label have been written. */
static inline void toy_make_set(struct toy *toy, size_t n)
{
    size_t longest = 0;
    for (size_t i = 0; i < n; i++) {
        size_t length = (size_t)(toy->offset[i + 1] - toy->offset[i]);
        longest = length > longest ? length : longest;
    }
    toy->part = (struct records_part){.n = n,
                                      .offset = toy->offset,
                                      .id = toy->id,
                                      .n_tokens = (size_t)toy->offset[n],
                                      .label = toy->label};
    toy->first[1] = n;
    toy->set = (struct records_set){
        .header = {.label = toy_label, .n_labels = TOY_LABELS, .max_tokens = 16},
        .part = &toy->part,
        .n_parts = 1,
        .first = toy->first,
        .n = n,
        .n_tokens = (uint64_t)toy->offset[n],
        .longest = longest};
}

/* As mtok --learn writes: for mstudent --shape. */
static inline void toy_write_empty(const char *file)
{
    struct error err = ERROR_INIT;
    json_t *config = json_pack("{s:s, s:i}", "model_type", "bert", "vocab_size", TINY_VOCAB);
    const struct model_writer_options options = {.config = config};
    struct output *output = output_open(scratch_path(file), true, &err);
    tiny_need(config && output && model_write(output, &options, &err) &&
                  output_commit(output, &err),
              &err);
    json_decref(config);
}

#endif
