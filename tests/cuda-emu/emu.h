/* emu.h: what the parts of the emulator share: emu_block.cc (threads of a block), emu_runtime.cc
 * (devices, memory, streams), emu_blas.cc (products, 16-bit floats). They are always compiled
 * without sanitizer instrumentation; -DEMU_ASAN or -DEMU_TSAN makes them tell the sanitizer of the
 * rest of the program about fibres, device memory and barriers. */
#ifndef MILLET_TESTS_CUDA_EMU_INSIDE_H
#define MILLET_TESTS_CUDA_EMU_INSIDE_H

#include "tests/cuda-emu/cuda_emu.h"

#include <random>

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define __asan_poison_memory_region(p, n)   ((void)0)
#define __asan_unpoison_memory_region(p, n) ((void)0)
#endif
#ifdef EMU_TSAN
#include <sanitizer/tsan_interface.h>
#else
#define __tsan_acquire(p) ((void)(p))
#define __tsan_release(p) ((void)(p))
#endif

namespace emu
{
constexpr size_t PAGE = 4096, STACK = 128 << 10, MAX_SHARED = 48 << 10;

extern const char *kernel_name; /* null: host code runs */
extern int order_mode;          /* 0 ascending, 1 descending, 2 random */
extern std::mt19937 random_source;
struct Counts {
    unsigned long launches, blocks, threads, switches; /* of what ran */
    unsigned long kernels, products, copies;           /* of what was asked for */
};
extern Counts counts;

[[noreturn]] void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *map_pages(size_t n); /* null: no memory */
void run_grid(const char *name, dim3 grid, dim3 block, size_t shmem,
              const std::function<void()> &body);

/* n bytes from p on lie within one live allocation of device memory. */
bool inside(const void *p, size_t n);
/* Kernels and products count as launches, which may be chosen to fail; copies do not. */
cudaError_t enqueue(cudaStream_t s, bool is_launch, std::function<void()> work);
} // namespace emu

#endif
