/* pace.c: made-up weights, one batch for each lane, runs handed out by a counter. */
#include "prune/pace.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "core/memory.h"
#include "core/progress.h"
#include "core/rng.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/weights.h"

enum {
    WORD_ROWS = 2048, /* texts of one language touch a small part of the word table */
    MAX_STACKED = 3,
    MAX_REPEATS = 1024
};
static const double pass_seconds = 0.01;

struct pace_lane {
    struct device *dev;
    struct encoder *encoder;
    struct batch batch;
};

struct pace {
    struct pace_options options;
    struct device *dev;
    struct threads *team;
    struct shape shape;
    struct weights weights;
    void *table[3]; /* what the tables' weights point at */
    size_t n_tables;
    struct pace_lane *lane;
    size_t n_lanes, n_texts, n_runs; /* texts of a run, runs of a pass */
    atomic_size_t next;
};

/* ---- made-up weights ---- */

/* Small values, no two rows alike; host memory of the caller. */
static bool make_weight(bool int8, size_t rows, size_t cols, struct weight *weight, void **owned,
                        struct error *err)
{
    size_t n, element = int8 ? 1 : sizeof(float);
    if (!memory_multiply(rows, cols, &n))
        return error_set(err, "%zu x %zu weights are too many", rows, cols);
    size_t scales = int8 ? rows : 0;
    float *memory = memory_aligned(scales * sizeof(float) + n * element + 1, 1, err);
    if (!memory)
        return false;
    *owned = memory;
    *weight = (struct weight){.rows = rows, .cols = cols, .data = memory + scales};
    weight->type = int8 ? DTYPE_I8 : DTYPE_F32;
    weight->scale = int8 ? memory : NULL;
    weight->rotated = int8; /* that takes time, too */
    for (size_t i = 0; i < scales; i++)
        memory[i] = 1.0F / 2048;
    for (size_t i = 0; i < n; i++) {
        int value = (int)(i * 2654435761U >> 16 & 127) - 63;
        if (int8)
            ((int8_t *)(memory + scales))[i] = (int8_t)value;
        else
            memory[i] = (float)value / 2048;
    }
    return true;
}

static bool is_int8(const struct pace *pace, const struct part *part)
{
    return pace->options.int8 && !family_stays_float(part->role);
}

static bool make_table(void *context, const struct part *part, struct table_weights **to,
                       struct error *err)
{
    struct pace *pace = context;
    struct weight weight;
    size_t rows = part->role == FAMILY_WORD && part->rows > WORD_ROWS ? WORD_ROWS : part->rows;
    if (!make_weight(is_int8(pace, part), rows, part->cols, &weight, &pace->table[pace->n_tables],
                     err))
        return false;
    pace->n_tables++;
    *to = pace->dev->op->table_prepare(pace->dev, &weight, err);
    return *to != NULL;
}

static bool make_matrix(void *context, const struct part *part, size_t n_stacked,
                        struct weights_matrix *to, struct error *err)
{
    struct pace *pace = context;
    struct weight weight[MAX_STACKED];
    const float *bias[MAX_STACKED] = {NULL, NULL, NULL};
    void *owned[MAX_STACKED] = {NULL, NULL, NULL};
    bool ok = true;
    for (size_t i = 0; ok && i < n_stacked; i++)
        ok = make_weight(is_int8(pace, part), part[i].rows, part[i].cols, &weight[i], &owned[i],
                         err);
    if (ok)
        to->linear = pace->dev->op->linear_prepare(pace->dev, weight, bias, n_stacked, err);
    for (size_t i = 0; i < MAX_STACKED; i++)
        free(owned[i]);
    return ok && to->linear;
}

/* All norms share one vector of ones and one of zeros. */
static bool make_norm(void *context, const struct part *part, struct weights_norm *to,
                      struct error *err)
{
    struct pace *pace = context;
    (void)part;
    (void)err;
    size_t most = pace->shape.hidden > pace->shape.embed ? pace->shape.hidden : pace->shape.embed;
    *to = (struct weights_norm){.gain = pace->weights.floats, .bias = pace->weights.floats + most};
    return true;
}

static bool make_weights(struct pace *pace, struct error *err)
{
    struct device *dev = pace->dev;
    const struct weights_maker maker = {
        .context = pace, .table = make_table, .matrix = make_matrix, .norm = make_norm};
    size_t most = pace->shape.hidden > pace->shape.embed ? pace->shape.hidden : pace->shape.embed;
    pace->weights.shape = &pace->shape;
    pace->weights.dev = dev;
    pace->weights.floats = dev->op->alloc(dev, 2 * most * sizeof(float), err);
    float *vector = memory_zeroed(2 * most, sizeof *vector, err);
    bool ok = pace->weights.floats && vector;
    if (ok) {
        for (size_t i = 0; i < most; i++)
            vector[i] = 1;
        dev->op->upload(dev, pace->weights.floats, vector, 2 * most * sizeof *vector);
        ok = weights_make(&pace->weights, &maker, err);
    }
    free(vector);
    return ok;
}

/* ---- lanes ---- */

static bool fill_batch(const struct pace *pace, struct batch *batch, struct error *err)
{
    size_t n = pace->options.n_tokens, rows = pace->shape.vocab;
    rows = rows > WORD_ROWS ? WORD_ROWS : rows;
    int32_t *id = memory_array(n, sizeof *id, err);
    bool ok = id != NULL;
    for (size_t i = 0; ok && i < pace->n_texts; i++) {
        for (size_t t = 0; t < n; t++)
            id[t] = (int32_t)(rng_hash(i, t) % rows);
        ok = batch_add(batch, id, n, -1, NULL, err);
    }
    free(id);
    return ok && batch_upload(batch, err);
}

static bool open_lanes(struct pace *pace, struct error *err)
{
    struct device *dev = pace->dev;
    size_t n = pace->team ? threads_count(pace->team) : 1;
    n = n < dev->n_lanes ? n : dev->n_lanes;
    pace->lane = memory_zeroed(n, sizeof *pace->lane, err);
    bool ok = pace->lane != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        struct pace_lane *lane = &pace->lane[i];
        pace->n_lanes = i + 1;
        lane->dev = n == 1 ? dev : dev->op->lane(dev, i);
        batch_init(&lane->batch, lane->dev, &pace->shape, 0, false);
        lane->encoder = encoder_open(lane->dev, &pace->shape, false, err);
        ok = lane->encoder && fill_batch(pace, &lane->batch, err) &&
             encoder_reserve(lane->encoder, lane->batch.n_tokens, lane->batch.n, err);
    }
    return ok;
}

static void work(void *context, size_t member, size_t n_members)
{
    struct pace *pace = context;
    (void)n_members;
    if (member >= pace->n_lanes)
        return;
    struct pace_lane *lane = &pace->lane[member];
    while (atomic_fetch_add(&pace->next, 1) < pace->n_runs)
        encoder_forward(lane->encoder, &pace->weights, &lane->batch, NULL);
}

bool pace_run(struct pace *pace, double *seconds, struct error *err)
{
    double begin = progress_clock();
    atomic_store(&pace->next, 0);
    if (pace->n_lanes > 1)
        threads_run(pace->team, work, pace);
    else
        work(pace, 0, 1);
    bool ok = true;
    for (size_t i = 0; ok && i < pace->n_lanes; i++)
        ok = pace->lane[i].dev->op->sync(pace->lane[i].dev, err);
    *seconds = (progress_clock() - begin) / (double)(pace->n_runs * pace->n_texts);
    return ok;
}

/* ---- life ---- */

/* One run on each lane, to touch everything; then as many as fill a pass. */
static bool warm_up(struct pace *pace, struct error *err)
{
    double seconds, wanted = pace->options.seconds > 0 ? pace->options.seconds : pass_seconds;
    pace->n_runs = pace->n_lanes;
    if (!pace_run(pace, &seconds, err) || !pace_run(pace, &seconds, err))
        return false;
    double repeats = wanted / (seconds * (double)(pace->n_runs * pace->n_texts));
    repeats = repeats > MAX_REPEATS ? MAX_REPEATS : repeats;
    pace->n_runs = pace->n_lanes * (repeats > 1 ? (size_t)repeats : 1);
    return true;
}

struct pace *pace_open(const struct shape *shape, const struct pace_options *options,
                       struct device *dev, struct threads *team, struct error *err)
{
    struct pace *pace = memory_zeroed(1, sizeof *pace, err);
    if (!pace)
        return NULL;
    pace->options = *options;
    pace->dev = dev;
    pace->team = team;
    pace->n_texts = PACE_RUN_TOKENS / options->n_tokens;
    pace->n_texts = pace->n_texts > 0 ? pace->n_texts : 1;
    if (shape_copy(shape, &pace->shape, err) && make_weights(pace, err) && open_lanes(pace, err) &&
        warm_up(pace, err))
        return pace;
    pace_close(pace);
    return NULL;
}

void pace_close(struct pace *pace)
{
    if (!pace)
        return;
    for (size_t i = 0; i < pace->n_lanes; i++) {
        encoder_close(pace->lane[i].encoder);
        batch_free(&pace->lane[i].batch);
    }
    free(pace->lane);
    weights_free(&pace->weights);
    for (size_t i = 0; i < pace->n_tables; i++)
        free(pace->table[i]);
    shape_free(&pace->shape);
    free(pace);
}
