/* Who frees last: parent, child, hold, merged and detached contexts let go in every order, and
 * memory, values, destructors and the census follow the last of them. */
#include "ctxs.h"

AMBIT_KEY(number, int);

static int destroyed;
static void note_destroyed(void *argument) {
    (void)argument;
    destroyed++;
}

/* ---- All permutations ------------------------------------------------------------------------ */

enum part { PARENT, OTHER, CHILD, MERGED, DETACHED, HOLD, PARTS };

struct family {
    ambit_ctx *ctx[HOLD]; /* by part */
    ambit_hold *hold;     /* of the child */
    ambit_cancel nodes[HOLD];
    _Atomic(int) ran;
    bool gone[PARTS];
};

static void raise_family(struct family *family, bool armed) {
    int one = 1;
    *family =
        (struct family){.ctx = {open_child(ambit_background()), open_child(ambit_background())}};
    ambit_ctx **ctx = family->ctx;
    must(!ambit_ctx_put(ctx[PARENT], &number, &one));
    ctx[CHILD] = open_child(ctx[PARENT]);
    ctx[MERGED] = merge(ctx[PARENT], ctx[OTHER]);
    ctx[DETACHED] = detach(ctx[CHILD]);
    family->hold = hold_of(ctx[CHILD]);
    for (int i = 0; i < HOLD; i++) {
        must(!ambit_ctx_defer(ctx[i], note_destroyed, NULL));
        if (armed) must(!ambit_ctx_on_cancel(ctx[i], &family->nodes[i], count_up, &family->ran));
    }
}

/* What keeps each context, as the documentation has it. */
static bool stands(const bool *gone, int part) {
    bool detached = !gone[DETACHED], merged = !gone[MERGED];
    bool child = !gone[CHILD] || !gone[HOLD] || detached;
    if (part == CHILD) return child;
    if (part == PARENT) return !gone[PARENT] || child || merged;
    if (part == OTHER) return !gone[OTHER] || merged;
    return !gone[part];
}

static void let_go(struct family *family, int part) {
    if (part == HOLD)
        ambit_ctx_drop(&family->hold);
    else
        ambit_ctx_close(&family->ctx[part]);
    family->gone[part] = true;
}

static void check(const struct family *family) {
    int standing = 0, closed = 0;
    for (int part = 0; part < HOLD; part++) {
        bool stand = stands(family->gone, part);
        standing += stand;
        closed += stand && family->gone[part];
    }
    must(destroyed == HOLD - standing);
    must(living(AMBIT_KIND_CTX) == (uint64_t)standing);
    must(zombies() == (uint64_t)closed);
    must(living(AMBIT_KIND_HOLD) == !family->gone[HOLD]);
    if (!family->gone[HOLD]) must(*ambit_ctx_get(ambit_hold_ctx(family->hold), &number) == 1);
    if (!family->gone[DETACHED]) {
        must(*ambit_ctx_get(family->ctx[DETACHED], &number) == 1);
        must(!ambit_ctx_err(family->ctx[DETACHED]));
    }
    if (!family->gone[MERGED]) {
        must(*ambit_ctx_get(family->ctx[MERGED], &number) == 1);
        must(!ambit_ctx_err(family->ctx[MERGED]) ==
             (!family->gone[PARENT] && !family->gone[OTHER]));
    }
    if (!family->gone[CHILD]) must(!ambit_ctx_err(family->ctx[CHILD]) == !family->gone[PARENT]);
}

/* Heap's algorithm, a step at a time: the next of the PARTS! orders. */
static bool next_order(int *order, int *counts, int *at) {
    while (*at < PARTS) {
        if (counts[*at] < *at) {
            int with = *at % 2 ? counts[*at] : 0, kept = order[with];
            order[with] = order[*at];
            order[*at] = kept;
            counts[*at]++;
            *at = 0;
            return true;
        }
        counts[(*at)++] = 0;
    }
    return false;
}

static void in_every_order(bool armed) {
    int order[PARTS], counts[PARTS] = {0}, at = 0, orders = 0;
    for (int i = 0; i < PARTS; i++) order[i] = i;
    do {
        struct family family;
        destroyed = 0;
        raise_family(&family, armed);
        check(&family);
        for (int i = 0; i < PARTS; i++) {
            let_go(&family, order[i]);
            check(&family);
        }
        must(atomic_load(&family.ran) == (armed ? HOLD : 0));
        orders++;
    } while (next_order(order, counts, &at));
    assert_int_equal(orders, 720);
}

/* tokio drop_multiple_child_tokens, drop_parent_before_child_tokens: two orders; here all 720. */
static void the_last_of_six_frees_in_every_order(void **state) {
    (void)state;
    in_every_order(false);
}
static void the_last_of_six_frees_in_every_order_while_waited_for(void **state) {
    (void)state;
    in_every_order(true);
}

/* ---- Several holds, several threads ---------------------------------------------------------- */

static void many_holds_keep_until_the_last(void **state) {
    (void)state;
    enum { HOLDS = 200 };
    ambit_hold *holds[HOLDS];
    ambit_ctx *ctx = open_child(ambit_background());
    destroyed = 0;
    assert_ok(ambit_ctx_defer(ctx, note_destroyed, NULL));
    for (int i = 0; i < HOLDS; i++) holds[i] = hold_of(ctx);
    assert_int_equal(living(AMBIT_KIND_HOLD), HOLDS);
    ambit_ctx_close(&ctx);
    for (int i = 0; i < HOLDS; i++) {
        assert_int_equal(destroyed, 0);
        ambit_ctx_drop(&holds[i * 7 % HOLDS]);
    }
    assert_int_equal(destroyed, 1);
}

static void a_hold_of_a_held_zombie_is_a_hold_like_any(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    destroyed = 0;
    assert_ok(ambit_ctx_defer(ctx, note_destroyed, NULL));
    ambit_hold *first = hold_of(ctx);
    ambit_ctx_close(&ctx);
    ambit_hold *second = hold_of(ambit_hold_ctx(first));
    ambit_ctx_drop(&first);
    assert_int_equal(destroyed, 0);
    assert_int_equal(ambit_ctx_err(ambit_hold_ctx(second)), AMBIT_CANCELLED);
    ambit_ctx_drop(&second);
    assert_int_equal(destroyed, 1);
}

/* Who holds a zombie may still open below it: the child is born ended, and keeps it. */
static void a_child_of_a_zombie_is_born_ended_and_keeps_it(void **state) {
    (void)state;
    int one = 1;
    ambit_ctx *ctx = open_child(ambit_background());
    destroyed = 0;
    assert_ok(ambit_ctx_put(ctx, &number, &one));
    assert_ok(ambit_ctx_defer(ctx, note_destroyed, NULL));
    ambit_hold *hold = hold_of(ctx);
    ambit_ctx_close(&ctx);
    ambit_ctx *child = open_child(ambit_hold_ctx(hold));
    ambit_ctx_drop(&hold);
    assert_int_equal(destroyed, 0);
    assert_int_equal(ambit_ctx_err(child), AMBIT_CANCELLED);
    assert_string_equal(ambit_ctx_cause(child).text, "closed");
    assert_int_equal(*ambit_ctx_get(child, &number), 1);
    ambit_ctx_close(&child);
    assert_int_equal(destroyed, 1);
}

static void holding_the_background_is_allowed(void **state) {
    (void)state;
    ambit_hold *hold = hold_of(ambit_background());
    assert_ptr_equal(ambit_hold_ctx(hold), ambit_background());
    assert_int_equal(living(AMBIT_KIND_HOLD), 1);
    ambit_ctx_drop(&hold);
    assert_ok(ambit_ctx_err(ambit_background()));
}

struct droppers {
    pthread_barrier_t together;
    ambit_ctx *ctx;
    ambit_hold *holds[3];
    _Atomic(int) destroyed;
};
static void note_shared(void *argument) { atomic_fetch_add((_Atomic(int) *)argument, 1); }
static void *drop_one(void *argument) {
    struct droppers *droppers = argument;
    static _Atomic(unsigned) tickets;
    unsigned mine = atomic_fetch_add(&tickets, 1) % 3;
    must(*ambit_ctx_get(ambit_hold_ctx(droppers->holds[mine]), &number) == 1);
    pthread_barrier_wait(&droppers->together);
    ambit_ctx_drop(&droppers->holds[mine]);
    return NULL;
}
static void drops_and_close_that_meet_destroy_once(void **state) {
    (void)state;
    int one = 1;
    for (int round = 0; round < 200; round++) {
        struct droppers droppers = {.ctx = open_child(ambit_background())};
        pthread_t threads[3];
        pthread_barrier_init(&droppers.together, NULL, 4);
        assert_ok(ambit_ctx_put(droppers.ctx, &number, &one));
        assert_ok(ambit_ctx_defer(droppers.ctx, note_shared, &droppers.destroyed));
        for (int i = 0; i < 3; i++) droppers.holds[i] = hold_of(droppers.ctx);
        for (int i = 0; i < 3; i++) threads[i] = start(drop_one, &droppers);
        pthread_barrier_wait(&droppers.together);
        ambit_ctx_close(&droppers.ctx);
        for (int i = 0; i < 3; i++) join(threads[i]);
        assert_int_equal(atomic_load(&droppers.destroyed), 1);
        pthread_barrier_destroy(&droppers.together);
    }
}

/* ---- Deep and wide --------------------------------------------------------------------------- */

static void a_deep_chain_of_zombies_is_freed_by_its_leaf(void **state) {
    (void)state;
    enum { DEPTH = 20000 };
    ambit_ctx *leaf = open_child(ambit_background());
    destroyed = 0;
    for (int i = 0; i < DEPTH; i++) {
        ambit_ctx *above = leaf;
        leaf = open_child(above);
        must(!ambit_ctx_defer(above, note_destroyed, NULL));
        ambit_ctx_close(&above);
    }
    assert_int_equal(destroyed, 0);
    assert_int_equal(zombies(), DEPTH);
    ambit_ctx_close(&leaf);
    assert_int_equal(destroyed, DEPTH);
}

static void a_deep_chain_of_detached_contexts_is_freed_by_the_last(void **state) {
    (void)state;
    enum { DEPTH = 5000 };
    ambit_ctx *last = open_child(ambit_background());
    for (int i = 0; i < DEPTH; i++) {
        ambit_ctx *origin = last;
        last = detach(origin);
        ambit_ctx_close(&origin);
    }
    assert_int_equal(zombies(), DEPTH);
    ambit_ctx_close(&last);
}

static void a_parent_s_zombie_goes_with_the_last_of_a_thousand_children(void **state) {
    (void)state;
    enum { WIDTH = 1000 };
    ambit_ctx *children[WIDTH], *parent = open_child(ambit_background());
    destroyed = 0;
    assert_ok(ambit_ctx_defer(parent, note_destroyed, NULL));
    for (int i = 0; i < WIDTH; i++) children[i] = open_child(parent);
    ambit_ctx_close(&parent);
    for (int i = 0; i < WIDTH; i++) {
        assert_int_equal(destroyed, 0);
        ambit_ctx_close(&children[i * 7 % WIDTH]);
    }
    assert_int_equal(destroyed, 1);
}

static const struct CMUnitTest tests[] = {
    CASE(the_last_of_six_frees_in_every_order),
    CASE(the_last_of_six_frees_in_every_order_while_waited_for),
    CASE(many_holds_keep_until_the_last),
    CASE(a_hold_of_a_held_zombie_is_a_hold_like_any),
    CASE(a_child_of_a_zombie_is_born_ended_and_keeps_it),
    CASE(holding_the_background_is_allowed),
    CASE(drops_and_close_that_meet_destroy_once),
    CASE(a_deep_chain_of_zombies_is_freed_by_its_leaf),
    CASE(a_deep_chain_of_detached_contexts_is_freed_by_the_last),
    CASE(a_parent_s_zombie_goes_with_the_last_of_a_thousand_children),
};
RUN(tests);
