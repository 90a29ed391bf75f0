/* Timers by every clock: random deadlines, equal ones, lateness, and a program's clock that leaps,
 * stands still, steps back and crosses zero. */
#include "timers.h"

enum { SOME = 1000 };

static _Atomic(int64_t) virtual_ns;
static int64_t read_virtual(void *user) {
    (void)user;
    return atomic_load(&virtual_ns);
}
static void start_virtual(int64_t now_ns) {
    atomic_store(&virtual_ns, now_ns);
    ambit_clock_set(&(ambit_clock){read_virtual, NULL});
}
static ambit_timer_stats figures(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    return stats;
}
/* After the clock was moved: whether so many have been called by now and no more. The timer's thread
 * reads a program's clock once a millisecond. */
static bool called_exactly(int wanted) {
    bool reached = comes_to(&calls, wanted);
    nap_ms(10);
    return reached && atomic_load(&calls) == wanted;
}

/* ---- The system's clock ---------------------------------------------------------------------- */

static int64_t deadlines_ns[SOME];
static _Atomic(int) fired_times[SOME], early;
static void check_time(void *argument) {
    size_t at = (size_t)(uintptr_t)argument;
    if (ambit_clock_now_ns() < deadlines_ns[at]) atomic_fetch_add(&early, 1);
    atomic_fetch_add(&fired_times[at], 1);
    atomic_fetch_add(&calls, 1);
}
static void *arm_a_quarter(void *quarter) {
    uint32_t seed = 2463534242u + (uint32_t)(uintptr_t)quarter;
    for (size_t at = (uintptr_t)quarter; at < SOME; at += 4) {
        ambit_timer timer;
        seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
        deadlines_ns[at] = ambit_clock_now_ns() + (int64_t)(seed % 200000000) - 5000000;
        if (ambit_timer_arm(deadlines_ns[at], check_time, (void *)at, &timer)) return quarter;
    }
    return NULL;
}
static void none_of_many_from_several_threads_is_early_or_fires_twice(void **state) {
    (void)state;
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, arm_a_quarter, (void *)i), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(called_exactly(SOME)); /* the threads that armed them have ended */
    assert_int_equal(atomic_load(&early), 0);
    for (int at = 0; at < SOME; at++) assert_int_equal(atomic_load(&fired_times[at]), 1);
}

static void timers_of_one_deadline_all_fire(void **state) {
    (void)state;
    int64_t deadline_ns = in_ms(30);
    for (int i = 0; i < SOME; i++) (void)arm(deadline_ns, count, NULL);
    assert_true(called_exactly(SOME));
    assert_true(atomic_load(&called_at_ns) >= deadline_ns);
}

static void deadline_at_either_end_of_time_has_its_answer(void **state) {
    (void)state;
    (void)arm(INT64_MIN, count, NULL);
    (void)arm(INT64_MIN + 1, count, NULL);
    ambit_timer never = arm(INT64_MAX, count, NULL), almost = arm(INT64_MAX - 1, count, NULL);
    assert_true(called_exactly(2));
    assert_int_equal(ambit_timer_disarm(never), AMBIT_DISARMED);
    assert_int_equal(ambit_timer_disarm(almost), AMBIT_DISARMED);
}

/* ---- Lateness -------------------------------------------------------------------------------- */

static void lateness_is_from_the_deadline_to_the_call(void **state) {
    (void)state;
    start_virtual(1000 * AMBIT_SECOND);
    (void)arm(1001 * AMBIT_SECOND, count, NULL);
    (void)arm(1002 * AMBIT_SECOND, count, NULL);
    ambit_timer_stats before = figures();
    atomic_store(&virtual_ns, 5001 * AMBIT_SECOND);
    assert_true(called_exactly(2));
    ambit_timer_stats after = figures();
    assert_int_equal(after.fired - before.fired, 2);
    assert_int_equal(after.lateness_sum_ns - before.lateness_sum_ns, 7999 * AMBIT_SECOND);
    assert_int_equal(after.lateness_max_ns, 4000 * AMBIT_SECOND);
}

/* Last of all, since the figures stay full. */
static void lateness_without_end_is_the_most_there_is(void **state) {
    (void)state;
    start_virtual(INT64_MIN + 1);
    for (int i = 0; i < 3; i++) (void)arm(-AMBIT_SECOND, count, NULL);
    atomic_store(&virtual_ns, INT64_MAX - 1);
    assert_true(called_exactly(3));
    assert_int_equal(figures().lateness_max_ns, INT64_MAX);
    assert_int_equal(figures().lateness_sum_ns, INT64_MAX);
}

/* ---- A program's clock ----------------------------------------------------------------------- */

static void clock_that_stands_still_fires_what_is_due_and_no_more(void **state) {
    (void)state;
    start_virtual(50 * AMBIT_SECOND);
    (void)arm(50 * AMBIT_SECOND, count, NULL);
    (void)arm(49 * AMBIT_SECOND, count, NULL);
    ambit_timer next = arm(50 * AMBIT_SECOND + 1, count, NULL);
    assert_true(called_exactly(2)); /* to the nanosecond, also in the middle of a tick */
    nap_ms(20);
    assert_int_equal(atomic_load(&calls), 2);
    atomic_store(&virtual_ns, 50 * AMBIT_SECOND + 1);
    assert_true(called_exactly(3));
    assert_int_equal(ambit_timer_disarm(next), AMBIT_FIRED);
}

static void clock_that_crosses_zero_fires_in_time_on_both_sides(void **state) {
    (void)state;
    start_virtual(-10 * AMBIT_SECOND);
    (void)arm(-5 * AMBIT_SECOND, count, NULL);
    (void)arm(-1, count, NULL);
    (void)arm(0, count, NULL);
    (void)arm(1, count, NULL);
    (void)arm(5 * AMBIT_SECOND, count, NULL);
    atomic_store(&virtual_ns, -5 * AMBIT_SECOND - 1);
    assert_true(called_exactly(0));
    atomic_store(&virtual_ns, -5 * AMBIT_SECOND);
    assert_true(called_exactly(1));
    atomic_store(&virtual_ns, 0);
    assert_true(called_exactly(3));
    atomic_store(&virtual_ns, AMBIT_MILLISECOND);
    assert_true(called_exactly(4));
    atomic_store(&virtual_ns, 5 * AMBIT_SECOND);
    assert_true(called_exactly(5));
}

static void timer_armed_after_a_step_back_fires_in_its_own_time(void **state) {
    (void)state;
    start_virtual(1000 * AMBIT_SECOND);
    ambit_timer far = arm(2000 * AMBIT_SECOND, count, NULL);
    nap_ms(5);
    atomic_store(&virtual_ns, 10 * AMBIT_SECOND);
    ambit_timer near = arm(11 * AMBIT_SECOND, count, NULL);
    assert_true(called_exactly(0));
    atomic_store(&virtual_ns, 12 * AMBIT_SECOND);
    bool fired = called_exactly(1);
    (void)ambit_timer_disarm(near);
    assert_int_equal(ambit_timer_disarm(far), AMBIT_DISARMED);
    assert_true(fired);
}

static void clock_may_leap_again_and_again(void **state) {
    (void)state;
    const int64_t year_ns = INT64_C(365) * 24 * 3600 * AMBIT_SECOND;
    start_virtual(-250 * year_ns);
    for (int i = -249; i <= 249; i++) (void)arm(i * year_ns, count, NULL);
    int years = 0;
    for (int i = -249; i <= 249; i += 83) {
        atomic_store(&virtual_ns, i * year_ns);
        years = i + 250;
        assert_true(called_exactly(years));
    }
    atomic_store(&virtual_ns, 250 * year_ns);
    assert_true(called_exactly(499));
}

/* ---- Stop and start -------------------------------------------------------------------------- */

static void *disarm_half(void *timers) {
    intptr_t disarmed = 0;
    for (int i = 0; i < SOME; i += 2)
        disarmed += ambit_timer_disarm(((ambit_timer *)timers)[i]) == AMBIT_DISARMED;
    return (void *)disarmed;
}
static void stops_and_starts_lose_no_timer(void **state) {
    (void)state;
    static ambit_timer timers[SOME];
    pthread_t other;
    void *disarmed;
    for (int i = 0; i < SOME; i++) timers[i] = arm(in_ms(i % 100), count, NULL);
    assert_int_equal(pthread_create(&other, NULL, disarm_half, timers), 0);
    int extra = 0;
    for (; extra < 20; extra++) {
        ambit_timer_stop();
        nap_ms(1);
        (void)arm(in_ms(1), count, NULL); /* starts it */
    }
    assert_int_equal(pthread_join(other, &disarmed), 0);
    assert_true(called_exactly(SOME + extra - (int)(intptr_t)disarmed));
}

int main(int count_of_arguments, char **arguments) {
    const struct CMUnitTest tests[] = {
        CASE(lateness_is_from_the_deadline_to_the_call),
        CASE(none_of_many_from_several_threads_is_early_or_fires_twice),
        CASE(timers_of_one_deadline_all_fire),
        CASE(clock_that_stands_still_fires_what_is_due_and_no_more),
        CASE(clock_that_crosses_zero_fires_in_time_on_both_sides),
        CASE(timer_armed_after_a_step_back_fires_in_its_own_time),
        CASE(clock_may_leap_again_and_again),
        CASE(stops_and_starts_lose_no_timer),
        CASE(deadline_at_either_end_of_time_has_its_answer),
        CASE(lateness_without_end_is_the_most_there_is),
    };
    if (count_of_arguments > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
