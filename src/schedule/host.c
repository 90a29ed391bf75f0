/* The kernel's threads under the threads of a schedule.
 *
 * A schedule's threads are real: each has the stack and the thread-local memory of a thread that
 * pthread_create() has made. But that thread itself only sleeps, for ever. The thread that runs the
 * schedules borrows the two: going from one thread to another is a switch of stack pointer and
 * thread pointer, some 10 ns, where a hand-over between two threads of the kernel costs thousands.
 * The kernel does not mind: it saves both registers for whoever runs.
 *
 * The thread pointer is the base of the segment FS. Where a program may write it, with FSGSBASE (Linux 5.9),
 * it does: `by register`. Elsewhere, in some virtual machines, only a system call can, which costs thousands
 * as well; so it stays, and what is changed is the word at FS:0, which says where the base is: `by header`.
 * Code that is compiled with -mno-tls-direct-seg-refs goes by that word to its thread-local variables, and
 * the one behind it, the dynamic vector, leads to those of shared libraries. The C library itself goes by
 * the register, so its own thread-local variables are then the runner's; errno is kept for each thread here.
 *
 * Where the program was not compiled so, the threads run themselves, one at a time, and hand over by a
 * futex. A thread that is left in the middle of a schedule that has failed jumps back to its beginning when
 * it is needed again. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "schedule/header.h"
#include "schedule/host.h"
#include "schedule/inside.h"

#define RUNNER AMBIT__THREADS
#define BELOW_ITS_FRAMES 16384

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
long __real_syscall(long number, ...);

typedef struct sleeper {
    void *stack_pointer; /* borrowed: where it goes on */
    uintptr_t thread_pointer;
    void *vector; /* by header: of its dynamic thread-local variables */
    int error;    /* by header: its errno */
    char *top;    /* below the frames of the sleeping thread */
    uintptr_t low, high;
    void (*entry)(void);
    _Atomic(uint32_t) gate; /* 1: it may go on */
    bool begins;            /* from the top, whatever it was doing */
    void *home[5];          /* __builtin_setjmp() */
} sleeper;

static sleeper hosts[AMBIT__THREADS + 1];
static unsigned host_count;
static pid_t host_process; /* a child has stacks to borrow, but no threads that run by themselves */
static bool borrowing, by_header;
static unsigned running = RUNNER;

/* ---- Sleeping -------------------------------------------------------------------------------- */

static void gate_wait(sleeper *host) {
    uint32_t open = 1;
    while (!__atomic_compare_exchange_n((uint32_t *)&host->gate, &open, 0, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED)) {
        (void)__real_syscall(SYS_futex, &host->gate, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL,
                             0);
        open = 1;
    }
}

static void gate_open(sleeper *host) {
    __atomic_store_n((uint32_t *)&host->gate, 1, __ATOMIC_RELEASE);
    (void)__real_syscall(SYS_futex, &host->gate, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0);
}

/* ---- Borrowing ------------------------------------------------------------------------------- */

#ifdef __x86_64__
/* Saves what a call must preserve and the stack pointer, and takes the other's; its thread pointer as
 * well, unless that is 0. */
void ambit__host_swap(void **save, void *stack_pointer, uintptr_t thread_pointer);
__asm__(".text\n"
        ".globl ambit__host_swap\n"
        ".hidden ambit__host_swap\n"
        ".type ambit__host_swap, @function\n"
        "ambit__host_swap:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    testq %rdx, %rdx\n"
        "    jz 1f\n"
        "    wrfsbase %rdx\n"
        "1:  popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size ambit__host_swap, .-ambit__host_swap\n");

/* The first word of what it points to is itself. */
static uintptr_t thread_pointer(void) {
    uintptr_t pointer;
    __asm__ volatile("movq %%fs:0, %0" : "=r"(pointer));
    return pointer;
}

/* HWCAP2_FSGSBASE, bit 1: the kernel has switched it on. */
static bool can_write_register(void) { return getauxval(AT_HWCAP2) & 2; }

/* So that the swap's return goes to `entry`, which finds the stack aligned as after a call. */
static void prepare_stack(sleeper *host, void (*entry)(void)) {
    void **top = (void **)(void *)host->top;
    *--top = NULL; /* whom `entry` would return to */
    *(void (**)(void))(void *)--top = entry;
    for (unsigned i = 0; i < 6; i++) *--top = NULL;
    host->stack_pointer = top;
}
#else
static uintptr_t thread_pointer(void) { return 0; }
static bool can_write_register(void) { return false; }
static void prepare_stack(sleeper *host, void (*entry)(void)) { (void)host, (void)entry; }
static void ambit__host_swap(void **save, void *stack_pointer, uintptr_t pointer) {
    (void)save, (void)stack_pointer, (void)pointer;
}
#endif

static void swap_by_header(sleeper *from, const sleeper *to) {
    ambit__header *header = ambit__host_header;
    from->vector = header->vector;
    from->error = *ambit__host_error;
    header->pointer = to->thread_pointer;
    header->vector = to->vector;
    *ambit__host_error = to->error;
    ambit__host_swap(&from->stack_pointer, to->stack_pointer, 0);
}

static void go(unsigned from, unsigned to) {
    running = to;
    if (by_header) {
        swap_by_header(&hosts[from], &hosts[to]);
        return;
    }
    if (borrowing) {
        ambit__host_swap(&hosts[from].stack_pointer, hosts[to].stack_pointer,
                         hosts[to].thread_pointer);
        return;
    }
    int error = errno; /* the program's, which the system calls of a gate would change */
    gate_open(&hosts[to]);
    gate_wait(&hosts[from]);
    errno = error;
    if (hosts[from].begins) __builtin_longjmp(hosts[from].home, 1);
}

/* ---- The threads ----------------------------------------------------------------------------- */

static void note_bounds(sleeper *host) {
    pthread_attr_t attributes;
    void *low = NULL;
    size_t bytes = 0;
    if (!pthread_getattr_np(pthread_self(), &attributes)) {
        (void)pthread_attr_getstack(&attributes, &low, &bytes);
        (void)pthread_attr_destroy(&attributes);
    }
    host->low = (uintptr_t)low;
    host->high = host->low + bytes;
}

static void *sleep_for_ever(void *given) {
    sleeper *self = given;
    char *here = __builtin_frame_address(0);
    note_bounds(self);
    self->high = (uintptr_t)here; /* above are the C library's frames, and thread-local memory */
    self->top = (char *)(((uintptr_t)here - BELOW_ITS_FRAMES) & ~(uintptr_t)63);
    self->thread_pointer = thread_pointer();
    if (by_header) self->vector = ((ambit__header *)self->thread_pointer)->vector;
    gate_open(&hosts[RUNNER]); /* the numbers above are there */
    if (!borrowing) {
        ambit__crash_thread_begins((unsigned)(self - hosts));
        /* The first time it waits to be let go on, though it may be told what to begin with before it gets
         * here; when it jumps back it has been. */
        if (!__builtin_setjmp(self->home)) gate_wait(self);
        self->begins = false;
        self->entry();
    }
    for (;;) (void)__real_syscall(SYS_pause);
    return NULL;
}

/* AMBIT_SCHEDULE_HOST asks for one of the ways that there are: "kernel", "header" or "register". */
static void choose_way(void) {
    const char *wish = getenv("AMBIT_SCHEDULE_HOST");
    if (wish && strcmp(wish, "kernel") == 0) return;
    bool header_wanted = wish && strcmp(wish, "header") == 0;
    if (can_write_register() && !header_wanted)
        borrowing = true;
    else
        borrowing = by_header = ambit__host_header_works();
}

/* Another thread than last time may be the runner. */
static void note_runner(void) {
    hosts[RUNNER].thread_pointer = thread_pointer();
    if (by_header) ambit__host_header_is((ambit__header *)hosts[RUNNER].thread_pointer);
}

bool ambit__host_prepare(unsigned count) {
    if (!host_count) {
        choose_way();
        note_bounds(&hosts[RUNNER]);
    }
    note_runner();
    if (!borrowing && host_process != getpid()) host_count = 0;
    host_process = getpid();
    while (host_count < count) {
        pthread_t thread;
        int error = __real_pthread_create(&thread, NULL, sleep_for_ever, &hosts[host_count]);
        if (error) {
            errno = error;
            return false;
        }
        gate_wait(&hosts[RUNNER]);
        host_count++;
    }
    return true;
}

void ambit__host_begin(unsigned index, void (*entry)(void)) {
    sleeper *host = &hosts[index];
    host->entry = entry;
    if (borrowing)
        prepare_stack(host, entry);
    else
        host->begins = true;
}

void ambit__host_switch(unsigned from, unsigned to) { go(from, to); }

void ambit__host_enter(unsigned first) { go(RUNNER, first); }

void ambit__host_leave(void) {
    unsigned self = running;
    go(self, RUNNER);
    __builtin_unreachable(); /* it begins anew, from the top */
}

void ambit__host_bounds(unsigned index, uintptr_t *low, uintptr_t *high) {
    *low = hosts[index].low;
    *high = hosts[index].high;
}

uintptr_t ambit__host_thread_pointer(unsigned index) { return hosts[index].thread_pointer; }
