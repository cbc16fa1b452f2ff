/* shares.h: items of an operation dealt out to the members of a team. Each takes its own, one after
 * the other, and then helps with others'. Its own are the same ones of every operation of the same
 * size, so that a core goes on with lines that it has; and members rarely ask for the same counter,
 * which takes hundreds of nanoseconds where they do not share an outer cache.
 */
#ifndef MILLET_KERNELS_CPU_SHARES_H
#define MILLET_KERNELS_CPU_SHARES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { SHARES_MOST = 16 }; /* of more members, some begin by helping */

struct share {
    _Alignas(64) atomic_size_t next;
    size_t end;
    atomic_bool open; /* for all to take from */
};

struct shares {
    size_t n;
    struct share share[SHARES_MOST];
};

/* n_items in near-equal shares of items that follow one another. open: now; else by shares_open. */
void shares_deal(struct shares *shares, size_t n_items, size_t n_members, bool open);
void shares_open(struct shares *shares, size_t member);

/* What is done with an item of share number `owner`. */
typedef void shares_job(void *context, size_t owner, size_t item);

/* A member's work: its own share, then what is left in those of others that are open. */
void shares_work(struct shares *shares, size_t member, shares_job *job, void *context);

#endif
