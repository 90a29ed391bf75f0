/* Object pools, as one thread uses them. */
#include "pools.h"

#include "ctxs.h"

static void put_and_got_again(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    void *first = ambit_pool_get(pool);
    assert_non_null(first);
    assert_int_equal((uintptr_t)first % 16, 0);
    memset(first, 7, sizeof(struct buffer));
    ambit_pool_put(pool, first);
    struct buffer *again = ambit_pool_get(pool);
    assert_ptr_equal(again, first);
    assert_int_equal(again->state, 0x07070707); /* as it was put */
    ambit_pool_put(pool, again);
    ambit_pool_put(pool, NULL);
    ambit_pool_stats stats = stats_of(pool);
    assert_int_equal(stats.gets, 2);
    assert_int_equal(stats.constructed, 1);
    assert_int_equal(stats.out, 0);
    assert_int_equal(stats.free, 1);
    assert_ok(ambit_pool_close(&pool));
    assert_null(pool);
}

static void hooks_see_each_life(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(hooked());
    void *objects[100];
    for (int i = 0; i < 100; i++) assert_non_null(objects[i] = ambit_pool_get(pool));
    for (int i = 0; i < 100; i++) ambit_pool_put(pool, objects[i]);
    for (int i = 0; i < 100; i++) assert_non_null(objects[i] = ambit_pool_get(pool));
    for (int i = 0; i < 100; i++) ambit_pool_put(pool, objects[i]);
    assert_int_equal(seen.constructed, 100);
    assert_int_equal(seen.reset, 200);
    assert_int_equal(seen.destroyed, 0);
    assert_ok(ambit_pool_close(&pool));
    assert_int_equal(seen.destroyed, 100);
}

static void what_has_grown_is_not_kept(void **state) {
    (void)state;
    ambit_pool_options options = hooked();
    options.owned = owned;
    options.owned_max = 1000;
    ambit_pool *pool = open_pool(options);
    struct buffer *small = ambit_pool_get(pool), *large = ambit_pool_get(pool);
    small->owned = 1000;
    large->owned = 1001;
    ambit_pool_put(pool, small);
    ambit_pool_put(pool, large);
    assert_int_equal(seen.destroyed, 1);
    assert_int_equal(stats_of(pool).free, 1);
    assert_ok(ambit_pool_close(&pool));
}

static void depot_keeps_no_more_than_told(void **state) {
    (void)state;
    ambit_pool_options options = hooked();
    options.object_bytes = 64 * 1024; /* magazines of two */
    options.free_max = 3;
    ambit_pool *pool = open_pool(options);
    void *objects[20];
    for (int i = 0; i < 20; i++) assert_non_null(objects[i] = ambit_pool_get(pool));
    for (int i = 0; i < 20; i++) ambit_pool_put(pool, objects[i]);
    assert_in_range(stats_of(pool).free, 3, 5);
    assert_int_equal(seen.destroyed, 20 - (int)stats_of(pool).free);
    assert_ok(ambit_pool_close(&pool));
}

static void alignments_hold(void **state) {
    (void)state;
    for (size_t alignment = 1; alignment <= 4096; alignment *= 2) {
        ambit_pool_options options = plain();
        options.alignment = alignment;
        options.object_bytes = 1 + alignment / 2;
        ambit_pool *pool = open_pool(options);
        void *objects[70];
        for (int i = 0; i < 70; i++) {
            assert_non_null(objects[i] = ambit_pool_get(pool));
            assert_int_equal((uintptr_t)objects[i] % alignment, 0);
            memset(objects[i], i, options.object_bytes);
        }
        for (int i = 0; i < 70; i++) ambit_pool_put(pool, objects[i]);
        assert_ok(ambit_pool_close(&pool));
    }
}

static void bad_options_are_refused(void **state) {
    (void)state;
    ambit_pool *pool = (ambit_pool *)1;
    ambit_pool_options options = plain();
    options.object_bytes = 0;
    assert_int_equal(ambit_pool_open(&options, &pool), AMBIT_EINVALID);
    assert_null(pool);
    options.object_bytes = (size_t)AMBIT_POOL_OBJECT_MAX + 1;
    assert_int_equal(ambit_pool_open(&options, &pool), AMBIT_EINVALID);
    options = plain();
    options.alignment = 24;
    assert_int_equal(ambit_pool_open(&options, &pool), AMBIT_EINVALID);
    options.alignment = 8192;
    assert_int_equal(ambit_pool_open(&options, &pool), AMBIT_EINVALID);
    options = plain();
    options.trim_ns = -1;
    assert_int_equal(ambit_pool_open(&options, &pool), AMBIT_EINVALID);
    options = plain();
    options.quarantine = AMBIT_POOL_QUARANTINE_MAX + 1;
    assert_int_equal(ambit_pool_open(&options, &pool), AMBIT_EINVALID);
    assert_stops(assert_ok(ambit_pool_open(NULL, &pool)));
}

static void constructor_that_refuses(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(hooked());
    seen.refuse = 1;
    assert_null(ambit_pool_get(pool));
    assert_null(ambit_pool_get(pool));
    assert_int_equal(stats_of(pool).refused, 2);
    assert_int_equal(stats_of(pool).out, 0);
    seen.refuse = 0;
    void *object = ambit_pool_get(pool);
    assert_non_null(object);
    ambit_pool_put(pool, object);
    seen.refuse = 1;
    object = ambit_pool_get(pool); /* there is one */
    assert_non_null(object);
    ambit_pool_put(pool, object);
    assert_ok(ambit_pool_close(&pool));
    assert_int_equal(seen.constructed, 1);
    assert_int_equal(seen.destroyed, 1);
}

/* ---- The census ------------------------------------------------------------------------------ */

static void *told_object;
static const ambit_site *told_site;
static void note_out(const void *object, const ambit_site *site, int64_t age_ns, void *user) {
    told_object = (void *)(uintptr_t)object;
    told_site = site;
    assert_true(age_ns >= 0 && age_ns < AMBIT_SECOND);
    ++*(int *)user;
}

static void census_shows_what_is_out(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    void *objects[300];
    for (int i = 0; i < 300; i++) objects[i] = ambit_pool_get(pool);
    uint32_t line = __LINE__ - 1;
    ambit_census *census;
    assert_ok(ambit_census_take(&census));
    assert_int_equal(ambit_census_count(census, AMBIT_KIND_OBJECT), 300);
    assert_int_equal(ambit_census_bytes(census, AMBIT_KIND_OBJECT), 300 * sizeof(struct buffer));
    const ambit_census_row *row = ambit_census_row_at(census, 0);
    assert_int_equal(row->kind, AMBIT_KIND_OBJECT);
    assert_int_equal(row->site->line, line);
    ambit_census_free(census);
    for (int i = 1; i < 300; i++) ambit_pool_put(pool, objects[i]);
    assert_int_equal(living(AMBIT_KIND_OBJECT), 1);
    int told = 0;
    assert_int_equal(ambit_pool_each_out(pool, note_out, &told), 1);
    assert_int_equal(told, 1);
    assert_ptr_equal(told_object, objects[0]);
    assert_int_equal(told_site->line, line);
    ambit_pool_put(pool, objects[0]);
    assert_int_equal(living(AMBIT_KIND_OBJECT), 0);
    assert_ok(ambit_pool_close(&pool));
}

static void close_refuses_while_anything_is_out(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(hooked());
    ambit_pool *same = pool;
    void *object = ambit_pool_get(pool), *other = ambit_pool_get(pool);
    ambit_pool_put(pool, other);
    assert_int_equal(ambit_pool_close(&pool), AMBIT_BUSY);
    assert_ptr_equal(pool, same);
    other = ambit_pool_get(pool); /* and goes on as before */
    assert_non_null(other);
    ambit_pool_put(pool, other);
    ambit_pool_put(pool, object);
    assert_ok(ambit_pool_close(&pool));
    assert_int_equal(seen.constructed, seen.destroyed);
}

/* ---- Contexts -------------------------------------------------------------------------------- */

static void borrowed_goes_back_at_close(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(hooked());
    ambit_ctx *ctx = open_child(ambit_background());
    assert_non_null(ambit_pool_borrow(pool, ctx));
    void *early = ambit_pool_borrow(pool, ctx);
    assert_non_null(early);
    assert_non_null(ambit_pool_borrow(pool, ctx));
    assert_int_equal(stats_of(pool).out, 3);
    ambit_pool_put(pool, early);
    assert_int_equal(stats_of(pool).out, 2);
    ambit_ctx_close(&ctx);
    assert_int_equal(stats_of(pool).out, 0);
    assert_int_equal(seen.reset, 3);
    assert_ok(ambit_pool_close(&pool));
}

static void borrowed_in_a_loop_takes_no_more_room(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    ambit_ctx *parent = open_child(ambit_background());
    void *above = ambit_pool_borrow(pool, parent);
    assert_non_null(above);
    ambit_ctx *ctx = open_child(parent);
    void *object = ambit_pool_borrow(pool, ctx);
    ambit_pool_put(pool, object);
    size_t bytes = ambit_ctx_bytes(ctx);
    for (int i = 0; i < 10000; i++) {
        object = ambit_pool_borrow(pool, ctx);
        assert_non_null(object);
        ambit_pool_put(pool, object);
    }
    assert_int_equal(ambit_ctx_bytes(ctx), bytes);
    ambit_ctx_close(&ctx);
    assert_int_equal(stats_of(pool).out, 1); /* the parent's */
    ambit_ctx_close(&parent);
    assert_int_equal(stats_of(pool).out, 0);
    assert_ok(ambit_pool_close(&pool));
}

static void borrow_without_budget(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    ambit_ctx *ctx = open_child(ambit_background());
    ambit_ctx_budget_set(ctx, 0);
    assert_null(ambit_pool_borrow(pool, ctx));
    assert_int_equal(stats_of(pool).out, 0);
    ambit_ctx_close(&ctx);
    assert_ok(ambit_pool_close(&pool));
}

/* ---- Wrong uses ------------------------------------------------------------------------------ */

static void put_twice_names_both_lines(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    void *object = ambit_pool_get(pool);
    ambit_pool_put(pool, object);
    uint32_t line = __LINE__ - 1;
    assert_stops(ambit_pool_put(pool, object));
    assert_int_equal(suite_bug.before->line, line);
    assert_int_equal(suite_bug.site->line, line + 2);
    assert_non_null(strstr(suite_bug.message, "put already"));
    assert_ok(ambit_pool_close(&pool));
}

static void foreign_puts_are_told(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain()), *other = open_pool(plain());
    void *object = ambit_pool_get(other);
    uint32_t line = __LINE__ - 1;
    assert_stops(ambit_pool_put(pool, object));
    assert_int_equal(suite_bug.before->line, line);
    assert_non_null(strstr(suite_bug.message, "of another pool"));
    static char stranger[4096];
    assert_stops(ambit_pool_put(pool, stranger + 1024));
    assert_non_null(strstr(suite_bug.message, "no pool has given"));
    ambit_pool_put(other, object);
    assert_ok(ambit_pool_close(&pool));
    assert_ok(ambit_pool_close(&other));
}

static void use_after_close_is_told(void **state) {
    (void)state;
    ambit_pool *pool = open_pool(plain());
    ambit_pool *closed = pool;
    ambit_pool_put(pool, ambit_pool_get(pool));
    assert_ok(ambit_pool_close(&pool));
    uint32_t line = __LINE__ - 1;
    assert_stops((void)ambit_pool_get(closed));
    assert_int_equal(suite_bug.before->line, line);
    assert_stops(assert_ok(ambit_pool_close(&closed)));
    assert_stops((void)ambit_pool_get(pool));
    assert_non_null(strstr(suite_bug.message, "NULL"));
}

static void quarantine_sees_a_write_after_put(void **state) {
    (void)state;
    ambit_pool_options options = hooked();
    options.quarantine = 4;
    ambit_pool *pool = open_pool(options);
    struct buffer *object = ambit_pool_get(pool);
    ambit_pool_put(pool, object);
    uint32_t line = __LINE__ - 1;
    assert_int_equal(seen.destroyed, 1);
    for (int i = 0; i < 20; i++) { /* rests are looked at, made objects again, and got */
        struct buffer *next = ambit_pool_get(pool);
        assert_int_equal(next->state, 0xC0);
        ambit_pool_put(pool, next);
    }
    assert_int_equal(stats_of(pool).quarantined, 4);
    object = ambit_pool_get(pool);
    ambit_pool_put(pool, object);
    line = __LINE__ - 1;
#if !AMBIT__POISONS
    char before = object->text[17];
    object->text[17] = 'x';
    assert_stops((void)ambit_pool_trim(pool));
    assert_int_equal(suite_bug.before->line, line);
    object->text[17] = before;
#endif
    (void)line;
    (void)ambit_pool_trim(pool);
    assert_int_equal(stats_of(pool).quarantined, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_and_got_again),
        cmocka_unit_test(hooks_see_each_life),
        cmocka_unit_test(what_has_grown_is_not_kept),
        cmocka_unit_test(depot_keeps_no_more_than_told),
        cmocka_unit_test(alignments_hold),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(constructor_that_refuses),
        cmocka_unit_test(census_shows_what_is_out),
        cmocka_unit_test(close_refuses_while_anything_is_out),
        cmocka_unit_test(borrowed_goes_back_at_close),
        cmocka_unit_test(borrowed_in_a_loop_takes_no_more_room),
        cmocka_unit_test(borrow_without_budget),
        cmocka_unit_test(put_twice_names_both_lines),
        cmocka_unit_test(foreign_puts_are_told),
        cmocka_unit_test(use_after_close_is_told),
        cmocka_unit_test(quarantine_sees_a_write_after_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
