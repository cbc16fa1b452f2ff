/* threads.h: a pool of our own. Workers spin for some microseconds between jobs, then sleep, so
 * that a chain of short parallel sections needs no call of the system (PERF section 4) and an idle
 * process costs nothing. Such a section costs 0.6 microseconds for two members while both
 * processors are free, and tens of microseconds where other programs want them; test_threads prints
 * it. */
#ifndef MILLET_CORE_THREADS_H
#define MILLET_CORE_THREADS_H

#include <stdatomic.h>
#include <stddef.h>

#include "core/error.h"

struct threads;

/* Processors this process may use: affinity mask and cgroup quota respected; at least 1. */
size_t threads_available(void);

/* A team of n members (the caller is member 0, n - 1 workers are started). n = 1 starts nothing. */
struct threads *threads_open(size_t n, struct error *err) MUST_CHECK;
void threads_close(struct threads *team); /* NULL is fine */
size_t threads_count(const struct threads *team);

/* Run job(context, member, n_members) on every member; returns when all have returned. Not
 * reentrant: a job must not call threads_run on its own team. A NULL team runs the job on the
 * caller alone. */
typedef void threads_job(void *context, size_t member, size_t n_members);
void threads_run(struct threads *team, threads_job *job, void *context);

/* [*begin, *end) of n items for `member`: near-equal shares. */
void threads_share(size_t n, size_t member, size_t n_members, size_t *begin, size_t *end);

#endif
