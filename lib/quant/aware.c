/* aware.c: see aware.h. Between steps the parameters are those that learn, so a checkpoint needs
 * nothing of this. */
#include "quant/aware.h"

static bool reserve(struct aware *aware, const struct params *params, struct error *err)
{
    static const float one = 1;
    const struct device_ops *op = aware->dev->op;
    if (aware->kept)
        return true;
    aware->kept = op->alloc(aware->dev, params->n * sizeof *aware->kept, err);
    aware->one = aware->kept ? op->alloc(aware->dev, sizeof one, err) : NULL;
    if (aware->one)
        op->upload(aware->dev, aware->one, &one, sizeof one);
    return aware->one != NULL;
}

/* n values as they are. */
static void copy(const struct aware *aware, const float *from, size_t n, float *to)
{
    const struct blocks all = {.rows = 1, .cols = n, .block_rows = 1, .block_cols = n};
    if (n)
        aware->dev->op->block_mask(aware->dev, &all, aware->one, from, to);
}

/* Matrices lie before all vectors. */
static size_t matrices(const struct params *params)
{
    return params->group_begin[PARAMS_VECTORS];
}

/* As mquant --to int8 has it. */
static bool is_rounded(const struct params_entry *entry)
{
    return entry->cols && !family_stays_float(entry->part.role);
}

/* Rounded while rotated, and rotated back. */
static void round_entry(const struct aware *aware, const struct params_entry *entry, float *w)
{
    const struct device_ops *op = aware->dev->op;
    float *to = w + entry->offset;
    op->rotate_rows(aware->dev, aware->kept + entry->offset, entry->rows, entry->cols, to);
    op->round_rows(aware->dev, to, entry->rows, entry->cols, to);
    op->rotate_rows(aware->dev, to, entry->rows, entry->cols, to);
}

static bool round_all(void *context, struct trainer *trainer, struct error *err)
{
    struct aware *aware = context;
    struct params *params = &trainer->params;
    if (aware->rounded)
        return true;
    if (!reserve(aware, params, err))
        return false;
    copy(aware, params->w, matrices(params), aware->kept);
    for (size_t i = 0; i < params->n_entries; i++)
        if (is_rounded(&params->entry[i]))
            round_entry(aware, &params->entry[i], params->w);
    params_refresh(params);
    aware->rounded = true;
    return true;
}

static bool restore(void *context, struct trainer *trainer, struct error *err)
{
    struct aware *aware = context;
    struct params *params = &trainer->params;
    (void)err;
    if (!aware->rounded)
        return true;
    copy(aware, aware->kept, matrices(params), params->w);
    params_refresh(params);
    aware->rounded = false;
    return true;
}

/* A copy of the block of parameters, and a 1. */
static bool memory_of(void *context, const struct shape *shape, const struct batch_size *size,
                      size_t *bytes, size_t *work, struct error *err)
{
    size_t n = 0;
    (void)context;
    (void)size;
    (void)work;
    if (!params_count(shape, &n, err))
        return false;
    *bytes = (n + 1) * sizeof(float);
    return true;
}

static bool make_room(void *context, struct trainer *trainer, const struct batch_size *size,
                      struct error *err)
{
    (void)size;
    return reserve(context, &trainer->params, err);
}

struct trainer_hook aware_hook(struct aware *aware)
{
    return (struct trainer_hook){.name = "quantise",
                                 .context = aware,
                                 .memory = memory_of,
                                 .reserve = make_room,
                                 .before_step = round_all,
                                 .after_backward = restore,
                                 .before_evaluate = round_all,
                                 .after_evaluate = restore};
}

void aware_close(struct aware *aware)
{
    if (aware->kept)
        aware->dev->op->free(aware->dev, aware->kept);
    if (aware->one)
        aware->dev->op->free(aware->dev, aware->one);
    *aware = (struct aware){.dev = NULL};
}
