/* pack.h: matrices into the panels that kernels/cpu/packed_product.h describes. */
#ifndef MILLET_KERNELS_CPU_PACK_H
#define MILLET_KERNELS_CPU_PACK_H

#include "kernels/cpu/linear.h"

/* The stacked parts of a file into linear->panels; int8: w_sum too. Over all threads. */
void pack_parts(struct cpu *cpu, struct linear *linear, const struct weight *part);

/* Of packed panels: linear->run and run_first, where leaving out zeros is faster. */
bool pack_runs(struct linear *linear, struct error *err) MUST_CHECK;

#endif
