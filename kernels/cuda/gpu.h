/* gpu.h: what every .cu file includes, by way of cuda.h; the only place that knows which compiler
 * is at work.
 *
 * nvcc:              the real CUDA headers, real launches
 * g++ -DCUDA_EMU:    tests/cuda-emu, the same source on the CPU
 *
 * What differs is hidden here: the launch, static and dynamic shared memory, unrolling. Rules
 * for kernels, which the emulator enforces where it can:
 *   - Blocks are whole warps, warp collectives use all 32 lanes (FULL_WARP). Threads that have
 *     nothing to do stay and contribute 0; a kernel is left early only by a whole block, or, where
 *     there is no block barrier, by a whole warp.
 *   - A shuffle orders no memory: exchange through shared memory inside a warp needs __syncwarp().
 *   - Parameters are numbers and device pointers, never structs that hold pointers.
 *   - 16-bit types are storage: load() to float, compute, store() (cuda.h). No fast intrinsics.
 *   - No float atomics: the same seed gives the same bytes. Sum per block into scratch, then add
 *     in a fixed order.
 *   - At most 48 KiB of shared memory. No __device__ or __constant__ variables.
 *   - What must agree with the CPU to the last bit is written with __fmul_rn, __fadd_rn …, which
 *     the compiler does not fuse.
 */
#ifndef MILLET_KERNELS_CUDA_GPU_H
#define MILLET_KERNELS_CUDA_GPU_H

#ifdef CUDA_EMU
#include "tests/cuda-emu/cuda_emu.h"
#define UNROLL
#else
#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

/* Launch; the value is the launch's error code. A template kernel with a comma needs its own
 * parentheses: LAUNCH((scale<float, 4>), grid, block, shmem, stream, …). */
#define LAUNCH(kernel, grid, block, shmem, stream, ...)                                            \
    (kernel<<<(grid), (block), (shmem), (stream)>>>(__VA_ARGS__), cudaGetLastError())

/* Before a loop over an array that is to stay in registers. */
#define UNROLL _Pragma("unroll")

/* SHARED(float, tile, [32][33]) declares a static shared array. */
#define SHARED(type, name, dims) __shared__ type name dims

/* SHARED_DYNAMIC(float, rows): `rows` points at the launch's `shmem` bytes (16-byte aligned). */
#define SHARED_DYNAMIC(type, name)                                                                 \
    extern __shared__ __align__(16) unsigned char shared_dynamic[];                                \
    type *name = reinterpret_cast<type *>(shared_dynamic)
#endif

constexpr unsigned FULL_WARP = 0xffffffffu; /* the only mask in use: all 32 lanes take part */
constexpr int WARP = 32;

#endif
