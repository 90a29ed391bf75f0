/* The census: planted leaks are found with site, count and bytes, and nothing else is. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "base/fault.h"

struct seen {
    uint64_t by_kind[AMBIT_VERDICT_KINDS];
    ambit_verdict last;
};
static void note_verdict(const ambit_verdict *verdict, void *user) {
    struct seen *seen = user;
    seen->by_kind[verdict->kind]++;
    seen->last = *verdict;
}

struct text {
    char bytes[4096];
    size_t length;
};
static int append(const char *bytes, size_t length, void *user) {
    struct text *text = user;
    if (length > sizeof text->bytes - 1 - text->length) return -1;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
    return 0;
}
static int refuse(const char *bytes, size_t length, void *user) {
    (void)bytes, (void)length, (void)user;
    return 1;
}

static void living_contexts_are_counted_by_line(void **state) {
    (void)state;
    ambit_ctx *held[3];
    ambit_census *census = NULL;
    for (int i = 0; i < 3; i++) {
        held[i] = open_child(ambit_background());
        assert_non_null(ambit_ctx_alloc(held[i], 100));
    }
    assert_ok(ambit_census_take(&census));
    assert_int_equal(ambit_census_rows(census), 1);
    const ambit_census_row *row = ambit_census_row_at(census, 0);
    assert_int_equal(row->kind, AMBIT_KIND_CTX);
    assert_int_equal(row->count, 3);
    assert_int_equal(row->bytes, 300);
    assert_string_equal(row->site->function, "open_child");
    assert_null(ambit_census_row_at(census, 1));
    ambit_census_free(census);
    for (int i = 0; i < 3; i++) ambit_ctx_close(&held[i]);
    assert_ok(ambit_census_take(&census));
    assert_int_equal(ambit_census_rows(census), 0);
    ambit_census_free(census);
}

static void a_zombie_names_its_keeper_once(void **state) {
    (void)state;
    struct seen seen = {{0}, {0}};
    ambit_hold *hold = NULL;
    ambit_ctx *ctx = open_child(ambit_background());
    assert_int_equal(ambit_verdict_check(note_verdict, &seen), 0); /* no false alarm */
    assert_ok(ambit_ctx_hold(ctx, &hold));
    ambit_ctx_close(&ctx);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, -1);
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_ZOMBIE);
    assert_int_equal(ambit_verdict_check(note_verdict, &seen), 1);
    assert_int_equal(ambit_verdict_check(note_verdict, &seen), 0); /* once */
    assert_int_equal(seen.by_kind[AMBIT_VERDICT_ZOMBIE], 1);
    assert_string_equal(seen.last.keeper->function, "a_zombie_names_its_keeper_once");
    assert_non_null(seen.last.closed);
    char line[512];
    assert_true(ambit_verdict_format(&seen.last, line, sizeof line) > 0);
    assert_non_null(strstr(line, "closed but kept"));
    assert_int_equal(ambit_verdict_format(&seen.last, NULL, 0), strlen(line));
    ambit_ctx_drop(&hold);
    ambit_verdict_counts after = ambit_verdict_counts_read(AMBIT_VERDICT_ZOMBIE);
    assert_int_equal(after.reported - before.reported, 1);
    assert_int_equal(after.returned - before.returned, 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, 10 * AMBIT_SECOND);
}

static void long_lived_contexts_are_never_old(void **state) {
    (void)state;
    struct seen seen = {{0}, {0}};
    ambit_ctx *server = open_child(ambit_background()), *request = open_child(server);
    ambit_ctx_mark_long_lived(server);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, -1);
    assert_int_equal(ambit_verdict_check(note_verdict, &seen), 1);
    assert_int_equal(seen.by_kind[AMBIT_VERDICT_OLD], 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 600 * AMBIT_SECOND);
    ambit_ctx_close(&request);
    ambit_ctx_close(&server);
}

static void growth_shows_only_what_grew(void **state) {
    (void)state;
    struct text text = {{0}, 0};
    ambit_census *before = NULL, *after = NULL;
    ambit_ctx *steady = open_child(ambit_background()), *leak = NULL;
    assert_ok(ambit_census_take(&before));
    assert_ok(ambit_ctx_open(ambit_background(), &leak));
    assert_ok(ambit_census_take(&after));
    assert_ok(ambit_census_write_growth(before, after, append, &text));
    assert_non_null(strstr(text.bytes, "growth_shows_only_what_grew"));
    assert_null(strstr(text.bytes, "open_child"));
    assert_int_equal(ambit_census_write_text(after, refuse, NULL), AMBIT_EWRITE);
    assert_int_equal(ambit_census_write_json(after, refuse, NULL), AMBIT_EWRITE);
    ambit_census_free(before);
    ambit_census_free(after);
    ambit_ctx_close(&leak);
    ambit_ctx_close(&steady);
}

static void the_watcher_runs_when_asked_and_stops(void **state) {
    (void)state;
    struct seen seen = {{0}, {0}};
    ambit_ctx *pause = open_child(ambit_background());
    assert_int_equal(ambit_watcher_start(1, note_verdict, &seen), AMBIT_EINVALID);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 0);
    assert_ok(ambit_watcher_start(2 * AMBIT_MILLISECOND, note_verdict, &seen));
    assert_ok(ambit_ctx_sleep(pause, 100 * AMBIT_MILLISECOND));
    ambit_watcher_stop();
    ambit_watcher_stop(); /* idempotent */
    assert_int_equal(seen.by_kind[AMBIT_VERDICT_OLD], 1);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 600 * AMBIT_SECOND);
    ambit_ctx_close(&pause);
}

#ifdef AMBIT_TESTING
static void without_memory_or_threads_a_status_comes_back(void **state) {
    (void)state;
    ambit_census *census = NULL;
    for (uint64_t call = 0; call < 2; call++) {
        ambit__fault_arm(AMBIT__FAULT_MEMORY, call, true);
        assert_int_equal(ambit_census_take(&census), AMBIT_EMEMORY);
        (void)ambit__fault_disarm(AMBIT__FAULT_MEMORY);
        assert_null(census);
    }
    ambit__fault_arm(AMBIT__FAULT_THREAD, 0, true);
    assert_int_equal(ambit_watcher_start(AMBIT_SECOND, note_verdict, NULL), AMBIT_ETHREAD);
    (void)ambit__fault_disarm(AMBIT__FAULT_THREAD);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(living_contexts_are_counted_by_line),
        cmocka_unit_test(a_zombie_names_its_keeper_once),
        cmocka_unit_test(long_lived_contexts_are_never_old),
        cmocka_unit_test(growth_shows_only_what_grew),
        cmocka_unit_test(the_watcher_runs_when_asked_and_stops),
#ifdef AMBIT_TESTING
        cmocka_unit_test(without_memory_or_threads_a_status_comes_back),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
