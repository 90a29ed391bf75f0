/* src/ctx/close.c, its first half: what goes, in which order, and what its memory is when it is
 * another's. Nothing of the last one is left in it: neither an end, nor a link, a descriptor or
 * a value.
 *
 * What stands in a context is plain memory: who still has it to do with the last one races with
 * the next. */
#include <poll.h>

#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ctx/close.c:scrub ctx/close.c:give_back")

#define AFTER_MUSTER .before = muster, .cxx20_release_sequences = true

static ambit_ctx *root, *ctx, *elsewhere;
static ambit_hold *hold;
static ambit_cancel nodes[2];
static unsigned ran[2], destroyed;

static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }
static void count(ambit_ctx *of, void *argument) {
    (void)of;
    ++*(unsigned *)argument;
}
static void destroy(void *argument) {
    (void)argument;
    destroyed++;
}
static void open_below_root(void) {
    be(0);
    root = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ctx = open_below(root);
}
static void cancel_root(void) { ambit_ctx_cancel(root, NULL); }
static void drop_it(void) { ambit_ctx_drop(&hold); }

/* The next one, most likely in the memory of `ctx`, hears of its own parent's end, once, and of
 * no other. */
static void live_again(void) {
    ambit_ctx *again = open_below(elsewhere);
    ambit_schedule_assert(!ambit_ctx_err(again) &&
                          !ambit__load_relaxed(&again->head.order_children));
    ambit_schedule_assert(!ambit_ctx_on_cancel(again, &nodes[1], count, &ran[1]));
    ambit_schedule_yield();
    ambit_schedule_assert(!ran[1] && !ambit_ctx_err(again));
    ambit_ctx_cancel(elsewhere, NULL);
    ambit_schedule_assert(ran[1] == 1 && ambit_ctx_err(again) == AMBIT_CANCELLED);
    end(again);
}

/* The same in what either of the first two has got back: whoever was the last. */
static void live_by_both(void) {
    live_again();
    end(elsewhere);
    elsewhere = root;
    ran[1] = 0;
    be(1);
    live_again();
    end(root);
}

/* ---- Its end --------------------------------------------------------------------------------- */

AMBIT_SCHEDULE_TEST_WITH(the_next_one_is_told_of_its_own_end, AFTER_MUSTER) {
    open_below_root();
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &nodes[0], count, &ran[0]));
    ambit_schedule_thread other = start(1, cancel_root);
    end(ctx);
    ambit_schedule_assert(ran[0] == 1);
    live_again();
    ambit_schedule_join(other);
    end(root);
    end(elsewhere);
}

/* Its last owner was told from inside a callback, and the rest left to the delivery. */
static void close_from_inside(ambit_ctx *of, void *argument) {
    count(of, argument);
    end(of);
}
AMBIT_SCHEDULE_TEST_WITH(the_next_one_is_not_closed_by_its_delivery, AFTER_MUSTER) {
    open_below_root();
    hold = hold_of(ctx);
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &nodes[0], close_from_inside, &ran[0]));
    ambit_schedule_thread other = start(1, drop_it);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    live_by_both();
}

/* By its deadline, on the timer's thread: then the rest is left to the timer. */
static _Atomic(bool) gone;
static void say_gone(void *argument) {
    destroy(argument);
    ambit__store_release(&gone, true);
}
AMBIT_SCHEDULE_TEST_WITH(its_deadline_has_it_closed_from_inside, AFTER_MUSTER,
                         .early_ns = 2 * AMBIT_MILLISECOND) {
    be(0);
    ambit_schedule_assert(!ambit_ctx_open_timeout(ambit_background(), AMBIT_MILLISECOND, &ctx));
    ambit_schedule_assert(!ambit_ctx_defer(ctx, say_gone, NULL));
    hold = hold_of(ctx);
    ambit_status status = ambit_ctx_on_cancel(ctx, &nodes[0], close_from_inside, &ran[0]);
    ambit_schedule_assert(!status || status == AMBIT_TIMED_OUT);
    ambit_schedule_yield();
    drop_it();
    while (!ambit__load_acquire(&gone)) ambit_schedule_yield();
    ambit_timer_stop();
    ambit_schedule_assert(destroyed == 1 && ran[0] == 1);
}

AMBIT_SCHEDULE_TEST_WITH(the_next_one_orders_nothing, AFTER_MUSTER) {
    open_below_root();
    ambit_ctx_order_children(ctx);
    ambit_ctx *child = open_below(ctx);
    ambit_schedule_thread other = start(1, cancel_root);
    end(child);
    end(ctx);
    live_again();
    ambit_schedule_join(other);
    end(root);
    end(elsewhere);
}

/* Nobody waited for it, and its destructors have run: by its owner, or by whom one of them has
 * given it to. */
static _Atomic(ambit_hold *) given;
static void give_away(void *argument) {
    destroy(argument);
    ambit__store_release(&given, hold_of(argument));
}
static void drop_given(void) {
    while (!(hold = ambit__load_acquire(&given))) ambit_schedule_yield();
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(the_next_one_after_destructors, AFTER_MUSTER) {
    open_below_root();
    ambit_schedule_assert(!ambit_ctx_defer(ctx, destroy, ctx));
    ambit_schedule_thread other = start(1, cancel_root);
    end(ctx);
    ambit_schedule_assert(destroyed == 1);
    live_again();
    ambit_schedule_join(other);
    end(root);
    end(elsewhere);
}
AMBIT_SCHEDULE_TEST_WITH(the_next_one_after_it_was_given_away, AFTER_MUSTER) {
    open_below_root();
    ambit_schedule_assert(!ambit_ctx_defer(ctx, give_away, ctx));
    ambit_schedule_thread other = start(1, drop_given);
    end(ctx);
    ambit_schedule_join(other);
    live_by_both();
}

/* A destructor may leave something to be done by another. */
static void defer_another(void *argument) {
    destroy(argument);
    ambit_schedule_assert(!ambit_ctx_defer(argument, destroy, argument));
}
AMBIT_SCHEDULE_TEST_WITH(a_destructor_defers_another, AFTER_MUSTER) {
    open_below_root();
    ambit_schedule_assert(!ambit_ctx_defer(ctx, destroy, ctx));
    ambit_schedule_assert(!ambit_ctx_defer(ctx, defer_another, ctx));
    hold = hold_of(ctx);
    ambit_schedule_thread other = start(1, drop_it);
    end(ctx);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 3);
    end(root);
    end(elsewhere);
}

/* A destructor has the context armed (as ambit_ctx_fd() does, here in two steps), and the parent
 * ends just then: who tells the context is through with it before it is another's. */
static _Atomic(bool) asking;
static void arm_its_own(void *argument) {
    bool fresh;
    ambit_schedule_assert(!ambit__ctx_arm_unchecked(argument, &fresh) && fresh);
    ambit__store_relaxed(&asking, true);
    ambit__ctx_disarm_if_ended(argument);
}
static void cancel_root_when_it_asks(void) {
    while (!ambit__load_relaxed(&asking)) ambit_schedule_yield();
    cancel_root();
}
static void let_a_destructor_arm_it(int64_t deadline_ns) {
    be(0);
    root = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_open_deadline(root, deadline_ns, &ctx));
    ambit_schedule_assert(!ambit_ctx_defer(ctx, arm_its_own, ctx));
    ambit_schedule_thread other = start(1, cancel_root_when_it_asks);
    end(ctx);
    live_again();
    ambit_schedule_join(other);
    end(root);
    end(elsewhere);
    ambit_timer_stop();
}
AMBIT_SCHEDULE_TEST_WITH(its_destructor_arms_it_while_the_parent_ends, AFTER_MUSTER) {
    let_a_destructor_arm_it(ambit_schedule_choose(2) ? AMBIT_NEVER
                                                     : ambit__clock_now() + AMBIT_SECOND);
}

/* ---- What it had ----------------------------------------------------------------------------- */

static int fd_of(ambit_ctx *of) {
    int fd;
    ambit_schedule_assert(!ambit_ctx_fd(of, &fd) && fd >= 0);
    return fd;
}
static short look_at(int fd) {
    struct pollfd poller = {.fd = fd, .events = POLLIN};
    (void)poll(&poller, 1, 0);
    return poller.revents;
}
AMBIT_SCHEDULE_TEST_WITH(the_next_one_has_its_own_descriptor, AFTER_MUSTER) {
    open_below_root();
    int fd = fd_of(ctx);
    ambit_schedule_thread other = start(1, cancel_root);
    end(ctx);
    ambit_schedule_assert(look_at(fd) == POLLNVAL);
    ambit_ctx *again = open_below(elsewhere);
    fd = fd_of(again);
    ambit_schedule_assert(look_at(fd) == 0);
    ambit_ctx_cancel(elsewhere, NULL);
    ambit_schedule_assert(look_at(fd) == POLLIN);
    end(again);
    ambit_schedule_join(other);
    end(root);
    end(elsewhere);
}

/* Asked for by two at once, and then after a fork, which the child would see as here: there is
 * one at a time, it is not readable before the end, and none is left. */
static unsigned count_open(void) {
    unsigned open = 0;
    for (int fd = 0; fd < 16; fd++) open += look_at(fd) != POLLNVAL;
    return open;
}
static int fds[2];
static void ask_too(void) { fds[1] = fd_of(ctx); }
AMBIT_SCHEDULE_TEST_WITH(descriptors_are_as_many_as_there_are_to_be, AFTER_MUSTER) {
    open_below_root();
    unsigned before = count_open();
    ambit_schedule_thread other = start(1, ask_too);
    fds[0] = fd_of(ctx);
    ambit_schedule_join(other);
    ambit_schedule_assert(fds[0] == fds[1] && count_open() == before + 1);
    ctx->fd_epoch--;
    other = start(1, ask_too);
    int after = fd_of(ctx);
    ambit_schedule_join(other);
    ambit_schedule_assert(after != fds[0] && after == fds[1] && count_open() == before + 1);
    ambit_schedule_assert(look_at(after) == 0);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_assert(look_at(after) == POLLIN);
    end(ctx);
    ambit_schedule_assert(count_open() == before);
    end(root);
    end(elsewhere);
}

/* More values than stand inside, in both lives, while one who holds it reads those of the first. */
enum { MANY = 10 };
static const ambit_key keys[MANY] = {[0 ... MANY - 1] = {"number", sizeof(int), _Alignof(int)}};
static ambit_status put(ambit_ctx *into, int key, int number) {
    return ambit__ctx_put(into, &keys[key], &number, sizeof number, _Alignof(int));
}
/* They stay: neither way puts one again. */
static void put_many(ambit_ctx *into, int first) {
    for (int i = 0; i < MANY; i++) {
        ambit_schedule_assert(!put(into, i, first + i));
        if (!i || i + 1 == MANY) ambit_schedule_assert(put(into, i, 0) == AMBIT_EXISTS);
    }
}
static void check_many(const ambit_ctx *in, int first) {
    for (int i = 0; i < MANY; i++) {
        const int *number = ambit__ctx_get(in, &keys[i]);
        ambit_schedule_assert(number && *number == first + i);
    }
}
static void read_and_drop(void) {
    check_many(ambit_hold_ctx(hold), 100);
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(the_next_one_has_its_own_values, AFTER_MUSTER) {
    open_below_root();
    put_many(ctx, 100);
    hold = hold_of(ctx);
    ambit_schedule_thread other = start(1, read_and_drop);
    end(ctx);
    ambit_ctx *again = open_below(elsewhere);
    for (int i = 0; i < MANY; i++) ambit_schedule_assert(!ambit__ctx_get(again, &keys[i]));
    put_many(again, 200);
    for (int i = 0; i < 2; i++)
        ambit_schedule_assert(ambit_ctx_alloc(again, 3000)); /* a block each */
    check_many(again, 200);
    ambit_schedule_join(other);
    check_many(again, 200);
    end(again);
    end(root);
    end(elsewhere);
}

/* ---- Who goes before whom -------------------------------------------------------------------- */

/* What a destructor of a child's reads of its parent is there, though the parent is closed
 * beside it. */
static void read_the_parents(void *argument) {
    check_many(argument, 100);
    destroyed++;
}
static void close_root(void) { end(root); }
AMBIT_SCHEDULE_TEST_WITH(a_destructor_reads_what_its_parent_has, AFTER_MUSTER) {
    open_below_root();
    put_many(root, 100);
    ambit_schedule_assert(!ambit_ctx_defer(root, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_defer(ctx, read_the_parents, ctx));
    ambit_schedule_thread other = start(1, close_root);
    end(ctx);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 2);
    end(elsewhere);
}

/* A merged one that goes last takes both sides along. */
static void close_elsewhere(void) { end(elsewhere); }
AMBIT_SCHEDULE_TEST_WITH(both_sides_go_with_a_merged_one, AFTER_MUSTER) {
    ambit_ctx *merged;
    open_below_root();
    ambit_schedule_assert(!ambit_ctx_defer(root, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_defer(elsewhere, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &merged));
    ambit_schedule_thread other = start(1, close_elsewhere), third = start(2, close_root);
    end(ctx);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    ambit_schedule_assert(!destroyed);
    end(merged);
    ambit_schedule_assert(destroyed == 2);
}
/* It has left them, and the next one does not leave them again. */
AMBIT_SCHEDULE_TEST_WITH(the_next_one_has_no_second_side, AFTER_MUSTER) {
    ambit_ctx *merged;
    open_below_root();
    ambit_schedule_assert(!ambit_ctx_defer(elsewhere, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &merged));
    ambit_schedule_thread other = start(1, cancel_root);
    end(merged);
    merged = open_below(ambit_background());
    ambit_schedule_assert(!ambit__load_relaxed(&merged->second));
    end(merged);
    ambit_schedule_assert(!destroyed);
    ambit_schedule_join(other);
    end(ctx);
    end(root);
    end(elsewhere);
    ambit_schedule_assert(destroyed == 1);
}
