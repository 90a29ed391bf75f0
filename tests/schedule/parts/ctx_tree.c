/* src/ctx/{open,arm}.c: a context is linked below its parent when the first one waits for its end, and its
 * deadline put into the wheel, beside all that may end or close it meanwhile. No end is lost on the way down,
 * none comes twice, and nothing is linked to what has gone.
 *
 * Links, timers and what callbacks write are plain memory. */
#include "base/fault.h"
#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ctx/arm.c ctx/open.c ctx/cancel.c:first_ended "
                      "ctx/shard.h:ambit__list_push")

/* The owner closes by a pointer of its own: close writes to it. */
static ambit_ctx *ctx, *child, *grandchild, *elsewhere;
static ambit_cancel nodes[CREW]; /* by record */
static unsigned ran[CREW];

static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }
static void count(ambit_ctx *of, void *argument) {
    (void)of;
    ++*(unsigned *)argument;
}
static ambit_status register_on(ambit_ctx *of, unsigned number) {
    return ambit_ctx_on_cancel(of, &nodes[number], count, &ran[number]);
}
/* Registered beside an end: run at once, or by the one who ended it; taken back here it has run or will
 * not. */
static void register_and_take_back(ambit_ctx *of, unsigned number) {
    ambit_status status = register_on(of, number);
    ambit_schedule_assert(status == AMBIT_OK || status == AMBIT_CANCELLED ||
                          status == AMBIT_TIMED_OUT);
    if (status) ambit_schedule_assert(ran[number] == 1);
    ambit_removal found = ambit_ctx_off_cancel(of, &nodes[number]);
    ambit_schedule_assert(ran[number] == (found == AMBIT_ALREADY_RAN));
    ran[number] = 0;
    nodes[number] = (ambit_cancel){0};
}

static ambit_ctx *open_until(ambit_ctx *parent, int64_t deadline_ns) {
    ambit_ctx *opened;
    ambit_schedule_assert(!ambit_ctx_open_deadline(parent, deadline_ns, &opened));
    return opened;
}
static void open_three(void) {
    be(0);
    ctx = open_below(ambit_background());
    child = open_below(ctx);
    grandchild = open_below(child);
}

static void wait_until_claimed(const ambit_ctx *of) {
    while (!ambit__load_relaxed(&of->armed)) ambit_schedule_yield();
}

/* ---- The end comes down ---------------------------------------------------------------------- */

/* Whenever it was registered, it has run when both are through. */
static void register_below(void) { (void)register_on(grandchild, 1); }
static void check_all_ran(void) {
    for (unsigned i = 1; i < CREW; i++) ambit_schedule_assert(ran[i] == (nodes[i].ctx != NULL));
}

AMBIT_SCHEDULE_TEST_WITH(armed_while_the_root_is_cancelled, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, register_below);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    check_all_ran();
    end(grandchild);
    end(child);
    end(ctx);
}

AMBIT_SCHEDULE_TEST_WITH(armed_while_the_middle_is_cancelled, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, register_below);
    ambit_ctx_cancel(child, NULL);
    ambit_schedule_join(other);
    check_all_ran();
    end(grandchild);
    end(child);
    end(ctx);
}

/* Two arm parts of one chain: each waits only for what is above it. */
static void register_middle(void) { (void)register_on(child, 2); }
AMBIT_SCHEDULE_TEST_WITH(armed_by_two_while_it_is_cancelled, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, register_below);
    ambit_schedule_thread third = start(2, register_middle);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    check_all_ran();
    end(grandchild);
    end(child);
    end(ctx);
}

/* Opened while the parent ends: born ended, or told. */
static void open_and_register(void) {
    ambit_ctx *mine = open_below(ctx);
    (void)register_on(mine, 1);
    end(mine);
    ambit_schedule_assert(ran[1] == 1);
}
AMBIT_SCHEDULE_TEST_WITH(opened_while_the_parent_is_cancelled, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    ambit_schedule_thread other = start(1, open_and_register);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    end(ctx);
}

/* After a cancel of the root nobody below lives, however it is armed just then. */
static void arm_and_look(void) {
    ambit_schedule_assert(!ambit__ctx_arm(grandchild));
    (void)ambit_ctx_err(grandchild);
}
AMBIT_SCHEDULE_TEST_WITH(armed_by_arming_alone, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, arm_and_look);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_assert(ambit_ctx_err(grandchild) == AMBIT_CANCELLED);
    ambit_schedule_join(other);
    end(grandchild);
    end(child);
    end(ctx);
}

/* What has ended stands in no list and in no wheel, however late it was put there. */
static void check_disarmed(const ambit_ctx *of) {
    ambit_schedule_assert(ambit__load_relaxed(&of->link.state) != AMBIT__NODE_LISTED);
    ambit_schedule_assert(ambit__load_relaxed(&of->timer.state) == AMBIT__TIMER_IDLE);
}
static void register_and_stay(void) { (void)register_on(grandchild, 1); }
AMBIT_SCHEDULE_TEST_WITH(what_has_ended_is_disarmed, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, register_and_stay);
    ambit_ctx_cancel(child, NULL);
    ambit_schedule_join(other);
    check_disarmed(child);
    check_disarmed(grandchild);
    ambit_schedule_assert(ran[1] == 1);
    end(grandchild);
    end(child);
    end(ctx);
}

AMBIT_SCHEDULE_TEST_WITH(what_has_ended_has_no_timer, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    child = open_until(ctx, ambit__clock_now() + AMBIT_SECOND);
    grandchild = open_below(child);
    ambit_schedule_thread other = start(1, register_and_stay);
    wait_until_claimed(grandchild);
    ambit_ctx_cancel(child, NULL);
    ambit_schedule_join(other);
    check_disarmed(child);
    ambit_schedule_assert(ran[1] == 1);
    end(grandchild);
    end(child);
    end(ctx);
    ambit_timer_stop();
}

/* Who arms it looks after linking, who closes it after saying so: one of the two takes it out again. */
static void arm_middle(void) { ambit_schedule_assert(!ambit__ctx_arm(child)); }
AMBIT_SCHEDULE_TEST_WITH(armed_and_closed_it_is_disarmed, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, arm_middle);
    end(child);
    ambit_schedule_join(other);
    check_disarmed(child); /* which the grandchild keeps */
    end(grandchild);
    end(ctx);
}

/* Cancelled itself, by who came between its arming and the look after it; at the root with its
 * timer alone, or with the link of a merged one. */
static void cancel_grandchild(void) { ambit_ctx_cancel(grandchild, NULL); }
static void cancel_while_it_is_registered(void) {
    ambit_schedule_thread other = start(1, cancel_grandchild);
    (void)register_on(grandchild, 2);
    ambit_schedule_join(other);
    check_disarmed(grandchild);
    ambit_schedule_assert(ambit__load_relaxed(&grandchild->second_link.state) !=
                          AMBIT__NODE_LISTED);
    ambit_schedule_assert(ran[2] == 1);
    end(grandchild);
}
AMBIT_SCHEDULE_TEST_WITH(cancelled_while_it_is_registered, .before = muster) {
    open_three();
    cancel_while_it_is_registered();
    end(child);
    end(ctx);
}
AMBIT_SCHEDULE_TEST_WITH(cancelled_with_a_timer_alone, .before = muster) {
    be(0);
    grandchild = open_until(ambit_background(), ambit__clock_now() + AMBIT_SECOND);
    cancel_while_it_is_registered();
    ambit_timer_stop();
}
AMBIT_SCHEDULE_TEST_WITH(cancelled_with_a_second_link_alone, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_merge(ambit_background(), ctx, &grandchild));
    cancel_while_it_is_registered();
    ambit_schedule_assert(!ctx->waiting.first);
    end(ctx);
}

/* A child takes itself out of the list that is being told to: it is taken out once. */
static void close_child(void) { end(child); }
static void close_grandchild(void) { end(grandchild); }
AMBIT_SCHEDULE_TEST_WITH(children_go_while_their_parent_ends, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    child = open_below(ctx);
    grandchild = open_below(ctx); /* a sister */
    ambit_schedule_assert(!register_on(child, 1) && !register_on(grandchild, 2));
    ambit_schedule_thread other = start(1, close_child);
    ambit_schedule_thread third = start(2, close_grandchild);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    check_all_ran();
    ambit_schedule_assert(!ctx->waiting.first);
    end(ctx);
}

/* ---- Closed while it is armed from below ----------------------------------------------------- */

/* The memory of both, with links of its own again. */
static void use_memory_again(void) {
    for (int i = 0; i < 2; i++) register_and_take_back(open_below(elsewhere), 3);
}
static void arm_and_close_below(void) {
    register_and_take_back(grandchild, 1);
    end(grandchild);
    use_memory_again();
}
static void open_three_and_another(void) {
    open_three();
    elsewhere = open_below(ambit_background());
}
AMBIT_SCHEDULE_TEST_WITH(the_middle_is_closed_while_it_is_armed, .before = muster) {
    open_three_and_another();
    ambit_schedule_thread other = start(1, arm_and_close_below);
    end(child);
    end(ctx);
    ambit_schedule_join(other);
}

/* When the first one has looked, and claims: its owner closes it just then. */
AMBIT_SCHEDULE_TEST_WITH(the_middle_is_closed_after_it_was_claimed, .before = muster) {
    open_three_and_another();
    ambit_schedule_thread other = start(1, arm_and_close_below);
    wait_until_claimed(grandchild);
    end(child);
    ambit_schedule_join(other);
    end(ctx);
}

/* ---- Deadlines ------------------------------------------------------------------------------- */

/* The middle's time comes while it is armed, cancelled, and its child registered. */
static void register_and_close(void) {
    register_and_take_back(grandchild, 1);
    end(grandchild);
}
AMBIT_SCHEDULE_TEST_WITH(the_deadline_passes_while_it_is_armed, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    child = open_until(ctx, ambit__clock_now() + 30000);
    grandchild = open_below(child);
    ambit_schedule_thread other = start(1, register_and_close);
    (void)register_on(child, 2);
    ambit_schedule_join(other);
    ambit_ctx_cancel(ctx, NULL);
    end(child);
    ambit_schedule_assert(ran[2] == 1); /* by the timer's thread, which the close has waited for */
    end(ctx);
    ambit_timer_stop();
}

/* Closed with its timer armed, or firing: nothing fires afterwards. */
AMBIT_SCHEDULE_TEST_WITH(closed_while_its_timer_fires, .before = muster) {
    be(0);
    elsewhere = open_below(ambit_background());
    child = open_until(elsewhere, ambit__clock_now() + 30000);
    (void)register_on(child, 1);
    end(child);
    ambit_schedule_assert(ran[1] == 1);
    child = open_below(elsewhere); /* in its memory */
    ambit_schedule_assert(!register_on(child, 2));
    ambit_timer_stop();
    ambit_schedule_assert(!ambit_ctx_err(child) && !ran[2]);
    end(child);
    end(elsewhere);
}

/* Armed from below after its close, and the timer may fire all the same, when its owner is gone: it
 * finds it ended, and the last one who keeps it waits for that. */
static void arm_a_closed_one(void) {
    (void)ambit__ctx_arm(grandchild);
    end(grandchild);
    use_memory_again();
}
AMBIT_SCHEDULE_TEST_WITH(its_timer_fires_after_its_close, .before = muster) {
    be(0);
    elsewhere = open_below(ambit_background());
    ctx = open_below(ambit_background());
    child = open_until(ctx, ambit__clock_now() + 20000);
    grandchild = open_below(child);
    ambit_schedule_thread other = start(1, arm_a_closed_one);
    wait_until_claimed(grandchild);
    end(child);
    ambit_schedule_join(other);
    end(ctx);
    ambit_timer_stop();
}

/* The same from where it has been closed, and is linked: what fires meanwhile is left alone at first, and
 * waited for by who frees it. */
AMBIT_SCHEDULE_TEST_WITH(its_timer_fires_while_it_is_freed, .before = muster) {
    bool fresh;
    be(0);
    elsewhere = open_below(ambit_background());
    ctx = open_below(ambit_background());
    child = open_until(ctx, ambit__clock_now() + 5000);
    grandchild = open_below(child);
    end(child);
    ambit_schedule_assert(!ambit__ctx_arm_unchecked(child, &fresh) && fresh);
    ambit__ctx_disarm_if_ended(child);
    end(grandchild);
    use_memory_again();
    end(ctx);
    ambit_timer_stop();
}

/* The same, and the root is cancelled as well. */
static void cancel_root(void) { ambit_ctx_cancel(ctx, NULL); }
AMBIT_SCHEDULE_TEST_WITH(its_timer_fires_or_the_root_ends, .before = muster) {
    be(0);
    elsewhere = open_below(ambit_background());
    ctx = open_below(ambit_background());
    child = open_until(ctx, ambit__clock_now() + 20000);
    grandchild = open_below(child);
    ambit_schedule_thread other = start(1, arm_and_close_below);
    ambit_schedule_thread third = start(2, cancel_root);
    end(child);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    end(ctx);
    ambit_timer_stop();
}

/* ---- When arming fails ----------------------------------------------------------------------- */

/* No memory for a wheel: nothing of it is armed, and the next one arms it whole. */
static void fail_to_arm(void) {
    ambit_status status = register_on(grandchild, 1);
    ambit_schedule_assert(status == AMBIT_EMEMORY || status == AMBIT_OK);
    ambit_schedule_assert(!status == (ambit__load_relaxed(&nodes[1].state) == AMBIT__NODE_LISTED));
}
static void arm_after_failure(void) {
    ambit_status status = register_on(grandchild, 2);
    ambit_schedule_assert(status == AMBIT_EMEMORY || status == AMBIT_OK);
}
AMBIT_SCHEDULE_TEST_WITH(what_failed_is_armed_by_the_next, .before = muster) {
    open_three();
    end(grandchild);
    grandchild = open_until(child, ambit__clock_now() + AMBIT_SECOND);
    ambit__fault_arm(AMBIT__FAULT_MEMORY, 0, false);
    ambit_schedule_thread other = start(1, fail_to_arm);
    ambit_schedule_thread third = start(2, arm_after_failure);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_assert(ran[1] + ran[2] >= 1);
    end(grandchild);
    end(child);
    end(ctx);
    ambit_timer_stop();
}

/* ---- Merged ---------------------------------------------------------------------------------- */

/* It ends with either side, with the cause of the first. */
static void cancel_other_side(void) { ambit_ctx_cancel_value(elsewhere, "theirs", 2); }
AMBIT_SCHEDULE_TEST_WITH(merged_while_a_side_is_cancelled, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ambit_ctx *side = open_below(elsewhere); /* that side itself, or one above it */
    ambit_schedule_thread other = start(1, cancel_other_side);
    ambit_schedule_assert(
        !ambit_ctx_merge(ctx, ambit_schedule_choose(2) ? side : elsewhere, &child));
    (void)register_on(child, 2);
    ambit_schedule_join(other);
    ambit_schedule_assert(ran[2] == 1);
    ambit_schedule_assert(ambit_ctx_cause(child).value == 2);
    end(child);
    end(side);
    end(elsewhere);
    end(ctx);
}

AMBIT_SCHEDULE_TEST_WITH(both_sides_of_a_merged_one_end, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &child));
    ambit_schedule_assert(!register_on(child, 2));
    ambit_schedule_thread other = start(1, cancel_other_side);
    ambit_ctx_cancel_value(ctx, "mine", 1);
    ambit_cause cause = ambit_ctx_cause(child);
    ambit_schedule_assert(cause.code == AMBIT_CANCELLED);
    ambit_schedule_join(other);
    ambit_schedule_assert(ran[2] == 1);
    ambit_schedule_assert(ambit_ctx_cause(child).value == cause.value);
    end(child);
    end(elsewhere);
    end(ctx);
}

/* Closed while both sides tell it: each of them lets go of it. */
AMBIT_SCHEDULE_TEST_WITH(a_merged_one_is_closed_while_a_side_ends, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &child));
    ambit_schedule_thread other = start(1, cancel_other_side);
    end(child);
    register_and_take_back(open_below(ctx), 2);
    ambit_schedule_join(other);
    end(elsewhere);
}

/* Handed to another while it is still new: it sees both sides. */
static _Atomic(ambit_ctx *) handed;
static void ask_a_merged_one(void) {
    ambit_ctx *mine;
    while (!(mine = ambit__load_acquire(&handed))) ambit_schedule_yield();
    bool ended = ambit_ctx_err(elsewhere);
    ambit_status status = ambit_ctx_err(mine); /* it has ended with that side, told of it or not */
    ambit_schedule_assert(status || !ended);
    if (status) ambit_schedule_assert(ambit_ctx_cause(mine).value == 2);
}
AMBIT_SCHEDULE_TEST_WITH(a_merged_one_is_asked, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ambit_schedule_thread other = start(1, cancel_other_side);
    ambit_schedule_thread reader = start(2, ask_a_merged_one);
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &child));
    ambit__store_release(&handed, child);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    end(child);
}

/* ---- Ordered --------------------------------------------------------------------------------- */

/* Children of one that orders them are armed at birth. */
static void open_ordered(void) {
    ambit_ctx *mine = open_below(ctx);
    register_and_take_back(mine, 1);
    end(mine);
}
static void count_after_second(ambit_ctx *of, void *argument) {
    ambit_schedule_assert(ran[2] == 1);
    count(of, argument);
}
AMBIT_SCHEDULE_TEST_WITH(ordered_children_come_while_it_ends, .before = muster) {
    be(0);
    ctx = open_below(ambit_background());
    ambit_ctx_order_children(ctx);
    ambit_schedule_thread other = start(1, open_ordered);
    ambit_ctx *first = open_below(ctx);
    ambit_ctx *second = open_below(ctx);
    ambit_schedule_assert(!ambit_ctx_on_cancel(second, &nodes[2], count, &ran[2]));
    ambit_schedule_assert(!ambit_ctx_on_cancel(first, &nodes[3], count_after_second, &ran[3]));
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_assert(ran[2] == 1 && ran[3] == 1);
    end(first);
    end(second);
    ambit_schedule_join(other);
    end(ctx);
}
