/* Exhaustive exploring of real threads: it ends, shows what can happen, and no less than plain search. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"

#define PLAIN_SEARCH                                                                               \
    100000 /* preemptions: a bound, so that there is no reduction, and none that counts */

/* What schedules have led to. Written where nobody sees it, or it would be put back after each. */
static unsigned outcomes[64];
__attribute__((no_sanitize("thread"), noinline)) static void came_out(int what) {
    outcomes[what & 63]++;
}

static unsigned count_outcomes(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < 64; i++) count += outcomes[i] != 0;
    return count;
}

static ambit_schedule_result explore(ambit_schedule_fn *scenario, unsigned preemptions) {
    memset(outcomes, 0, sizeof outcomes);
    return outcome_with(scenario, (ambit_schedule_options){.strategy = AMBIT_SCHEDULE_EXHAUSTIVE,
                                                           .preemptions = preemptions,
                                                           .schedules = 1000000});
}

/* Explores both ways: the same comes out. Returns how many schedules the reduction needs. */
static uint64_t assert_nothing_is_missed(ambit_schedule_fn *scenario, unsigned expected) {
    ambit_schedule_result plain = explore(scenario, PLAIN_SEARCH);
    bool came[64];
    for (unsigned i = 0; i < 64; i++) came[i] = outcomes[i] != 0;
    ambit_schedule_result reduced = explore(scenario, 0);
    assert_int_equal(plain.failure, AMBIT_SCHEDULE_CLEAN);
    assert_int_equal(reduced.failure, AMBIT_SCHEDULE_CLEAN);
    assert_true(plain.complete && reduced.complete);
    for (unsigned i = 0; i < 64; i++) assert_int_equal(came[i], outcomes[i] != 0);
    assert_int_equal(count_outcomes(), expected);
    assert_true(reduced.schedules < plain.schedules);
    return reduced.schedules;
}

static void run_two(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

static atomic_int x, y;
static int seen_x, seen_y, plain_count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

/* ---- Memory ---------------------------------------------------------------------------------- */

static void relaxed_x(void *argument) {
    (void)argument;
    atomic_store_explicit(&x, 1, memory_order_relaxed);
    seen_y = atomic_load_explicit(&y, memory_order_relaxed);
}
static void relaxed_y(void *argument) {
    (void)argument;
    atomic_store_explicit(&y, 1, memory_order_relaxed);
    seen_x = atomic_load_explicit(&x, memory_order_relaxed);
}
static void relaxed_buffering(void *argument) {
    (void)argument;
    run_two(relaxed_x, relaxed_y);
    came_out(seen_x * 2 + seen_y);
}

static void sc_x(void *argument) {
    (void)argument;
    atomic_store_explicit(&x, 1, memory_order_seq_cst);
    seen_y = atomic_load_explicit(&y, memory_order_seq_cst);
}
static void sc_y(void *argument) {
    (void)argument;
    atomic_store_explicit(&y, 1, memory_order_seq_cst);
    seen_x = atomic_load_explicit(&x, memory_order_seq_cst);
}
static void sc_buffering(void *argument) {
    (void)argument;
    run_two(sc_x, sc_y);
    came_out(seen_x * 2 + seen_y);
}

static void store_buffering_has_four_outcomes_relaxed_and_three_sc(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(relaxed_buffering, 4);
    assert_int_equal(outcomes[0] != 0, 1);
    assert_int_equal(assert_nothing_is_missed(sc_buffering, 3), 3);
    assert_int_equal(outcomes[0], 0);
}

static void weakly_add(void *argument) {
    (void)argument;
    int old = atomic_load_explicit(&x, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&x, &old, old + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
        seen_x |= 0;
}
static void weak_adding(void *argument) {
    (void)argument;
    run_two(weakly_add, weakly_add);
    came_out(atomic_load_explicit(&x, memory_order_relaxed));
}

static void exchanges_that_fail_for_nothing_come_to_an_end(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(weak_adding, 1);
    assert_true(outcomes[2] != 0);
}

/* ---- Locks and waiting ----------------------------------------------------------------------- */

static void count_twice(void *argument) {
    (void)argument;
    for (int i = 0; i < 2; i++) {
        pthread_mutex_lock(&mutex);
        plain_count++;
        pthread_mutex_unlock(&mutex);
    }
}
static void three_count(void *argument) {
    (void)argument;
    ambit_schedule_thread threads[3];
    for (int i = 0; i < 3; i++) threads[i] = ambit_schedule_spawn(count_twice, NULL);
    for (int i = 0; i < 3; i++) ambit_schedule_join(threads[i]);
    ambit_schedule_assert(plain_count == 6);
}

static void sections_of_a_mutex_come_in_each_order_once(void **state) {
    (void)state;
    ambit_schedule_result result = explore(three_count, 0);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_CLEAN);
    assert_true(result.complete);
    assert_int_equal(result.schedules, 90); /* 6! / 2!^3 */
}

static void wait_for_count(void *argument) {
    (void)argument;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 300000;
    pthread_mutex_lock(&mutex);
    while (!plain_count)
        if (pthread_cond_timedwait(&condition, &mutex, &until) != 0) break;
    seen_x = plain_count;
    pthread_mutex_unlock(&mutex);
}
static void count_and_signal(void *argument) {
    (void)argument;
    pthread_mutex_lock(&mutex);
    plain_count = 1;
    pthread_mutex_unlock(&mutex);
    pthread_cond_signal(&condition);
}
static void timed_waiting(void *argument) {
    (void)argument;
    run_two(wait_for_count, count_and_signal);
    came_out(seen_x);
}

static void a_timer_comes_early_and_late(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(timed_waiting, 2);
}

/* The wait is too long to end early; but time goes by in small steps, and then it is not. */
static sem_t semaphore;
static void wait_long(void *argument) {
    (void)argument;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 2500000;
    seen_x = sem_timedwait(&semaphore, &until) == 0;
}
static void sleep_thrice(void *argument) {
    (void)argument;
    const struct timespec little = {0, 900000};
    for (int i = 0; i < 3; i++) (void)nanosleep(&little, NULL);
}
static void post(void *argument) {
    (void)argument;
    (void)sem_post(&semaphore);
}
static void waiting_long(void *argument) {
    (void)argument;
    (void)sem_init(&semaphore, 0, 0);
    ambit_schedule_thread poster = ambit_schedule_spawn(post, NULL);
    run_two(wait_long, sleep_thrice);
    ambit_schedule_join(poster);
    came_out(seen_x);
}

static void a_timer_comes_near_as_others_sleep(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(waiting_long, 2);
}

static uint32_t word;
static void wait_a_little(void *argument) {
    (void)argument;
    const struct timespec little = {0, 500000};
    (void)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &little, NULL, 0);
}
static void wake_one(void *argument) {
    (void)argument;
    seen_x = (int)syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
static void waking(void *argument) {
    (void)argument;
    run_two(wait_a_little, wake_one);
    came_out(seen_x);
}

static void a_wake_finds_somebody_or_nobody(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(waking, 2);
}

/* Which of the two gets the lower number is nobody's business but the scheduler's. */
static void append(void *digit) {
    int old = atomic_load_explicit(&x, memory_order_relaxed);
    while (!atomic_compare_exchange_strong_explicit(&x, &old, old * 4 + (int)(intptr_t)digit,
                                                    memory_order_relaxed, memory_order_relaxed))
        seen_y |= 0;
}
static void append_by_another(void *digit) {
    ambit_schedule_join(ambit_schedule_spawn(append, digit));
}
static void appending(void *argument) {
    (void)argument;
    ambit_schedule_thread one = ambit_schedule_spawn(append_by_another, (void *)1);
    ambit_schedule_thread two = ambit_schedule_spawn(append_by_another, (void *)2);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    came_out(atomic_load_explicit(&x, memory_order_relaxed));
}

static void threads_may_be_made_by_any(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(appending, 2);
}

/* Looks under the lock, and waits under it, but not under the same. */
static void wait_too_late(void *argument) {
    (void)argument;
    pthread_mutex_lock(&mutex);
    bool there = plain_count != 0;
    pthread_mutex_unlock(&mutex);
    if (there) return;
    pthread_mutex_lock(&mutex);
    pthread_cond_wait(&condition, &mutex);
    pthread_mutex_unlock(&mutex);
}
static void waking_too_early(void *argument) {
    (void)argument;
    run_two(wait_too_late, count_and_signal);
}

static void a_wake_up_that_is_lost_is_found(void **state) {
    (void)state;
    ambit_schedule_result result = explore(waking_too_early, 0);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_LOST_WAKEUP);
    assert_false(result.complete);
}

static void spin_on_x(void *argument) {
    (void)argument;
    while (!atomic_load_explicit(&x, memory_order_acquire)) seen_x |= 0;
    seen_y = plain_count;
}
static void release_x(void *argument) {
    (void)argument;
    plain_count = 1;
    atomic_store_explicit(&x, 1, memory_order_release);
}
static void spinning(void *argument) {
    (void)argument;
    run_two(spin_on_x, release_x);
    came_out(seen_y);
}

static void spinning_comes_to_an_end(void **state) {
    (void)state;
    (void)assert_nothing_is_missed(spinning, 1);
}

/* ---- The bound ------------------------------------------------------------------------------- */

static void add_with_a_hole(void *argument) {
    (void)argument;
    int old = atomic_fetch_add_explicit(&x, 0, memory_order_relaxed);
    atomic_store_explicit(&x, old + 1, memory_order_relaxed);
}
static void lost_update(void *argument) {
    (void)argument;
    run_two(add_with_a_hole, add_with_a_hole);
    ambit_schedule_assert(atomic_fetch_add_explicit(&x, 0, memory_order_relaxed) == 2);
}
static void needs_two(void *argument) {
    (void)argument;
    /* Two stores of one thread with one of the other's between, both ways. */
    int first = atomic_fetch_add_explicit(&x, 1, memory_order_relaxed);
    int second = atomic_fetch_add_explicit(&x, 1, memory_order_relaxed);
    if (second != first + 1) atomic_fetch_add_explicit(&y, 1, memory_order_relaxed);
}
static void both_interrupted(void *argument) {
    (void)argument;
    run_two(needs_two, needs_two);
    ambit_schedule_assert(atomic_fetch_add_explicit(&y, 0, memory_order_relaxed) < 2);
}

static void bugs_need_as_many_preemptions_as_they_need(void **state) {
    (void)state;
    assert_int_equal(explore(lost_update, 1).failure, AMBIT_SCHEDULE_ASSERTION);
    ambit_schedule_result one = explore(both_interrupted, 1);
    assert_int_equal(one.failure, AMBIT_SCHEDULE_CLEAN);
    assert_true(one.complete);
    assert_int_equal(explore(both_interrupted, 2).failure, AMBIT_SCHEDULE_ASSERTION);
    assert_int_equal(explore(both_interrupted, 0).failure, AMBIT_SCHEDULE_ASSERTION);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_buffering_has_four_outcomes_relaxed_and_three_sc),
        cmocka_unit_test(exchanges_that_fail_for_nothing_come_to_an_end),
        cmocka_unit_test(sections_of_a_mutex_come_in_each_order_once),
        cmocka_unit_test(a_timer_comes_early_and_late),
        cmocka_unit_test(a_timer_comes_near_as_others_sleep),
        cmocka_unit_test(a_wake_finds_somebody_or_nobody),
        cmocka_unit_test(threads_may_be_made_by_any),
        cmocka_unit_test(a_wake_up_that_is_lost_is_found),
        cmocka_unit_test(spinning_comes_to_an_end),
        cmocka_unit_test(bugs_need_as_many_preemptions_as_they_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
