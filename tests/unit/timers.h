/* What the suites of the timer share. */
#ifndef AMBIT_TESTS_TIMERS_H
#define AMBIT_TESTS_TIMERS_H

#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static _Atomic(int) calls;
static _Atomic(int64_t) called_at_ns;
/* Not every suite has a use for these. */
__attribute__((unused)) static _Atomic(int) entered;
__attribute__((unused)) static ambit_timer own;

static void nap_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* True once `*what` is `wanted`; gives up after five seconds. */
static bool comes_to(_Atomic(int) *what, int wanted) {
    for (int i = 0; i < 5000 && atomic_load(what) != wanted; i++) nap_ms(1);
    return atomic_load(what) == wanted;
}

static void count(void *argument) {
    (void)argument;
    atomic_store(&called_at_ns, ambit_clock_now_ns());
    atomic_fetch_add(&calls, 1);
}

static int64_t in_ms(int64_t ms) { return ambit_clock_now_ns() + ms * AMBIT_MILLISECOND; }

static ambit_timer arm(int64_t deadline_ns, ambit_timer_fn *run, void *argument) {
    ambit_timer timer;
    assert_ok(ambit_timer_arm(deadline_ns, run, argument, &timer));
    return timer;
}

static uint64_t armed(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    return stats.armed;
}

static int set_up(void **state) {
    (void)state;
    atomic_store(&calls, 0);
    return 0;
}
static int nothing_stays(void **state) {
    (void)state;
    ambit_timer_stop();
    ambit_clock_set(NULL);
    return armed() == 0 ? 0 : -1;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, nothing_stays)

#endif
