#include "score/energy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/progress.h"

enum { PATH_BYTES = 1024 };

/* First line of an open file of the tree, read anew each time. */
static bool read_line(int file, char *line, size_t n)
{
    ssize_t got = pread(file, line, n - 1, 0);
    if (got <= 0)
        return false;
    line[got] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return true;
}

static bool read_number(int file, uint64_t *value)
{
    char line[32], *end;
    if (!read_line(file, line, sizeof line))
        return false;
    *value = strtoull(line, &end, 10);
    return end != line && *end == '\0';
}

static int open_file(const char *directory, const char *zone, const char *name)
{
    char path[PATH_BYTES];
    int n = snprintf(path, sizeof path, "%s/%s/%s", directory, zone, name);
    if (n < 0 || (size_t)n >= sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* A zone's name and range; its counter is opened when it is one of those asked for. *denied: there
 * is one, but not for us. */
static bool open_domain(const char *directory, const char *zone, const char *wanted,
                        struct energy_domain *domain, bool *denied)
{
    int name = open_file(directory, zone, "name"), range;
    *domain = (struct energy_domain){.file = -1, .mmio = strstr(zone, "mmio") != NULL};
    bool ok = name >= 0 && read_line(name, domain->name, sizeof domain->name) &&
              strstr(domain->name, wanted);
    if (name >= 0)
        close(name);
    if (!ok)
        return false;
    range = open_file(directory, zone, "max_energy_range_uj");
    ok = range >= 0 && read_number(range, &domain->range);
    if (range >= 0)
        close(range);
    if (!ok)
        return false;
    domain->file = open_file(directory, zone, "energy_uj");
    if (domain->file < 0)
        *denied = *denied || errno == EACCES || errno == EPERM;
    else if (read_number(domain->file, &domain->last))
        return true;
    else
        close(domain->file);
    return false;
}

/* One counter may show in two places: the newer interface, "mmio", stands for both. */
static void keep_domain(struct energy_meter *meter, const struct energy_domain *found)
{
    for (size_t i = 0; i < meter->n_domains; i++) {
        struct energy_domain *known = &meter->domain[i];
        if (strcmp(known->name, found->name) != 0 || known->mmio == found->mmio)
            continue;
        close(found->mmio ? known->file : found->file);
        if (found->mmio)
            *known = *found;
        return;
    }
    if (meter->n_domains < ENERGY_MAX_DOMAINS)
        meter->domain[meter->n_domains++] = *found;
    else
        close(found->file);
}

static void find_domains(struct energy_meter *meter, const char *directory, const char *wanted,
                         bool *denied)
{
    DIR *list = opendir(directory);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        struct energy_domain domain;
        if (strncmp(entry->d_name, "intel-rapl", 10) == 0 && strchr(entry->d_name, ':') &&
            open_domain(directory, entry->d_name, wanted, &domain, denied))
            keep_domain(meter, &domain);
    }
    if (list)
        closedir(list);
}

bool energy_open(struct energy_meter *meter, const char *root, double (*clock)(void))
{
    char directory[PATH_BYTES];
    bool denied = false;
    *meter = (struct energy_meter){.clock = clock ? clock : progress_clock};
    int n = snprintf(directory, sizeof directory, "%s/class/powercap", root);
    if (n > 0 && (size_t)n < sizeof directory) {
        find_domains(meter, directory, "package", &denied);
        if (!meter->n_domains)
            find_domains(meter, directory, "psys", &denied);
    }
    if (meter->n_domains)
        snprintf(meter->text, sizeof meter->text,
                 "RAPL, %zu %s%s: idle power and other programs included, memory is not",
                 meter->n_domains, strstr(meter->domain[0].name, "psys") ? "platform" : "package",
                 meter->n_domains > 1 ? "s" : "");
    else
        snprintf(meter->text, sizeof meter->text, "%s",
                 denied ? "the processor's energy counters may be read by root only"
                        : "there are no energy counters to read");
    meter->read_at = meter->clock();
    return meter->n_domains > 0;
}

void energy_close(struct energy_meter *meter)
{
    for (size_t i = 0; i < meter->n_domains; i++)
        close(meter->domain[i].file);
    *meter = (struct energy_meter){.failed = true};
}

double energy_read(struct energy_meter *meter)
{
    if (meter->failed || !meter->n_domains)
        return NAN;
    double now = meter->clock(), elapsed = now - meter->read_at;
    meter->read_at = now;
    for (size_t i = 0; i < meter->n_domains; i++) {
        struct energy_domain *domain = &meter->domain[i];
        uint64_t value;
        if (!read_number(domain->file, &value) || value > domain->range ||
            elapsed * ENERGY_MAX_WATTS > (double)domain->range * 1e-6) {
            meter->failed = true;
            return NAN;
        }
        uint64_t more =
            value >= domain->last ? value - domain->last : value + (domain->range - domain->last);
        meter->joules += (double)more * 1e-6;
        domain->last = value;
    }
    return meter->joules;
}

const char *energy_basis_name(enum energy_basis basis)
{
    static const char *const name[] = {"unknown", "measured", "stated", "estimated"};
    return name[basis];
}

double energy_co2e_g(double joules, double grid)
{
    return joules / 3.6e6 * grid;
}
