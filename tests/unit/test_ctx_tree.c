/* Trees: cancel reaches every descendant before it returns, from several sides at once, whatever
 * closes meanwhile, deep and wide (Go: TestSimultaneousCancels, TestInterlockedCancels,
 * TestLayersCancel, TestParentFinishesChild; tokio: cancel_only_all_descendants). */
#include "ctxs.h"

AMBIT_KEY(number, int);

struct branch { /* a context with a callback of its own */
    ambit_ctx *ctx;
    ambit_cancel node;
    _Atomic(int) ran;
};
static void sprout(struct branch *branch, ambit_ctx *parent) {
    *branch = (struct branch){.ctx = open_child(parent)};
    must(!ambit_ctx_on_cancel(branch->ctx, &branch->node, count_up, &branch->ran));
}

/* ---- One thread ------------------------------------------------------------------------------ */

/* tokio cancel_only_all_descendants */
static void cancel_reaches_all_below_and_nobody_beside(void **state) {
    (void)state;
    enum { PARENT, TOP, SIBLING, CHILD, CHILD_2, GRANDCHILD, GRANDCHILD_2, LEAF, ALL };
    static const int above[ALL] = {-1, PARENT, PARENT, TOP, TOP, CHILD, CHILD, GRANDCHILD};
    struct branch tree[ALL];
    for (int i = 0; i < ALL; i++) sprout(&tree[i], i ? tree[above[i]].ctx : ambit_background());
    ambit_ctx_cancel(tree[TOP].ctx, NULL);
    for (int i = 0; i < ALL; i++) {
        bool reached = i != PARENT && i != SIBLING;
        assert_int_equal(ambit_ctx_err(tree[i].ctx), reached ? AMBIT_CANCELLED : AMBIT_OK);
        assert_int_equal(atomic_load(&tree[i].ran), reached);
    }
    for (int i = 0; i < ALL; i++) ambit_ctx_close(&tree[i].ctx);
}

/* Go TestParentFinishesChild, TestChildFinishesFirst */
static void a_child_that_ends_first_leaves_nothing_with_its_parent(void **state) {
    (void)state;
    struct branch parent, child;
    sprout(&parent, ambit_background());
    for (int i = 0; i < 3; i++) {
        sprout(&child, parent.ctx);
        if (i) ambit_ctx_cancel(child.ctx, "child");
        ambit_ctx_close(&child.ctx);
        assert_int_equal(atomic_load(&child.ran), 1);
        assert_int_equal(atomic_load(&parent.ran), 0);
    }
    sprout(&child, parent.ctx);
    ambit_ctx_cancel(parent.ctx, "parent");
    assert_int_equal(atomic_load(&child.ran), 1);
    ambit_ctx_cancel(child.ctx, "child");
    assert_int_equal(atomic_load(&child.ran), 1);
    ambit_ctx_close(&child.ctx);
    ambit_ctx_close(&parent.ctx);
}

/* tokio cancel_grandchild_token_through_parent_if_child_was_dropped; with us closing ends what is
 * below, so the grandchild is reached by the close itself, and once. */
static void closing_the_middle_reaches_the_grandchild_once(void **state) {
    (void)state;
    struct branch root, middle, leaf;
    sprout(&root, ambit_background());
    sprout(&middle, root.ctx);
    sprout(&leaf, middle.ctx);
    ambit_ctx_close(&middle.ctx);
    assert_int_equal(atomic_load(&leaf.ran), 1);
    assert_ok(ambit_ctx_err(root.ctx));
    ambit_ctx_cancel(root.ctx, NULL);
    assert_int_equal(atomic_load(&leaf.ran), 1);
    ambit_ctx *late = open_child(leaf.ctx); /* below what has ended twice over */
    assert_string_equal(ambit_ctx_cause(late).text, "closed");
    ambit_ctx_close(&late);
    ambit_ctx_close(&leaf.ctx);
    ambit_ctx_close(&root.ctx);
}

/* Only the leaves wait: what lies between is told all the same. */
static void unarmed_levels_between_are_no_gap(void **state) {
    (void)state;
    enum { DEPTH = 50 };
    ambit_ctx *chain[DEPTH];
    for (int i = 0; i < DEPTH; i++) chain[i] = open_child(i ? chain[i - 1] : ambit_background());
    struct branch leaf, beside;
    sprout(&leaf, chain[DEPTH - 1]);
    sprout(&beside, chain[DEPTH / 2]);
    ambit_ctx_cancel(chain[3], NULL);
    assert_int_equal(atomic_load(&leaf.ran), 1);
    assert_int_equal(atomic_load(&beside.ran), 1);
    for (int i = 0; i < DEPTH; i++)
        assert_int_equal(ambit_ctx_err(chain[i]), i < 3 ? AMBIT_OK : AMBIT_CANCELLED);
    ambit_ctx_close(&leaf.ctx);
    ambit_ctx_close(&beside.ctx);
    for (int i = DEPTH; i--;) ambit_ctx_close(&chain[i]);
}

static void deep_and_wide_at_once(void **state) {
    (void)state;
    enum { DEPTH = 200, WIDTH = 50 };
    struct branch *tree = calloc(DEPTH * WIDTH, sizeof *tree);
    ambit_ctx *root = open_child(ambit_background()), *above = root;
    for (int level = 0; level < DEPTH; level++) {
        for (int i = 0; i < WIDTH; i++) sprout(&tree[level * WIDTH + i], above);
        above = tree[level * WIDTH + level % WIDTH].ctx;
    }
    ambit_ctx_cancel(root, "all");
    for (int i = 0; i < DEPTH * WIDTH; i++) {
        must(atomic_load(&tree[i].ran) == 1);
        must(ambit_ctx_err(tree[i].ctx) == AMBIT_CANCELLED);
    }
    for (int i = 0; i < DEPTH * WIDTH; i++) ambit_ctx_close(&tree[i * 7 % (DEPTH * WIDTH)].ctx);
    ambit_ctx_close(&root);
    free(tree);
}

static void closing_a_deep_tree_from_the_top_ends_all_of_it(void **state) {
    (void)state;
    enum { DEPTH = 1000 };
    struct branch *chain = calloc(DEPTH, sizeof *chain);
    for (int i = 0; i < DEPTH; i++) sprout(&chain[i], i ? chain[i - 1].ctx : ambit_background());
    ambit_ctx_close(&chain[0].ctx);
    for (int i = 0; i < DEPTH; i++) must(atomic_load(&chain[i].ran) == 1);
    for (int i = DEPTH; --i;) ambit_ctx_close(&chain[i].ctx);
    free(chain);
}

/* Go TestLayersCancel: a random tree with values, one context of it cancelled. */
static uint32_t seed;
static uint32_t roll(uint32_t sides) {
    seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
    return seed % sides;
}
static void random_layers_see_values_and_the_cancel(void **state) {
    (void)state;
    enum { LAYERS = 200 };
    for (uint32_t round = 1; round <= 20; round++) {
        struct branch *tree = calloc(LAYERS, sizeof *tree);
        int above[LAYERS];
        bool reached[LAYERS] = {false};
        seed = round * 2654435761u;
        for (int i = 0; i < LAYERS; i++) {
            above[i] = i ? (int)roll((uint32_t)i) : -1;
            sprout(&tree[i], i ? tree[above[i]].ctx : ambit_background());
            if (i % 3 == 0) must(!ambit_ctx_put(tree[i].ctx, &number, &i));
        }
        int cut = (int)roll(LAYERS);
        ambit_ctx_cancel(tree[cut].ctx, "cut");
        for (int i = 0; i < LAYERS; i++) {
            reached[i] = i == cut || (i && reached[above[i]]);
            must(!ambit_ctx_err(tree[i].ctx) == !reached[i]);
            must(atomic_load(&tree[i].ran) == reached[i]);
            int nearest = i;
            while (nearest % 3) nearest = above[nearest];
            must(*ambit_ctx_get(tree[i].ctx, &number) == nearest);
        }
        for (int i = 0; i < LAYERS; i++) ambit_ctx_close(&tree[i * 7 % LAYERS].ctx);
        free(tree);
    }
}

/* ---- Several threads ------------------------------------------------------------------------- */

enum { SIDES = 4, TREE = 85 }; /* a full tree of four children each: 1 + 4 + 16 + 64 */

struct meeting {
    pthread_barrier_t together;
    struct branch tree[TREE];
    _Atomic(int) tickets;
};

static void *cancel_a_quarter(void *argument) {
    struct meeting *meeting = argument;
    int mine = atomic_fetch_add(&meeting->tickets, 1);
    pthread_barrier_wait(&meeting->together);
    for (int i = mine; i < TREE; i += SIDES) {
        int at = mine % 2 ? i : TREE - 1 - i; /* some from the leaves, some from the root */
        ambit_ctx_cancel(meeting->tree[at].ctx, NULL);
        must(ambit_ctx_err(meeting->tree[at].ctx) == AMBIT_CANCELLED);
        for (int below = 4 * at + 1; below < TREE; below = 4 * below + 1)
            must(ambit_ctx_err(meeting->tree[below].ctx) == AMBIT_CANCELLED);
    }
    return NULL;
}

/* Go TestSimultaneousCancels */
static void cancels_of_every_context_at_once_run_each_callback_once(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct meeting meeting = {.tickets = 0};
        pthread_t threads[SIDES];
        for (int i = 0; i < TREE; i++)
            sprout(&meeting.tree[i], i ? meeting.tree[(i - 1) / 4].ctx : ambit_background());
        pthread_barrier_init(&meeting.together, NULL, SIDES);
        for (int i = 0; i < SIDES; i++) threads[i] = start(cancel_a_quarter, &meeting);
        for (int i = 0; i < SIDES; i++) join(threads[i]);
        for (int i = 0; i < TREE; i++) assert_int_equal(atomic_load(&meeting.tree[i].ran), 1);
        for (int i = 0; i < TREE; i++) ambit_ctx_close(&meeting.tree[i].ctx);
        pthread_barrier_destroy(&meeting.together);
    }
}

static void *close_a_quarter(void *argument) {
    struct meeting *meeting = argument;
    int mine = atomic_fetch_add(&meeting->tickets, 1);
    pthread_barrier_wait(&meeting->together);
    for (int i = mine; i < TREE; i += SIDES) {
        int at = mine % 2 ? i : TREE - 1 - i;
        if ((at & 1) != (mine & 1)) continue; /* of two that come here one closes */
        ambit_ctx_close(&meeting->tree[at].ctx);
        must(atomic_load(&meeting->tree[at].ran) == 1);
    }
    return NULL;
}
static void closes_in_any_order_on_several_threads_run_each_callback_once(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct meeting meeting = {.tickets = 0};
        pthread_t threads[SIDES];
        for (int i = 0; i < TREE; i++)
            sprout(&meeting.tree[i], i ? meeting.tree[(i - 1) / 4].ctx : ambit_background());
        pthread_barrier_init(&meeting.together, NULL, SIDES);
        for (int i = 0; i < SIDES; i++) threads[i] = start(close_a_quarter, &meeting);
        for (int i = 0; i < SIDES; i++) join(threads[i]);
        for (int i = 0; i < TREE; i++) ambit_ctx_close(&meeting.tree[i].ctx); /* the others */
        for (int i = 0; i < TREE; i++) assert_int_equal(atomic_load(&meeting.tree[i].ran), 1);
        pthread_barrier_destroy(&meeting.together);
    }
}

/* Go TestInterlockedCancels: the end of the parent has another thread cancel the child. */
static void *wait_then_cancel_child(void *argument) {
    ambit_ctx **pair = argument;
    must(ambit_ctx_wait(pair[0]) == AMBIT_CANCELLED);
    ambit_ctx_cancel(pair[1], "interlocked");
    must(ambit_ctx_err(pair[1]) == AMBIT_CANCELLED);
    return NULL;
}
static void interlocked_cancels_end(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        ambit_ctx *pair[2] = {open_child(ambit_background())};
        pair[1] = open_child(pair[0]);
        pthread_t thread = start(wait_then_cancel_child, pair);
        ambit_ctx_cancel(pair[0], "parent");
        assert_int_equal(ambit_ctx_wait(pair[1]), AMBIT_CANCELLED);
        assert_string_equal(ambit_ctx_cause(pair[1]).text, "parent");
        join(thread);
        ambit_ctx_close(&pair[1]);
        ambit_ctx_close(&pair[0]);
    }
}

/* Two callbacks that cancel each other's context, on two threads. */
static void cancel_the_other(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ambit_ctx_cancel(argument, "the other");
}
struct pair {
    pthread_barrier_t together;
    ambit_ctx *ctx[2];
    _Atomic(int) tickets;
};
static void *cancel_one_of_two(void *argument) {
    struct pair *pair = argument;
    int mine = atomic_fetch_add(&pair->tickets, 1);
    pthread_barrier_wait(&pair->together);
    ambit_ctx_cancel(pair->ctx[mine], "own");
    must(ambit_ctx_err(pair->ctx[0]) == AMBIT_CANCELLED || mine == 1);
    return NULL;
}
static void two_contexts_that_cancel_each_other_end(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct pair pair = {
            .ctx = {open_child(ambit_background()), open_child(ambit_background())}};
        ambit_cancel nodes[2] = {0};
        pthread_barrier_init(&pair.together, NULL, 2);
        for (int i = 0; i < 2; i++)
            assert_ok(ambit_ctx_on_cancel(pair.ctx[i], &nodes[i], cancel_the_other, pair.ctx[!i]));
        pthread_t first = start(cancel_one_of_two, &pair), second = start(cancel_one_of_two, &pair);
        join(first);
        join(second);
        for (int i = 0; i < 2; i++) {
            assert_int_equal(ambit_ctx_off_cancel(pair.ctx[i], &nodes[i]), AMBIT_ALREADY_RAN);
            ambit_ctx_close(&pair.ctx[i]);
        }
        pthread_barrier_destroy(&pair.together);
    }
}

/* Go TestWithCancelSimultaneouslyCanceledParent, several levels below. */
static void *cancel_root(void *argument) {
    struct pair *pair = argument;
    pthread_barrier_wait(&pair->together);
    ambit_ctx_cancel_value(pair->ctx[0], "root", 9);
    return NULL;
}
static void opening_below_a_tree_that_is_being_cancelled_misses_nothing(void **state) {
    (void)state;
    int met = 0;
    for (int round = 0; round < 300; round++) {
        struct pair pair = {.ctx = {open_child(ambit_background())}};
        struct branch below[4];
        pthread_barrier_init(&pair.together, NULL, 2);
        pthread_t thread = start(cancel_root, &pair);
        pthread_barrier_wait(&pair.together);
        for (int i = 0; i < 4; i++) {
            below[i] = (struct branch){.ctx = open_child(i ? below[i - 1].ctx : pair.ctx[0])};
            ambit_status status =
                ambit_ctx_on_cancel(below[i].ctx, &below[i].node, count_up, &below[i].ran);
            met += !status;
        }
        join(thread);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(atomic_load(&below[i].ran), 1);
            assert_int_equal(ambit_ctx_cause(below[i].ctx).value, 9);
            ambit_ctx_close(&below[i].ctx);
        }
        ambit_ctx_close(&pair.ctx[0]);
        pthread_barrier_destroy(&pair.together);
    }
    assert_int_not_equal(met, 0); /* else they never overlapped */
}

static const struct CMUnitTest tests[] = {
    CASE(cancel_reaches_all_below_and_nobody_beside),
    CASE(a_child_that_ends_first_leaves_nothing_with_its_parent),
    CASE(closing_the_middle_reaches_the_grandchild_once),
    CASE(unarmed_levels_between_are_no_gap),
    CASE(deep_and_wide_at_once),
    CASE(closing_a_deep_tree_from_the_top_ends_all_of_it),
    CASE(random_layers_see_values_and_the_cancel),
    CASE(cancels_of_every_context_at_once_run_each_callback_once),
    CASE(closes_in_any_order_on_several_threads_run_each_callback_once),
    CASE(interlocked_cancels_end),
    CASE(two_contexts_that_cancel_each_other_end),
    CASE(opening_below_a_tree_that_is_being_cancelled_misses_nothing),
};
RUN(tests);
