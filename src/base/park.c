/* Waiting on a futex. Deadlines are absolute, so nothing that wakes early makes a wait longer. */
#include "base/park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

/* The deadline as the kernel's monotonic clock has it; under a program's own clock a millisecond.
 */
static struct timespec kernel_deadline(int64_t deadline_ns) {
    if (ambit__clock_is_custom()) {
        struct timespec now;
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        deadline_ns = (int64_t)now.tv_sec * AMBIT_SECOND + now.tv_nsec + AMBIT_MILLISECOND;
    }
    if (deadline_ns < 0) deadline_ns = 0;
    return (struct timespec){deadline_ns / AMBIT_SECOND, deadline_ns % AMBIT_SECOND};
}

bool ambit__park_until(_Atomic(uint32_t) *word, uint32_t expected, int64_t deadline_ns) {
    struct timespec until;
    struct timespec *timeout = NULL;
    if (deadline_ns != AMBIT_NEVER) {
        if (ambit__clock_now() >= deadline_ns) return false;
        until = kernel_deadline(deadline_ns);
        timeout = &until;
    }
    long woken = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, timeout,
                         NULL, FUTEX_BITSET_MATCH_ANY);
    return woken == 0 || errno != ETIMEDOUT || ambit__clock_now() < deadline_ns;
}

void ambit__unpark(_Atomic(uint32_t) *word, uint32_t count) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, NULL, NULL, 0);
}

static void pause_once(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#else
    atomic_signal_fence(memory_order_seq_cst); /* keeps the loop a loop */
#endif
}

void ambit__backoff(unsigned attempt) {
    if (attempt < 64) {
        pause_once();
        return;
    }
    /* The other thread is not running: give way. A sleep and not sched_yield, which does nothing
     * for a waiter of higher priority. */
    struct timespec little = {0, 20000};
    (void)nanosleep(&little, NULL);
}

AMBIT__UNCHECKED void ambit__spin_wait(ambit__spin *lock) {
    for (unsigned attempt = 0;; attempt++) {
        while (ambit__load_relaxed(&lock->locked)) ambit__backoff(attempt++);
        /* Acquire pairs with the release in ambit__spin_unlock(). */
        if (!ambit__exchange_acquire(&lock->locked, 1)) return;
    }
}

AMBIT__UNCHECKED void ambit__mutex_lock(ambit__mutex *mutex) {
    uint32_t state = 0;
    ambit__rank_wants(mutex->rank);
    /* Acquire, here and below, pairs with the release in ambit__mutex_unlock(). */
    if (!ambit__swap_acquire(&mutex->state, &state, 1))
        while (ambit__exchange_acquire(&mutex->state, 2))
            ambit__park_until(&mutex->state, 2, AMBIT_NEVER);
    ambit__rank_took(mutex->rank);
}

AMBIT__UNCHECKED void ambit__mutex_unlock(ambit__mutex *mutex) {
    ambit__rank_gave(mutex->rank);
    if (ambit__exchange_release(&mutex->state, 0) == 2) ambit__unpark(&mutex->state, 1);
}
