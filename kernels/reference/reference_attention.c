/* reference_attention.c: softmax(q kᵀ scale) v per sequence and head, and its gradients. */
#include "kernels/reference/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "kernels/dropout.h"

/* One head of one sequence. Rows are counted from the sequence's first. */
struct head {
    const struct attention *attention;
    size_t first_key, n_keys;      /* rows of k and v */
    size_t first_query, n_queries; /* rows of q, out, lse */
    size_t head;
    struct dropout_key key;
};

static double head_score(const struct head *head, const float *q, const float *k, size_t i,
                         size_t j)
{
    const struct attention *a = head->attention;
    const float *query = q + (head->first_query + i) * a->q_stride + head->head * a->head_size;
    const float *key = k + (head->first_key + j) * a->kv_stride + head->head * a->head_size;
    double sum = 0;
    for (size_t c = 0; c < a->head_size; c++)
        sum += (double)query[c] * (double)key[c];
    return sum * (double)a->scale;
}

static double head_dropout(const struct head *head, size_t i, size_t j)
{
    const struct attention *a = head->attention;
    uint64_t row = (head->first_query + i) * a->heads + head->head;
    return (double)dropout_factor(&head->key, row * a->seqs.longest + j);
}

static void head_forward(const struct head *head, const float *q, const float *k, const float *v,
                         double *p, float *out, float *lse)
{
    const struct attention *a = head->attention;
    for (size_t i = 0; i < head->n_queries; i++) {
        double largest = -INFINITY, total = 0;
        for (size_t j = 0; j < head->n_keys; j++) {
            p[j] = head_score(head, q, k, i, j);
            largest = p[j] <= largest ? largest : p[j];
        }
        for (size_t j = 0; j < head->n_keys; j++)
            total += p[j] = exp(p[j] - largest);
        if (lse)
            lse[(head->first_query + i) * a->heads + head->head] = (float)(largest + log(total));
        for (size_t c = 0; c < a->head_size; c++) {
            size_t column = head->head * a->head_size + c;
            double sum = 0;
            for (size_t j = 0; j < head->n_keys; j++)
                sum += p[j] / total * head_dropout(head, i, j) *
                       (double)v[(head->first_key + j) * a->kv_stride + column];
            out[(head->first_query + i) * a->out_stride + column] = (float)sum;
        }
    }
}

/* Gradients of query row i: dq is written, dk and dv [n_keys, head_size] (double) are added to.
 * `row` [2, n_keys] is scratch. With p the probabilities, w the dropout factors and u_j = dout ·
 * v_j:  ds_j = p_j (w_j u_j − Σ p w u). */
static void head_backward_row(const struct head *head, size_t i, const float *q, const float *k,
                              const float *v, const float *lse, const float *dout, double *row,
                              float *dq, double *dk, double *dv)
{
    const struct attention *a = head->attention;
    size_t query = head->first_query + i, base = head->head * a->head_size;
    double *p = row, *dp = row + head->n_keys, inner = 0;
    for (size_t j = 0; j < head->n_keys; j++) {
        const float *value = v + (head->first_key + j) * a->kv_stride + base;
        double weight = head_dropout(head, i, j), dot = 0;
        p[j] = exp(head_score(head, q, k, i, j) - (double)lse[query * a->heads + head->head]);
        for (size_t c = 0; c < a->head_size; c++) {
            double d = (double)dout[query * a->out_stride + base + c];
            dot += d * (double)value[c];
            dv[j * a->head_size + c] += p[j] * weight * d;
        }
        dp[j] = weight * dot;
        inner += p[j] * dp[j];
    }
    for (size_t c = 0; c < a->head_size; c++) {
        double sum = 0;
        for (size_t j = 0; j < head->n_keys; j++) {
            double ds = p[j] * (dp[j] - inner) * (double)a->scale;
            sum += ds * (double)k[(head->first_key + j) * a->kv_stride + base + c];
            dk[j * a->head_size + c] += ds * (double)q[query * a->q_stride + base + c];
        }
        dq[query * a->q_stride + base + c] = (float)sum;
    }
}

static struct head head_of(const struct attention *attention, size_t sequence, size_t head)
{
    size_t first = (size_t)attention->seqs.offset[sequence];
    size_t n = (size_t)attention->seqs.offset[sequence + 1] - first;
    return (struct head){.attention = attention,
                         .first_key = first,
                         .n_keys = n,
                         .first_query = attention->first_only ? sequence : first,
                         .n_queries = attention->first_only ? 1 : n,
                         .head = head,
                         .key = dropout_key(attention->dropout)};
}

void reference_attention(struct device *dev, const struct attention *attention, const act *q,
                         const act *k, const act *v, act *out, float *lse)
{
    double *p = memory_array(attention->seqs.longest, sizeof *p, reference_error(dev));
    if (!p)
        return;
    for (size_t s = 0; s < attention->seqs.n; s++)
        for (size_t h = 0; h < attention->heads; h++) {
            struct head head = head_of(attention, s, h);
            head_forward(&head, reference_read(q), reference_read(k), reference_read(v), p,
                         reference_values(out), lse);
        }
    free(p);
}

void reference_attention_backward(struct device *dev, const struct attention *attention,
                                  const act *q, const act *k, const act *v, const act *out,
                                  const float *lse, const act *dout, act *dq, act *dk, act *dv)
{
    (void)out;
    size_t size = attention->head_size, longest = attention->seqs.longest;
    double *row = memory_array(longest * 2 * (1 + size), sizeof *row, reference_error(dev));
    if (!row)
        return;
    double *sum_k = row + 2 * longest, *sum_v = sum_k + longest * size;
    for (size_t s = 0; s < attention->seqs.n; s++)
        for (size_t h = 0; h < attention->heads; h++) {
            struct head head = head_of(attention, s, h);
            memset(sum_k, 0, 2 * longest * size * sizeof *sum_k);
            for (size_t i = 0; i < head.n_queries; i++)
                head_backward_row(&head, i, reference_read(q), reference_read(k), reference_read(v),
                                  lse, reference_read(dout), row, reference_values(dq), sum_k,
                                  sum_v);
            for (size_t j = 0; j < head.n_keys; j++)
                for (size_t c = 0; c < size; c++) {
                    size_t at = (head.first_key + j) * attention->kv_stride + h * size + c;
                    reference_values(dk)[at] = (float)sum_k[j * size + c];
                    reference_values(dv)[at] = (float)sum_v[j * size + c];
                }
        }
    free(row);
}
