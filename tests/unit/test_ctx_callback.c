/* Callbacks: exactly once, last registered first, with no lock of ambit's held; what off_cancel
 * answers; what a callback may do (Go: AfterFunc's tests; folly: CancellationTokenTest; tokio). */
#include "ctxs.h"

AMBIT_KEY(number, int);

struct entry { /* a callback that writes down its turn */
    ambit_cancel node;
    int mine;
};
static int order[64], turns;
static void note(ambit_ctx *ctx, void *argument) {
    must(ambit_ctx_err(ctx) != AMBIT_OK && ambit_ctx_cause(ctx).code != AMBIT_OK);
    order[turns++] = ((struct entry *)argument)->mine;
}
static int forget(void **state) {
    (void)state;
    turns = 0;
    return 0;
}

/* ---- Order ----------------------------------------------------------------------------------- */

static void the_last_registered_runs_first(void **state) {
    (void)state;
    enum { COUNT = 40 };
    struct entry entries[COUNT];
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < COUNT; i++) {
        entries[i] = (struct entry){.mine = i};
        assert_ok(ambit_ctx_on_cancel(ctx, &entries[i].node, note, &entries[i]));
    }
    for (int i = 0; i < COUNT; i += 4) /* some are taken back: the rest keeps its order */
        assert_int_equal(ambit_ctx_off_cancel(ctx, &entries[i].node), AMBIT_REMOVED);
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(turns, COUNT - COUNT / 4);
    for (int i = 0, at = COUNT - 1; i < turns; i++, at--) {
        if (at % 4 == 0) at--;
        assert_int_equal(order[i], at);
    }
    ambit_ctx_close(&ctx);
}

static void a_node_taken_back_and_registered_again_is_the_latest(void **state) {
    (void)state;
    struct entry entries[3] = {{.mine = 0}, {.mine = 1}, {.mine = 2}};
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 3; i++)
        assert_ok(ambit_ctx_on_cancel(ctx, &entries[i].node, note, &entries[i]));
    assert_int_equal(ambit_ctx_off_cancel(ctx, &entries[0].node), AMBIT_REMOVED);
    assert_ok(ambit_ctx_on_cancel(ctx, &entries[0].node, note, &entries[0]));
    ambit_ctx_close(&ctx);
    assert_int_equal(turns, 3);
    static const int expected[] = {0, 2, 1};
    assert_memory_equal(order, expected, sizeof expected);
}

/* ---- What off_cancel answers ----------------------------------------------------------------- */

static void off_cancel_answers_for_every_state_of_a_node(void **state) {
    (void)state;
    struct entry entry = {.mine = 1};
    ambit_ctx *ctx = open_child(ambit_background());
    assert_int_equal(ambit_ctx_off_cancel(ctx, &entry.node), AMBIT_REMOVED); /* never registered */
    assert_ok(ambit_ctx_on_cancel(ctx, &entry.node, note, &entry));
    assert_int_equal(ambit_ctx_off_cancel(ctx, &entry.node), AMBIT_REMOVED);
    assert_int_equal(ambit_ctx_off_cancel(ctx, &entry.node), AMBIT_REMOVED); /* removed before */
    assert_ok(ambit_ctx_on_cancel(ctx, &entry.node, note, &entry));
    ambit_ctx_cancel(ctx, NULL);
    for (int i = 0; i < 3; i++) /* as often as one likes */
        assert_int_equal(ambit_ctx_off_cancel(ctx, &entry.node), AMBIT_ALREADY_RAN);
    assert_int_equal(turns, 1);
    assert_int_equal(ambit_ctx_on_cancel(ctx, &entry.node, note, &entry), AMBIT_CANCELLED);
    assert_int_equal(ambit_ctx_off_cancel(ctx, &entry.node), AMBIT_ALREADY_RAN);
    assert_int_equal(turns, 2);
    ambit_ctx_close(&ctx);
}

/* Go TestAfterFuncNotCalledAfterStop, folly DeregisteredCallbacksDontExecute */
static void what_was_taken_back_never_runs(void **state) {
    (void)state;
    struct entry entries[2] = {{.mine = 0}, {.mine = 1}};
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 2; i++)
        assert_ok(ambit_ctx_on_cancel(ctx, &entries[i].node, note, &entries[i]));
    assert_int_equal(ambit_ctx_off_cancel(ctx, &entries[1].node), AMBIT_REMOVED);
    ambit_ctx_close(&ctx);
    assert_int_equal(turns, 1);
    assert_int_equal(order[0], 0);
}

static void on_the_background_a_callback_waits_for_ever(void **state) {
    (void)state;
    struct entry entry = {.mine = 1};
    assert_ok(ambit_ctx_on_cancel(ambit_background(), &entry.node, note, &entry));
    assert_int_equal(ambit_ctx_off_cancel(ambit_background(), &entry.node), AMBIT_REMOVED);
    assert_int_equal(turns, 0);
    ambit_ctx *ctx = open_child(ambit_background()); /* the node is free for another */
    assert_ok(ambit_ctx_on_cancel(ctx, &entry.node, note, &entry));
    ambit_ctx_close(&ctx);
    assert_int_equal(turns, 1);
}

/* ---- Self-removal ---------------------------------------------------------------------------- */

struct again {
    ambit_cancel node;
    ambit_ctx *next;
    int runs;
};
static void move_on(ambit_ctx *ctx, void *argument) {
    struct again *again = argument;
    ambit_ctx *next = again->next;
    again->next = NULL;
    again->runs++;
    must(ambit_ctx_off_cancel(ctx, &again->node) == AMBIT_RUNNING_HERE);
    if (next) must(!ambit_ctx_on_cancel(next, &again->node, move_on, again));
}
/* After an off_cancel from inside the node is free, for another context too. */
static void a_callback_moves_its_node_to_another_context(void **state) {
    (void)state;
    ambit_ctx *first = open_child(ambit_background()), *second = open_child(ambit_background());
    struct again again = {.next = second};
    assert_ok(ambit_ctx_on_cancel(first, &again.node, move_on, &again));
    ambit_ctx_cancel(first, NULL);
    assert_int_equal(again.runs, 1);
    assert_int_equal(ambit_ctx_off_cancel(second, &again.node), AMBIT_REMOVED);
    assert_ok(ambit_ctx_on_cancel(second, &again.node, move_on, &again));
    ambit_ctx_cancel(second, NULL);
    assert_int_equal(again.runs, 2);
    ambit_ctx_close(&first);
    ambit_ctx_close(&second);
}

static void free_self_and_close(ambit_ctx *ctx, void *argument) {
    ambit_ctx **owner = argument;
    ambit_cancel *node = (ambit_cancel *)(void *)(owner + 1);
    ambit_ctx *own = *owner;
    must(ambit_ctx_off_cancel(ctx, node) == AMBIT_RUNNING_HERE);
    memset(owner, 0xab, sizeof *owner + sizeof *node);
    free(owner);
    ambit_ctx_close(&own); /* the request is over: node, memory and context go together */
    turns++;
}
static void a_callback_frees_its_node_and_closes_its_context(void **state) {
    (void)state;
    for (int late = 0; late < 2; late++) { /* by a cancel, and on one that has ended */
        forget(NULL);
        ambit_ctx **owner = calloc(1, sizeof *owner + sizeof(ambit_cancel));
        ambit_ctx *ctx = *owner = open_child(ambit_background());
        ambit_cancel *node = (ambit_cancel *)(void *)(owner + 1);
        if (late) ambit_ctx_cancel(ctx, NULL);
        ambit_hold *hold = late ? hold_of(ctx) : NULL; /* borrowed by on_cancel until it returns */
        ambit_status status = ambit_ctx_on_cancel(ctx, node, free_self_and_close, owner);
        assert_int_equal(status, late ? AMBIT_CANCELLED : AMBIT_OK);
        if (!late) ambit_ctx_cancel(ctx, NULL);
        assert_int_equal(turns, 1);
        ambit_ctx_drop(&hold);
    }
}

static void remove_from_deeper(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    struct again *outer = argument;
    must(ambit_ctx_off_cancel(outer->next, &outer->node) == AMBIT_RUNNING_HERE);
    turns++;
}
static void cancel_inner(ambit_ctx *ctx, void *argument) {
    struct again *outer = argument;
    ambit_cancel inner = {0};
    ambit_ctx *below = open_child(ambit_background());
    (void)ctx;
    must(!ambit_ctx_on_cancel(below, &inner, remove_from_deeper, outer));
    ambit_ctx_close(&below);
    turns++;
}
/* "Inside" is the whole stack, not the innermost callback only. */
static void a_callback_within_a_callback_removes_the_outer_one(void **state) {
    (void)state;
    struct again outer = {.next = open_child(ambit_background())};
    assert_ok(ambit_ctx_on_cancel(outer.next, &outer.node, cancel_inner, &outer));
    ambit_ctx_cancel(outer.next, NULL);
    assert_int_equal(turns, 2);
    ambit_ctx_close(&outer.next);
}

/* ---- Removing each other --------------------------------------------------------------------- */

struct mutual {
    ambit_cancel node;
    struct mutual *other;
    int ran;
    ambit_removal found;
};
static void remove_other(ambit_ctx *ctx, void *argument) {
    struct mutual *self = argument;
    self->ran++;
    self->found = ambit_ctx_off_cancel(ctx, &self->other->node);
}
static void of_two_that_remove_each_other_one_runs(void **state) {
    (void)state;
    struct mutual first = {.found = AMBIT_RUNNING_HERE}, second = {.other = &first};
    first.other = &second;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &first.node, remove_other, &first));
    assert_ok(ambit_ctx_on_cancel(ctx, &second.node, remove_other, &second));
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(second.ran, 1);
    assert_int_equal(first.ran, 0);
    assert_int_equal(second.found, AMBIT_REMOVED);
    ambit_ctx_close(&ctx);
}

/* ---- No lock is held ------------------------------------------------------------------------- */

struct relatives {
    ambit_ctx *parent, *self, *child, *sibling;
    ambit_cancel node, extra[4];
    _Atomic(int) ran;
    int done;
};
static void use_one(struct relatives *relatives, ambit_ctx *ctx, ambit_cancel *extra) {
    int value = 4, fd = -1;
    ambit_ctx *below = open_child(ctx), *both = NULL, *apart = detach(ctx);
    ambit_hold *hold = hold_of(ctx);
    bool ended = ambit_ctx_err(ctx) != AMBIT_OK;
    must((ambit_ctx_cause(ctx).code != AMBIT_OK) == ended);
    must(!ambit_ctx_put(below, &number, &value));
    must(*ambit_ctx_get(below, &number) == 4);
    must(!ambit_ctx_merge(relatives->parent, ctx, &both));
    must(!ambit_ctx_fd(below, &fd));
    must(!ambit_ctx_on_cancel(ctx, extra, count_up, &relatives->ran) == !ended);
    must(ambit_ctx_off_cancel(ctx, extra) == (ended ? AMBIT_ALREADY_RAN : AMBIT_REMOVED));
    must(ambit_ctx_sleep(ctx, 1000) == ambit_ctx_err(ctx));
    must(!ambit_ctx_err(both) == !(ended || ambit_ctx_err(relatives->parent)));
    must(ambit_ctx_deadline_ns(ctx) == AMBIT_NEVER);
    ambit_ctx_mark_long_lived(ctx);
    AMBIT_WITH(ctx) must(ambit_ctx_current() == ctx);
    must(living(AMBIT_KIND_HOLD) == 1); /* a census walks past all of them */
    ambit_ctx_cancel(ctx, "from a callback");
    must(ambit_ctx_err(below) == AMBIT_CANCELLED && ambit_ctx_err(both) == AMBIT_CANCELLED);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&below);
    ambit_ctx_close(&both);
    ambit_ctx_close(&apart);
}
static void use_everything(ambit_ctx *ctx, void *argument) {
    struct relatives *relatives = argument;
    must(ctx == relatives->self);
    use_one(relatives, relatives->child, &relatives->extra[0]);
    use_one(relatives, relatives->self, &relatives->extra[1]);
    use_one(relatives, relatives->sibling, &relatives->extra[2]);
    use_one(relatives, relatives->parent, &relatives->extra[3]);
    ambit_ctx_close(&relatives->sibling);
    relatives->done++;
}
static void a_callback_may_use_every_call_on_all_its_relatives(void **state) {
    (void)state;
    for (int from_parent = 0; from_parent < 2; from_parent++) {
        struct relatives relatives = {.parent = open_child(ambit_background())};
        relatives.self = open_child(relatives.parent);
        relatives.child = open_child(relatives.self);
        relatives.sibling = open_child(relatives.parent);
        assert_ok(ambit_ctx_on_cancel(relatives.self, &relatives.node, use_everything, &relatives));
        ambit_ctx_cancel(from_parent ? relatives.parent : relatives.self, NULL);
        assert_int_equal(relatives.done, 1);
        ambit_ctx_close(&relatives.parent);
        ambit_ctx_close(&relatives.self);
        ambit_ctx_close(&relatives.child);
    }
}

/* A callback that opens below the ending context: the newcomer is born ended, and nothing loops. */
static void open_below_and_register(ambit_ctx *ctx, void *argument) {
    ambit_ctx *below = open_child(ctx);
    ambit_cancel node = {0};
    must(ambit_ctx_on_cancel(below, &node, count_up, argument) == AMBIT_CANCELLED);
    must(!strcmp(ambit_ctx_cause(below).text, "end"));
    ambit_ctx_close(&below);
}
static void a_callback_that_opens_below_gets_an_ended_child(void **state) {
    (void)state;
    _Atomic(int) ran = 0;
    ambit_cancel nodes[5] = {0};
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 5; i++)
        assert_ok(ambit_ctx_on_cancel(ctx, &nodes[i], open_below_and_register, &ran));
    ambit_ctx_cancel(ctx, "end");
    assert_int_equal(atomic_load(&ran), 5);
    ambit_ctx_close(&ctx);
}

static void register_more(ambit_ctx *ctx, void *argument) {
    struct again *again = argument;
    for (int i = 0; i < 3; i++) { /* run at once, in place */
        int before = turns;
        struct entry entry = {.mine = i};
        must(ambit_ctx_on_cancel(ctx, &entry.node, note, &entry) == AMBIT_CANCELLED);
        must(turns == before + 1);
    }
    again->runs++;
}
static void a_callback_that_registers_more_has_them_run_at_once(void **state) {
    (void)state;
    struct again again = {.runs = 0};
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &again.node, register_more, &again));
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(again.runs, 1);
    assert_int_equal(turns, 3);
    ambit_ctx_close(&ctx);
}

/* The node's memory is free for anything as soon as off_cancel says so. */
static void nodes_leave_nothing_behind_in_the_context(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 1000; i++) {
        struct entry *entry = calloc(1, sizeof *entry);
        struct entry *other = calloc(1, sizeof *other);
        must(!ambit_ctx_on_cancel(ctx, &entry->node, note, entry));
        must(!ambit_ctx_on_cancel(ctx, &other->node, note, other));
        must(ambit_ctx_off_cancel(ctx, &entry->node) == AMBIT_REMOVED);
        memset(entry, 0xab, sizeof *entry);
        free(entry);
        must(ambit_ctx_off_cancel(ctx, &other->node) == AMBIT_REMOVED);
        memset(other, 0xab, sizeof *other);
        free(other);
    }
    ambit_ctx_close(&ctx);
    assert_int_equal(turns, 0);
}

#undef CASE
#define CASE(name) cmocka_unit_test_setup_teardown(name, forget, nothing_stays)
static const struct CMUnitTest tests[] = {
    CASE(the_last_registered_runs_first),
    CASE(a_node_taken_back_and_registered_again_is_the_latest),
    CASE(off_cancel_answers_for_every_state_of_a_node),
    CASE(what_was_taken_back_never_runs),
    CASE(on_the_background_a_callback_waits_for_ever),
    CASE(a_callback_moves_its_node_to_another_context),
    CASE(a_callback_frees_its_node_and_closes_its_context),
    CASE(a_callback_within_a_callback_removes_the_outer_one),
    CASE(of_two_that_remove_each_other_one_runs),
    CASE(a_callback_may_use_every_call_on_all_its_relatives),
    CASE(a_callback_that_opens_below_gets_an_ended_child),
    CASE(a_callback_that_registers_more_has_them_run_at_once),
    CASE(nodes_leave_nothing_behind_in_the_context),
};
RUN(tests);
