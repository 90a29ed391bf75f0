/* Cancellation: who is reached, which cause wins. The peers' tests are named where they pin the
 * same thing (Go: context/context_test.go, tokio: sync_cancellation_token.rs). */
#include "suite.h"

#include <pthread.h>
#include <stdlib.h>

/* Go TestWithCancel */
static void cancel_reaches_child_and_grandchild(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx *child = open_child(root), *grandchild = open_child(child);
    assert_ok(ambit_ctx_err(grandchild));
    ambit_ctx_cancel(root, "shutdown");
    assert_int_equal(ambit_ctx_err(root), AMBIT_CANCELLED);
    assert_int_equal(ambit_ctx_err(grandchild), AMBIT_CANCELLED);
    assert_string_equal(ambit_ctx_cause(grandchild).text, "shutdown");
    ambit_ctx_close(&grandchild);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
    assert_null(root);
}

/* Go TestWithCancelCanceledParent */
static void opening_under_a_cancelled_parent_is_born_cancelled(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx_cancel_value(root, "early", 7);
    ambit_ctx *child = open_child(root);
    assert_int_equal(ambit_ctx_err(child), AMBIT_CANCELLED);
    assert_string_equal(ambit_ctx_cause(child).text, "early");
    assert_int_equal(ambit_ctx_cause(child).value, 7);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void cancelling_a_child_leaves_its_parent_alive(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    ambit_ctx_cancel(child, NULL);
    assert_int_equal(ambit_ctx_err(child), AMBIT_CANCELLED);
    assert_string_equal(ambit_ctx_cause(child).text, "cancelled");
    assert_ok(ambit_ctx_err(root));
    assert_int_equal(ambit_ctx_cause(root).code, AMBIT_OK);
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

/* Go TestCause: the first cause wins, in both directions. */
static void first_cause_wins_parent_first(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    ambit_ctx_cancel(root, "parent");
    ambit_ctx_cancel(child, "child");
    ambit_ctx_cancel(root, "again");
    assert_string_equal(ambit_ctx_cause(child).text, "parent");
    assert_string_equal(ambit_ctx_cause(root).text, "parent");
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void first_cause_wins_child_first(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    ambit_ctx_cancel(child, "child");
    ambit_ctx_cancel(root, "parent");
    assert_string_equal(ambit_ctx_cause(child).text, "child");
    assert_string_equal(ambit_ctx_cause(root).text, "parent");
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

/* tokio cancel_grandchild_token_through_parent_if_child_was_dropped */
static void closing_the_middle_keeps_the_grandchild_cancelled(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *middle = open_child(root);
    ambit_ctx *leaf = open_child(middle);
    ambit_ctx_close(&middle);
    assert_int_equal(ambit_ctx_err(leaf), AMBIT_CANCELLED);
    assert_string_equal(ambit_ctx_cause(leaf).text, "closed");
    ambit_ctx_cancel(root, "root");
    assert_string_equal(ambit_ctx_cause(leaf).text, "closed");
    ambit_ctx_close(&leaf);
    ambit_ctx_close(&root);
}

static void count_up(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ++*(int *)argument;
}

/* Go TestLayersCancel, deeper: no recursion. */
static void cancel_reaches_the_bottom_of_a_thousand(void **state) {
    (void)state;
    enum { DEPTH = 1000 };
    ambit_ctx *chain[DEPTH + 1];
    ambit_cancel node = {0};
    int ran = 0;
    chain[0] = open_child(ambit_background());
    for (int i = 1; i <= DEPTH; i++) chain[i] = open_child(chain[i - 1]);
    assert_ok(ambit_ctx_on_cancel(chain[DEPTH], &node, count_up, &ran));
    ambit_ctx_cancel(chain[0], "top");
    assert_int_equal(ran, 1);
    for (int i = 0; i <= DEPTH; i++) {
        assert_int_equal(ambit_ctx_err(chain[i]), AMBIT_CANCELLED);
        ambit_ctx_close(&chain[i]); /* parents first */
    }
}

static void cancel_reaches_all_of_a_hundred_thousand(void **state) {
    (void)state;
    enum { WIDTH = 100000 };
    ambit_ctx **children = calloc(WIDTH, sizeof *children);
    ambit_cancel *nodes = calloc(WIDTH, sizeof *nodes);
    int ran = 0;
    ambit_ctx *root = open_child(ambit_background());
    for (int i = 0; i < WIDTH; i++) {
        children[i] = open_child(root);
        assert_ok(ambit_ctx_on_cancel(children[i], &nodes[i], count_up, &ran));
    }
    ambit_ctx_cancel(root, "all");
    assert_int_equal(ran, WIDTH);
    for (int i = 0; i < WIDTH; i++) ambit_ctx_close(&children[i]);
    ambit_ctx_close(&root);
    free(nodes);
    free(children);
}

struct order {
    int seen[3], count;
};
struct order_node {
    ambit_cancel node;
    struct order *order;
    int number;
};
static void note_order(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    struct order_node *node = argument;
    node->order->seen[node->order->count++] = node->number;
}

/* go#51075 */
static void ordered_children_end_in_reverse_order_of_opening(void **state) {
    (void)state;
    struct order order = {{0}, 0};
    struct order_node nodes[3] = {{{0}, &order, 0}, {{0}, &order, 1}, {{0}, &order, 2}};
    ambit_ctx *root = open_child(ambit_background()), *children[3];
    ambit_ctx_order_children(root);
    for (int i = 0; i < 3; i++) children[i] = open_child(root);
    int arming[3] = {1, 2, 0}; /* not the order of opening */
    for (int i = 0; i < 3; i++) {
        struct order_node *node = &nodes[arming[i]];
        assert_ok(ambit_ctx_on_cancel(children[arming[i]], &node->node, note_order, node));
    }
    ambit_ctx_cancel(root, NULL);
    assert_int_equal(order.count, 3);
    for (int i = 0; i < 3; i++) assert_int_equal(order.seen[i], 2 - i);
    for (int i = 0; i < 3; i++) ambit_ctx_close(&children[i]);
    ambit_ctx_close(&root);
}

/* go#36503 */
static void merged_context_ends_with_either_parent(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        ambit_ctx *first = open_child(ambit_background()), *second = open_child(ambit_background());
        ambit_ctx *both = NULL;
        assert_ok(ambit_ctx_merge(first, second, &both));
        assert_ok(ambit_ctx_err(both));
        ambit_ctx_cancel(which ? second : first, which ? "second" : "first");
        assert_int_equal(ambit_ctx_err(both), AMBIT_CANCELLED);
        assert_string_equal(ambit_ctx_cause(both).text, which ? "second" : "first");
        ambit_ctx_close(&both);
        ambit_ctx_close(&first);
        ambit_ctx_close(&second);
    }
}

static void detached_context_outlives_the_cancellation(void **state) {
    (void)state;
    AMBIT_KEY(number, int);
    int value = 5;
    ambit_ctx *root = open_child(ambit_background()), *detached = NULL;
    assert_ok(ambit_ctx_put(root, &number, &value));
    assert_int_equal(ambit_ctx_detach(root, AMBIT_NEVER, &detached), AMBIT_EINVALID);
    assert_null(detached);
    assert_ok(ambit_ctx_detach(root, ambit_clock_now_ns() + AMBIT_SECOND, &detached));
    ambit_ctx_close(&root);
    assert_ok(ambit_ctx_err(detached));
    assert_int_equal(*ambit_ctx_get(detached, &number), 5);
    ambit_ctx_close(&detached);
}

struct race {
    pthread_barrier_t start;
    ambit_ctx *ctx;
    const char *text;
};
static void *cancel_after_start(void *argument) {
    struct race *race = argument;
    pthread_barrier_wait(&race->start);
    ambit_ctx_cancel(race->ctx, "other thread");
    return NULL;
}

/* Go TestWithCancelSimultaneouslyCanceledParent, TestCauseRace */
static void opening_that_races_a_cancel_never_misses_it(void **state) {
    (void)state;
    for (int round = 0; round < 300; round++) {
        struct race race = {.ctx = open_child(ambit_background())};
        ambit_cancel node = {0};
        int ran = 0;
        pthread_t thread;
        pthread_barrier_init(&race.start, NULL, 2);
        assert_int_equal(pthread_create(&thread, NULL, cancel_after_start, &race), 0);
        pthread_barrier_wait(&race.start);
        ambit_ctx *child = open_child(race.ctx);
        ambit_status status = ambit_ctx_on_cancel(child, &node, count_up, &ran);
        pthread_join(thread, NULL);
        assert_true(status == AMBIT_OK || status == AMBIT_CANCELLED);
        assert_int_equal(ran, 1);
        assert_int_equal(ambit_ctx_err(child), AMBIT_CANCELLED);
        assert_string_equal(ambit_ctx_cause(child).text, "other thread");
        ambit_ctx_close(&child);
        ambit_ctx_close(&race.ctx);
        pthread_barrier_destroy(&race.start);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancel_reaches_child_and_grandchild),
        cmocka_unit_test(opening_under_a_cancelled_parent_is_born_cancelled),
        cmocka_unit_test(cancelling_a_child_leaves_its_parent_alive),
        cmocka_unit_test(first_cause_wins_parent_first),
        cmocka_unit_test(first_cause_wins_child_first),
        cmocka_unit_test(closing_the_middle_keeps_the_grandchild_cancelled),
        cmocka_unit_test(cancel_reaches_the_bottom_of_a_thousand),
        cmocka_unit_test(cancel_reaches_all_of_a_hundred_thousand),
        cmocka_unit_test(ordered_children_end_in_reverse_order_of_opening),
        cmocka_unit_test(merged_context_ends_with_either_parent),
        cmocka_unit_test(detached_context_outlives_the_cancellation),
        cmocka_unit_test(opening_that_races_a_cancel_never_misses_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
