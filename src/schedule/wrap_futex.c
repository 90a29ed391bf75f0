/* syscall(2): what a program asks of the kernel without the C library.
 *
 * FUTEX. The kernel takes a lock for the word's bucket, and so is a full barrier both where it
 * compares and where it wakes; the model says no more than that. It compares what stands last in
 * modification order, whatever the thread itself would read. Who is woken learns nothing by it: it
 * must read the word again, and with an order that acquires.
 *
 * A private and a shared futex on one word are two queues, as in the kernel: who waits in one is
 * not woken by the other. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "schedule/inside.h"
#include "schedule/times.h"
#include "schedule/wraps.h"

#define ARGUMENTS 6

static int refused(int error) {
    errno = error;
    return -1;
}

/* ---- Who waits ------------------------------------------------------------------------------- */

/* Each thread waits for one futex at most. */
typedef struct waiter {
    const void *word; /* NULL: it does not wait */
    bool shared;
    bool woken;
    uint32_t bits;
} waiter;
static waiter waiters[AMBIT__THREADS];

void ambit__futex_reset(void) { memset(waiters, 0, sizeof waiters); }

static bool is_woken(void *argument) { return ((const waiter *)argument)->woken; }

static unsigned find_waiters(const void *word, bool shared, uint32_t bits,
                             waiter *found[AMBIT__THREADS]) {
    unsigned count = 0;
    for (unsigned i = 0; i < AMBIT__THREADS; i++) {
        waiter *at = &waiters[i];
        if (at->word == word && at->shared == shared && !at->woken && (at->bits & bits))
            found[count++] = at;
    }
    return count;
}

/* Takes one of them out: any, for a program must not count on the order of their coming. */
static waiter *take_any(waiter *found[AMBIT__THREADS], unsigned *count, uint64_t wanted) {
    unsigned chosen = 0;
    /* When all are wanted there is nothing to choose. */
    if (*count > wanted) chosen = ambit__decide(AMBIT__DECIDE_WAKE, *count, 0);
    waiter *taken = found[chosen];
    --*count;
    for (unsigned i = chosen; i < *count; i++) found[i] = found[i + 1];
    return taken;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

typedef struct futex_call {
    uint32_t *word;
    int command;
    bool shared;
    uint32_t value;
    uint32_t bits;
    const void *site;
} futex_call;

/* False (EINVAL) if it is no time. */
static bool futex_deadline(const futex_call *call, const struct timespec *timeout,
                           int64_t *deadline) {
    *deadline = AMBIT__FOREVER;
    if (!timeout) return true;
    int64_t ns;
    ambit__will_read(timeout, sizeof *timeout, call->site);
    if (!ambit__time_ns(timeout, &ns)) return false;
    /* WAIT is told how long, WAIT_BITSET until when; there is one time, so the clock is all the
     * same. */
    *deadline = call->command == FUTEX_WAIT ? ambit__time_after(ns) : ns;
    return true;
}

/* A wait that ends for no reason returns 0, or EINTR as if a signal had come. */
static long wake_for_nothing(void) {
    return ambit__decide(AMBIT__DECIDE_WEAK, 2, 0) == 0 ? 0 : refused(EINTR);
}

static long futex_wait(const futex_call *call, const struct timespec *timeout) {
    int64_t deadline;
    if (!futex_deadline(call, timeout, &deadline) || call->bits == 0) return refused(EINVAL);
    ambit__operation compare = {.kind = AMBIT__OP_LOAD,
                                .name = "futex compare",
                                .order = AMBIT__SEQ_CST,
                                .size = sizeof(uint32_t),
                                .address = call->word,
                                .site = call->site};
    ambit__step(&compare);
    ambit__history_full_barrier();
    uint32_t newest = (uint32_t)ambit__history_newest(call->word, sizeof(uint32_t), call->site);
    compare.value = newest;
    ambit__filled(&compare);
    if (newest != call->value) return refused(EAGAIN);

    waiter *self = &waiters[ambit__self->index];
    *self = (waiter){.word = call->word, .shared = call->shared, .bits = call->bits};
    ambit__operation wait = {.kind = AMBIT__OP_WAIT,
                             .name = "futex wait",
                             .address = call->word,
                             .site = call->site,
                             .value = newest,
                             .ready = is_woken,
                             .argument = self,
                             .deadline_ns = deadline,
                             .waits_for = "futex",
                             .spurious = !ambit__options->no_spurious};
    ambit__step(&wait);
    bool woken = self->woken;
    self->word = NULL;
    if (woken) return 0;
    return wait.timed_out ? refused(ETIMEDOUT) : wake_for_nothing();
}

/* ---- Waking ---------------------------------------------------------------------------------- */

/* One that moves waiters is about two words, and names none: it meets everything. */
static void step_wake(const futex_call *call, const void *word, const char *name) {
    ambit__operation wake = {.kind = AMBIT__OP_WAKE,
                             .name = name,
                             .address = word,
                             .site = call->site,
                             .writes = true,
                             .value = call->value};
    ambit__step(&wake);
    ambit__history_full_barrier();
}

/* At most `most`; the others' number is left in `count`. */
static long wake_some(waiter *found[AMBIT__THREADS], unsigned *count, uint32_t most) {
    long woken = 0;
    while (*count && (uint32_t)woken < most) {
        take_any(found, count, most - (uint32_t)woken)->woken = true;
        woken++;
    }
    if (woken) ambit__progress();
    return woken;
}

/* The kernel wakes one when asked for none or fewer. */
static uint32_t at_least_one(uint32_t count) { return (int32_t)count < 1 ? 1 : count; }

static long futex_wake(const futex_call *call) {
    if (call->bits == 0) return refused(EINVAL);
    step_wake(call, call->word, "futex wake");
    waiter *found[AMBIT__THREADS];
    unsigned count = find_waiters(call->word, call->shared, call->bits, found);
    return wake_some(found, &count, at_least_one(call->value));
}

/* `expected`: NULL for the old REQUEUE, which does not compare. */
static long futex_requeue(const futex_call *call, uint32_t most, uint32_t *other,
                          const uint32_t *expected) {
    if ((int32_t)call->value < 0 || (int32_t)most < 0) return refused(EINVAL);
    step_wake(call, NULL, expected ? "futex compare and requeue" : "futex requeue");
    if (expected) {
        uint64_t newest = (uint64_t)ambit__history_newest(call->word, sizeof(uint32_t), call->site);
        if (newest != *expected) return refused(EAGAIN);
    }
    waiter *found[AMBIT__THREADS];
    unsigned count = find_waiters(call->word, call->shared, FUTEX_BITSET_MATCH_ANY, found);
    long moved = wake_some(found, &count, call->value);
    for (uint32_t left = most; count && left; left--) {
        take_any(found, &count, left)->word = other;
        moved++;
    }
    return moved;
}

static const char *command_name(int command) {
    static const char *const names[] = {"WAIT",           "WAKE",        "FD",
                                        "REQUEUE",        "CMP_REQUEUE", "WAKE_OP",
                                        "LOCK_PI",        "UNLOCK_PI",   "TRYLOCK_PI",
                                        "WAIT_BITSET",    "WAKE_BITSET", "WAIT_REQUEUE_PI",
                                        "CMP_REQUEUE_PI", "LOCK_PI2"};
    return (unsigned)command < sizeof names / sizeof *names ? names[command] : "of that number";
}

static long futex(const long argument[ARGUMENTS], const void *site) {
    int operation = (int)argument[1];
    futex_call call = {.word = (uint32_t *)argument[0],
                       .command = operation & FUTEX_CMD_MASK,
                       .shared = !(operation & FUTEX_PRIVATE_FLAG),
                       .value = (uint32_t)argument[2],
                       .bits = FUTEX_BITSET_MATCH_ANY,
                       .site = site};
    if ((uintptr_t)call.word % sizeof(uint32_t)) return refused(EINVAL);
    uint32_t third = (uint32_t)argument[5];
    switch (call.command) {
    case FUTEX_WAIT_BITSET:
        call.bits = third; /* fall through */
    case FUTEX_WAIT:
        return futex_wait(&call, (const struct timespec *)argument[3]);
    case FUTEX_WAKE_BITSET:
        call.bits = third; /* fall through */
    case FUTEX_WAKE:
        return futex_wake(&call);
    case FUTEX_REQUEUE:
        return futex_requeue(&call, (uint32_t)argument[3], (uint32_t *)argument[4], NULL);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(&call, (uint32_t)argument[3], (uint32_t *)argument[4], &third);
    default:
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "futex(FUTEX_%s) is not controlled: use FUTEX_WAIT and FUTEX_WAKE",
                    command_name(call.command));
    }
}

/* ---- membarrier(2) --------------------------------------------------------------------------- */

/* Only its address counts: the schedule's own registration, in `state[0]` as bits of commands. */
static char membarrier_state;
/* Registered for real, before any schedule: stays. */
static int membarrier_before;

enum {
    MEMBARRIER_REGISTERS =
        MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
    MEMBARRIER_BARRIERS =
        MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED
};

static long membarrier(int command, unsigned flags, const void *site) {
    if (flags) return refused(EINVAL);
    if (command == MEMBARRIER_CMD_QUERY) return MEMBARRIER_REGISTERS | MEMBARRIER_BARRIERS;
    ambit__object *state = ambit__object_at(&membarrier_state, AMBIT__OBJECT_OTHER);
    switch (command) {
    case MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED:
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
        state->state[0] |= (uint64_t)command;
        return 0;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
        if (!((state->state[0] | (uint64_t)membarrier_before) &
              MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
            return refused(EPERM);
        /* fall through */
    case MEMBARRIER_CMD_GLOBAL:
    case MEMBARRIER_CMD_GLOBAL_EXPEDITED:
        ambit__history_heavy_barrier(site);
        return 0;
    default:
        return refused(EINVAL);
    }
}

/* ---- The door -------------------------------------------------------------------------------- */

/* Those that answer at once, the same in each schedule, and touch nothing that schedules
 * control. */
static bool is_harmless(long number) {
    static const long harmless[] = {SYS_getpid,       SYS_getppid,
                                    SYS_getuid,       SYS_geteuid,
                                    SYS_getgid,       SYS_getegid,
                                    SYS_mmap,         SYS_munmap,
                                    SYS_mprotect,     SYS_madvise,
                                    SYS_mincore,      SYS_uname,
                                    SYS_sysinfo,      SYS_sched_getaffinity,
                                    SYS_prlimit64,    SYS_prctl,
                                    SYS_openat,       SYS_fstat,
                                    SYS_lseek,        SYS_pread64,
                                    SYS_pwrite64,     SYS_unlinkat,
                                    SYS_getdents64,   SYS_rt_sigprocmask,
                                    SYS_rt_sigaction, SYS_memfd_create,
                                    SYS_ftruncate,    SYS_mbind,
                                    SYS_get_mempolicy};
    for (unsigned i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (harmless[i] == number) return true;
    return false;
}

/* Calls that have a function of the C library which is under control. */
static bool call_by_function(long number, const long argument[ARGUMENTS], const void *site,
                             long *answer) {
    int descriptor = (int)argument[0];
    switch (number) {
    case SYS_clock_gettime:
        *answer =
            ambit__clock_gettime_at((clockid_t)argument[0], (struct timespec *)argument[1], site);
        return true;
    case SYS_nanosleep:
        *answer = ambit__sleep_for((const struct timespec *)argument[0],
                                   (struct timespec *)argument[1], "nanosleep", site);
        return true;
    case SYS_sched_yield:
        ambit__yield_at("sched_yield", site);
        *answer = 0;
        return true;
    case SYS_read:
        *answer = ambit__read_at(descriptor, (void *)argument[1], (size_t)argument[2], site);
        return true;
    case SYS_write:
        *answer = ambit__write_at(descriptor, (const void *)argument[1], (size_t)argument[2], site);
        return true;
    case SYS_close:
        *answer = ambit__close_at(descriptor, site);
        return true;
    case SYS_eventfd2:
        *answer = ambit__eventfd_at((unsigned)argument[0], (int)argument[1], site);
        return true;
    default:
        return false;
    }
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

static long in_schedule(long number, const long argument[ARGUMENTS], const void *site) {
    long answer;
    switch (number) {
    case SYS_futex:
        return futex(argument, site);
    case SYS_membarrier:
        return membarrier((int)argument[0], (unsigned)argument[1], site);
    case SYS_gettid:
        return ambit__thread_tid(ambit__self->index);
    default:
        break;
    }
    if (call_by_function(number, argument, site, &answer)) return answer;
    if (!is_harmless(number))
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "syscall(): %s, number %ld of the kernel, is not controlled; use the C "
                    "library's function if there is one",
                    ambit__system_call_name(number), number);
    return __real_syscall(number, argument[0], argument[1], argument[2], argument[3], argument[4],
                          argument[5]);
}

/* Takes as many arguments as any call has: those that were not passed are noise, and are not
 * used. */
long __wrap_syscall(long number, ...) {
    long argument[ARGUMENTS];
    va_list list;
    va_start(list, number);
    for (unsigned i = 0; i < ARGUMENTS; i++) argument[i] = va_arg(list, long);
    va_end(list);
    if (ambit__self) return in_schedule(number, argument, __builtin_return_address(0));
    long answer = __real_syscall(number, argument[0], argument[1], argument[2], argument[3],
                                 argument[4], argument[5]);
    if (number == SYS_membarrier && answer == 0 && (argument[0] & MEMBARRIER_REGISTERS))
        membarrier_before |= (int)argument[0];
    return answer;
}
