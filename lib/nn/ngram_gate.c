#include "nn/ngram_gate.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

enum { SHARES = 20, SECTIONS = 32 };

static bool holds(const struct record *record, size_t c)
{
    for (size_t k = 0; k < record->n_label_ids; k++)
        if (record->label_id[k] == (int32_t)c)
            return true;
    return false;
}

double ngram_gate_score(const struct records_set *set, const float *logits)
{
    size_t n = set->header.n_labels, right = 0, given = 0, wanted = 0;
    for (size_t i = 0; i < set->n; i++, logits += n) {
        struct record record = records_get(set, i);
        size_t best = 0;
        if (!record.labelled)
            continue;
        for (size_t c = 0; c < n; c++)
            best = logits[c] > logits[best] ? c : best;
        if (!set->header.separator) {
            right += record.label == (int32_t)best;
            given++;
            wanted++;
            continue;
        }
        wanted += record.n_label_ids;
        for (size_t c = 0; c < n; c++) {
            right += logits[c] > 0 && holds(&record, c);
            given += logits[c] > 0;
        }
    }
    return given + wanted ? 2 * (double)right / (double)(given + wanted) : 1;
}

static double softplus(double z)
{
    return z > 0 ? z + log1p(exp(-z)) : log1p(exp(z));
}

double ngram_gate_loss(const struct records_set *set, const float *logits, double factor)
{
    size_t n = set->header.n_labels, count = 0;
    double sum = 0;
    for (size_t i = 0; i < set->n; i++, logits += n) {
        struct record record = records_get(set, i);
        double max = -INFINITY, all = 0;
        if (!record.labelled)
            continue;
        count++;
        if (set->header.separator) {
            for (size_t c = 0; c < n; c++) {
                double z = factor * (double)logits[c];
                sum += softplus(holds(&record, c) ? -z : z) / (double)n;
            }
            continue;
        }
        for (size_t c = 0; c < n; c++)
            max = fmax(max, factor * (double)logits[c]);
        for (size_t c = 0; c < n; c++)
            all += exp(factor * (double)logits[c] - max);
        sum += max + log(all) - factor * (double)logits[record.label];
    }
    return count ? sum / (double)count : 0;
}

/* The factor of least loss between e^-5 and e^5, by golden sections of its logarithm: the loss is
 * convex in the factor, so it has one valley in the logarithm, too. */
double ngram_gate_calibrate(const struct records_set *set, const float *logits)
{
    if (!records_any_labelled(set))
        return 1;
    const double golden = 0.6180339887498949;
    double low = -5, high = 5, a = high - golden * (high - low), b = low + golden * (high - low);
    double at_a = ngram_gate_loss(set, logits, exp(a)), at_b = ngram_gate_loss(set, logits, exp(b));
    for (size_t i = 0; i < SECTIONS; i++) {
        if (at_a <= at_b) {
            high = b;
            b = a;
            at_b = at_a;
            a = high - golden * (high - low);
            at_a = ngram_gate_loss(set, logits, exp(a));
        } else {
            low = a;
            a = b;
            at_a = at_b;
            b = low + golden * (high - low);
            at_b = ngram_gate_loss(set, logits, exp(b));
        }
    }
    return exp((low + high) / 2);
}

static void mix(const float *encoder, double x, const float *ngram, double y, size_t n, float *sum)
{
    for (size_t i = 0; i < n; i++)
        sum[i] = (float)(x * (double)encoder[i] + y * (double)ngram[i]);
}

bool ngram_gate_choose(struct ngram_gate *gate, const struct records_set *set, const float *encoder,
                       const float *ngram, struct error *err)
{
    size_t n;
    if (!memory_multiply(set->n, set->header.n_labels, &n))
        return error_set(err, "%zu records are too many", set->n);
    float *sum = memory_array(n, sizeof *sum, err);
    if (!sum)
        return false;
    double x = ngram_gate_calibrate(set, encoder), y = ngram_gate_calibrate(set, ngram),
           least = INFINITY;
    *gate = (struct ngram_gate){.score = -1,
                                .encoder_score = ngram_gate_score(set, encoder),
                                .ngram_score = ngram_gate_score(set, ngram)};
    for (size_t k = 0; k <= SHARES; k++) {
        double share = (double)k / SHARES;
        mix(encoder, share * x, ngram, (1 - share) * y, n, sum);
        double scale = ngram_gate_calibrate(set, sum), loss = ngram_gate_loss(set, sum, scale);
        if (!(loss < least))
            continue;
        least = loss;
        gate->score = ngram_gate_score(set, sum);
        gate->share = share;
        gate->encoder = scale * share * x;
        gate->ngram = scale * (1 - share) * y;
    }
    free(sum);
    return true;
}
