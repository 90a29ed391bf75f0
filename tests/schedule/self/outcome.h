/* Schedules that are expected to fail, or not to, and how. */
#ifndef AMBIT_TESTS_SCHEDULE_OUTCOME_H
#define AMBIT_TESTS_SCHEDULE_OUTCOME_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <ambit/schedule.h>

static inline ambit_schedule_result outcome_with(ambit_schedule_fn *scenario,
                                                 ambit_schedule_options options) {
    ambit_schedule_result result;
    options.quiet = true;
    options.result = &result;
    int status = ambit_schedule_run(scenario, &options);
    assert_int_equal(status, result.failure != AMBIT_SCHEDULE_CLEAN);
    return result;
}

static inline void expect_clean_with(ambit_schedule_fn *scenario, ambit_schedule_options options) {
    ambit_schedule_result result = outcome_with(scenario, options);
    if (result.failure)
        print_error("seed %llu: %s\n", (unsigned long long)result.seed, result.message);
    assert_int_equal(result.failure, AMBIT_SCHEDULE_CLEAN);
    assert_int_equal(result.schedules, options.schedules ? options.schedules : 10000);
}
static inline void expect_clean(ambit_schedule_fn *scenario) {
    expect_clean_with(scenario, (ambit_schedule_options){.schedules = 10000});
}

/* `words` stand in the message. */
static inline void expect_failure_with(ambit_schedule_fn *scenario, ambit_schedule_options options,
                                       ambit_schedule_failure failure, const char *words) {
    ambit_schedule_result result = outcome_with(scenario, options);
    if (result.failure != failure || !strstr(result.message, words))
        print_error("expected \"%s\", found: %s\n", words, result.message);
    assert_int_equal(result.failure, failure);
    assert_non_null(strstr(result.message, words));
}
static inline void expect_failure(ambit_schedule_fn *scenario, ambit_schedule_failure failure,
                                  const char *words) {
    expect_failure_with(scenario, (ambit_schedule_options){.schedules = 10000}, failure, words);
}

#endif
