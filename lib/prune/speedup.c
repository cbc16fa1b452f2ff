/* speedup.c: a secant on predicted seconds and measured shares. */
#include "prune/speedup.h"

#include <math.h>

enum { MOST_TIMED = 4 };
static const double below = 0.98, above = 1.04;

/* One choice and its time. */
struct attempt {
    double seconds; /* asked of the prediction */
    double predicted, measured;
};

static bool attempt(const struct speedup_job *job, double seconds, struct attempt *made,
                    struct error *err)
{
    *made = (struct attempt){.seconds = seconds};
    return job->choose(job->context, seconds, &made->predicted, err) &&
           job->measure(job->context, &made->measured, err);
}

/* Nearer to the factor; too slow counts double, for that was not asked for. */
static double distance(const struct attempt *made, double factor)
{
    double off = log(made->measured / factor);
    return off < 0 ? -2 * off : off;
}

/* The seconds to ask for next: where the line through the last two attempts (predicted seconds,
 * measured share of the whole's time) meets the share wanted; by ratio, as though nothing but the
 * prediction's unit were wrong, where there is no such line. */
static double next_seconds(const struct attempt *before, const struct attempt *now, double factor)
{
    double run = now->predicted - before->predicted,
           rise = 1 / now->measured - 1 / before->measured;
    double to = 1 / factor - 1 / now->measured;
    if (before->seconds > 0 && run * rise > 0)
        return now->predicted + to * run / rise;
    return now->predicted * now->measured / factor;
}

bool speedup_seek(const struct speedup_job *job, double factor, struct speedup_result *result,
                  struct error *err)
{
    struct attempt best = {.seconds = 0}, before = best, now = best;
    double seconds = job->before / factor, most = job->before / sqrt(factor);
    *result = (struct speedup_result){.asked = factor};
    for (size_t i = 0; i < MOST_TIMED; i++) {
        seconds = fmax(fmin(seconds, most), job->least);
        before = now;
        if (!attempt(job, seconds, &now, err))
            return false;
        result->n_timed++;
        if (i == 0 || distance(&now, factor) < distance(&best, factor))
            best = now;
        bool enough = now.measured >= factor * below;
        if (!enough && seconds <= job->least)
            return error_set(err,
                             "%.4gx cannot be met: the smallest choice, %s, is %.3g times as fast "
                             "here; ask for at most %.3gx%s",
                             factor, job->smallest, now.measured, floor(now.measured * 50) / 50,
                             job->remedy);
        if ((enough && now.measured <= factor * above) || (enough && seconds >= most))
            break;
        seconds = next_seconds(&before, &now, factor);
    }
    if (now.seconds != best.seconds &&
        !job->choose(job->context, best.seconds, &best.predicted, err))
        return false;
    result->predicted = job->before / best.predicted;
    result->measured = best.measured;
    return true;
}
