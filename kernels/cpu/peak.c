/* peak.c: the operation `peak`: all members of the team at once, as they are in a product. */
#include "kernels/cpu/peak.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/progress.h"
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/elementwise.h"

enum {
    TRIES = 3,         /* the best counts: others may use the machine, too */
    FLOATS = 1 << 18,  /* of an array: what a run of some hundred tokens has in front of it */
    ADDITIONS = 1 << 4 /* of two of them */
};

struct measure {
    const struct cpu *cpu;
    const struct peak_loop *loop;
    float *arrays; /* two of each member */
};

static void multiply(void *context, size_t member, size_t n_members)
{
    const struct measure *measure = context;
    (void)member;
    (void)n_members;
    measure->loop->run();
}

static void add_up(void *context, size_t member, size_t n_members)
{
    const struct measure *measure = context;
    float *x = measure->arrays + 2 * FLOATS * member;
    (void)n_members;
    for (int i = 0; i < ADDITIONS; i++)
        ISA_PICK(elementwise, measure->cpu->isa)->add(x, FLOATS, x + FLOATS);
}

/* Units a second where each member does so many of them in a job. */
static double best(struct cpu *cpu, threads_job *job, struct measure *measure, double units)
{
    double most = 0;
    for (int i = 0; i < TRIES; i++) {
        double begin = progress_clock();
        cpu_run(cpu, job, measure);
        double rate = units * (double)cpu->n_members / (progress_clock() - begin);
        most = rate > most ? rate : most;
    }
    return most;
}

static double loop_rate(struct cpu *cpu, const struct peak_loop *loop)
{
    struct measure measure = {.cpu = cpu, .loop = loop};
    return loop->run ? best(cpu, multiply, &measure, loop->operations) : 0;
}

/* Of a sum, two reads and a write, in arrays that the outer caches hold. */
static double byte_rate(struct cpu *cpu)
{
    struct error ignored = ERROR_INIT;
    size_t floats = 2 * FLOATS * cpu->n_members;
    struct measure measure = {.cpu = cpu,
                              .arrays = memory_aligned(floats, sizeof(float), &ignored)};
    if (!measure.arrays)
        return 0;
    memset(measure.arrays, 0, floats * sizeof(float));
    double rate = best(cpu, add_up, &measure, 3.0 * sizeof(float) * FLOATS * ADDITIONS);
    free(measure.arrays);
    return rate;
}

void cpu_peak(struct device *dev, struct device_peak *peak)
{
    struct cpu *cpu = cpu_of(dev);
    const struct peak *loops = ISA_PICK(peak, cpu->isa);
    *peak = (struct device_peak){
        .f32 = loop_rate(cpu, &loops->f32),
        .bf16 = isa_supported(ISA_AVX512BF16) ? loop_rate(cpu, &loops->bf16) : 0,
        .int8 = loop_rate(cpu, &loops->int8),
        .bytes = byte_rate(cpu)};
}
