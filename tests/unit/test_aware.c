/* The hook that trains for int8: what is rounded while it is looked at, and that all comes back. */
#include "quant/aware.h"

#include <string.h>

#include "kernels/rotate.h"
#include "quant/format.h"
#include "tests/tap.h"
#include "tests/unit/tiny_model.h"

/* Entries that are not what they should be: matrices the values of their codes, the classifier, the
 * table of types and vectors as before. */
static size_t wrong(const struct params *params, const float *before)
{
    size_t bad = 0;
    for (size_t e = 0; e < params->n_entries; e++) {
        const struct params_entry *entry = &params->entry[e];
        const float *w = params->w + entry->offset, *was = before + entry->offset;
        size_t cols = entry->cols ? entry->cols : 1;
        bool rounded =
            entry->cols && entry->part.role != FAMILY_TYPE && entry->part.role != FAMILY_CLASSIFIER;
        int8_t code[512];
        float scale;
        for (size_t r = 0; r < entry->rows && cols <= sizeof code; r++) {
            float row[512];
            memcpy(row, was + r * cols, cols * sizeof *row);
            if (rounded) {
                bad += !format_encode_rows(row, 1, cols, true, code, &scale);
                for (size_t c = 0; c < cols; c++)
                    row[c] = (float)code[c] * scale;
                rotate_row(row, cols);
            }
            for (size_t c = 0; c < cols; c++)
                bad += w[r * cols + c] != row[c];
        }
    }
    return bad;
}

int main(void)
{
    struct error err = ERROR_INIT;
    struct device *dev = device_reference_open(&err);
    tiny_need(dev, &err);
    struct shape shape;
    tiny_need(shape_from_text(&shape, "layers=2,hidden=72,heads=3,ffn=21,positions=16", TINY_VOCAB,
                              TINY_LABELS, &err),
              &err);
    struct trainer trainer = {.dev = dev};
    struct params *params = &trainer.params;
    tiny_params(params, &shape, dev);
    size_t bytes = params->n * sizeof *params->w;
    float *before = malloc(bytes), *word = malloc(params->word.rows * params->word.cols * 4);
    memcpy(before, params->w, bytes); /* the reference's memory is the host's */
    memcpy(word, params->word.w, params->word.rows * params->word.cols * 4);
    struct aware aware = {.dev = dev};
    const struct trainer_hook hook = aware_hook(&aware);
    tap_ok(hook.before_step(hook.context, &trainer, &err) && wrong(params, before) == 0 &&
               memcmp(params->w, before, bytes) != 0,
           "in a step matrices are what their codes are worth, vectors are not touched");
    tap_ok(memcmp(word, params->word.w, params->word.rows * params->word.cols * 4) == 0,
           "nor is the word table");
    tap_ok(hook.after_backward(hook.context, &trainer, &err) &&
               memcmp(params->w, before, bytes) == 0,
           "the optimizer sees the weights that learn");
    params->w[0] += 0.25F;
    before[0] += 0.25F;
    tap_ok(hook.before_evaluate(hook.context, &trainer, &err) && wrong(params, before) == 0,
           "dev is scored with rounded weights, of now");
    tap_ok(hook.before_evaluate(hook.context, &trainer, &err) && wrong(params, before) == 0 &&
               hook.after_evaluate(hook.context, &trainer, &err) &&
               memcmp(params->w, before, bytes) == 0,
           "asked twice, it rounds once; and all comes back");
    aware_close(&aware);
    params_close(params);
    shape_free(&shape);
    dev->op->close(dev);
    free(before);
    free(word);
    return tap_done();
}
