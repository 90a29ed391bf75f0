/* Loops that wait for others and count their rounds: what they do when they give up is seen too, although a loop that
 * waits is mostly left out while others can run. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "outcome.h"

static void run_two(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

static int rounds;
static _Atomic(bool) held;
static _Atomic(int) sleepers;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t freed = PTHREAD_COND_INITIALIZER;
static bool careless;

static bool take(void) { return !atomic_exchange_explicit(&held, true, memory_order_seq_cst); }
static void sleep_until_free(void) {
    pthread_mutex_lock(&mutex);
    atomic_fetch_add(&sleepers, 1);
    while (atomic_load(&held)) pthread_cond_wait(&freed, &mutex);
    atomic_fetch_sub(&sleepers, 1);
    pthread_mutex_unlock(&mutex);
}
/* A lock that spins for a while, and then sleeps. */
static void spin_then_sleep(void *argument) {
    (void)argument;
    for (int i = 0; !take(); i++)
        if (i >= rounds) sleep_until_free();
    atomic_store(&held, false);
    if (!atomic_load(&sleepers)) return;
    if (!careless) pthread_mutex_lock(&mutex);
    pthread_cond_broadcast(&freed);
    if (!careless) pthread_mutex_unlock(&mutex);
}
static void lock_twice(void *argument) {
    (void)argument;
    run_two(spin_then_sleep, spin_then_sleep);
}

static void what_comes_after_many_rounds_is_seen(void **state) {
    (void)state;
    static const int counts[] = {3, 20, 100, 1000};
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        rounds = counts[i];
        careless = true;
        expect_failure_with(lock_twice, (ambit_schedule_options){.schedules = 30000},
                            AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
        careless = false;
        expect_clean_with(lock_twice, (ambit_schedule_options){.schedules = 1000});
    }
}

static void yield_and_give_up(void *argument) {
    (void)argument;
    int i = 0;
    while (i < 50 && !atomic_load(&held)) {
        sched_yield();
        i++;
    }
    ambit_schedule_assert(i < 50);
}
static void set_late(void *argument) {
    (void)argument;
    atomic_store(&held, true);
}
static void yield_for_a_while(void *argument) {
    (void)argument;
    run_two(yield_and_give_up, set_late);
}
static void who_gives_way_may_do_so_in_vain(void **state) {
    (void)state;
    for (int strategy = AMBIT_SCHEDULE_MIXED; strategy <= AMBIT_SCHEDULE_PCT; strategy++)
        expect_failure_with(yield_for_a_while,
                            (ambit_schedule_options){.schedules = 10000,
                                                     .strategy = (ambit_schedule_strategy)strategy},
                            AMBIT_SCHEDULE_ASSERTION, "i < 50");
}

/* However few steps there are: going on alone is no livelock. */
static void wait_for_it(void *argument) {
    (void)argument;
    while (!atomic_load(&held)) {
    }
}
static void wait_without_end(void *argument) {
    (void)argument;
    run_two(wait_for_it, set_late);
}
static void a_loop_alone_is_no_livelock(void **state) {
    (void)state;
    expect_clean_with(wait_without_end, (ambit_schedule_options){.schedules = 3000, .steps = 60});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_after_many_rounds_is_seen),
        cmocka_unit_test(who_gives_way_may_do_so_in_vain),
        cmocka_unit_test(a_loop_alone_is_no_livelock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
