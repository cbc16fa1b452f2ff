/* Cost tables: their arithmetic, the cache file, and measuring a tiny shape. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "prune/latency.h"
#include "tests/tap.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny.h"

static void curves(void)
{
    struct latency_curve curve = {.n = 4, .at = {1, 3, 7, 9}, .seconds = {0, 4, 8, 8}};
    struct latency_curve same = curve;
    latency_monotone(&same);
    tap_ok(memcmp(&same, &curve, sizeof same) == 0, "a curve that never falls stays as it is");
    bool exact = true;
    for (size_t i = 0; i < curve.n; i++)
        exact = exact && latency_at(&curve, (double)curve.at[i]) == curve.seconds[i];
    tap_ok(exact, "exact where it was measured");
    tap_ok(latency_at(&curve, 2) == 2 && latency_at(&curve, 6) == 7, "straight between");
    tap_ok(latency_at(&curve, 20) == 8 && latency_at(&curve, 0) == 0, "beyond the ends");
    struct latency_curve noisy = {.n = 6, .at = {1, 2, 3, 4, 5, 6}, .seconds = {0, 5, 3, 4, -1, 9}};
    latency_monotone(&noisy);
    bool ascends = noisy.seconds[0] == 0;
    for (size_t i = 1; i < noisy.n; i++)
        ascends = ascends && noisy.seconds[i] >= noisy.seconds[i - 1];
    tap_ok(ascends && noisy.seconds[1] == 3 && noisy.seconds[5] == 9,
           "what falls is levelled to its mean (%g)", noisy.seconds[1]);
    struct latency_curve sunk = {.n = 3, .at = {1, 2, 3}, .seconds = {0, -4, -2}};
    latency_monotone(&sunk);
    tap_ok(sunk.seconds[0] == 0 && sunk.seconds[1] == 0 && sunk.seconds[2] == 0,
           "nothing costs less than nothing");
}

/* Heads cost 2, 3 of them in a layer; neurons 1/2; in the last layer a tenth of it. */
static struct latency made_up(void)
{
    return (struct latency){.fixed = 10,
                            .layer = 1,
                            .head = {{2, {1, 3}, {0, 4}}, {2, {1, 3}, {0, 0.4}}},
                            .neuron = {{2, {1, 7}, {0, 3}}, {2, {1, 7}, {0, 0.3}}}};
}

static void totals(void)
{
    static struct tiny tiny;
    struct error err = ERROR_INIT;
    size_t n_units = 0;
    const struct latency latency = made_up();
    tiny_make(&tiny, 3); /* {3, 7}, {2, 5}, {3, 6} */
    double expected = 10 + 2 * 1 + (4 + 3) + (2 + 2) + (0.4 + 0.25);
    double total = latency_total(&latency, &tiny.shape);
    tap_ok(fabs(total - expected) < 1e-12, "the total of a shape: %g", total);
    struct unit *unit = search_units(&tiny.shape, 5, &n_units, &err);
    tiny_must(unit != NULL, &err);
    latency_costs(&latency, &tiny.shape, unit, n_units);
    bool ok = true;
    for (size_t i = 0; i < n_units; i++) {
        double cost = (unit[i].kind == UNIT_HEAD ? 2 : 0.5) / (unit[i].layer == 2 ? 10 : 1);
        ok = ok && fabs(unit[i].cost - cost) < 1e-12;
    }
    tap_ok(ok, "the cost of each unit");
    struct latency flat = latency;
    flat.head[1].seconds[1] = flat.neuron[0].seconds[1] = flat.neuron[1].seconds[1] = 0;
    latency_costs(&flat, &tiny.shape, unit, n_units);
    for (size_t i = 0; i < n_units; i++)
        ok = ok && unit[i].cost > 0;
    tap_ok(ok, "no unit is free");
    free(unit);
}

static char *slurp(const char *path, size_t *n)
{
    static char text[1 << 16];
    FILE *file = fopen(path, "r");
    *n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[*n] = '\0';
    if (file)
        fclose(file);
    return text;
}

static void spill(const char *path, const char *text, size_t n)
{
    FILE *file = fopen(path, "w");
    if (!file || fwrite(text, 1, n, file) != n || fclose(file) != 0)
        abort();
}

/* Opens; measured or read? */
static bool opens(const struct shape *shape, struct device *dev, const char *directory,
                  struct latency *latency, char **path)
{
    struct error err = ERROR_INIT;
    struct latency_source source;
    const struct latency_options options = {.n_tokens = 5, .seconds = 0.1, .directory = directory};
    tiny_must(latency_open(latency, shape, &options, dev, NULL, NULL, &source, &err), &err);
    bool measured = source.measured;
    if (path)
        *path = source.path ? strdup(source.path) : NULL;
    latency_source_free(&source);
    return measured;
}

static void cache(struct device *dev)
{
    static struct tiny tiny;
    struct latency first, again;
    char directory[300], text[1 << 16], *path = NULL;
    size_t n;
    snprintf(directory, sizeof directory, "%s/a/b", scratch_path("cache"));
    tiny_make(&tiny, 3);
    tap_ok(opens(&tiny.shape, dev, directory, &first, &path) && path,
           "an empty cache: measured, and kept");
    tap_ok(first.fixed > 0 && first.layer >= 0 && first.head[0].at[first.head[0].n - 1] == 3 &&
               first.neuron[0].at[first.neuron[0].n - 1] == 7,
           "a table up to the most heads and neurons");
    tap_ok(!opens(&tiny.shape, dev, directory, &again, NULL), "read the second time");
    tap_ok(fabs(again.fixed - first.fixed) < 1e-12 &&
               fabs(again.head[0].seconds[1] - first.head[0].seconds[1]) < 1e-12,
           "what was read is what was measured");
    memcpy(text, slurp(path, &n), sizeof text);
    text[n / 2] ^= 1;
    spill(path, text, n);
    tap_ok(opens(&tiny.shape, dev, directory, &again, NULL), "a flipped bit: measured anew");
    tap_ok(!opens(&tiny.shape, dev, directory, &again, NULL), "… and mended");
    spill(path, text, n / 3);
    tap_ok(opens(&tiny.shape, dev, directory, &again, NULL), "cut short: measured anew");
    tiny.shape.hidden += 4;
    tiny.shape.embed = tiny.shape.width = tiny.shape.hidden;
    tap_ok(opens(&tiny.shape, dev, directory, &again, NULL), "another hidden width: a table apart");
    tap_ok(!opens(&tiny.shape, dev, directory, &again, NULL), "… kept as well");
    /* A foreign table under our name: sealed, but of another key. */
    char *other = NULL;
    opens(&tiny.shape, dev, directory, &again, &other);
    spill(path, slurp(other, &n), n);
    tiny_make(&tiny, 3);
    tap_ok(opens(&tiny.shape, dev, directory, &again, NULL), "of another key: measured anew");
    free(path);
    tap_ok(opens(&tiny.shape, dev, "/dev/null/none", &again, &path) && !path,
           "a directory that cannot be: measured, not kept");
    free(other);
}

int main(void)
{
    struct error err = ERROR_INIT;
    scratch_open();
    curves();
    totals();
    struct device *dev = device_cpu_open(1, &err);
    tiny_must(dev != NULL, &err);
    cache(dev);
    dev->op->close(dev);
    return tap_done();
}
