/* The counters of a tree of our own: which are read, how they wrap, and what is said when none can
 * be. */
#include "score/energy.h"
#include "scratch.h"
#include "tests/tap.h"

static double seconds;
static double fake_clock(void)
{
    return seconds;
}

static void zone(const char *tree, const char *name, const char *called, const char *energy,
                 const char *range)
{
    char path[200], line[2048];
    snprintf(line, sizeof line, "mkdir -p %s/%s/class/powercap/%s", scratch_directory, tree, name);
    if (system(line) != 0)
        printf("# %s\n", line);
    const char *const file[][2] = {
        {"name", called}, {"energy_uj", energy}, {"max_energy_range_uj", range}};
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/class/powercap/%s/%s", tree, name, file[i][0]);
        if (file[i][1])
            scratch_write(path, file[i][1], strlen(file[i][1]));
    }
}

static bool near(double found, double expected)
{
    return fabs(found - expected) < 1e-9;
}

static void test_packages(void)
{
    struct energy_meter meter;
    zone("a", "intel-rapl", "ignored", NULL, NULL);
    zone("a", "intel-rapl:0", "package-0\n", "1000000\n", "262143328850\n");
    zone("a", "intel-rapl:0:0", "core\n", "500\n", "262143328850\n");
    zone("a", "intel-rapl:1", "package-1\n", "262143328840\n", "262143328850\n");
    zone("a", "intel-rapl:2", "psys\n", "7\n", "262143328850\n");
    zone("a", "dtpm", "package-9\n", "7\n", "262143328850\n");
    tap_ok(energy_open(&meter, scratch_path("a"), fake_clock) && meter.n_domains == 2, "%s",
           meter.text);
    tap_ok(energy_read(&meter) == 0, "nothing yet");
    zone("a", "intel-rapl:0", "package-0\n", "3500000\n", "262143328850\n");
    tap_ok(near(energy_read(&meter), 2.5), "2.5 J of one package");
    zone("a", "intel-rapl:1", "package-1\n", "490\n", "262143328850\n");
    tap_ok(near(energy_read(&meter), 2.5 + 500e-6), "the other one began anew");
    seconds += 200;
    tap_ok(near(energy_read(&meter), 2.5 + 500e-6), "read again in time");
    seconds += 300;
    tap_ok(isnan(energy_read(&meter)) && isnan(energy_read(&meter)),
           "five minutes unread: it may have run through its range unseen");
    energy_close(&meter);
    tap_ok(isnan(energy_read(&meter)), "closed");
}

static void test_interfaces(void)
{
    struct energy_meter meter;
    zone("b", "intel-rapl:0", "package-0\n", "1\n", "1000000000\n");
    zone("b", "intel-rapl-mmio:0", "package-0\n", "10\n", "1000000000\n");
    tap_ok(energy_open(&meter, scratch_path("b"), fake_clock) && meter.n_domains == 1 &&
               meter.domain[0].mmio,
           "the same package in two places counts once");
    zone("b", "intel-rapl-mmio:0", "package-0\n", "1000010\n", "1000000000\n");
    tap_ok(near(energy_read(&meter), 1), "by the newer of them");
    zone("b", "intel-rapl-mmio:0", "package-0\n", "junk\n", "1000000000\n");
    tap_ok(isnan(energy_read(&meter)), "a counter that is no number");
    energy_close(&meter);
    zone("c", "intel-rapl:1", "psys\n", "5\n", "1000000000\n");
    tap_ok(energy_open(&meter, scratch_path("c"), NULL) && strstr(meter.text, "platform"),
           "without packages: %s", meter.text);
    energy_close(&meter);
}

static void test_none(void)
{
    struct energy_meter meter;
    tap_ok(!energy_open(&meter, scratch_path("nowhere"), NULL) && isnan(energy_read(&meter)), "%s",
           meter.text);
    energy_close(&meter);
    zone("d", "intel-rapl:0", "package-0\n", "5\n", "1000000000\n");
    char line[1024];
    snprintf(line, sizeof line, "chmod 0 %s/d/class/powercap/intel-rapl:0/energy_uj",
             scratch_directory);
    if (system(line) != 0 || geteuid() == 0)
        tap_skip("counters of root", "root may read everything");
    else
        tap_ok(!energy_open(&meter, scratch_path("d"), NULL) && strstr(meter.text, "root only"),
               "%s", meter.text);
    energy_close(&meter);
    zone("e", "intel-rapl:0", "package-0\n", NULL, "1000000000\n");
    tap_ok(!energy_open(&meter, scratch_path("e"), NULL), "a zone without a counter: %s",
           meter.text);
    energy_close(&meter);
    tap_ok(near(energy_co2e_g(3.6e6, 480), 480) && isnan(energy_co2e_g(NAN, 480)),
           "a kilowatt-hour of the world's grid");
}

int main(void)
{
    scratch_open();
    test_packages();
    test_interfaces();
    test_none();
    return tap_done();
}
