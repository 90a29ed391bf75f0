/* Deadlines: the earliest on the way up, exactly-now and past ones, far ones, one timer for equal
 * ones, and what an expired one means for a later cancel (Go: TestDeadline, TestTimeout,
 * TestCanceledTimeout, TestLayersTimeout). */
#include "ctxs.h"

#include <poll.h>

/* ---- Which deadline -------------------------------------------------------------------------- */

static void the_earliest_on_the_way_up_counts(void **state) {
    (void)state;
    static const int64_t given[] = {900, 1000, AMBIT_NEVER, 800, 850, 100, 5000};
    static const int64_t counts[] = {900, 900, 900, 800, 800, 100, 100};
    ambit_ctx *chain[7];
    set_virtual(0);
    for (int i = 0; i < 7; i++) {
        chain[i] = open_deadline(i ? chain[i - 1] : ambit_background(), given[i]);
        assert_int_equal(ambit_ctx_deadline_ns(chain[i]), counts[i]);
    }
    atomic_store(&virtual_ns, 800);
    for (int i = 0; i < 7; i++)
        assert_int_equal(ambit_ctx_err(chain[i]), counts[i] <= 800 ? AMBIT_TIMED_OUT : AMBIT_OK);
    for (int i = 0; i < 7; i++) ambit_ctx_close(&chain[i]);
    assert_int_equal(ambit_ctx_deadline_ns(ambit_background()), AMBIT_NEVER);
}

static void a_timeout_counts_from_the_opening(void **state) {
    (void)state;
    set_virtual(5000);
    ambit_ctx *brief = open_timeout(ambit_background(), 1);
    ambit_ctx *lengthy = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    assert_int_equal(ambit_ctx_deadline_ns(brief), 5001);
    assert_int_equal(ambit_ctx_deadline_ns(lengthy), 5000 + 3600 * AMBIT_SECOND);
    ambit_ctx_close(&brief);
    ambit_ctx_close(&lengthy);
}

static void timeouts_on_the_machines_clock_are_never_early(void **state) {
    (void)state;
    static const int64_t timeouts[] = {1, AMBIT_MILLISECOND, 9 * AMBIT_SECOND, 10 * AMBIT_SECOND,
                                       3600 * AMBIT_SECOND};
    for (int i = 0; i < 5; i++)
        for (int again = 0; again < 100; again++) {
            int64_t before_ns = ambit_clock_now_ns();
            ambit_ctx *ctx = open_timeout(ambit_background(), timeouts[i]);
            int64_t latest_ns = ambit_clock_now_ns() + timeouts[i];
            if (timeouts[i] >= 10 * AMBIT_SECOND) latest_ns += 1000 * AMBIT_MILLISECOND;
            assert_true(ambit_ctx_deadline_ns(ctx) >= before_ns + timeouts[i]);
            assert_true(ambit_ctx_deadline_ns(ctx) <= latest_ns);
            ambit_ctx_close(&ctx);
        }
}

/* ---- Exactly now, past, far ------------------------------------------------------------------ */

static void a_deadline_is_over_when_the_clock_reads_it(void **state) {
    (void)state;
    set_virtual(1999);
    ambit_ctx *ctx = open_deadline(ambit_background(), 2000);
    assert_ok(ambit_ctx_err(ctx));
    assert_int_equal(ambit_ctx_cause(ctx).code, AMBIT_OK);
    atomic_store(&virtual_ns, 2000);
    assert_int_equal(ambit_ctx_cause(ctx).code, AMBIT_TIMED_OUT);
    assert_int_equal(ambit_ctx_err(ctx), AMBIT_TIMED_OUT);
    ambit_ctx *now = open_deadline(ambit_background(), 2000);
    ambit_ctx *none = open_timeout(ambit_background(), 0);
    assert_int_equal(ambit_ctx_err(now), AMBIT_TIMED_OUT);
    assert_int_equal(ambit_ctx_err(none), AMBIT_TIMED_OUT);
    atomic_store(&virtual_ns, 0); /* nothing that has ended starts to live again */
    assert_int_equal(ambit_ctx_err(ctx), AMBIT_TIMED_OUT);
    assert_int_equal(ambit_ctx_err(now), AMBIT_TIMED_OUT);
    ambit_ctx_close(&ctx);
    ambit_ctx_close(&now);
    ambit_ctx_close(&none);
}

/* A past deadline is no reason to refuse: all calls work, and say at once that it is over. */
static void whatever_is_past_is_born_ended_and_usable(void **state) {
    (void)state;
    static const int64_t pasts[] = {-1, 0, 1, -AMBIT_SECOND, INT64_MIN, INT64_MIN + 1};
    AMBIT_KEY(number, int);
    for (int i = 0; i < 6; i++) {
        ambit_ctx *ctx = open_deadline(ambit_background(), pasts[i]), *below = open_child(ctx);
        _Atomic(int) ran = 0;
        ambit_cancel node = {0};
        int fd = -1;
        assert_int_equal(ambit_ctx_deadline_ns(below), pasts[i]);
        assert_int_equal(ambit_ctx_err(below), AMBIT_TIMED_OUT);
        assert_int_equal(ambit_ctx_cause(ctx).code, AMBIT_TIMED_OUT);
        assert_ok(ambit_ctx_put(ctx, &number, &i));
        assert_int_equal(*ambit_ctx_get(below, &number), i);
        assert_int_equal(ambit_ctx_on_cancel(ctx, &node, count_up, &ran), AMBIT_TIMED_OUT);
        assert_int_equal(atomic_load(&ran), 1);
        assert_int_equal(ambit_ctx_wait(below), AMBIT_TIMED_OUT);
        assert_int_equal(ambit_ctx_sleep(below, AMBIT_SECOND), AMBIT_TIMED_OUT);
        assert_ok(ambit_ctx_fd(below, &fd));
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&poll_fd, 1, 0), 1);
        ambit_ctx_close(&below);
        ambit_ctx_close(&ctx);
    }
}

static void timeouts_that_overflow_never_come(void **state) {
    (void)state;
    static const int64_t far[] = {INT64_MAX, INT64_MAX - 1, INT64_MAX - 1000};
    set_virtual(INT64_C(1) << 40);
    for (int i = 0; i < 3; i++) {
        ambit_ctx *ctx = open_timeout(ambit_background(), far[i]);
        assert_int_equal(ambit_ctx_deadline_ns(ctx), AMBIT_NEVER);
        assert_ok(ambit_ctx_err(ctx));
        ambit_ctx *bounded = open_deadline(ambit_background(), (INT64_C(1) << 40) + 5);
        ambit_ctx *below = open_timeout(bounded, far[i]);
        assert_int_equal(ambit_ctx_deadline_ns(below), (INT64_C(1) << 40) + 5);
        ambit_ctx_close(&below);
        ambit_ctx_close(&bounded);
        ambit_ctx_close(&ctx);
    }
    ambit_ctx *ctx = open_deadline(ambit_background(), INT64_MAX - 1);
    assert_ok(ambit_ctx_err(ctx));
    atomic_store(&virtual_ns, INT64_MAX - 2);
    assert_ok(ambit_ctx_err(ctx));
    atomic_store(&virtual_ns, INT64_MAX - 1);
    assert_int_equal(ambit_ctx_err(ctx), AMBIT_TIMED_OUT);
    ambit_ctx_close(&ctx);
}

static void a_clock_below_zero_is_a_clock(void **state) {
    (void)state;
    set_virtual(INT64_MIN + 10);
    ambit_ctx *ctx = open_timeout(ambit_background(), 20);
    assert_int_equal(ambit_ctx_deadline_ns(ctx), INT64_MIN + 30);
    assert_ok(ambit_ctx_err(ctx));
    atomic_store(&virtual_ns, INT64_MIN + 30);
    assert_int_equal(ambit_ctx_err(ctx), AMBIT_TIMED_OUT);
    ambit_ctx_close(&ctx);
}

/* ---- Against cancel -------------------------------------------------------------------------- */

static void which_of_two_came_first_is_told_by_the_clock(void **state) {
    (void)state;
    for (int late = 0; late < 2; late++) { /* cancelled one nanosecond before, or on it */
        set_virtual(0);
        ambit_ctx *root = open_child(ambit_background()), *ctx = open_deadline(root, 1000);
        ambit_ctx *below = open_child(ctx);
        atomic_store(&virtual_ns, 999 + late);
        ambit_ctx_cancel(root, "root");
        ambit_ctx_cancel(ctx, "own");
        atomic_store(&virtual_ns, 5000); /* asked long after */
        assert_int_equal(ambit_ctx_cause(root).code, AMBIT_CANCELLED);
        assert_int_equal(ambit_ctx_err(ctx), late ? AMBIT_TIMED_OUT : AMBIT_CANCELLED);
        assert_string_equal(ambit_ctx_cause(below).text, late ? "deadline passed" : "root");
        ambit_ctx_close(&below);
        ambit_ctx_close(&ctx);
        ambit_ctx_close(&root);
    }
}

static void a_close_after_the_deadline_is_a_timeout(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        ambit_ctx *ctx = open_timeout(ambit_background(), 300000);
        ambit_hold *hold = hold_of(ctx);
        while (ambit_clock_now_ns() < ambit_ctx_deadline_ns(ctx)) {
        }
        ambit_ctx_close(&ctx); /* also within the step of a coarse clock */
        assert_int_equal(ambit_ctx_err(ambit_hold_ctx(hold)), AMBIT_TIMED_OUT);
        ambit_ctx_drop(&hold);
    }
}

static void callbacks_of_a_late_cancel_see_the_timeout(void **state) {
    (void)state;
    set_virtual(0);
    _Atomic(int) ran = 0;
    ambit_cancel node = {0};
    ambit_ctx *root = open_child(ambit_background()), *ctx = open_deadline(root, 1000);
    assert_ok(ambit_ctx_on_cancel(ctx, &node, count_up, &ran));
    ambit_timer_stop(); /* nobody but the cancel will tell */
    atomic_store(&virtual_ns, 1000);
    ambit_ctx_cancel(root, "root");
    assert_int_equal(atomic_load(&ran), 1);
    assert_int_equal(ambit_ctx_cause(ctx).code, AMBIT_TIMED_OUT);
    assert_int_equal(ambit_ctx_cause(root).code, AMBIT_CANCELLED);
    ambit_ctx_close(&ctx);
    ambit_ctx_close(&root);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static void a_deadline_costs_no_timer_until_someone_waits(void **state) {
    (void)state;
    ambit_ctx *ctx = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    ambit_ctx *below = open_timeout(ctx, 1800 * AMBIT_SECOND);
    _Atomic(int) ran = 0;
    ambit_cancel node = {0};
    assert_ok(ambit_ctx_err(below));
    assert_int_equal(timers_armed(), 0);
    assert_ok(ambit_ctx_on_cancel(below, &node, count_up, &ran));
    assert_int_equal(timers_armed(), 2);
    assert_int_equal(ambit_ctx_off_cancel(below, &node), AMBIT_REMOVED);
    ambit_ctx_cancel(below, NULL);
    assert_int_equal(timers_armed(), 1); /* TestCanceledTimeout: an ended one leaves the wheel */
    ambit_ctx_close(&ctx);
    assert_int_equal(timers_armed(), 0);
    ambit_ctx_close(&below);
}

/* Go's strict comparison arms a second timer for a child with the same deadline. */
static void equal_deadlines_arm_one_timer(void **state) {
    (void)state;
    enum { COUNT = 20 };
    int64_t deadline_ns = ambit_clock_now_ns() + 3600 * AMBIT_SECOND;
    ambit_ctx *root = open_deadline(ambit_background(), deadline_ns), *children[COUNT];
    _Atomic(int) ran = 0;
    ambit_cancel nodes[COUNT] = {0};
    for (int i = 0; i < COUNT; i++) { /* equal, later, or none of its own */
        children[i] = i % 3 == 2 ? open_child(root) : open_deadline(root, deadline_ns + i % 3);
        assert_ok(ambit_ctx_on_cancel(children[i], &nodes[i], count_up, &ran));
        assert_int_equal(timers_armed(), 1);
    }
    ambit_ctx *sooner = open_deadline(root, deadline_ns - 1);
    ambit_cancel node = {0};
    assert_ok(ambit_ctx_on_cancel(sooner, &node, count_up, &ran));
    assert_int_equal(timers_armed(), 2);
    ambit_ctx_close(&sooner);
    for (int i = 0; i < COUNT; i++) ambit_ctx_close(&children[i]);
    assert_int_equal(timers_armed(), 1);
    ambit_ctx_close(&root);
}

/* Go TestLayersTimeout: one timer at the top ends a whole tree of waiters. */
static void one_deadline_ends_a_tree(void **state) {
    (void)state;
    enum { LAYERS = 100 };
    ambit_ctx *chain[LAYERS];
    ambit_cancel nodes[LAYERS] = {0};
    _Atomic(int) ran = 0;
    chain[0] = open_timeout(ambit_background(), 20 * AMBIT_MILLISECOND);
    for (int i = 1; i < LAYERS; i++) chain[i] = open_child(chain[i / 2]);
    int registered = 0;
    for (int i = 0; i < LAYERS; i++)
        registered += !ambit_ctx_on_cancel(chain[i], &nodes[i], count_up, &ran);
    assert_true(comes_to(&ran, LAYERS));
    for (int i = 0; i < LAYERS; i++) {
        assert_int_equal(ambit_ctx_cause(chain[i]).code, AMBIT_TIMED_OUT);
        assert_string_equal(ambit_ctx_cause(chain[i]).site->function, "open_timeout");
    }
    assert_int_not_equal(registered, 0);
    for (int i = 0; i < LAYERS; i++) ambit_ctx_close(&chain[i]);
    assert_int_equal(atomic_load(&ran), LAYERS);
}

/* ---- Races ----------------------------------------------------------------------------------- */

static void note_destroyed(void *argument) { atomic_fetch_add((_Atomic(int) *)argument, 1); }

/* Go TestCanceledTimeout, at the very moment: close, cancel and off_cancel meet the timer thread. */
static void ends_that_meet_the_deadline_run_each_callback_once(void **state) {
    (void)state;
    int by_deadline = 0, by_hand = 0;
    for (int round = 0; round < 600; round++) {
        _Atomic(int) ran = 0, destroyed = 0;
        ambit_cancel node = {0}, below = {0};
        ambit_ctx *ctx = open_timeout(ambit_background(), (round % 3 + 1) * AMBIT_MILLISECOND);
        ambit_ctx *child = open_child(ctx);
        assert_ok(ambit_ctx_defer(ctx, note_destroyed, &destroyed));
        ambit_status first = ambit_ctx_on_cancel(ctx, &node, count_up, &ran);
        ambit_status second = ambit_ctx_on_cancel(child, &below, count_up, &ran);
        assert_true(first == AMBIT_OK || first == AMBIT_TIMED_OUT);
        assert_true(second == AMBIT_OK || second == AMBIT_TIMED_OUT);
        int64_t meet_ns = ambit_ctx_deadline_ns(ctx) + (round % 40) * 50000;
        while (ambit_clock_now_ns() < meet_ns - AMBIT_MILLISECOND / 2) {
        }
        if (round % 2) ambit_ctx_cancel(ctx, NULL);
        ambit_ctx *copy = ctx;
        ambit_hold *hold = hold_of(ctx);
        ambit_ctx_close(&ctx);
        if (ambit_ctx_err(copy) == AMBIT_TIMED_OUT)
            by_deadline++;
        else
            by_hand++;
        assert_int_equal(ambit_ctx_off_cancel(copy, &node), AMBIT_ALREADY_RAN);
        assert_int_equal(ambit_ctx_off_cancel(child, &below), AMBIT_ALREADY_RAN);
        assert_int_equal(atomic_load(&ran), 2);
        assert_int_equal(atomic_load(&destroyed), 0);
        ambit_ctx_close(&child);
        ambit_ctx_drop(&hold);
        assert_int_equal(atomic_load(&destroyed), 1);
        assert_int_equal(timers_armed(), 0);
    }
    assert_int_not_equal(by_deadline, 0); /* else they did not meet */
    assert_int_not_equal(by_hand, 0);
}

static const struct CMUnitTest tests[] = {
    CASE(the_earliest_on_the_way_up_counts),
    CASE(a_timeout_counts_from_the_opening),
    CASE(timeouts_on_the_machines_clock_are_never_early),
    CASE(a_deadline_is_over_when_the_clock_reads_it),
    CASE(whatever_is_past_is_born_ended_and_usable),
    CASE(timeouts_that_overflow_never_come),
    CASE(a_clock_below_zero_is_a_clock),
    CASE(which_of_two_came_first_is_told_by_the_clock),
    CASE(a_close_after_the_deadline_is_a_timeout),
    CASE(callbacks_of_a_late_cancel_see_the_timeout),
    CASE(a_deadline_costs_no_timer_until_someone_waits),
    CASE(equal_deadlines_arm_one_timer),
    CASE(one_deadline_ends_a_tree),
    CASE(ends_that_meet_the_deadline_run_each_callback_once),
};
RUN(tests);
