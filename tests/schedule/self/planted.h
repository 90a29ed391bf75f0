/* Bugs that are planted, each beside its right twin: one body, and `wrong` says which half of it runs.
 *
 * The wrong half must be found: as what it is, with the functions where it happens, within so many
 * schedules, from whatever seed one starts; and its seed must play it again, each time with the same
 * hash. The right half must be clean. Functions that are to be named are PLACEs. PLANTED=table prints
 * the table for the manual. */
#ifndef AMBIT_TESTS_PLANTED_H
#define AMBIT_TESTS_PLANTED_H

#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ambit/schedule.h"

enum { PLANTED_RIGHT = 10000, PLANTED_STARTS = 20, PLANTED_REPLAYS = 100 };

typedef struct planted {
    const char *name;
    ambit_schedule_fn *scenario;
    ambit_schedule_failure failure, or_failure; /* which of them depends on who comes first; or 0 */
    const char *place, *other_place;            /* in the message, in any order; NULL: none */
    uint64_t within;                            /* schedules, at most; 0: 2,000 */
} planted;

#define PLACE static __attribute__((noinline))
#define RUNS(name, call)                                                                           \
    static void name(void *argument) {                                                             \
        (void)argument;                                                                            \
        call;                                                                                      \
    }

static bool wrong;
static ambit_schedule_strategy planted_strategy;

/* The same operation, with one order in the wrong half and another in the right one. */
#define STORE(object, value, wrong_order, right_order)                                             \
    (wrong ? atomic_store_explicit(object, value, wrong_order)                                     \
           : atomic_store_explicit(object, value, right_order))
#define LOAD(object, wrong_order, right_order)                                                     \
    (wrong ? atomic_load_explicit(object, wrong_order) : atomic_load_explicit(object, right_order))

/* Starts both, waits for both. */
static inline void together(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

static inline ambit_schedule_result planted_run(const planted *of, bool which, uint64_t schedules,
                                                uint64_t seed) {
    ambit_schedule_result result;
    ambit_schedule_options options = {.name = of->name,
                                      .schedules = schedules,
                                      .seed = seed,
                                      .strategy = planted_strategy,
                                      .steps = 2000,
                                      .quiet = true,
                                      .result = &result};
    wrong = which;
    int status = ambit_schedule_run(of->scenario, &options);
    assert_int_equal(status, result.failure != AMBIT_SCHEDULE_CLEAN);
    return result;
}

static inline void planted_is_found(const planted *of, const ambit_schedule_result *result) {
    if (result->failure != of->failure && (!of->or_failure || result->failure != of->or_failure))
        fail_msg("%s: after %llu schedules: %d, %s", of->name,
                 (unsigned long long)result->schedules, (int)result->failure, result->message);
    const char *here = of->place ? strstr(result->message, of->place) : "";
    const char *there = of->other_place ? strstr(result->message, of->other_place) : "";
    /* A function that races with itself is named twice. */
    if (of->other_place && here && here == there) there = strstr(here + 1, of->other_place);
    if (!here || !there)
        fail_msg("%s: not named: %s: %s", of->name, here ? of->other_place : of->place,
                 result->message);
}

static uint64_t planted_most; /* schedules until the last was found, from the worst of the seeds */

static inline void wrong_half_is_found_from_any_seed(void **state) {
    const planted *of = *state;
    uint64_t within = of->within ? of->within : 2000, most = 0;
    for (uint64_t start = 0; start <= PLANTED_STARTS; start++) {
        ambit_schedule_result result = planted_run(of, true, within, 1 + start * 1000003);
        planted_is_found(of, &result);
        if (result.schedules > most) most = result.schedules;
    }
    planted_most = most;
}

static inline void wrong_half_is_played_again(void **state) {
    const planted *of = *state;
    ambit_schedule_result first = planted_run(of, true, of->within ? of->within : 2000, 1);
    planted_is_found(of, &first);
    for (unsigned i = 0; i < PLANTED_REPLAYS; i++) {
        ambit_schedule_result again = planted_run(of, true, 1, first.seed);
        assert_int_equal(again.failure, first.failure);
        assert_int_equal(again.trace_hash, first.trace_hash);
        assert_string_equal(again.message, first.message);
    }
}

static inline void right_half_is_clean(void **state) {
    const planted *of = *state;
    ambit_schedule_result result = planted_run(of, false, PLANTED_RIGHT, 1);
    if (result.failure)
        fail_msg("%s: seed %llu: %s", of->name, (unsigned long long)result.seed, result.message);
    assert_int_equal(result.schedules, PLANTED_RIGHT);
}

/* By every schedule there is the wrong half is found, and the right one proven to be clean, but for stores
 * that come late in modification order. */
static inline ambit_schedule_result planted_exhaust(const planted *of, bool which) {
    planted_strategy = AMBIT_SCHEDULE_EXHAUSTIVE;
    ambit_schedule_result result = planted_run(of, which, PLANTED_RIGHT, 1);
    planted_strategy = AMBIT_SCHEDULE_MIXED;
    return result;
}
static inline void exhaustion_agrees(void **state) {
    const planted *of = *state;
    ambit_schedule_result found = planted_exhaust(of, true), clean = planted_exhaust(of, false);
    planted_is_found(of, &found);
    if (clean.failure) fail_msg("%s: %s", of->name, clean.message);
    assert_true(clean.complete);
}

/* What the manual says of it, in a row. */
static inline void planted_print(const planted *of) {
    void *state = (void *)(uintptr_t)of;
    wrong_half_is_found_from_any_seed(&state);
    ambit_schedule_result first = planted_run(of, true, of->within ? of->within : 2000, 1);
    const char *end = strchr(first.message, '\n');
    int length = end ? (int)(end - first.message) : (int)strlen(first.message);
    ambit_schedule_result right = planted_run(of, false, PLANTED_RIGHT, 1);
    ambit_schedule_result every = planted_exhaust(of, false);
    printf("| %s | %.*s | %" PRIu64 " | %s | %" PRIu64 " |\n", of->name, length, first.message,
           planted_most, right.failure ? "FAILS" : "clean", every.schedules);
}

/* Runs all for each; the number of those that failed. PLANTED=table prints them instead. */
static inline int planted_main(const char *name, const planted *all, size_t count) {
    static const struct {
        const char *name;
        CMUnitTestFunction test;
    } kinds[] = {{"found", wrong_half_is_found_from_any_seed},
                 {"again", wrong_half_is_played_again},
                 {"right", right_half_is_clean},
                 {"exhaustive", exhaustion_agrees}};
    enum { KINDS = sizeof kinds / sizeof kinds[0], MOST = 64 };
    static struct CMUnitTest tests[KINDS * MOST];
    static char names[KINDS * MOST][80];
    if (count > MOST) return 1;
    const char *wish = getenv("PLANTED");
    if (wish && !strcmp(wish, "table")) {
        printf("| bug | found as | after at most | right twin | all its schedules |\n"
               "| --- | --- | --- | --- | --- |\n");
        for (size_t i = 0; i < count; i++) planted_print(&all[i]);
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t kind = 0; kind < KINDS; kind++) {
            size_t at = i * KINDS + kind;
            (void)snprintf(names[at], sizeof names[at], "%s: %s", all[i].name, kinds[kind].name);
            void *of = (void *)(uintptr_t)&all[i];
            tests[at] = (struct CMUnitTest){names[at], kinds[kind].test, NULL, NULL, of};
        }
    if (getenv("PLANTED_ONLY")) cmocka_set_test_filter(getenv("PLANTED_ONLY"));
    return _cmocka_run_group_tests(name, tests, count * KINDS, NULL, NULL);
}

#endif
