/* peak.h: what a processor can do at most: independent multiply-adds from registers, one version per
 * instruction set (isa/peak.c). Products are held against them. */
#ifndef MILLET_KERNELS_CPU_PEAK_H
#define MILLET_KERNELS_CPU_PEAK_H

#include "kernels/cpu/isa.h"

struct peak_loop {
    void (*run)(void); /* about a millisecond; NULL: the set has no such instruction */
    double operations; /* of one run: a multiplication and an addition are two */
};

struct peak {
    struct peak_loop f32;
    struct peak_loop bf16; /* only where the processor has AVX512-BF16, too */
    struct peak_loop int8;
};

ISA_TABLE(struct peak, peak);

#endif
