/* futex(2) and membarrier(2) under the scheduler: what they order and what not, and who is woken. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"

static long futex(_Atomic(uint32_t) *word, int operation, uint32_t value,
                  const struct timespec *timeout, void *other, uint32_t third) {
    return syscall(SYS_futex, word, operation, value, timeout, other, third);
}
static long futex_wait(_Atomic(uint32_t) *word, uint32_t value) {
    return futex(word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}
static long futex_wake(_Atomic(uint32_t) *word, int count) {
    return futex(word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, (uint32_t)count, NULL, NULL, 0);
}

static void run_two(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

static _Atomic(uint32_t) word, other_word;
static int plain;

/* ---- Waiting and waking ---------------------------------------------------------------------- */

static void wait_until_set(void *argument) {
    (void)argument;
    while (atomic_load_explicit(&word, memory_order_acquire) == 0) futex_wait(&word, 0);
    ambit_schedule_assert(plain == 1);
}
static void set_and_wake(void *argument) {
    (void)argument;
    plain = 1;
    atomic_store_explicit(&word, 1, memory_order_release);
    futex_wake(&word, 1);
}
static void right_hand_over(void *argument) {
    (void)argument;
    run_two(wait_until_set, set_and_wake);
}
static void woken_waiter_goes_on(void **state) {
    (void)state;
    expect_clean(right_hand_over);
}

static void wake_and_set(void *argument) {
    (void)argument;
    futex_wake(&word, 1);
    atomic_store_explicit(&word, 1, memory_order_release);
}
static void wait_only(void *argument) {
    (void)argument;
    while (atomic_load_explicit(&word, memory_order_acquire) == 0) futex_wait(&word, 0);
}
static void wakes_too_early(void *argument) {
    (void)argument;
    run_two(wait_only, wake_and_set);
}
static void wake_before_store_is_a_lost_wakeup(void **state) {
    (void)state;
    expect_failure_with(wakes_too_early, (ambit_schedule_options){.no_spurious = true},
                        AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
}

static void set_and_wake_shared(void *argument) {
    (void)argument;
    atomic_store_explicit(&word, 1, memory_order_release);
    futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0);
}
static void wakes_another_queue(void *argument) {
    (void)argument;
    run_two(wait_only, set_and_wake_shared);
}
static void shared_wake_misses_private_wait(void **state) {
    (void)state;
    expect_failure_with(wakes_another_queue, (ambit_schedule_options){.no_spurious = true},
                        AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
}

/* It trusts the wake-up and does not read the word again. */
static void wait_once(void *argument) {
    (void)argument;
    if (futex_wait(&word, 0) == 0) ambit_schedule_assert(plain == 1);
}
static void trusts_a_wakeup(void *argument) {
    (void)argument;
    run_two(wait_once, set_and_wake);
}
static void being_woken_orders_nothing(void **state) {
    (void)state;
    expect_failure_with(trusts_a_wakeup, (ambit_schedule_options){.no_spurious = true},
                        AMBIT_SCHEDULE_RACE, "race");
}

static void wait_an_hour(void *argument) {
    (void)argument;
    struct timespec hour = {3600, 0};
    long answer = futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, &hour, NULL, 0);
    ambit_schedule_assert(answer == -1 && errno == ETIMEDOUT);
}
static void go_on_meanwhile(void *argument) {
    (void)argument;
    for (unsigned i = 0; i < 5; i++) atomic_fetch_add(&other_word, 1);
}
static void waits_beside_another(void *argument) {
    (void)argument;
    run_two(wait_an_hour, go_on_meanwhile);
}
static void wait_may_end_for_no_reason(void **state) {
    (void)state;
    expect_failure(waits_beside_another, AMBIT_SCHEDULE_ASSERTION, "ETIMEDOUT");
    expect_clean_with(waits_beside_another, (ambit_schedule_options){.no_spurious = true});
}

static void differs(void *argument) {
    (void)argument;
    ambit_schedule_assert(futex_wait(&word, 7) == -1 && errno == EAGAIN);
    ambit_schedule_assert(futex_wake(&word, 1) == 0);
    ambit_schedule_assert(futex((void *)((char *)&word + 1), FUTEX_WAKE, 1, NULL, NULL, 0) == -1);
    ambit_schedule_assert(errno == EINVAL);
    struct timespec wrong = {0, -1};
    ambit_schedule_assert(futex(&word, FUTEX_WAIT, 0, &wrong, NULL, 0) == -1 && errno == EINVAL);
    ambit_schedule_assert(futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0) == -1);
    ambit_schedule_assert(errno == EINVAL);
}
static void calls_without_sense_are_refused(void **state) {
    (void)state;
    expect_clean(differs);
}

/* Only one of two that wait is woken: any. When a second has passed, all wait that will. */
static _Atomic(unsigned) woken_first;
static void wait_numbered(void *argument) {
    ambit_schedule_assert(futex_wait(&word, 0) == 0);
    unsigned nobody = 0;
    atomic_compare_exchange_strong(&woken_first, &nobody, (unsigned)(uintptr_t)argument);
}
static void wakes_one_of_two(void *argument) {
    ambit_schedule_thread one = ambit_schedule_spawn(wait_numbered, (void *)1);
    ambit_schedule_thread two = ambit_schedule_spawn(wait_numbered, (void *)2);
    struct timespec second = {1, 0};
    nanosleep(&second, NULL);
    ambit_schedule_assert(futex_wake(&word, 1) == 1);
    nanosleep(&second, NULL);
    ambit_schedule_assert(futex_wake(&word, INT_MAX) == 1);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(atomic_load(&woken_first) != (unsigned)(uintptr_t)argument);
}
static void any_waiter_may_be_woken(void **state) {
    (void)state;
    for (uintptr_t i = 1; i <= 2; i++)
        expect_failure_with(wakes_one_of_two,
                            (ambit_schedule_options){.argument = (void *)i, .no_spurious = true},
                            AMBIT_SCHEDULE_ASSERTION, "woken_first");
}

static void wait_bit_one(void *argument) {
    (void)argument;
    futex(&word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 1);
}
static void wake_bit_two(void *argument) {
    (void)argument;
    long woken = futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 9, NULL, NULL, 2);
    ambit_schedule_assert(woken == 0);
    atomic_store(&word, 1);
    futex(&word, FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG, 9, NULL, NULL, 3);
}
static void bits_are_two_queues(void *argument) {
    (void)argument;
    run_two(wait_bit_one, wake_bit_two);
}
static void bits_choose_whom_to_wake(void **state) {
    (void)state;
    expect_clean_with(bits_are_two_queues, (ambit_schedule_options){.no_spurious = true});
}

static void move_and_wake(void *argument) {
    (void)argument;
    long done = futex(&word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, (void *)1, &other_word, 5);
    ambit_schedule_assert(done == -1 && errno == EAGAIN);
    futex(&word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, (void *)1, &other_word, 0);
    atomic_store(&word, 1);
    ambit_schedule_assert(futex_wake(&word, 1) == 0); /* it has been moved, or has not come yet */
    futex_wake(&other_word, 1);
}
static void requeues(void *argument) {
    (void)argument;
    run_two(wait_bit_one, move_and_wake);
}
static void moved_waiters_wait_elsewhere(void **state) {
    (void)state;
    /* Between the two, the waiter may come: then the plain wake finds it, which the assertion denies. */
    expect_failure_with(requeues, (ambit_schedule_options){.no_spurious = true},
                        AMBIT_SCHEDULE_ASSERTION, "futex_wake(&word, 1) == 0");
}
static void move_before_wake(void *argument) {
    (void)argument;
    while (futex(&word, FUTEX_CMP_REQUEUE | FUTEX_PRIVATE_FLAG, 0, (void *)1, &other_word, 0) == 0)
        ambit_schedule_yield();
    ambit_schedule_assert(futex_wake(&word, 1) == 0);
    ambit_schedule_assert(futex_wake(&other_word, 1) == 1);
}
static void requeues_when_it_waits(void *argument) {
    (void)argument;
    run_two(wait_bit_one, move_before_wake);
}
static void requeued_waiter_is_woken_there(void **state) {
    (void)state;
    expect_clean_with(requeues_when_it_waits, (ambit_schedule_options){.no_spurious = true});
}

static void locks_with_priority(void *argument) {
    (void)argument;
    futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0);
}
static void other_commands_are_named(void **state) {
    (void)state;
    expect_failure(locks_with_priority, AMBIT_SCHEDULE_UNSUPPORTED, "FUTEX_LOCK_PI");
}

/* ---- A mutex of one word --------------------------------------------------------------------- */

static void lock_word(memory_order order) {
    uint32_t none = 0;
    if (atomic_compare_exchange_strong_explicit(&word, &none, 1, order, memory_order_relaxed))
        return;
    while (atomic_exchange_explicit(&word, 2, order)) futex_wait(&word, 2);
}
static void unlock_word(void) {
    if (atomic_exchange_explicit(&word, 0, memory_order_release) == 2) futex_wake(&word, 1);
}
static void add_locked(void *argument) {
    lock_word(argument ? memory_order_relaxed : memory_order_acquire);
    plain++;
    unlock_word();
}
static void counts_locked(void *argument) {
    ambit_schedule_thread threads[3];
    for (unsigned i = 0; i < 3; i++) threads[i] = ambit_schedule_spawn(add_locked, argument);
    for (unsigned i = 0; i < 3; i++) ambit_schedule_join(threads[i]);
    ambit_schedule_assert(plain == 3);
}
static void mutex_of_a_futex_is_clean(void **state) {
    (void)state;
    expect_clean(counts_locked);
}
static void mutex_without_acquire_races(void **state) {
    (void)state;
    expect_failure_with(counts_locked, (ambit_schedule_options){.argument = &plain},
                        AMBIT_SCHEDULE_RACE, "race");
}

/* Unlocks with a store, and wakes only if it has seen a waiter before. */
static void unlock_in_two(void) {
    uint32_t seen = atomic_load_explicit(&word, memory_order_relaxed);
    atomic_store_explicit(&word, 0, memory_order_release);
    if (seen == 2) futex_wake(&word, 1);
}
static void add_badly_unlocked(void *argument) {
    (void)argument;
    lock_word(memory_order_acquire);
    plain++;
    unlock_in_two();
}
static void counts_badly_unlocked(void *argument) {
    (void)argument;
    run_two(add_badly_unlocked, add_badly_unlocked);
}
static void mutex_that_looks_before_it_unlocks_loses_wakeups(void **state) {
    (void)state;
    expect_failure_with(counts_badly_unlocked, (ambit_schedule_options){.no_spurious = true},
                        AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
}

/* ---- The full barrier ------------------------------------------------------------------------ */

/* Store buffering: the call stands between a relaxed store and the look at the other's. */
static _Atomic(uint32_t) flags[2], seen[2];
enum { NO_CALL, WAKE, WAIT };
static int call;
static void store_and_look(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    atomic_store_explicit(&flags[self], 1, memory_order_relaxed);
    if (call == WAKE) futex_wake(&word, 1);
    if (call == WAIT) futex_wait(&word, 1); /* which it is not: the kernel has compared */
    atomic_store_explicit(&seen[self], atomic_load_explicit(&flags[1 - self], memory_order_relaxed),
                          memory_order_relaxed);
}
static void one_sees_the_other(void *argument) {
    call = *(int *)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(store_and_look, (void *)0);
    ambit_schedule_thread two = ambit_schedule_spawn(store_and_look, (void *)1);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(atomic_load(&seen[0]) || atomic_load(&seen[1]));
}
static void futex_is_a_full_barrier(void **state) {
    (void)state;
    static int wake = WAKE, wait = WAIT, no_call = NO_CALL;
    expect_clean_with(one_sees_the_other, (ambit_schedule_options){.argument = &wake});
    expect_clean_with(one_sees_the_other, (ambit_schedule_options){.argument = &wait});
    expect_failure_with(one_sees_the_other, (ambit_schedule_options){.argument = &no_call},
                        AMBIT_SCHEDULE_ASSERTION, "seen");
}

/* ---- membarrier ------------------------------------------------------------------------------ */

static _Atomic(int) claims[2];
static _Atomic(int) inside;
enum { LIGHT = 1, HEAVY = 2 };

static void often(void *argument) {
    atomic_store_explicit(&claims[0], 1, memory_order_relaxed);
    if (*(int *)argument & LIGHT) atomic_signal_fence(memory_order_seq_cst);
    if (!atomic_load_explicit(&claims[1], memory_order_relaxed)) atomic_fetch_add(&inside, 1);
}
static void seldom(void *argument) {
    atomic_store_explicit(&claims[1], 1, memory_order_relaxed);
    if (*(int *)argument & HEAVY)
        ambit_schedule_assert(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
    if (!atomic_load_explicit(&claims[0], memory_order_relaxed)) atomic_fetch_add(&inside, 1);
}
static void dekker(void *argument) {
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    ambit_schedule_thread one = ambit_schedule_spawn(often, argument);
    ambit_schedule_thread two = ambit_schedule_spawn(seldom, argument);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(atomic_load(&inside) < 2);
}
static void dekker_needs_light_and_heavy(void **state) {
    (void)state;
    static int both = LIGHT | HEAVY, light = LIGHT, heavy = HEAVY;
    expect_clean_with(dekker, (ambit_schedule_options){.argument = &both});
    expect_failure_with(dekker, (ambit_schedule_options){.argument = &light},
                        AMBIT_SCHEDULE_ASSERTION, "inside");
    expect_failure_with(dekker, (ambit_schedule_options){.argument = &heavy},
                        AMBIT_SCHEDULE_ASSERTION, "inside");
}

static void asks_without_registering(void *argument) {
    (void)argument;
    long able = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    ambit_schedule_assert(able & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    long done = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    ambit_schedule_assert(done == -1 && errno == EPERM);
    ambit_schedule_assert(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) == 0);
}
static void membarrier_wants_to_be_registered(void **state) {
    (void)state;
    expect_clean(asks_without_registering);
}

static void asks_registered(void *argument) {
    (void)argument;
    ambit_schedule_assert(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0);
}
static void registers_in_a_schedule(void *argument) {
    (void)argument;
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}
static void membarrier_stays_registered(void **state) {
    (void)state;
    expect_clean_with(asks_registered, (ambit_schedule_options){.before = registers_in_a_schedule});
    expect_failure(asks_registered, AMBIT_SCHEDULE_ASSERTION, "PRIVATE_EXPEDITED");
    /* For the process, for good. */
    assert_int_equal(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0), 0);
    expect_clean(asks_registered);
}

/* ---- Others ---------------------------------------------------------------------------------- */

static _Atomic(long) ids[2];
static void take_id(void *argument) {
    atomic_store(&ids[(uintptr_t)argument], syscall(SYS_gettid));
}
static void compares_ids(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(take_id, (void *)0);
    ambit_schedule_thread two = ambit_schedule_spawn(take_id, (void *)1);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(atomic_load(&ids[0]) != atomic_load(&ids[1]));
    ambit_schedule_assert(atomic_load(&ids[0]) != syscall(SYS_gettid));
    ambit_schedule_assert(syscall(SYS_getpid) == getpid());
}
static void threads_have_numbers_of_their_own(void **state) {
    (void)state;
    expect_clean(compares_ids);
}

static void receives_a_message(void *argument) {
    (void)argument;
    syscall(SYS_msgrcv, 0, NULL, 0, 0, 0);
}
static void unknown_calls_are_named(void **state) {
    (void)state;
    char words[32];
    snprintf(words, sizeof words, "number %d ", (int)SYS_msgrcv);
    expect_failure(receives_a_message, AMBIT_SCHEDULE_UNSUPPORTED, words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(woken_waiter_goes_on),
        cmocka_unit_test(wake_before_store_is_a_lost_wakeup),
        cmocka_unit_test(shared_wake_misses_private_wait),
        cmocka_unit_test(being_woken_orders_nothing),
        cmocka_unit_test(wait_may_end_for_no_reason),
        cmocka_unit_test(calls_without_sense_are_refused),
        cmocka_unit_test(any_waiter_may_be_woken),
        cmocka_unit_test(bits_choose_whom_to_wake),
        cmocka_unit_test(moved_waiters_wait_elsewhere),
        cmocka_unit_test(requeued_waiter_is_woken_there),
        cmocka_unit_test(other_commands_are_named),
        cmocka_unit_test(mutex_of_a_futex_is_clean),
        cmocka_unit_test(mutex_without_acquire_races),
        cmocka_unit_test(mutex_that_looks_before_it_unlocks_loses_wakeups),
        cmocka_unit_test(futex_is_a_full_barrier),
        cmocka_unit_test(dekker_needs_light_and_heavy),
        cmocka_unit_test(membarrier_wants_to_be_registered),
        cmocka_unit_test(membarrier_stays_registered),
        cmocka_unit_test(threads_have_numbers_of_their_own),
        cmocka_unit_test(unknown_calls_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
