/* Causes: the first one wins, in both directions; what each kind of end reports; and a cause that
 * is read while it is written is never torn (Go: TestCause with its subcases, TestCauseRace). */
#include "ctxs.h"

/* ---- The table of TestCause ------------------------------------------------------------------ */

enum { FOREVER = 1000000 }; /* seconds */

static ambit_ctx *made[8];
static int made_count;
static ambit_ctx *keep(ambit_ctx *ctx) { return made[made_count++] = ctx; }
static ambit_ctx *child(ambit_ctx *parent) { return keep(open_child(parent)); }
static ambit_ctx *timed(ambit_ctx *parent, int64_t seconds) {
    return keep(open_timeout(parent, seconds * AMBIT_SECOND));
}

static ambit_ctx *background_itself(void) { return ambit_background(); }
static ambit_ctx *not_cancelled(void) { return child(ambit_background()); }
static ambit_ctx *cancelled_with_nothing(void) {
    ambit_ctx *ctx = child(ambit_background());
    ambit_ctx_cancel(ctx, NULL);
    return ctx;
}
static ambit_ctx *cancelled_with_cause(void) {
    ambit_ctx *ctx = child(ambit_background());
    ambit_ctx_cancel(ctx, "parent");
    return ctx;
}
static ambit_ctx *cancelled_with_nothing_then_cause(void) {
    ambit_ctx *ctx = cancelled_with_nothing();
    ambit_ctx_cancel(ctx, "too late");
    return ctx;
}
static ambit_ctx *two_cancels(const char *parent, const char *own, bool parent_first) {
    ambit_ctx *above = child(ambit_background()), *ctx = child(above);
    if (parent_first) ambit_ctx_cancel(above, parent);
    ambit_ctx_cancel(ctx, own);
    if (!parent_first) ambit_ctx_cancel(above, parent);
    return ctx;
}
static ambit_ctx *parent_before_child(void) { return two_cancels("parent", "child", true); }
static ambit_ctx *parent_after_child(void) { return two_cancels("parent", "child", false); }
static ambit_ctx *parent_before_nothing(void) { return two_cancels("parent", NULL, true); }
static ambit_ctx *parent_after_nothing(void) { return two_cancels("parent", NULL, false); }
static ambit_ctx *child_after_nothing(void) { return two_cancels(NULL, "child", true); }
static ambit_ctx *child_before_nothing(void) { return two_cancels(NULL, "child", false); }
static ambit_ctx *timeout_of_nothing_then_cancel(void) {
    ambit_ctx *ctx = timed(ambit_background(), 0);
    ambit_ctx_cancel(ctx, "too late");
    return ctx;
}
static ambit_ctx *timeout_cancelled(void) {
    ambit_ctx *ctx = timed(ambit_background(), FOREVER);
    ambit_ctx_cancel(ctx, NULL); /* not with the timeout's cause */
    return ctx;
}
static ambit_ctx *timeout_cancelled_with_cause(void) {
    ambit_ctx *ctx = timed(ambit_background(), FOREVER);
    ambit_ctx_cancel(ctx, "child");
    return ctx;
}
static ambit_ctx *timeout_below_a_cancel(void) {
    ambit_ctx *above = child(ambit_background()), *ctx = timed(above, 0);
    ambit_ctx_cancel(above, "finished early");
    return ctx;
}
static ambit_ctx *long_timeout_below_a_cancel(void) {
    ambit_ctx *above = child(ambit_background()), *ctx = timed(above, FOREVER);
    ambit_ctx_cancel(above, "finished early");
    return ctx;
}
static ambit_ctx *past_parent_then_cancel(void) {
    ambit_ctx *above = timed(ambit_background(), 0), *ctx = child(above);
    ambit_ctx_cancel(ctx, "too late");
    return ctx;
}
static ambit_ctx *detached(void) { return keep(detach(ambit_background())); }
static ambit_ctx *detached_from_cancelled(void) {
    ambit_ctx *above = child(ambit_background()), *ctx = keep(detach(above));
    ambit_ctx_cancel(above, "finished early");
    return ctx;
}
static ambit_ctx *detached_from_past(void) { return keep(detach(timed(ambit_background(), 0))); }
static ambit_ctx *child_of_a_detached_one(void) {
    ambit_ctx *above = child(ambit_background()), *ctx = child(keep(detach(above)));
    ambit_ctx_cancel(above, "finished early");
    return ctx;
}
static ambit_ctx *closed_parent(void) {
    ambit_ctx *above = open_child(ambit_background()), *ctx = child(above);
    ambit_ctx_close(&above);
    return ctx;
}
static ambit_ctx *cancelled_then_closed_parent(void) {
    ambit_ctx *above = open_child(ambit_background()), *ctx = child(above);
    ambit_ctx_cancel(above, "parent");
    ambit_ctx_close(&above);
    return ctx;
}

static const struct {
    ambit_ctx *(*make)(void);
    ambit_status err;
    const char *text;
} table[] = {
    {background_itself, AMBIT_OK, NULL},
    {not_cancelled, AMBIT_OK, NULL},
    {cancelled_with_nothing, AMBIT_CANCELLED, "cancelled"},
    {cancelled_with_cause, AMBIT_CANCELLED, "parent"},
    {cancelled_with_nothing_then_cause, AMBIT_CANCELLED, "cancelled"},
    {parent_before_child, AMBIT_CANCELLED, "parent"},
    {parent_after_child, AMBIT_CANCELLED, "child"},
    {parent_before_nothing, AMBIT_CANCELLED, "parent"},
    {parent_after_nothing, AMBIT_CANCELLED, "cancelled"},
    {child_after_nothing, AMBIT_CANCELLED, "cancelled"},
    {child_before_nothing, AMBIT_CANCELLED, "child"},
    {timeout_of_nothing_then_cancel, AMBIT_TIMED_OUT, "deadline passed"},
    {timeout_cancelled, AMBIT_CANCELLED, "cancelled"},
    {timeout_cancelled_with_cause, AMBIT_CANCELLED, "child"},
    {timeout_below_a_cancel, AMBIT_TIMED_OUT, "deadline passed"},
    {long_timeout_below_a_cancel, AMBIT_CANCELLED, "finished early"},
    {past_parent_then_cancel, AMBIT_TIMED_OUT, "deadline passed"},
    {detached, AMBIT_OK, NULL},
    {detached_from_cancelled, AMBIT_OK, NULL},
    {detached_from_past, AMBIT_OK, NULL},
    {child_of_a_detached_one, AMBIT_OK, NULL},
    {closed_parent, AMBIT_CANCELLED, "closed"},
    {cancelled_then_closed_parent, AMBIT_CANCELLED, "parent"},
};

static void judge(size_t row, bool waited, bool cause_first) {
    _Atomic(int) ran = 0;
    ambit_cancel node = {0};
    made_count = 0;
    ambit_ctx *ctx = table[row].make();
    if (waited) {
        ambit_status status = ambit_ctx_on_cancel(ctx, &node, count_up, &ran);
        assert_int_equal(status, table[row].err);
        assert_int_equal(atomic_load(&ran), status != AMBIT_OK);
    }
    for (int again = 0; again < 2; again++) {
        if (!cause_first) assert_int_equal(ambit_ctx_err(ctx), table[row].err);
        ambit_cause cause = ambit_ctx_cause(ctx);
        assert_int_equal(cause.code, table[row].err);
        assert_int_equal(ambit_ctx_err(ctx), table[row].err);
        if (table[row].text)
            assert_string_equal(cause.text, table[row].text);
        else
            assert_null(cause.text);
    }
    (void)ambit_ctx_off_cancel(ctx, &node);
    for (int i = 0; i < made_count; i++) ambit_ctx_close(&made[i]);
}

/* Go TestCause; each row asked by err first, by cause first, and by a callback. */
static void the_first_cause_wins_in_every_row(void **state) {
    (void)state;
    for (size_t row = 0; row < sizeof table / sizeof table[0]; row++)
        for (int way = 0; way < 4; way++) judge(row, way & 1, way & 2);
}

/* ---- What a cause carries -------------------------------------------------------------------- */

static void number_text_and_line_come_through_to_the_grandchild(void **state) {
    (void)state;
    static const char text[] = "a text of the program's";
    for (int late = 0; late < 2; late++) {
        ambit_ctx *root = open_child(ambit_background()), *middle = open_child(root);
        ambit_ctx *leaf = late ? NULL : open_child(middle);
        ambit_ctx_cancel_value(root, text, INT64_MIN);
        if (late) leaf = open_child(middle);
        ambit_cause cause = ambit_ctx_cause(leaf);
        assert_ptr_equal(cause.text, text);
        assert_int_equal(cause.value, INT64_MIN);
        assert_string_equal(cause.site->function, __func__);
        assert_string_equal(cause.site->file, __FILE__);
        ambit_ctx_close(&leaf);
        ambit_ctx_close(&middle);
        ambit_ctx_close(&root);
    }
}

static void a_deadline_names_the_line_that_chose_it(void **state) {
    (void)state;
    ambit_ctx *chosen = NULL, *later = NULL, *leaf, *lower = NULL;
    assert_ok(ambit_ctx_open_timeout(ambit_background(), 0, &chosen));
    uint32_t line = __LINE__ - 1;
    assert_ok(ambit_ctx_open_timeout(chosen, AMBIT_SECOND, &later)); /* cut off by the parent's */
    leaf = open_child(later);
    assert_int_equal(ambit_ctx_cause(leaf).site->line, line);
    assert_string_equal(ambit_ctx_cause(leaf).site->function, __func__);
    assert_int_equal(ambit_ctx_cause(leaf).value, 0);
    ambit_ctx_close(&leaf);
    ambit_ctx_close(&later);
    ambit_ctx_close(&chosen);
    chosen = open_timeout(ambit_background(), 3600 * AMBIT_SECOND);
    assert_ok(ambit_ctx_open_timeout(chosen, -1, &lower));
    line = __LINE__ - 1;
    leaf = open_child(lower);
    assert_int_equal(ambit_ctx_cause(leaf).site->line, line);
    ambit_ctx_close(&leaf);
    ambit_ctx_close(&lower);
    ambit_ctx_close(&chosen);
}

static void close_names_its_line_to_those_who_hold(void **state) {
    (void)state;
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_hold *hold = hold_of(ctx);
    ambit_ctx_close(&ctx);
    uint32_t line = __LINE__ - 1;
    ambit_cause cause = ambit_ctx_cause(ambit_hold_ctx(hold));
    assert_string_equal(cause.text, "closed");
    assert_int_equal(cause.site->line, line);
    ambit_ctx_drop(&hold);
}

static void a_cause_stays_after_the_canceller_is_gone(void **state) {
    (void)state;
    ambit_ctx *root = open_child(ambit_background()), *leaf = open_child(root);
    ambit_ctx_cancel_value(root, "root", 5);
    ambit_cause copy = ambit_ctx_cause(root);
    ambit_ctx_close(&root);
    assert_string_equal(copy.text, "root"); /* by value: it owns nothing */
    assert_string_equal(ambit_ctx_cause(leaf).text, "root");
    assert_int_equal(ambit_ctx_cause(leaf).value, 5);
    ambit_ctx_close(&leaf);
}

/* What a callback of the parent starts must not overtake what ended first. */
static void cancel_argument(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    ambit_ctx_cancel(argument, "second");
}
static void a_merged_context_reports_the_parent_that_ended_first(void **state) {
    (void)state;
    ambit_ctx *parent = open_child(ambit_background()), *other = open_child(ambit_background());
    ambit_ctx *both = merge(parent, other), *below = open_child(both);
    ambit_cancel node = {0};
    assert_ok(ambit_ctx_on_cancel(parent, &node, cancel_argument, other));
    ambit_ctx_cancel(parent, "first");
    assert_string_equal(ambit_ctx_cause(both).text, "first");
    assert_string_equal(ambit_ctx_cause(below).text, "first");
    ambit_ctx_close(&below);
    ambit_ctx_close(&both);
    ambit_ctx_close(&parent);
    ambit_ctx_close(&other);
}

/* ---- Read beside the writer ------------------------------------------------------------------ */

enum { READERS = 3, CANCELLERS = 3, ROUNDS = 200 };
static const char *const texts[CANCELLERS] = {"zero", "one", "two"};

struct race {
    pthread_barrier_t together;
    ambit_ctx *root, *leaf;
    _Atomic(int) tickets;
    _Atomic(const char *) seen[READERS];
};

static void *cancel_with_own_cause(void *argument) {
    struct race *race = argument;
    int mine = atomic_fetch_add(&race->tickets, 1) % CANCELLERS;
    pthread_barrier_wait(&race->together);
    ambit_ctx_cancel_value(mine ? race->root : race->leaf, texts[mine], mine + 10);
    must(ambit_ctx_err(race->leaf) == AMBIT_CANCELLED);
    return NULL;
}
static void *read_until_it_ends(void *argument) {
    struct race *race = argument;
    static _Atomic(int) readers;
    int mine = atomic_fetch_add(&readers, 1) % READERS;
    ambit_ctx *ctx = mine % 2 ? race->root : race->leaf;
    ambit_cause cause;
    pthread_barrier_wait(&race->together);
    while (!(cause = ambit_ctx_cause(ctx)).code) must(!cause.text && !cause.site);
    must(cause.code == AMBIT_CANCELLED && cause.site);
    must(cause.value >= 10 && cause.value < 10 + CANCELLERS);
    must(cause.text == texts[cause.value - 10]); /* not torn */
    for (int i = 0; i < 100; i++) {
        ambit_cause again = ambit_ctx_cause(ctx);
        must(again.text == cause.text && again.value == cause.value && again.site == cause.site);
        must(ambit_ctx_err(ctx) == AMBIT_CANCELLED);
    }
    atomic_store(&race->seen[mine], cause.text);
    return NULL;
}

/* Go TestCauseRace, with several who cancel and several who poll. */
static void a_cause_is_never_torn_and_never_changes(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct race race = {.root = open_child(ambit_background())};
        pthread_t threads[READERS + CANCELLERS];
        race.leaf = open_child(race.root);
        pthread_barrier_init(&race.together, NULL, READERS + CANCELLERS);
        for (int i = 0; i < READERS; i++) threads[i] = start(read_until_it_ends, &race);
        for (int i = 0; i < CANCELLERS; i++)
            threads[READERS + i] = start(cancel_with_own_cause, &race);
        for (int i = 0; i < READERS + CANCELLERS; i++) join(threads[i]);
        assert_ptr_equal(race.seen[0], race.seen[2]); /* both watched the leaf */
        assert_ptr_equal(race.seen[0], ambit_ctx_cause(race.leaf).text);
        assert_ptr_equal(race.seen[1], ambit_ctx_cause(race.root).text);
        ambit_ctx_close(&race.leaf);
        ambit_ctx_close(&race.root);
        pthread_barrier_destroy(&race.together);
    }
}

/* go#75533: who sees err sees the cause, in a leaf that nobody told of the end. */
static void *watch_err(void *argument) {
    struct race *race = argument;
    pthread_barrier_wait(&race->together);
    while (!ambit_ctx_err(race->leaf)) {
    }
    ambit_cause cause = ambit_ctx_cause(race->leaf);
    must(cause.code == AMBIT_CANCELLED && !strcmp(cause.text, "now") && cause.value == 42);
    return NULL;
}
static void who_sees_err_sees_the_cause(void **state) {
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct race race = {.root = open_child(ambit_background())};
        race.leaf = open_child(race.root);
        pthread_barrier_init(&race.together, NULL, 3);
        pthread_t first = start(watch_err, &race), second = start(watch_err, &race);
        pthread_barrier_wait(&race.together);
        ambit_ctx_cancel_value(race.root, "now", 42);
        join(first);
        join(second);
        ambit_ctx_close(&race.leaf);
        ambit_ctx_close(&race.root);
        pthread_barrier_destroy(&race.together);
    }
}

static const struct CMUnitTest tests[] = {
    CASE(the_first_cause_wins_in_every_row),
    CASE(number_text_and_line_come_through_to_the_grandchild),
    CASE(a_deadline_names_the_line_that_chose_it),
    CASE(close_names_its_line_to_those_who_hold),
    CASE(a_cause_stays_after_the_canceller_is_gone),
    CASE(a_merged_context_reports_the_parent_that_ended_first),
    CASE(a_cause_is_never_torn_and_never_changes),
    CASE(who_sees_err_sees_the_cause),
};
RUN(tests);
