/* What a program may rely on beyond one context's own memory: who learns of something by a call
 * of ambit's comes after what was done before that. Messages are plain memory: where nothing
 * orders, they race. */
#include "census/verdict.h"
#include "ctxs.h"
#include "timers.h"

AMBIT_SCHEDULE_COVERS("timer/wheel.h")

/* Compilers keep C++20's rule of release sequences, whatever the language. */
#define AFTER_MUSTER .before = muster, .cxx20_release_sequences = true

static ambit_ctx *ctx, *child, *elsewhere;
static int told; /* the message */

static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }

/* ---- Merged contexts ------------------------------------------------------------------------- */

static void cancel_ctx(void) { ambit_ctx_cancel(ctx, NULL); }

/* The end of a parent that orders its children comes down while one of them is being merged with
 * another. */
static void merge_beside_a_cancel(void) {
    ambit_schedule_thread other = start(1, cancel_ctx);
    elsewhere = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &child));
    ambit_schedule_join(other);
    ambit_schedule_assert(ambit_ctx_err(child) == AMBIT_CANCELLED);
    end(child);
    end(elsewhere);
    end(ctx);
}
AMBIT_SCHEDULE_TEST_WITH(merged_below_one_that_orders_its_children, AFTER_MUSTER) {
    be(0);
    ctx = open_below(ambit_background());
    ambit_ctx_order_children(ctx);
    merge_beside_a_cancel();
}

/* Who hears of an end by the other side comes after it too. */
static void tell_and_cancel_elsewhere(void) {
    told = 1;
    ambit_ctx_cancel(elsewhere, NULL);
}
static void hear_by_the_cause(void) {
    if (ambit_ctx_cause(child).code) ambit_schedule_assert(told == 1);
}
AMBIT_SCHEDULE_TEST_WITH(end_of_either_side_is_heard_in_order, AFTER_MUSTER) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ambit_background());
    ambit_ctx *merged;
    ambit_schedule_assert(!ambit_ctx_merge(ctx, elsewhere, &merged));
    child = open_below(merged);
    ambit_schedule_thread other = start(1, tell_and_cancel_elsewhere);
    ambit_schedule_thread third = start(2, hear_by_the_cause);
    if (ambit_ctx_err(child)) ambit_schedule_assert(told == 1);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    end(child);
    end(merged);
    end(elsewhere);
    end(ctx);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

/* An old handle says that it has fired: its function has returned, whatever its object has been
 * since. */
static ambit_timer old;
static int rung;
static void ring_old(void *argument) {
    (void)argument;
    rung++;
}
static _Atomic(struct ambit__timer_entry *) again_entry;
static uint64_t again_generation;
static void use_object_again(void *argument) {
    ambit_timer again;
    ambit_schedule_assert(!ambit_timer_arm(start_ns + 100 * AMBIT_SECOND, ignore, NULL, &again));
    if (argument) {
        ambit_schedule_assert(ambit_timer_disarm(again) == AMBIT_DISARMED);
        return;
    }
    again_generation = again.generation;
    ambit__store_release(&again_entry, again.entry);
}
static void disarm_old(void *argument) {
    (void)argument;
    ambit_disarm found = ambit_timer_disarm(old);
    ambit_schedule_assert(found == AMBIT_FIRED || found == AMBIT_DISARMED);
    ambit_schedule_assert(rung == (found == AMBIT_FIRED));
}
static void disarm_again(void *argument) {
    ambit_timer again = {NULL, 0};
    (void)argument;
    while (!(again.entry = ambit__load_acquire(&again_entry))) ambit_schedule_yield();
    again.generation = again_generation;
    ambit_schedule_assert(ambit_timer_disarm(again) == AMBIT_DISARMED);
}
static void fire_and_use_again(bool there) {
    ambit_timer second;
    ambit_schedule_assert(!ambit_timer_arm(start_ns, ring_old, NULL, &old));
    ambit_schedule_assert(
        !ambit_timer_arm(start_ns, use_object_again, there ? &old : NULL, &second));
    ambit_schedule_thread other = ambit_schedule_spawn(disarm_old, NULL);
    if (!there) disarm_again(NULL);
    ambit_schedule_join(other);
    (void)ambit_timer_disarm(second);
    ambit_timer_stop();
}
TIMER_TEST(fired_is_after_its_function, .before = make) { fire_and_use_again(true); }
TIMER_TEST(fired_is_after_its_function_whoever_disarms_the_next, .before = make) {
    fire_and_use_again(false);
}

/* A reset that has come in time comes before the function. */
static ambit_timer timer;
static void hear_after_a_reset(void *argument) {
    (void)argument;
    if (ambit__clock_now() >= start_ns + AMBIT_SECOND) ambit_schedule_assert(told == 1);
}
static void tell_and_reset(void *argument) {
    (void)argument;
    told = 1;
    (void)ambit_timer_reset(timer, start_ns + AMBIT_SECOND);
}
TIMER_TEST(function_is_after_the_reset, .before = make) {
    ambit_schedule_assert(
        !ambit_timer_arm(start_ns + AMBIT_MILLISECOND, hear_after_a_reset, NULL, &timer));
    ambit_schedule_join(ambit_schedule_spawn(tell_and_reset, NULL));
    (void)ambit_timer_disarm(timer);
    ambit_timer_stop();
}

/* After a stop no function runs, and what they have done is there. */
static void stop(void *argument) {
    (void)argument;
    ambit_timer_stop();
    int before = rung;
    ambit_schedule_yield();
    ambit_schedule_assert(rung == before);
}
TIMER_TEST(stop_is_after_the_functions, .before = make) {
    ambit_schedule_assert(!ambit_timer_arm(start_ns, ring_old, NULL, &timer));
    ambit_schedule_assert(!ambit_timer_arm(start_ns, ring_old, NULL, &old));
    ambit_schedule_thread other = ambit_schedule_spawn(stop, NULL);
    stop(NULL);
    ambit_schedule_join(other);
    (void)ambit_timer_disarm(timer);
    (void)ambit_timer_disarm(old);
}

/* ---- Threads that end ------------------------------------------------------------------------ */

/* A busy context counts by thread. One that has counted ends while the owner, who found it
 * counting, waits. */
static ambit_hold *hold;
static unsigned destroyed;
static void destroy(void *argument) {
    (void)argument;
    destroyed++;
}
static void register_and_end(void *argument) {
    (void)argument;
    ambit_schedule_assert(ambit__thread_self()->index == 1);
}
static void open_busy(void *argument) {
    (void)argument;
    ambit_schedule_assert(ambit__thread_self()->index == 0);
    ambit_schedule_join(ambit_schedule_spawn(register_and_end, NULL));
    ctx = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_defer(ctx, destroy, NULL));
    ambit__store_relaxed(&ctx->waiting.contended, 8);
    ambit__list_lock_contended(ctx, &ctx->waiting);
    ambit__spin_unlock(&ctx->waiting.lock);
    ambit_schedule_assert(ambit__load_relaxed(&ctx->head.shards));
    hold = hold_of(ctx);
}
static void keep_and_end(void *argument) {
    (void)argument;
    ambit__ctx_keep(ambit_hold_ctx(hold), ambit__thread_self());
}
AMBIT_SCHEDULE_TEST_WITH(who_has_ended_has_counted, .before = open_busy,
                         .cxx20_release_sequences = true) {
    ambit_ctx *mine = ctx;
    ambit_schedule_thread other = ambit_schedule_spawn(keep_and_end, NULL);
    ambit_ctx_close(&mine);
    ambit_schedule_join(other);
    ambit_schedule_assert(!destroyed && ambit__ctx_keepers(ctx) == 2);
    ambit_ctx_drop(&hold);
    ambit_schedule_assert(!destroyed);
    ambit__ctx_unkeep(ctx, ambit__thread_self());
    ambit_schedule_assert(destroyed == 1);
}

/* ---- Arming ---------------------------------------------------------------------------------- */

/* Who finds a context armed by another need not arm it, and is told of an end from above all the
 * same: when a cancel that comes after the registration returns, the callback has run. */
static ambit_cancel nodes[2];
static unsigned ran[2];
static _Atomic(bool) registered;
static void count(ambit_ctx *of, void *argument) {
    (void)of;
    ++*(unsigned *)argument;
}
static void arm_by_waiting(void) {
    ambit_schedule_assert(!ambit_ctx_on_cancel(child, &nodes[0], count, &ran[0]) || ran[0] == 1);
}
static void wait_beside(void) {
    ambit_schedule_assert(!ambit_ctx_on_cancel(child, &nodes[1], count, &ran[1]));
    ambit__store_release(&registered, true);
}
AMBIT_SCHEDULE_TEST_WITH(armed_by_another_is_told_of_the_end, AFTER_MUSTER) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ctx);
    child = open_below(elsewhere);
    ambit_schedule_thread one = start(1, arm_by_waiting), two = start(2, wait_beside);
    while (!ambit__load_acquire(&registered)) ambit_schedule_yield();
    ambit_ctx_cancel(ctx, NULL);
    ambit_schedule_assert(ran[1] == 1);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_assert(ran[0] == 1);
    end(child);
    end(elsewhere);
    end(ctx);
}

/* The same where the one who arms it has found that it has ended. */
static void cancel_it(void) { ambit_ctx_cancel(elsewhere, NULL); }
static void wait_anyway(void) {
    ambit_status status = ambit_ctx_on_cancel(child, &nodes[1], count, &ran[1]);
    if (status) ambit_schedule_assert(ran[1] == 1);
}
AMBIT_SCHEDULE_TEST_WITH(armed_by_another_beside_the_end, AFTER_MUSTER) {
    be(0);
    ctx = open_below(ambit_background());
    elsewhere = open_below(ctx);
    child = open_below(elsewhere);
    ambit_schedule_thread one = start(1, arm_by_waiting), two = start(2, wait_anyway);
    ambit_schedule_thread three = start(3, cancel_it);
    ambit_schedule_join(one);
    ambit_schedule_join(two);
    ambit_schedule_join(three);
    ambit_schedule_assert(ran[0] == 1 && ran[1] == 1);
    end(child);
    end(elsewhere);
    end(ctx);
}
