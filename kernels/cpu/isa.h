/* isa.h: which set of vector kernels runs. Every file of kernels/cpu/isa/ is compiled once per set
 * (isa.mk) and exports one table of functions, `const struct NAME ISA_SYMBOL(NAME)` (isa/vec.h);
 * the rest of kernels/cpu/ picks at run time:
 *
 *     ISA_TABLE(struct elementwise, elementwise);            in a header beside this one
 *     ISA_PICK(elementwise, cpu->isa)->add(x, n, y);         at the call
 */
#ifndef MILLET_KERNELS_CPU_ISA_H
#define MILLET_KERNELS_CPU_ISA_H

#include <stdbool.h>

#include "core/error.h"

enum isa {
    ISA_PORTABLE, /* what the compiler targets by default: SSE2, NEON */
    ISA_AVX2,     /* AVX2, FMA, F16C */
    ISA_AVX512,   /* AVX-512 F BW DQ VL VNNI */
    ISA_AVX512BF16, /* and BF16: products of bf16 (packed_product.h, dense_product.h); else as AVX512 */
    ISA_COUNT
};

/* "portable", "avx2", "avx512", "avx512bf16": the values of MILLET_ISA. */
const char *isa_name(enum isa isa);

/* Built in, and both processor and operating system support it. */
bool isa_supported(enum isa isa);

/* The fastest supported set, or the one that MILLET_ISA names; a set that is unknown or unsupported
 * is an error. */
bool isa_choose(enum isa *isa, struct error *err) MUST_CHECK;

#if defined(__x86_64__)
#define ISA_TABLE(type, name) extern const type name##_portable, name##_avx2, name##_avx512
#define ISA_PICK(name, isa)                                                                        \
    ((isa) >= ISA_AVX512 ? &name##_avx512 : (isa) == ISA_AVX2 ? &name##_avx2 : &name##_portable)
#else
#define ISA_TABLE(type, name) extern const type name##_portable
#define ISA_PICK(name, isa)   ((void)(isa), &name##_portable)
#endif

#endif
