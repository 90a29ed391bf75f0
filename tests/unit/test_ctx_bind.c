/* The current context of a thread, cleanup at the end of a block, and keys shared between files. */
#include "ctxs.h"

/* As in a header, and then in the one source that includes it. */
AMBIT_KEY_DECLARE(shared_key, int);
AMBIT_KEY_DEFINE(shared_key, int);
AMBIT_KEY(number, int);

static ambit_ctx *outer, *inner;
static int open_both(void **state) {
    (void)state;
    outer = open_child(ambit_background());
    inner = open_child(outer);
    return 0;
}
static int close_both(void **state) {
    ambit_ctx_close(&inner);
    ambit_ctx_close(&outer);
    return nothing_stays(state) || ambit_ctx_current() ? -1 : 0;
}

/* ---- AMBIT_WITH ------------------------------------------------------------------------------ */

static void the_innermost_block_counts(void **state) {
    (void)state;
    assert_null(ambit_ctx_current());
    AMBIT_WITH(outer) {
        assert_ptr_equal(ambit_ctx_current(), outer);
        AMBIT_WITH(inner) assert_ptr_equal(ambit_ctx_current(), inner);
        assert_ptr_equal(ambit_ctx_current(), outer);
        AMBIT_WITH(outer) { /* the same once more */
            AMBIT_WITH(ambit_background())
            assert_ptr_equal(ambit_ctx_current(), ambit_background());
            assert_ptr_equal(ambit_ctx_current(), outer);
        }
        assert_ptr_equal(ambit_ctx_current(), outer);
    }
    assert_null(ambit_ctx_current());
}

static void the_block_runs_once_and_the_expression_is_read_once(void **state) {
    (void)state;
    ambit_ctx *both[2] = {outer, inner};
    int at = 0, ran = 0;
    AMBIT_WITH(both[at++]) ran++;
    assert_int_equal(at, 1);
    assert_int_equal(ran, 1);
}

static int leave_by_return(int depth) {
    AMBIT_WITH(outer) {
        AMBIT_WITH(inner) {
            if (depth) return depth + leave_by_return(depth - 1);
            return 0;
        }
    }
    return -1;
}
static void return_unbinds_all(void **state) {
    (void)state;
    assert_int_equal(leave_by_return(20), 210);
    assert_null(ambit_ctx_current());
}

static void break_and_continue_unbind_and_leave_the_block_only(void **state) {
    (void)state;
    int rounds = 0, after = 0;
    for (int i = 0; i < 6; i++) {
        rounds++;
        AMBIT_WITH(outer) {
            if (i % 3 == 0) break; /* the block, not the loop around it */
            if (i % 3 == 1) continue;
            AMBIT_WITH(inner) {
                if (i == 5) break;
                assert_ptr_equal(ambit_ctx_current(), inner);
            }
            assert_ptr_equal(ambit_ctx_current(), outer);
        }
        assert_null(ambit_ctx_current());
        after++;
    }
    assert_int_equal(rounds, 6);
    assert_int_equal(after, 6);
}

static void goto_unbinds(void **state) {
    (void)state;
    int tries = 0;
again:
    AMBIT_WITH(outer) {
        AMBIT_WITH(inner) {
            if (++tries < 3) goto again;
            goto out;
        }
    }
out:
    assert_int_equal(tries, 3);
    assert_null(ambit_ctx_current());
}

static void *look_and_bind(void *argument) {
    must(!ambit_ctx_current()); /* nothing is inherited */
    AMBIT_WITH(argument) must(ambit_ctx_current() == argument);
    must(!ambit_ctx_current());
    return NULL;
}
static void each_thread_has_its_own(void **state) {
    (void)state;
    AMBIT_WITH(outer) {
        (void)on_thread(look_and_bind, inner);
        assert_ptr_equal(ambit_ctx_current(), outer);
    }
}

static void an_ended_context_may_be_bound(void **state) {
    (void)state;
    ambit_ctx_cancel(outer, NULL);
    AMBIT_WITH(inner) assert_int_equal(ambit_ctx_err(ambit_ctx_current()), AMBIT_CANCELLED);
    ambit_hold *hold = hold_of(inner);
    ambit_ctx_close(&inner);
    AMBIT_WITH(ambit_hold_ctx(hold)) /* a held zombie, too */
    assert_string_equal(ambit_ctx_cause(ambit_ctx_current()).text, "cancelled");
    ambit_ctx_drop(&hold);
}

static void closing_a_bound_one_stops_at_every_depth(void **state) {
    (void)state;
    AMBIT_WITH(outer) {
        uint32_t line = __LINE__ - 1;
        AMBIT_WITH(inner) {
            ambit_ctx *copy = outer;
            assert_stops(ambit_ctx_close(&copy));
            assert_string_equal(suite_bug.function, "ambit_ctx_close");
            assert_int_equal(suite_bug.before->line, line); /* the block's */
            assert_string_equal(suite_bug.site->function, __func__);
            copy = inner;
            assert_stops(ambit_ctx_close(&copy));
            assert_int_equal(suite_bug.before->line, line + 2);
        }
        ambit_ctx_close(&inner); /* not bound any more */
    }
}

static void blocks_that_end_out_of_order_stop(void **state) {
    (void)state;
    ambit_binding first = {outer, NULL, AMBIT_HERE}, second = {inner, NULL, AMBIT_HERE};
    ambit_ctx_bind(&first);
    ambit_ctx_bind(&second);
    assert_stops(ambit_ctx_unbind(&first));
    assert_string_equal(suite_bug.function, "AMBIT_WITH");
    assert_ptr_equal(suite_bug.site, first.site);
    assert_ptr_equal(suite_bug.before, second.site);
    ambit_ctx_unbind(&second);
    ambit_ctx_unbind(&first);
    assert_stops(ambit_ctx_unbind(&first));
    assert_null(suite_bug.before);
}

/* ---- Cleanup at the end of a block ----------------------------------------------------------- */

static int destroyed;
static void note_destroyed(void *argument) {
    (void)argument;
    destroyed++;
}
static int open_in_a_scope(int leave_early) {
    AMBIT_CTX_SCOPE ambit_ctx *parent = NULL;
    if (leave_early == 0) return 0; /* nothing opened yet */
    parent = open_child(ambit_background());
    must(!ambit_ctx_defer(parent, note_destroyed, NULL));
    AMBIT_CTX_SCOPE ambit_ctx *child = open_child(parent);
    must(!ambit_ctx_defer(child, note_destroyed, NULL));
    AMBIT_HOLD_SCOPE ambit_hold *hold = NULL;
    if (leave_early == 1) return 2;
    hold = hold_of(child);
    if (leave_early == 2) ambit_ctx_close(&child); /* by hand: then the scope does nothing */
    must(destroyed == 0);
    return 2;
}
static void scopes_close_and_drop_however_they_are_left(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        destroyed = 0;
        int expected = open_in_a_scope(way);
        assert_int_equal(destroyed, expected);
        assert_int_equal(living(AMBIT_KIND_CTX), 2);
        assert_int_equal(living(AMBIT_KIND_HOLD), 0);
    }
}

/* ---- Keys ------------------------------------------------------------------------------------ */

static void a_declared_and_defined_key_works_like_a_static_one(void **state) {
    (void)state;
    int one = 1, two = 2;
    assert_ok(ambit_ctx_put(outer, &shared_key, &one));
    assert_ok(ambit_ctx_put(outer, &number, &two));
    assert_int_equal(*ambit_ctx_get(inner, &shared_key), 1);
    assert_int_equal(*ambit_ctx_get(inner, &number), 2);
    assert_string_equal(shared_key.key.name, "shared_key");
    assert_int_equal(shared_key.key.bytes, sizeof(int));
    assert_int_equal(shared_key.key.alignment, _Alignof(int));
}

#undef CASE
#define CASE(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)
static const struct CMUnitTest tests[] = {
    CASE(the_innermost_block_counts),
    CASE(the_block_runs_once_and_the_expression_is_read_once),
    CASE(return_unbinds_all),
    CASE(break_and_continue_unbind_and_leave_the_block_only),
    CASE(goto_unbinds),
    CASE(each_thread_has_its_own),
    CASE(an_ended_context_may_be_bound),
    CASE(closing_a_bound_one_stops_at_every_depth),
    CASE(blocks_that_end_out_of_order_stop),
    CASE(scopes_close_and_drop_however_they_are_left),
    CASE(a_declared_and_defined_key_works_like_a_static_one),
};
RUN(tests);
