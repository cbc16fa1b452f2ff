/* A job is announced by a generation number; workers watch it, first spinning, then asleep on a
 * condition. The caller watches `running` the same way. Whoever announces looks at a count of
 * sleepers and takes the lock only when there is one: both sides are sequentially consistent, so
 * either the sleeper sees the news or the announcer sees the sleeper. */
#include "core/threads.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/processors.h"
#include "core/progress.h"

/* Longer than the gap between two operators of a forward pass, shorter than a scheduler's time
 * slice. */
static const double spin_seconds = 50e-6;

struct member {
    struct threads *team;
    size_t index;
    pthread_t thread;
};

struct threads {
    size_t n;
    bool spin; /* off when members outnumber processors: a spinner would hold up a worker */
    threads_job *job;
    void *context;
    _Alignas(64) atomic_uint generation;
    _Alignas(64) atomic_size_t running;
    atomic_uint sleepers;      /* workers asleep on `start` */
    atomic_bool caller_sleeps; /* on `done` */
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    struct member *member; /* [n - 1], members 1 … n - 1 */
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_news(struct threads *team, unsigned seen)
{
    return atomic_load(&team->generation) != seen;
}

static bool is_done(struct threads *team)
{
    return atomic_load(&team->running) == 0;
}

static void wait_for_news(struct threads *team, unsigned seen)
{
    if (team->spin) {
        double until = progress_clock() + spin_seconds;
        do
            for (int i = 0; i < 16; i++) {
                if (has_news(team, seen))
                    return;
                relax();
            }
        while (progress_clock() < until);
    }
    pthread_mutex_lock(&team->lock);
    atomic_fetch_add(&team->sleepers, 1);
    while (!has_news(team, seen))
        pthread_cond_wait(&team->start, &team->lock);
    atomic_fetch_sub(&team->sleepers, 1);
    pthread_mutex_unlock(&team->lock);
}

static void wait_until_done(struct threads *team)
{
    if (team->spin) {
        double until = progress_clock() + spin_seconds;
        do
            for (int i = 0; i < 16; i++) {
                if (is_done(team))
                    return;
                relax();
            }
        while (progress_clock() < until);
    }
    pthread_mutex_lock(&team->lock);
    atomic_store(&team->caller_sleeps, true);
    while (!is_done(team))
        pthread_cond_wait(&team->done, &team->lock);
    atomic_store(&team->caller_sleeps, false);
    pthread_mutex_unlock(&team->lock);
}

static void *worker(void *argument)
{
    struct member *self = argument;
    struct threads *team = self->team;
    unsigned seen = 0;
    for (;;) {
        wait_for_news(team, seen);
        seen++;
        if (atomic_load(&team->stop))
            return NULL;
        team->job(team->context, self->index, team->n);
        if (atomic_fetch_sub(&team->running, 1) == 1 && atomic_load(&team->caller_sleeps)) {
            pthread_mutex_lock(&team->lock);
            pthread_cond_signal(&team->done);
            pthread_mutex_unlock(&team->lock);
        }
    }
}

static void announce(struct threads *team)
{
    atomic_fetch_add(&team->generation, 1);
    if (atomic_load(&team->sleepers) > 0) {
        pthread_mutex_lock(&team->lock);
        pthread_cond_broadcast(&team->start);
        pthread_mutex_unlock(&team->lock);
    }
}

/* Stop and join the first n_started workers; free everything. */
static void dissolve(struct threads *team, size_t n_started)
{
    atomic_store(&team->stop, true);
    announce(team);
    for (size_t i = 0; i < n_started; i++)
        pthread_join(team->member[i].thread, NULL);
    pthread_cond_destroy(&team->done);
    pthread_cond_destroy(&team->start);
    pthread_mutex_destroy(&team->lock);
    free(team->member);
    free(team);
}

size_t threads_available(void)
{
    size_t allowed = processors_allowed(), quota = processors_quota("");
    return quota > 0 && quota < allowed ? quota : allowed;
}

struct threads *threads_open(size_t n, struct error *err)
{
    if (n == 0)
        n = 1;
    struct threads *team = memory_aligned(1, sizeof *team, err);
    if (!team)
        return NULL;
    memset(team, 0, sizeof *team);
    team->n = n;
    team->spin = n <= threads_available();
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->start, NULL);
    pthread_cond_init(&team->done, NULL);
    team->member = memory_zeroed(n - 1, sizeof *team->member, err);
    if (!team->member) {
        dissolve(team, 0);
        return NULL;
    }

    /* Signals are for the caller: a handler must not run on a worker. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    size_t started = 0;
    int failure = 0;
    while (started < n - 1 && failure == 0) {
        struct member *member = &team->member[started];
        *member = (struct member){.team = team, .index = started + 1};
        failure = pthread_create(&member->thread, NULL, worker, member);
        started += failure == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failure != 0) {
        dissolve(team, started);
        errno = failure;
        error_set_errno(err, "cannot start thread %zu of %zu; ask for fewer (-j)", started + 2, n);
        return NULL;
    }
    return team;
}

void threads_close(struct threads *team)
{
    if (team)
        dissolve(team, team->n - 1);
}

size_t threads_count(const struct threads *team)
{
    return team ? team->n : 1;
}

void threads_run(struct threads *team, threads_job *job, void *context)
{
    if (!team || team->n == 1) {
        job(context, 0, 1);
        return;
    }
    team->job = job;
    team->context = context;
    atomic_store(&team->running, team->n - 1);
    announce(team);
    job(context, 0, team->n);
    wait_until_done(team);
}

void threads_share(size_t n, size_t member, size_t n_members, size_t *begin, size_t *end)
{
    /* The first n % n_members members take one more; no product that could overflow. */
    size_t share = n / n_members, extra = n % n_members;
    *begin = member * share + (member < extra ? member : extra);
    *end = *begin + share + (member < extra);
}
