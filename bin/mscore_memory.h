/* mscore_memory.h: the peak memory of classifying a stream, measured in a process of its own. */
#ifndef MILLET_BIN_MSCORE_MEMORY_H
#define MILLET_BIN_MSCORE_MEMORY_H

#include "bin/tool.h"
#include "io/records.h"

/* Bytes that a process needed at most to open the model and classify the set once, on the device
 * and with the threads of `tool`; NaN, with a note, when it failed or was killed. To be called
 * while this process has no threads and little memory: the other one starts as its copy. */
double mscore_memory(const struct tool *tool, const char *model, const struct records_set *set);

#endif
