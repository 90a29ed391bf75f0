/* src/ctx/{cancel,callback,close}.c: how a context ends: once, with one cause, for all who ask; every
 * callback exactly once; whoever takes a callback back, or closes, goes on only when it has returned.
 *
 * What callbacks write is plain memory: who relies on one being over and is not ordered after it, has
 * a race. */
#include <stdlib.h>

#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ctx/cancel.c:nearest_ended ctx/cancel.c:ambit__ctx_end_locked "
                      "ctx/cancel.c:ambit__ctx_err_ended ctx/cancel.c:ambit__cancel_done_locked "
                      "ctx/cancel.c:claim_child ctx/callback.c ambit/ctx_inline.h:ambit_ctx_err")

/* The owner closes by a pointer of its own: close writes to it. */
static ambit_ctx *ctx, *child;
static ambit_hold *hold;
static ambit_cancel node, below;
static unsigned ran, ran_below;

static void count(ambit_ctx *of, void *argument) {
    (void)of;
    ++*(unsigned *)argument;
}
static void register_node(void) {
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &node, count, &ran));
}
static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }

static void cancel_it(void) { ambit_ctx_cancel_value(ctx, "theirs", 2); }
static void cancel_held(void) {
    cancel_it();
    ambit_ctx_drop(&hold);
}

static void open_one(void) {
    be(0);
    ctx = open_below(ambit_background());
}
static void open_held(void) {
    open_one();
    hold = hold_of(ctx);
}
static void open_two(void) {
    open_one();
    child = open_below(ctx);
}

/* ---- What a status tells --------------------------------------------------------------------- */

static int told; /* written before the cancel, and known by nothing else */

static void tell_and_cancel(void) {
    told = 1;
    cancel_it();
}
static void open_two_until_soon(void *argument) {
    muster(argument);
    ambit_ctx *parent;
    ambit_schedule_assert(!ambit_ctx_open_timeout(ambit_background(), AMBIT_MILLISECOND, &parent));
    ctx = open_below(parent);
    child = parent;
}

/* Who hears that it was cancelled comes after the cancel, also where an ancestor's end led to the look. */
AMBIT_SCHEDULE_TEST_WITH(cancelled_is_after_the_cancel, .before = open_two_until_soon) {
    be(0);
    ambit_schedule_thread other = start(1, tell_and_cancel);
    while (!ambit_ctx_err(child)) ambit_schedule_yield();
    if (ambit_ctx_err(ctx) == AMBIT_CANCELLED) ambit_schedule_assert(told == 1);
    ambit_schedule_join(other);
}

/* ---- One cause, for all ---------------------------------------------------------------------- */

static bool same(ambit_cause one, ambit_cause other) {
    return one.code == other.code && one.text == other.text && one.site == other.site &&
           one.value == other.value;
}
static void check_cause(ambit_cause cause) {
    ambit_schedule_assert(cause.code == AMBIT_CANCELLED && cause.site);
    if (cause.value == 1)
        ambit_schedule_assert(cause.text[0] == 'm');
    else
        ambit_schedule_assert(cause.value == 2 && cause.text[0] == 't');
}

static ambit_cause seen[2]; /* by two readers */
static void read_cause(const ambit_ctx *of, ambit_cause *cause) {
    ambit_status status = ambit_ctx_err(of);
    *cause = ambit_ctx_cause(of);
    if (status) check_cause(*cause);
    if (cause->code) {
        check_cause(*cause);
        ambit_schedule_assert(ambit_ctx_err(of) == AMBIT_CANCELLED);
        ambit_schedule_assert(same(*cause, ambit_ctx_cause(of)));
    }
}
static void read_own_cause(void) { read_cause(ctx, &seen[0]); }
static void read_childs_cause(void) { read_cause(child, &seen[0]); }

/* Whatever was seen is what stands in the end. */
static void check_seen(const ambit_ctx *of) {
    ambit_cause last = ambit_ctx_cause(of);
    check_cause(last);
    for (int i = 0; i < 2; i++) ambit_schedule_assert(!seen[i].code || same(seen[i], last));
}

AMBIT_SCHEDULE_TEST_WITH(a_cause_is_whole_and_stays, .before = muster) {
    open_one();
    ambit_schedule_thread other = start(1, cancel_it);
    ambit_schedule_thread reader = start(2, read_own_cause);
    ambit_ctx_cancel_value(ctx, "mine", 1);
    read_cause(ctx, &seen[1]);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    check_seen(ctx);
    end(ctx);
}

/* A child that nobody waits for learns of its parent's end when it is asked; meanwhile it is cancelled
 * itself. */
AMBIT_SCHEDULE_TEST_WITH(a_childs_cause_is_its_own_or_the_parents, .before = muster) {
    open_two();
    ambit_schedule_thread other = start(1, cancel_it);
    ambit_schedule_thread reader = start(2, read_childs_cause);
    ambit_ctx_cancel_value(child, "mine", 1);
    read_cause(child, &seen[1]);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    check_seen(child);
    end(child);
    end(ctx);
}

/* After a cancel has returned everything below has ended, whoever has done it. */
static void cancel_and_ask(void) {
    cancel_it();
    ambit_schedule_assert(ambit_ctx_err(child) == AMBIT_CANCELLED);
    read_childs_cause();
}
AMBIT_SCHEDULE_TEST_WITH(after_a_cancel_all_below_has_ended, .before = muster) {
    open_two();
    ambit_schedule_thread other = start(1, cancel_and_ask);
    ambit_ctx_cancel_value(ctx, "mine", 1);
    read_cause(child, &seen[1]);
    ambit_schedule_assert(seen[1].code);
    ambit_schedule_join(other);
    check_seen(child);
    end(child);
    end(ctx);
}

/* The deadline passes while it is cancelled. */
static void read_late_cause(void) {
    ambit_status status = ambit_ctx_err(ctx);
    seen[0] = ambit_ctx_cause(ctx);
    if (status) ambit_schedule_assert(seen[0].code == status);
}
AMBIT_SCHEDULE_TEST_WITH(a_deadline_or_a_cancel_is_first, .before = muster) {
    be(0);
    int64_t deadline_ns = ambit__clock_now() + 3000;
    ambit_schedule_assert(!ambit_ctx_open_deadline(ambit_background(), deadline_ns, &ctx));
    ambit_schedule_thread other = start(1, cancel_it);
    ambit_schedule_thread reader = start(2, read_late_cause);
    ambit_status status = ambit_ctx_err(ctx);
    seen[1] = ambit_ctx_cause(ctx);
    if (status) ambit_schedule_assert(seen[1].code == status);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    ambit_cause last = ambit_ctx_cause(ctx);
    ambit_schedule_assert(last.code);
    for (int i = 0; i < 2; i++) ambit_schedule_assert(!seen[i].code || same(seen[i], last));
    end(ctx);
}

/* ---- Callbacks, exactly once ----------------------------------------------------------------- */

/* Of two cancels one runs it; the other does not wait. */
AMBIT_SCHEDULE_TEST_WITH(two_cancels_run_a_callback_once, .before = muster) {
    open_one();
    register_node();
    ambit_schedule_thread other = start(1, cancel_it);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(ran == 1);
    end(ctx);
}

/* Close waits for the callbacks that another runs. */
AMBIT_SCHEDULE_TEST_WITH(close_waits_for_callbacks, .before = muster) {
    open_held();
    register_node();
    ambit_schedule_thread other = start(1, cancel_held);
    end(ctx);
    ambit_schedule_assert(ran == 1);
    ran = 0;
    ambit_schedule_join(other);
    ambit_schedule_assert(ran == 0);
}

static void close_child(void) {
    end(child);
    ambit_schedule_assert(ran_below == 1);
    ran_below = 0;
}

/* The same below: the parent's end is being told to a child that is closed. */
AMBIT_SCHEDULE_TEST_WITH(closing_a_child_waits_for_callbacks, .before = muster) {
    open_two();
    register_node();
    ambit_schedule_assert(!ambit_ctx_on_cancel(child, &below, count, &ran_below));
    ambit_schedule_thread other = start(1, close_child);
    end(ctx);
    ambit_schedule_assert(ran == 1);
    ambit_schedule_join(other);
    ambit_schedule_assert(ran_below == 0);
}

static ambit_removal removal;
static void take_back(void) {
    removal = ambit_ctx_off_cancel(ctx, &node);
    ambit_schedule_assert(removal != AMBIT_RUNNING_HERE);
    ambit_schedule_assert(ran == (removal == AMBIT_ALREADY_RAN));
}

/* It has run, and returned; or it never will. */
AMBIT_SCHEDULE_TEST_WITH(taken_back_or_ran, .before = muster) {
    open_one();
    register_node();
    ambit_schedule_thread other = start(1, cancel_it);
    take_back();
    ambit_schedule_join(other);
    ambit_schedule_assert(ran == (removal == AMBIT_ALREADY_RAN));
    end(ctx);
}

/* The node's memory is the caller's again at once. */
typedef struct request {
    ambit_cancel node;
    unsigned ran;
} request;
static void be_cancelled_and_free(void) {
    request *mine = calloc(1, sizeof *mine);
    ambit_schedule_assert(mine);
    ambit_status status = ambit_ctx_on_cancel(ctx, &mine->node, count, &mine->ran);
    if (status) ambit_schedule_assert(mine->ran == 1);
    ambit_removal found = ambit_ctx_off_cancel(ctx, &mine->node);
    ambit_schedule_assert(found != AMBIT_RUNNING_HERE);
    ambit_schedule_assert(mine->ran == (found == AMBIT_ALREADY_RAN));
    free(mine);
}
AMBIT_SCHEDULE_TEST_WITH(a_node_taken_back_may_be_freed, .before = muster) {
    open_one();
    ambit_schedule_thread other = start(1, cancel_it);
    ambit_schedule_thread third = start(2, be_cancelled_and_free);
    be_cancelled_and_free();
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    end(ctx);
}

/* Registered beside a cancel: run by one of the two. */
static ambit_status registered;
static void register_beside(void) {
    registered = ambit_ctx_on_cancel(ctx, &node, count, &ran);
    if (registered) ambit_schedule_assert(ran == 1);
}
AMBIT_SCHEDULE_TEST_WITH(registered_beside_a_cancel_it_runs_once, .before = muster) {
    open_one();
    ambit_schedule_thread other = start(1, register_beside);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(ran == 1);
    ambit_schedule_assert(ambit_ctx_off_cancel(ctx, &node) == AMBIT_ALREADY_RAN);
    end(ctx);
}

/* Two take the same node back while it runs; the one who is told last frees it. */
static unsigned takers;
static ambit__spin takers_lock;
static request *taken;
static void take_together(void) {
    (void)ambit_ctx_off_cancel(ctx, &taken->node);
    ambit__spin_lock(&takers_lock);
    bool last = --takers == 0;
    ambit__spin_unlock(&takers_lock);
    if (!last) return;
    free(taken);
    taken = NULL;
}
AMBIT_SCHEDULE_TEST_WITH(two_may_take_one_node_back, .before = muster) {
    open_one();
    taken = calloc(1, sizeof *taken);
    ambit_schedule_assert(taken);
    takers = 2;
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &taken->node, count, &taken->ran));
    ambit_schedule_thread other = start(1, take_together);
    ambit_schedule_thread third = start(2, cancel_it);
    take_together();
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    end(ctx);
}

/* ---- From inside a callback ------------------------------------------------------------------ */

static void take_own_back(ambit_ctx *of, void *argument) {
    request *mine = argument;
    mine->ran++;
    ambit_schedule_assert(ambit_ctx_off_cancel(of, &mine->node) == AMBIT_RUNNING_HERE);
}

/* It takes itself back while another waits for it: that one keeps the node until it is woken. */
AMBIT_SCHEDULE_TEST_WITH(taken_back_from_inside_and_outside, .before = muster) {
    open_one();
    taken = calloc(1, sizeof *taken);
    ambit_schedule_assert(taken);
    takers = 1;
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &taken->node, take_own_back, taken));
    ambit_schedule_thread other = start(1, cancel_it);
    take_together();
    ambit_schedule_join(other);
    end(ctx);
}

static void take_own_back_and_free(ambit_ctx *of, void *argument) {
    take_own_back(of, argument);
    free(argument);
    ran++;
}
static void register_one_that_frees_itself(void) {
    request *mine = calloc(1, sizeof *mine);
    ambit_schedule_assert(mine);
    ambit_status status = ambit_ctx_on_cancel(ctx, &mine->node, take_own_back_and_free, mine);
    if (status) ambit_schedule_assert(ran == 1);
}
AMBIT_SCHEDULE_TEST_WITH(a_callback_may_free_its_node, .before = muster) {
    open_one();
    ambit_schedule_thread other = start(1, register_one_that_frees_itself);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(ran == 1);
    end(ctx);
}

static unsigned destroyed;
static void destroy(void *argument) {
    (void)argument;
    ambit_schedule_assert(ran == 1);
    destroyed++;
}
static void close_from_inside(ambit_ctx *of, void *argument) {
    (void)argument;
    end(of);
    ambit_schedule_assert(!destroyed);
    ran++;
}

/* Closed from inside: the rest follows when the delivery is through, beside one who holds it. */
static void read_and_drop(void) {
    ambit_ctx *held = ambit_hold_ctx(hold);
    if (ambit_ctx_err(held)) ambit_schedule_assert(ambit_ctx_cause(held).code == AMBIT_CANCELLED);
    ambit_ctx_drop(&hold);
}
AMBIT_SCHEDULE_TEST_WITH(closed_from_inside_a_callback, .before = muster) {
    open_held();
    ambit_schedule_assert(!ambit_ctx_defer(ctx, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &node, close_from_inside, NULL));
    ambit_schedule_thread other = start(1, read_and_drop);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1);
}

/* The same, by whichever of two cancels comes first; the other one holds it. */
AMBIT_SCHEDULE_TEST_WITH(closed_from_inside_of_one_of_two_cancels, .before = muster) {
    open_held();
    ambit_hold *mine = hold_of(ctx);
    ambit_schedule_assert(!ambit_ctx_defer(ctx, destroy, NULL));
    ambit_schedule_assert(!ambit_ctx_on_cancel(ctx, &node, close_from_inside, NULL));
    ambit_schedule_thread other = start(1, cancel_held);
    ambit_ctx_cancel(ctx, NULL);
    ambit_ctx_drop(&mine);
    ambit_schedule_join(other);
    ambit_schedule_assert(destroyed == 1 && ran == 1);
}

/* Run at once on a context that has ended, on another thread than the one that takes it back. */
static _Atomic(bool) entered;
static void say_entered(ambit_ctx *of, void *argument) {
    ambit__store_release(&entered, true);
    count(of, argument);
}
static void register_on_ended(void) {
    ambit_schedule_assert(ambit_ctx_on_cancel(ctx, &node, say_entered, &ran) == AMBIT_CANCELLED);
}
AMBIT_SCHEDULE_TEST_WITH(one_that_runs_at_once_is_waited_for, .before = muster) {
    open_one();
    cancel_it();
    ambit_schedule_thread other = start(1, register_on_ended);
    while (!ambit__load_acquire(&entered)) ambit_schedule_yield();
    ambit_schedule_assert(ambit_ctx_off_cancel(ctx, &node) == AMBIT_ALREADY_RAN);
    ambit_schedule_assert(ran == 1);
    node = (ambit_cancel){0};
    ambit_schedule_join(other);
    end(ctx);
}

/* ---- Memory that comes again ----------------------------------------------------------------- */

/* A context that was closed is another's: those who told it of its end have let go of it, and it stands
 * in nobody's list. */
static ambit_ctx *elsewhere;
static void close_and_open(void) {
    end(child);
    ambit_ctx *again = open_below(elsewhere);
    ambit_schedule_assert(!ambit_ctx_err(again));
    ambit_schedule_assert(!ambit_ctx_on_cancel(again, &below, count, &ran_below));
    ambit_schedule_assert(!ran_below);
    end(again);
    ambit_schedule_assert(ran_below == 1);
}
AMBIT_SCHEDULE_TEST_WITH(what_is_closed_is_let_go_of, .before = muster) {
    open_two();
    elsewhere = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_on_cancel(child, &below, count, &ran));
    ambit_ctx_off_cancel(child, &below);
    ambit_schedule_thread other = start(1, close_and_open);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    end(ctx);
    end(elsewhere);
}

/* It is closed while it is armed from below, and linked after that: then the parent's end may come to it
 * when its owner is gone, and the last one who keeps it has to know. */
static ambit_ctx *grandchild;
static void reuse_both(void) {
    end(grandchild); /* and with it the child */
    for (int i = 0; i < 2; i++) {
        below = (ambit_cancel){0};
        ambit_ctx *again = open_below(elsewhere);
        ambit_schedule_assert(!ambit_ctx_on_cancel(again, &below, count, &ran_below));
        ambit_schedule_assert(!ran_below);
        (void)ambit_ctx_off_cancel(again, &below);
    }
}
static void open_three(void) {
    open_two();
    grandchild = open_below(child);
    elsewhere = open_below(ambit_background());
}

static void arm_and_be_the_last(void) {
    ambit_status status = ambit_ctx_on_cancel(grandchild, &below, count, &ran_below);
    if (status) ambit_schedule_assert(ran_below == 1);
    if (!status) (void)ambit_ctx_off_cancel(grandchild, &below);
    ran_below = 0;
    reuse_both();
}
AMBIT_SCHEDULE_TEST_WITH(armed_from_below_after_its_close, .before = muster) {
    open_three();
    ambit_schedule_thread other = start(1, arm_and_be_the_last);
    while (!ambit__load_relaxed(&grandchild->armed)) ambit_schedule_yield();
    end(child);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    end(ctx);
}

/* The same from where it has just been linked, and what stands below it can't be armed for want of
 * memory: so nobody comes to it again before it goes. */
static void undo_and_be_the_last(void) {
    ambit__ctx_disarm_if_ended(child);
    reuse_both();
}
AMBIT_SCHEDULE_TEST_WITH(armed_from_below_but_not_further, .before = muster,
                         .strategy = AMBIT_SCHEDULE_PCT, .depth = 3) {
    bool fresh;
    open_three();
    end(child);
    ambit_schedule_assert(!ambit__ctx_arm_unchecked(child, &fresh) && fresh);
    ambit_schedule_thread other = start(1, undo_and_be_the_last);
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_join(other);
    end(ctx);
}
