/* Callbacks and several threads: off_cancel and close wait for one that runs elsewhere, and a
 * registration or removal that meets a cancel is neither lost nor doubled (folly: ManyCallbacks,
 * ManyConcurrentCallbackAddRemove; GLib: cancellable-concurrent; Go: TestAfterFunc*). */
#include "ctxs.h"

/* A callback that stays inside until it is let go. */
struct gate {
    ambit_cancel node;
    ambit_ctx *ctx, *owned;
    _Atomic(int) inside, let_go, waiting, through;
    int written; /* plain: whoever waited must be ordered after it */
    ambit_removal removal;
    bool remove_inside;
};
static void pass_gate(ambit_ctx *ctx, void *argument) {
    struct gate *gate = argument;
    atomic_store(&gate->inside, 1);
    must(comes_to(&gate->let_go, 1));
    if (gate->remove_inside) must(ambit_ctx_off_cancel(ctx, &gate->node) == AMBIT_RUNNING_HERE);
    gate->written = 1;
}
static void *cancel_gate(void *argument) {
    ambit_ctx_cancel(((struct gate *)argument)->ctx, NULL);
    return NULL;
}
static void *remove_gate(void *argument) {
    struct gate *gate = argument;
    atomic_fetch_add(&gate->waiting, 1);
    ambit_removal removal = ambit_ctx_off_cancel(gate->ctx, &gate->node);
    must(gate->written == 1);
    must(removal == AMBIT_ALREADY_RAN);
    atomic_fetch_add(&gate->through, 1);
    return NULL;
}
static pthread_t enter(struct gate *gate, ambit_ctx *ctx) {
    *gate = (struct gate){.ctx = ctx, .owned = ctx};
    must(!ambit_ctx_on_cancel(ctx, &gate->node, pass_gate, gate));
    pthread_t canceller = start(cancel_gate, gate);
    must(comes_to(&gate->inside, 1));
    return canceller;
}

/* ---- Waiting for a callback that runs elsewhere ---------------------------------------------- */

static void all_who_take_back_wait_for_the_same_callback(void **state) {
    (void)state;
    enum { WAITERS = 3 };
    struct gate gate;
    pthread_t waiters[WAITERS], canceller = enter(&gate, open_child(ambit_background()));
    for (int i = 0; i < WAITERS; i++) waiters[i] = start(remove_gate, &gate);
    assert_true(comes_to(&gate.waiting, WAITERS));
    nap_ms(20);
    assert_int_equal(atomic_load(&gate.through), 0); /* they are held up */
    atomic_store(&gate.let_go, 1);
    for (int i = 0; i < WAITERS; i++) join(waiters[i]);
    join(canceller);
    ambit_ctx_close(&gate.owned);
}

/* One waits while the callback takes itself back: neither is left waiting. */
static void who_waits_is_woken_when_the_callback_takes_itself_back(void **state) {
    (void)state;
    struct gate gate;
    pthread_t canceller = enter(&gate, open_child(ambit_background()));
    gate.remove_inside = true;
    pthread_t waiter = start(remove_gate, &gate);
    assert_true(comes_to(&gate.waiting, 1));
    nap_ms(20); /* it parks */
    atomic_store(&gate.let_go, 1);
    bool woken = comes_to(&gate.through, 1);
    must(woken); /* else it would wait for ever */
    join(waiter);
    join(canceller);
    ambit_ctx_close(&gate.owned);
}

static void *close_gate(void *argument) {
    struct gate *gate = argument;
    atomic_fetch_add(&gate->waiting, 1);
    ambit_ctx_close(&gate->owned);
    must(gate->written == 1);
    atomic_fetch_add(&gate->through, 1);
    return NULL;
}
static void note_destroyed(void *argument) {
    must(((struct gate *)argument)->written == 1); /* nothing is destroyed under a callback */
}
static void close_waits_for_the_callbacks_of_its_children_too(void **state) {
    (void)state;
    struct gate gate;
    ambit_ctx *parent = open_child(ambit_background()), *child = open_child(parent);
    assert_ok(ambit_ctx_defer(parent, note_destroyed, &gate));
    gate = (struct gate){.ctx = parent, .owned = parent};
    assert_ok(ambit_ctx_on_cancel(child, &gate.node, pass_gate, &gate));
    pthread_t canceller = start(cancel_gate, &gate);
    must(comes_to(&gate.inside, 1));
    pthread_t closer = start(close_gate, &gate);
    assert_true(comes_to(&gate.waiting, 1));
    nap_ms(20);
    assert_int_equal(atomic_load(&gate.through), 0);
    atomic_store(&gate.let_go, 1);
    join(closer);
    join(canceller);
    ambit_ctx_close(&child);
}

/* A cancel does not wait for callbacks that another cancel runs: that would be a dead lock when a
 * callback waits for this thread. */
static void a_second_cancel_does_not_wait_for_the_first(void **state) {
    (void)state;
    struct gate gate;
    pthread_t canceller = enter(&gate, open_child(ambit_background()));
    ambit_ctx_cancel(gate.ctx, "second");
    assert_int_equal(ambit_ctx_err(gate.ctx), AMBIT_CANCELLED);
    assert_string_equal(ambit_ctx_cause(gate.ctx).text, "cancelled");
    atomic_store(&gate.let_go, 1);
    join(canceller);
    ambit_ctx_close(&gate.owned);
}

/* While one callback runs, others of the same context can be taken back at once. */
static void what_has_not_begun_is_taken_back_without_waiting(void **state) {
    (void)state;
    struct gate gate = {.ctx = NULL};
    _Atomic(int) ran = 0;
    ambit_cancel waiting = {0};
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &waiting, count_up, &ran));
    pthread_t canceller = enter(&gate, ctx); /* registered last, so it runs first */
    assert_int_equal(ambit_ctx_off_cancel(ctx, &waiting), AMBIT_REMOVED);
    atomic_store(&gate.let_go, 1);
    join(canceller);
    assert_int_equal(atomic_load(&ran), 0);
    ambit_ctx_close(&gate.owned);
}

static void a_late_registration_runs_while_another_callback_runs(void **state) {
    (void)state;
    struct gate gate;
    _Atomic(int) ran = 0;
    ambit_cancel late = {0};
    pthread_t canceller = enter(&gate, open_child(ambit_background()));
    assert_int_equal(ambit_ctx_on_cancel(gate.ctx, &late, count_up, &ran), AMBIT_CANCELLED);
    assert_int_equal(atomic_load(&ran), 1);
    atomic_store(&gate.let_go, 1);
    join(canceller);
    ambit_ctx_close(&gate.owned);
}

static void off_cancel_waits_for_the_timer_thread_s_callback(void **state) {
    (void)state;
    struct gate gate = {.ctx = open_timeout(ambit_background(), AMBIT_MILLISECOND)};
    if (!ambit_ctx_on_cancel(gate.ctx, &gate.node, pass_gate, &gate)) {
        must(comes_to(&gate.inside, 1));
        pthread_t waiter = start(remove_gate, &gate);
        assert_true(comes_to(&gate.waiting, 1));
        nap_ms(10);
        assert_int_equal(atomic_load(&gate.through), 0);
        atomic_store(&gate.let_go, 1);
        join(waiter);
    }
    ambit_ctx_close(&gate.ctx);
}

/* ---- A slow one is a verdict ----------------------------------------------------------------- */

struct verdicts {
    int slow;
    ambit_verdict last;
};
static void note_verdict(const ambit_verdict *verdict, void *user) {
    struct verdicts *verdicts = user;
    if (verdict->kind != AMBIT_VERDICT_SLOW_CALLBACK) return;
    verdicts->slow++;
    verdicts->last = *verdict;
}
static void a_slow_callback_is_a_verdict_that_names_its_line(void **state) {
    (void)state;
    struct gate gate;
    struct verdicts verdicts = {0, {0}};
    int64_t usual = ambit_verdict_limit(AMBIT_VERDICT_SLOW_CALLBACK);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 20 * AMBIT_MILLISECOND);
    pthread_t canceller = enter(&gate, open_child(ambit_background()));
    nap_ms(100);
    (void)ambit_verdict_check(note_verdict, &verdicts);
    assert_int_equal(verdicts.slow, 1);
    assert_string_equal(verdicts.last.site->function, "enter"); /* where it was registered */
    assert_true(verdicts.last.measured >= 20 * AMBIT_MILLISECOND);
    (void)ambit_verdict_check(note_verdict, &verdicts);
    assert_int_equal(verdicts.slow, 1); /* once */
    atomic_store(&gate.let_go, 1);
    join(canceller);
    (void)ambit_verdict_check(note_verdict, &verdicts);
    assert_int_equal(verdicts.slow, 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, usual);
    ambit_ctx_close(&gate.owned);
}

/* ---- Races ----------------------------------------------------------------------------------- */

struct meeting {
    pthread_barrier_t together;
    ambit_ctx *ctx;
    _Atomic(int) registered, ran_at_once, removed, had_run, calls;
};
enum { THREADS = 3, NODES = 8, ROUNDS = 200 };

static void *cancel_together(void *argument) {
    struct meeting *meeting = argument;
    pthread_barrier_wait(&meeting->together);
    ambit_ctx_cancel(meeting->ctx, NULL);
    return NULL;
}
static void meet(struct meeting *meeting, void *(*run)(void *), int cancellers) {
    pthread_t threads[THREADS + 2];
    pthread_barrier_init(&meeting->together, NULL, (unsigned)(THREADS + cancellers));
    meeting->ctx = open_child(ambit_background());
    for (int i = 0; i < THREADS + cancellers; i++)
        threads[i] = start(i < THREADS ? run : cancel_together, meeting);
    for (int i = 0; i < THREADS + cancellers; i++) join(threads[i]);
    pthread_barrier_destroy(&meeting->together);
    ambit_ctx_close(&meeting->ctx);
}

static void *register_together(void *argument) {
    struct meeting *meeting = argument;
    ambit_cancel nodes[NODES] = {0};
    _Atomic(int) ran[NODES] = {0};
    pthread_barrier_wait(&meeting->together);
    for (int i = 0; i < NODES; i++) {
        ambit_status status = ambit_ctx_on_cancel(meeting->ctx, &nodes[i], count_up, &ran[i]);
        must(status == AMBIT_OK || status == AMBIT_CANCELLED);
        atomic_fetch_add(status ? &meeting->ran_at_once : &meeting->registered, 1);
        if (status) must(atomic_load(&ran[i]) == 1);
    }
    must(ambit_ctx_wait(meeting->ctx) == AMBIT_CANCELLED);
    for (int i = 0; i < NODES; i++) {
        (void)ambit_ctx_off_cancel(meeting->ctx, &nodes[i]);
        atomic_fetch_add(&meeting->calls, atomic_load(&ran[i]));
        must(atomic_load(&ran[i]) <= 1);
    }
    return NULL;
}
/* folly ManyCallbacks. Those still listed when their thread takes them back do not run. */
static void a_registration_that_meets_a_cancel_runs_once_or_is_taken_back(void **state) {
    (void)state;
    int registered = 0, at_once = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct meeting meeting = {.calls = 0};
        meet(&meeting, register_together, 2);
        registered += atomic_load(&meeting.registered);
        at_once += atomic_load(&meeting.ran_at_once);
        assert_true(atomic_load(&meeting.calls) >= atomic_load(&meeting.ran_at_once));
    }
    assert_int_not_equal(registered, 0); /* else they did not meet */
    assert_int_not_equal(at_once, 0);
}

static void *register_and_stay(void *argument) {
    struct meeting *meeting = argument;
    struct stay {
        ambit_cancel node;
        _Atomic(int) ran;
    } *stay = calloc(NODES, sizeof *stay);
    pthread_barrier_wait(&meeting->together);
    for (int i = 0; i < NODES; i++) {
        ambit_status status =
            ambit_ctx_on_cancel(meeting->ctx, &stay[i].node, count_up, &stay[i].ran);
        atomic_fetch_add(status ? &meeting->ran_at_once : &meeting->registered, 1);
    }
    for (int i = 0; i < NODES; i++) { /* none is lost: it runs without being asked again */
        must(comes_to(&stay[i].ran, 1));
        must(ambit_ctx_off_cancel(meeting->ctx, &stay[i].node) == AMBIT_ALREADY_RAN);
        must(atomic_load(&stay[i].ran) == 1);
    }
    free(stay);
    return NULL;
}
static void a_registration_that_meets_a_cancel_is_never_lost_or_doubled(void **state) {
    (void)state;
    int registered = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct meeting meeting = {.calls = 0};
        meet(&meeting, register_and_stay, 1);
        registered += atomic_load(&meeting.registered);
    }
    assert_int_not_equal(registered, 0);
}

/* The same with a close, beside threads that hold: close returns when no callback runs any more. */
static void *hold_and_register(void *argument) {
    struct meeting *meeting = argument;
    ambit_hold *hold = hold_of(meeting->ctx);
    ambit_ctx *ctx = ambit_hold_ctx(hold);
    ambit_cancel nodes[NODES] = {0};
    _Atomic(int) ran[NODES] = {0};
    pthread_barrier_wait(&meeting->together); /* all hold it */
    pthread_barrier_wait(&meeting->together);
    for (int i = 0; i < NODES; i++) {
        ambit_status status = ambit_ctx_on_cancel(ctx, &nodes[i], count_up, &ran[i]);
        atomic_fetch_add(status ? &meeting->ran_at_once : &meeting->registered, 1);
        if (status) must(atomic_load(&ran[i]) == 1);
    }
    must(ambit_ctx_wait(ctx) == AMBIT_CANCELLED);
    for (int i = 0; i < NODES; i++) {
        ambit_removal removal = ambit_ctx_off_cancel(ctx, &nodes[i]);
        must(removal != AMBIT_RUNNING_HERE);
        must(atomic_load(&ran[i]) == (removal == AMBIT_ALREADY_RAN));
    }
    must(!strcmp(ambit_ctx_cause(ctx).text, "closed"));
    ambit_ctx_drop(&hold);
    return NULL;
}
static void a_registration_that_meets_a_close_is_never_lost_or_doubled(void **state) {
    (void)state;
    int registered = 0, at_once = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct meeting meeting = {.ctx = open_child(ambit_background())};
        pthread_t threads[THREADS];
        ambit_ctx *owned = meeting.ctx;
        pthread_barrier_init(&meeting.together, NULL, THREADS + 1);
        for (int i = 0; i < THREADS; i++) threads[i] = start(hold_and_register, &meeting);
        pthread_barrier_wait(&meeting.together);
        pthread_barrier_wait(&meeting.together);
        ambit_ctx_close(&owned);
        for (int i = 0; i < THREADS; i++) join(threads[i]);
        registered += atomic_load(&meeting.registered);
        at_once += atomic_load(&meeting.ran_at_once);
        pthread_barrier_destroy(&meeting.together);
    }
    assert_int_not_equal(registered, 0); /* else they did not meet */
    assert_int_not_equal(at_once, 0);
}

static void *register_and_take_back(void *argument) {
    struct meeting *meeting = argument;
    pthread_barrier_wait(&meeting->together);
    while (!ambit_ctx_err(meeting->ctx)) {
        for (int i = 0; i < 4; i++) {
            struct heap {
                ambit_cancel node;
                _Atomic(int) ran;
            } *heap = calloc(1, sizeof *heap);
            ambit_status status =
                ambit_ctx_on_cancel(meeting->ctx, &heap->node, count_up, &heap->ran);
            ambit_removal removal = ambit_ctx_off_cancel(meeting->ctx, &heap->node);
            must(removal != AMBIT_RUNNING_HERE);
            must((removal == AMBIT_ALREADY_RAN) == (atomic_load(&heap->ran) == 1));
            must(!status || removal == AMBIT_ALREADY_RAN);
            atomic_fetch_add(removal ? &meeting->had_run : &meeting->removed, 1);
            memset(heap, 0xab, sizeof *heap);
            free(heap); /* whatever the answer: nobody comes back to it */
        }
    }
    return NULL;
}
static void *nap_and_cancel(void *argument) {
    struct meeting *meeting = argument;
    pthread_barrier_wait(&meeting->together);
    nap_ms(1);
    ambit_ctx_cancel(meeting->ctx, NULL);
    return NULL;
}
/* folly ManyConcurrentCallbackAddRemove, GLib cancellable-concurrent */
static void what_off_cancel_says_is_what_happened(void **state) {
    (void)state;
    int removed = 0;
    for (int round = 0; round < 60; round++) {
        struct meeting meeting = {.ctx = open_child(ambit_background())};
        pthread_t threads[THREADS + 1];
        pthread_barrier_init(&meeting.together, NULL, THREADS + 1);
        for (int i = 0; i < THREADS; i++) threads[i] = start(register_and_take_back, &meeting);
        threads[THREADS] = start(nap_and_cancel, &meeting);
        for (int i = 0; i <= THREADS; i++) join(threads[i]);
        pthread_barrier_destroy(&meeting.together);
        ambit_ctx_close(&meeting.ctx);
        removed += atomic_load(&meeting.removed);
    }
    assert_int_not_equal(removed, 0);
}

/* Two callbacks that remove each other, and two threads that cancel: one runs, the other is gone. */
struct mutual {
    ambit_cancel node;
    struct mutual *other;
    _Atomic(int) ran;
};
static void remove_other(ambit_ctx *ctx, void *argument) {
    struct mutual *self = argument;
    atomic_fetch_add(&self->ran, 1);
    must(ambit_ctx_off_cancel(ctx, &self->other->node) == AMBIT_REMOVED);
}
static void of_two_that_remove_each_other_one_runs_whoever_cancels(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct meeting meeting = {.ctx = open_child(ambit_background())};
        struct mutual first = {.ran = 0}, second = {.other = &first};
        first.other = &second;
        assert_ok(ambit_ctx_on_cancel(meeting.ctx, &first.node, remove_other, &first));
        assert_ok(ambit_ctx_on_cancel(meeting.ctx, &second.node, remove_other, &second));
        pthread_barrier_init(&meeting.together, NULL, 2);
        pthread_t one = start(cancel_together, &meeting), two = start(cancel_together, &meeting);
        join(one);
        join(two);
        assert_int_equal(atomic_load(&first.ran) + atomic_load(&second.ran), 1);
        pthread_barrier_destroy(&meeting.together);
        ambit_ctx_close(&meeting.ctx);
    }
}

static const struct CMUnitTest tests[] = {
    CASE(all_who_take_back_wait_for_the_same_callback),
    CASE(who_waits_is_woken_when_the_callback_takes_itself_back),
    CASE(close_waits_for_the_callbacks_of_its_children_too),
    CASE(a_second_cancel_does_not_wait_for_the_first),
    CASE(what_has_not_begun_is_taken_back_without_waiting),
    CASE(a_late_registration_runs_while_another_callback_runs),
    CASE(off_cancel_waits_for_the_timer_thread_s_callback),
    CASE(a_slow_callback_is_a_verdict_that_names_its_line),
    CASE(a_registration_that_meets_a_cancel_runs_once_or_is_taken_back),
    CASE(a_registration_that_meets_a_cancel_is_never_lost_or_doubled),
    CASE(a_registration_that_meets_a_close_is_never_lost_or_doubled),
    CASE(what_off_cancel_says_is_what_happened),
    CASE(of_two_that_remove_each_other_one_runs_whoever_cancels),
};
RUN(tests);
