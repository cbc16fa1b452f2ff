/* classifier.c: many records through prepared weights, parallel over lanes. */
#include "nn/classifier.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/memory.h"
#include "nn/batch.h"
#include "nn/encoder.h"
#include "nn/footprint.h"
#include "nn/parts.h"
#include "nn/weights.h"

enum {
    SHORT_RUN = 96 /* tokens; shorter runs take longer for each */
};

/* One run of at least so many multiply-adds is worth sharing among all threads: a tenth of a
 * millisecond of one thread, some hundred times what the others cost for each operation of a layer
 * while processors are free (core/threads.h). */
static const double shared_macs = 1e7;

/* What one lane works with; lanes share nothing that is written. */
struct lane {
    struct device *dev;
    struct encoder *encoder;
    struct batch batch;
    struct ngram_scratch scratch;
    float *ngram; /* the n-gram part's logits of a run */
    size_t room_ngram;
    struct error err;
};

struct classifier {
    bool has_encoder, has_ngram;
    struct shape shape;
    struct weights weights;
    struct ngram_part part;
    struct ngram *ngram; /* NULL: none */
    size_t n_labels;
    struct model *model;
    struct threads *team;
    size_t batch_tokens;
    struct lane *lane;
    size_t n_lanes;
    struct footprint footprint;
    struct batch_size most; /* of a run */
    struct lane whole;      /* the device with all its threads, for a run that is alone */
    size_t *run;            /* [n_runs + 1]: first record of each run */
    size_t room_runs;
};

/* One call of classifier_run(). */
struct job {
    struct classifier *classifier;
    const struct classifier_texts *texts;
    float *logits;
    size_t n_runs;
    atomic_size_t next;
    atomic_bool failed;
};

static bool open_lane(struct classifier *c, struct lane *lane, struct device *dev,
                      struct error *err)
{
    lane->dev = lane->scratch.dev = dev;
    if (!c->has_encoder)
        return true;
    batch_init(&lane->batch, dev, &c->shape, 0, false);
    lane->encoder = encoder_open(dev, &c->shape, false, err);
    return lane->encoder != NULL;
}

static void close_lane(struct lane *lane)
{
    encoder_close(lane->encoder);
    if (lane->dev) {
        batch_free(&lane->batch);
        ngram_scratch_free(&lane->scratch);
    }
    free(lane->ngram);
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

/* Of the encoder: weights, and a run of each lane. */
static bool count_encoder(struct classifier *c, struct device *dev, struct error *err)
{
    size_t longest = shape_max_tokens(&c->shape);
    struct batch batch;
    bool int8 = false;
    batch_init(&batch, dev, &c->shape, 0, false);
    c->most = (struct batch_size){.tokens = longest > c->batch_tokens ? longest : c->batch_tokens,
                                  .records = c->batch_tokens,
                                  .longest = longest};
    struct footprint_run run = {
        .dev = dev, .shape = &c->shape, .precision = DTYPE_F32, .batch = &batch, .most = c->most};
    return weights_bytes(&c->shape, c->model, dev, &run.weights, &int8, err) &&
           footprint_inference(&run, int8, &c->footprint, err);
}

/* Of the CPU that is little. */
static bool check_memory(struct classifier *c, struct device *dev, struct error *err)
{
    char wanted[FOOTPRINT_TEXT], weights[FOOTPRINT_TEXT], left[FOOTPRINT_TEXT];
    size_t of_ngrams = c->has_ngram ? ngram_bytes(&c->part, dev) : 0;
    struct footprint *footprint = &c->footprint;
    struct device_memory memory;
    if (c->has_encoder && !count_encoder(c, dev, err))
        return false;
    footprint->parameters += of_ngrams;
    footprint->total += of_ngrams;
    dev->op->memory(dev, &memory);
    return footprint->total <= memory.free ||
           error_set(err,
                     "%s needs %s of memory on %s (%s of it for its weights), %s free: take a "
                     "smaller model, such as one of mquant, or a device with more memory",
                     c->model->name, footprint_text(footprint->total, wanted), dev->name,
                     footprint_text(footprint->parameters, weights),
                     footprint_text(memory.free, left));
}

/* Where one lane does it all: room for its largest run, so that none is short of it. */
static bool reserve(struct classifier *c, struct device *dev, struct error *err)
{
    struct lane *lane = &c->lane[0];
    return !c->has_encoder || c->n_lanes > 1 ||
           (dev->op->reserve(dev, c->footprint.work, err) &&
            batch_reserve(&lane->batch, &c->most, &c->shape, err) &&
            encoder_reserve(lane->encoder, c->most.tokens, c->most.records, err));
}

static bool read_parts(struct classifier *c, struct error *err)
{
    return (!c->has_encoder || shape_from_model(&c->shape, c->model, err)) &&
           (!c->has_ngram || ngram_part_map(&c->part, c->model, err));
}

static bool prepare_parts(struct classifier *c, struct device *dev, struct error *err)
{
    if (c->has_encoder && !weights_prepare(&c->weights, &c->shape, c->model, dev, err))
        return false;
    c->n_labels = c->has_encoder ? c->shape.n_labels : c->part.classes;
    if (!c->has_ngram)
        return true;
    if (c->part.classes != c->n_labels)
        return error_set(err, "%s: the n-gram part tells %zu labels apart, the encoder %zu",
                         c->model->name, c->part.classes, c->n_labels);
    c->ngram = ngram_open(&c->part, dev, err);
    return c->ngram != NULL;
}

struct classifier *classifier_open(struct model *model, struct device *dev, struct threads *team,
                                   size_t batch_tokens, struct error *err)
{
    struct classifier *c = memory_zeroed(1, sizeof *c, err);
    if (!c)
        return NULL;
    c->model = model;
    c->team = team;
    c->batch_tokens = batch_tokens ? batch_tokens : dev->pass_tokens;
    c->has_encoder = !ngram_alone(model);
    c->has_ngram = !c->has_encoder || ngram_of_model(model);
    if (model_check_problem(model, err) && read_parts(c, err) && check_memory(c, dev, err) &&
        prepare_parts(c, dev, err) && open_lanes(c, dev, err) && reserve(c, dev, err))
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
    ngram_close(classifier->ngram);
    ngram_part_free(&classifier->part);
    free(classifier);
}

size_t classifier_batch_tokens(const struct classifier *classifier)
{
    return classifier->batch_tokens;
}

size_t classifier_footprint(const struct classifier *classifier)
{
    return classifier->footprint.total;
}

size_t classifier_labels(const struct classifier *classifier)
{
    return classifier->n_labels;
}

const struct shape *classifier_shape(const struct classifier *classifier)
{
    return classifier->has_encoder ? &classifier->shape : NULL;
}

const struct ngram_part *classifier_ngram(const struct classifier *classifier)
{
    return classifier->has_ngram ? &classifier->part : NULL;
}

size_t classifier_parameters(const struct classifier *classifier)
{
    const struct classifier *c = classifier;
    return (c->has_encoder ? parts_parameters(&c->shape) : 0) +
           (c->has_ngram ? c->part.classes * (c->part.rows + 1) : 0);
}

double classifier_macs(const struct classifier *classifier, size_t n_tokens, size_t n_grams)
{
    const struct classifier *c = classifier;
    return (c->has_encoder ? shape_macs(&c->shape, n_tokens) : 0) +
           (c->has_ngram ? (double)c->part.classes * (double)n_grams : 0);
}

/* Every record: at least one token, no more than positions, ids inside the vocabulary. */
static bool check_records(const struct classifier *c, const struct classifier_texts *texts,
                          size_t n, struct error *err)
{
    const int64_t *offset = texts->offset;
    const int32_t *id = texts->id;
    if (c->has_ngram && !texts->gram && !texts->ngram)
        return error_set(err,
                         "the records carry no n-grams, which %s needs; make the stream with "
                         "mtok -m %s",
                         c->model->name, c->model->name);
    for (size_t i = 0; c->has_encoder && i < n; i++) {
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

/* Tokens of the next run when `left` of them are left: batch_tokens, fewer towards the end, so that
 * no lane is done long before the others, and fewer when there would be too few runs for all. */
static size_t run_tokens(const struct classifier *c, size_t total, size_t left)
{
    size_t share = (total + c->n_lanes - 1) / c->n_lanes, half = left / (2 * c->n_lanes);
    size_t least = share < SHORT_RUN ? share : SHORT_RUN;
    size_t tokens = c->n_lanes == 1 ? share : half > least ? half : least;
    return tokens < c->batch_tokens ? tokens : c->batch_tokens;
}

/* Cut [0, n) into runs. */
static bool cut_runs(struct classifier *c, const int64_t *offset, size_t n, size_t *n_runs,
                     struct error *err)
{
    size_t total = (size_t)(offset[n] - offset[0]), budget = 0, tokens = 0;
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
            budget = run_tokens(c, total, (size_t)(offset[n] - offset[i]));
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

/* The encoder's logits of records [begin, end). */
static bool run_encoder(const struct job *job, struct lane *lane, size_t begin, size_t end,
                        float *logits)
{
    struct classifier *c = job->classifier;
    struct batch *batch = &lane->batch;
    const int64_t *offset = job->texts->offset;
    size_t n = end - begin;
    batch_clear(batch);
    for (size_t i = begin; i < end; i++)
        if (!batch_add(batch, job->texts->id + offset[i], (size_t)(offset[i + 1] - offset[i]), -1,
                       NULL, &lane->err))
            return false;
    if (!encoder_prepare(lane->encoder, &c->weights, batch, &lane->err))
        return false;
    const act *out = encoder_forward(lane->encoder, &c->weights, batch, NULL);
    lane->dev->op->act_download(lane->dev, logits, out, n * c->n_labels);
    return lane->dev->op->sync(lane->dev, &lane->err);
}

/* The n-gram part's logits of records [begin, end), given or computed, join the encoder's. */
static bool add_ngram(const struct job *job, struct lane *lane, size_t begin, size_t end,
                      float *logits)
{
    struct classifier *c = job->classifier;
    const struct classifier_texts *texts = job->texts;
    const struct ngram_part *part = &c->part;
    size_t n = (end - begin) * c->n_labels;
    const float *ngram = texts->ngram ? texts->ngram + begin * c->n_labels : NULL;
    if (!ngram) {
        if (!memory_grow(&lane->ngram, &lane->room_ngram, n, sizeof *lane->ngram, &lane->err) ||
            !ngram_run(c->ngram, &lane->scratch, texts->gram, texts->gram_offset + begin,
                       end - begin, lane->ngram, &lane->err))
            return false;
        ngram = lane->ngram;
    }
    float encoder_gate = (float)part->encoder_gate, ngram_gate = (float)part->ngram_gate;
    for (size_t i = 0; i < n; i++)
        logits[i] = (c->has_encoder ? encoder_gate * logits[i] : 0) + ngram_gate * ngram[i];
    return true;
}

/* Records [begin, end) through one lane. */
static bool run_lane(const struct job *job, struct lane *lane, size_t begin, size_t end)
{
    struct classifier *c = job->classifier;
    float *logits = job->logits + begin * c->n_labels;
    return (!c->has_encoder || run_encoder(job, lane, begin, end, logits)) &&
           (!c->has_ngram || add_ngram(job, lane, begin, end, logits)) &&
           finite_logits(logits, end - begin, c->n_labels, begin, c->model->name, &lane->err);
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

bool classifier_answer(struct classifier *classifier, const struct classifier_texts *texts,
                       size_t n, float *logits, struct error *err)
{
    struct job job = {.classifier = classifier, .texts = texts, .logits = logits};
    const int64_t *offset = texts->offset;
    if (n == 0)
        return true;
    if (!check_records(classifier, texts, n, err) ||
        !cut_runs(classifier, offset, n, &job.n_runs, err))
        return false;
    /* The same values either way: no row depends on how rows are shared out. */
    bool alone = classifier->has_encoder && job.n_runs == 1 && classifier->n_lanes > 1 &&
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

bool classifier_run(struct classifier *classifier, const int64_t *offset, const int32_t *id,
                    size_t n, float *logits, struct error *err)
{
    const struct classifier_texts texts = {.offset = offset, .id = id};
    return classifier_answer(classifier, &texts, n, logits, err);
}
