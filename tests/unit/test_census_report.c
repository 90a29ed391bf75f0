/* Snapshots and what is written of them: bands, growth, JSON, profiles, writers that fail. */
#include "census.h"

#include "base/fault.h"

static ambit_census *take(void) {
    ambit_census *census = NULL;
    assert_ok(ambit_census_take(&census));
    assert_non_null(census);
    return census;
}

typedef ambit_status writer_of(const ambit_census *census, ambit_writer *write, void *user);
static ambit_status growth_of(const ambit_census *census, ambit_writer *write, void *user) {
    ambit_census *empty = take();
    ambit_status status = ambit_census_write_growth(empty, census, write, user);
    ambit_census_free(empty);
    return status;
}
static ambit_status growth_json_of(const ambit_census *census, ambit_writer *write, void *user) {
    ambit_census *empty = take();
    ambit_status status = ambit_census_write_growth_json(census, empty, write, user);
    ambit_census_free(empty);
    return status;
}
static writer_of *const writers[] = {ambit_census_write_text,
                                     ambit_census_write_json,
                                     ambit_census_write_stacks,
                                     ambit_census_write_pprof,
                                     growth_of,
                                     growth_json_of};
enum { WRITERS = sizeof writers / sizeof *writers };

static void a_process_without_objects_has_no_rows(void **state) {
    (void)state;
    ambit_census *census = take();
    assert_int_equal(ambit_census_rows(census), 0);
    assert_null(ambit_census_row_at(census, 0));
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++) {
        assert_int_equal(ambit_census_count(census, (ambit_kind)kind), 0);
        assert_int_equal(ambit_census_bytes(census, (ambit_kind)kind), 0);
    }
    struct text text = {NULL, 0};
    assert_ok(ambit_census_write_json(census, collect, &text));
    assert_string_equal(text.bytes, "{\"version\":1,\"rows\":[]}\n");
    text_free(&text);
    assert_ok(ambit_census_write_growth_json(census, census, collect, &text));
    assert_string_equal(text.bytes, "{\"version\":1,\"growth\":[]}\n");
    text_free(&text);
    for (int i = 0; i < WRITERS; i++) assert_ok(writers[i](census, collect, &text));
    text_free(&text);
    ambit_census_free(census);
    ambit_census_free(NULL);
}

static void ages_fall_into_their_bands_at_the_limits(void **state) {
    (void)state;
    static const int64_t begins_s[AMBIT_AGE_BANDS] = {0, 1, 10, 60, 600, 3600};
    ambit_ctx *ctx = open_child(ambit_background());
    for (unsigned band = 0; band < AMBIT_AGE_BANDS; band++) {
        for (int below = 0; below < 2; below++) {
            int64_t age_ns = begins_s[band] * AMBIT_SECOND - below;
            if (age_ns < 0) continue;
            set_virtual_clock(1000 * AMBIT_SECOND + age_ns);
            ambit_census *census = take();
            const ambit_census_row *row = ambit_census_row_at(census, 0);
            assert_int_equal(row->age_band, band - (unsigned)below);
            assert_int_equal(row->oldest_ns, age_ns);
            ambit_census_free(census);
        }
    }
    ambit_ctx_close(&ctx);
}

static void a_clock_that_steps_back_makes_young_and_not_negative(void **state) {
    (void)state;
    struct noted noted = {0};
    ambit_ctx *ctx = open_child(ambit_background());
    set_virtual_clock(500 * AMBIT_SECOND);
    ambit_census *census = take();
    assert_int_equal(ambit_census_row_at(census, 0)->age_band, 0);
    assert_int_equal(ambit_census_row_at(census, 0)->oldest_ns, 0);
    ambit_census_free(census);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, 0);
    assert_int_equal(ambit_verdict_check(note, &noted), 0);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, -1); /* zero is above that */
    assert_int_equal(ambit_verdict_check(note, &noted), 1);
    assert_int_equal(noted.last.age_ns, 0);
    ambit_ctx_close(&ctx);
}

static void rows_are_by_kind_line_and_age_and_the_most_bytes_come_first(void **state) {
    (void)state;
    ambit_ctx *old = open_child(ambit_background()), *young[2], *large = NULL;
    ambit_hold *hold = NULL;
    pass_time(5 * AMBIT_SECOND);
    for (int i = 0; i < 2; i++) young[i] = open_child(ambit_background());
    assert_ok(ambit_ctx_open(ambit_background(), &large));
    assert_non_null(ambit_ctx_alloc(large, 1000));
    ambit_ctx_mark_long_lived(large);
    assert_ok(ambit_ctx_hold(old, &hold));
    ambit_ctx_close(&old);
    ambit_census *census = take();
    assert_int_equal(ambit_census_rows(census), 4);
    const ambit_census_row *rows = ambit_census_row_at(census, 0);
    assert_int_equal(rows[0].bytes, 1000);
    assert_int_equal(rows[0].long_lived, 1);
    assert_string_equal(rows[0].site->function, __func__);
    assert_int_equal(rows[1].count, 2); /* then the most objects */
    assert_int_equal(rows[1].zombies, 0);
    assert_ptr_equal(rows[2].kind == AMBIT_KIND_CTX ? rows[2].site : rows[3].site, rows[1].site);
    const ambit_census_row *zombie = rows[2].kind == AMBIT_KIND_CTX ? &rows[2] : &rows[3];
    assert_int_equal(zombie->zombies, 1);
    assert_int_equal(zombie->age_band, 1);
    assert_int_equal(ambit_census_count(census, AMBIT_KIND_CTX), 4);
    assert_int_equal(ambit_census_count(census, AMBIT_KIND_HOLD), 1);
    assert_int_equal(ambit_census_bytes(census, AMBIT_KIND_CTX), 1000);
    ambit_census_free(census);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&large);
    for (int i = 0; i < 2; i++) ambit_ctx_close(&young[i]);
}

enum { SITES = 10000 };
static void ten_thousand_lines_are_ten_thousand_rows(void **state) {
    (void)state;
    static ambit_site sites[SITES];
    static ambit_ctx *held[SITES];
    static char seen[SITES];
    for (uint32_t i = 0; i < SITES; i++) {
        sites[i] = (ambit_site){"many.c", "many", i};
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &sites[i]));
    }
    ambit_census *census = take();
    assert_int_equal(ambit_census_rows(census), SITES);
    for (size_t i = 0; i < SITES; i++) {
        const ambit_census_row *row = ambit_census_row_at(census, i);
        assert_int_equal(row->count, 1);
        assert_int_equal(seen[row->site - sites]++, 0);
    }
    ambit_verdict_limit_set(AMBIT_VERDICT_CROWDED, 0);
    assert_int_equal(ambit_verdict_check(NULL, NULL), SITES);
    for (int i = 0; i < WRITERS; i++) {
        struct text text = {NULL, 0};
        assert_ok(writers[i](census, collect, &text));
        text_free(&text);
    }
    for (int i = 0; i < SITES; i++) ambit_ctx_close(&held[i]);
    ambit_census_free(census);
}

/* ---- Growth ---------------------------------------------------------------------------------- */

static void growth_shows_what_grew_what_shrank_and_what_vanished(void **state) {
    (void)state;
    static ambit_site sites[4] = {{"grew.c", "grew", 1},
                                  {"shrank.c", "shrank", 2},
                                  {"gone.c", "gone", 3},
                                  {"same.c", "same", 4}};
    ambit_ctx *held[8] = {NULL};
    static const int before_of[6] = {0, 1, 1, 2, 3, 3};
    for (int i = 0; i < 6; i++) {
        if (i == 5) pass_time(20 * AMBIT_SECOND); /* the last line is there in two bands */
        assert_ok(
            ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &sites[before_of[i]]));
    }
    assert_non_null(ambit_ctx_alloc(held[1], 70));
    ambit_census *before = take();
    pass_time(20 * AMBIT_SECOND); /* into another band: the same site all the same */
    ambit_ctx_close(&held[1]);
    ambit_ctx_close(&held[3]);
    for (int i = 6; i < 8; i++)
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &sites[0]));
    ambit_census *after = take();

    struct text text = {NULL, 0};
    assert_ok(ambit_census_write_growth(before, after, collect, &text));
    static const char *const lines[] = {
        "context          +2            +0         3            0  grew.c:1 in grew()\n",
        "context          -1            +0         0            0  gone.c:3 in gone()\n",
        "context          -1           -70         1            0  shrank.c:2 in shrank()\n"};
    const char *at = text.bytes;
    for (int i = 0; i < 3; i++) { /* in this order */
        at = strstr(at, lines[i]);
        if (!at) fail_msg("no line %sin\n%s", lines[i], text.bytes);
    }
    assert_null(strstr(text.bytes, "same.c"));
    text_free(&text);

    assert_ok(ambit_census_write_growth_json(before, after, collect, &text));
    assert_non_null(strstr(text.bytes, "\"line\":3,\"count_before\":1,\"count_after\":0,"
                                       "\"bytes_before\":0,\"bytes_after\":0}"));
    assert_non_null(strstr(text.bytes, "\"bytes_before\":70,\"bytes_after\":0}"));
    assert_null(strstr(text.bytes, "same.c"));
    text_free(&text);
    ambit_census_free(before);
    ambit_census_free(after);
    for (int i = 0; i < 8; i++) ambit_ctx_close(&held[i]);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void json_escapes_what_must_be_and_replaces_what_is_not_utf8(void **state) {
    (void)state;
    static const struct {
        const char *name, *json;
    } cases[] = {
        {"plain.c", "\"plain.c\""},
        {"", "\"\""},
        {"a\"b\\c/d", "\"a\\\"b\\\\c/d\""},
        {"\x01\n\x1f\x7f", "\"\\u0001\\u000a\\u001f\x7f\""},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\""},
        {"\xff", "\"\xef\xbf\xbd\""},
        {"a\xc3", "\"a\xef\xbf\xbd\""},                               /* cut */
        {"\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* cut */
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* overlong */
        {"\xe0\x80\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* overlong */
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
        {"\xf4\x90\x80\x80z", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz\""}, /* beyond */
        {"\xf0\x8f\xbf\xbf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xed\x9f\xbf\xf4\x8f\xbf\xbf", "\"\xed\x9f\xbf\xf4\x8f\xbf\xbf\""}, /* the last good */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ambit_site site = {cases[i].name, cases[i].name, 7};
        struct text text = {NULL, 0};
        ambit_ctx *ctx = NULL;
        char want[256];
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &ctx, &site));
        ambit_census *census = take();
        assert_ok(ambit_census_write_json(census, collect, &text));
        (void)snprintf(want, sizeof want,
                       "{\"version\":1,\"rows\":[\n{\"kind\":\"context\",\"file\":%s,"
                       "\"function\":%s,\"age\":\"<1s\",\"line\":7,\"count\":1,\"bytes\":0,"
                       "\"zombies\":0,\"long_lived\":0,\"oldest_ns\":0}]}\n",
                       cases[i].json, cases[i].json);
        assert_string_equal(text.bytes, want);
        text_free(&text);
        ambit_census_free(census);
        ambit_ctx_close(&ctx);
    }
}

/* ---- Writers that fail, memory that is not there --------------------------------------------- */

struct failing {
    uint64_t calls, fail_at;
};
static int fail_later(const char *bytes, size_t length, void *user) {
    struct failing *failing = user;
    (void)bytes;
    assert_true(length > 0);
    return failing->calls++ == failing->fail_at;
}

static void a_writer_that_fails_at_any_call_is_not_called_again(void **state) {
    (void)state;
    ambit_ctx *held[3];
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_EVERY, 0));
    for (int i = 0; i < 3; i++) {
        assert_ok(ambit_ctx_open(ambit_background(), &held[i]));
        pass_time(AMBIT_SECOND * (i + 1) * 9);
    }
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_SITES, 0));
    ambit_census *census = take();
    for (int i = 0; i < 3; i++) ambit_ctx_close(&held[i]);
    for (int i = 0; i < WRITERS; i++) {
        struct failing all = {0, UINT64_MAX};
        assert_ok(writers[i](census, fail_later, &all));
        assert_true(all.calls > 3);
        for (uint64_t at = 0; at < all.calls; at++) {
            struct failing failing = {0, at};
            assert_int_equal(writers[i](census, fail_later, &failing), AMBIT_EWRITE);
            assert_int_equal(failing.calls, at + 1);
        }
    }
    ambit_census_free(census);
}

#ifdef AMBIT_TESTING
static void every_allocation_of_a_report_may_fail(void **state) {
    (void)state;
    static ambit_site sites[100];
    ambit_ctx *held[100];
    ambit_memory_stats before, after;
    ambit_census *census = NULL;
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_EVERY, 0));
    for (uint32_t i = 0; i < 100; i++) { /* more than the first tables hold */
        sites[i] = (ambit_site){"many.c", "many", i};
        assert_ok(ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &sites[i]));
    }
    assert_ok(ambit_census_level_set(AMBIT_LEVEL_SITES, 0));
    ambit_memory_stats_read(&before);
    uint64_t call = 0;
    for (;; call++) {
        ambit__fault_arm(AMBIT__FAULT_MEMORY, call, true);
        ambit_status status = ambit_census_take(&census);
        if (ambit__fault_disarm(AMBIT__FAULT_MEMORY) <= call) {
            assert_ok(status);
            break;
        }
        assert_int_equal(status, AMBIT_EMEMORY);
        assert_null(census);
        ambit_memory_stats_read(&after);
        assert_int_equal(after.live_bytes, before.live_bytes);
    }
    assert_int_equal(call, 6); /* itself, its table and two growths, its stacks and one growth */
    static const uint64_t allocations[WRITERS] = {0, 0, 1, 2, 1, 1};
    for (int i = 0; i < WRITERS; i++) {
        struct failing ok = {0, UINT64_MAX};
        ambit_memory_stats_read(&before);
        for (call = 0;; call++) {
            ambit__fault_arm(AMBIT__FAULT_MEMORY, call, true);
            ambit_status status =
                i < 4    ? writers[i](census, fail_later, &ok)
                : i == 4 ? ambit_census_write_growth(census, census, fail_later, &ok)
                         : ambit_census_write_growth_json(census, census, fail_later, &ok);
            if (ambit__fault_disarm(AMBIT__FAULT_MEMORY) <= call) {
                assert_ok(status);
                break;
            }
            assert_int_equal(status, AMBIT_EMEMORY);
            assert_int_equal(ok.calls, 0);
        }
        assert_int_equal(call, allocations[i]);
        ambit_memory_stats_read(&after);
        assert_int_equal(after.live_bytes, before.live_bytes);
    }
    ambit_census_free(census);
    for (int i = 0; i < 100; i++) ambit_ctx_close(&held[i]);
}
#endif

#define PLANTED(test)                                                                              \
    cmocka_unit_test_setup_teardown(test, with_virtual_clock, without_virtual_clock)

int main(void) {
    const struct CMUnitTest tests[] = {
        PLANTED(a_process_without_objects_has_no_rows),
        PLANTED(ages_fall_into_their_bands_at_the_limits),
        PLANTED(a_clock_that_steps_back_makes_young_and_not_negative),
        PLANTED(rows_are_by_kind_line_and_age_and_the_most_bytes_come_first),
        PLANTED(ten_thousand_lines_are_ten_thousand_rows),
        PLANTED(growth_shows_what_grew_what_shrank_and_what_vanished),
        PLANTED(json_escapes_what_must_be_and_replaces_what_is_not_utf8),
        PLANTED(a_writer_that_fails_at_any_call_is_not_called_again),
#ifdef AMBIT_TESTING
        PLANTED(every_allocation_of_a_report_may_fail),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
