/* Checks: slow callbacks, hooks that act, batches, lines for people, and memory that is not there. */
#include "census.h"

#include "base/fault.h"

static ambit_verdict_counts since(ambit_verdict_kind kind, ambit_verdict_counts before) {
    ambit_verdict_counts now = ambit_verdict_counts_read(kind);
    return (ambit_verdict_counts){now.reported - before.reported, now.returned - before.returned,
                                  now.lost - before.lost};
}

/* ---- Slow callbacks -------------------------------------------------------------------------- */

struct slow {
    int64_t before_check_ns, after_check_ns;
    bool check;
    struct noted noted;
};
static void run_slowly(ambit_ctx *ctx, void *argument) {
    struct slow *slow = argument;
    (void)ctx;
    pass_time(slow->before_check_ns);
    if (slow->check) (void)ambit_verdict_check(note, &slow->noted);
    pass_time(slow->after_check_ns);
}

static void cancel_with(struct slow *slow) {
    ambit_cancel node = {0};
    ambit_ctx *ctx = open_child(ambit_background());
    assert_ok(ambit_ctx_on_cancel(ctx, &node, run_slowly, slow));
    ambit_ctx_cancel(ctx, NULL);
    ambit_ctx_close(&ctx);
}

static void a_callback_is_given_while_it_runs_and_returns_with_its_end(void **state) {
    (void)state;
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    struct slow at = {.before_check_ns = 100, .check = true}, above = {101, 0, true, {0}};
    struct noted noted = {0};
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 100);
    cancel_with(&at);
    assert_int_equal(at.noted.given, 0);
    cancel_with(&above);
    assert_int_equal(above.noted.given, 1);
    assert_int_equal(above.noted.last.kind, AMBIT_VERDICT_SLOW_CALLBACK);
    assert_int_equal(above.noted.last.measured, 101);
    assert_false(above.noted.last.ended);
    assert_string_equal(above.noted.last.site->function, "cancel_with"); /* where registered */
    assert_int_equal(ambit_verdict_check(note, &noted), 0);              /* and not once more */
    ambit_verdict_counts counts = since(AMBIT_VERDICT_SLOW_CALLBACK, before);
    assert_int_equal(counts.reported, 1);
    assert_int_equal(counts.returned, 1);
}

static void a_callback_that_ended_between_two_checks_is_given_by_the_next(void **state) {
    (void)state;
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    struct slow at = {.before_check_ns = 100}, above = {.before_check_ns = 101};
    struct noted noted = {0};
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 100);
    cancel_with(&at);
    assert_int_equal(ambit_verdict_check(note, &noted), 0);
    cancel_with(&above);
    assert_int_equal(ambit_verdict_check(note, &noted), 1);
    assert_int_equal(noted.last.measured, 101);
    assert_int_equal(noted.last.limit, 100);
    assert_true(noted.last.ended);
    assert_string_equal(noted.last.site->function, "cancel_with");
    assert_int_equal(ambit_verdict_check(note, &noted), 0);
    ambit_verdict_counts counts = since(AMBIT_VERDICT_SLOW_CALLBACK, before);
    assert_int_equal(counts.reported, 1);
    assert_int_equal(counts.returned, 1);
}

static void two_slow_callbacks_of_one_context_are_two_verdicts(void **state) {
    (void)state;
    struct slow first = {.before_check_ns = 200, .check = true}, second = first;
    ambit_cancel nodes[2] = {{0}};
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 100);
    assert_ok(ambit_ctx_on_cancel(ctx, &nodes[0], run_slowly, &first));
    assert_ok(ambit_ctx_on_cancel(ctx, &nodes[1], run_slowly, &second));
    ambit_ctx_cancel(ctx, NULL);
    assert_int_equal(first.noted.given, 1);
    assert_int_equal(second.noted.given, 1);
    ambit_ctx_close(&ctx);
}

static void no_more_ended_callbacks_are_kept_than_fit_and_the_rest_is_counted(void **state) {
    (void)state;
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    struct noted noted = {0};
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 100);
    for (int i = 0; i < 70; i++) {
        struct slow slow = {.before_check_ns = 101 + i};
        cancel_with(&slow);
    }
    assert_int_equal(ambit_verdict_check(note, &noted), 64);
    assert_int_equal(noted.last.measured, 101 + 63); /* in their order, the first are kept */
    ambit_verdict_counts counts = since(AMBIT_VERDICT_SLOW_CALLBACK, before);
    assert_int_equal(counts.reported, 64);
    assert_int_equal(counts.returned, 64);
    assert_int_equal(counts.lost, 6);
}

static void no_callback_is_slow_while_that_is_switched_off(void **state) {
    (void)state;
    struct slow slow = {3600 * AMBIT_SECOND, 0, true, {0}};
    struct noted noted = {0};
    cancel_with(&slow);
    assert_int_equal(slow.noted.given, 0);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, 0);
    assert_int_equal(ambit_verdict_check(note, &noted), 0);
}

/* ---- Hooks and batches ----------------------------------------------------------------------- */

enum { MANY = 200 }; /* more than three batches */

struct closer {
    ambit_ctx *held[MANY];
    uint64_t given;
    int next;
};
static void close_two(const ambit_verdict *verdict, void *user) {
    struct closer *closer = user;
    (void)verdict;
    closer->given++;
    for (int i = 0; i < 2 && closer->next < MANY; i++)
        ambit_ctx_close(&closer->held[closer->next++]);
}

static void a_hook_may_close_what_is_about_to_be_reported(void **state) {
    (void)state;
    struct closer closer = {{NULL}, 0, 0};
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_OLD);
    for (int i = 0; i < MANY; i++) closer.held[i] = open_child(ambit_background());
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 0);
    pass_time(1);
    uint64_t given = ambit_verdict_check(close_two, &closer);
    assert_int_equal(given, closer.given);
    assert_true(given >= 64 && given <= MANY); /* a batch at least: the rest may go unseen */
    ambit_verdict_counts counts = since(AMBIT_VERDICT_OLD, before);
    assert_int_equal(counts.reported, given);
    while (closer.next < MANY) ambit_ctx_close(&closer.held[closer.next++]);
    counts = since(AMBIT_VERDICT_OLD, before);
    assert_int_equal(counts.returned, counts.reported);
}

static const ambit_site *reported_keeper[MANY];
static void note_keeper_of(const ambit_verdict *verdict, void *user) {
    const ambit_site *sites = user;
    long index = verdict->site - sites;
    assert_in_range(index, 0, MANY - 1);
    assert_null(reported_keeper[index]); /* each once */
    reported_keeper[index] = verdict->keeper;
}

static void each_of_many_zombies_has_its_own_keeper(void **state) {
    (void)state;
    static ambit_site opened[MANY], kept[MANY];
    ambit_hold *holds[MANY];
    memset(reported_keeper, 0, sizeof reported_keeper);
    for (uint32_t i = 0; i < MANY; i++) {
        ambit_ctx *ctx = NULL;
        opened[i] = (ambit_site){"opened.c", "open", i};
        kept[i] = (ambit_site){"kept.c", "keep", i};
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &ctx, &opened[i]));
        assert_ok(ambit_ctx_hold_at(ctx, &holds[i], &kept[i]));
        ambit_ctx_close(&ctx);
    }
    pass_time(1);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 0);
    assert_int_equal(ambit_verdict_check(note_keeper_of, opened), MANY);
    for (int i = 0; i < MANY; i++) {
        assert_ptr_equal(reported_keeper[i], &kept[i]);
        ambit_ctx_drop(&holds[i]);
    }
}

static void check_again(const ambit_verdict *verdict, void *user) {
    (void)verdict, (void)user;
    (void)ambit_verdict_check(NULL, NULL);
}
static void a_check_from_its_own_hook_stops(void **state) {
    (void)state;
    (void)open_child(ambit_background()); /* stays: the report longjmps out of the check */
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 0);
    pass_time(1);
    assert_stops((void)ambit_verdict_check(check_again, NULL));
}

/* ---- Names and lines ------------------------------------------------------------------------- */

static void every_kind_has_a_name_of_its_own(void **state) {
    (void)state;
    for (int i = 0; i <= AMBIT_VERDICT_KINDS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(ambit_verdict_name((ambit_verdict_kind)i),
                                    ambit_verdict_name((ambit_verdict_kind)j));
    for (int i = 0; i <= AMBIT_KIND_COUNT; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(ambit_kind_name((ambit_kind)i), ambit_kind_name((ambit_kind)j));
    for (unsigned i = 0; i <= AMBIT_AGE_BANDS; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(ambit_age_band_name(i), ambit_age_band_name(j));
    assert_string_equal(ambit_verdict_name((ambit_verdict_kind)AMBIT_VERDICT_KINDS), "unknown");
    assert_string_equal(ambit_kind_name((ambit_kind)AMBIT_KIND_COUNT), "unknown");
    assert_string_equal(ambit_age_band_name(AMBIT_AGE_BANDS), "unknown");
}

static void a_line_is_cut_and_ended_at_every_size(void **state) {
    (void)state;
    static const ambit_site opened = {"opened.c", "open", 1}, closed = {"closed.c", "close", 2},
                            kept = {"kept.c", "keep", 3};
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++) {
        char whole[512], cut[512];
        ambit_verdict verdict = {(ambit_verdict_kind)kind,
                                 AMBIT_KIND_CTX,
                                 &opened,
                                 &closed,
                                 &kept,
                                 5,
                                 6,
                                 INT64_MAX - 1,
                                 INT64_MIN,
                                 kind % 2};
        int length = ambit_verdict_format(&verdict, whole, sizeof whole);
        assert_int_equal(length, strlen(whole));
        assert_non_null(strstr(whole, ambit_verdict_name(verdict.kind)));
        assert_non_null(strstr(whole, "opened.c:1 in open()"));
        assert_non_null(strstr(whole, "closed.c:2 in close()"));
        assert_non_null(strstr(whole, "kept.c:3 in keep()"));
        assert_int_equal(ambit_verdict_format(&verdict, NULL, 0), length);
        for (size_t size = 1; size <= (size_t)length + 2; size++) {
            memset(cut, '#', sizeof cut);
            assert_int_equal(ambit_verdict_format(&verdict, cut, size), length);
            size_t kept_length = size - 1 < (size_t)length ? size - 1 : (size_t)length;
            assert_memory_equal(cut, whole, kept_length);
            assert_int_equal(cut[kept_length], 0);
            assert_int_equal(cut[size], '#');
        }
    }
}

/* ---- Without memory -------------------------------------------------------------------------- */

#ifdef AMBIT_TESTING
static void a_crowd_is_neither_reported_nor_returned_without_memory(void **state) {
    (void)state;
    struct noted noted = {0};
    ambit_ctx *held[3];
    for (int i = 0; i < 3; i++) held[i] = open_child(ambit_background());
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, 2);
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_CROWDED);
    for (uint64_t call = 0;; call++) { /* each allocation, before it is reported */
        ambit__fault_arm(AMBIT__FAULT_MEMORY, call, true);
        uint64_t given = ambit_verdict_check(note, &noted);
        uint64_t calls = ambit__fault_disarm(AMBIT__FAULT_MEMORY);
        ambit_verdict_counts counts = since(AMBIT_VERDICT_CROWDED, before);
        assert_int_equal(counts.returned, 0);
        if (calls <= call) {
            assert_int_equal(given, 1);
            assert_true(call >= 4);
            assert_int_equal(counts.lost, call);
            break;
        }
        assert_int_equal(given, 0);
    }
    before = ambit_verdict_counts_read(AMBIT_VERDICT_CROWDED);
    for (uint64_t call = 0; call < 4; call++) { /* and while it stands */
        ambit__fault_arm(AMBIT__FAULT_MEMORY, call, true);
        assert_int_equal(ambit_verdict_check(note, &noted), 0);
        (void)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
    }
    assert_int_equal(ambit_verdict_check(note, &noted), 0);
    assert_int_equal(since(AMBIT_VERDICT_CROWDED, before).returned, 0);
    for (int i = 0; i < 3; i++) ambit_ctx_close(&held[i]);
    assert_int_equal(ambit_verdict_check(note, &noted), 0);
    assert_int_equal(since(AMBIT_VERDICT_CROWDED, before).returned, 1);
}

static void a_crowd_that_outgrows_its_table_is_lost_without_memory(void **state) {
    (void)state;
    static ambit_site sites[40];
    ambit_ctx *held[40];
    for (int i = 0; i < 40; i++) {
        sites[i] = (ambit_site){"many.c", "many", (uint32_t)i};
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &sites[i]));
    }
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, 0);
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_CROWDED);
    uint64_t call = 0;
    for (;; call++) {
        ambit__fault_arm(AMBIT__FAULT_MEMORY, call, true);
        uint64_t given = ambit_verdict_check(NULL, NULL);
        if (ambit__fault_disarm(AMBIT__FAULT_MEMORY) <= call) {
            assert_int_equal(given, 40);
            break;
        }
        assert_int_equal(given, 0);
    }
    assert_int_equal(call, 6); /* two tables, each of which grows once */
    assert_int_equal(since(AMBIT_VERDICT_CROWDED, before).lost, call);
    for (call = 0; call < 6; call++) { /* a single failure is enough, and takes nothing back */
        ambit__fault_arm(AMBIT__FAULT_MEMORY, call, false);
        assert_int_equal(ambit_verdict_check(NULL, NULL), 0);
        (void)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
    }
    assert_int_equal(since(AMBIT_VERDICT_CROWDED, before).returned, 0);
    assert_int_equal(since(AMBIT_VERDICT_CROWDED, before).lost, 12);
    for (int i = 0; i < 40; i++) ambit_ctx_close(&held[i]);
}
#endif

#define PLANTED(test)                                                                              \
    cmocka_unit_test_setup_teardown(test, with_virtual_clock, without_virtual_clock)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLANTED(a_callback_is_given_while_it_runs_and_returns_with_its_end),
        PLANTED(a_callback_that_ended_between_two_checks_is_given_by_the_next),
        PLANTED(two_slow_callbacks_of_one_context_are_two_verdicts),
        PLANTED(no_more_ended_callbacks_are_kept_than_fit_and_the_rest_is_counted),
        PLANTED(no_callback_is_slow_while_that_is_switched_off),
        PLANTED(a_hook_may_close_what_is_about_to_be_reported),
        PLANTED(each_of_many_zombies_has_its_own_keeper),
        cmocka_unit_test(every_kind_has_a_name_of_its_own),
        cmocka_unit_test(a_line_is_cut_and_ended_at_every_size),
#ifdef AMBIT_TESTING
        PLANTED(a_crowd_is_neither_reported_nor_returned_without_memory),
        PLANTED(a_crowd_that_outgrows_its_table_is_lost_without_memory),
#endif
        /* The last one: it leaves the check's lock behind. */
        cmocka_unit_test_setup(a_check_from_its_own_hook_stops, with_virtual_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
