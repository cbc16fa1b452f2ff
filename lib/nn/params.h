/* params.h: trainable parameters on a device: one flat block each of weights and gradients (and
 * moments, once optimised) for everything but the word and position tables, whose gradients exist
 * for touched rows only and whose moments for those that may be, so that rows never seen cost no
 * memory and no time. Also their Hugging Face names, for reading and writing.
 */
#ifndef MILLET_NN_PARAMS_H
#define MILLET_NN_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "io/output.h"
#include "kernels/kernels.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/parts.h"
#include "nn/shape.h"
#include "nn/weights.h"

/* A tensor inside the block. The block is ordered by group, so that each group is one range for the
 * optimizer. */
enum params_group {
    PARAMS_MATRICES,      /* weight decay */
    PARAMS_HEAD_MATRICES, /* pooler, classifier: weight decay, their own learning rate */
    PARAMS_VECTORS,       /* biases and norms */
    PARAMS_HEAD_VECTORS,
    PARAMS_GROUPS
};
struct params_entry {
    char name[PARTS_NAME_BYTES];
    struct part part;  /* what it belongs to */
    size_t rows, cols; /* cols 0: a vector */
    size_t offset;     /* in the block, elements */
    enum params_group group;
    bool gain;  /* of a norm: starts at 1 */
    bool fresh; /* started at random */
};

struct params_table {
    char name[PARTS_NAME_BYTES];
    size_t rows, cols;
    float *w;         /* device [rows, cols] */
    float *m, *v;     /* device [n_moments, cols]; NULL before optimisation */
    size_t n_moments; /* rows */
    /* [rows] on the host and on the device: the row of m and v of each row, ascending; -1 where
     * there is none. NULL: n_moments is rows, each its own. */
    int32_t *place, *device_place;
    float *grad; /* device [room, cols], compact */
    size_t room;
    uint8_t *touched; /* host [rows] */
};

/* The gradient of a matrix, in the block, up to the next entry. */
struct params_range {
    size_t begin, end;
    bool *stale; /* NULL: parts of it are several matrices', all of which add to it */
};

struct params {
    struct device *dev; /* borrowed */
    struct shape shape; /* owned copy */
    struct params_entry *entry;
    size_t n_entries, n; /* n: elements of the block */
    size_t group_begin[PARAMS_GROUPS + 1];
    float *w, *grad, *m, *v; /* device [n] */
    struct params_table word, position;
    float *type_grad;       /* in grad; NULL: the family has no types */
    struct weights weights; /* bound to w and grad */
    struct linear **linear; /* the matrices of weights */
    size_t n_linears;
    /* Those that the first product of a step writes, so that nothing has to zero them, in ascending
     * order; flags that weights point at, too. */
    struct params_range *range;
    size_t n_ranges;
    bool *stale;
};

/* Values from the model (any float type, int8 with scales); a missing pooler or classifier starts
 * at random, with new_head any classifier. model NULL: everything starts at random (normal with the
 * shape's initializer_range, biases 0, gains 1), from `seed`. */
bool params_open(struct params *params, const struct shape *shape, struct model *model,
                 bool new_head, uint64_t seed, struct device *dev, struct error *err) MUST_CHECK;
/* Elements of the block, without opening any. */
bool params_count(const struct shape *shape, size_t *n, struct error *err) MUST_CHECK;
/* Only the rows of the word table that `words` [rows] marks will occur in batches: no others get
 * moments. Before optimizer_open(). */
bool params_expect(struct params *params, const uint8_t *words, struct error *err) MUST_CHECK;
/* Room for gradients of so many rows of the word and position tables. */
bool params_reserve(struct params *params, size_t words, size_t positions,
                    struct error *err) MUST_CHECK;
void params_close(struct params *params); /* safe on a zeroed struct */

/* Free the moments and the tables' gradients before writing: no step after this. */
void params_drop_moments(struct params *params);

/* Products multiply in this format from now on: BF16 or F16; the weights themselves stay as they
 * are. */
bool params_round(struct params *params, enum dtype format, struct error *err) MUST_CHECK;

/* Tell the device that w has changed (after a step or a restore). */
void params_refresh(struct params *params);

/* Before the gradients of a step on this batch: those that will be added to are zeroed, with room
 * for its rows; those of matrices are marked stale, for the first product to write. *rows gets where
 * encoder_backward() puts them. */
bool params_zero_grad(struct params *params, const struct batch *batch,
                      struct encoder_rows_grad *rows, struct error *err) MUST_CHECK;

/* After encoder_backward(): zero what is still stale, of matrices that took no part. */
void params_settle_grad(struct params *params);

/* ---- params_gradient.c, for params.c ---- */
/* The gradient of [begin, end) of the block is a matrix's; where its flag is, or NULL. */
bool *params_add_range(struct params *params, size_t begin, size_t end);
/* Zero all gradients of the block but those that are to be written. */
void params_zero_rest(struct params *params);

/* How many rows are marked. */
size_t params_touched(const uint8_t *touched, size_t rows);
/* The touched rows of w, or with the table's `place` of m or v, one behind the other on the host,
 * owned by the caller (NULL: no memory); and the rows that `touched` marks back. */
float *params_gather(const struct params *params, const struct params_table *table,
                     const int32_t *place, const float *values, struct error *err) MUST_CHECK;
void params_scatter(const struct params *params, const struct params_table *table,
                    const int32_t *place, const uint8_t *touched, const float *copy, float *values);

/* A copy of the weights on the host: the block and the touched rows. Replaces what *copy held. */
struct params_copy {
    float *block, *word, *position;
    uint8_t *word_touched, *position_touched;
};
bool params_save(const struct params *params, struct params_copy *copy,
                 struct error *err) MUST_CHECK;
/* Back to the saved state: the block, and the rows that were touched before the copy was taken
 * (save after a whole epoch: later ones touch no new rows). */
void params_restore(struct params *params, const struct params_copy *copy);
void params_copy_free(struct params_copy *copy);

/* What is written beside the parameters. */
struct params_beside {
    const struct tensor_view *tensor;
    size_t n_tensors;
    json_t *extra; /* keys that join millet.json; stolen; may be NULL */
};

/* A model stream, fp32. `from` gives tokenizer files and history; stage is stolen. */
bool params_write_with(const struct params *params, const struct model *from, const json_t *config,
                       const struct params_beside *beside, json_t *stage, struct output *output,
                       struct error *err) MUST_CHECK;
bool params_write(const struct params *params, const struct model *from, const json_t *config,
                  json_t *stage, struct output *output, struct error *err) MUST_CHECK;

#endif
