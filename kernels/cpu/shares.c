/* shares.c: see shares.h. */
#include "kernels/cpu/shares.h"

#include "core/threads.h"

void shares_deal(struct shares *shares, size_t n_items, size_t n_members, bool open)
{
    shares->n = n_members < SHARES_MOST ? n_members : SHARES_MOST;
    for (size_t i = 0; i < shares->n; i++) {
        struct share *share = &shares->share[i];
        size_t begin;
        threads_share(n_items, i, shares->n, &begin, &share->end);
        atomic_init(&share->next, begin);
        atomic_init(&share->open, open);
    }
}

void shares_open(struct shares *shares, size_t member)
{
    atomic_store(&shares->share[member].open, true);
}

void shares_work(struct shares *shares, size_t member, shares_job *job, void *context)
{
    for (size_t i = 0; i < shares->n; i++) {
        size_t owner = (member + i) % shares->n, item;
        struct share *share = &shares->share[owner];
        if (!atomic_load(&share->open))
            continue;
        while ((item = atomic_fetch_add_explicit(&share->next, 1, memory_order_relaxed)) <
               share->end)
            job(context, owner, item);
    }
}
