/* Contexts with two parents while others end them, and destructors that give their context away. */
#include "ctxs.h"

/* ---- Merged ---------------------------------------------------------------------------------- */

struct gate {
    _Atomic(int) inside, go;
    ambit_ctx *ctx;
};
static void wait_at_gate(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    struct gate *gate = argument;
    atomic_store(&gate->inside, 1);
    must(comes_to(&gate->go, 1));
}
static void *cancel_first(void *argument) {
    ambit_ctx_cancel(((struct gate *)argument)->ctx, "first");
    return NULL;
}

/* Another thread delivers, and has not come to the merged one: it has ended all the same. */
static void after_cancel_a_merged_one_has_ended(void **state) {
    (void)state;
    ambit_ctx *parent = open_child(ambit_background()), *other = open_child(ambit_background());
    ambit_ctx *both = merge(parent, other), *below = open_child(both),
              *twice = merge(parent, below);
    struct gate gate = {.ctx = other};
    ambit_cancel node = {0};
    assert_ok(ambit_ctx_on_cancel(other, &node, wait_at_gate, &gate));
    assert_ok(ambit_ctx_err(twice));
    pthread_t thread = start(cancel_first, &gate);
    must(comes_to(&gate.inside, 1));
    ambit_ctx_cancel(other, "second");
    ambit_status status = ambit_ctx_err(both), status_below = ambit_ctx_err(below);
    ambit_cause cause = ambit_ctx_cause(twice);
    atomic_store(&gate.go, 1);
    join(thread);
    assert_int_equal(status, AMBIT_CANCELLED);
    assert_int_equal(status_below, AMBIT_CANCELLED);
    assert_string_equal(cause.text, "first");
    ambit_ctx_close(&twice);
    ambit_ctx_close(&below);
    ambit_ctx_close(&both);
    ambit_ctx_close(&parent);
    ambit_ctx_close(&other);
}

static void cancel_argument(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ambit_ctx_cancel(argument, "second");
}
static void of_two_sides_the_one_that_ended_first_is_the_cause(void **state) {
    (void)state;
    ambit_ctx *parent = open_child(ambit_background()), *other = open_child(ambit_background());
    ambit_ctx *both = merge(parent, other);
    ambit_cancel node = {0};
    assert_ok(ambit_ctx_on_cancel(other, &node, cancel_argument, parent));
    ambit_ctx_cancel(other, "first");
    assert_string_equal(ambit_ctx_cause(both).text, "first");
    assert_string_equal(ambit_ctx_cause(parent).text, "second");
    ambit_ctx_close(&both);
    ambit_ctx_close(&parent);
    ambit_ctx_close(&other);
}

static void a_merged_one_without_deadlines_has_none(void **state) {
    (void)state;
    ambit_ctx *parent = open_child(ambit_background()), *other = open_child(ambit_background());
    ambit_ctx *both = merge(parent, other), *below = open_child(both);
    assert_int_equal(ambit_ctx_deadline_ns(both), AMBIT_NEVER);
    assert_int_equal(ambit_ctx_deadline_ns(below), AMBIT_NEVER);
    assert_ok(ambit_ctx_err(below));
    assert_int_equal(ambit_ctx_cause(below).code, AMBIT_OK);
    ambit_ctx_close(&below);
    ambit_ctx_close(&both);
    ambit_ctx_close(&parent);
    ambit_ctx_close(&other);
}

static uint64_t armed(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    return stats.armed;
}
static void equal_deadlines_of_a_merged_one_and_its_side_arm_one_timer(void **state) {
    (void)state;
    uint64_t before = armed();
    ambit_ctx *late = open_timeout(ambit_background(), 7200 * AMBIT_SECOND);
    ambit_ctx *soon = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    ambit_ctx *both = merge(late, soon), *same = merge(both, soon);
    assert_int_equal(ambit_ctx_deadline_ns(both), ambit_ctx_deadline_ns(soon));
    assert_int_equal(armed() - before, 2);
    ambit_ctx_close(&same);
    ambit_ctx_close(&both);
    ambit_ctx_close(&soon);
    ambit_ctx_close(&late);
    assert_int_equal(armed(), before);
}

static void a_merged_one_ends_at_its_sides_deadline_and_names_it(void **state) {
    (void)state;
    set_virtual(AMBIT_SECOND);
    ambit_ctx *late = open_deadline(ambit_background(), 9 * AMBIT_SECOND);
    ambit_ctx *soon = open_deadline(ambit_background(), 2 * AMBIT_SECOND);
    ambit_ctx *both = merge(late, soon);
    _Atomic(int) ran = 0;
    ambit_cancel node = {0};
    assert_ok(ambit_ctx_on_cancel(both, &node, count_up, &ran));
    atomic_store(&virtual_ns, 2 * AMBIT_SECOND);
    assert_int_equal(ambit_ctx_err(both), AMBIT_TIMED_OUT);
    assert_true(comes_to(&ran, 1));
    ambit_cause cause = ambit_ctx_cause(both), its = ambit_ctx_cause(soon);
    assert_ptr_equal(cause.site, its.site);
    ambit_ctx_close(&both);
    ambit_ctx_close(&soon);
    ambit_ctx_close(&late);
}

/* ---- Destructors that give their context away ------------------------------------------------ */

static ambit_ctx *dying, *given_child;
static ambit_hold *given_hold;
static _Atomic(int) destroyed;

static void hold_and_drop(void *argument) {
    (void)argument;
    ambit_hold *hold = hold_of(dying);
    ambit_ctx_drop(&hold);
    ambit_ctx *child = open_child(dying);
    must(ambit_ctx_err(child) == AMBIT_CANCELLED);
    ambit_ctx_close(&child);
    atomic_fetch_add(&destroyed, 1);
}
static void hold_on(void *argument) {
    (void)argument;
    given_hold = hold_of(dying);
    atomic_fetch_add(&destroyed, 1);
}
static void open_below(void *argument) {
    (void)argument;
    given_child = open_child(dying);
    atomic_fetch_add(&destroyed, 1);
}

/* By the owner's close, or by the last drop after it. */
static void end(void (*destructor)(void *), bool held) {
    atomic_store(&destroyed, 0);
    ambit_ctx *ctx = dying = open_child(ambit_background());
    ambit_hold *hold = held ? hold_of(ctx) : NULL;
    assert_ok(ambit_ctx_defer(ctx, destructor, NULL));
    ambit_ctx_close(&ctx);
    ambit_ctx_drop(&hold);
    assert_int_equal(atomic_load(&destroyed), 1);
}
static void nothing_is_given_out_twice(void) {
    ambit_ctx *ctx[64];
    for (int i = 0; i < 64; i++) ctx[i] = open_child(ambit_background());
    for (int i = 0; i < 64; i++)
        for (int j = 0; j < i; j++) assert_ptr_not_equal(ctx[i], ctx[j]);
    for (int i = 0; i < 64; i++) ambit_ctx_close(&ctx[i]);
    assert_int_equal(living(AMBIT_KIND_CTX), 0);
}

static void a_destructor_may_hold_and_open_below_its_own_context(void **state) {
    (void)state;
    for (int held = 0; held < 2; held++) {
        end(hold_and_drop, held);
        nothing_is_given_out_twice();
    }
}
static void what_a_destructor_has_given_away_is_freed_by_who_got_it(void **state) {
    (void)state;
    for (int held = 0; held < 2; held++) {
        end(hold_on, held);
        assert_int_equal(living(AMBIT_KIND_CTX), 1);
        assert_int_equal(ambit_ctx_err(ambit_hold_ctx(given_hold)), AMBIT_CANCELLED);
        ambit_ctx_drop(&given_hold);
        nothing_is_given_out_twice();
        end(open_below, held);
        assert_int_equal(living(AMBIT_KIND_CTX), 2);
        assert_int_equal(ambit_ctx_err(given_child), AMBIT_CANCELLED);
        ambit_ctx_close(&given_child);
        nothing_is_given_out_twice();
    }
}

/* It is a zombie from there on, and what arms it has no effect on who gets its memory next. */
static void what_was_given_away_is_a_zombie_until_it_is_let_go(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()),
              *ctx = dying = open_timeout(root, AMBIT_SECOND);
    uint64_t before = armed();
    int fd;
    assert_ok(ambit_ctx_defer(ctx, hold_on, NULL));
    ambit_ctx *copy = ctx;
    ambit_ctx_close(&ctx);
    assert_int_equal(zombies(), 1);
    assert_stops(ambit_ctx_close(&copy));
    assert_ok(ambit_ctx_fd(ambit_hold_ctx(given_hold), &fd));
    ambit_ctx *both = merge(root, ambit_hold_ctx(given_hold));
    assert_int_equal(ambit_ctx_err(both), AMBIT_CANCELLED);
    ambit_ctx_close(&both);
    ambit_ctx_drop(&given_hold);
    assert_int_equal(armed(), before);
    ambit_ctx *next[64];
    for (int i = 0; i < 64; i++) next[i] = open_child(ambit_background());
    ambit_ctx_cancel(root, "root");
    for (int i = 0; i < 64; i++) {
        assert_ok(ambit_ctx_err(next[i]));
        ambit_ctx_close(&next[i]);
    }
    ambit_ctx_close(&root);
}

static void close_again(void *argument) {
    (void)argument;
    ambit_ctx *copy = dying;
    assert_stops(ambit_ctx_close(&copy));
    atomic_fetch_add(&destroyed, 1);
}
static void a_destructor_that_closes_its_context_again_stops(void **state) {
    (void)state;
    for (int held = 0; held < 2; held++) {
        end(close_again, held);
        assert_string_equal(suite_bug.function, "ambit_ctx_close");
        assert_non_null(suite_bug.before);
    }
}

static void a_context_in_its_destructors_is_no_zombie(void **state) {
    (void)state;
    end(hold_and_drop, false);
    assert_int_equal(ambit_verdict_counts_read(AMBIT_VERDICT_ZOMBIE).reported, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(after_cancel_a_merged_one_has_ended),
        CASE(of_two_sides_the_one_that_ended_first_is_the_cause),
        CASE(a_merged_one_without_deadlines_has_none),
        CASE(equal_deadlines_of_a_merged_one_and_its_side_arm_one_timer),
        CASE(a_merged_one_ends_at_its_sides_deadline_and_names_it),
        CASE(a_destructor_may_hold_and_open_below_its_own_context),
        CASE(what_a_destructor_has_given_away_is_freed_by_who_got_it),
        CASE(what_was_given_away_is_a_zombie_until_it_is_let_go),
        CASE(a_destructor_that_closes_its_context_again_stops),
        CASE(a_context_in_its_destructors_is_no_zombie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
