/* emu_block.cc: the threads of a block as fibres; barriers, warp collectives, shared memory. */
#include "tests/cuda-emu/emu.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

namespace emu
{
Thread *cur;
Grid grid;
const char *kernel_name;
Counts counts;
int order_mode;
std::mt19937 random_source;
constexpr size_t GAP = 32, ARENA = 2 * MAX_SHARED;

void die(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "cuda-emu: ");
    if (kernel_name && cur)
        fprintf(stderr, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u): ", kernel_name,
                grid.block.x, grid.block.y, grid.block.z, cur->tid.x, cur->tid.y, cur->tid.z);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    abort();
}
char *map_pages(size_t n)
{
    void *p = mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? nullptr : (char *)p;
}

/* Order of threads and blocks: the permutation i -> (a*i + b) mod n; costs no memory. */
struct Order {
    size_t n, a = 1, b = 0;
    explicit Order(size_t n_) : n(n_)
    {
        if (order_mode == 1)
            a = b = n - 1;
        if (order_mode != 2 || n < 2)
            return;
        do
            a = random_source() % n;
        while (std::gcd(a, n) != 1);
        b = random_source() % n;
    }
    size_t operator()(size_t i) const
    {
        return (a * i + b) % n;
    }
};

/* ---- fibres: a stack above a guard page; switched by a few instructions, or by ucontext ---- */
#if defined __x86_64__ && !defined EMU_UCONTEXT
#define EMU_QUICK 1
#else
#define EMU_QUICK 0 /* 15 times slower: two system calls for each switch */
#endif

struct Fibre {
    char *stack = nullptr;
    void *sp = nullptr, *fake_stack = nullptr, *tsan = nullptr;
#if !EMU_QUICK
    ucontext_t context;
#endif
};
static Fibre host, *running = &host;
static void fibre_main();

#if EMU_QUICK
extern "C" void emu_switch(void **save, void *load);
asm(".text\n.type emu_switch,@function\nemu_switch:\n"
    "push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");

static void prepare(Fibre *f)
{
    /* After `ret` the stack pointer is 8 modulo 16, as in a function that was called. */
    void **top = (void **)(f->stack + STACK) - 2;
    *top = (void *)fibre_main;
    f->sp = top - 6;
}

static void jump(Fibre *from, Fibre *to)
{
    emu_switch(&from->sp, to->sp);
}
#else
static void prepare(Fibre *f)
{
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = f->stack + PAGE;
    f->context.uc_stack.ss_size = STACK - PAGE;
    makecontext(&f->context, fibre_main, 0);
}

static void jump(Fibre *from, Fibre *to)
{
    swapcontext(&from->context, &to->context);
}
#endif

static Fibre *new_fibre()
{
    Fibre *f = new Fibre;
    if (!(f->stack = map_pages(STACK)))
        die("no memory for a fibre stack");
    mprotect(f->stack, PAGE, PROT_NONE);
    prepare(f);
#ifdef EMU_TSAN
    f->tsan = __tsan_create_fiber(0);
#endif
    return f;
}
#ifdef EMU_ASAN
static const void *host_stack;
static size_t host_stack_size;
#endif
static void switch_to(Fibre *to)
{
    Fibre *from = running;
    running = to;
    counts.switches++;
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(&from->fake_stack, to->stack ? to->stack : host_stack,
                                   to->stack ? STACK : host_stack_size);
#elif defined                                                                                      \
    EMU_TSAN /* no_sync: a switch orders nothing, so races between the threads stay visible */
    if (!host.tsan)
        host.tsan = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(to->tsan, __tsan_switch_to_fiber_no_sync);
#endif
    jump(from, to);
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, nullptr, nullptr);
#endif
}

/* ---- one block ---- */
struct Barrier {
    unsigned needed, count, ended, generation;
    const char *file;
    int line;
    char sync[2]; /* stand for the barrier in ThreadSanitizer, in turn */
    Thread *waiting[1024];
    void reset(unsigned n)
    {
        needed = n, count = ended = 0;
    }
};
struct Shared {
    const void *key;
    char *p;
    size_t bytes;
};
static struct Block {
    unsigned n, started, ended, ready_first, ready_count;
    Thread threads[1024],
        *ready[1024]; /* ready: a ring; fibres must not allocate (ThreadSanitizer) */
    const Order *order;
    const std::function<void()> *body;
    Barrier all, warp[32];
    uint64_t slot[32][2][32]; /* warp, parity of the round, lane: values being exchanged */
    char *arena;              /* shared memory */
    size_t arena_used, dynamic_bytes, n_shared;
    Shared shared[64];
    char begin_sync, end_sync; /* ThreadSanitizer: host before threads, threads before host */
} B;
static auto &pool = *new std::vector<Fibre *>, &idle = *new std::vector<Fibre *>;

/* The fibre for the next thread to start. ThreadSanitizer tells threads apart by fibre, so there each
 * thread of a block has its own, and the assignment rotates from block to block. */
static Fibre *take_fibre()
{
#ifdef EMU_TSAN
    return pool[(B.started + 7 * counts.blocks) % B.n];
#endif
    if (idle.empty())
        idle.push_back(pool.emplace_back(new_fibre()));
    Fibre *f = idle.back();
    idle.pop_back();
    return f;
}
static void run_next() /* leave the running fibre for a thread that can go on, else for the host */
{
    Fibre *to = &host;
    if (B.ready_count) {
        cur = B.ready[B.ready_first++ % 1024];
        B.ready_count--;
        to = cur->fibre;
    } else if (B.started < B.n)
        to = take_fibre();
    if (to != running)
        switch_to(to);
}
static void fibre_main()
{
#ifdef EMU_ASAN
    const void *old;
    size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &old, &size);
    if (!host_stack)
        host_stack = old, host_stack_size = size;
#endif
    for (;;) { /* without barriers one fibre runs all threads of the block in a plain loop */
        bool again;
        do {
            Thread *me = cur = &B.threads[(*B.order)(B.started++)];
            me->fibre = running;
            __tsan_acquire(&B.begin_sync);
            (*B.body)();
            __tsan_release(&B.end_sync);
            B.ended++, B.all.ended++, B.warp[me->warp].ended++;
            again = !B.ready_count && B.started < B.n;
#ifdef EMU_TSAN
            again = false;
#else
            if (!again)
                idle.push_back(running);
#endif
        } while (again);
        run_next();
    }
}
static void wait_at(Barrier &b, const char *what, bool orders_memory, const char *file, int line)
{
    Thread *me = cur;
    if (b.ended)
        die("%s at %s:%d, but %u threads it waits for have ended", what, file, line, b.ended);
    if (b.count && (b.line != line || strcmp(b.file, file)))
        die("%s at %s:%d while others wait at %s:%d (divergent)", what, file, line, b.file, b.line);
    void *sync = &b.sync[b.generation & 1];
    if (orders_memory)
        __tsan_release(sync);
    me->file = b.file = file;
    me->line = b.line = line;
    b.waiting[b.count++] = me;
    if (b.count == b.needed) {
        for (unsigned i = 0; i < b.count; i++)
            B.ready[(B.ready_first + B.ready_count++) % 1024] = b.waiting[i];
        b.count = 0;
        b.generation++;
    }
    run_next();
    me->file = nullptr;
    if (orders_memory)
        __tsan_acquire(sync);
}
void sync_block(const char *file, int line)
{
    wait_at(B.all, "__syncthreads", true, file, line);
}

/* Two slots in turn are enough: no lane can be two rounds ahead. A shuffle orders no memory. */
const uint64_t *warp_exchange(const char *what, unsigned mask, uint64_t value, const char *file,
                              int line)
{
    if (mask != ~0u)
        die("%s at %s:%d: mask %#x, but only full warps are allowed", what, file, line, mask);
    uint64_t *slot = B.slot[cur->warp][cur->round++ & 1];
    slot[cur->lane] = value;
    wait_at(B.warp[cur->warp], what, !strcmp(what, "__syncwarp"), file, line);
    return slot;
}

/* Shared memory is NaN (0xff) at the start of a block; gaps between arrays are checked at its end. */
void *shared_memory(const void *key, size_t bytes)
{
    if (!key)
        key = &B.dynamic_bytes, bytes = B.dynamic_bytes;
    for (size_t i = 0; i < B.n_shared; i++)
        if (B.shared[i].key == key)
            return B.shared[i].p;
    char *p = B.arena + B.arena_used;
    B.arena_used += (bytes + 15) / 16 * 16 + GAP;
    if (B.arena_used > MAX_SHARED + B.n_shared * GAP + 2 * GAP || B.n_shared == 64)
        die("more than %zu bytes of shared memory", MAX_SHARED);
    __asan_unpoison_memory_region(p, bytes);
    B.shared[B.n_shared++] = {key, p, bytes};
    return p;
}
static void run_block(unsigned n)
{
    dim3 d = grid.block_dim;
    if (pool.capacity() < 1024) /* nothing is allocated inside fibres */
        pool.reserve(1024), idle.reserve(2048);
    Order order(n);
    B.n = n, B.order = &order, B.started = B.ended = B.ready_count = 0;
    counts.blocks++, counts.threads += n;
    B.all.reset(n);
    for (unsigned w = 0; w < n / 32; w++)
        B.warp[w].reset(32);
    for (unsigned i = 0; i < n; i++)
        B.threads[i] = {
            {i % d.x, i / d.x % d.y, i / (d.x * d.y)}, i % 32, i / 32, 0, nullptr, nullptr, 0};
#ifdef EMU_TSAN /* a fresh mapping has no history: its reuse by the next block is no race */
    if (B.arena)
        munmap(B.arena, ARENA);
    B.arena = nullptr;
    while (pool.size() < n)
        pool.push_back(new_fibre());
#endif
    if (!B.arena)
        B.arena = map_pages(ARENA), B.arena_used = ARENA;
    __asan_unpoison_memory_region(B.arena, ARENA);
    memset(B.arena, 0xff, B.arena_used);
    __asan_poison_memory_region(B.arena, ARENA);
    B.arena_used = B.n_shared = 0;
    __tsan_release(&B.begin_sync);
    run_next();
    for (unsigned i = 0; i < n && B.ended < n; i++)
        if (B.threads[i].file)
            cur = &B.threads[i], die("deadlock at %s:%d", cur->file, cur->line);
    for (size_t i = 0; i < B.n_shared; i++) {
        char *end = B.shared[i].p + B.shared[i].bytes;
        __asan_unpoison_memory_region(B.shared[i].p, B.shared[i].bytes + GAP);
        if (std::any_of(end, end + GAP, [](char c) { return c != (char)0xff; }))
            die("write past a shared array of %zu bytes", B.shared[i].bytes);
    }
}

void run_grid(const char *name, dim3 g, dim3 b, size_t shmem, const std::function<void()> &body)
{
    unsigned n = b.x * b.y * b.z;
    size_t blocks = (size_t)g.x * g.y * g.z;
    kernel_name = name;
    counts.launches++;
    grid = {g, b, {0, 0, 0}};
    B.body = &body, B.dynamic_bytes = shmem;
    Order order(blocks);
    for (size_t i = 0; i < blocks; i++) {
        size_t k = order(i);
        grid.block = {(unsigned)(k % g.x), (unsigned)(k / g.x % g.y), (unsigned)(k / g.x / g.y)};
        run_block(n);
    }
    __tsan_acquire(&B.end_sync);
    kernel_name = nullptr;
}
} // namespace emu
