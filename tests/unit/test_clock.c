/* The clock: the system's two, and a program's own. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int system_clock(void **state) {
    (void)state;
    ambit_clock_set(NULL);
    return 0;
}

/* ---- The system's ---------------------------------------------------------------------------- */

static void clock_does_not_step_back(void **state) {
    (void)state;
    int64_t precise_ns = ambit_clock_now_ns(), coarse_ns = ambit__clock_coarse();
    for (int i = 0; i < 100000; i++) {
        int64_t precise = ambit_clock_now_ns(), coarse = ambit__clock_coarse();
        assert_true(precise >= precise_ns && coarse >= coarse_ns);
        precise_ns = precise, coarse_ns = coarse;
    }
}

static void coarse_clock_is_never_ahead_and_behind_by_no_more_than_the_lag(void **state) {
    (void)state;
    int64_t lag_ns = ambit__clock_lag(), behind_ns = 0;
    for (int i = 0; i < 20000; i++) {
        int64_t before = ambit__clock_now(), coarse = ambit__clock_coarse();
        assert_true(coarse >= before - lag_ns);
        assert_true(coarse <= ambit__clock_now());
        if (before - coarse > behind_ns) behind_ns = before - coarse;
        if (i % 1000 == 0) (void)usleep(3000); /* all over the tick */
    }
    assert_true(behind_ns > 0); /* else the two are one clock here, and nothing was shown */
}

static void lag_is_three_ticks_and_32_ms_at_least(void **state) {
    (void)state;
    struct timespec tick;
    assert_int_equal(clock_getres(CLOCK_MONOTONIC_COARSE, &tick), 0);
    int64_t three_ns = 3 * (tick.tv_sec * AMBIT_SECOND + tick.tv_nsec);
    assert_int_equal(ambit__clock_lag(),
                     three_ns > 32 * AMBIT_MILLISECOND ? three_ns : 32 * AMBIT_MILLISECOND);
}

/* ---- A program's own ------------------------------------------------------------------------- */

static int64_t read_number(void *user) { return *(int64_t *)user; }

static void clock_of_the_program_is_the_only_one(void **state) {
    (void)state;
    int64_t number = 7;
    ambit_clock clock = {read_number, &number};
    assert_false(ambit__clock_is_custom());
    ambit_clock_set(&clock);
    clock = (ambit_clock){NULL, NULL}; /* it was copied */
    assert_true(ambit__clock_is_custom());
    static const int64_t times[] = {7, 7, 1, 0, -1, INT64_MIN, INT64_MAX, 7};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) { /* it may jump as it likes */
        number = times[i];
        assert_true(ambit_clock_now_ns() == number);
        assert_true(ambit__clock_coarse() == number);
    }
    assert_int_equal(ambit__clock_lag(), 0);
    ambit_clock_set(NULL);
    assert_false(ambit__clock_is_custom());
    assert_true(ambit_clock_now_ns() > 7);
    assert_true(ambit__clock_lag() > 0);
}

static void every_clock_put_in_place_is_a_change(void **state) {
    (void)state;
    int64_t number = 7;
    ambit_clock clock = {read_number, &number};
    uint32_t first = ambit__clock_changes();
    ambit_clock_set(&clock);
    uint32_t second = ambit__clock_changes();
    ambit_clock_set(&clock);
    uint32_t third = ambit__clock_changes();
    ambit_clock_set(NULL);
    uint32_t fourth = ambit__clock_changes();
    assert_true(first != second && second != third && third != fourth && first != fourth);
}

static void clock_without_a_function_stops(void **state) {
    (void)state;
    ambit_clock clock = {NULL, NULL};
    assert_stops(ambit_clock_set(&clock));
    assert_string_equal(suite_bug.function, "ambit_clock_set");
    assert_true(ambit_clock_now_ns() > 0);
}

/* ---- Two clocks and a reader ----------------------------------------------------------------- */

static char of_one, of_other;
static _Atomic(int) torn, seen[3], done; /* seen[0]: the system's */
static int64_t one_now(void *user) {
    if (user != &of_one) atomic_store(&torn, 1);
    return 1;
}
static int64_t other_now(void *user) {
    if (user != &of_other) atomic_store(&torn, 1);
    return 2;
}
static void *read_until_done(void *unused) {
    (void)unused;
    while (!atomic_load(&done)) {
        int64_t now_ns = ambit__clock_now();
        atomic_fetch_add(&seen[now_ns > 2 ? 0 : now_ns], 1);
    }
    return NULL;
}
/* A timer's pass reads it so, after its last timer has fired. */
static void clock_is_read_whole_while_another_is_put_in_place(void **state) {
    (void)state;
    const ambit_clock one = {one_now, &of_one}, other = {other_now, &of_other};
    pthread_t reader;
    assert_int_equal(pthread_create(&reader, NULL, read_until_done, NULL), 0);
    int64_t start_ns = ambit__clock_now();
    for (bool met = false;;) {
        int64_t now_ns = ambit__clock_now(); /* the system's is in place */
        if (now_ns > start_ns + (met ? 1 : 30) * AMBIT_SECOND / 10) break;
        for (int i = 0; i < 300; i++) {
            ambit_clock_set(i % 3 == 0 ? &one : i % 3 == 1 ? &other : NULL);
            for (int pause = i % 16; pause > 0; pause--) (void)ambit__clock_now();
        }
        met = atomic_load(&seen[0]) > 9 && atomic_load(&seen[1]) > 9 && atomic_load(&seen[2]) > 9;
    }
    atomic_store(&done, 1);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(atomic_load(&torn), 0);
    for (int i = 0; i < 3; i++) assert_true(atomic_load(&seen[i]) > 9); /* else they did not meet */
}

#define CASE(name) cmocka_unit_test_teardown(name, system_clock)

int main(int count, char **arguments) {
    const struct CMUnitTest tests[] = {
        CASE(clock_does_not_step_back),
        CASE(coarse_clock_is_never_ahead_and_behind_by_no_more_than_the_lag),
        CASE(lag_is_three_ticks_and_32_ms_at_least),
        CASE(clock_of_the_program_is_the_only_one),
        CASE(every_clock_put_in_place_is_a_change),
        CASE(clock_without_a_function_stops),
        CASE(clock_is_read_whole_while_another_is_put_in_place),
    };
    if (count > 1) cmocka_set_test_filter(arguments[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
