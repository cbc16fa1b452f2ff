/* params_io.c: parameters back to the host: the copy of the best epoch, and the model stream. */
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "nn/params.h"

/* ---- the copy of the best epoch ---- */

/* Visit runs of touched rows: [*begin, end); false when there are no more. */
static bool next_run(const uint8_t *touched, size_t rows, size_t *begin, size_t *end)
{
    size_t r = *end;
    while (r < rows && !touched[r])
        r++;
    *begin = r;
    while (r < rows && touched[r])
        r++;
    *end = r;
    return *begin < rows;
}

size_t params_touched(const uint8_t *touched, size_t rows)
{
    size_t n = 0;
    for (size_t r = 0; r < rows; r++)
        n += touched[r];
    return n;
}

/* Touched rows that follow one another have moments that do. */
static size_t place_of(const int32_t *place, size_t row)
{
    return place ? (size_t)place[row] : row;
}

float *params_gather(const struct params *params, const struct params_table *table,
                     const int32_t *place, const float *values, struct error *err)
{
    size_t h = table->cols, begin = 0, end = 0;
    float *copy = memory_array(params_touched(table->touched, table->rows) * h, sizeof *copy, err),
          *to = copy;
    while (copy && next_run(table->touched, table->rows, &begin, &end)) {
        params->dev->op->download(params->dev, to, values + place_of(place, begin) * h,
                                  (end - begin) * h * sizeof *to);
        to += (end - begin) * h;
    }
    return copy;
}

void params_scatter(const struct params *params, const struct params_table *table,
                    const int32_t *place, const uint8_t *touched, const float *copy, float *values)
{
    size_t h = table->cols, begin = 0, end = 0;
    while (next_run(touched, table->rows, &begin, &end)) {
        params->dev->op->upload(params->dev, values + place_of(place, begin) * h, copy,
                                (end - begin) * h * sizeof *copy);
        copy += (end - begin) * h;
    }
}

static bool save_table(const struct params *p, const struct params_table *table, float **copy,
                       uint8_t **touched, struct error *err)
{
    float *values = params_gather(p, table, NULL, table->w, err);
    void *mask = values ? memory_copy(table->touched, table->rows, err) : NULL;
    if (!mask) {
        free(values);
        return false;
    }
    free(*copy);
    free(*touched);
    *copy = values;
    *touched = mask;
    return true;
}

bool params_save(const struct params *params, struct params_copy *copy, struct error *err)
{
    if (!copy->block)
        copy->block = memory_array(params->n, sizeof *copy->block, err);
    if (!copy->block)
        return false;
    params->dev->op->download(params->dev, copy->block, params->w, params->n * sizeof *params->w);
    return save_table(params, &params->word, &copy->word, &copy->word_touched, err) &&
           save_table(params, &params->position, &copy->position, &copy->position_touched, err);
}

void params_restore(struct params *params, const struct params_copy *copy)
{
    const struct device_ops *op = params->dev->op;
    op->upload(params->dev, params->w, copy->block, params->n * sizeof *params->w);
    params_scatter(params, &params->word, NULL, copy->word_touched, copy->word, params->word.w);
    params_scatter(params, &params->position, NULL, copy->position_touched, copy->position,
                   params->position.w);
    params_refresh(params);
}

void params_copy_free(struct params_copy *copy)
{
    free(copy->block);
    free(copy->word);
    free(copy->position);
    free(copy->word_touched);
    free(copy->position_touched);
    *copy = (struct params_copy){0};
}

/* ---- the model stream ---- */

static float *download(const struct params *p, const float *from, size_t n, struct error *err)
{
    float *to = memory_array(n, sizeof *to, err);
    if (to)
        p->dev->op->download(p->dev, to, from, n * sizeof *to);
    return to;
}

static struct tensor_view view_of(const struct params_entry *e, const float *block)
{
    const float *at = block + e->offset;
    return e->cols ? tensor_view_2d(e->name, DTYPE_F32, e->rows, e->cols, at)
                   : tensor_view_1d(e->name, DTYPE_F32, e->rows, at);
}

bool params_write_with(const struct params *params, const struct model *from, const json_t *config,
                       const struct params_beside *beside, json_t *stage, struct output *output,
                       struct error *err)
{
    const struct params_table *tables[] = {&params->word, &params->position};
    size_t own = params->n_entries + 2, n = own + beside->n_tensors;
    json_t *extra = beside->extra;
    float *block = download(params, params->w, params->n, err);
    float *word = download(params, params->word.w, params->word.rows * params->word.cols, err);
    float *position =
        download(params, params->position.w, params->position.rows * params->position.cols, err);
    struct tensor_view *tensor = memory_array(n, sizeof *tensor, err);
    bool ok = block && word && position && tensor && params->dev->op->sync(params->dev, err);
    if (ok) {
        for (size_t i = 0; i < 2; i++)
            tensor[i] = tensor_view_2d(tables[i]->name, DTYPE_F32, tables[i]->rows, tables[i]->cols,
                                       i == 0 ? word : position);
        for (size_t i = 0; i < params->n_entries; i++)
            tensor[2 + i] = view_of(&params->entry[i], block);
        for (size_t i = 0; i < beside->n_tensors; i++)
            tensor[own + i] = beside->tensor[i];
        const struct model_writer_options options = {.from = from,
                                                     .config = config,
                                                     .tensor = tensor,
                                                     .n_tensors = n,
                                                     .stage = stage,
                                                     .extra = extra};
        stage = extra = NULL;
        ok = model_write(output, &options, err);
    }
    json_decref(stage);
    json_decref(extra);
    free(tensor);
    free(position);
    free(word);
    free(block);
    return ok;
}

bool params_write(const struct params *params, const struct model *from, const json_t *config,
                  json_t *stage, struct output *output, struct error *err)
{
    const struct params_beside nothing = {.n_tensors = 0};
    return params_write_with(params, from, config, &nothing, stage, output, err);
}
