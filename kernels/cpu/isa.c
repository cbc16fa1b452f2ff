/* isa.c: detection of vector instruction sets. */
#include "kernels/cpu/isa.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[ISA_COUNT] = {"portable", "avx2", "avx512", "avx512bf16"};

const char *isa_name(enum isa isa)
{
    return names[isa];
}

/* __builtin_cpu_supports asks XGETBV too: a set whose registers the operating system does not save
 * counts as missing. */
bool isa_supported(enum isa isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    switch (isa) {
    case ISA_AVX512BF16:
        return __builtin_cpu_supports("avx512bf16") && isa_supported(ISA_AVX512);
    case ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni") && isa_supported(ISA_AVX2);
    case ISA_AVX2:
        /* F16C came before AVX2 in every processor that has AVX2 (clang 14 cannot ask for it by
         * name). */
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    default:
        return isa == ISA_PORTABLE;
    }
#else
    return isa == ISA_PORTABLE;
#endif
}

/* vdpbf16ps does two multiply-adds for one of an fp32 FMA. AMD's processors start as many of them
 * (measured on Zen 4: 2.0 times the rate of fp32), Intel's up to Emerald Rapids a quarter as many
 * (measured there: 0.5 times). A property of the processor rather than a measurement, so that a
 * model gives the same bytes each time. */
static bool is_fast(enum isa isa)
{
#if defined(__x86_64__)
    return isa != ISA_AVX512BF16 || __builtin_cpu_is("amd");
#else
    (void)isa;
    return true;
#endif
}

static bool refuse(const char *wanted, struct error *err)
{
    char list[64] = "";
    for (enum isa i = ISA_PORTABLE; i < ISA_COUNT; i++)
        if (isa_supported(i)) {
            if (list[0])
                strcat(list, ", ");
            strcat(list, names[i]);
        }
    return error_set(
        err,
        "MILLET_ISA: \"%s\" is not an instruction set this machine can run; it has: %s; "
        "set one of these, or unset MILLET_ISA",
        wanted, list);
}

bool isa_choose(enum isa *isa, struct error *err)
{
    const char *wanted = getenv("MILLET_ISA");
    for (int i = ISA_COUNT - 1; i >= 0; i--) {
        enum isa candidate = (enum isa)i;
        if (wanted && wanted[0] ? strcmp(wanted, names[i]) == 0 && isa_supported(candidate)
                                : isa_supported(candidate) && is_fast(candidate)) {
            *isa = candidate;
            return true;
        }
    }
    return refuse(wanted ? wanted : "", err);
}
