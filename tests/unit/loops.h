/* What the suites of the event loops share: the same claims in each of them. The suite gives
 * loop_stops(), which runs a loop that watches `count` descriptors, and has some other work, until
 * all of them have been readable; true if it stopped by itself, false after ten seconds. */
#ifndef AMBIT_TESTS_LOOPS_H
#define AMBIT_TESTS_LOOPS_H

#include "ctxs.h"

static bool loop_stops(const int *fds, int count, bool edge);

static int fd_of(ambit_ctx *ctx) {
    int fd = -1;
    must(!ambit_ctx_fd(ctx, &fd));
    return fd;
}
static void *cancel_later(void *argument) {
    nap_ms(20);
    ambit_ctx_cancel(argument, "from another thread");
    return NULL;
}

static void the_loop_stops_when_another_thread_cancels(void **state) {
    (void)state;
    for (int edge = 0; edge < 2; edge++) {
        ambit_ctx *ctx = open_child(ambit_background());
        int fd = fd_of(ctx);
        pthread_t thread = start(cancel_later, ctx);
        assert_true(loop_stops(&fd, 1, edge));
        assert_int_equal(ambit_ctx_err(ctx), AMBIT_CANCELLED);
        join(thread);
        ambit_ctx_close(&ctx);
    }
}

static void the_loop_stops_at_the_deadline_and_not_before(void **state) {
    (void)state;
    ambit_ctx *ctx = open_timeout(ambit_background(), 30 * AMBIT_MILLISECOND);
    int fd = fd_of(ctx);
    assert_true(loop_stops(&fd, 1, false));
    assert_true(ambit_clock_now_ns() >= ambit_ctx_deadline_ns(ctx));
    assert_int_equal(ambit_ctx_err(ctx), AMBIT_TIMED_OUT);
    ambit_ctx_close(&ctx);
}

static void the_loop_stops_with_the_parent(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *middle = open_child(root);
    ambit_ctx *leaf = open_child(middle);
    int fds[2] = {fd_of(leaf), fd_of(middle)};
    pthread_t thread = start(cancel_later, root);
    assert_true(loop_stops(fds, 2, false));
    join(thread);
    ambit_ctx_close(&leaf);
    ambit_ctx_close(&middle);
    ambit_ctx_close(&root);
}

static void the_loop_stops_at_once_for_one_that_has_ended(void **state) {
    (void)state;
    for (int edge = 0; edge < 2; edge++) {
        ambit_ctx *ctx = open_child(ambit_background());
        ambit_ctx_cancel(ctx, NULL);
        int fd = fd_of(ctx);
        assert_true(loop_stops(&fd, 1, edge));
        assert_true(loop_stops(&fd, 1, edge)); /* and another loop after it */
        ambit_ctx_close(&ctx);
    }
}

struct runner {
    int fd;
    bool edge;
    _Atomic(int) running;
};
static void *run_loop(void *argument) {
    struct runner *runner = argument;
    atomic_store(&runner->running, 1);
    must(loop_stops(&runner->fd, 1, runner->edge));
    return NULL;
}
static void two_loops_stop_by_one_descriptor(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    struct runner runners[2] = {{.fd = fd_of(ctx)}, {.fd = fd_of(ctx), .edge = true}};
    pthread_t first = start(run_loop, &runners[0]), second = start(run_loop, &runners[1]);
    assert_true(comes_to(&runners[0].running, 1) && comes_to(&runners[1].running, 1));
    nap_ms(10);
    ambit_ctx_cancel(ctx, NULL);
    join(first);
    join(second);
    ambit_ctx_close(&ctx);
}

static void one_loop_waits_for_a_hundred_contexts(void **state) {
    (void)state;
    enum { COUNT = 100 };
    ambit_ctx *contexts[COUNT];
    int fds[COUNT];
    for (int i = 0; i < COUNT; i++) {
        contexts[i] = open_timeout(ambit_background(), (10 + i % 20) * AMBIT_MILLISECOND);
        fds[i] = fd_of(contexts[i]);
    }
    assert_true(loop_stops(fds, COUNT, false));
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(ambit_ctx_err(contexts[i]), AMBIT_TIMED_OUT);
        ambit_ctx_close(&contexts[i]);
    }
}

#define LOOP_CASES                                                                                 \
    CASE(the_loop_stops_when_another_thread_cancels),                                              \
        CASE(the_loop_stops_at_the_deadline_and_not_before), CASE(the_loop_stops_with_the_parent), \
        CASE(the_loop_stops_at_once_for_one_that_has_ended),                                       \
        CASE(two_loops_stop_by_one_descriptor), CASE(one_loop_waits_for_a_hundred_contexts)

#endif
