/* Virtual time: clocks, sleeps, and what neither orders. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"

#define SECOND INT64_C(1000000000)

static void run_two(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

static int64_t nanoseconds(const struct timespec *time) {
    return (int64_t)time->tv_sec * SECOND + time->tv_nsec;
}
static int64_t now_by(clockid_t clock) {
    struct timespec time;
    ambit_schedule_assert(clock_gettime(clock, &time) == 0);
    return nanoseconds(&time);
}
static void sleep_for(int64_t ns) {
    struct timespec length = {ns / SECOND, ns % SECOND};
    ambit_schedule_assert(nanosleep(&length, NULL) == 0);
}

/* ---- Clocks ---------------------------------------------------------------------------------- */

static void reads_all_clocks(void *argument) {
    (void)argument;
    int64_t begin = now_by(CLOCK_MONOTONIC);
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW,
                                       CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID};
    int64_t before = begin;
    for (unsigned i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        int64_t now = now_by(clocks[i]);
        ambit_schedule_assert(now > before && now < begin + SECOND);
        before = now;
    }
    struct timeval day;
    ambit_schedule_assert(gettimeofday(&day, NULL) == 0 && day.tv_sec == begin / SECOND);
    time_t seconds;
    ambit_schedule_assert(time(&seconds) == begin / SECOND && seconds == begin / SECOND);
    struct timespec utc;
    ambit_schedule_assert(timespec_get(&utc, TIME_UTC) == TIME_UTC && nanoseconds(&utc) > before);
    ambit_schedule_assert(clock() >= begin / SECOND * CLOCKS_PER_SEC);
    ambit_schedule_assert(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &utc) == 0);
    ambit_schedule_assert(nanoseconds(&utc) > before);
    ambit_schedule_assert(clock_gettime(77, &utc) == -1 && errno == EINVAL);
}
static void all_clocks_show_one_time(void **state) {
    (void)state;
    expect_clean(reads_all_clocks);
}

/* The coarse one stands still between ticks, and is never ahead. */
static void compares_coarse(void *argument) {
    (void)argument;
    int64_t coarse = now_by(CLOCK_MONOTONIC_COARSE), fine = now_by(CLOCK_MONOTONIC);
    struct timespec tick;
    clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    ambit_schedule_assert(coarse <= fine && fine - coarse < nanoseconds(&tick));
    ambit_schedule_assert(now_by(CLOCK_REALTIME_COARSE) == coarse); /* no tick since */
    sleep_for(SECOND + 1000);
    ambit_schedule_assert(now_by(CLOCK_MONOTONIC_COARSE) >= coarse + SECOND);
    ambit_schedule_assert(now_by(CLOCK_MONOTONIC_COARSE) < now_by(CLOCK_MONOTONIC));
}
static void coarse_clock_is_behind_by_less_than_its_tick(void **state) {
    (void)state;
    expect_clean(compares_coarse);
}

/* Looked up before main(), as programs do that want to spare themselves the C library. */
static int (*vdso_gettime)(clockid_t, struct timespec *);
__attribute__((constructor)) static void find_vdso(void) {
    void *vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (vdso) *(void **)&vdso_gettime = dlsym(vdso, "__vdso_clock_gettime");
}
static void reads_by_vdso(void *argument) {
    (void)argument;
    struct timespec time;
    ambit_schedule_assert(vdso_gettime(CLOCK_MONOTONIC, &time) == 0);
    int64_t here = nanoseconds(&time);
    ambit_schedule_assert(here >= 1000 * SECOND && here < 1001 * SECOND);
    sleep_for(3600 * SECOND);
    vdso_gettime(CLOCK_MONOTONIC, &time);
    ambit_schedule_assert(nanoseconds(&time) >= here + 3600 * SECOND);
}
static void vdso_shows_virtual_time(void **state) {
    (void)state;
    assert_non_null(vdso_gettime);
    expect_clean(reads_by_vdso);
    struct timespec real, by_vdso;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &real), 0);
    assert_int_equal(vdso_gettime(CLOCK_REALTIME, &by_vdso), 0);
    assert_true(by_vdso.tv_sec - real.tv_sec <= 60); /* outside it is the real one */
    void *none = dlsym(RTLD_DEFAULT, "ambit_no_such_function");
    assert_null(none);
}

/* ---- Sleeping -------------------------------------------------------------------------------- */

static void sleeps_for_a_day(void *argument) {
    (void)argument;
    int64_t begin = now_by(CLOCK_MONOTONIC);
    sleep_for(3600 * SECOND);
    ambit_schedule_assert(sleep(3600) == 0);
    ambit_schedule_assert(usleep(999999) == 0);
    struct timespec hour = {3600, 0}, left, until;
    ambit_schedule_assert(clock_nanosleep(CLOCK_MONOTONIC, 0, &hour, &left) == 0);
    ambit_schedule_assert(thrd_sleep(&hour, NULL) == 0);
    int64_t now = now_by(CLOCK_MONOTONIC);
    ambit_schedule_assert(now >= begin + 4 * 3600 * SECOND + 999999000);
    until = (struct timespec){now / SECOND + 7200, 0};
    ambit_schedule_assert(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == 0);
    ambit_schedule_assert(now_by(CLOCK_MONOTONIC) >= nanoseconds(&until));
    struct timespec wrong = {0, SECOND};
    ambit_schedule_assert(nanosleep(&wrong, NULL) == -1 && errno == EINVAL);
    ambit_schedule_assert(clock_nanosleep(CLOCK_MONOTONIC, 0, &wrong, NULL) == EINVAL);
    ambit_schedule_assert(thrd_sleep(&wrong, NULL) < -1);
}
static void hours_of_sleep_take_no_time(void **state) {
    (void)state;
    expect_clean(sleeps_for_a_day); /* else this ends by itself in nine years */
}

static int plain;
static _Atomic(int) flag;
static void write_early(void *argument) {
    (void)argument;
    plain = 1;
}
static void read_late(void *argument) {
    (void)argument;
    sleep_for(3600 * SECOND);
    ambit_schedule_assert(plain == 1);
}
static void trusts_a_sleep(void *argument) {
    (void)argument;
    run_two(write_early, read_late);
}
static void a_sleep_orders_nothing(void **state) {
    (void)state;
    expect_failure(trusts_a_sleep, AMBIT_SCHEDULE_RACE, "race");
}

/* The other has a millisecond for two steps: not on a loaded machine. */
static void set_flag(void *argument) {
    (void)argument;
    atomic_store(&flag, 1);
}
static void wait_a_millisecond(void *argument) {
    sleep_for((int64_t)(intptr_t)argument);
    ambit_schedule_assert(atomic_load(&flag));
}
static void races_with_a_timer(void *argument) {
    ambit_schedule_thread one = ambit_schedule_spawn(set_flag, NULL);
    ambit_schedule_thread two = ambit_schedule_spawn(wait_a_millisecond, argument);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
}
static void short_timers_may_come_first(void **state) {
    (void)state;
    expect_failure_with(races_with_a_timer, (ambit_schedule_options){.argument = (void *)1000000},
                        AMBIT_SCHEDULE_ASSERTION, "flag");
    /* What is an hour off does not come while others can run. */
    expect_clean_with(races_with_a_timer,
                      (ambit_schedule_options){.argument = (void *)(intptr_t)(3600 * SECOND)});
}

/* ---- Loops ----------------------------------------------------------------------------------- */

static void loop_with_sleeps(void *argument) {
    (void)argument;
    while (!atomic_load_explicit(&flag, memory_order_acquire)) sleep_for(20000);
    ambit_schedule_assert(plain == 1);
}
static void loop_with_yields(void *argument) {
    (void)argument;
    while (!atomic_load_explicit(&flag, memory_order_acquire)) {
        sched_yield();
        thrd_yield();
    }
    ambit_schedule_assert(plain == 1);
}
static void set_after_an_hour(void *argument) {
    (void)argument;
    sleep_for(3600 * SECOND);
    plain = 1;
    atomic_store_explicit(&flag, 1, memory_order_release);
}
static void waits_by_sleeping(void *argument) {
    (void)argument;
    run_two(loop_with_sleeps, set_after_an_hour);
}
static void waits_by_yielding(void *argument) {
    (void)argument;
    run_two(loop_with_yields, set_after_an_hour);
}
static void loops_that_sleep_let_the_others_on(void **state) {
    (void)state;
    for (int strategy = AMBIT_SCHEDULE_MIXED; strategy <= AMBIT_SCHEDULE_PCT; strategy++) {
        ambit_schedule_options options = {.strategy = (ambit_schedule_strategy)strategy};
        expect_clean_with(waits_by_sleeping, options);
        expect_clean_with(waits_by_yielding, options);
    }
}

static void waits_for_nobody(void *argument) {
    (void)argument;
    while (!atomic_load(&flag)) sleep_for(20000);
}
static void yields_to_nobody(void *argument) {
    (void)argument;
    while (!atomic_load(&flag)) sched_yield();
}
static void loops_that_wait_for_nobody_are_livelocks(void **state) {
    (void)state;
    expect_failure(waits_for_nobody, AMBIT_SCHEDULE_LIVELOCK, "livelock");
    expect_failure(yields_to_nobody, AMBIT_SCHEDULE_LIVELOCK, "livelock");
}

static void waits_by_the_clock(void *argument) {
    (void)argument;
    int64_t end = now_by(CLOCK_MONOTONIC) + 60 * SECOND;
    while (now_by(CLOCK_MONOTONIC) < end) {
    }
}
static void loop_over_the_clock_ends(void **state) {
    (void)state;
    expect_clean(waits_by_the_clock);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_clocks_show_one_time),
        cmocka_unit_test(coarse_clock_is_behind_by_less_than_its_tick),
        cmocka_unit_test(vdso_shows_virtual_time),
        cmocka_unit_test(hours_of_sleep_take_no_time),
        cmocka_unit_test(a_sleep_orders_nothing),
        cmocka_unit_test(short_timers_may_come_first),
        cmocka_unit_test(loops_that_sleep_let_the_others_on),
        cmocka_unit_test(loops_that_wait_for_nobody_are_livelocks),
        cmocka_unit_test(loop_over_the_clock_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
