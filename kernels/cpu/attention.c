/* attention.c: attention, spread over the team by (sequence, head). Heads share nothing, so the
 * result does not depend on who takes which. */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/head.h"
#include "kernels/cpu/shares.h"

struct attention_work {
    struct cpu *cpu;
    const struct head_kernel *kernel;
    const struct attention *attention;
    struct head all; /* pointers to the whole arrays */
    bool backward;
    size_t scratch_bytes;
    struct shares shares; /* of items number sequence * heads + head */
};

/* The part of `all` that is one head of one sequence. */
static struct head attention_head(const struct attention_work *work, size_t sequence, size_t index)
{
    const struct attention *a = work->attention;
    struct head head = work->all;
    size_t first = (size_t)a->seqs.offset[sequence];
    size_t query = a->first_only ? sequence : first, column = index * a->head_size;
    head.n_keys = (size_t)a->seqs.offset[sequence + 1] - first;
    head.n_queries = a->first_only ? 1 : head.n_keys;
    head.dropout_first = (uint32_t)((query * a->heads + index) * a->seqs.longest);
    head.q += query * a->q_stride + column;
    head.k += first * a->kv_stride + column;
    head.v += first * a->kv_stride + column;
    if (head.lse)
        head.lse += query * a->heads + index;
    if (work->backward) {
        head.dout += query * a->out_stride + column;
        head.dq += query * a->q_stride + column;
        head.dk += first * a->kv_stride + column;
        head.dv += first * a->kv_stride + column;
    } else
        head.out += query * a->out_stride + column;
    return head;
}

/* One member's part of the work. */
struct attention_member {
    const struct attention_work *work;
    float *scratch;
};

static void attention_item(void *context, size_t owner, size_t item)
{
    const struct attention_member *member = context;
    const struct attention_work *work = member->work;
    size_t heads = work->attention->heads;
    struct head head = attention_head(work, item / heads, item % heads);
    (void)owner;
    if (work->backward)
        work->kernel->backward(&head, member->scratch);
    else
        work->kernel->forward(&head, member->scratch);
}

static void attention_job(void *context, size_t member, size_t n_members)
{
    struct attention_work *work = context;
    struct attention_member mine = {work, cpu_scratch(work->cpu, member, work->scratch_bytes)};
    (void)n_members;
    if (mine.scratch)
        shares_work(&work->shares, member, attention_item, &mine);
}

static void attention_run(struct cpu *cpu, const struct attention *attention, struct head all,
                          bool backward)
{
    const struct head_kernel *kernel = ISA_PICK(head_kernel, cpu->isa);
    size_t floats = backward
                        ? kernel->backward_scratch(attention->seqs.longest, attention->head_size)
                        : kernel->forward_scratch(attention->seqs.longest, attention->head_size);
    all.size = attention->head_size;
    all.q_stride = attention->q_stride;
    all.kv_stride = attention->kv_stride;
    all.out_stride = attention->out_stride;
    all.lse_stride = attention->heads;
    all.scale = attention->scale;
    all.key = dropout_key(attention->dropout);
    all.dropout_step = (uint32_t)(attention->heads * attention->seqs.longest);
    struct attention_work work = {.cpu = cpu,
                                  .kernel = kernel,
                                  .attention = attention,
                                  .all = all,
                                  .backward = backward,
                                  .scratch_bytes = floats * sizeof(float)};
    size_t n_items = attention->seqs.n * attention->heads;
    shares_deal(&work.shares, n_items, n_items < 2 ? 1 : cpu->n_members, true);
    if (work.shares.n == 1)
        attention_job(&work, 0, 1);
    else
        cpu_run(cpu, attention_job, &work);
}

void cpu_attention(struct device *dev, const struct attention *attention, const act *q,
                   const act *k, const act *v, act *out, float *lse)
{
    struct head all = {.q = (const float *)q,
                       .k = (const float *)k,
                       .v = (const float *)v,
                       .out = (float *)out,
                       .lse = lse};
    attention_run(cpu_of(dev), attention, all, false);
}

void cpu_attention_backward(struct device *dev, const struct attention *attention, const act *q,
                            const act *k, const act *v, const act *out, const float *lse,
                            const act *dout, act *dq, act *dk, act *dv)
{
    (void)out; /* Σ p w u is as cheap as dout · out for short sequences, and needs nothing kept */
    struct head all = {.q = (const float *)q,
                       .k = (const float *)k,
                       .v = (const float *)v,
                       .lse = (float *)(uintptr_t)lse, /* only read */
                       .dout = (const float *)dout,
                       .dq = (float *)dq,
                       .dk = (float *)dk,
                       .dv = (float *)dv};
    attention_run(cpu_of(dev), attention, all, true);
}
