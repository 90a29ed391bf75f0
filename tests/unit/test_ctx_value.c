/* Values, the arena, the budget, destructors, holds, and what stops as a bug. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

AMBIT_KEY(number, int);
AMBIT_KEY(name, char);
AMBIT_KEY(
    pair, struct {
        int a;
        double b;
    });

static void a_value_is_set_once_and_shadowed_below(void **state) {
    (void)state;
    int one = 1, two = 2;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    assert_null(ambit_ctx_get(child, &number));
    assert_ok(ambit_ctx_put(root, &number, &one));
    assert_int_equal(ambit_ctx_put(root, &number, &two), AMBIT_EXISTS);
    assert_int_equal(*ambit_ctx_get(child, &number), 1);
    assert_ok(ambit_ctx_put(child, &number, &two));
    assert_int_equal(*ambit_ctx_get(child, &number), 2);
    assert_int_equal(*ambit_ctx_get(root, &number), 1);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void values_stay_readable_after_cancel_and_in_zombies(void **state) {
    (void)state;
    int one = 1;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    assert_ok(ambit_ctx_put(root, &number, &one));
    ambit_ctx_cancel(root, NULL);
    assert_int_equal(*ambit_ctx_get(root, &number), 1);
    ambit_ctx_close(&root);
    assert_int_equal(*ambit_ctx_get(child, &number), 1);
    ambit_ctx_close(&child);
}

static void many_values_are_all_found(void **state) {
    (void)state;
    enum { KEYS = 100 };
    static ambit_key keys[KEYS];
    ambit_ctx *root = open_child(ambit_background());
    for (int i = 0; i < KEYS; i++) {
        keys[i] = (ambit_key){"key", sizeof(int), _Alignof(int)};
        assert_ok(ambit_ctx_put_bytes(root, &keys[i], &i, sizeof i));
    }
    for (int i = 0; i < KEYS; i++) {
        size_t bytes = 0;
        const int *value = ambit_ctx_get_bytes(root, &keys[i], &bytes);
        assert_non_null(value);
        assert_int_equal(*value, i);
        assert_int_equal(bytes, sizeof i);
    }
    ambit_ctx_close(&root);
}

static void over_the_budget_nothing_is_stored(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    char text[64] = {0};
    ambit_ctx_budget_set(root, 100);
    assert_ok(ambit_ctx_put_bytes(root, &name.key, text, sizeof text));
    assert_int_equal(ambit_ctx_put_bytes(root, &pair.key, text, sizeof text), AMBIT_EBUDGET);
    assert_null(ambit_ctx_get(root, &pair));
    assert_null(ambit_ctx_alloc(root, 37));
    assert_int_equal(ambit_ctx_bytes(root), 64);
    assert_non_null(ambit_ctx_alloc(root, 36));
    assert_int_equal(ambit_ctx_defer(root, free, NULL), AMBIT_EBUDGET);
    ambit_ctx *child = open_child(root); /* inherits the number, not what is in use */
    assert_ok(ambit_ctx_put_bytes(child, &pair.key, text, sizeof text));
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void alloc_is_aligned_and_large_blocks_work(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    for (size_t bytes = 1; bytes < 20000; bytes = bytes * 3 + 1) {
        unsigned char *memory = ambit_ctx_alloc(root, bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, 1, bytes);
    }
    assert_null(ambit_ctx_alloc(root, SIZE_MAX - 8));
    ambit_ctx_close(&root);
}

static ambit_ctx *dying;
static int order[4], ended;
static void note(void *argument) { order[ended++] = *(int *)argument; }
static int late = 3;
static void note_and_defer(void *argument) {
    assert_int_equal(ambit_ctx_err(dying), AMBIT_CANCELLED);
    note(argument);
    assert_ok(ambit_ctx_defer(dying, note, &late));
}

/* nginx walks its list of cleanups once and loses what a cleanup adds. */
static void destructors_run_last_first_until_none_is_left(void **state) {
    (void)state;
    static int first = 1, second = 2;
    ended = 0;
    dying = open_child(ambit_background());
    assert_ok(ambit_ctx_defer(dying, note, &first));
    assert_ok(ambit_ctx_own(dying, &number, &second, sizeof second, note_and_defer));
    ambit_ctx *ctx = dying;
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 3);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 3);
    assert_int_equal(order[2], 1);
}

static void own_that_fails_leaves_the_value_with_the_caller(void **state) {
    (void)state;
    static int value = 1;
    ended = 0;
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx_budget_set(root, 10);
    assert_int_equal(ambit_ctx_own(root, &number, &value, 11, note), AMBIT_EBUDGET);
    ambit_ctx_close(&root);
    assert_int_equal(ended, 0);
}

static void a_hold_defers_the_destructors_to_the_last_drop(void **state) {
    (void)state;
    static int value = 1;
    ended = 0;
    ambit_hold *hold = NULL, *copy;
    ambit_ctx *root = open_child(ambit_background());
    assert_ok(ambit_ctx_own(root, &number, &value, sizeof value, note));
    assert_ok(ambit_ctx_hold(root, &hold));
    copy = hold;
    ambit_ctx_close(&root);
    assert_int_equal(ended, 0);
    assert_int_equal(ambit_ctx_err(ambit_hold_ctx(hold)), AMBIT_CANCELLED);
    assert_int_equal(*ambit_ctx_get(ambit_hold_ctx(hold), &number), 1);
    ambit_ctx_drop(&hold);
    assert_int_equal(ended, 1);
    assert_null(hold);
    ambit_ctx_drop(&hold); /* NULL is fine */
    assert_stops(ambit_ctx_drop(&copy));
    assert_non_null(suite_bug.before);
}

static void closing_twice_stops_and_names_both_lines(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *copy = root;
    ambit_ctx_close(&root);
    ambit_ctx_close(&root); /* NULL is fine */
    assert_stops(ambit_ctx_close(&copy));
    assert_string_equal(suite_bug.function, "ambit_ctx_close");
    assert_non_null(suite_bug.site);
    assert_non_null(suite_bug.before);
    assert_int_equal(suite_bug.before->line + 2, suite_bug.site->line);
}

static void closing_a_zombie_twice_stops(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *copy = root, *child = open_child(root);
    ambit_ctx_close(&root);
    assert_stops(ambit_ctx_close(&copy));
    ambit_ctx_close(&child);
}

static void wrong_arguments_stop(void **state) {
    (void)state;
    int one = 1;
    ambit_ctx *ctx = open_child(ambit_background()), *out = NULL;
    assert_stops((void)!ambit_ctx_open(NULL, &out));
    assert_stops(ambit_ctx_get_bytes(ctx, NULL, NULL));
    assert_stops((void)!ambit_ctx_put_bytes(ctx, NULL, &one, sizeof one));
    assert_stops((void)!ambit_ctx_put(ambit_background(), &number, &one));
    assert_stops(ambit_ctx_cancel(ambit_background(), NULL));
    ambit_ctx *background = ambit_background();
    assert_stops(ambit_ctx_close(&background));
    ambit_ctx_close(&ctx);
}

static void binding_nests_and_unbinds(void **state) {
    (void)state;
    ambit_ctx *outer = open_child(ambit_background()), *inner = open_child(outer);
    assert_null(ambit_ctx_current());
    AMBIT_WITH(outer) {
        assert_ptr_equal(ambit_ctx_current(), outer);
        AMBIT_WITH(inner) {
            assert_ptr_equal(ambit_ctx_current(), inner);
            break;
        }
        assert_ptr_equal(ambit_ctx_current(), outer);
        ambit_ctx *copy = outer;
        assert_stops(ambit_ctx_close(&copy));
    }
    assert_null(ambit_ctx_current());
    ambit_ctx_close(&inner);
    ambit_ctx_close(&outer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_set_once_and_shadowed_below),
        cmocka_unit_test(values_stay_readable_after_cancel_and_in_zombies),
        cmocka_unit_test(many_values_are_all_found),
        cmocka_unit_test(over_the_budget_nothing_is_stored),
        cmocka_unit_test(alloc_is_aligned_and_large_blocks_work),
        cmocka_unit_test(destructors_run_last_first_until_none_is_left),
        cmocka_unit_test(own_that_fails_leaves_the_value_with_the_caller),
        cmocka_unit_test(a_hold_defers_the_destructors_to_the_last_drop),
        cmocka_unit_test(closing_twice_stops_and_names_both_lines),
        cmocka_unit_test(closing_a_zombie_twice_stops),
        cmocka_unit_test(wrong_arguments_stop),
        cmocka_unit_test(binding_nests_and_unbinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
