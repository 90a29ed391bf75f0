/* src/ctx/cancel.c: first cause wins. A context that an ancestor or its own deadline has ended
 * has that cause, whoever cancels or asks it afterwards; and whatever anyone was told stays. */
#include "ctxs.h"

AMBIT_SCHEDULE_COVERS("ctx/cancel.c:derive ctx/cancel.c:settle_in_handler")

#define AFTER_MUSTER .before = muster, .cxx20_release_sequences = true

static ambit_ctx *parent, *ctx;
static ambit_cancel node;
static unsigned ran;
static int64_t deadline_ns;

static void end(ambit_ctx *owned) { ambit_ctx_close(&owned); }
static void count(ambit_ctx *of, void *argument) {
    (void)of;
    ++*(unsigned *)argument;
}
static void cancel_it(void) { ambit_ctx_cancel_value(ctx, "theirs", 2); }
static void cancel_parent(void) { ambit_ctx_cancel_value(parent, "above", 3); }

static void open_until(int64_t after_ns) {
    be(0);
    parent = open_below(ambit_background());
    deadline_ns = after_ns == AMBIT_NEVER ? after_ns : ambit__clock_now() + after_ns;
    ambit_schedule_assert(!ambit_ctx_open_deadline(parent, deadline_ns, &ctx));
}
/* On the clock alone: nobody has looked at the context. */
static void let_it_pass(void) {
    ambit_schedule_assert(!ambit_ctx_sleep_until(ambit_background(), deadline_ns));
}

static ambit_status seen[CREW]; /* by record; 0: it lived */
static int64_t values[CREW];
static void ask(unsigned number) {
    seen[number] = ambit_ctx_err(ctx);
    ambit_cause cause = ambit_ctx_cause(ctx);
    ambit_schedule_assert(!seen[number] || cause.code == seen[number]);
    seen[number] = cause.code;
    values[number] = cause.value;
}
static void ask_first(void) { ask(1); }
static void ask_second(void) { ask(2); }
static void check_answers(void) {
    ambit_cause last = ambit_ctx_cause(ctx);
    for (int i = 0; i < CREW; i++)
        ambit_schedule_assert(!seen[i] || (seen[i] == last.code && values[i] == last.value));
}
static void close_both(void) {
    end(ctx);
    end(parent);
    ambit_timer_stop();
}

/* ---- What came before ------------------------------------------------------------------------ */

/* The parent was cancelled, and nobody has asked the child since. */
static void cancel_beside_and_check(ambit_status expected, int64_t value) {
    ambit_schedule_thread other = start(1, cancel_it), reader = start(2, ask_second);
    ambit_ctx_cancel_value(ctx, "mine", 1);
    ask(0);
    ambit_schedule_assert(seen[0] == expected && values[0] == value);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    check_answers();
    close_both();
}
AMBIT_SCHEDULE_TEST_WITH(an_ancestors_end_came_first, AFTER_MUSTER) {
    open_until(AMBIT_NEVER);
    cancel_parent();
    cancel_beside_and_check(AMBIT_CANCELLED, 3);
}

/* The deadline has passed, and nobody has noticed. */
AMBIT_SCHEDULE_TEST_WITH(the_deadline_came_first, AFTER_MUSTER) {
    open_until(AMBIT_MILLISECOND);
    let_it_pass();
    cancel_beside_and_check(AMBIT_TIMED_OUT, 0);
}

/* The deadline has passed, and then the parent is cancelled, which tells the child. */
AMBIT_SCHEDULE_TEST_WITH(the_deadline_came_before_an_ancestors_end, AFTER_MUSTER) {
    open_until(AMBIT_MILLISECOND);
    let_it_pass();
    ambit_schedule_thread other = start(1, cancel_parent), reader = start(2, ask_second);
    ask(0);
    ambit_schedule_assert(seen[0] == AMBIT_TIMED_OUT);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    check_answers();
    close_both();
}

/* The same with one who waits for it: told by the timer, or by the one who cancels the parent. */
AMBIT_SCHEDULE_TEST_WITH(the_deadline_of_an_armed_one_came_first, AFTER_MUSTER) {
    open_until(AMBIT_MILLISECOND);
    ambit_status status = ambit_ctx_on_cancel(ctx, &node, count, &ran);
    ambit_schedule_assert(!status || status == AMBIT_TIMED_OUT);
    let_it_pass();
    ambit_schedule_thread reader = start(2, ask_second);
    cancel_parent();
    ask(0);
    ambit_schedule_assert(seen[0] == AMBIT_TIMED_OUT);
    ambit_schedule_join(reader);
    check_answers();
    end(ctx);
    ambit_schedule_assert(ran == 1);
    end(parent);
    ambit_timer_stop();
}

/* ---- What comes at once ---------------------------------------------------------------------- */

/* A cancel that came before the deadline is late: who asks meanwhile either finds the deadline,
 * and the cancel that too, or waits for the one who is writing the cause down. */
static int64_t before_ns;
static void end_it_late(void) {
    const ambit_cause cause = {AMBIT_CANCELLED, "late", NULL, 4};
    (void)ambit__ctx_end(ctx, &cause, before_ns);
}
AMBIT_SCHEDULE_TEST_WITH(a_late_cancel_or_the_deadline, AFTER_MUSTER) {
    open_until(AMBIT_MILLISECOND);
    before_ns = ambit__clock_now();
    let_it_pass();
    ambit_schedule_thread other = start(3, end_it_late);
    ambit_schedule_thread reader = start(1, ask_first), second = start(2, ask_second);
    ambit_schedule_join(other);
    ambit_schedule_join(reader);
    ambit_schedule_join(second);
    ask(0);
    check_answers();
    close_both();
}
