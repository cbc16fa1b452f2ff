/* ngram_problem.c: the features of the records by record and by bucket, the loss and its gradient.
 * The gradient of a bucket's weights is summed by one thread over the records that have it, in
 * order, so that the number of threads does not show. */
#include "nn/ngram_problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { GROUP = 4, ROW_BLOCK = 1024, AHEAD = 12 };
static const double LOGISTIC_L2 = 1e-5, HINGE_C = 0.3;

/* What the compiler makes one instruction of; rows are whole numbers of them. */
typedef float group __attribute__((vector_size(GROUP * sizeof(float)), aligned(4), may_alias));

/* to [n] += x * from [n]. */
static inline void add_scaled(float x, const float *from, size_t n, float *to)
{
    for (size_t c = 0; c < n; c += GROUP)
        *(group *)(to + c) += x * *(const group *)(from + c);
}

struct ngram_problem {
    const struct ngram_fit_options *options;
    size_t n, classes, stride, rows, n_blocks;
    bool multi_label;
    double l2;
    struct record *record;  /* [n] */
    uint32_t *index;        /* [n] number of each in the set */
    struct ngram_part part; /* buckets and idf */
    size_t *first;          /* [n + 1] features of each record */
    int32_t *feature;
    float *value;
    size_t *column; /* [rows + 1] records of each feature */
    uint32_t *at;
    float *weight;
    float *teacher;   /* [n, classes] probabilities at the temperature; NULL */
    double *constant; /* [n] what of the soft loss does not depend on the student */
    float *slope;     /* [n, stride]: logits, then their gradient */
    double *loss;     /* [n] */
    double *square;   /* [n_blocks] */
};

size_t ngram_problem_stride(size_t classes)
{
    return (classes + GROUP - 1) / GROUP * GROUP;
}

size_t ngram_problem_size(const struct ngram_problem *problem)
{
    return (problem->rows + 1) * problem->stride;
}

size_t ngram_problem_rows(const struct ngram_problem *problem)
{
    return problem->rows;
}

size_t ngram_problem_records(const struct ngram_problem *problem)
{
    return problem->n;
}

/* ---- records and features ---- */

static bool check(const struct records_set *set, const struct ngram_fit_options *o,
                  struct error *err)
{
    if (set->header.grams.buckets == 0)
        return error_set(err, "the records carry no n-grams; tokenise with mtok --ngrams");
    if (set->header.n_labels == 0)
        return error_set(err,
                         "the records name no labels; tokenise labelled text with mtok --label");
    if (o->distil && !set->has_logits)
        return error_set(
            err, "--kd: the records carry no logits; run them through mteach -m TEACHER first");
    if (o->distil && o->loss == NGRAM_HINGE)
        return error_set(err, "hinges learn from labels alone; to distil, take a logistic loss");
    return true;
}

/* Those that teach anything. */
static bool choose_records(struct ngram_problem *p, const struct records_set *set,
                           const uint32_t *record, size_t n, struct error *err)
{
    p->record = memory_array(n, sizeof *p->record, err);
    p->index = memory_array(n, sizeof *p->index, err);
    if (!p->record || !p->index)
        return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t number = record ? record[i] : (uint32_t)i;
        struct record r = records_get(set, number);
        if (!r.labelled && !p->options->distil)
            continue;
        p->record[p->n] = r;
        p->index[p->n++] = number;
    }
    return p->n > 0 ||
           error_set(err,
                     "none of the %zu records has a label; tokenise with mtok --label, or "
                     "distil with --kd",
                     n);
}

/* One more record of each of its buckets. */
static void count_record(const struct record *record, uint32_t *df)
{
    for (size_t k = 0; k < record->n_grams; k++)
        df[record->gram[k]] += k == 0 || record->gram[k] != record->gram[k - 1];
}

static size_t count_rows(const uint32_t *df, uint32_t buckets, size_t min_df)
{
    size_t rows = 0;
    for (uint32_t b = 0; b < buckets; b++)
        rows += df[b] >= min_df && df[b] > 0;
    return rows;
}

bool ngram_problem_most_rows(const struct records_set *set, const struct ngram_fit_options *options,
                             size_t *rows, struct error *err)
{
    uint32_t buckets = set->header.grams.buckets, *df = memory_zeroed(buckets, sizeof *df, err);
    for (size_t i = 0; df && i < set->n; i++) {
        struct record record = records_get(set, i);
        count_record(&record, df);
    }
    *rows = df ? count_rows(df, buckets, options->min_df) : 0;
    free(df);
    return df != NULL;
}

/* Rows for the buckets that enough records have. */
static bool choose_buckets(struct ngram_problem *p, struct error *err)
{
    struct ngram_part *part = &p->part;
    uint32_t *df = memory_zeroed(part->grams.buckets, sizeof *df, err);
    if (!df)
        return false;
    for (size_t i = 0; i < p->n; i++)
        count_record(&p->record[i], df);
    part->rows = count_rows(df, part->grams.buckets, p->options->min_df);
    part->bucket = memory_array(part->rows, sizeof *part->bucket, err);
    part->idf = memory_array(part->rows, sizeof *part->idf, err);
    bool ok = part->bucket && part->idf;
    size_t row = 0;
    for (uint32_t b = 0; ok && b < part->grams.buckets; b++)
        if (df[b] >= p->options->min_df && df[b] > 0) {
            part->bucket[row] = (int32_t)b;
            part->idf[row++] = (float)(log((1 + (double)p->n) / (1 + (double)df[b])) + 1);
        }
    free(df);
    p->rows = part->rows;
    return ok && ngram_part_pack(part, err) &&
           (p->rows > 0 || error_set(err,
                                     "no n-gram occurs in %zu of the %zu records; the stream "
                                     "is too small, or min-df too large",
                                     p->options->min_df, p->n));
}

static bool make_features(struct ngram_problem *p, struct error *err)
{
    struct ngram_index index;
    size_t room = 0;
    for (size_t i = 0; i < p->n; i++)
        room += p->record[i].n_grams;
    p->first = memory_array(p->n + 1, sizeof *p->first, err);
    p->feature = memory_array(room, sizeof *p->feature, err);
    p->value = memory_array(room, sizeof *p->value, err);
    if (!p->first || !p->feature || !p->value ||
        !ngram_index_open(&index, p->part.grams.buckets, p->part.bucket, p->rows, p->part.idf, err))
        return false;
    p->first[0] = 0;
    for (size_t i = 0; i < p->n; i++)
        p->first[i + 1] =
            p->first[i] + ngram_features(&index, p->record[i].gram, p->record[i].n_grams,
                                         p->feature + p->first[i], p->value + p->first[i]);
    ngram_index_close(&index);
    return true;
}

/* The same by feature. */
static bool turn_features(struct ngram_problem *p, struct error *err)
{
    size_t all = p->first[p->n];
    p->column = memory_zeroed(p->rows + 2, sizeof *p->column, err);
    p->at = memory_array(all, sizeof *p->at, err);
    p->weight = memory_array(all, sizeof *p->weight, err);
    if (!p->column || !p->at || !p->weight)
        return false;
    size_t *next = p->column + 1; /* where the next record of a feature goes; ends as column + 1 */
    for (size_t k = 0; k < all; k++)
        next[p->feature[k] + 1]++;
    for (size_t r = 0; r < p->rows; r++)
        next[r + 1] += next[r];
    for (size_t i = 0; i < p->n; i++)
        for (size_t k = p->first[i]; k < p->first[i + 1]; k++) {
            size_t to = next[p->feature[k]]++;
            p->at[to] = (uint32_t)i;
            p->weight[to] = p->value[k];
        }
    return true;
}

/* ---- the teacher ---- */

static double log_sum(const double *z, size_t n)
{
    double max = z[0], sum = 0;
    for (size_t c = 1; c < n; c++)
        max = z[c] > max ? z[c] : max;
    for (size_t c = 0; c < n; c++)
        sum += exp(z[c] - max);
    return max + log(sum);
}

/* log(1 + exp(z)) without overflow. */
static double softplus(double z)
{
    return z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

static bool ask_teacher(struct ngram_problem *p, struct error *err)
{
    size_t classes = p->classes;
    if (!p->options->distil)
        return true;
    double *z = memory_array(classes, sizeof *z, err);
    p->teacher = memory_array(p->n * classes, sizeof *p->teacher, err);
    p->constant = memory_zeroed(p->n, sizeof *p->constant, err);
    bool ok = z && p->teacher && p->constant;
    for (size_t i = 0; ok && i < p->n; i++) {
        for (size_t c = 0; c < classes; c++)
            z[c] = (double)p->record[i].logits[c] / p->options->temperature;
        double all = p->multi_label ? 0 : log_sum(z, classes);
        for (size_t c = 0; c < classes; c++) {
            double yes = p->multi_label ? -softplus(-z[c]) : z[c] - all; /* log probability */
            double no = p->multi_label ? -softplus(z[c]) : 0, q = exp(yes);
            p->teacher[i * classes + c] = (float)q;
            p->constant[i] += q * yes + (p->multi_label ? exp(no) * no : 0);
        }
    }
    free(z);
    return ok;
}

struct ngram_problem *ngram_problem_open(const struct records_set *set, const uint32_t *record,
                                         size_t n, const struct ngram_fit_options *options,
                                         struct error *err)
{
    struct ngram_problem *p = memory_zeroed(1, sizeof *p, err);
    if (!p)
        return NULL;
    p->options = options;
    p->classes = set->header.n_labels;
    p->stride = ngram_problem_stride(p->classes);
    p->multi_label = set->header.separator != NULL;
    p->part = (struct ngram_part){.grams = set->header.grams, .classes = p->classes};
    bool ok = check(set, options, err) &&
              (set->n <= UINT32_MAX || error_set(err, "%zu records are too many to fit", set->n)) &&
              choose_records(p, set, record, record ? n : set->n, err) && choose_buckets(p, err) &&
              make_features(p, err) && turn_features(p, err) && ask_teacher(p, err);
    if (ok) {
        double l2 = options->loss == NGRAM_HINGE ? 1 / (HINGE_C * (double)p->n) : LOGISTIC_L2;
        p->l2 = isnan(options->l2) ? l2 : options->l2;
        p->n_blocks = (p->rows + ROW_BLOCK - 1) / ROW_BLOCK;
        p->slope = memory_array(p->n * p->stride, sizeof *p->slope, err);
        p->loss = memory_array(p->n, sizeof *p->loss, err);
        p->square = memory_array(p->n_blocks, sizeof *p->square, err);
        if (p->slope && p->loss && p->square)
            return p;
    }
    ngram_problem_close(p);
    return NULL;
}

void ngram_problem_close(struct ngram_problem *p)
{
    if (!p)
        return;
    free(p->record);
    free(p->index);
    free(p->first);
    free(p->feature);
    free(p->value);
    free(p->column);
    free(p->at);
    free(p->weight);
    free(p->teacher);
    free(p->constant);
    free(p->slope);
    free(p->loss);
    free(p->square);
    ngram_part_free(&p->part);
    free(p);
}

/* ---- loss and gradient ---- */

/* Loss of one record of one label with logits z [classes] (double), and d [classes] its
 * gradient. */
static double single_loss(const struct ngram_problem *p, size_t i, double *z, double *d)
{
    const struct ngram_fit_options *o = p->options;
    size_t n = p->classes;
    int32_t label = p->record[i].label;
    double soft = p->teacher ? o->alpha : 0, hard = label >= 0 ? 1 - soft : 0, loss = 0;
    memset(d, 0, n * sizeof *d);
    if (hard > 0) {
        double all = log_sum(z, n);
        loss += hard * (all - z[label]);
        for (size_t c = 0; c < n; c++)
            d[c] = hard * exp(z[c] - all);
        d[label] -= hard;
    }
    if (soft > 0) {
        const float *q = p->teacher + i * n;
        double t = o->temperature, cross = p->constant[i];
        for (size_t c = 0; c < n; c++)
            z[c] /= t;
        double all = log_sum(z, n);
        for (size_t c = 0; c < n; c++) {
            cross -= (double)q[c] * (z[c] - all);
            d[c] += soft * t * (exp(z[c] - all) - (double)q[c]);
        }
        loss += soft * t * t * cross;
    }
    return loss;
}

static bool holds(const struct record *record, size_t c)
{
    for (size_t k = 0; k < record->n_label_ids; k++)
        if (record->label_id[k] == (int32_t)c)
            return true;
    return false;
}

/* The same where labels hold independently: means over the classes. */
static double multi_loss(const struct ngram_problem *p, size_t i, const double *z, double *d)
{
    const struct ngram_fit_options *o = p->options;
    size_t n = p->classes;
    const struct record *record = &p->record[i];
    double soft = p->teacher ? o->alpha : 0, hard = record->labelled ? 1 - soft : 0;
    double t = o->temperature, loss = 0, divergence = soft > 0 ? p->constant[i] : 0;
    for (size_t c = 0; c < n; c++) {
        d[c] = 0;
        if (hard > 0) {
            bool yes = holds(record, c);
            loss += hard * softplus(yes ? -z[c] : z[c]);
            d[c] += hard * (1 / (1 + exp(-z[c])) - yes);
        }
        if (soft > 0) {
            double q = (double)p->teacher[i * n + c], at = z[c] / t;
            divergence += q * softplus(-at) + (1 - q) * softplus(at);
            d[c] += soft * t * (1 / (1 + exp(-at)) - q);
        }
        d[c] /= (double)n;
    }
    return (loss + soft * t * t * divergence) / (double)n;
}

/* One machine a class, against the others. */
static double hinge_loss(const struct ngram_problem *p, size_t i, const double *z, double *d)
{
    const struct record *record = &p->record[i];
    double loss = 0;
    for (size_t c = 0; c < p->classes; c++) {
        bool yes = p->multi_label ? holds(record, c) : record->label == (int32_t)c;
        double sign = yes ? 1 : -1, lacks = fmax(0, 1 - sign * z[c]);
        loss += lacks * lacks;
        d[c] = -2 * sign * lacks;
    }
    return loss;
}

static double record_loss(const struct ngram_problem *p, size_t i, double *z, double *d)
{
    if (p->options->loss == NGRAM_HINGE)
        return hinge_loss(p, i, z, d);
    return p->multi_label ? multi_loss(p, i, z, d) : single_loss(p, i, z, d);
}

struct work {
    struct ngram_problem *problem;
    const float *w;
    float *gradient;
    double *scratch; /* [members, 2, classes] */
};

/* Logits of a share of the records, their losses and slopes. */
static void forward(void *context, size_t member, size_t n_members)
{
    const struct work *work = context;
    struct ngram_problem *p = work->problem;
    size_t begin, end, stride = p->stride, classes = p->classes;
    double *z = work->scratch + member * 2 * classes, *d = z + classes;
    const float *bias = work->w + p->rows * stride;
    threads_share(p->n, member, n_members, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        float *sum = p->slope + i * stride;
        memcpy(sum, bias, stride * sizeof *sum);
        for (size_t k = p->first[i]; k < p->first[i + 1]; k++) {
            const float *row = work->w + (size_t)p->feature[k] * stride;
            /* Rows lie all over a table that is larger than the nearer caches. */
            if (k + AHEAD < p->first[p->n])
                __builtin_prefetch(work->w + (size_t)p->feature[k + AHEAD] * stride);
            add_scaled(p->value[k], row, stride, sum);
        }
        const float *offset =
            p->options->offset ? p->options->offset + (size_t)p->index[i] * classes : NULL;
        for (size_t c = 0; c < classes; c++)
            z[c] = (double)sum[c] + (offset ? (double)offset[c] : 0);
        p->loss[i] = record_loss(p, i, z, d);
        for (size_t c = 0; c < stride; c++)
            sum[c] = c < classes ? (float)(d[c] / (double)p->n) : 0;
    }
}

/* Gradients of a share of the features. */
static void backward(void *context, size_t member, size_t n_members)
{
    const struct work *work = context;
    struct ngram_problem *p = work->problem;
    size_t begin, end, stride = p->stride;
    float l2 = (float)p->l2;
    threads_share(p->n_blocks, member, n_members, &begin, &end);
    for (size_t block = begin; block < end; block++) {
        size_t last = (block + 1) * ROW_BLOCK < p->rows ? (block + 1) * ROW_BLOCK : p->rows;
        double square = 0;
        for (size_t r = block * ROW_BLOCK; r < last; r++) {
            const float *w = work->w + r * stride;
            float *g = work->gradient + r * stride;
            for (size_t c = 0; c < stride; c++) {
                g[c] = l2 * w[c];
                square += (double)w[c] * (double)w[c];
            }
            for (size_t k = p->column[r]; k < p->column[r + 1]; k++) {
                add_scaled(p->weight[k], p->slope + (size_t)p->at[k] * stride, stride, g);
            }
        }
        p->square[block] = square;
    }
}

bool ngram_problem_value(void *problem, const float *w, double *value, float *gradient,
                         struct error *err)
{
    struct ngram_problem *p = problem;
    struct threads *team = p->options->team;
    size_t members = team ? threads_count(team) : 1;
    struct work work = {.problem = p,
                        .w = w,
                        .gradient = gradient,
                        .scratch = memory_array(members * 2 * p->classes, sizeof(double), err)};
    if (!work.scratch)
        return false;
    threads_run(team, forward, &work);
    threads_run(team, backward, &work);
    free(work.scratch);
    double loss = 0, square = 0;
    float *bias = gradient + p->rows * p->stride;
    for (size_t c = 0; c < p->stride; c++) {
        double sum = 0;
        for (size_t i = 0; i < p->n; i++)
            sum += (double)p->slope[i * p->stride + c];
        bias[c] = (float)sum;
    }
    for (size_t i = 0; i < p->n; i++)
        loss += p->loss[i];
    for (size_t i = 0; i < p->n_blocks; i++)
        square += p->square[i];
    *value = loss / (double)p->n + p->l2 / 2 * square;
    return true;
}

/* ---- the solution ---- */

bool ngram_problem_take(struct ngram_problem *p, const float *w, struct ngram_part *part,
                        struct error *err)
{
    float *weight = memory_array(p->rows * p->classes, sizeof *weight, err);
    float *bias = memory_array(p->classes, sizeof *bias, err);
    if (!weight || !bias) {
        free(weight);
        free(bias);
        return false;
    }
    for (size_t c = 0; c < p->classes; c++) {
        for (size_t r = 0; r < p->rows; r++)
            weight[c * p->rows + r] = w[r * p->stride + c];
        bias[c] = w[p->rows * p->stride + c];
    }
    *part = p->part;
    p->part = (struct ngram_part){0};
    part->weight = weight;
    part->bias = bias;
    part->type = DTYPE_F32;
    part->encoder_gate = part->ngram_gate = 1;
    return true;
}
