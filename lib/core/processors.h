/* processors.h: how many processors a process may use: CPU affinity and the cgroup quota, versions
 * 1 and 2. */
#ifndef MILLET_CORE_PROCESSORS_H
#define MILLET_CORE_PROCESSORS_H

#include <stddef.h>

/* Processors in the affinity mask; at least 1. */
size_t processors_allowed(void);

/* The cgroup's CPU quota in processors, rounded up; 0: no quota. Reads ROOT/proc/self/cgroup and
 * ROOT/sys/fs/cgroup; root "" is this machine, tests give a directory. The tightest quota of the
 * cgroup and its ancestors counts. */
size_t processors_quota(const char *root);

#endif
