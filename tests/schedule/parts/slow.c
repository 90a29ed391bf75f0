/* src/census/slow.c: callbacks that take too long, beside checks. Each is told once: by the
 * check that finds it running, or, when it has ended, by a later one; and it is counted as
 * returned once. */
#include "verdicts.h"

AMBIT_SCHEDULE_COVERS("census/slow.c ctx/cancel.c:deliver_callback")

static void run_slow(void *argument) {
    (void)argument;
    prepare(AMBIT_VERDICT_SLOW_CALLBACK, 100 * AMBIT_MILLISECOND);
    ambit__store_relaxed(&((ambit_ctx *)(void *)young)->callback_since_ns, start_ns - AMBIT_SECOND);
}
static void end_callback(void) {
    ambit__store_relaxed(&((ambit_ctx *)(void *)young)->callback_since_ns, 0);
    ambit__verdict_callback_ended(young, &early, AMBIT_SECOND);
}
static void note_slow(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->kind == AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_schedule_assert(verdict->site == &early);
    told++;
}
static void tell_once_more(void) {
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_schedule_assert(told == 1 && counts.reported == 1 && counts.returned == 1);
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_is_told_once, .before = run_slow) {
    be(1);
    ambit_schedule_thread other = start(0, end_callback);
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_schedule_join(other);
    tell_once_more();
}
static void end_and_go(void) {
    end_callback();
    put_young();
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_of_one_that_goes_is_told_once, .before = run_slow) {
    be(1);
    ambit_schedule_thread other = start(0, end_and_go);
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_schedule_join(other);
    tell_once_more();
}

/* The same where another gives it back, when the callback has ended. */
static _Atomic(bool) ended;
static void end_and_say_so(void) {
    end_callback();
    ambit__store_release(&ended, true);
}
static void go_when_it_has_ended(void) {
    while (!ambit__load_acquire(&ended)) ambit_schedule_yield();
    put_young();
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_of_one_that_another_gives_back_is_told_once,
                         .before = run_slow) {
    be(1);
    ambit_schedule_thread other = start(0, end_and_say_so), third = start(2, go_when_it_has_ended);
    (void)ambit_verdict_check(note_slow, NULL);
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    tell_once_more();
}

/* A check has told it while it ran: its end takes that back, and no other check does. */
static void run_slow_and_tell(void *argument) {
    run_slow(argument);
    be(1);
    (void)ambit_verdict_check(note_slow, NULL);
}
static void check_slow(void) { (void)ambit_verdict_check(note_slow, NULL); }
AMBIT_SCHEDULE_TEST_WITH(slow_callback_that_was_told_is_told_once, .before = run_slow_and_tell) {
    be(1);
    ambit_schedule_thread other = start(0, end_callback);
    check_slow();
    ambit_schedule_join(other);
    tell_once_more();
}

/* Also if it is within the limit by now. */
static void run_slow_tell_and_allow(void *argument) {
    run_slow_and_tell(argument);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, AMBIT_VERDICT_OFF);
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_that_is_allowed_now_is_returned,
                         .before = run_slow_tell_and_allow) {
    be(1);
    ambit_schedule_thread other = start(0, end_callback);
    check_slow();
    ambit_schedule_join(other);
    tell_once_more();
}

/* What has ended is kept for the next check, also while one takes what was kept before. */
static void give_kept(void) {
    ambit__check check = {.hook = note_slow};
    ambit__slow_callbacks_give(&check);
}
AMBIT_SCHEDULE_TEST_WITH(kept_callbacks_are_told_once, .before = run_slow) {
    be(1);
    ambit_schedule_thread other = start(0, end_callback), third = start(2, end_callback);
    give_kept();
    ambit_schedule_join(other);
    ambit_schedule_join(third);
    give_kept();
    give_kept();
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_schedule_assert(told == 2 && counts.reported == 2 && counts.returned == 2);
}

/* A context's own callback, by a cancel: told while it runs or afterwards. */
static ambit_ctx *cancelled;
static ambit_cancel slow_node;
static void be_slow(ambit_ctx *of, void *argument) {
    (void)of;
    (void)argument;
    ambit_schedule_assert(!ambit_ctx_sleep(ambit_background(), AMBIT_SECOND));
}
static void open_with_a_slow_callback(void *argument) {
    (void)argument;
    prepare(AMBIT_VERDICT_SLOW_CALLBACK, 100 * AMBIT_MILLISECOND);
    be(0);
    put_young();
    cancelled = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_on_cancel(cancelled, &slow_node, be_slow, NULL));
}
static void cancel_slowly(void) { ambit_ctx_cancel(cancelled, NULL); }
static void count_told(const ambit_verdict *verdict, void *user) {
    (void)user;
    ambit_schedule_assert(verdict->site == slow_node.site);
    told++;
}
AMBIT_SCHEDULE_TEST_WITH(slow_callback_of_a_cancel_is_told_once,
                         .before = open_with_a_slow_callback, .early_ns = 2 * AMBIT_SECOND) {
    be(1);
    ambit_schedule_thread other = start(0, cancel_slowly);
    (void)ambit_verdict_check(count_told, NULL);
    (void)ambit_verdict_check(count_told, NULL);
    ambit_schedule_join(other);
    (void)ambit_verdict_check(count_told, NULL);
    ambit_verdict_counts counts = counts_of(AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_schedule_assert(told == 1 && counts.reported == 1 && counts.returned == 1);
    ambit_ctx_close(&cancelled);
    (void)ambit_verdict_check(count_told, NULL);
    ambit_schedule_assert(told == 1);
}

/* Who finds it running finds which one. */
static void be_quick(ambit_ctx *of, void *argument) {
    (void)of;
    (void)argument;
    ambit_schedule_yield();
}
static void open_with_a_quick_callback(void *argument) {
    (void)argument;
    prepare(AMBIT_VERDICT_SLOW_CALLBACK, AMBIT_VERDICT_OFF);
    be(0);
    put_young();
    cancelled = open_below(ambit_background());
    ambit_schedule_assert(!ambit_ctx_on_cancel(cancelled, &slow_node, be_quick, NULL));
}
AMBIT_SCHEDULE_TEST_WITH(running_callback_is_seen_with_its_line,
                         .before = open_with_a_quick_callback) {
    be(1);
    ambit_schedule_thread other = start(0, cancel_slowly);
    for (int i = 0; i < 3; i++) {
        ambit__facts facts = {0};
        ambit__slab_ctx.inspect(&cancelled->head.entry, &facts);
        if (facts.callback_since_ns) ambit_schedule_assert(facts.callback == slow_node.site);
    }
    ambit_schedule_join(other);
    ambit_ctx_close(&cancelled);
}
