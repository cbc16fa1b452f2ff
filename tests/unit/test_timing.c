/* test_timing.c: rounds, order and medians with a clock that the test itself moves. */
#include <stdint.h>

#include "score/timing.h"
#include "scratch.h"
#include "tests/tap.h"

static double now;
static char order[64];

static double fake_clock(void)
{
    return now;
}

struct fake {
    char name;
    double pass_s;
    size_t n_passes, fail_at;
    double single_ms; /* text i takes (i + 1) times this */
    size_t last_text;
};

static bool fake_pass(void *context, struct error *err)
{
    struct fake *fake = context;
    size_t used = strlen(order);
    if (used + 1 < sizeof order)
        order[used] = fake->name;
    now += fake->pass_s;
    if (++fake->n_passes == fake->fail_at)
        return error_set(err, "pass failed");
    return true;
}

static bool fake_single(void *context, size_t i, struct error *err)
{
    struct fake *fake = context;
    (void)err;
    now += fake->single_ms * (double)(i + 1) / 1e3;
    fake->last_text = i;
    return true;
}

static struct timing_subject subject_of(struct fake *fake)
{
    return (struct timing_subject){fake_pass, fake_single, fake};
}

static bool near(double found, double expected)
{
    return fabs(found - expected) <= 1e-9 * fabs(expected);
}

static void test_two(void)
{
    struct fake a = {.name = 'a', .pass_s = 2, .single_ms = 1},
                b = {.name = 'b', .pass_s = 0.5, .single_ms = 0.25};
    struct timing_subject subject[] = {subject_of(&a), subject_of(&b)};
    struct timing_options options = {
        .rounds = 4, .seconds = 0, .n_texts = 100, .clock = fake_clock};
    struct timing_result result[2];
    struct error err = ERROR_INIT;
    order[0] = '\0';
    if (!tap_ok(timing_run(subject, 2, &options, NULL, result, &err), "timed"))
        return;
    tap_is(order, "abbaabba", "subjects take turns, the first one changes");
    tap_ok(result[0].rounds == 4 && near(result[0].pass_s, 2) && near(result[0].texts_per_s, 50) &&
               near(result[1].texts_per_s, 200),
           "throughput is texts over the median pass");
    /* Latencies 1 … 100 ms: median 50.5, 95 % quantile 1 + 0.95 * 99. */
    tap_ok(near(result[0].p50_ms, 50.5) && near(result[0].p95_ms, 95.05) &&
               near(result[1].p50_ms, 50.5 / 4),
           "latency quantiles");
    tap_ok(result[0].n_singles == 100 && result[0].n_single_texts == 100, "every text once");
}

/* A counter that each pass moves: 2 J by one subject, 0.5 J by the other. */
static uint64_t counter;
static void write_counter(const char *name, uint64_t value)
{
    char path[100], text[32];
    snprintf(path, sizeof path, "class/powercap/intel-rapl:0/%s", name);
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)value);
    scratch_write(path, text, strlen(text));
}

static bool hungry_pass(void *context, struct error *err)
{
    struct fake *fake = context;
    (void)err;
    now += fake->pass_s;
    counter += (uint64_t)(fake->pass_s * 1e6);
    write_counter("energy_uj", counter);
    return true;
}

static void test_energy(void)
{
    struct fake a = {.pass_s = 2, .single_ms = 1}, b = {.pass_s = 0.5, .single_ms = 1};
    struct timing_subject subject[] = {{hungry_pass, fake_single, &a},
                                       {hungry_pass, fake_single, &b}};
    struct energy_meter meter;
    struct timing_options options = {
        .rounds = 3, .seconds = 0, .n_texts = 4, .clock = fake_clock, .meter = &meter};
    struct timing_result result[2];
    struct error err = ERROR_INIT;
    char line[600];
    scratch_open();
    snprintf(line, sizeof line, "mkdir -p %s/class/powercap/intel-rapl:0", scratch_directory);
    tap_ok(system(line) == 0, "a tree");
    scratch_write("class/powercap/intel-rapl:0/name", "package-0\n", 10);
    write_counter("max_energy_range_uj", 262143328850);
    write_counter("energy_uj", 0);
    tap_ok(energy_open(&meter, scratch_directory, fake_clock) &&
               timing_run(subject, 2, &options, NULL, result, &err),
           "timed with a meter %s", err.text);
    tap_ok(near(result[0].pass_j, 2) && near(result[1].pass_j, 0.5), "joules of a pass of each");
    energy_close(&meter);
    options.meter = NULL;
    tap_ok(timing_run(subject, 2, &options, NULL, result, &err) && isnan(result[0].pass_j),
           "no meter, no number");
}

static void test_seconds(void)
{
    struct fake a = {.name = 'a', .pass_s = 0.125, .single_ms = 1};
    struct timing_subject subject = subject_of(&a);
    struct timing_options options = {.rounds = 2, .seconds = 1, .n_texts = 1, .clock = fake_clock};
    struct timing_result result;
    struct error err = ERROR_INIT;
    memset(order, 0, sizeof order);
    tap_ok(timing_run(&subject, 1, &options, NULL, &result, &err) && result.rounds == 8,
           "rounds go on until the seconds are full");
    tap_ok(result.n_singles >= 999 && result.n_singles <= 1001 && near(result.p95_ms, 1),
           "so do the latencies of a single text");
}

static void test_failure(void)
{
    struct fake a = {.name = 'a', .pass_s = 1, .fail_at = 3};
    struct timing_subject subject = subject_of(&a);
    struct timing_options options = {.rounds = 5, .n_texts = 3, .clock = fake_clock};
    struct timing_result result;
    struct error err = ERROR_INIT;
    memset(order, 0, sizeof order);
    tap_ok(!timing_run(&subject, 1, &options, NULL, &result, &err), "a failing pass ends it");
    tap_is(err.text, "pass failed", "with its cause");
}

static void test_spread(void)
{
    bool inside = true, rising = true;
    for (size_t i = 0, last = 0; i < TIMING_MAX_SINGLES; i++) {
        size_t text = timing_single_text(i, TIMING_MAX_SINGLES, 2997);
        inside &= text < 2997;
        rising &= i == 0 || text > last;
        last = text;
    }
    tap_ok(inside && rising, "sampled texts are spread over the stream");
    tap_ok(timing_single_text(0, 1, 1) == 0 && timing_single_text(1, 2, 2) == 1, "small streams");
}

int main(void)
{
    test_two();
    test_energy();
    test_seconds();
    test_failure();
    test_spread();
    return tap_done();
}
