/* Verdicts, by planted leaks: each kind at its limit, just above, switched off, taken back. */
#include "census.h"

/* How many verdicts a check gives; the last one stands in *noted. */
static uint64_t check(struct noted *noted) {
    *noted = (struct noted){0};
    uint64_t given = ambit_verdict_check(note, noted);
    assert_int_equal(given, noted->given);
    return given;
}
static uint64_t checked(void) {
    struct noted noted;
    return check(&noted);
}

/* What a kind's counts have changed by since they were marked. */
static ambit_verdict_counts marked;
static void mark_counts(ambit_verdict_kind kind) { marked = ambit_verdict_counts_read(kind); }
static void assert_counts(ambit_verdict_kind kind, uint64_t reported, uint64_t returned) {
    ambit_verdict_counts now = ambit_verdict_counts_read(kind);
    assert_int_equal(now.reported - marked.reported, reported);
    assert_int_equal(now.returned - marked.returned, returned);
}

static void an_open_context_past_its_deadline_is_overdue(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *ctx = NULL, *endless = open_child(ambit_background());
    assert_ok(ambit_ctx_open_timeout(ambit_background(), 5 * AMBIT_SECOND, &ctx));
    ambit_verdict_limit_set(AMBIT_VERDICT_OVERDUE, 2 * AMBIT_SECOND);
    mark_counts(AMBIT_VERDICT_OVERDUE);
    pass_time(7 * AMBIT_SECOND - 1);
    assert_int_equal(checked(), 0); /* just below */
    pass_time(1);
    assert_int_equal(checked(), 0); /* at the limit */
    pass_time(1);
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.by_kind[AMBIT_VERDICT_OVERDUE], 1);
    assert_int_equal(noted.last.measured, 2 * AMBIT_SECOND + 1);
    assert_int_equal(noted.last.limit, 2 * AMBIT_SECOND);
    assert_string_equal(noted.last.site->function, __func__);
    assert_int_equal(checked(), 0); /* once */
    assert_counts(AMBIT_VERDICT_OVERDUE, 1, 0);
    ambit_ctx_close(&ctx);
    assert_counts(AMBIT_VERDICT_OVERDUE, 1, 1); /* at once */
    ambit_ctx_close(&endless);
}

static void what_is_closed_but_kept_is_overdue_no_more(void **state) {
    (void)state;
    ambit_ctx *ctx = NULL;
    ambit_hold *hold = NULL;
    assert_ok(ambit_ctx_open_timeout(ambit_background(), AMBIT_SECOND, &ctx));
    assert_ok(ambit_ctx_hold(ctx, &hold));
    ambit_verdict_limit_set(AMBIT_VERDICT_OVERDUE, 0);
    mark_counts(AMBIT_VERDICT_OVERDUE);
    pass_time(2 * AMBIT_SECOND);
    assert_int_equal(checked(), 1);
    ambit_ctx_close(&ctx);
    assert_int_equal(checked(), 0);
    assert_counts(AMBIT_VERDICT_OVERDUE, 1, 1);
    ambit_ctx_drop(&hold);
    assert_counts(AMBIT_VERDICT_OVERDUE, 1, 1); /* and not a second time */
}

static void a_zombie_is_given_above_its_limit(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = NULL;
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 3 * AMBIT_SECOND);
    mark_counts(AMBIT_VERDICT_ZOMBIE);
    assert_ok(ambit_ctx_hold(ctx, &hold));
    pass_time(60 * AMBIT_SECOND);
    assert_int_equal(checked(), 0); /* held, but open */
    ambit_ctx_close(&ctx);
    pass_time(3 * AMBIT_SECOND);
    assert_int_equal(checked(), 0); /* at the limit, counted from the close */
    pass_time(1);
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.measured, 3 * AMBIT_SECOND + 1);
    assert_int_equal(noted.last.age_ns, 63 * AMBIT_SECOND + 1);
    assert_string_equal(noted.last.site->function, "open_child");
    assert_string_equal(noted.last.closed->function, __func__);
    assert_string_equal(noted.last.keeper->function, __func__);
    assert_int_equal(checked(), 0);
    ambit_ctx_drop(&hold);
    assert_counts(AMBIT_VERDICT_ZOMBIE, 1, 1);
}

static ambit_ctx *open_to_keep(ambit_ctx *origin) { return open_child(origin); }

static ambit_ctx *detach_to_keep(ambit_ctx *origin) {
    ambit_ctx *ctx = NULL;
    assert_ok(ambit_ctx_detach(origin, AMBIT_NEVER - 1, &ctx));
    return ctx;
}
static ambit_ctx *merge_to_keep(ambit_ctx *origin) {
    ambit_ctx *ctx = NULL;
    assert_ok(ambit_ctx_merge(ambit_background(), origin, &ctx));
    return ctx;
}

static void a_zombie_names_the_context_that_keeps_it(void **state) {
    (void)state;
    static ambit_ctx *(*const keepers[])(ambit_ctx *) = {open_to_keep, detach_to_keep,
                                                         merge_to_keep};
    static const char *const names[] = {"open_child", "detach_to_keep", "merge_to_keep"};
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 0);
    for (size_t i = 0; i < 3; i++) {
        struct noted noted;
        ambit_ctx *origin = NULL;
        assert_ok(ambit_ctx_open(ambit_background(), &origin));
        ambit_ctx *keeper = keepers[i](origin);
        ambit_ctx_close(&origin);
        pass_time(1);
        assert_int_equal(check(&noted), 1);
        assert_string_equal(noted.last.site->function, __func__);
        assert_string_equal(noted.last.keeper->function, names[i]);
        ambit_ctx_close(&keeper);
    }
}

static void a_hold_is_blamed_before_a_child(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *origin = open_child(ambit_background()), *child = open_child(origin);
    ambit_hold *hold = NULL;
    assert_ok(ambit_ctx_hold(origin, &hold));
    ambit_ctx_close(&origin);
    pass_time(1);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 0);
    assert_int_equal(check(&noted), 1);
    assert_string_equal(noted.last.keeper->function, __func__);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&child);
}

static void contexts_and_holds_that_are_open_for_long_are_old(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = NULL;
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 10 * AMBIT_SECOND);
    mark_counts(AMBIT_VERDICT_OLD);
    pass_time(5 * AMBIT_SECOND);
    assert_ok(ambit_ctx_hold(ctx, &hold));
    pass_time(5 * AMBIT_SECOND);
    assert_int_equal(checked(), 0);
    pass_time(1);
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.object, AMBIT_KIND_CTX);
    pass_time(5 * AMBIT_SECOND);
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.object, AMBIT_KIND_HOLD);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&ctx);
    assert_counts(AMBIT_VERDICT_OLD, 2, 2);
}

static void a_long_lived_mark_takes_a_report_back(void **state) {
    (void)state;
    ambit_ctx *server = open_child(ambit_background());
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 10 * AMBIT_SECOND);
    mark_counts(AMBIT_VERDICT_OLD);
    pass_time(11 * AMBIT_SECOND);
    assert_int_equal(checked(), 1);
    ambit_ctx_mark_long_lived(server);
    assert_int_equal(checked(), 0);
    assert_counts(AMBIT_VERDICT_OLD, 1, 1);
    pass_time(3600 * AMBIT_SECOND);
    assert_int_equal(checked(), 0);
    ambit_ctx_close(&server);
    assert_counts(AMBIT_VERDICT_OLD, 1, 1);
}

static void a_hold_on_what_is_long_lived_is_not_old(void **state) {
    (void)state;
    ambit_ctx *server = open_child(ambit_background());
    ambit_hold *hold = NULL;
    ambit_ctx_mark_long_lived(server);
    assert_ok(ambit_ctx_hold(server, &hold));
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 10 * AMBIT_SECOND);
    pass_time(3600 * AMBIT_SECOND);
    assert_int_equal(checked(), 0);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&server);
}

static void never(void *argument) { (void)argument; }
static void a_timer_that_waits_for_its_time_is_not_old(void **state) {
    (void)state;
    ambit_timer timer;
    ambit_ctx *ctx = open_child(ambit_background()); /* and this is */
    assert_ok(ambit_timer_arm(AMBIT_NEVER - 1, never, NULL, &timer));
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 10 * AMBIT_SECOND);
    pass_time(3600 * AMBIT_SECOND);
    assert_int_equal(checked(), 1);
    assert_int_equal(ambit_timer_disarm(timer), AMBIT_DISARMED);
    ambit_ctx_close(&ctx);
}

static void bytes_above_the_limit_are_large(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_verdict_limit_set(AMBIT_VERDICT_LARGE, 1000);
    mark_counts(AMBIT_VERDICT_LARGE);
    assert_non_null(ambit_ctx_alloc(ctx, 999));
    assert_int_equal(checked(), 0);
    assert_non_null(ambit_ctx_alloc(ctx, 1));
    assert_int_equal(checked(), 0);
    assert_non_null(ambit_ctx_alloc(ctx, 1));
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.kind, AMBIT_VERDICT_LARGE);
    assert_int_equal(noted.last.measured, 1001);
    assert_int_equal(noted.last.bytes, 1001);
    ambit_ctx_close(&ctx);
    assert_counts(AMBIT_VERDICT_LARGE, 1, 1);
}

static void more_ancestors_than_the_limit_are_deep(void **state) {
    (void)state;
    struct noted noted;
    enum { LEVELS = 6 };
    ambit_ctx *chain[LEVELS] = {open_child(ambit_background())};
    for (int i = 1; i < LEVELS; i++) chain[i] = open_child(chain[i - 1]);
    ambit_verdict_limit_set(AMBIT_VERDICT_DEEP, LEVELS); /* the background is one */
    assert_int_equal(checked(), 0);
    ambit_verdict_limit_set(AMBIT_VERDICT_DEEP, LEVELS - 1);
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.kind, AMBIT_VERDICT_DEEP);
    assert_int_equal(noted.last.measured, LEVELS);
    for (int i = LEVELS; i-- > 0;) ambit_ctx_close(&chain[i]);
}

static void a_context_with_many_children_is_reported_until_they_are_fewer(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *parent = NULL, *children[3];
    ambit_hold *hold = NULL;
    assert_ok(ambit_ctx_open(ambit_background(), &parent));
    for (int i = 0; i < 3; i++) children[i] = open_child(parent);
    ambit_verdict_limit_set(AMBIT_VERDICT_CHILDREN, 3);
    mark_counts(AMBIT_VERDICT_CHILDREN);
    assert_int_equal(checked(), 0);
    assert_ok(ambit_ctx_hold(parent, &hold)); /* holds count too */
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.measured, 4);
    assert_string_equal(noted.last.site->function, __func__);
    assert_int_equal(checked(), 0);
    assert_counts(AMBIT_VERDICT_CHILDREN, 1, 0);
    ambit_ctx_drop(&hold);
    assert_int_equal(checked(), 0);
    assert_counts(AMBIT_VERDICT_CHILDREN, 1, 1);
    assert_ok(ambit_ctx_hold(parent, &hold));
    assert_int_equal(checked(), 1); /* armed again */
    assert_counts(AMBIT_VERDICT_CHILDREN, 2, 1);
    ambit_ctx_drop(&hold);
    for (int i = 0; i < 3; i++) ambit_ctx_close(&children[i]);
    ambit_ctx_close(&parent);
    assert_counts(AMBIT_VERDICT_CHILDREN, 2, 2);
}

static void a_line_with_too_many_objects_is_crowded(void **state) {
    (void)state;
    struct noted noted;
    enum { LIMIT = 100 };
    ambit_ctx *held[LIMIT + 1], *other = NULL;
    assert_ok(ambit_ctx_open(ambit_background(), &other));
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, LIMIT);
    mark_counts(AMBIT_VERDICT_CROWDED);
    for (int i = 0; i < LIMIT; i++) held[i] = open_child(ambit_background());
    assert_int_equal(checked(), 0);
    pass_time(AMBIT_SECOND);
    held[LIMIT] = open_child(ambit_background());
    assert_non_null(ambit_ctx_alloc(held[LIMIT], 10));
    for (int round = 0; round < 2; round++) {
        assert_int_equal(check(&noted), 1);
        assert_int_equal(noted.last.kind, AMBIT_VERDICT_CROWDED);
        assert_int_equal(noted.last.object, AMBIT_KIND_CTX);
        assert_string_equal(noted.last.site->function, "open_child");
        assert_int_equal(noted.last.measured, LIMIT + 1);
        assert_int_equal(noted.last.bytes, 10);
        assert_int_equal(noted.last.age_ns, AMBIT_SECOND);
        assert_int_equal(checked(), 0);
        assert_counts(AMBIT_VERDICT_CROWDED, (uint64_t)round + 1, (uint64_t)round);
        ambit_ctx_close(&held[0]);
        assert_int_equal(checked(), 0);
        assert_counts(AMBIT_VERDICT_CROWDED, (uint64_t)round + 1, (uint64_t)round + 1);
        set_virtual_clock(1000 * AMBIT_SECOND);
        held[0] = open_child(ambit_background());
        pass_time(AMBIT_SECOND);
    }
    assert_int_equal(checked(), 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, AMBIT_VERDICT_OFF);
    assert_int_equal(checked(), 0);
    assert_counts(AMBIT_VERDICT_CROWDED, 3, 3); /* switched off: nothing stands */
    for (int i = 0; i <= LIMIT; i++) ambit_ctx_close(&held[i]);
    ambit_ctx_close(&other);
}

static void kinds_and_lines_are_crowds_of_their_own(void **state) {
    (void)state;
    struct noted noted;
    ambit_ctx *one = NULL, *two = NULL;
    ambit_hold *holds[3] = {NULL};
    assert_ok(ambit_ctx_open(ambit_background(), &one));
    assert_ok(ambit_ctx_open(ambit_background(), &two));
    for (int i = 0; i < 3; i++) assert_ok(ambit_ctx_hold(i < 2 ? one : two, &holds[i]));
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, 2);
    assert_int_equal(check(&noted), 1);
    assert_int_equal(noted.last.object, AMBIT_KIND_HOLD);
    assert_int_equal(noted.last.measured, 3);
    for (int i = 0; i < 3; i++) ambit_ctx_drop(&holds[i]);
    ambit_ctx_close(&one);
    ambit_ctx_close(&two);
}

/* A plant for each kind of verdict at once. */
static void nothing_is_given_for_what_is_switched_off(void **state) {
    (void)state;
    ambit_ctx *ctx = NULL, *zombie = open_child(ambit_background());
    ambit_hold *hold = NULL;
    assert_ok(ambit_ctx_open_timeout(ambit_background(), 1, &ctx));
    assert_non_null(ambit_ctx_alloc(ctx, 1000));
    ambit_ctx *child = open_child(ctx);
    assert_ok(ambit_ctx_hold(zombie, &hold));
    ambit_ctx_close(&zombie);
    pass_time(1000 * AMBIT_SECOND);
    assert_int_equal(checked(), 0);
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++) {
        struct noted noted;
        ambit_verdict_limit_set((ambit_verdict_kind)kind, 0);
        mark_counts((ambit_verdict_kind)kind);
        uint64_t given = check(&noted);
        assert_int_equal(given, noted.by_kind[kind]); /* of this kind, and of no other */
        if (kind != AMBIT_VERDICT_SLOW_CALLBACK) assert_true(given > 0);
        ambit_verdict_limit_set((ambit_verdict_kind)kind, AMBIT_VERDICT_OFF);
        assert_int_equal(checked(), 0);
        assert_counts((ambit_verdict_kind)kind, given, given);
    }
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&child);
    ambit_ctx_close(&ctx);
}

static void a_raised_limit_takes_back_and_a_lowered_one_reports_again(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_non_null(ambit_ctx_alloc(ctx, 500));
    mark_counts(AMBIT_VERDICT_LARGE);
    for (uint64_t round = 0; round < 3; round++) {
        ambit_verdict_limit_set(AMBIT_VERDICT_LARGE, 499);
        assert_int_equal(ambit_verdict_limit(AMBIT_VERDICT_LARGE), 499);
        assert_int_equal(checked(), 1);
        assert_counts(AMBIT_VERDICT_LARGE, round + 1, round);
        ambit_verdict_limit_set(AMBIT_VERDICT_LARGE, 500);
        assert_int_equal(checked(), 0);
        assert_counts(AMBIT_VERDICT_LARGE, round + 1, round + 1);
    }
    ambit_ctx_close(&ctx);
    assert_counts(AMBIT_VERDICT_LARGE, 3, 3);
}

static void another_number_than_a_kind_stops(void **state) {
    (void)state;
    assert_stops(ambit_verdict_limit_set((ambit_verdict_kind)AMBIT_VERDICT_KINDS, 1));
    assert_stops((void)ambit_verdict_limit((ambit_verdict_kind)99));
    assert_stops((void)ambit_verdict_counts_read((ambit_verdict_kind)AMBIT_VERDICT_KINDS));
}

static void the_limits_at_the_start_are_those_documented(void **state) {
    (void)state;
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        assert_int_equal(ambit_verdict_limit((ambit_verdict_kind)kind), limits_at_start[kind]);
}

#define PLANTED(test)                                                                              \
    cmocka_unit_test_setup_teardown(test, with_virtual_clock, without_virtual_clock)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limits_at_the_start_are_those_documented),
        PLANTED(an_open_context_past_its_deadline_is_overdue),
        PLANTED(what_is_closed_but_kept_is_overdue_no_more),
        PLANTED(a_zombie_is_given_above_its_limit),
        PLANTED(a_zombie_names_the_context_that_keeps_it),
        PLANTED(a_hold_is_blamed_before_a_child),
        PLANTED(contexts_and_holds_that_are_open_for_long_are_old),
        PLANTED(a_long_lived_mark_takes_a_report_back),
        PLANTED(a_hold_on_what_is_long_lived_is_not_old),
        PLANTED(a_timer_that_waits_for_its_time_is_not_old),
        PLANTED(bytes_above_the_limit_are_large),
        PLANTED(more_ancestors_than_the_limit_are_deep),
        PLANTED(a_context_with_many_children_is_reported_until_they_are_fewer),
        PLANTED(a_line_with_too_many_objects_is_crowded),
        PLANTED(kinds_and_lines_are_crowds_of_their_own),
        PLANTED(nothing_is_given_for_what_is_switched_off),
        PLANTED(a_raised_limit_takes_back_and_a_lowered_one_reports_again),
        PLANTED(another_number_than_a_kind_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
