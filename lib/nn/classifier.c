/* classifier.c: many records through prepared weights, parallel over lanes. */
#include "nn/classifier.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/memory.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/weights.h"

enum { DEFAULT_BATCH_TOKENS = 512 };

/* One run of at least so many multiply-adds is worth sharing among all threads: a tenth of a
 * millisecond of one thread, some hundred times what the others cost for each operation of a layer
 * while processors are free (core/threads.h). */
static const double shared_macs = 1e7;

/* What one lane works with; lanes share nothing that is written. */
struct lane {
    struct device *dev;
    struct encoder *encoder;
    struct batch batch;
    struct error err;
};

struct classifier {
    struct shape shape;
    struct weights weights;
    struct model *model;
    struct threads *team;
    size_t batch_tokens;
    struct lane *lane;
    size_t n_lanes;
    struct lane whole; /* the device with all its threads, for a run that is alone */
    size_t *run;       /* [n_runs + 1]: first record of each run */
    size_t room_runs;
};

/* One call of classifier_run(). */
struct job {
    struct classifier *classifier;
    const int64_t *offset;
    const int32_t *id;
    float *logits;
    size_t n_runs;
    atomic_size_t next;
    atomic_bool failed;
};

static bool open_lane(struct classifier *c, struct lane *lane, struct device *dev,
                      struct error *err)
{
    lane->dev = dev;
    batch_init(&lane->batch, dev, &c->shape, 0, false);
    lane->encoder = encoder_open(dev, &c->shape, false, err);
    return lane->encoder != NULL;
}

static void close_lane(struct lane *lane)
{
    encoder_close(lane->encoder);
    if (lane->dev)
        batch_free(&lane->batch);
}

static bool open_lanes(struct classifier *c, struct device *dev, struct error *err)
{
    size_t n = c->team ? threads_count(c->team) : 1;
    n = n < dev->n_lanes ? n : dev->n_lanes;
    c->lane = memory_zeroed(n, sizeof *c->lane, err);
    if (!c->lane)
        return false;
    c->n_lanes = n;
    for (size_t i = 0; i < n; i++)
        if (!open_lane(c, &c->lane[i], n == 1 ? dev : dev->op->lane(dev, i), err))
            return false;
    return open_lane(c, &c->whole, dev, err);
}

struct classifier *classifier_open(struct model *model, struct device *dev, struct threads *team,
                                   size_t batch_tokens, struct error *err)
{
    struct classifier *c = memory_zeroed(1, sizeof *c, err);
    if (!c)
        return NULL;
    c->model = model;
    c->team = team;
    c->batch_tokens = batch_tokens ? batch_tokens : DEFAULT_BATCH_TOKENS;
    if (model_check_problem(model, err) && shape_from_model(&c->shape, model, err) &&
        weights_prepare(&c->weights, &c->shape, model, dev, err) && open_lanes(c, dev, err))
        return c;
    classifier_close(c);
    return NULL;
}

void classifier_close(struct classifier *classifier)
{
    if (!classifier)
        return;
    for (size_t i = 0; i < classifier->n_lanes; i++)
        close_lane(&classifier->lane[i]);
    close_lane(&classifier->whole);
    free(classifier->lane);
    free(classifier->run);
    weights_free(&classifier->weights);
    shape_free(&classifier->shape);
    free(classifier);
}

const struct shape *classifier_shape(const struct classifier *classifier)
{
    return &classifier->shape;
}

/* Every record: at least one token, no more than positions, ids inside the vocabulary. */
static bool check_records(const struct classifier *c, const int64_t *offset, const int32_t *id,
                          size_t n, struct error *err)
{
    for (size_t i = 0; i < n; i++) {
        int64_t length = offset[i + 1] - offset[i];
        if (length < 1)
            return error_set(
                err, "record %zu has no tokens; a text has its special tokens at least", i + 1);
        if ((uint64_t)length > shape_max_tokens(&c->shape))
            return error_set(err,
                             "record %zu has %" PRId64
                             " tokens, more than the %zu positions of %s; "
                             "tokenise with mtok --max-tokens %zu",
                             i + 1, length, shape_max_tokens(&c->shape), c->model->name,
                             shape_max_tokens(&c->shape));
        for (int64_t t = offset[i]; t < offset[i + 1]; t++)
            if (id[t] < 0 || (size_t)id[t] >= c->shape.vocab)
                return error_set(err,
                                 "record %zu: token id %" PRId32
                                 " is outside the vocabulary of %zu of "
                                 "%s; tokenise with mtok -m of the same model",
                                 i + 1, id[t], c->shape.vocab, c->model->name);
    }
    return true;
}

/* Cut [0, n) into runs of about batch_tokens tokens, fewer when there would be too few runs for all
 * lanes. */
static bool cut_runs(struct classifier *c, const int64_t *offset, size_t n, size_t *n_runs,
                     struct error *err)
{
    size_t total = (size_t)(offset[n] - offset[0]);
    size_t share = (total + c->n_lanes - 1) / c->n_lanes;
    size_t budget = share < c->batch_tokens ? share : c->batch_tokens, tokens = 0;
    *n_runs = 0;
    if (!memory_grow(&c->run, &c->room_runs, n + 1, sizeof *c->run, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t length = (size_t)(offset[i + 1] - offset[i]);
        /* Nearer to the budget without this record than with it? */
        bool full =
            tokens > 0 && (tokens + length > c->batch_tokens || tokens + length / 2 >= budget);
        if (i == 0 || full) {
            c->run[(*n_runs)++] = i;
            tokens = 0;
        }
        tokens += length;
    }
    c->run[*n_runs] = n;
    return true;
}

static bool finite_logits(const float *logits, size_t rows, size_t cols, size_t first,
                          const char *name, struct error *err)
{
    for (size_t i = 0; i < rows * cols; i++)
        if (!isfinite(logits[i]))
            return error_set(
                err,
                "%s: record %zu: the model's answer is not finite; its word embeddings "
                "hold NaN or infinity, or values overflow",
                name, first + i / cols + 1);
    return true;
}

/* Records [begin, end) through one lane. */
static bool run_lane(const struct job *job, struct lane *lane, size_t begin, size_t end)
{
    struct classifier *c = job->classifier;
    struct batch *batch = &lane->batch;
    size_t n = end - begin, n_tokens = (size_t)(job->offset[end] - job->offset[begin]);
    float *logits = job->logits + begin * c->shape.n_labels;
    batch_clear(batch);
    for (size_t i = begin; i < end; i++)
        if (!batch_add(batch, job->id + job->offset[i],
                       (size_t)(job->offset[i + 1] - job->offset[i]), -1, NULL, &lane->err))
            return false;
    if (!weights_verify_rows(&c->weights, batch->id, n_tokens, &lane->err) ||
        !batch_upload(batch, &lane->err) ||
        !encoder_reserve(lane->encoder, n_tokens, n, &lane->err))
        return false;
    const act *out = encoder_forward(lane->encoder, &c->weights, batch, NULL);
    lane->dev->op->act_download(lane->dev, logits, out, n * c->shape.n_labels);
    return lane->dev->op->sync(lane->dev, &lane->err) &&
           finite_logits(logits, n, c->shape.n_labels, begin, c->model->name, &lane->err);
}

static void work(void *context, size_t member, size_t n_members)
{
    struct job *job = context;
    struct classifier *c = job->classifier;
    (void)n_members;
    if (member >= c->n_lanes)
        return;
    struct lane *lane = &c->lane[member];
    for (;;) {
        size_t run = atomic_fetch_add(&job->next, 1);
        if (run >= job->n_runs || atomic_load(&job->failed))
            return;
        if (!run_lane(job, lane, c->run[run], c->run[run + 1])) {
            atomic_store(&job->failed, true);
            return;
        }
    }
}

/* False when the lane failed; its error becomes err unless there is one already. */
static bool take_error(struct lane *lane, struct error *err)
{
    if (!lane->err.set)
        return true;
    error_set(err, "%s", lane->err.text);
    error_clear(&lane->err);
    return false;
}

static bool run_whole(const struct job *job, struct error *err)
{
    struct classifier *c = job->classifier;
    return run_lane(job, &c->whole, c->run[0], c->run[1]) || take_error(&c->whole, err);
}

bool classifier_run(struct classifier *classifier, const int64_t *offset, const int32_t *id,
                    size_t n, float *logits, struct error *err)
{
    struct job job = {.classifier = classifier, .offset = offset, .id = id, .logits = logits};
    if (n == 0)
        return true;
    if (!check_records(classifier, offset, id, n, err) ||
        !cut_runs(classifier, offset, n, &job.n_runs, err))
        return false;
    /* The same values either way: no row depends on how rows are shared out. */
    bool alone = job.n_runs == 1 && classifier->n_lanes > 1 &&
                 (double)n * shape_macs(&classifier->shape, (size_t)(offset[n] - offset[0]) / n) >=
                     shared_macs;
    if (alone)
        return run_whole(&job, err);
    if (classifier->n_lanes > 1 && job.n_runs > 1)
        threads_run(classifier->team, work, &job);
    else
        work(&job, 0, 1);
    for (size_t i = 0; i < classifier->n_lanes; i++)
        if (!take_error(&classifier->lane[i], err))
            job.failed = true;
    return !job.failed;
}
