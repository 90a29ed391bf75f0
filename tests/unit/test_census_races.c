/* Directed interleavings: what owners do between a check's look at an object and its mark on it. The
 * slab's inspect function is the moment to step in; everything happens on one thread. */
#include "census.h"

#include "census/verdict.h"
#include "ctx/ctx.h"

static void (*real_inspect)(const ambit__entry *, ambit__facts *);
static void (*before_look)(ambit_ctx *), (*after_look)(ambit_ctx *); /* once, for `target` */
static ambit_ctx *target;

static void step_in(void (**action)(ambit_ctx *), const ambit__entry *entry) {
    void (*run)(ambit_ctx *) = *action;
    if (!run || entry != ambit__ctx_entry(target)) return;
    *action = NULL;
    run(target);
}
static void inspect_and_act(const ambit__entry *entry, ambit__facts *facts) {
    step_in(&before_look, entry);
    real_inspect(entry, facts);
    step_in(&after_look, entry);
}

static struct noted noted;
static uint64_t check(void) {
    noted = (struct noted){0};
    return ambit_verdict_check(note, &noted);
}

static ambit_verdict_counts before;
static void assert_counts(ambit_verdict_kind kind, uint64_t reported, uint64_t returned) {
    ambit_verdict_counts now = ambit_verdict_counts_read(kind);
    assert_int_equal(now.reported - before.reported, reported);
    assert_int_equal(now.returned - before.returned, returned);
}

static int step_between(void **state) {
    real_inspect = ambit__slab_ctx.inspect;
    ambit__slab_ctx.inspect = inspect_and_act;
    before_look = after_look = NULL;
    return with_virtual_clock(state);
}
static int step_no_more(void **state) {
    ambit__slab_ctx.inspect = real_inspect;
    return without_virtual_clock(state);
}

/* ---- Callbacks ------------------------------------------------------------------------------- */

static const ambit_site registered = {"registered.c", "register", 1};
enum { LIMIT = 100 };

/* As the thread that delivers does it. */
static void begin_callback(ambit_ctx *ctx) {
    ambit__store_relaxed(&ctx->callback_site, &registered);
    ambit__store_relaxed(&ctx->callback_since_ns, ambit__clock_coarse());
}
static int64_t began_ns;
static void end_visibly(ambit_ctx *ctx) {
    began_ns = ambit__load_relaxed(&ctx->callback_since_ns);
    ambit__store_relaxed(&ctx->callback_since_ns, 0);
}
static void end_callback(ambit_ctx *ctx) {
    end_visibly(ctx);
    ambit__verdict_callback_ended(ambit__ctx_entry(ctx), &registered,
                                  ambit__clock_coarse() - began_ns);
}
static void end_and_begin_another(ambit_ctx *ctx) {
    end_callback(ctx);
    begin_callback(ctx);
}

static ambit_ctx *with_running_callback(void) {
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, LIMIT);
    before = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    target = open_child(ambit_background());
    begin_callback(target);
    pass_time(LIMIT + 1);
    return target;
}

static void a_callback_that_ends_between_look_and_mark_is_given_once(void **state) {
    (void)state;
    ambit_ctx *ctx = with_running_callback();
    after_look = end_callback;
    assert_int_equal(check(), 1);
    assert_true(noted.last.ended);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 1);
    assert_int_equal(check(), 0);
    ambit_ctx_close(&ctx);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 1);
}

static void the_next_callback_is_not_taken_for_the_one_that_was_seen(void **state) {
    (void)state;
    ambit_ctx *ctx = with_running_callback();
    after_look = end_and_begin_another;
    assert_int_equal(check(), 1);
    assert_true(noted.last.ended);
    pass_time(LIMIT + 1);
    assert_int_equal(check(), 1); /* now that one is slow too */
    assert_false(noted.last.ended);
    end_callback(ctx);
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 2, 2);
    ambit_ctx_close(&ctx);
}

static void a_reported_callback_that_is_just_ending_is_not_given_again(void **state) {
    (void)state;
    ambit_ctx *ctx = with_running_callback();
    assert_int_equal(check(), 1);
    assert_false(noted.last.ended);
    before_look = end_visibly; /* and not yet through with its mark */
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 0);
    ambit__verdict_callback_ended(ambit__ctx_entry(ctx), &registered,
                                  ambit__clock_coarse() - began_ns);
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 1);
    ambit_ctx_close(&ctx);
}

static void a_raised_limit_takes_a_running_callback_back(void **state) {
    (void)state;
    ambit_ctx *ctx = with_running_callback();
    assert_int_equal(check(), 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 10 * LIMIT);
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 1);
    end_callback(ctx);
    assert_int_equal(check(), 0); /* it was within the new one */
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 1);
    ambit_ctx_close(&ctx);
}

static void a_callback_that_ends_within_a_raised_limit_returns(void **state) {
    (void)state;
    ambit_ctx *ctx = with_running_callback();
    assert_int_equal(check(), 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 10 * LIMIT);
    end_callback(ctx);
    assert_counts(AMBIT_VERDICT_SLOW_CALLBACK, 1, 1);
    assert_int_equal(check(), 0);
    ambit_ctx_close(&ctx);
}

/* ---- Objects that go ------------------------------------------------------------------------- */

static ambit_ctx *owner;
static void close_owner(ambit_ctx *ctx) {
    assert_ptr_equal(ctx, owner);
    ambit_ctx_close(&owner);
}
static ambit_ctx *successor;
static void close_and_open_in_its_place(ambit_ctx *ctx) {
    ambit_ctx_close(&owner);
    successor = open_child(ambit_background());
    assert_ptr_equal(successor, ctx); /* the same memory, line, and time of birth */
}
static void close_and_open_later(ambit_ctx *ctx) {
    pass_time(1);
    close_and_open_in_its_place(ctx);
}

static void open_large(void) {
    ambit_verdict_limit_set(AMBIT_VERDICT_LARGE, 100);
    before = ambit_verdict_counts_read(AMBIT_VERDICT_LARGE);
    target = owner = open_child(ambit_background());
    assert_non_null(ambit_ctx_alloc(owner, 200));
}

static void what_goes_between_look_and_mark_is_not_reported(void **state) {
    (void)state;
    open_large();
    after_look = close_owner;
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_LARGE, 0, 0);
    successor = open_child(ambit_background()); /* in the same memory: no mark is left there */
    assert_ptr_equal(successor, target);
    assert_non_null(ambit_ctx_alloc(successor, 200));
    assert_int_equal(check(), 1);
    ambit_ctx_close(&successor);
    assert_counts(AMBIT_VERDICT_LARGE, 1, 1);
}

static void what_is_born_in_its_place_is_not_reported_for_it(void **state) {
    (void)state;
    open_large();
    after_look = close_and_open_later;
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_LARGE, 0, 0);
    assert_non_null(ambit_ctx_alloc(successor, 200)); /* and is still watched */
    assert_int_equal(check(), 1);
    ambit_ctx_close(&successor);
    assert_counts(AMBIT_VERDICT_LARGE, 1, 1);
}

/* Nothing tells the two apart; the report is taken back by the next check. */
static void a_twin_in_its_place_is_reported_and_returns(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    target = owner = open_child(root);
    ambit_verdict_limit_set(AMBIT_VERDICT_DEEP, 1);
    before = ambit_verdict_counts_read(AMBIT_VERDICT_DEEP);
    after_look = close_and_open_in_its_place; /* one that is not deep */
    assert_int_equal(check(), 1);
    assert_int_equal(check(), 0);
    assert_counts(AMBIT_VERDICT_DEEP, 1, 1);
    ambit_ctx_close(&successor);
    ambit_ctx_close(&root);
    assert_counts(AMBIT_VERDICT_DEEP, 1, 1);
}

static void what_is_closed_between_looks_is_no_zombie_of_an_earlier_life(void **state) {
    (void)state;
    ambit_hold *hold = NULL;
    target = owner = open_child(ambit_background());
    assert_ok(ambit_ctx_hold(owner, &hold));
    ambit_ctx_close(&owner); /* leaves its time of closing in the memory */
    ambit_ctx_drop(&hold);
    pass_time(3600 * AMBIT_SECOND);
    owner = open_child(ambit_background());
    assert_ptr_equal(owner, target);
    assert_ok(ambit_ctx_hold(owner, &hold));
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, AMBIT_SECOND);
    after_look = close_owner;
    assert_int_equal(check(), 0); /* it has been closed for no time at all */
    ambit_ctx_drop(&hold);
}

#define STEPPED(test) cmocka_unit_test_setup_teardown(test, step_between, step_no_more)

int main(void) {
    const struct CMUnitTest tests[] = {
        STEPPED(a_callback_that_ends_between_look_and_mark_is_given_once),
        STEPPED(the_next_callback_is_not_taken_for_the_one_that_was_seen),
        STEPPED(a_reported_callback_that_is_just_ending_is_not_given_again),
        STEPPED(a_raised_limit_takes_a_running_callback_back),
        STEPPED(a_callback_that_ends_within_a_raised_limit_returns),
        STEPPED(what_goes_between_look_and_mark_is_not_reported),
        STEPPED(what_is_born_in_its_place_is_not_reported_for_it),
        STEPPED(a_twin_in_its_place_is_reported_and_returns),
        STEPPED(what_is_closed_between_looks_is_no_zombie_of_an_earlier_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
