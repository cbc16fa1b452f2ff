/* energy.h: the energy that a piece of work took: from the processor's own counters (RAPL) where
 * they can be read, else from a power that somebody states, else unknown; and the carbon dioxide
 * that stands for.
 *
 * RAPL, on Linux (powercap(7)'s tree): the counters of whole packages, else of the platform
 * ("psys"). They hold the idle power of the package and what other programs do meanwhile, and
 * neither memory, power supply nor cooling. Since 2020 most systems let only root read them.
 */
#ifndef MILLET_SCORE_ENERGY_H
#define MILLET_SCORE_ENERGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    ENERGY_MAX_DOMAINS = 16, /* sockets of one machine */
    ENERGY_MAX_WATTS = 1000, /* of one: a counter's range over this is how long it may go unread */
    ENERGY_TEXT_BYTES = 200,
    ENERGY_THREAD_WATTS = 4, /* CodeCarbon's power of a processor it does not know, a thread */
    ENERGY_WORLD_GRID = 480  /* g CO2e/kWh: the world's mean of 2023, Ember 2024 */
};

struct energy_domain {
    char name[64];
    int file; /* energy_uj, open */
    bool mmio;
    uint64_t last, range; /* microjoules: of the last reading; at `range` it begins anew */
};

struct energy_meter {
    struct energy_domain domain[ENERGY_MAX_DOMAINS];
    size_t n_domains;
    bool failed; /* a counter could not be read any more, or not often enough */
    double joules, read_at;
    double (*clock)(void);        /* seconds */
    char text[ENERGY_TEXT_BYTES]; /* what is read, or why nothing can be */
};

/* `root` is where the system's tree of devices is mounted: "/sys". clock NULL: progress_clock.
 * false: nothing can be read, and meter->text says why. Close in any case. */
bool energy_open(struct energy_meter *meter, const char *root, double (*clock)(void));
void energy_close(struct energy_meter *meter);
/* Joules since energy_open(); NaN once a counter failed. To be called before a counter can run
 * through its range: about every four minutes. */
double energy_read(struct energy_meter *meter);

/* Of what kind a figure is. */
enum energy_basis {
    ENERGY_UNKNOWN,
    ENERGY_MEASURED,  /* RAPL */
    ENERGY_STATED,    /* watts that the user gave, for as long as the work took */
    ENERGY_ESTIMATED, /* threads x ENERGY_THREAD_WATTS */
};
const char *energy_basis_name(enum energy_basis basis);

/* Grams of carbon dioxide (and what is equivalent) of so many joules; grid: grams a kWh. */
double energy_co2e_g(double joules, double grid);

#endif
