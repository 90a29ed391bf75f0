/* Waiting: nothing early, nothing lost, nothing for ever; and the locks built on it. */
#include "suite.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/park.h"
#include "build.h"
#include "kernel.h"

static _Atomic(uint32_t) word;
static _Atomic(int) parked; /* threads that have gone to the kernel to wait on `word` */
static _Atomic(int64_t) virtual_ns;

static long count_parked(long number, const long *arguments) {
    if (number == SYS_futex && (arguments[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET &&
        arguments[0] == (long)&word)
        atomic_fetch_add(&parked, 1);
    return KERNEL_PASS;
}

static int set_up(void **state) {
    (void)state;
    atomic_store(&word, 0);
    atomic_store(&parked, 0);
    kernel_answers(count_parked);
    (void)alarm(60); /* what is lost hangs */
    return 0;
}
static int tear_down(void **state) {
    (void)state;
    (void)alarm(0);
    ambit_clock_set(NULL);
    kernel_answers(NULL);
    return 0;
}

static pthread_t start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run, argument), 0);
    return thread;
}
static void *join(pthread_t thread) {
    void *result;
    assert_int_equal(pthread_join(thread, &result), 0);
    return result;
}
static void nap_ms(unsigned ms) { (void)usleep(ms * 1000); }
static void wait_until_parked(int threads) {
    while (atomic_load(&parked) < threads) nap_ms(1);
    nap_ms(10); /* from there into the kernel's queue */
}
static int64_t in_ms(int64_t ms) { return ambit__clock_now() + ms * AMBIT_MILLISECOND; }

/* ---- The word -------------------------------------------------------------------------------- */

static void word_that_has_changed_is_not_waited_for(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 100; i++) /* else the first would hang */
        assert_true(ambit__park_until(&word, i + 1, AMBIT_NEVER));
}

/* Waits for each odd number of `word` and answers with the next even one. */
static void *answer(void *rounds) {
    for (uint32_t wanted = 1; wanted < (uintptr_t)rounds; wanted += 2) {
        uint32_t now;
        while ((now = atomic_load(&word)) != wanted)
            (void)ambit__park_until(&word, now, AMBIT_NEVER);
        atomic_store(&word, wanted + 1);
        ambit__unpark(&word, 1);
    }
    return NULL;
}
static void no_wake_is_lost_in_ten_thousand(void **state) {
    (void)state;
    enum { ROUNDS = 20000 };
    pthread_t other = start(answer, (void *)(uintptr_t)ROUNDS);
    for (uint32_t asked = 1; asked < ROUNDS; asked += 2) {
        atomic_store(&word, asked);
        ambit__unpark(&word, 1);
        uint32_t now;
        while ((now = atomic_load(&word)) != asked + 1)
            (void)ambit__park_until(&word, now, AMBIT_NEVER);
    }
    (void)join(other);
    assert_true(atomic_load(&parked) > 0); /* else both only ran */
}

static void *park_once(void *woken) {
    (void)ambit__park_until(&word, 0, AMBIT_NEVER);
    atomic_fetch_add((_Atomic(int) *)woken, 1);
    return NULL;
}
static void unpark_wakes_as_many_as_said(void **state) {
    (void)state;
    static _Atomic(int) woken;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) threads[i] = start(park_once, &woken);
    wait_until_parked(3);
    assert_int_equal(atomic_load(&woken), 0);
    ambit__unpark(&word, 1);
    for (int i = 0; i < 3000 && !atomic_load(&woken); i++) nap_ms(1);
    nap_ms(20);
    assert_int_equal(atomic_load(&woken), 1);
    ambit__unpark(&word, AMBIT__ALL);
    for (int i = 0; i < 3; i++) (void)join(threads[i]);
    assert_int_equal(atomic_load(&woken), 3);
}

static void unpark_of_memory_that_is_gone_is_harmless(void **state) {
    (void)state;
    _Atomic(uint32_t) *gone = (_Atomic(uint32_t) *)(uintptr_t)4096;
    ambit__unpark(gone, AMBIT__ALL);
}

/* ---- The deadline ---------------------------------------------------------------------------- */

static void past_deadline_is_over_at_once(void **state) {
    (void)state;
    assert_false(ambit__park_until(&word, 0, ambit__clock_now()));
    assert_false(ambit__park_until(&word, 0, 0));
    assert_false(ambit__park_until(&word, 0, -1));
    assert_false(ambit__park_until(&word, 0, INT64_MIN));
    assert_int_equal(atomic_load(&parked), 0);
}

static void deadline_is_met_and_not_before(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        int64_t deadline_ns = ambit__clock_now() + (i + 1) * AMBIT_MILLISECOND + i * 777;
        while (ambit__park_until(&word, 0, deadline_ns))
            assert_true(ambit__clock_now() < deadline_ns);
        assert_true(ambit__clock_now() >= deadline_ns);
    }
}

static void *change_soon(void *unused) {
    wait_until_parked(1);
    atomic_store(&word, 1);
    ambit__unpark(&word, 1);
    return unused;
}
static void farthest_deadline_can_be_waited_for(void **state) {
    (void)state;
    pthread_t other = start(change_soon, NULL);
    while (!atomic_load(&word)) assert_true(ambit__park_until(&word, 0, AMBIT_NEVER - 1));
    (void)join(other);
}

static _Atomic(int) interrupted, storming;
static void on_signal(int number) {
    (void)number;
    atomic_fetch_add(&interrupted, 1);
}
static void *storm(void *target) {
    while (atomic_load(&storming)) {
        (void)pthread_kill(*(pthread_t *)target, SIGUSR1);
        (void)usleep(300);
    }
    return NULL;
}
/* Waits until the deadline in a storm of signals; how often it was woken early. */
static int wait_in_a_storm(int64_t deadline_ns) {
    pthread_t self = pthread_self();
    int early = 0;
    atomic_store(&interrupted, 0);
    atomic_store(&storming, 1);
    pthread_t other = start(storm, &self);
    while (ambit__park_until(&word, 0, deadline_ns)) early++;
    assert_true(ambit__clock_now() >= deadline_ns);
    atomic_store(&storming, 0);
    (void)join(other);
    return early;
}
/* A wait that began anew at each signal would not end before the storm does, and the alarm comes
 * first. On a busy machine it takes longer to have a storm at all. */
static void deadline_is_met_in_a_storm_of_signals(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    int early = 0;
    for (int ms = 150; early <= 3 || atomic_load(&interrupted) <= 3; ms *= 2)
        early = wait_in_a_storm(in_ms(ms));
}

static _Atomic(int) answers_left;
static long answer_with;
static long answer_waits(long number, const long *arguments) {
    if (number != SYS_futex || (arguments[1] & FUTEX_CMD_MASK) != FUTEX_WAIT_BITSET)
        return KERNEL_PASS;
    return atomic_fetch_sub(&answers_left, 1) > 0 ? answer_with : KERNEL_PASS;
}
static void kernel_that_wakes_for_no_reason_is_told_from_the_deadline(void **state) {
    (void)state;
    static const long given[] = {0, -EINTR, -EAGAIN, -ETIMEDOUT, -ENOSYS};
    kernel_answers(answer_waits);
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        int64_t deadline_ns = in_ms(3000);
        answer_with = given[i];
        atomic_store(&answers_left, 5);
        for (int k = 0; k < 5; k++) assert_true(ambit__park_until(&word, 0, deadline_ns));
        deadline_ns = in_ms(2);
        while (ambit__park_until(&word, 0, deadline_ns)) {
        }
        assert_true(ambit__clock_now() >= deadline_ns);
    }
}

/* ---- A program's own clock ------------------------------------------------------------------- */

static int64_t read_virtual(void *user) {
    (void)user;
    return atomic_load(&virtual_ns);
}
static void set_virtual(int64_t now_ns) {
    atomic_store(&virtual_ns, now_ns);
    ambit_clock_set(&(ambit_clock){read_virtual, NULL});
}

static void clock_that_stands_still_is_looked_at_again(void **state) {
    (void)state;
    set_virtual(5);
    for (int i = 0; i < 20; i++) assert_true(ambit__park_until(&word, 0, 6));
    assert_int_equal(atomic_load(&parked), 20); /* it slept each time */
    atomic_store(&virtual_ns, 6);
    assert_false(ambit__park_until(&word, 0, 6));
}

static void *jump_soon(void *to_ns) {
    wait_until_parked(2);
    atomic_store(&virtual_ns, (int64_t)(intptr_t)to_ns);
    return NULL;
}
static void jump_of_the_clock_ends_the_wait(void **state) {
    (void)state;
    const int64_t century_ns = INT64_C(36500) * 24 * 3600 * AMBIT_SECOND;
    set_virtual(-5);
    pthread_t other = start(jump_soon, (void *)(intptr_t)century_ns);
    while (ambit__park_until(&word, 0, century_ns)) assert_int_equal(atomic_load(&virtual_ns), -5);
    (void)join(other);
    assert_true(atomic_load(&virtual_ns) == century_ns);
}

static void clock_that_steps_back_makes_the_wait_longer(void **state) {
    (void)state;
    set_virtual(100);
    assert_true(ambit__park_until(&word, 0, 101));
    atomic_store(&virtual_ns, INT64_MIN);
    assert_true(ambit__park_until(&word, 0, 101));
    assert_true(ambit__park_until(&word, 0, 0));
    atomic_store(&virtual_ns, 101);
    assert_false(ambit__park_until(&word, 0, 101));
}

static void wait_without_a_deadline_sleeps_under_any_clock(void **state) {
    (void)state;
    static _Atomic(int) woken;
    set_virtual(0);
    pthread_t other = start(park_once, &woken);
    wait_until_parked(1);
    nap_ms(20);
    assert_int_equal(atomic_load(&woken), 0);
    ambit__unpark(&word, 1);
    (void)join(other);
}

/* ---- Locks ----------------------------------------------------------------------------------- */

enum { LOCKERS = 4, TURNS = BUILD_SANITIZED ? 3000 : 20000 };
static ambit__spin spin;
static ambit__mutex mutex;
static int turns_taken;          /* under the lock that is tested */
static bool inside;              /* under it as well */
static _Atomic(int) broken, met; /* met: found it taken */

static void take_turn(int turn) {
    if (inside) atomic_store(&broken, 1);
    inside = true;
    turns_taken++;
    if (turn % 500 == 0) (void)usleep(200); /* long enough for others to go to sleep over it */
    inside = false;
}
static void *lock_by_turns(void *use_mutex) {
    for (int turn = 0; turn < TURNS; turn++) {
        if (use_mutex) {
            if (ambit__load_relaxed(&mutex.state)) atomic_fetch_add(&met, 1);
            ambit__mutex_lock(&mutex);
            take_turn(turn);
            ambit__mutex_unlock(&mutex);
        } else {
            if (ambit__load_relaxed(&spin.locked)) atomic_fetch_add(&met, 1);
            ambit__spin_lock(&spin);
            take_turn(turn);
            ambit__spin_unlock(&spin);
        }
    }
    return NULL;
}
static void one_at_a_time(void *use_mutex) {
    pthread_t threads[LOCKERS];
    turns_taken = 0;
    atomic_store(&met, 0);
    for (int i = 0; i < LOCKERS; i++) threads[i] = start(lock_by_turns, use_mutex);
    for (int i = 0; i < LOCKERS; i++) (void)join(threads[i]);
    assert_int_equal(atomic_load(&broken), 0);
    assert_int_equal(turns_taken, LOCKERS * TURNS);
    assert_true(atomic_load(&met) > 0); /* else they only came one after the other */
}
static void spin_lock_lets_one_in(void **state) {
    (void)state;
    one_at_a_time(NULL);
    assert_int_equal(ambit__load_relaxed(&spin.locked), 0);
}
static void mutex_lets_one_in_and_wakes_who_waits(void **state) {
    (void)state;
    one_at_a_time(&mutex);
    assert_int_equal(ambit__load_relaxed(&mutex.state), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        CASE(word_that_has_changed_is_not_waited_for),
        CASE(no_wake_is_lost_in_ten_thousand),
        CASE(unpark_wakes_as_many_as_said),
        CASE(unpark_of_memory_that_is_gone_is_harmless),
        CASE(past_deadline_is_over_at_once),
        CASE(deadline_is_met_and_not_before),
        CASE(farthest_deadline_can_be_waited_for),
        CASE(deadline_is_met_in_a_storm_of_signals),
        CASE(kernel_that_wakes_for_no_reason_is_told_from_the_deadline),
        CASE(clock_that_stands_still_is_looked_at_again),
        CASE(jump_of_the_clock_ends_the_wait),
        CASE(clock_that_steps_back_makes_the_wait_longer),
        CASE(wait_without_a_deadline_sleeps_under_any_clock),
        CASE(spin_lock_lets_one_in),
        CASE(mutex_lets_one_in_and_wakes_who_waits),
    };
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
