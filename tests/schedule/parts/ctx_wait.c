/* src/ctx/callback.c, its second half: threads and descriptors that wait for the end of a context. None is
 * forgotten, none wakes for nothing, and what a wait stood on is its thread's own again when it returns.
 *
 * The words and nodes of waits stand on stacks, which are plain memory and used again at once. */
#include <poll.h>
#include <unistd.h>

#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ctx/callback.c:sleep_until ctx/callback.c:wake ctx/callback.c:adopt_fd")

/* Compilers keep C++20's rule of release sequences, whatever the language. */
#define AFTER_MUSTER .before = muster, .cxx20_release_sequences = true

static ambit_ctx *ctx, *child;
static ambit_hold *hold;
static int written;

static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }
static void open_it(void) {
    be(0);
    ctx = open_below(ambit_background());
}
static void open_with_deadline(int64_t deadline_ns) {
    be(0);
    ambit_schedule_assert(!ambit_ctx_open_deadline(ambit_background(), deadline_ns, &ctx));
}

/* ---- Threads --------------------------------------------------------------------------------- */

static void wait_for_it(void) {
    ambit_schedule_assert(ambit_ctx_wait(ctx) == AMBIT_CANCELLED);
    ambit_schedule_assert(written == 5);
}
static void wait_for_child(void) {
    ambit_schedule_assert(ambit_ctx_wait(child) == AMBIT_CANCELLED);
    ambit_schedule_assert(written == 5);
}

AMBIT_SCHEDULE_TEST_WITH(a_cancel_ends_a_wait, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread waiter = start(1, wait_for_it);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    end(ctx);
}

/* Every schedule with two preemptions. */
AMBIT_SCHEDULE_TEST_WITH(every_cancel_of_one_wait, AFTER_MUSTER,
                         .strategy = AMBIT_SCHEDULE_EXHAUSTIVE, .preemptions = 2,
                         .schedules = 100000) {
    open_it();
    ambit_schedule_thread waiter = start(1, wait_for_it);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    end(ctx);
}

/* All of them, also those that come late. */
AMBIT_SCHEDULE_TEST_WITH(a_cancel_ends_all_waits, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread one = start(1, wait_for_it);
    ambit_schedule_thread two = start(2, wait_for_it);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    end(ctx);
}

AMBIT_SCHEDULE_TEST_WITH(a_cancel_ends_waits_below, AFTER_MUSTER) {
    open_it();
    child = open_below(ctx);
    ambit_schedule_thread waiter = start(1, wait_for_child);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    end(child);
    end(ctx);
}

/* A close waits until it has told the one who holds it; it does not wait for that one to go. */
static void wait_and_drop(void) {
    ambit_schedule_assert(ambit_ctx_wait(ambit_hold_ctx(hold)) == AMBIT_CANCELLED);
    ambit_schedule_assert(written == 5);
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(a_close_ends_a_wait, AFTER_MUSTER) {
    open_it();
    hold = hold_of(ctx);
    ambit_schedule_thread waiter = start(1, wait_and_drop);
    written = 5;
    end(ctx);
    ambit_schedule_join(waiter);
}

/* A child leaves the list in which the wait stands, while that is told. */
static void close_child(void) { end(child); }
AMBIT_SCHEDULE_TEST_WITH(a_child_is_closed_beside_a_wait, AFTER_MUSTER) {
    open_it();
    child = open_below(ctx);
    ambit_schedule_assert(!ambit__ctx_arm(child));
    ambit_schedule_thread waiter = start(1, wait_for_it);
    ambit_schedule_thread closer = start(2, close_child);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    ambit_schedule_join(closer);
    end(ctx);
}

/* The child that is waited for is closed by its owner and ended from above. */
static void wait_for_child_and_drop(void) {
    ambit_schedule_assert(ambit_ctx_wait(ambit_hold_ctx(hold)) == AMBIT_CANCELLED);
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(a_child_that_is_waited_for_is_closed, AFTER_MUSTER) {
    open_it();
    child = open_below(ctx);
    hold = hold_of(child);
    ambit_schedule_thread waiter = start(1, wait_for_child_and_drop);
    ambit_schedule_thread closer = start(2, close_child);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    ambit_schedule_join(closer);
    end(ctx);
}

/* Waits stand in lists by thread, some of them, once a context is busy: it becomes so beside them. The
 * last of the lists is that of the crew's last. */
enum { COLLISIONS = 8 }; /* what shard.c has as well */
static void get_busy(void) {
    ambit__store_relaxed(&ctx->waiting.contended, COLLISIONS);
    ambit__list_lock_contended(ctx, &ctx->waiting);
    ambit__spin_unlock(&ctx->waiting.lock);
}
AMBIT_SCHEDULE_TEST_WITH(a_context_gets_busy_beside_waits, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread one = start(1, wait_for_it);
    ambit_schedule_thread two = start(3, wait_for_it);
    get_busy();
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    end(ctx);
}

/* ---- Times ----------------------------------------------------------------------------------- */

static int64_t time_ns;
static ambit_status slept;
static void sleep_beside(void) {
    slept = ambit_ctx_sleep_until(ctx, time_ns);
    if (slept)
        ambit_schedule_assert(slept == AMBIT_CANCELLED && written == 5);
    else
        ambit_schedule_assert(ambit__clock_now() >= time_ns);
}

/* Its time, or the end. */
AMBIT_SCHEDULE_TEST_WITH(a_sleep_ends_by_time_or_cancel, AFTER_MUSTER) {
    open_it();
    time_ns = ambit__clock_now() + 20000;
    ambit_schedule_thread sleeper = start(1, sleep_beside);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(sleeper);
    end(ctx);
}

AMBIT_SCHEDULE_TEST_WITH(a_sleep_nobody_ends_takes_its_time, AFTER_MUSTER) {
    open_it();
    /* A short one as well: at its end the clock stands close to the time. */
    time_ns = ambit__clock_now() + (ambit_schedule_choose(2) ? AMBIT_MILLISECOND : 500);
    sleep_beside();
    ambit_schedule_assert(!slept);
    end(ctx);
}

/* The deadline ends a wait, on the timer's thread. */
AMBIT_SCHEDULE_TEST_WITH(a_deadline_ends_a_wait, AFTER_MUSTER) {
    int64_t deadline_ns = ambit__clock_now() + AMBIT_MILLISECOND;
    open_with_deadline(deadline_ns);
    ambit_schedule_assert(ambit_ctx_wait(ctx) == AMBIT_TIMED_OUT);
    ambit_schedule_assert(ambit__clock_now() >= deadline_ns);
    end(ctx);
    ambit_timer_stop();
}

static void wait_for_any_end(void) {
    ambit_status status = ambit_ctx_wait(ctx);
    ambit_schedule_assert(status && status == ambit_ctx_cause(ctx).code);
}
AMBIT_SCHEDULE_TEST_WITH(a_deadline_or_a_cancel_ends_a_wait, AFTER_MUSTER) {
    open_with_deadline(ambit__clock_now() + 100000);
    ambit_schedule_thread waiter = start(1, wait_for_any_end);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    end(ctx);
    ambit_timer_stop();
}

/* The context's own deadline comes before the time, or just after it. */
static void sleep_by_the_deadline(int64_t first_ns, int64_t deadline_ns) {
    open_with_deadline(deadline_ns);
    ambit_status status = ambit_ctx_sleep_until(ctx, first_ns);
    int64_t now_ns = ambit__clock_now();
    if (status)
        ambit_schedule_assert(status == AMBIT_TIMED_OUT && now_ns >= deadline_ns);
    else
        ambit_schedule_assert(now_ns >= first_ns && first_ns <= deadline_ns);
    end(ctx);
    ambit_timer_stop();
}
AMBIT_SCHEDULE_TEST_WITH(a_sleep_ends_by_the_deadline, AFTER_MUSTER, .schedules = 5000) {
    int64_t now_ns = ambit__clock_now();
    sleep_by_the_deadline(now_ns + 1000 * AMBIT_MILLISECOND, now_ns + AMBIT_MILLISECOND);
}
AMBIT_SCHEDULE_TEST_WITH(a_sleep_ends_before_the_deadline, AFTER_MUSTER, .schedules = 5000) {
    int64_t now_ns = ambit__clock_now();
    sleep_by_the_deadline(now_ns + AMBIT_MILLISECOND, now_ns + AMBIT_MILLISECOND + 50000);
}

/* The parent's deadline, the close of the child that is waited for, and a cancel: one of them. */
static void wait_any_and_drop(void) {
    ambit_ctx *held = ambit_hold_ctx(hold);
    ambit_status status = ambit_ctx_wait(held);
    ambit_schedule_assert(status && status == ambit_ctx_cause(held).code);
    if (status == AMBIT_TIMED_OUT)
        ambit_schedule_assert(ambit__clock_now() >= ambit_ctx_deadline_ns(held));
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(a_deadline_a_cancel_and_a_close_end_a_wait, AFTER_MUSTER,
                         .schedules = 5000) {
    open_with_deadline(ambit__clock_now() + 100000);
    child = open_below(ctx);
    hold = hold_of(child);
    ambit_schedule_thread waiter = start(1, wait_any_and_drop);
    ambit_schedule_thread closer = start(2, close_child);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(waiter);
    ambit_schedule_join(closer);
    end(ctx);
    ambit_timer_stop();
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

static bool is_readable(int fd, int timeout_ms) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    int count = poll(&poller, 1, timeout_ms);
    ambit_schedule_assert(count >= 0 && !(poller.revents & ~POLLIN));
    return count == 1;
}
static int fd_of(ambit_ctx *of) {
    int fd;
    ambit_schedule_assert(!ambit_ctx_fd(of, &fd) && fd >= 0);
    return fd;
}

/* Users do not read it; here it tells how often it was written to, and orders as poll() does not. */
static uint64_t written_to(int fd) {
    uint64_t count = 0;
    ssize_t got = read(fd, &count, sizeof count);
    ambit_schedule_assert(got == (ssize_t)sizeof count || got < 0);
    return got < 0 ? 0 : count;
}

/* Whether poll() orders what was before the write with what comes after it stands nowhere, so the
 * context is asked until it says so. */
static void poll_for_it(void) {
    int fd = fd_of(ctx);
    while (!is_readable(fd, -1)) {
    }
    while (!ambit_ctx_err(ctx)) ambit_schedule_yield();
    ambit_schedule_assert(is_readable(fd, 0)); /* it stays so */
}

AMBIT_SCHEDULE_TEST_WITH(a_cancel_makes_the_descriptor_readable, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread poller = start(1, poll_for_it);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(poller);
    end(ctx);
}

/* Asked for by two at once, it is one, and only one is made readable. */
static int fds[CREW];
static void ask_and_poll(void) {
    fds[1] = fd_of(ctx);
    while (!is_readable(fds[1], -1)) {
    }
}
AMBIT_SCHEDULE_TEST_WITH(all_get_the_same_descriptor, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread other = start(1, ask_and_poll);
    fds[0] = fd_of(ctx);
    ambit_schedule_assert(!is_readable(fds[0], 0));
    ambit_ctx_cancel(ctx, NULL);
    while (!is_readable(fds[0], -1)) { /* the other may still be about to watch */
    }
    ambit_schedule_join(other);
    ambit_schedule_assert(fds[0] == fds[1] && written_to(fds[0]) == 1);
    end(ctx);
}

/* After a fork there is one of the parent's, which is replaced; here the child has threads already. */
AMBIT_SCHEDULE_TEST_WITH(an_inherited_descriptor_is_replaced, AFTER_MUSTER) {
    open_it();
    (void)fd_of(ctx);
    ctx->fd_epoch--;
    ambit_schedule_thread poller = start(1, poll_for_it);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(poller);
    end(ctx);
}

/* The descriptor goes with the context: who closed it last has closed it. */
static void poll_and_drop(void) {
    int fd = fd_of(ambit_hold_ctx(hold));
    while (!is_readable(fd, -1)) {
    }
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(the_descriptor_goes_with_the_context, AFTER_MUSTER) {
    open_it();
    hold = hold_of(ctx);
    int last = fd_of(ctx);
    ambit_schedule_thread poller = start(1, poll_and_drop);
    end(ctx);
    ambit_schedule_join(poller);
    struct pollfd gone = {.fd = last, .events = POLLIN};
    ambit_schedule_assert(poll(&gone, 1, 0) == 1 && gone.revents == POLLNVAL);
}

/* Not before it has ended: who finds it readable finds the end, and what was done before that. */
static void poll_for_the_end(void) {
    int fd = fd_of(ctx);
    while (!is_readable(fd, -1)) {
    }
    ambit_schedule_assert(written_to(fd) == 1);
    ambit_schedule_assert(ambit_ctx_err(ctx) == AMBIT_CANCELLED && written == 5);
}
AMBIT_SCHEDULE_TEST_WITH(readable_means_ended, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread poller = start(1, poll_for_the_end);
    written = 5;
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(poller);
    end(ctx);
}

/* Where it was asked for before the cancel, here or above, it is readable when that returns; and two
 * cancels make it so once. */
static void cancel_it(void) { ambit_ctx_cancel(ctx, NULL); }
AMBIT_SCHEDULE_TEST_WITH(two_cancels_write_once, AFTER_MUSTER) {
    open_it();
    child = open_below(ctx);
    int fd = fd_of(child);
    ambit_schedule_assert(!is_readable(fd, 0));
    ambit_schedule_thread other = start(1, cancel_it);
    ambit_ctx_cancel(child, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(is_readable(fd, 0) && written_to(fd) == 1);
    end(child);
    end(ctx);
}

/* Asked for after the end, or beside it, it is readable at once. */
static void ask_late(void) {
    ambit_schedule_assert(ambit_ctx_wait(ctx) == AMBIT_CANCELLED);
    int fd = fd_of(ctx);
    ambit_schedule_assert(is_readable(fd, 0) && written_to(fd) == 1);
}
AMBIT_SCHEDULE_TEST_WITH(a_late_descriptor_is_readable, AFTER_MUSTER) {
    open_it();
    ambit_schedule_thread late = start(1, ask_late);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(late);
    end(ctx);
}

/* The deadline makes it readable, on the timer's thread, and not before its time. */
AMBIT_SCHEDULE_TEST_WITH(a_deadline_makes_the_descriptor_readable, AFTER_MUSTER,
                         .schedules = 5000) {
    int64_t deadline_ns = ambit__clock_now() + AMBIT_MILLISECOND;
    open_with_deadline(deadline_ns);
    int fd = fd_of(ctx);
    while (!is_readable(fd, -1)) {
    }
    ambit_schedule_assert(ambit__clock_now() >= deadline_ns);
    ambit_schedule_assert(written_to(fd) == 1);
    ambit_schedule_assert(ambit_ctx_err(ctx) == AMBIT_TIMED_OUT);
    end(ctx);
    ambit_timer_stop();
}

/* A deadline and a cancel write once as well. */
AMBIT_SCHEDULE_TEST_WITH(a_deadline_and_a_cancel_write_once, AFTER_MUSTER, .schedules = 5000) {
    open_with_deadline(ambit__clock_now() + 100000);
    int fd = fd_of(ctx);
    ambit_schedule_thread other = start(1, cancel_it);
    while (!is_readable(fd, -1)) {
    }
    ambit_schedule_join(other);
    ambit_timer_stop();
    ambit_schedule_assert(written_to(fd) == 1);
    end(ctx);
}
