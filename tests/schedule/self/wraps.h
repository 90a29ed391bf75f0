/* What the suites of pthread's and C11's functions start with: a scenario is played some thousand times, and
 * must be clean, or must fail in the way that is expected, with the words that are. */
#ifndef AMBIT_TESTS_SCHEDULE_WRAPS_H
#define AMBIT_TESTS_SCHEDULE_WRAPS_H

#define _GNU_SOURCE
#include <ambit/schedule.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define check(condition) ambit_schedule_assert(condition)

static ambit_schedule_result played;

static inline void play(ambit_schedule_fn *scenario, ambit_schedule_options options) {
    options.quiet = true;
    options.result = &played;
    if (!options.schedules) options.schedules = 2000;
    int status = ambit_schedule_run(scenario, &options);
    assert_int_equal(status, played.failure != AMBIT_SCHEDULE_CLEAN);
    if (!status && !played.complete) assert_int_equal(played.schedules, options.schedules);
}

#define assert_clean(scenario, ...)                                                                \
    do {                                                                                           \
        play(scenario, (ambit_schedule_options){__VA_ARGS__});                                     \
        if (played.failure) fail_msg("%s: %s", #scenario, played.message);                         \
    } while (0)

/* The words after `kind` must all be in the message. */
#define assert_found(scenario, kind, ...)                                                          \
    do {                                                                                           \
        play(scenario, (ambit_schedule_options){0});                                               \
        found_as(#scenario, kind, (const char *[]){__VA_ARGS__, NULL});                            \
    } while (0)

static inline void found_as(const char *name, ambit_schedule_failure kind, const char **words) {
    if (played.failure != kind)
        fail_msg("%s: expected failure %d, found %d: %s", name, (int)kind, (int)played.failure,
                 played.message);
    for (; *words; words++)
        if (!strstr(played.message, *words))
            fail_msg("%s: expected \"%s\" in: %s", name, *words, played.message);
}

/* One of the first schedules fails so, whatever the others do. */
#define assert_some_found(scenario, kind, words, ...)                                              \
    do {                                                                                           \
        for (uint64_t seed = 1; seed < 1000; seed++) {                                             \
            play(scenario, (ambit_schedule_options){.schedules = 1, .seed = seed});                \
            if (strstr(played.message, words)) break;                                              \
        }                                                                                          \
        found_as(#scenario, kind, (const char *[]){words, __VA_ARGS__, NULL});                     \
    } while (0)

/* Some schedule comes to where `check(!...)` fails. */
#define assert_happens(scenario) assert_found(scenario, AMBIT_SCHEDULE_ASSERTION, "")

typedef void *start_fn(void *);

static inline pthread_t start(start_fn *run, void *argument) {
    pthread_t thread;
    check(pthread_create(&thread, NULL, run, argument) == 0);
    return thread;
}

static inline void finish(pthread_t thread) { check(pthread_join(thread, NULL) == 0); }

/* Two threads at once. */
static inline void both(start_fn *one, start_fn *other) {
    pthread_t first = start(one, NULL), second = start(other, NULL);
    finish(first);
    finish(second);
}

static inline struct timespec time_in(long ms) {
    struct timespec time;
    check(clock_gettime(CLOCK_REALTIME, &time) == 0);
    time.tv_sec += ms / 1000;
    time.tv_nsec += ms % 1000 * 1000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_nsec -= 1000000000;
        time.tv_sec++;
    }
    return time;
}

static inline bool has_come(struct timespec time) {
    struct timespec now = time_in(0);
    return now.tv_sec > time.tv_sec || (now.tv_sec == time.tv_sec && now.tv_nsec >= time.tv_nsec);
}

#define NO_TIME ((struct timespec){.tv_nsec = -1})

#endif
