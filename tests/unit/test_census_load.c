/* The census beside a load: exact for all that stays, and every report returns once. */
#include "census.h"

#include <pthread.h>

enum { THREADS = 3, STAYING = 40 };

static _Atomic(uint32_t) ready, stop;
static _Atomic(uint64_t) rounds;

/* Lines of the threads: what stays, what comes and goes, what is kept for a moment. */
static ambit_site stays[THREADS], passes[THREADS], holds[THREADS];
static void name_sites(void) {
    for (uint32_t i = 0; i < THREADS; i++) {
        stays[i] = (ambit_site){"load.c", "stays", i};
        passes[i] = (ambit_site){"load.c", "passes", i};
        holds[i] = (ambit_site){"load.c", "holds", i};
    }
}

static void pass_through(uint32_t index, ambit_ctx *parent, size_t bytes) {
    ambit_ctx *ctx = NULL, *child = NULL;
    ambit_hold *hold = NULL;
    if (ambit_ctx_open_at(parent, AMBIT_NEVER, &ctx, &passes[index])) abort();
    if (ambit_ctx_open_at(ctx, AMBIT_NEVER, &child, &passes[index])) abort();
    if (ambit_ctx_hold_at(child, &hold, &holds[index])) abort();
    if (!ambit_ctx_alloc(child, bytes)) abort();
    ambit_ctx_close(&ctx); /* a zombie while the child lives */
    ambit_ctx_close(&child);
    ambit_ctx_drop(&hold);
    atomic_fetch_add_explicit(&rounds, 1, memory_order_relaxed);
}

static void *load(void *argument) {
    uint32_t index = (uint32_t)(uintptr_t)argument;
    ambit_ctx *held[STAYING];
    for (int i = 0; i < STAYING; i++) {
        if (ambit_ctx_open_at(ambit_background(), AMBIT_NEVER, &held[i], &stays[index])) abort();
        if (!ambit_ctx_alloc(held[i], 10)) abort();
    }
    atomic_fetch_add_explicit(&ready, 1, memory_order_release);
    while (!atomic_load_explicit(&stop, memory_order_acquire))
        pass_through(index, held[index], 100);
    for (int i = 0; i < STAYING; i++) ambit_ctx_close(&held[i]);
    return NULL;
}

static pthread_t threads[THREADS];
static void start_load(void *(*run)(void *)) {
    name_sites();
    atomic_store_explicit(&ready, 0, memory_order_relaxed);
    atomic_store_explicit(&stop, 0, memory_order_relaxed);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)i), 0);
    while (atomic_load_explicit(&ready, memory_order_acquire) < THREADS) sched_yield();
}
static void end_load(void) {
    atomic_store_explicit(&stop, 1, memory_order_release);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void check_rows(const ambit_census *census) {
    uint64_t staying[THREADS] = {0}, bytes[THREADS] = {0};
    for (size_t i = 0; i < ambit_census_rows(census); i++) {
        const ambit_census_row *row = ambit_census_row_at(census, i);
        assert_true(row->count > 0);
        assert_true(row->zombies <= row->count);
        assert_int_equal(row->long_lived, 0);
        assert_true(row->oldest_ns >= 0);
        for (int thread = 0; thread < THREADS; thread++) {
            if (row->site != &stays[thread]) continue;
            assert_int_equal(row->kind, AMBIT_KIND_CTX);
            assert_int_equal(row->zombies, 0);
            staying[thread] += row->count;
            bytes[thread] += row->bytes;
        }
        /* What passes may be seen here and there, but not below zero. */
        assert_true(row->count < 10000 && row->bytes < 10000 * 100);
    }
    for (int thread = 0; thread < THREADS; thread++) {
        assert_int_equal(staying[thread], STAYING); /* each once */
        assert_int_equal(bytes[thread], STAYING * 10);
    }
}

static void all_that_stays_is_seen_once_beside_what_comes_and_goes(void **state) {
    (void)state;
    uint64_t before = atomic_load_explicit(&rounds, memory_order_relaxed);
    start_load(load);
    uint64_t busy = 0;
    for (int i = 0; i < 2000 || (busy < 100 && i < 200000); i++) {
        ambit_census *census = NULL;
        assert_ok(ambit_census_take(&census));
        busy += ambit_census_count(census, AMBIT_KIND_HOLD) > 0;
        check_rows(census);
        ambit_census_free(census);
    }
    end_load();
    assert_true(atomic_load_explicit(&rounds, memory_order_relaxed) > before);
    assert_true(busy >= 100); /* or it met nothing that comes and goes */
    assert_nothing_lives();
}

/* ---- Reports --------------------------------------------------------------------------------- */

struct reports {
    uint64_t by_kind[AMBIT_VERDICT_KINDS];
    uint64_t running;
};
static void count_report(const ambit_verdict *verdict, void *user) {
    struct reports *reports = user;
    reports->by_kind[verdict->kind]++;
    reports->running += verdict->kind == AMBIT_VERDICT_SLOW_CALLBACK && !verdict->ended;
    assert_true(verdict->measured > verdict->limit);
    assert_non_null(verdict->site);
}

static void every_report_returns_once_whatever_goes_beside_the_check(void **state) {
    (void)state;
    static const ambit_verdict_kind kinds[] = {AMBIT_VERDICT_LARGE, AMBIT_VERDICT_DEEP,
                                               AMBIT_VERDICT_CHILDREN, AMBIT_VERDICT_ZOMBIE,
                                               AMBIT_VERDICT_OLD};
    ambit_verdict_counts before[AMBIT_VERDICT_KINDS];
    struct reports reports = {{0}, 0};
    set_all_limits(NULL);
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        before[kind] = ambit_verdict_counts_read((ambit_verdict_kind)kind);
    ambit_verdict_limit_set(AMBIT_VERDICT_LARGE, 99);
    ambit_verdict_limit_set(AMBIT_VERDICT_DEEP, 2);
    ambit_verdict_limit_set(AMBIT_VERDICT_CHILDREN, 0);
    ambit_verdict_limit_set(AMBIT_VERDICT_ZOMBIE, -1);
    ambit_verdict_limit_set(AMBIT_VERDICT_OLD, -1);
    start_load(load);
    for (int i = 0; i < 3000 || (reports.by_kind[AMBIT_VERDICT_LARGE] < 100 && i < 300000); i++) {
        (void)ambit_verdict_check(count_report, &reports);
        for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++) {
            ambit_verdict_counts now = ambit_verdict_counts_read(kinds[at]);
            assert_true(now.returned <= now.reported);
        }
    }
    end_load();
    assert_nothing_lives();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        ambit_verdict_kind kind = kinds[i];
        ambit_verdict_counts now = ambit_verdict_counts_read(kind);
        assert_true(reports.by_kind[kind] > 0);
        assert_int_equal(now.reported - before[kind].reported, reports.by_kind[kind]);
        assert_int_equal(now.returned - before[kind].returned, reports.by_kind[kind]);
    }
    assert_true(reports.by_kind[AMBIT_VERDICT_LARGE] >= 100);
    set_all_limits(limits_at_start);
}

/* ---- Slow callbacks -------------------------------------------------------------------------- */

static _Atomic(uint64_t) slow_ran;
static uint64_t ran(void) { return atomic_load_explicit(&slow_ran, memory_order_relaxed); }
/* Most are short, so that they end at the wrong moment for a check, and some long enough to be met. */
static void be_slow(ambit_ctx *ctx, void *argument) {
    uint64_t turn = atomic_fetch_add_explicit(&slow_ran, 1, memory_order_relaxed);
    (void)ctx, (void)argument;
    for (int i = 0; i < (turn % 32 ? 100 : 3000); i++) __asm__ volatile("" ::: "memory");
}
static void *cancel_on_and_on(void *unused) {
    (void)unused;
    atomic_fetch_add_explicit(&ready, 1, memory_order_release);
    while (!atomic_load_explicit(&stop, memory_order_acquire)) {
        ambit_ctx *ctx = NULL;
        ambit_cancel nodes[2] = {{0}};
        if (ambit_ctx_open(ambit_background(), &ctx)) abort();
        for (int i = 0; i < 2; i++)
            if (ambit_ctx_on_cancel(ctx, &nodes[i], be_slow, NULL)) abort();
        ambit_ctx_cancel(ctx, NULL);
        for (int i = 0; i < 500; i++) __asm__ volatile("" ::: "memory"); /* lives on for a while */
        ambit_ctx_close(&ctx);
    }
    return NULL;
}

static void each_slow_callback_is_reported_once_or_counted_as_lost(void **state) {
    (void)state;
    struct reports reports = {{0}, 0};
    set_all_limits(NULL);
    (void)ambit_verdict_check(NULL, NULL);
    ambit_verdict_counts before = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    atomic_store_explicit(&slow_ran, 0, memory_order_relaxed);
    ambit_verdict_limit_set(AMBIT_VERDICT_SLOW_CALLBACK, -1); /* all of them are */
    start_load(cancel_on_and_on);
    for (int i = 0; i < 3000 || (i < 200000 && (reports.running < 1000 || ran() < 300000)); i++)
        (void)ambit_verdict_check(count_report, &reports);
    end_load();
    (void)ambit_verdict_check(count_report, &reports);
    ambit_verdict_counts now = ambit_verdict_counts_read(AMBIT_VERDICT_SLOW_CALLBACK);
    uint64_t given = reports.by_kind[AMBIT_VERDICT_SLOW_CALLBACK];
    assert_true(reports.running >= 100); /* or the checks met none that runs */
    assert_int_equal(now.reported - before.reported, given);
    assert_int_equal(now.returned - before.returned, given);
    assert_int_equal(given + now.lost - before.lost, ran());
    set_all_limits(limits_at_start);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_that_stays_is_seen_once_beside_what_comes_and_goes),
        cmocka_unit_test(every_report_returns_once_whatever_goes_beside_the_check),
        cmocka_unit_test(each_slow_callback_is_reported_once_or_counted_as_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
