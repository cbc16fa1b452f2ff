/* params.c: layout, starting values and binding of trainable parameters. Copies and files are in
 * params_io.c. */
#include "nn/params.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/rng.h"

enum { MLM_ENTRIES = 5, ALIGN_FLOATS = 16, CHUNK_FLOATS = 1 << 18 };

/* ---- layout ---- */

static size_t aligned(size_t n)
{
    return (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

/* `joined`: the next entry follows without a gap. */
static void add_entry(struct params *p, const struct part *part, const char *rest, bool matrix,
                      bool joined)
{
    bool head = part->role == FAMILY_POOLER || part->role == FAMILY_CLASSIFIER;
    struct params_entry *entry = &p->entry[p->n_entries++];
    *entry = (struct params_entry){.part = *part,
                                   .rows = part->kind == PART_NORM ? part->cols : part->rows,
                                   .cols = matrix ? part->cols : 0,
                                   .offset = p->n,
                                   .group = (matrix ? PARAMS_MATRICES : PARAMS_VECTORS) + head,
                                   .gain = part->kind == PART_NORM && *rest == 'w'};
    parts_name(&p->shape, part, rest, entry->name);
    p->n += entry->rows * (matrix ? part->cols : 1);
    if (!joined)
        p->n = aligned(p->n);
}

/* The matrix of a part, or its vectors. */
static void add_part(struct params *p, const struct part *part, bool matrices)
{
    /* Query, key and value may be one stacked matrix. */
    bool joined = part->role == FAMILY_QUERY || part->role == FAMILY_KEY;
    if (part->role == FAMILY_WORD || part->role == FAMILY_POSITION)
        return;
    if (matrices && part->kind != PART_NORM)
        add_entry(p, part, "weight", true, joined);
    if (!matrices && part->kind == PART_NORM)
        add_entry(p, part, "weight", false, false);
    if (!matrices && part->kind != PART_TABLE)
        add_entry(p, part, "bias", false, joined);
}

static void add_mlm_entry(struct params *p, const char *stem, const char *rest, size_t rows,
                          size_t cols, bool gain)
{
    struct params_entry *entry = &p->entry[p->n_entries++];
    *entry = (struct params_entry){.part = {.role = FAMILY_ROLES},
                                   .rows = rows,
                                   .cols = cols,
                                   .offset = p->n,
                                   .group = cols ? PARAMS_HEAD_MATRICES : PARAMS_HEAD_VECTORS,
                                   .gain = gain};
    snprintf(entry->name, sizeof entry->name, "%s%s", stem, rest);
    p->n += rows * (cols ? cols : 1);
    p->n = (p->n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

/* The head of a masked language model; its decoder is the word table. */
static void add_mlm(struct params *p, bool matrices)
{
    const struct family_mlm *mlm = &p->shape.family->mlm;
    size_t width = p->shape.embed;
    if (!p->shape.mlm)
        return;
    if (matrices) {
        add_mlm_entry(p, mlm->dense, ".weight", width, p->shape.hidden, false);
        return;
    }
    add_mlm_entry(p, mlm->dense, ".bias", width, 0, false);
    add_mlm_entry(p, mlm->norm, ".weight", width, 0, true);
    add_mlm_entry(p, mlm->norm, ".bias", width, 0, false);
    add_mlm_entry(p, mlm->bias, "", p->shape.vocab, 0, false);
}

static bool lay_out(struct params *p, struct error *err)
{
    struct part head[PARTS_BESIDE];
    size_t n, n_head = parts_of_head(&p->shape, head);
    struct part *part = parts_list(&p->shape, &n, err);
    p->entry = part ? memory_array(2 * n + MLM_ENTRIES, sizeof *p->entry, err) : NULL;
    for (int vectors = 0; p->entry && vectors < 2; vectors++) {
        for (size_t i = 0; i < n - n_head; i++)
            add_part(p, &part[i], !vectors);
        p->group_begin[vectors ? PARAMS_HEAD_VECTORS : PARAMS_HEAD_MATRICES] = p->n;
        for (size_t i = 0; i < n_head; i++)
            add_part(p, &head[i], !vectors);
        add_mlm(p, !vectors);
        p->group_begin[vectors ? PARAMS_GROUPS : PARAMS_VECTORS] = p->n;
    }
    free(part);
    return p->entry != NULL;
}

/* ---- starting values ---- */

/* rows × cols values to device memory at `to`, in chunks of whole rows, from a tensor or from a
 * random stream. */
static bool fill(const struct params *p, const struct model *model, const struct tensor_view *view,
                 struct rng *rng, size_t rows, size_t cols, float *to, struct error *err)
{
    size_t chunk = CHUNK_FLOATS / cols ? CHUNK_FLOATS / cols : 1;
    float *buffer = memory_array(chunk * cols, sizeof *buffer, err);
    if (!buffer)
        return false;
    for (size_t r = 0; r < rows; r += chunk) {
        size_t n = rows - r < chunk ? rows - r : chunk;
        if (view) {
            parts_read_rows(model, view, cols, r, n, buffer);
        } else {
            for (size_t i = 0; i < n * cols; i++)
                buffer[i] = (float)(rng_normal(rng) * (double)p->shape.initializer_range);
        }
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
    const struct tensor_view *view = parts_require_tensor(model, name, rows, cols, err);
    if (!view)
        return false;
    const struct tensor_view *scale = parts_scale_of(model, view);
    if (!bundle_verify(model->bundle, view->data, (size_t)view->bytes, err) ||
        (scale && !bundle_verify(model->bundle, scale->data, (size_t)scale->bytes, err)))
        return false;
    if (!weights_finite(view) || (scale && !weights_finite(scale)))
        return error_set(err,
                         "%s: tensor %s has values that are not finite (NaN or infinity); start "
                         "from an undamaged model",
                         model->name, name);
    bool ok = fill(p, model, view, NULL, rows, cols ? cols : 1, to, err);
    bundle_release(model->bundle);
    return ok;
}

/* Random matrices have a stream each, so that one more layer or label leaves the others as they
 * were. */
static bool start_matrix(const struct params *p, uint64_t seed, size_t index, size_t rows,
                         size_t cols, float *to, struct error *err)
{
    struct rng rng;
    rng_seed(&rng, rng_hash(seed, index));
    return fill(p, NULL, NULL, &rng, rows, cols, to, err);
}

static bool is_fresh(const struct params_entry *entry, const struct model *model, bool new_head)
{
    if (!model)
        return true;
    if (entry->group != PARAMS_HEAD_MATRICES && entry->group != PARAMS_HEAD_VECTORS)
        return false;
    return (new_head && entry->part.role == FAMILY_CLASSIFIER) ||
           !parts_find_tensor(model, entry->name);
}

static bool start_entry(const struct params *p, const struct params_entry *e, struct model *model,
                        uint64_t seed, size_t index, struct error *err)
{
    float *to = p->w + e->offset;
    if (!e->fresh)
        return load(p, model, e->name, e->rows, e->cols, to, err);
    return e->cols ? start_matrix(p, seed, index, e->rows, e->cols, to, err)
                   : fill_constant(p, e->gain ? 1 : 0, e->rows, to, err);
}

static bool start(struct params *p, struct model *model, bool new_head, uint64_t seed,
                  struct error *err)
{
    struct params_table *table[] = {&p->word, &p->position};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const struct params_table *t = table[i];
        if (!(model ? load(p, model, t->name, t->rows, t->cols, t->w, err)
                    : start_matrix(p, seed, i, t->rows, t->cols, t->w, err)))
            return false;
    }
    for (size_t i = 0; i < p->n_entries; i++) {
        p->entry[i].fresh = is_fresh(&p->entry[i], model, new_head);
        if (!start_entry(p, &p->entry[i], model, seed, 2 + i, err))
            return false;
    }
    return true;
}

/* ---- binding ---- */

/* The first entry of a part's vectors, or its matrix. NULL: there is none. */
static const struct params_entry *entry_of(const struct params *p, const struct part *part,
                                           bool matrix)
{
    for (size_t i = 0; i < p->n_entries; i++) {
        const struct params_entry *e = &p->entry[i];
        if (e->part.role == part->role && e->part.layer == part->layer &&
            e->part.stack == part->stack && (e->cols > 0) == matrix)
            return e;
    }
    return NULL;
}

/* Stacked parts lie one behind the other. */
static bool bind_matrix(void *context, const struct part *part, size_t n_stacked,
                        struct weights_matrix *to, struct error *err)
{
    struct params *p = context;
    size_t w = entry_of(p, part, true)->offset, b = entry_of(p, part, false)->offset;
    to->dw = p->grad + w;
    to->stale = params_add_range(p, w, aligned(w + n_stacked * part->rows * part->cols));
    to->db = p->grad + b;
    to->linear = p->dev->op->linear_bind(p->dev, p->w + w, p->w + b, n_stacked * part->rows,
                                         part->cols, err);
    return to->linear != NULL;
}

static bool bind_norm(void *context, const struct part *part, struct weights_norm *to,
                      struct error *err)
{
    struct params *p = context;
    const struct params_entry *gain = entry_of(p, part, false), *bias = gain + 1;
    (void)err;
    *to = (struct weights_norm){p->w + gain->offset, p->w + bias->offset, p->grad + gain->offset,
                                p->grad + bias->offset};
    return true;
}

static bool bind_table(void *context, const struct part *part, struct table_weights **to,
                       struct error *err)
{
    struct params *p = context;
    float *w = part->role == FAMILY_WORD       ? p->word.w
               : part->role == FAMILY_POSITION ? p->position.w
                                               : p->w + entry_of(p, part, true)->offset;
    if (part->role == FAMILY_TYPE)
        p->type_grad = p->grad + entry_of(p, part, true)->offset;
    *to = p->dev->op->table_bind(p->dev, w, part->rows, part->cols, err);
    return *to != NULL;
}

static bool bind(struct params *p, struct error *err)
{
    const struct weights_maker maker = {
        .context = p, .table = bind_table, .matrix = bind_matrix, .norm = bind_norm};
    p->weights = (struct weights){.shape = &p->shape, .dev = p->dev};
    if (!p->dev->op->block_bind(p->dev, p->w, p->n, err))
        return error_at(err, "room for the weights that are multiplied: ");
    size_t most = WEIGHTS_OF_LAYER * p->shape.n_layers + WEIGHTS_BESIDE;
    p->linear = memory_array(most, sizeof *p->linear, err);
    p->range = p->linear ? memory_array(most, sizeof *p->range, err) : NULL;
    p->stale = p->range ? memory_zeroed(most, sizeof *p->stale, err) : NULL;
    if (!p->stale || !weights_make(&p->weights, &maker, err))
        return false;
    p->n_linears = weights_linears(&p->weights, p->linear);
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

static bool open_table(struct params *p, const struct part *part, struct params_table *table,
                       struct error *err)
{
    *table = (struct params_table){.rows = part->rows, .cols = part->cols, .n_moments = part->rows};
    parts_name(&p->shape, part, "weight", table->name);
    table->w = alloc_floats(p->dev, part->rows, part->cols, err);
    table->touched = memory_zeroed(part->rows, 1, err);
    return table->w && table->touched;
}

static bool open_all(struct params *p, struct model *model, bool new_head, uint64_t seed,
                     struct error *err)
{
    struct part part[PARTS_BESIDE]; /* the first two are the word and position tables */
    parts_of_embeddings(&p->shape, part);
    if (!open_table(p, &part[0], &p->word, err) || !open_table(p, &part[1], &p->position, err) ||
        !lay_out(p, err))
        return false;
    p->w = alloc_floats(p->dev, p->n, 1, err);
    p->grad = alloc_floats(p->dev, p->n, 1, err);
    if (!p->w || !p->grad)
        return false;
    p->dev->op->zero(p->dev, p->w, p->n * sizeof *p->w); /* the gaps, too */
    p->dev->op->zero(p->dev, p->grad, p->n * sizeof *p->grad);
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
        if (table[i]->device_place)
            dev->op->free(dev, table[i]->device_place);
        free(table[i]->place);
        free(table[i]->touched);
    }
    if (params->w)
        dev->op->block_unbind(dev, params->w);
    device_free(dev, params->w);
    device_free(dev, params->grad);
    free(params->entry);
    free(params->linear);
    free(params->range);
    free(params->stale);
    shape_free(&params->shape);
    *params = (struct params){0};
}

bool params_round(struct params *params, enum dtype format, struct error *err)
{
    for (size_t i = 0; i < params->n_linears; i++)
        if (!params->dev->op->linear_round(params->dev, params->linear[i], format, err))
            return error_at(err, "room for rounded weights: ");
    return true;
}

void params_refresh(struct params *params)
{
    for (size_t i = 0; i < params->n_linears; i++)
        params->dev->op->linear_refresh(params->dev, params->linear[i]);
}

bool params_count(const struct shape *shape, size_t *n, struct error *err)
{
    struct params params = {0};
    bool ok = shape_copy(shape, &params.shape, err) && lay_out(&params, err);
    *n = params.n;
    free(params.entry);
    shape_free(&params.shape);
    return ok;
}

bool params_expect(struct params *params, const uint8_t *words, struct error *err)
{
    struct params_table *table = &params->word;
    size_t bytes = table->rows * sizeof *table->place; /* w has more */
    table->place = memory_array(table->rows, sizeof *table->place, err);
    table->device_place = table->place ? params->dev->op->alloc(params->dev, bytes, err) : NULL;
    if (!table->device_place)
        return false;
    table->n_moments = 0;
    for (size_t r = 0; r < table->rows; r++)
        table->place[r] = words[r] ? (int32_t)table->n_moments++ : -1;
    params->dev->op->upload(params->dev, table->device_place, table->place, bytes);
    return true;
}

static bool make_rows(struct params *p, struct params_table *table, size_t room, struct error *err)
{
    device_free(p->dev, table->grad);
    table->room = 0;
    table->grad = alloc_floats(p->dev, room, table->cols, err);
    table->room = table->grad ? room : 0;
    return table->grad != NULL;
}

bool params_reserve(struct params *params, size_t words, size_t positions, struct error *err)
{
    return (words <= params->word.room || make_rows(params, &params->word, words, err)) &&
           (positions <= params->position.room ||
            make_rows(params, &params->position, positions, err));
}

static bool zero_rows(struct params *p, struct params_table *table, size_t n, struct error *err)
{
    if (n == 0)
        return true;
    size_t room = n + n / 4 < table->rows ? n + n / 4 : table->rows;
    if (n > table->room && !make_rows(p, table, room, err))
        return false;
    p->dev->op->zero(p->dev, table->grad, n * table->cols * sizeof *table->grad);
    return true;
}

bool params_zero_grad(struct params *params, const struct batch *batch,
                      struct encoder_rows_grad *rows, struct error *err)
{
    if (!zero_rows(params, &params->word, batch->word.n, err) ||
        !zero_rows(params, &params->position, batch->position.n, err))
        return false;
    params_zero_rest(params);
    *rows = (struct encoder_rows_grad){
        .word = params->word.grad, .position = params->position.grad, .type = params->type_grad};
    return true;
}
