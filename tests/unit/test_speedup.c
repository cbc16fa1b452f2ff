/* Seeking a speed-up with a made-up clock. */
#include "prune/speedup.h"
#include "tests/tap.h"

/* Choices are whole numbers of seconds; the clock runs at `slow` times the prediction, and has a
 * part that no choice takes away. */
struct fake {
    double chosen, slow, rest;
    size_t n_chosen, n_measured;
};

static bool choose(void *context, double seconds, double *predicted, struct error *err)
{
    struct fake *fake = context;
    (void)err;
    fake->n_chosen++;
    *predicted = fake->chosen = floor(seconds + 1e-9);
    return true;
}

static bool measure(void *context, double *factor, struct error *err)
{
    struct fake *fake = context;
    (void)err;
    fake->n_measured++;
    double before = 1000 * fake->slow + fake->rest;
    *factor = before / (fake->chosen * fake->slow + fake->rest);
    return true;
}

static bool fails(void *context, double *factor, struct error *err)
{
    (void)context;
    (void)factor;
    return error_set(err, "the clock stands still");
}

/* Says of everything, the whole too, that it is four times as fast. */
static bool raves(void *context, double *factor, struct error *err)
{
    (void)context;
    (void)err;
    *factor = 4;
    return true;
}

/* The smallest choice 1.5 times as fast, any other, by mistake, 1.9 times. */
static bool errs(void *context, double *factor, struct error *err)
{
    const struct fake *fake = context;
    (void)err;
    *factor = fake->chosen > 50 ? 1.9 : 1.5;
    return true;
}

static struct speedup_result seek(struct fake *fake, double factor, bool expected)
{
    struct error err = ERROR_INIT;
    struct speedup_result result;
    const struct speedup_job job = {.context = fake,
                                    .before = 1000,
                                    .least = 50,
                                    .smallest = "one",
                                    .remedy = ", or none",
                                    .choose = choose,
                                    .measure = measure};
    bool ok = speedup_seek(&job, factor, &result, &err);
    tap_ok(ok == expected, "%gx: %s", factor, ok ? "met" : err.text);
    return result;
}

int main(void)
{
    struct fake honest = {.slow = 3}, rest = {.slow = 1, .rest = 200},
                hard = {.slow = 1, .rest = 400};
    struct speedup_result result = seek(&honest, 2.5, true);
    tap_ok(honest.n_measured == 1 && honest.chosen == 400 && result.measured == 2.5 &&
               result.predicted == 2.5 && result.asked == 2.5,
           "a good prediction is timed once");
    result = seek(&rest, 3, true);
    tap_ok(result.n_timed > 1 && result.measured >= 3 * 0.98 && result.measured <= 3 * 1.04,
           "a rest that stays is made up for: timed %zu, %.3f (predicted %.2f)", result.n_timed,
           result.measured, result.predicted);
    result = seek(&rest, 1, true);
    tap_ok(rest.chosen == 1000, "1x keeps all");
    seek(&hard, 5, false);
    tap_ok(hard.n_measured <= 4, "… and it does not try for ever");
    struct error err = ERROR_INIT;
    struct fake noise = {.slow = 1};
    const struct speedup_job noisy = {.context = &noise,
                                      .before = 1000,
                                      .least = 50,
                                      .smallest = "one",
                                      .remedy = ", or none",
                                      .choose = choose,
                                      .measure = raves};
    bool ok = speedup_seek(&noisy, 2, &result, &err);
    tap_ok(ok && noise.chosen <= 1000 / sqrt(2),
           "a clock that raves does not keep all: %.0f of 1000", noise.chosen);
    struct speedup_job job = {.context = &hard,
                              .before = 1000,
                              .least = 50,
                              .smallest = "one",
                              .remedy = ", or none",
                              .choose = choose,
                              .measure = measure};
    tap_ok(!speedup_seek(&job, 5, &result, &err) && strstr(err.text, "at most 3.1x, or none"),
           "the nearest is named: %s", err.text);
    error_clear(&err);
    job.measure = errs;
    tap_ok(!speedup_seek(&job, 10, &result, &err) &&
               strstr(err.text, "choice, one, is 1.5 times as fast") &&
               strstr(err.text, "at most 1.5x"),
           "of the smallest choice its own time is told: %s", err.text);
    error_clear(&err);
    job.measure = fails;
    tap_ok(!speedup_seek(&job, 2, &result, &err) && strstr(err.text, "stands still"),
           "a failure is handed on");
    return tap_done();
}
