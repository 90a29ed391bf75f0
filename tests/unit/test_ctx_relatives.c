/* Detach, merge and ordered cancellation: what is inherited, what is not, what is kept, and who
 * ends before whom (Go: TestWithoutCancel, go#36503, go#51075). */
#include "ctxs.h"

AMBIT_KEY(number, int);
AMBIT_KEY(other_number, int);

static int64_t in_an_hour(void) { return ambit_clock_now_ns() + 3600 * AMBIT_SECOND; }

/* ---- Detach ---------------------------------------------------------------------------------- */

/* Go TestWithoutCancel */
static void a_detached_one_keeps_the_values_and_not_the_end(void **state) {
    (void)state;
    int one = 1, two = 2;
    ambit_ctx *root = open_child(ambit_background()), *origin = open_timeout(root, AMBIT_SECOND);
    assert_ok(ambit_ctx_put(root, &number, &one));
    ambit_ctx *apart = detach(origin), *below = open_child(apart);
    assert_ok(ambit_ctx_put(origin, &other_number, &two)); /* put later, seen all the same */
    assert_true(ambit_ctx_deadline_ns(apart) > ambit_ctx_deadline_ns(origin));
    ambit_ctx_cancel(root, NULL);
    assert_ok(ambit_ctx_err(apart));
    assert_ok(ambit_ctx_err(below));
    assert_int_equal(*ambit_ctx_get(below, &number), 1);
    ambit_ctx_close(&origin);
    ambit_ctx_close(&root);
    assert_ok(ambit_ctx_err(below));
    assert_int_equal(*ambit_ctx_get(below, &other_number), 2);
    ambit_ctx_cancel(apart, "own");
    assert_string_equal(ambit_ctx_cause(below).text, "own");
    ambit_ctx_close(&below);
    ambit_ctx_close(&apart);
}

static void detaching_from_one_that_has_ended_gives_a_live_one(void **state) {
    (void)state;
    ambit_ctx *origin = open_timeout(ambit_background(), 0), *apart = detach(origin);
    assert_int_equal(ambit_ctx_err(origin), AMBIT_TIMED_OUT);
    assert_ok(ambit_ctx_err(apart));
    ambit_ctx_close(&origin);
    ambit_ctx_close(&apart);
}

static void detaching_needs_a_deadline(void **state) {
    (void)state;
    ambit_ctx *origin = open_child(ambit_background()), *apart = origin;
    assert_int_equal(ambit_ctx_detach(origin, AMBIT_NEVER, &apart), AMBIT_EINVALID);
    assert_null(apart);
    assert_int_equal(ambit_ctx_detach(ambit_background(), AMBIT_NEVER, &apart), AMBIT_EINVALID);
    assert_int_equal(living(AMBIT_KIND_CTX), 1); /* nothing half done */
    assert_ok(ambit_ctx_detach(origin, AMBIT_NEVER - 1, &apart));
    assert_int_equal(ambit_ctx_deadline_ns(apart), AMBIT_NEVER - 1);
    ambit_ctx_close(&apart);
    static const int64_t past[] = {0, -1, INT64_MIN};
    for (int i = 0; i < 3; i++) { /* a past one is a deadline */
        assert_ok(ambit_ctx_detach(origin, past[i], &apart));
        assert_int_equal(ambit_ctx_err(apart), AMBIT_TIMED_OUT);
        ambit_ctx_close(&apart);
    }
    ambit_ctx_close(&origin);
}

static void a_detached_one_inherits_the_budget(void **state) {
    (void)state;
    ambit_ctx *origin = open_child(ambit_background());
    ambit_ctx_budget_set(origin, 10);
    ambit_ctx *apart = detach(origin);
    assert_non_null(ambit_ctx_alloc(apart, 10));
    assert_null(ambit_ctx_alloc(apart, 1));
    ambit_ctx_close(&apart);
    ambit_ctx_close(&origin);
}

static ambit_verdict zombie;
static void note_zombie(const ambit_verdict *verdict, void *user) {
    if (verdict->kind != AMBIT_VERDICT_ZOMBIE) return;
    zombie = *verdict;
    ++*(int *)user;
}
static void the_census_shows_what_a_detached_one_retains(void **state) {
    (void)state;
    int reports = 0;
    ambit_ctx *origin = open_child(ambit_background()), *apart = NULL;
    assert_non_null(ambit_ctx_alloc(origin, 5000));
    assert_ok(ambit_ctx_detach(origin, in_an_hour(), &apart));
    uint32_t line = __LINE__ - 1;
    ambit_ctx_close(&origin);
    ambit_census *census = NULL;
    assert_ok(ambit_census_take(&census));
    assert_int_equal(ambit_census_count(census, AMBIT_KIND_CTX), 2);
    assert_int_equal(ambit_census_bytes(census, AMBIT_KIND_CTX), 5000);
    assert_int_equal(ambit_census_row_at(census, 0)->zombies, 1);
    assert_int_equal(ambit_census_row_at(census, 0)->bytes, 5000);
    ambit_census_free(census);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, -1);
    (void)ambit_verdict_check(note_zombie, &reports);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 10 * AMBIT_SECOND);
    assert_int_equal(reports, 1);
    assert_int_equal(zombie.keeper->line, line); /* the detach's */
    assert_int_equal(zombie.bytes, 5000);
    ambit_ctx_close(&apart);
    assert_int_equal(living(AMBIT_KIND_CTX), 0);
}

/* ---- Merge ----------------------------------------------------------------------------------- */

static void values_come_through_the_first_side_only(void **state) {
    (void)state;
    int one = 1, two = 2;
    ambit_ctx *first = open_child(ambit_background()), *second = open_child(ambit_background());
    ambit_ctx *both = merge(first, second);
    assert_ok(ambit_ctx_put(first, &number, &one));
    assert_ok(ambit_ctx_put(second, &number, &two));
    assert_ok(ambit_ctx_put(second, &other_number, &two));
    assert_int_equal(*ambit_ctx_get(both, &number), 1);
    assert_null(ambit_ctx_get(both, &other_number));
    ambit_ctx_close(&both);
    ambit_ctx_close(&first);
    ambit_ctx_close(&second);
}

static void a_merged_one_ends_with_either_side_s_parent_and_wakes(void **state) {
    (void)state;
    for (int which = 0; which < 4; which++) {
        ambit_ctx *tops[2] = {open_child(ambit_background()), open_child(ambit_background())};
        ambit_ctx *first = open_child(tops[0]), *second = open_child(tops[1]);
        ambit_ctx *both = merge(first, second), *below = open_child(both);
        _Atomic(int) ran = 0;
        ambit_cancel node = {0};
        assert_ok(ambit_ctx_on_cancel(below, &node, count_up, &ran));
        ambit_ctx *ending = which < 2 ? tops[which] : which == 2 ? first : second;
        ambit_ctx_cancel_value(ending, "one of four", which);
        assert_int_equal(atomic_load(&ran), 1);
        assert_int_equal(ambit_ctx_cause(below).value, which);
        assert_ok(ambit_ctx_err(which % 2 ? first : second));
        ambit_ctx_close(&below);
        ambit_ctx_close(&both);
        ambit_ctx_close(&first);
        ambit_ctx_close(&second);
        ambit_ctx_close(&tops[0]);
        ambit_ctx_close(&tops[1]);
    }
}

static void ending_a_merged_one_leaves_both_sides_alive(void **state) {
    (void)state;
    ambit_ctx *first = open_child(ambit_background()), *second = open_child(ambit_background());
    ambit_ctx *both = merge(first, second);
    ambit_ctx_cancel(both, NULL);
    assert_ok(ambit_ctx_err(first));
    assert_ok(ambit_ctx_err(second));
    ambit_ctx_cancel(second, NULL); /* nothing is left of it there */
    ambit_ctx_close(&both);
    ambit_ctx_cancel(first, NULL);
    ambit_ctx_close(&first);
    ambit_ctx_close(&second);
}

static void the_earlier_deadline_of_the_two_counts(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        ambit_ctx *soon = open_timeout(ambit_background(), 20 * AMBIT_MILLISECOND);
        ambit_ctx *late = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
        ambit_ctx *both = which ? merge(soon, late) : merge(late, soon);
        assert_int_equal(ambit_ctx_deadline_ns(both), ambit_ctx_deadline_ns(soon));
        assert_int_equal(ambit_ctx_wait(both), AMBIT_TIMED_OUT);
        assert_ok(ambit_ctx_err(late));
        ambit_ctx_close(&both);
        ambit_ctx_close(&soon);
        ambit_ctx_close(&late);
    }
}

static void the_background_and_the_same_parent_twice_are_sides(void **state) {
    (void)state;
    uint64_t others = living(AMBIT_KIND_CTX);
    ambit_ctx *one = open_child(ambit_background());
    ambit_ctx *sides[3][2] = {{one, ambit_background()}, {ambit_background(), one}, {one, one}};
    for (int way = 0; way < 3; way++) {
        for (int order = 0; order < 2; order++) { /* close the merged one first, or last */
            ambit_ctx *parent = open_child(ambit_background());
            for (int i = 0; i < 2; i++)
                if (sides[way][i] != ambit_background()) sides[way][i] = parent;
            ambit_ctx *both = merge(sides[way][0], sides[way][1]);
            _Atomic(int) ran = 0;
            ambit_cancel node = {0};
            assert_ok(ambit_ctx_on_cancel(both, &node, count_up, &ran));
            assert_ok(ambit_ctx_err(both));
            if (order) ambit_ctx_close(&both);
            ambit_ctx_close(&parent);
            assert_int_equal(atomic_load(&ran), 1);
            if (!order) assert_string_equal(ambit_ctx_cause(both).text, "closed");
            ambit_ctx_close(&both);
            assert_int_equal(living(AMBIT_KIND_CTX), others + 1);
        }
    }
    ambit_ctx *neither = merge(ambit_background(), ambit_background());
    assert_ok(ambit_ctx_err(neither));
    ambit_ctx_close(&neither);
    ambit_ctx_close(&one);
}

static void a_side_that_has_ended_ends_it_at_birth(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        ambit_ctx *ended = open_child(ambit_background()), *lives = open_child(ambit_background());
        ambit_ctx *below = open_child(ended); /* nobody has told it */
        ambit_ctx_cancel_value(ended, "before", 3);
        ambit_ctx *both = which ? merge(lives, below) : merge(below, lives);
        assert_int_equal(ambit_ctx_err(both), AMBIT_CANCELLED);
        assert_string_equal(ambit_ctx_cause(both).text, "before");
        assert_int_equal(ambit_ctx_cause(both).value, 3);
        assert_ok(ambit_ctx_err(lives));
        ambit_ctx_close(&both);
        ambit_ctx_close(&below);
        ambit_ctx_close(&ended);
        ambit_ctx *past = open_timeout(ambit_background(), 0);
        both = which ? merge(lives, past) : merge(past, lives);
        assert_int_equal(ambit_ctx_err(both), AMBIT_TIMED_OUT);
        ambit_ctx_close(&both);
        ambit_ctx_close(&past);
        ambit_ctx_close(&lives);
    }
}

/* A lattice: each one merges the two before it; the end of any of the first two reaches the last. */
static void merges_of_merges_end_all_the_way(void **state) {
    (void)state;
    enum { LEVELS = 60 };
    for (int which = 0; which < 2; which++) {
        ambit_ctx *lattice[LEVELS] = {open_child(ambit_background()),
                                      open_child(ambit_background())};
        for (int i = 2; i < LEVELS; i++) lattice[i] = merge(lattice[i - 1], lattice[i - 2]);
        ambit_ctx_cancel(lattice[which], "first or second");
        for (int i = 2; i < LEVELS; i++)
            assert_string_equal(ambit_ctx_cause(lattice[i]).text, "first or second");
        assert_ok(ambit_ctx_err(lattice[!which]));
        for (int i = 0; i < LEVELS; i++) ambit_ctx_close(&lattice[i]);
    }
}

struct sides {
    pthread_barrier_t together;
    ambit_ctx *ctx[2];
    _Atomic(int) tickets;
};
static void *cancel_one_side(void *argument) {
    struct sides *sides = argument;
    int mine = atomic_fetch_add(&sides->tickets, 1);
    pthread_barrier_wait(&sides->together);
    ambit_ctx_cancel_value(sides->ctx[mine], mine ? "right" : "left", mine);
    return NULL;
}
static void sides_that_end_at_once_end_it_once_with_one_cause(void **state) {
    (void)state;
    for (int round = 0; round < 200; round++) {
        struct sides sides = {
            .ctx = {open_child(ambit_background()), open_child(ambit_background())}};
        ambit_ctx *both = merge(sides.ctx[0], sides.ctx[1]);
        _Atomic(int) ran = 0;
        ambit_cancel node = {0};
        assert_ok(ambit_ctx_on_cancel(both, &node, count_up, &ran));
        pthread_barrier_init(&sides.together, NULL, 3);
        pthread_t left = start(cancel_one_side, &sides), right = start(cancel_one_side, &sides);
        pthread_barrier_wait(&sides.together);
        if (round % 2) ambit_ctx_close(&both); /* a third that meets them */
        join(left);
        join(right);
        assert_int_equal(atomic_load(&ran), 1);
        if (both) {
            ambit_cause cause = ambit_ctx_cause(both);
            assert_string_equal(cause.text, cause.value ? "right" : "left");
        }
        ambit_ctx_close(&both);
        ambit_ctx_close(&sides.ctx[0]);
        ambit_ctx_close(&sides.ctx[1]);
        pthread_barrier_destroy(&sides.together);
    }
}

/* ---- Ordered --------------------------------------------------------------------------------- */

struct leaf {
    ambit_ctx *ctx;
    ambit_cancel node;
    int mine;
};
static int order[64], turns;
static void note(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    order[turns++] = ((struct leaf *)argument)->mine;
}
static void plant(struct leaf *leaf, ambit_ctx *parent, int mine, bool ordered) {
    *leaf = (struct leaf){.ctx = open_child(parent), .mine = mine};
    if (ordered) ambit_ctx_order_children(leaf->ctx);
}
static void listen(struct leaf *leaf) {
    must(!ambit_ctx_on_cancel(leaf->ctx, &leaf->node, note, leaf));
}

/* go#51075: a tree of 1 + 3 + 9 + 27, all ordered, armed in an order of its own. */
static void each_subtree_ends_before_the_next_in_reverse_order_of_opening(void **state) {
    (void)state;
    enum { ALL = 40 };
    for (int by_close = 0; by_close < 2; by_close++) {
        struct leaf tree[ALL];
        turns = 0;
        for (int i = 0; i < ALL; i++)
            plant(&tree[i], i ? tree[(i - 1) / 3].ctx : ambit_background(), i, true);
        for (int i = 0; i < ALL; i++) listen(&tree[i * 7 % ALL]);
        if (by_close)
            ambit_ctx_close(&tree[0].ctx);
        else
            ambit_ctx_cancel(tree[0].ctx, NULL);
        assert_int_equal(turns, ALL);
        int when[ALL];
        for (int i = 0; i < ALL; i++) when[order[i]] = i;
        for (int i = 0; i + 1 < ALL; i++) { /* all of a younger sibling's before any of its own */
            if (i == 0 || (i - 1) / 3 != i / 3) continue;
            for (int mine = 0; mine < ALL; mine++)
                for (int youngers = 0; youngers < ALL; youngers++) {
                    int a = mine, b = youngers;
                    while (a > i) a = (a - 1) / 3;
                    while (b > i + 1) b = (b - 1) / 3;
                    if (a == i && b == i + 1) assert_true(when[youngers] < when[mine]);
                }
        }
        for (int i = by_close; i < ALL; i++) ambit_ctx_close(&tree[i].ctx);
    }
}

static void closed_children_leave_the_order_of_the_rest(void **state) {
    (void)state;
    enum { COUNT = 12 };
    struct leaf leaves[COUNT];
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx_order_children(root);
    ambit_ctx_order_children(root); /* idempotent */
    turns = 0;
    for (int i = 0; i < COUNT; i++) plant(&leaves[i], root, i, false);
    for (int i = 0; i < COUNT; i += 3) ambit_ctx_close(&leaves[i].ctx);
    for (int i = COUNT; i--;)
        if (i % 3) listen(&leaves[i]);
    ambit_ctx_cancel(root, NULL);
    assert_int_equal(turns, COUNT - COUNT / 3);
    for (int i = 0; i + 1 < turns; i++) assert_true(order[i] > order[i + 1]);
    for (int i = 0; i < COUNT; i++) ambit_ctx_close(&leaves[i].ctx);
    ambit_ctx_close(&root);
}

static void under_an_ended_ordered_parent_children_are_born_ended(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background());
    ambit_ctx_order_children(root);
    ambit_ctx_cancel(root, "early");
    ambit_ctx *child = open_child(root);
    assert_string_equal(ambit_ctx_cause(child).text, "early");
    ambit_ctx_close(&child);
    ambit_ctx_close(&root);
}

static void a_deadline_keeps_the_order(void **state) {
    (void)state;
    enum { COUNT = 10 };
    struct leaf leaves[COUNT];
    ambit_ctx *root = open_timeout(ambit_background(), 20 * AMBIT_MILLISECOND);
    ambit_ctx_order_children(root);
    turns = 0;
    for (int i = 0; i < COUNT; i++) plant(&leaves[i], root, i, false);
    for (int i = 0; i < COUNT; i++) listen(&leaves[i]);
    assert_int_equal(ambit_ctx_wait(root), AMBIT_TIMED_OUT);
    ambit_ctx_close(&root); /* it waits until the timer thread is through */
    assert_int_equal(turns, COUNT);
    for (int i = 0; i < COUNT; i++) assert_int_equal(order[i], COUNT - 1 - i);
    for (int i = 0; i < COUNT; i++) ambit_ctx_close(&leaves[i].ctx);
}

static const struct CMUnitTest tests[] = {
    CASE(a_detached_one_keeps_the_values_and_not_the_end),
    CASE(detaching_from_one_that_has_ended_gives_a_live_one),
    CASE(detaching_needs_a_deadline),
    CASE(a_detached_one_inherits_the_budget),
    CASE(the_census_shows_what_a_detached_one_retains),
    CASE(values_come_through_the_first_side_only),
    CASE(a_merged_one_ends_with_either_side_s_parent_and_wakes),
    CASE(ending_a_merged_one_leaves_both_sides_alive),
    CASE(the_earlier_deadline_of_the_two_counts),
    CASE(the_background_and_the_same_parent_twice_are_sides),
    CASE(a_side_that_has_ended_ends_it_at_birth),
    CASE(merges_of_merges_end_all_the_way),
    CASE(sides_that_end_at_once_end_it_once_with_one_cause),
    CASE(each_subtree_ends_before_the_next_in_reverse_order_of_opening),
    CASE(closed_children_leave_the_order_of_the_rest),
    CASE(under_an_ended_ordered_parent_children_are_born_ended),
    CASE(a_deadline_keeps_the_order),
};
RUN(tests);
