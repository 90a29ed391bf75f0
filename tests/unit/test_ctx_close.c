/* Close: destructors last-in first-out until none is left, exactly once, after the callbacks, on
 * the thread that lets go last; and from which places a context may be closed. */
#include "ctxs.h"

AMBIT_KEY(number, int);
AMBIT_KEY(shared, char *);

static int order[64], ended;
static void note(void *argument) { order[ended++] = (int)(intptr_t)argument; }
static void defer(ambit_ctx *ctx, int which) {
    assert_ok(ambit_ctx_defer(ctx, note, (void *)(intptr_t)which));
}
static int forget(void **state) {
    (void)state;
    ended = 0;
    return 0;
}

/* ---- Order and number ------------------------------------------------------------------------ */

/* talloc destructors, Go's defer: last first, also when they do not fit into the first block. */
static void fifty_destructors_run_last_first_once(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 50; i++) defer(ctx, i);
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(ended, 0); /* cancelling is not closing */
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 50);
    for (int i = 0; i < 50; i++) assert_int_equal(order[i], 49 - i);
}

static void own_and_defer_share_one_order(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    defer(ctx, 1);
    assert_ok(ambit_ctx_own_pointer(ctx, &number.key, (void *)2, 8, note));
    defer(ctx, 3);
    assert_ok(ambit_ctx_own_pointer(ctx, &shared.key, (void *)4, 8, note));
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(order[i], 4 - i);
}

static void one_function_deferred_twice_runs_twice(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    defer(ctx, 1);
    defer(ctx, 1);
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 2);
}

static ambit_ctx *dying;
static int to_come;
static void note_and_defer_again(void *argument) {
    note(argument);
    if (to_come-- > 0)
        must(!ambit_ctx_defer(dying, note_and_defer_again, (void *)(intptr_t)to_come));
}
/* nginx walks its list of cleanups once and loses what a cleanup adds. */
static void destructors_that_add_destructors_end_when_none_is_left(void **state) {
    (void)state;
    dying = open_child(ambit_background());
    ambit_ctx *ctx = dying;
    defer(ctx, 99);
    to_come = 30;
    assert_ok(ambit_ctx_defer(ctx, note_and_defer_again, (void *)(intptr_t)30));
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 32);
    for (int i = 0; i < 31; i++) assert_int_equal(order[i], 30 - i);
    assert_int_equal(order[31], 99); /* what was added goes before what was there */
}

/* ---- What a destructor may do ---------------------------------------------------------------- */

static void use_own_context(void *argument) {
    int two = 2;
    size_t before = ambit_ctx_bytes(dying);
    must(*ambit_ctx_get(dying, &number) == 1);
    must(ambit_ctx_err(dying) == AMBIT_CANCELLED);
    must(!strcmp(ambit_ctx_cause(dying).text, "closed"));
    must(ambit_ctx_put(dying, &number, &two) == AMBIT_EXISTS);
    must(!ambit_ctx_put_bytes(dying, &shared.key, &two, sizeof two));
    must(*(const int *)ambit_ctx_get_bytes(dying, &shared.key, NULL) == 2);
    unsigned char *memory = ambit_ctx_alloc(dying, 10000);
    must(memory);
    memset(memory, 1, 10000);
    must(ambit_ctx_bytes(dying) == before + sizeof two + 10000);
    ambit_ctx_cancel(dying, "again"); /* changes nothing */
    must(!strcmp(ambit_ctx_cause(dying).text, "closed"));
    note(argument);
}
static void a_destructor_reads_and_fills_its_own_context(void **state) {
    (void)state;
    int one = 1;
    for (int held = 0; held < 2; held++) { /* the short way, and by a last drop */
        forget(NULL);
        dying = open_child(ambit_background());
        ambit_ctx *ctx = dying;
        assert_ok(ambit_ctx_put(ctx, &number, &one));
        assert_ok(ambit_ctx_defer(ctx, use_own_context, (void *)5));
        ambit_hold *hold = held ? hold_of(ctx) : NULL;
        ambit_ctx_close(&ctx);
        assert_int_equal(ended, !held);
        ambit_ctx_drop(&hold);
        assert_int_equal(ended, 1);
    }
}

static ambit_ctx *others[3];
static void work_on_others(void *argument) {
    int one = 1;
    ambit_ctx *fresh = open_child(ambit_background()), *below = open_child(others[0]);
    must(!ambit_ctx_put(fresh, &number, &one));
    must(!ambit_ctx_defer(fresh, note, (void *)1));
    ambit_ctx_cancel(others[0], "by a destructor");
    must(ambit_ctx_err(below) == AMBIT_CANCELLED);
    ambit_ctx_close(&fresh);
    ambit_ctx_close(&below);
    ambit_ctx_close(&others[1]);
    ambit_ctx_close(&others[2]);
    note(argument);
}
static void a_destructor_opens_cancels_and_closes_other_contexts(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 3; i++) others[i] = open_child(ambit_background());
    defer(others[1], 2);
    defer(others[2], 3);
    assert_ok(ambit_ctx_defer(ctx, work_on_others, (void *)4));
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(order[i], i + 1);
    assert_string_equal(ambit_ctx_cause(others[0]).text, "by a destructor");
    ambit_ctx_close(&others[0]);
}

/* A server's state in a context whose destructor closes the next, a thousand in a row. */
static void close_argument(void *argument) {
    ambit_ctx *next = argument;
    ended++;
    ambit_ctx_close(&next);
}
static void a_chain_of_contexts_that_own_each_other_closes(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    for (int i = 0; i < 1000; i++) {
        ambit_ctx *owner = open_child(ambit_background());
        assert_ok(ambit_ctx_own_pointer(owner, &number.key, ctx, 0, close_argument));
        ctx = owner;
    }
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 1000);
}

static void read_parent(void *argument) {
    must(*ambit_ctx_get(argument, &number) == 7); /* a value of the parent's, itself closed */
    ended++;
}
static void a_destructor_reads_its_closed_parents_values(void **state) {
    (void)state;
    int seven = 7;
    ambit_ctx *parent = open_child(ambit_background()), *child = open_child(parent);
    assert_ok(ambit_ctx_put(parent, &number, &seven));
    assert_ok(ambit_ctx_defer(child, read_parent, child));
    ambit_ctx_close(&parent);
    ambit_ctx_close(&child);
    assert_int_equal(ended, 1);
}

/* ---- The cause that a destructor finds ------------------------------------------------------- */

static ambit_cause found;
static void keep_cause(void *argument) { found = ambit_ctx_cause(argument); }

static void destructors_find_the_cause_that_came_first(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *child = open_child(root);
    assert_ok(ambit_ctx_defer(child, keep_cause, child));
    ambit_ctx_cancel_value(root, "root", 3);
    ambit_ctx_close(&child); /* nobody has asked it before */
    assert_string_equal(found.text, "root");
    assert_int_equal(found.value, 3);
    child = open_child(root);
    assert_ok(ambit_ctx_defer(child, keep_cause, child));
    ambit_ctx_cancel(child, "child");
    ambit_ctx_close(&child);
    assert_string_equal(found.text, "root");
    ambit_ctx_close(&root);
}

static void destructors_find_a_deadline_that_had_passed(void **state) {
    (void)state;
    set_virtual(100);
    ambit_ctx *ctx = open_deadline(ambit_background(), 200);
    assert_ok(ambit_ctx_defer(ctx, keep_cause, ctx));
    atomic_store(&virtual_ns, 200);
    ambit_ctx_close(&ctx);
    assert_int_equal(found.code, AMBIT_TIMED_OUT);
}

static void destructors_find_closed_and_its_line(void **state) {
    (void)state;
    ambit_ctx *ctx = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    assert_ok(ambit_ctx_defer(ctx, keep_cause, ctx));
    ambit_ctx_close(&ctx);
    assert_int_equal(found.code, AMBIT_CANCELLED);
    assert_string_equal(found.text, "closed");
    assert_string_equal(found.site->function, "destructors_find_closed_and_its_line");
}

/* ---- Where and when -------------------------------------------------------------------------- */

static pthread_t ran_on;
static void note_thread(void *argument) {
    (void)argument;
    ran_on = pthread_self();
    ended++;
}
static void *drop_argument(void *argument) {
    ambit_ctx_drop((ambit_hold **)argument);
    return NULL;
}
static void destructors_run_on_the_thread_that_drops_last(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = hold_of(ctx);
    assert_ok(ambit_ctx_defer(ctx, note_thread, NULL));
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 0);
    pthread_t dropper = start(drop_argument, &hold);
    join(dropper);
    assert_int_equal(ended, 1);
    assert_true(pthread_equal(ran_on, dropper));
    assert_null(hold);
}

static void *close_argument_pointer(void *argument) {
    ambit_ctx_close((ambit_ctx **)argument);
    return NULL;
}
static void destructors_run_on_the_thread_that_closes(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_defer(ctx, note_thread, NULL));
    pthread_t closer = start(close_argument_pointer, &ctx);
    join(closer);
    assert_true(pthread_equal(ran_on, closer));
    assert_null(ctx);
}

static void note_callback(ambit_ctx *ctx, void *argument) {
    must(*ambit_ctx_get(ctx, &number) == 1); /* nothing is destroyed yet */
    note(argument);
}
static void callbacks_come_before_destructors(void **state) {
    (void)state;
    int one = 1;
    ambit_cancel node = {0}, on_child = {0};
    ambit_ctx *ctx = open_child(ambit_background()), *child = open_child(ctx);
    assert_ok(ambit_ctx_put(ctx, &number, &one));
    defer(ctx, 4);
    defer(child, 3);
    assert_ok(ambit_ctx_on_cancel(child, &on_child, note_callback, (void *)2));
    assert_ok(ambit_ctx_on_cancel(ctx, &node, note_callback, (void *)1));
    ambit_ctx_close(&ctx);
    assert_int_equal(ended, 2);
    ambit_ctx_close(&child);
    assert_int_equal(ended, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(order[i], i + 1);
}

static void closing_nothing_does_nothing(void **state) {
    (void)state;
    ambit_ctx *ctx = NULL;
    ambit_hold *hold = NULL;
    ambit_ctx_close(&ctx);
    ambit_ctx_drop(&hold);
    assert_null(ctx);
    assert_null(hold);
}

/* ---- Close from inside a callback ------------------------------------------------------------ */

struct family {
    ambit_ctx *parent, *middle, *child;
    _Atomic(int) callbacks, destroyed;
};
static void note_destroyed(void *argument) {
    atomic_fetch_add(&((struct family *)argument)->destroyed, 1);
}
static void close_all(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    struct family *family = argument;
    ambit_ctx_close(&family->parent); /* of three, the callback's own is the second */
    ambit_ctx_close(&family->middle);
    ambit_ctx_close(&family->child);
    must(!family->parent && !family->middle && !family->child);
    must(ambit_ctx_err(ctx) != AMBIT_OK); /* still whole for this callback */
    atomic_fetch_add(&family->callbacks, 1);
}
static void raise_family(struct family *family, int64_t deadline_ns, ambit_cancel *nodes) {
    *family = (struct family){.parent = open_deadline(ambit_background(), deadline_ns)};
    family->middle = open_child(family->parent);
    family->child = open_child(family->middle);
    must(!ambit_ctx_defer(family->parent, note_destroyed, family));
    must(!ambit_ctx_defer(family->middle, note_destroyed, family));
    must(!ambit_ctx_defer(family->child, note_destroyed, family));
    must(!ambit_ctx_on_cancel(family->parent, &nodes[0], count_up, &family->callbacks));
    must(!ambit_ctx_on_cancel(family->child, &nodes[2], count_up, &family->callbacks));
}

static void a_callback_closes_its_whole_family(void **state) {
    (void)state;
    ambit_cancel nodes[3] = {0};
    struct family family;
    raise_family(&family, AMBIT_NEVER, nodes);
    assert_ok(ambit_ctx_on_cancel(family.middle, &nodes[1], close_all, &family));
    ambit_ctx *parent = family.parent;
    ambit_ctx_cancel(parent, NULL);
    assert_int_equal(atomic_load(&family.callbacks), 3);
    assert_int_equal(atomic_load(&family.destroyed), 3);
}

static void a_callback_on_the_timer_thread_closes_its_family(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        ambit_cancel nodes[3] = {0};
        struct family family;
        set_virtual(AMBIT_SECOND);
        raise_family(&family, 2 * AMBIT_SECOND, nodes);
        assert_ok(ambit_ctx_on_cancel(family.middle, &nodes[1], close_all, &family));
        atomic_store(&virtual_ns, 2 * AMBIT_SECOND);
        assert_true(comes_to(&family.destroyed, 3));
        assert_int_equal(atomic_load(&family.callbacks), 3);
        ambit_timer_stop(); /* it is through with the node, too */
        ambit_clock_set(NULL);
        assert_int_equal(living(AMBIT_KIND_CTX), 0);
    }
}

static void a_callback_closes_the_canceller_s_parent(void **state) {
    (void)state;
    ambit_cancel nodes[3] = {0};
    struct family family;
    raise_family(&family, AMBIT_NEVER, nodes);
    assert_ok(ambit_ctx_on_cancel(family.middle, &nodes[1], close_all, &family));
    ambit_ctx_cancel(family.middle, "in the middle"); /* the parent is not in this delivery */
    assert_int_equal(atomic_load(&family.callbacks), 3);
    assert_int_equal(atomic_load(&family.destroyed), 3);
}

static void close_and_hold(ambit_ctx *ctx, void *argument) {
    struct family *family = argument;
    ambit_hold *hold = hold_of(ctx);
    ambit_ctx_close(&family->parent);
    must(atomic_load(&family->destroyed) == 0);
    ambit_ctx_drop(&hold); /* not the last: the delivery is not through */
    must(atomic_load(&family->destroyed) == 0);
}
static void closed_from_a_callback_it_stays_until_all_callbacks_are_through(void **state) {
    (void)state;
    struct family family = {.parent = open_child(ambit_background())};
    ambit_ctx *ctx = family.parent;
    ambit_cancel first = {0}, second = {0};
    assert_ok(ambit_ctx_defer(ctx, note_destroyed, &family));
    assert_ok(ambit_ctx_on_cancel(ctx, &first, count_up, &family.callbacks));
    assert_ok(ambit_ctx_on_cancel(ctx, &second, close_and_hold, &family));
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(atomic_load(&family.callbacks), 1);
    assert_int_equal(atomic_load(&family.destroyed), 1);
}

#undef CASE
#define CASE(name) cmocka_unit_test_setup_teardown(name, forget, nothing_stays)
static const struct CMUnitTest tests[] = {
    CASE(fifty_destructors_run_last_first_once),
    CASE(own_and_defer_share_one_order),
    CASE(one_function_deferred_twice_runs_twice),
    CASE(destructors_that_add_destructors_end_when_none_is_left),
    CASE(a_destructor_reads_and_fills_its_own_context),
    CASE(a_destructor_opens_cancels_and_closes_other_contexts),
    CASE(a_chain_of_contexts_that_own_each_other_closes),
    CASE(a_destructor_reads_its_closed_parents_values),
    CASE(destructors_find_the_cause_that_came_first),
    CASE(destructors_find_a_deadline_that_had_passed),
    CASE(destructors_find_closed_and_its_line),
    CASE(destructors_run_on_the_thread_that_drops_last),
    CASE(destructors_run_on_the_thread_that_closes),
    CASE(callbacks_come_before_destructors),
    CASE(closing_nothing_does_nothing),
    CASE(a_callback_closes_its_whole_family),
    CASE(a_callback_on_the_timer_thread_closes_its_family),
    CASE(a_callback_closes_the_canceller_s_parent),
    CASE(closed_from_a_callback_it_stays_until_all_callbacks_are_through),
};
RUN(tests);
