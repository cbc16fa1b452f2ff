/* emu_runtime.cc: devices, memory, streams, and the failures that tests ask for. */
#include "tests/cuda-emu/emu.h"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <map>
#include <set>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace emu
{
/* ---- device memory: pages of its own between two fences, the end against the second; locked while
 * host code runs. A fence is address space without memory: wide, so that far accesses hit it too ----
 */
constexpr size_t FENCE = 16 << 20;
struct Allocation {
    char *map, *base, *fence; /* fence: the second one */
    size_t bytes;
    int device;
    bool open; /* may be accessed */
};
static auto &allocations = *new std::map<const char *, Allocation>; /* by the second fence's end */
static auto &pinned = *new std::set<void *>;
static size_t memory_used, memory_size = (size_t)8 << 30;
static int current; /* device of the calling thread; there is one thread */
static int devices = 1, driver = 13000, capability = 90;
static unsigned long fail_alloc, fail_launch; /* count down to 0 */
static bool lazy = true;
static cudaError_t last_error, sticky;

static cudaError_t fail(cudaError_t e)
{
    return last_error = e;
}

/* After a failed kernel every call fails. */
#define STICKY                                                                                     \
    do {                                                                                           \
        if (sticky)                                                                                \
            return fail(sticky);                                                                   \
    } while (0)

static bool counts_down(unsigned long *n)
{
    return *n && --*n == 0;
}

static Allocation *find(const void *p)
{
    auto it = allocations.upper_bound((const char *)p);
    return it != allocations.end() && p >= it->second.map ? &it->second : nullptr;
}

/* Address space that no access is allowed to, and that costs no memory. */
static char *reserve_pages(size_t n)
{
    void *p = mmap(nullptr, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : (char *)p;
}

bool inside(const void *p, size_t n)
{
    Allocation *a = find(p);
    return a && p >= a->base && (const char *)p + n <= a->base + a->bytes;
}

/* Calls of the system are what most tests would wait for: none without need. */
static void set_access(Allocation &a, bool on)
{
    if (a.open == on)
        return;
    a.open = on;
    mprotect(a.map, (size_t)(a.fence - a.map), on ? PROT_READ | PROT_WRITE : PROT_NONE);
    __asan_poison_memory_region(a.map, a.fence - a.map);
    if (on)
        __asan_unpoison_memory_region(a.base, a.bytes);
}

static void set_access_all(bool on)
{
    for (auto &a : allocations)
        set_access(a.second, on);
}

void check_argument(const char *name, int index, const void *p)
{
    if (p && !inside(p, 1))
        die("kernel %s: argument %d (%p) is not device memory", name, index, p);
    if (p && find(p)->device != current)
        die("kernel %s: argument %d (%p) is memory of device %d, current is %d", name, index, p,
            find(p)->device, current);
}

static void on_fault(int sig, siginfo_t *info, void *)
{
    Allocation *a = find(info->si_addr);
    signal(sig, SIG_DFL);
    if (a && !kernel_name)
        die("host code touches device memory (an allocation of %zu bytes)", a->bytes);
    if (a)
        die("access at byte %td of an allocation of %zu", (char *)info->si_addr - a->base,
            a->bytes);
    if (kernel_name)
        die("bad address %p (or more than %zu bytes of stack)", info->si_addr, STACK - PAGE);
}

/* ---- life ---- */

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);
    return text && *text ? strtoul(text, nullptr, 10) : otherwise;
}

static struct Setup {
    Setup()
    {
        static char stack[64 << 10];
        stack_t alternate = {};
        struct sigaction act = {};
        const char *s = getenv("EMU_ORDER");
        order_mode = !s || *s == 'a' ? 0 : *s == 'd' ? 1 : 2;
        if (s && strchr(s, ':'))
            random_source.seed((unsigned)atol(strchr(s, ':') + 1));
        if ((s = getenv("EMU_STREAMS")))
            lazy = *s != 'e';
        devices = (int)number("EMU_DEVICES", 1);
        driver = (int)number("EMU_DRIVER", 13000);
        capability = (int)number("EMU_CAPABILITY", 90);
        memory_size = number("EMU_MEMORY", memory_size);
        fail_alloc = number("EMU_FAIL_ALLOC", 0);
        fail_launch = number("EMU_FAIL_LAUNCH", 0);
        alternate.ss_sp = stack;
        alternate.ss_size = sizeof stack;
        sigaltstack(&alternate, nullptr);
        act.sa_sigaction = on_fault;
        act.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigaction(SIGSEGV, &act, nullptr);
    }
    ~Setup()
    {
        if (getenv("EMU_STATS"))
            fprintf(stderr,
                    "cuda-emu: %lu launches, %lu blocks, %lu threads, %lu switches; %lu products, "
                    "%lu copies\n",
                    counts.launches, counts.blocks, counts.threads, counts.switches,
                    counts.products, counts.copies);
        if (getenv("EMU_LEAKS") && (!allocations.empty() || !pinned.empty())) {
            fprintf(stderr, "cuda-emu: %zu allocations, %zu bytes and %zu pinned not freed\n",
                    allocations.size(), memory_used, pinned.size());
            fflush(nullptr);
            _exit(98);
        }
    }
} setup;
} // namespace emu

/* ---- streams: queues that run when something waits for them ---- */
struct CUstream_st {
    std::deque<std::function<void()>> work;
    int device;
};
struct CUevent_st {
    cudaStream_t stream;
    bool pending;
    timespec time;
};

namespace emu
{
static auto &streams = *new std::vector<cudaStream_t>;

static void drain(cudaStream_t s)
{
    for (; !s->work.empty(); s->work.pop_front()) {
        if (!sticky)
            s->work.front()();
    }
    set_access_all(false);
}

static void drain_all()
{
    for (auto s : streams)
        drain(s);
}

cudaError_t enqueue(cudaStream_t s, bool is_launch, std::function<void()> work)
{
    STICKY;
    if (!s)
        die("the default stream is not used here: it waits for all others");
    if (is_launch && s->device != current)
        die("a launch into a stream of device %d, current is %d", s->device, current);
    bool fails = is_launch && counts_down(&fail_launch);
    if (fails)
        s->work.push_back([] { sticky = cudaErrorIllegalAddress; });
    else if (is_launch)
        s->work.push_back([work] {
            set_access_all(true);
            work();
        });
    else
        s->work.push_back(std::move(work));
    if (!lazy)
        drain(s);
    return cudaSuccess;
}

cudaError_t enqueue_kernel(const char *name, dim3 g, dim3 b, size_t shmem, cudaStream_t s,
                           std::function<void()> body)
{
    size_t n = (size_t)b.x * b.y * b.z, blocks = (size_t)g.x * g.y * g.z;
    if (!n || n > 1024 || b.z > 64 || !blocks || g.x > 0x7fffffff || g.y > 65535 || g.z > 65535)
        return fail(cudaErrorInvalidConfiguration);
    if (shmem > MAX_SHARED)
        return fail(cudaErrorInvalidValue);
    if (n % 32)
        die("kernel %s: block of %zu threads, but only whole warps are allowed", name, n);
    counts.kernels++;
    return enqueue(s, true, [=] { run_grid(name, g, b, shmem, body); });
}
} // namespace emu

/* For tests, which find it with dlsym: it is not there in other builds. */
extern "C" void emu_counted(unsigned long counted[3])
{
    counted[0] = emu::counts.kernels;
    counted[1] = emu::counts.products;
    counted[2] = emu::counts.copies;
}

using namespace emu;

/* ---- devices ---- */

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = driver; /* 0 without a driver, and no error: as the real one */
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    if (driver < 13000)
        return fail(cudaErrorInsufficientDriver); /* like the real one: *n is left alone */
    if (!devices)
        return fail(cudaErrorNoDevice);
    *n = devices;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int d)
{
    STICKY;
    if (d < 0 || d >= devices)
        return fail(cudaErrorInvalidDevice);
    current = d;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int d)
{
    STICKY;
    if (d < 0 || d >= devices)
        return fail(cudaErrorInvalidDevice);
    *properties = {};
    snprintf(properties->name, sizeof properties->name, "emulated GPU");
    properties->totalGlobalMem = memory_size;
    properties->major = capability / 10;
    properties->minor = capability % 10;
    properties->multiProcessorCount = 4;
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    STICKY;
    *free = memory_size - memory_used;
    *total = memory_size;
    return cudaSuccess;
}

cudaError_t cudaGetLastError()
{
    cudaError_t e = last_error;
    last_error = sticky;
    return e;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorIllegalAddress:
        return "an illegal memory access was encountered";
    default:
        return "invalid argument";
    }
}

/* ---- memory ---- */

cudaError_t cudaMalloc(void **p, size_t n)
{
    *p = nullptr;
    STICKY;
    if (!devices)
        return fail(cudaErrorInsufficientDriver);
    if (counts_down(&fail_alloc))
        return fail(cudaErrorMemoryAllocation);
    if (!n)
        return cudaSuccess;
    size_t pages = (n + PAGE - 1) / PAGE * PAGE;
    if (n > memory_size - memory_used)
        return fail(cudaErrorMemoryAllocation);
    char *map = reserve_pages(FENCE + pages + FENCE);
    if (!map || mprotect(map += FENCE, pages, PROT_READ | PROT_WRITE))
        return fail(cudaErrorMemoryAllocation);
    Allocation a = {map, map + pages - (n + 15) / 16 * 16, map + pages, n, current, true};
    memset(map, 0xff, pages); /* NaN in every float format: use of unwritten memory shows */
    memory_used += n;
    set_access(allocations[a.fence + FENCE] = a, false);
    *p = a.base;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    drain_all();
    Allocation *found = find(p);
    if (!found || found->base != p)
        return fail(cudaErrorInvalidValue);
    Allocation a = *found;
    allocations.erase(a.fence + FENCE);
    memory_used -= a.bytes;
    set_access(a, true);
    __asan_unpoison_memory_region(a.map, a.fence - a.map);
    auto written = [](char c) { return c != (char)0xff; };
    if (std::any_of(a.map, a.base, written) || std::any_of(a.base + a.bytes, a.fence, written))
        die("write outside a device allocation of %zu bytes", a.bytes);
    munmap(a.map - FENCE, FENCE + (size_t)(a.fence - a.map) + FENCE);
    STICKY; /* the memory is gone all the same: what is still there at the end was forgotten */
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t n)
{
    *p = nullptr;
    STICKY;
    if (counts_down(&fail_alloc) || !(*p = malloc(n)))
        return fail(cudaErrorMemoryAllocation);
    memset(*p, 0xff, n);
    pinned.insert(*p);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    if (!p)
        return cudaSuccess;
    drain_all();
    if (!pinned.erase(p))
        return fail(cudaErrorInvalidValue);
    free(p);
    STICKY;
    return cudaSuccess;
}

/* For a copy, whose ends are inside allocations. */
static void open_allocation(const void *p)
{
    Allocation *a = find(p);
    if (a)
        set_access(*a, true);
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind,
                            cudaStream_t s)
{
    bool to_device = kind & 1, from_device = kind & 2; /* cudaMemcpyDefault is not accepted */
    STICKY;
    if (!n)
        return cudaSuccess;
    if (kind > 3 || (to_device ? !inside(to, n) : !!find(to)) ||
        (from_device ? !inside(from, n) : !!find(from)))
        return fail(cudaErrorInvalidValue);
    counts.copies++;
    return enqueue(s, false, [=] {
        open_allocation(to);
        open_allocation(from);
        memcpy(to, from, n);
    });
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t n, cudaStream_t s)
{
    STICKY;
    counts.copies++;
    return n && !inside(p, n) ? fail(cudaErrorInvalidValue) : enqueue(s, false, [=] {
        open_allocation(p);
        memset(p, byte, n);
    });
}

/* ---- streams and events ---- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned)
{
    *s = nullptr;
    STICKY;
    streams.push_back(*s = new CUstream_st{{}, current});
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    drain(s);
    STICKY;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    drain(s);
    streams.erase(std::find(streams.begin(), streams.end(), s));
    delete s;
    STICKY;
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    *e = nullptr;
    STICKY;
    *e = new CUevent_st{};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    drain_all();
    delete e;
    STICKY;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    STICKY;
    e->stream = s, e->pending = true;
    return enqueue(s, false, [=] {
        e->pending = false;
        clock_gettime(CLOCK_MONOTONIC, &e->time);
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (e->pending)
        drain(e->stream);
    STICKY;
    return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    STICKY;
    *ms = (float)((double)(b->time.tv_sec - a->time.tv_sec) * 1e3 +
                  (double)(b->time.tv_nsec - a->time.tv_nsec) * 1e-6);
    return cudaSuccess;
}
