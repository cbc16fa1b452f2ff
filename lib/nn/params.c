/* params.c: layout, starting values and binding of trainable parameters. Copies and files are in
 * params_io.c. */
#include "nn/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/rng.h"

enum { ALIGN_FLOATS = 16, CHUNK_FLOATS = 1 << 18, ENTRIES_PER_LAYER = 16, ENTRIES_BESIDE = 7 };

/* ---- layout ---- */

/* `joined`: the next entry follows without a gap (query, key and value are one stacked matrix). */
static void add_entry(struct params *p, const char *name, size_t rows, size_t cols,
                      enum params_group group, bool joined)
{
    struct params_entry *entry = &p->entry[p->n_entries++];
    *entry = (struct params_entry){.rows = rows, .cols = cols, .offset = p->n, .group = group};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    p->n += rows * (cols ? cols : 1);
    if (!joined)
        p->n = (p->n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

static void add_layer_entries(struct params *p, size_t l, enum params_group group)
{
    size_t h = p->shape.hidden, a = p->shape.layer[l].heads * p->shape.head_size;
    size_t f = p->shape.layer[l].ffn;
    const struct {
        const char *rest;
        size_t rows, cols;
        bool joined;
    } entry[] = {
        {"attention.self.query.weight", a, h, true},
        {"attention.self.key.weight", a, h, true},
        {"attention.self.value.weight", a, h, false},
        {"attention.output.dense.weight", h, a, false},
        {"intermediate.dense.weight", f, h, false},
        {"output.dense.weight", h, f, false},
        {"attention.self.query.bias", a, 0, true},
        {"attention.self.key.bias", a, 0, true},
        {"attention.self.value.bias", a, 0, false},
        {"attention.output.dense.bias", h, 0, false},
        {"attention.output.LayerNorm.weight", h, 0, false},
        {"attention.output.LayerNorm.bias", h, 0, false},
        {"intermediate.dense.bias", f, 0, false},
        {"output.dense.bias", h, 0, false},
        {"output.LayerNorm.weight", h, 0, false},
        {"output.LayerNorm.bias", h, 0, false},
    };
    for (size_t i = 0; i < sizeof entry / sizeof entry[0]; i++) {
        char name[PARAMS_NAME_BYTES];
        if ((entry[i].cols == 0) != (group == PARAMS_VECTORS))
            continue;
        shape_tensor_name(name, sizeof name, l, entry[i].rest);
        add_entry(p, name, entry[i].rows, entry[i].cols, group, entry[i].joined);
    }
}

static bool lay_out(struct params *p, struct error *err)
{
    const struct shape *shape = &p->shape;
    size_t h = shape->hidden;
    p->entry =
        memory_array(shape->n_layers * ENTRIES_PER_LAYER + ENTRIES_BESIDE, sizeof *p->entry, err);
    if (!p->entry)
        return false;
    add_entry(p, "bert.embeddings.token_type_embeddings.weight", shape->types, h, PARAMS_MATRICES,
              false);
    for (size_t l = 0; l < shape->n_layers; l++)
        add_layer_entries(p, l, PARAMS_MATRICES);
    p->group_begin[PARAMS_HEAD_MATRICES] = p->n;
    add_entry(p, "bert.pooler.dense.weight", h, h, PARAMS_HEAD_MATRICES, false);
    add_entry(p, "classifier.weight", shape->n_labels, h, PARAMS_HEAD_MATRICES, false);
    p->group_begin[PARAMS_VECTORS] = p->n;
    add_entry(p, "bert.embeddings.LayerNorm.weight", h, 0, PARAMS_VECTORS, false);
    add_entry(p, "bert.embeddings.LayerNorm.bias", h, 0, PARAMS_VECTORS, false);
    for (size_t l = 0; l < shape->n_layers; l++)
        add_layer_entries(p, l, PARAMS_VECTORS);
    p->group_begin[PARAMS_HEAD_VECTORS] = p->n;
    add_entry(p, "bert.pooler.dense.bias", h, 0, PARAMS_HEAD_VECTORS, false);
    add_entry(p, "classifier.bias", shape->n_labels, 0, PARAMS_HEAD_VECTORS, false);
    p->group_begin[PARAMS_GROUPS] = p->n;
    return true;
}

/* ---- starting values ---- */

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), m = strlen(tail);
    return n >= m && strcmp(text + n - m, tail) == 0;
}

/* rows × cols values to device memory at `to`, in chunks of whole rows, from a tensor or from a
 * random stream. */
static bool fill(const struct params *p, const struct tensor_view *view, const float *scale,
                 struct rng *rng, size_t rows, size_t cols, float *to, struct error *err)
{
    size_t chunk = CHUNK_FLOATS / cols ? CHUNK_FLOATS / cols : 1;
    float *buffer = memory_array(chunk * cols, sizeof *buffer, err);
    if (!buffer)
        return false;
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        if (view) {
            const char *from = (const char *)view->data + r * cols * dtype_bytes(view->type);
            dtype_to_float(view->type, from, n * cols, buffer);
        } else {
            for (size_t i = 0; i < n * cols; i++)
                buffer[i] = (float)(rng_normal(rng) * (double)p->shape.initializer_range);
        }
        for (size_t i = 0; scale && i < n * cols; i++)
            buffer[i] *= scale[r + i / cols];
        p->dev->op->upload(p->dev, to + r * cols, buffer, n * cols * sizeof *buffer);
    }
    free(buffer);
    return true;
}

static bool fill_constant(const struct params *p, float value, size_t n, float *to,
                          struct error *err)
{
    float *buffer = memory_array(n, sizeof *buffer, err);
    if (!buffer)
        return false;
    for (size_t i = 0; i < n; i++)
        buffer[i] = value;
    p->dev->op->upload(p->dev, to, buffer, n * sizeof *buffer);
    free(buffer);
    return true;
}

/* A tensor of the model, verified and finite. */
static bool load(const struct params *p, struct model *model, const char *name, size_t rows,
                 size_t cols, float *to, struct error *err)
{
    const struct tensor_view *view = shape_require_tensor(model, name, rows, cols, err);
    if (!view)
        return false;
    const struct tensor_view *scale = shape_scale_of(model, view);
    if (!bundle_verify(model->bundle, view->data, (size_t)view->bytes, err) ||
        (scale && !bundle_verify(model->bundle, scale->data, (size_t)scale->bytes, err)))
        return false;
    if (!weights_finite(view) || (scale && !weights_finite(scale)))
        return error_set(err,
                         "%s: tensor %s has values that are not finite (NaN or infinity); start "
                         "from an undamaged model",
                         model->name, name);
    return fill(p, view, scale ? scale->data : NULL, NULL, rows, cols ? cols : 1, to, err);
}

/* Random matrices have a stream each, so that one more layer or label leaves the others as they
 * were. */
static bool start_fresh(const struct params *p, uint64_t seed, size_t index, const char *name,
                        size_t rows, size_t cols, float *to, struct error *err)
{
    struct rng rng;
    if (!cols)
        return fill_constant(p, ends_with(name, "LayerNorm.weight") ? 1 : 0, rows, to, err);
    rng_seed(&rng, rng_hash(seed, index));
    return fill(p, NULL, NULL, &rng, rows, cols, to, err);
}

static bool is_fresh(const struct params_entry *entry, const struct model *model, bool new_head)
{
    if (!model)
        return true;
    if (entry->group != PARAMS_HEAD_MATRICES && entry->group != PARAMS_HEAD_VECTORS)
        return false;
    if (new_head && strncmp(entry->name, "classifier.", 11) == 0)
        return true;
    return !shape_find_tensor(model, entry->name);
}

static bool start(struct params *p, struct model *model, bool new_head, uint64_t seed,
                  struct error *err)
{
    struct params_table *table[] = {&p->word, &p->position};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct params_table *t = table[i];
        bool ok = model ? load(p, model, t->name, t->rows, p->shape.hidden, t->w, err)
                        : start_fresh(p, seed, i, t->name, t->rows, p->shape.hidden, t->w, err);
        if (!ok)
            return false;
    }
    for (size_t i = 0; i < p->n_entries; i++) {
        struct params_entry *e = &p->entry[i];
        e->fresh = is_fresh(e, model, new_head);
        bool ok =
            e->fresh ? start_fresh(p, seed, 2 + i, e->name, e->rows, e->cols, p->w + e->offset, err)
                     : load(p, model, e->name, e->rows, e->cols, p->w + e->offset, err);
        if (!ok)
            return false;
    }
    return true;
}

/* ---- binding ---- */

static size_t offset_of(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->n_entries; i++)
        if (strcmp(p->entry[i].name, name) == 0)
            return p->entry[i].offset;
    return 0; /* not reached: names come from this file */
}

/* Rows [skip, skip + out) of the stacked matrix that begins at <stem>.weight and <stem>.bias. */
static bool bind_rows(struct params *p, const char *stem, size_t skip, size_t out, size_t in,
                      struct weights_matrix *matrix, struct error *err)
{
    char name[PARAMS_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s.weight", stem);
    size_t w = offset_of(p, name) + skip * in;
    snprintf(name, sizeof name, "%s.bias", stem);
    size_t b = offset_of(p, name) + skip;
    matrix->dw = p->grad + w;
    matrix->db = p->grad + b;
    matrix->linear = p->dev->op->linear_bind(p->dev, p->w + w, p->w + b, out, in, err);
    return matrix->linear != NULL;
}

static void bind_norm(struct params *p, const char *stem, struct weights_norm *norm)
{
    char name[PARAMS_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s.weight", stem);
    size_t gain = offset_of(p, name);
    snprintf(name, sizeof name, "%s.bias", stem);
    size_t bias = offset_of(p, name);
    *norm = (struct weights_norm){p->w + gain, p->w + bias, p->grad + gain, p->grad + bias};
}

static bool bind_layer(struct params *p, size_t l, struct error *err)
{
    const struct shape *shape = &p->shape;
    struct weights_layer *layer = &p->weights.layer[l];
    size_t h = shape->hidden, a = shape->layer[l].heads * shape->head_size;
    size_t f = shape->layer[l].ffn;
    char qkv[PARAMS_NAME_BYTES], stem[PARAMS_NAME_BYTES];
    shape_tensor_name(qkv, sizeof qkv, l, "attention.self.query");
    bool ok = l + 1 < shape->n_layers ? bind_rows(p, qkv, 0, 3 * a, h, &layer->qkv, err)
                                      : bind_rows(p, qkv, 0, a, h, &layer->q, err) &&
                                            bind_rows(p, qkv, a, 2 * a, h, &layer->kv, err);
    shape_tensor_name(stem, sizeof stem, l, "attention.output.dense");
    ok = ok && bind_rows(p, stem, 0, h, a, &layer->o, err);
    shape_tensor_name(stem, sizeof stem, l, "intermediate.dense");
    ok = ok && bind_rows(p, stem, 0, f, h, &layer->f1, err);
    shape_tensor_name(stem, sizeof stem, l, "output.dense");
    ok = ok && bind_rows(p, stem, 0, h, f, &layer->f2, err);
    shape_tensor_name(stem, sizeof stem, l, "attention.output.LayerNorm");
    bind_norm(p, stem, &layer->norm1);
    shape_tensor_name(stem, sizeof stem, l, "output.LayerNorm");
    bind_norm(p, stem, &layer->norm2);
    return ok;
}

static bool bind(struct params *p, struct error *err)
{
    const struct shape *shape = &p->shape;
    struct weights *w = &p->weights;
    size_t h = shape->hidden;
    *w = (struct weights){.shape = shape, .dev = p->dev};
    w->layer = memory_zeroed(shape->n_layers, sizeof *w->layer, err);
    if (!w->layer)
        return false;
    float *type = p->w + offset_of(p, "bert.embeddings.token_type_embeddings.weight");
    w->word = p->dev->op->table_bind(p->dev, p->word.w, shape->vocab, h, err);
    w->position = p->dev->op->table_bind(p->dev, p->position.w, shape->positions, h, err);
    w->type = p->dev->op->table_bind(p->dev, type, shape->types, h, err);
    bind_norm(p, "bert.embeddings.LayerNorm", &w->embed_norm);
    bool ok = w->word && w->position && w->type;
    for (size_t l = 0; ok && l < shape->n_layers; l++)
        ok = bind_layer(p, l, err);
    ok = ok && bind_rows(p, "bert.pooler.dense", 0, h, h, &w->pooler, err) &&
         bind_rows(p, "classifier", 0, shape->n_labels, h, &w->classifier, err);
    p->linear = ok ? memory_array(6 * shape->n_layers + 2, sizeof *p->linear, err) : NULL;
    if (!p->linear)
        return false;
    p->n_linears = weights_linears(w, p->linear);
    return true;
}

/* ---- life ---- */

/* Values on the device, overflow of the size checked. */
static float *alloc_floats(struct device *dev, size_t rows, size_t cols, struct error *err)
{
    size_t n, bytes;
    if (!memory_multiply(rows, cols, &n) || !memory_multiply(n, sizeof(float), &bytes)) {
        error_set(err, "%zu x %zu parameters are too many for this machine", rows, cols);
        return NULL;
    }
    return dev->op->alloc(dev, bytes, err);
}

static bool open_table(struct params *p, struct params_table *table, const char *name, size_t rows,
                       struct error *err)
{
    *table = (struct params_table){.name = name, .rows = rows};
    table->w = alloc_floats(p->dev, rows, p->shape.hidden, err);
    table->touched = memory_zeroed(rows, 1, err);
    return table->w && table->touched;
}

static bool open_all(struct params *p, struct model *model, bool new_head, uint64_t seed,
                     struct error *err)
{
    if (!open_table(p, &p->word, "bert.embeddings.word_embeddings.weight", p->shape.vocab, err) ||
        !open_table(p, &p->position, "bert.embeddings.position_embeddings.weight",
                    p->shape.positions, err) ||
        !lay_out(p, err))
        return false;
    p->w = alloc_floats(p->dev, p->n, 1, err);
    p->grad = alloc_floats(p->dev, p->n, 1, err);
    if (!p->w || !p->grad)
        return false;
    p->dev->op->zero(p->dev, p->w, p->n * sizeof *p->w); /* the gaps, too */
    return start(p, model, new_head, seed, err) && bind(p, err);
}

bool params_open(struct params *params, const struct shape *shape, struct model *model,
                 bool new_head, uint64_t seed, struct device *dev, struct error *err)
{
    *params = (struct params){.dev = dev};
    if (!shape_copy(shape, &params->shape, err))
        return false;
    if (open_all(params, model, new_head, seed, err))
        return true;
    params_close(params);
    return false;
}

static void device_free(struct device *dev, float *memory)
{
    if (memory)
        dev->op->free(dev, memory);
}

void params_drop_moments(struct params *params)
{
    float **memory[] = {
        &params->m,         &params->v,          &params->word.m,     &params->word.v,
        &params->word.grad, &params->position.m, &params->position.v, &params->position.grad};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        device_free(params->dev, *memory[i]);
        *memory[i] = NULL;
    }
    params->word.room = params->position.room = 0;
}

void params_close(struct params *params)
{
    struct device *dev = params->dev;
    if (!dev)
        return;
    weights_free(&params->weights);
    params_drop_moments(params);
    struct params_table *table[] = {&params->word, &params->position};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        device_free(dev, table[i]->w);
        free(table[i]->touched);
    }
    device_free(dev, params->w);
    device_free(dev, params->grad);
    free(params->entry);
    free(params->linear);
    shape_free(&params->shape);
    *params = (struct params){0};
}

void params_refresh(struct params *params)
{
    for (size_t i = 0; i < params->n_linears; i++)
        params->dev->op->linear_refresh(params->dev, params->linear[i]);
}

static bool zero_rows(struct params *p, struct params_table *table, size_t n, struct error *err)
{
    size_t h = p->shape.hidden;
    if (n > table->room) {
        device_free(p->dev, table->grad);
        table->room = 0;
        table->grad = alloc_floats(p->dev, n + n / 4, h, err);
        if (!table->grad)
            return false;
        table->room = n + n / 4;
    }
    p->dev->op->zero(p->dev, table->grad, n * h * sizeof *table->grad);
    return true;
}

bool params_zero_grad(struct params *params, const struct batch *batch,
                      struct encoder_rows_grad *rows, struct error *err)
{
    if (!zero_rows(params, &params->word, batch->word.n, err) ||
        !zero_rows(params, &params->position, batch->position.n, err))
        return false;
    params->dev->op->zero(params->dev, params->grad, params->n * sizeof *params->grad);
    *rows = (struct encoder_rows_grad){
        .word = params->word.grad,
        .position = params->position.grad,
        .type = params->grad + offset_of(params, "bert.embeddings.token_type_embeddings.weight")};
    return true;
}
