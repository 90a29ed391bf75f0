/* Callbacks, waiting, descriptors and deadlines (Go: context/context_test.go; folly:
 * CancellationTokenTest.cpp; GLib: gio/tests/cancellable.c). */
#include <sched.h>
#include <stdatomic.h>

#include "suite.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static void count_up(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ++*(int *)argument;
}

/* folly CallbackShouldNotBeExecutedMultipleTimes */
static void a_callback_runs_exactly_once(void **state) {
    (void)state;
    ambit_cancel node = {0}, removed = {0}, late = {0};
    int ran = 0, never = 0, at_once = 0;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &node, count_up, &ran));
    assert_ok(ambit_ctx_on_cancel(ctx, &removed, count_up, &never));
    assert_int_equal(ambit_ctx_off_cancel(ctx, &removed), AMBIT_REMOVED);
    ambit_ctx_cancel(ctx, NULL);
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(ran, 1);
    assert_int_equal(never, 0);
    assert_int_equal(ambit_ctx_off_cancel(ctx, &node), AMBIT_ALREADY_RAN);
    assert_int_equal(ambit_ctx_on_cancel(ctx, &late, count_up, &at_once), AMBIT_CANCELLED);
    assert_int_equal(at_once, 1);
    ambit_ctx_close(&ctx);
    assert_int_equal(ran, 1);
}

static void close_runs_the_callbacks(void **state) {
    (void)state;
    ambit_cancel node = {0};
    int ran = 0;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &node, count_up, &ran));
    ambit_ctx_close(&ctx);
    assert_int_equal(ran, 1);
}

/* folly CallbackThatDeregistersItself: and frees its node. */
static void take_back_and_free(ambit_ctx *ctx, void *argument) {
    assert_int_equal(ambit_ctx_off_cancel(ctx, argument), AMBIT_RUNNING_HERE);
    free(argument);
}
static void a_callback_may_remove_and_free_itself(void **state) {
    (void)state;
    ambit_cancel *node = calloc(1, sizeof *node);
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, node, take_back_and_free, node));
    ambit_ctx_cancel(ctx, NULL);
    ambit_ctx_close(&ctx);
}

static void close_from_inside(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ambit_ctx_close((ambit_ctx **)argument);
}
static int destroyed;
static void note_destroyed(void *argument) {
    (void)argument;
    destroyed++;
}
static void a_callback_may_close_its_context(void **state) {
    (void)state;
    ambit_cancel node = {0};
    ambit_ctx *ctx = open_child(ambit_background()), *borrowed = ctx;
    destroyed = 0;
    assert_ok(ambit_ctx_defer(ctx, note_destroyed, NULL));
    assert_ok(ambit_ctx_on_cancel(ctx, &node, close_from_inside, &ctx));
    ambit_ctx_cancel(borrowed, NULL);
    assert_null(ctx);
    assert_int_equal(destroyed, 1);
}

struct slow {
    ambit_ctx *ctx;
    pthread_barrier_t inside;
    int finished;
    void *(*then)(struct slow *);
};
static void run_slowly(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    struct slow *slow = argument;
    pthread_barrier_wait(&slow->inside);
    struct timespec pause = {0, 20 * AMBIT_MILLISECOND};
    nanosleep(&pause, NULL);
    slow->finished = 1; /* plain: off_cancel and close must order it */
}
static void *cancel_slowly(void *argument) {
    ambit_ctx_cancel(((struct slow *)argument)->ctx, NULL);
    return NULL;
}

/* GLib documents a dead lock here (disconnect-on-cancelled-callback-hangs). */
static void off_cancel_waits_for_a_callback_elsewhere(void **state) {
    (void)state;
    struct slow slow = {.ctx = open_child(ambit_background())};
    ambit_cancel node = {0};
    ambit_hold *hold = NULL;
    pthread_t thread;
    pthread_barrier_init(&slow.inside, NULL, 2);
    assert_ok(ambit_ctx_hold(slow.ctx, &hold));
    assert_ok(ambit_ctx_on_cancel(slow.ctx, &node, run_slowly, &slow));
    assert_int_equal(pthread_create(&thread, NULL, cancel_slowly, &slow), 0);
    pthread_barrier_wait(&slow.inside);
    assert_int_equal(ambit_ctx_off_cancel(slow.ctx, &node), AMBIT_ALREADY_RAN);
    assert_int_equal(slow.finished, 1);
    pthread_join(thread, NULL);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&slow.ctx);
}

static void close_waits_for_a_callback_elsewhere(void **state) {
    (void)state;
    struct slow slow = {.ctx = open_child(ambit_background())};
    ambit_ctx *owned = slow.ctx;
    ambit_cancel node = {0};
    pthread_t thread;
    pthread_barrier_init(&slow.inside, NULL, 2);
    assert_ok(ambit_ctx_on_cancel(slow.ctx, &node, run_slowly, &slow));
    assert_int_equal(pthread_create(&thread, NULL, cancel_slowly, &slow), 0);
    pthread_barrier_wait(&slow.inside);
    ambit_ctx_close(&owned);
    assert_int_equal(slow.finished, 1);
    pthread_join(thread, NULL);
}

/* Go TestDeadline, TestTimeout, TestCanceledTimeout */
static void a_childs_deadline_is_never_later(void **state) {
    (void)state;
    ambit_ctx *root = NULL, *child = NULL;
    int64_t now_ns = ambit_clock_now_ns();
    assert_ok(ambit_ctx_open_deadline(ambit_background(), now_ns + AMBIT_SECOND, &root));
    assert_ok(ambit_ctx_open_deadline(root, now_ns + 2 * AMBIT_SECOND, &child));
    assert_int_equal(ambit_ctx_deadline_ns(child), now_ns + AMBIT_SECOND);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void a_past_timeout_is_born_past(void **state) {
    (void)state;
    const int64_t timeouts[] = {0, -1, INT64_MIN};
    for (int i = 0; i < 3; i++) {
        ambit_ctx *ctx = NULL;
        assert_ok(ambit_ctx_open_timeout(ambit_background(), timeouts[i], &ctx));
        assert_int_equal(ambit_ctx_err(ctx), AMBIT_TIMED_OUT);
        assert_int_equal(ambit_ctx_cause(ctx).code, AMBIT_TIMED_OUT);
        assert_non_null(ambit_ctx_cause(ctx).site);
        assert_int_equal(ambit_ctx_wait(ctx), AMBIT_TIMED_OUT);
        ambit_ctx_close(&ctx);
    }
}

static int64_t virtual_ns;
static int64_t read_virtual(void *user) {
    (void)user;
    return __atomic_load_n(&virtual_ns, __ATOMIC_RELAXED);
}
static void an_expired_deadline_beats_a_later_cancel(void **state) {
    (void)state;
    ambit_clock clock = {read_virtual, NULL};
    ambit_ctx *root, *early = NULL, *late = NULL, *unread = NULL;
    virtual_ns = 1000;
    ambit_clock_set(&clock);
    root = open_child(ambit_background());
    assert_ok(ambit_ctx_open_deadline(root, 2000, &early));
    assert_ok(ambit_ctx_open_deadline(root, 2000, &unread));
    assert_ok(ambit_ctx_open_deadline(root, 4000, &late));
    virtual_ns = 1999;
    assert_ok(ambit_ctx_err(early));
    virtual_ns = 3000;
    ambit_ctx_cancel(early, "too late");
    ambit_ctx_cancel(root, "root");
    assert_int_equal(ambit_ctx_cause(early).code, AMBIT_TIMED_OUT);
    assert_int_equal(ambit_ctx_err(unread), AMBIT_TIMED_OUT);
    virtual_ns = 5000;
    assert_int_equal(ambit_ctx_err(late), AMBIT_CANCELLED);
    virtual_ns = 0; /* a clock that steps back revives nothing */
    assert_int_equal(ambit_ctx_err(early), AMBIT_TIMED_OUT);
    ambit_ctx_close(&early);
    ambit_ctx_close(&late);
    ambit_ctx_close(&unread);
    ambit_ctx_close(&root);
    ambit_clock_set(NULL);
}

static void count_atomically(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    atomic_fetch_add((atomic_int *)argument, 1);
}

static void a_deadline_runs_callbacks_and_wakes_waiters(void **state) {
    (void)state;
    ambit_cancel node = {0};
    ambit_ctx *ctx = NULL;
    atomic_int ran = 0;
    int64_t start_ns = ambit_clock_now_ns();
    assert_ok(ambit_ctx_open_timeout(ambit_background(), 20 * AMBIT_MILLISECOND, &ctx));
    assert_ok(ambit_ctx_on_cancel(ctx, &node, count_atomically, &ran));
    assert_int_equal(ambit_ctx_wait(ctx), AMBIT_TIMED_OUT);
    assert_true(ambit_clock_now_ns() - start_ns >= 20 * AMBIT_MILLISECOND);
    /* A wait that comes late finds that the time is over before the timer's thread has said so. */
    while (!atomic_load(&ran)) sched_yield();
    assert_int_equal(ambit_ctx_off_cancel(ctx, &node), AMBIT_ALREADY_RAN);
    assert_int_equal(ran, 1);
    ambit_ctx_close(&ctx);
}

static void sleep_ends_at_its_time_or_with_the_context(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background()), *brief = NULL;
    int64_t start_ns = ambit_clock_now_ns();
    assert_ok(ambit_ctx_sleep(ctx, 10 * AMBIT_MILLISECOND));
    assert_true(ambit_clock_now_ns() - start_ns >= 10 * AMBIT_MILLISECOND);
    assert_ok(ambit_ctx_open_timeout(ctx, 10 * AMBIT_MILLISECOND, &brief));
    assert_int_equal(ambit_ctx_sleep(brief, 100 * AMBIT_SECOND), AMBIT_TIMED_OUT);
    ambit_ctx_close(&brief);
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(ambit_ctx_sleep(ctx, AMBIT_SECOND), AMBIT_CANCELLED);
    ambit_ctx_close(&ctx);
}

static void closing_disarms_the_deadline(void **state) {
    (void)state;
    enum { COUNT = 100 };
    ambit_ctx *contexts[COUNT] = {0};
    ambit_cancel nodes[COUNT] = {0};
    ambit_timer_stats before, during, after;
    int ran = 0;
    ambit_timer_stats_read(&before);
    for (int i = 0; i < COUNT; i++) {
        assert_ok(ambit_ctx_open_timeout(ambit_background(), 3600 * AMBIT_SECOND, &contexts[i]));
        assert_ok(ambit_ctx_on_cancel(contexts[i], &nodes[i], count_up, &ran));
    }
    ambit_timer_stats_read(&during);
    assert_int_equal(during.armed - before.armed, COUNT);
    for (int i = 0; i < COUNT; i++) ambit_ctx_close(&contexts[i]);
    ambit_timer_stats_read(&after);
    assert_int_equal(after.armed, before.armed);
    assert_int_equal(ran, COUNT);
}

static int is_readable(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}
static void the_descriptor_is_readable_from_the_end_on(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    int fd = -1, again = -1;
    assert_ok(ambit_ctx_fd(child, &fd));
    assert_ok(ambit_ctx_fd(child, &again));
    assert_int_equal(fd, again);
    assert_false(is_readable(fd));
    ambit_ctx_cancel(root, NULL);
    assert_true(is_readable(fd));
    assert_true(is_readable(fd));
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
    ambit_ctx *ended = open_child(ambit_background());
    ambit_ctx_cancel(ended, NULL);
    assert_ok(ambit_ctx_fd(ended, &fd));
    assert_true(is_readable(fd));
    ambit_ctx_close(&ended);
}

static void registering_a_node_twice_stops(void **state) {
    (void)state;
    ambit_cancel node = {0};
    int ran = 0;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &node, count_up, &ran));
    assert_stops((void)!ambit_ctx_on_cancel(ctx, &node, count_up, &ran));
    assert_non_null(suite_bug.before);
    ambit_ctx_close(&ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_callback_runs_exactly_once),
        cmocka_unit_test(close_runs_the_callbacks),
        cmocka_unit_test(a_callback_may_remove_and_free_itself),
        cmocka_unit_test(a_callback_may_close_its_context),
        cmocka_unit_test(off_cancel_waits_for_a_callback_elsewhere),
        cmocka_unit_test(close_waits_for_a_callback_elsewhere),
        cmocka_unit_test(a_childs_deadline_is_never_later),
        cmocka_unit_test(a_past_timeout_is_born_past),
        cmocka_unit_test(an_expired_deadline_beats_a_later_cancel),
        cmocka_unit_test(a_deadline_runs_callbacks_and_wakes_waiters),
        cmocka_unit_test(sleep_ends_at_its_time_or_with_the_context),
        cmocka_unit_test(closing_disarms_the_deadline),
        cmocka_unit_test(the_descriptor_is_readable_from_the_end_on),
        cmocka_unit_test(registering_a_node_twice_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
