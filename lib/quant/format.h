/* format.h: the number formats of a model's weights and the conversion from any of them to any
 * other. The work of mquant.
 *
 *   fp32 fp16 bf16   every floating-point tensor in that type, norms and biases too, as
 *                    save_pretrained() of a model cast to that type writes it; config.json says
 *                    so in torch_dtype
 *   int8             every matrix (rank 2: linear weights of the encoder and pooler, and the
 *                    tables of words and positions) as I8 with one scale per row, in a second
 *                    tensor "<name>_scale" F32 [rows]: scale[row] * data is the row, rotated. A row
 *                    is an output channel of a linear layer or one entry of a table. Symmetric, no
 *                    zero point: scale = max|w| / 127, data = w / scale to the nearest, ties to
 *                    even. All else is F32, but the idf of an n-gram part, which are F16.
 *                    The table of types and the classifier are F32 unless they are named: they are
 *                    tiny, and every token meets the one, every logit the other
 *
 *                    Rows are rotated (kernels/rotate.h) before they are rounded, and config.json
 *                    names the method "millet-int8-rotated"; an n-gram part's are not. Rows as they
 *                    are, "millet-int8", stay in a model that holds such codes already, so that one
 *                    model is of one kind; and in one whose zeros lie in blocks (io/model_blocks.h),
 *                    which rotated would be no zeros
 *
 *                    Beside it there may be "<name>_input_scale" F32 [1] (calibrate.h): the scale
 *                    of all that is multiplied with it, instead of one for each row at work
 *
 *   int4             tables of embeddings alone: U8 [rows, columns / 2] and "<name>_scale" F32
 *                    [rows, groups], as core/int4.h has it. Only of the word table: "int4" of the
 *                    tables of positions and types, which are small, is int8
 *
 * Tensors of integers that are not I8 or U8 with a scale (position_ids) pass unchanged. Values
 * that are not finite, and values that do not fit the new format, are refused with the tensor's
 * name.
 */
#ifndef MILLET_QUANT_FORMAT_H
#define MILLET_QUANT_FORMAT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "io/model.h"
#include "io/output.h"

enum format { FORMAT_FP32, FORMAT_FP16, FORMAT_BF16, FORMAT_INT8, FORMAT_INT4, FORMAT_AS_IS };

/* What becomes what. */
struct format_choice {
    const char *name; /* of a matrix, as the model spells it */
    enum format format;
};
struct format_input {
    char *name; /* of a matrix; owned by whoever made the list */
    float scale;
};
/* Codes made beforehand, rotated; all of it owned by whoever made the list. */
struct format_codes {
    char *name; /* of a matrix */
    size_t rows, cols;
    int8_t *data; /* [rows, cols] */
    float *scale; /* [rows] */
};
struct format_plan {
    enum format to;                     /* of all that is not said below; AS_IS: no change */
    enum format tables;                 /* of the tables of embeddings; AS_IS: as `to` */
    const struct format_choice *choice; /* [n_choices] matrices by name; these win */
    size_t n_choices;
    /* [n_inputs] What int8 matrices multiply has these scales; where none is given what the model
     * says of it stays. */
    const struct format_input *input;
    size_t n_inputs;
    /* [n_codes] Matrices that become int8 take these codes; the result holds them as long as it is
     * written. */
    const struct format_codes *codes;
    size_t n_codes;
};

bool format_from_name(const char *name, enum format *format); /* false: unknown */
const char *format_name(enum format format);                  /* "fp32" … */

/* w [rows, cols] to data and scale [rows]. The values must be finite. A row of zeros, or of values
 * so small that the scale would be subnormal (below 1.5e-36), gets scale 1 and zeros. */
void format_quantise_rows(const float *w, size_t rows, size_t cols, int8_t *data, float *scale);

/* Whether int8 matrices that are made of this model, n-gram part aside, are rotated. */
bool format_rotates(const struct model *model);
/* format_quantise_rows of the rows rotated, or as they are; w is changed. false: rotated, they hold
 * values that are not finite. */
bool format_encode_rows(float *w, size_t rows, size_t cols, bool rotated, int8_t *data,
                        float *scale) MUST_CHECK;

/* One tensor in another format: itself, or itself and its scales. */
struct format_made {
    struct tensor_view tensor[2];
    void *owned[2]; /* data made here, or NULL */
    char *name[2];  /* likewise */
    size_t n;
};
/* A tensor of floats or codes; what is no matrix becomes the floats of the format. */
bool format_make(struct model *model, const struct tensor_view *view, enum format to,
                 struct format_made *made, struct error *err) MUST_CHECK;
void format_made_free(struct format_made *made);

struct format_result {
    uint64_t weights;      /* values converted or kept, scales not counted */
    uint64_t bytes_before; /* of all tensors, scales counted */
    uint64_t bytes_after;
};

/* Convert the model and write it. int4 of anything but tables of an even width is refused. stage
 * (history) is stolen in any case. Memory: the tensors of the result; those that are already in
 * the format are not copied. `result` may be NULL. */
bool format_write_plan(struct model *model, const struct format_plan *plan, json_t *stage,
                       struct output *output, struct format_result *result,
                       struct error *err) MUST_CHECK;
/* All to one format. */
bool format_write(struct model *model, enum format to, json_t *stage, struct output *output,
                  struct format_result *result, struct error *err) MUST_CHECK;

#endif
