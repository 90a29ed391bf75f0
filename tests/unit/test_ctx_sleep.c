/* Waiting: woken by a cancel, a close, an own or inherited deadline; never early; not by signals,
 * and by a clock that jumps or stands still as that clock says. */
#include "ctxs.h"

#include <signal.h>
#include <unistd.h>

struct sleeper {
    ambit_ctx *ctx;
    int64_t time_ns, woken_ns;
    _Atomic(int) asleep, awake;
    ambit_status status;
};
static void *sleep_until(void *argument) {
    struct sleeper *sleeper = argument;
    atomic_store(&sleeper->asleep, 1);
    sleeper->status = sleeper->time_ns == AMBIT_NEVER
                          ? ambit_ctx_wait(sleeper->ctx)
                          : ambit_ctx_sleep_until(sleeper->ctx, sleeper->time_ns);
    sleeper->woken_ns = ambit_clock_now_ns();
    atomic_store(&sleeper->awake, 1);
    return NULL;
}
static pthread_t put_to_sleep(struct sleeper *sleeper, ambit_ctx *ctx, int64_t time_ns) {
    *sleeper = (struct sleeper){.ctx = ctx, .time_ns = time_ns};
    pthread_t thread = start(sleep_until, sleeper);
    must(comes_to(&sleeper->asleep, 1));
    nap_ms(10);
    must(!atomic_load(&sleeper->awake));
    return thread;
}

/* ---- What wakes ------------------------------------------------------------------------------ */

static void a_cancel_wakes_all_who_wait(void **state) {
    (void)state;
    enum { SLEEPERS = 6 };
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    struct sleeper sleepers[SLEEPERS];
    pthread_t threads[SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++)
        threads[i] = put_to_sleep(&sleepers[i], i % 2 ? child : root,
                                  i % 3 ? AMBIT_NEVER : ambit_clock_now_ns() + 600 * AMBIT_SECOND);
    ambit_ctx_cancel(root, NULL);
    for (int i = 0; i < SLEEPERS; i++) {
        join(threads[i]);
        assert_int_equal(sleepers[i].status, AMBIT_CANCELLED);
    }
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void a_close_wakes_who_holds(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = hold_of(ctx);
    struct sleeper sleeper;
    pthread_t thread = put_to_sleep(&sleeper, ctx, AMBIT_NEVER);
    ambit_ctx_close(&ctx);
    join(thread);
    assert_int_equal(sleeper.status, AMBIT_CANCELLED);
    ambit_ctx_drop(&hold);
}

static void closing_the_parent_wakes_below(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *middle = open_child(root);
    ambit_ctx *child = open_child(middle);
    struct sleeper sleeper;
    pthread_t thread = put_to_sleep(&sleeper, child, AMBIT_NEVER);
    ambit_ctx_close(&root);
    join(thread);
    assert_int_equal(sleeper.status, AMBIT_CANCELLED);
    ambit_ctx_close(&child);
    ambit_ctx_close(&middle);
}

static void own_and_inherited_deadlines_wake(void **state) {
    (void)state;
    for (int inherited = 0; inherited < 3; inherited++) {
        ambit_ctx *chain[3] = {open_timeout(ambit_background(), 15 * AMBIT_MILLISECOND)};
        for (int i = 1; i < 3; i++) chain[i] = open_child(chain[i - 1]);
        int64_t deadline_ns = ambit_ctx_deadline_ns(chain[inherited]);
        assert_int_equal(ambit_ctx_wait(chain[inherited]), AMBIT_TIMED_OUT);
        assert_true(ambit_clock_now_ns() >= deadline_ns);
        for (int i = 0; i < 3; i++) ambit_ctx_close(&chain[i]);
    }
}

static void of_time_and_deadline_the_earlier_ends_the_sleep(void **state) {
    (void)state;
    ambit_ctx *ctx = open_timeout(ambit_background(), 25 * AMBIT_MILLISECOND);
    int64_t deadline_ns = ambit_ctx_deadline_ns(ctx);
    assert_ok(ambit_ctx_sleep_until(ctx, deadline_ns - 20 * AMBIT_MILLISECOND));
    assert_true(ambit_clock_now_ns() >= deadline_ns - 20 * AMBIT_MILLISECOND);
    assert_int_equal(ambit_ctx_sleep_until(ctx, deadline_ns + 600 * AMBIT_SECOND), AMBIT_TIMED_OUT);
    assert_true(ambit_clock_now_ns() >= deadline_ns);
    ambit_ctx_close(&ctx);
}

/* ---- Times ----------------------------------------------------------------------------------- */

static void past_times_do_not_sleep(void **state) {
    (void)state;
    static const int64_t past[] = {0, -1, INT64_MIN, 1};
    ambit_ctx *ctx = open_child(ambit_background());
    for (int ended = 0; ended < 2; ended++) {
        ambit_status expected = ended ? AMBIT_CANCELLED : AMBIT_OK;
        for (int i = 0; i < 4; i++) {
            assert_int_equal(ambit_ctx_sleep_until(ctx, past[i]), expected);
            if (past[i] <= 0) assert_int_equal(ambit_ctx_sleep(ctx, past[i]), expected);
        }
        ambit_ctx_cancel(ctx, NULL);
    }
    assert_int_equal(ambit_ctx_sleep(ctx, INT64_MAX), AMBIT_CANCELLED);
    assert_int_equal(ambit_ctx_sleep_until(ctx, AMBIT_NEVER), AMBIT_CANCELLED);
    ambit_ctx_close(&ctx);
}

static void a_sleep_too_long_for_the_clock_is_for_ever(void **state) {
    (void)state;
    ambit_ctx *ctx = open_timeout(ambit_background(), 10 * AMBIT_MILLISECOND);
    assert_int_equal(ambit_ctx_sleep(ctx, INT64_MAX), AMBIT_TIMED_OUT);
    ambit_ctx_close(&ctx);
}

static void under_the_background_only_the_time_wakes(void **state) {
    (void)state;
    int64_t before_ns = ambit_clock_now_ns();
    assert_ok(ambit_ctx_sleep(ambit_background(), 10 * AMBIT_MILLISECOND));
    assert_true(ambit_clock_now_ns() - before_ns >= 10 * AMBIT_MILLISECOND);
    assert_ok(ambit_ctx_sleep_until(ambit_background(), 0));
}

static void sleeps_are_never_short(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    for (int64_t ns = 1; ns < 20 * AMBIT_MILLISECOND; ns *= 3) {
        int64_t before_ns = ambit_clock_now_ns();
        assert_ok(ambit_ctx_sleep(ctx, ns));
        assert_true(ambit_clock_now_ns() - before_ns >= ns);
    }
    ambit_ctx_close(&ctx);
}

/* A sleep leaves no callback, timer or child behind. */
static void ten_thousand_sleeps_leave_nothing(void **state) {
    (void)state;
    ambit_memory_stats before, after;
    ambit_ctx *ctx = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    assert_ok(ambit_ctx_sleep(ctx, 1));
    ambit_memory_stats_read(&before);
    for (int i = 0; i < 10000; i++) assert_ok(ambit_ctx_sleep_until(ctx, i));
    ambit_memory_stats_read(&after);
    assert_int_equal(after.live_bytes, before.live_bytes);
    assert_int_equal(timers_armed(), 1);
    ambit_ctx_close(&ctx);
}

/* ---- Signals --------------------------------------------------------------------------------- */

static _Atomic(int) signals;
static void count_signal(int number) {
    (void)number;
    atomic_fetch_add(&signals, 1);
}
static void a_storm_of_signals_neither_shortens_nor_prolongs_a_sleep(void **state) {
    (void)state;
    struct sigaction action = {.sa_handler = count_signal}, usual; /* without SA_RESTART */
    sigaction(SIGUSR1, &action, &usual);
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        ambit_ctx *ctx = open_child(ambit_background());
        struct sleeper sleeper;
        int64_t time_ns = ambit_clock_now_ns() + 60 * AMBIT_MILLISECOND;
        atomic_store(&signals, 0);
        pthread_t thread = put_to_sleep(&sleeper, ctx, cancelled ? AMBIT_NEVER : time_ns);
        for (int i = 0; i < 100000 && !atomic_load(&sleeper.awake); i++) {
            pthread_kill(thread, SIGUSR1);
            if (i % 8 == 7) nap_ms(1);
            if (cancelled && i == 200) ambit_ctx_cancel(ctx, NULL);
        }
        join(thread);
        assert_int_equal(sleeper.status, cancelled ? AMBIT_CANCELLED : AMBIT_OK);
        if (!cancelled) assert_true(sleeper.woken_ns >= time_ns);
        assert_true(atomic_load(&signals) > 10);
        ambit_ctx_close(&ctx);
    }
    sigaction(SIGUSR1, &usual, NULL);
}

/* ---- A clock of the program's own ------------------------------------------------------------ */

static void a_clock_that_stands_still_holds_the_sleeper(void **state) {
    (void)state;
    set_virtual(AMBIT_SECOND);
    ambit_ctx *ctx = open_child(ambit_background());
    struct sleeper sleeper;
    pthread_t thread = put_to_sleep(&sleeper, ctx, AMBIT_SECOND + 1);
    nap_ms(30);
    assert_int_equal(atomic_load(&sleeper.awake), 0); /* a nanosecond of it lasts as it lasts */
    atomic_store(&virtual_ns, AMBIT_SECOND + 1);
    join(thread);
    assert_int_equal(sleeper.status, AMBIT_OK);
    ambit_ctx_close(&ctx);
}

static void a_clock_that_jumps_wakes_the_sleeper(void **state) {
    (void)state;
    set_virtual(AMBIT_SECOND);
    ambit_ctx *ctx = open_deadline(ambit_background(), 3600 * AMBIT_SECOND);
    struct sleeper first, second;
    pthread_t sleeps = put_to_sleep(&first, ctx, 1800 * AMBIT_SECOND);
    pthread_t waits = put_to_sleep(&second, ctx, AMBIT_NEVER);
    atomic_store(&virtual_ns, 1800 * AMBIT_SECOND);
    join(sleeps);
    assert_int_equal(first.status, AMBIT_OK);
    assert_int_equal(atomic_load(&second.awake), 0);
    atomic_store(&virtual_ns, 3600 * AMBIT_SECOND);
    join(waits);
    assert_int_equal(second.status, AMBIT_TIMED_OUT);
    ambit_ctx_close(&ctx);
}

static void a_clock_that_stands_still_does_not_hold_a_cancel(void **state) {
    (void)state;
    set_virtual(AMBIT_SECOND);
    ambit_ctx *ctx = open_deadline(ambit_background(), 3600 * AMBIT_SECOND);
    struct sleeper sleeper;
    pthread_t thread = put_to_sleep(&sleeper, ctx, 1800 * AMBIT_SECOND);
    atomic_store(&virtual_ns, 0); /* backwards, too */
    ambit_ctx_cancel(ctx, NULL);
    join(thread);
    assert_int_equal(sleeper.status, AMBIT_CANCELLED);
    ambit_ctx_close(&ctx);
}

/* ---- Races ----------------------------------------------------------------------------------- */

static void *cancel_argument(void *argument) {
    ambit_ctx_cancel(argument, NULL);
    return NULL;
}
static void a_cancel_that_meets_the_falling_asleep_is_not_missed(void **state) {
    (void)state;
    for (int round = 0; round < 500; round++) {
        ambit_ctx *ctx = open_child(ambit_background()), *child = open_child(ctx);
        pthread_t thread = start(cancel_argument, ctx);
        for (volatile int spin = 0; spin < round * 20; spin++) {
        }
        assert_int_equal(ambit_ctx_wait(child), AMBIT_CANCELLED);
        join(thread);
        ambit_ctx_close(&child);
        ambit_ctx_close(&ctx);
    }
}

static const struct CMUnitTest tests[] = {
    CASE(a_cancel_wakes_all_who_wait),
    CASE(a_close_wakes_who_holds),
    CASE(closing_the_parent_wakes_below),
    CASE(own_and_inherited_deadlines_wake),
    CASE(of_time_and_deadline_the_earlier_ends_the_sleep),
    CASE(past_times_do_not_sleep),
    CASE(a_sleep_too_long_for_the_clock_is_for_ever),
    CASE(under_the_background_only_the_time_wakes),
    CASE(sleeps_are_never_short),
    CASE(ten_thousand_sleeps_leave_nothing),
    CASE(a_storm_of_signals_neither_shortens_nor_prolongs_a_sleep),
    CASE(a_clock_that_stands_still_holds_the_sleeper),
    CASE(a_clock_that_jumps_wakes_the_sleeper),
    CASE(a_clock_that_stands_still_does_not_hold_a_cancel),
    CASE(a_cancel_that_meets_the_falling_asleep_is_not_missed),
};
RUN(tests);
