/* What the suites of the contexts share. */
#ifndef AMBIT_TESTS_CTXS_H
#define AMBIT_TESTS_CTXS_H

#include "build.h"
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* For callbacks and threads, where cmocka's asserts have nowhere to return to. */
#define must(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline void nap_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* True once `*what` is at least `wanted`; gives up after ten seconds. */
static inline bool comes_to(_Atomic(int) *what, int wanted) {
    for (int i = 0; i < 10000 && atomic_load(what) < wanted; i++) nap_ms(1);
    return atomic_load(what) >= wanted;
}

static inline pthread_t start(void *(*run)(void *), void *argument) {
    pthread_t thread;
    must(!pthread_create(&thread, NULL, run, argument));
    return thread;
}
static inline void *join(pthread_t thread) {
    void *answer;
    must(!pthread_join(thread, &answer));
    return answer;
}
static inline void *on_thread(void *(*run)(void *), void *argument) {
    return join(start(run, argument));
}

static inline ambit_ctx *open_timeout(ambit_ctx *parent, int64_t timeout_ns) {
    ambit_ctx *ctx = NULL;
    must(!ambit_ctx_open_timeout(parent, timeout_ns, &ctx));
    return ctx;
}
static inline ambit_ctx *open_deadline(ambit_ctx *parent, int64_t deadline_ns) {
    ambit_ctx *ctx = NULL;
    must(!ambit_ctx_open_deadline(parent, deadline_ns, &ctx));
    return ctx;
}
static inline ambit_ctx *merge(ambit_ctx *parent, ambit_ctx *other) {
    ambit_ctx *ctx = NULL;
    must(!ambit_ctx_merge(parent, other, &ctx));
    return ctx;
}
static inline ambit_ctx *detach(ambit_ctx *origin) {
    ambit_ctx *ctx = NULL;
    must(!ambit_ctx_detach(origin, ambit_clock_now_ns() + 3600 * AMBIT_SECOND, &ctx));
    return ctx;
}
static inline ambit_hold *hold_of(ambit_ctx *ctx) {
    ambit_hold *hold = NULL;
    must(!ambit_ctx_hold(ctx, &hold));
    return hold;
}

static inline void count_up(ambit_ctx *ctx, void *argument) {
    (void)ctx;
    atomic_fetch_add((_Atomic(int) *)argument, 1);
}

/* ---- A clock that stands still until it is told ---------------------------------------------- */

static _Atomic(int64_t) virtual_ns;
static inline int64_t read_virtual(void *user) {
    (void)user;
    return atomic_load(&virtual_ns);
}
static inline void set_virtual(int64_t now_ns) {
    static const ambit_clock clock = {read_virtual, NULL};
    ambit_timer_stop(); /* it reads the clock also when nothing is armed */
    atomic_store(&virtual_ns, now_ns);
    ambit_clock_set(&clock);
}

/* ---- What there is --------------------------------------------------------------------------- */

static inline uint64_t living(ambit_kind kind) {
    ambit_census *census = NULL;
    must(!ambit_census_take(&census));
    uint64_t count = ambit_census_count(census, kind);
    ambit_census_free(census);
    return count;
}
static inline uint64_t zombies(void) {
    ambit_census *census = NULL;
    must(!ambit_census_take(&census));
    uint64_t count = 0;
    for (size_t i = 0; i < ambit_census_rows(census); i++)
        count += ambit_census_row_at(census, i)->zombies;
    ambit_census_free(census);
    return count;
}
static inline uint64_t timers_armed(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    return stats.armed;
}

/* What a failed case leaves is reported for that case only. */
static inline int nothing_stays(void **state) {
    (void)state;
    static uint64_t known[AMBIT_KIND_COUNT + 1];
    int left = 0;
    ambit_timer_stop();
    ambit_clock_set(NULL);
    for (int kind = 0; kind <= AMBIT_KIND_COUNT; kind++) {
        uint64_t count = kind < AMBIT_KIND_COUNT ? living((ambit_kind)kind) : timers_armed();
        if (count != known[kind]) {
            fprintf(stderr, "left: %d of kind %d\n", (int)count, kind);
            left = -1;
        }
        known[kind] = count;
    }
    return left;
}

#define CASE(name) cmocka_unit_test_teardown(name, nothing_stays)
#define RUN(tests)                                                                                 \
    int main(int count_of_arguments, char **arguments) {                                           \
        if (count_of_arguments > 1) cmocka_set_test_filter(arguments[1]);                          \
        return cmocka_run_group_tests(tests, NULL, NULL);                                          \
    }                                                                                              \
    typedef int suite_ends_here

#endif
