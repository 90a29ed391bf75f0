/* What the census's suites share: a clock that stands still, verdicts noted, text collected. */
#ifndef AMBIT_TESTS_CENSUS_H
#define AMBIT_TESTS_CENSUS_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"

static _Atomic(int64_t) virtual_now_ns;
static inline int64_t read_virtual_clock(void *user) {
    (void)user;
    return atomic_load_explicit(&virtual_now_ns, memory_order_relaxed);
}
static inline void set_virtual_clock(int64_t now_ns) {
    atomic_store_explicit(&virtual_now_ns, now_ns, memory_order_relaxed);
}
static inline void pass_time(int64_t duration_ns) {
    atomic_fetch_add_explicit(&virtual_now_ns, duration_ns, memory_order_relaxed);
}

struct noted {
    uint64_t given;
    uint64_t by_kind[AMBIT_VERDICT_KINDS];
    ambit_verdict last;
};
static inline void note(const ambit_verdict *verdict, void *user) {
    struct noted *noted = user;
    noted->given++;
    noted->by_kind[verdict->kind]++;
    noted->last = *verdict;
}

static const int64_t limits_at_start[AMBIT_VERDICT_KINDS] = {
    AMBIT_SECOND, 10 * AMBIT_SECOND, 600 * AMBIT_SECOND, 1024 * 1024, AMBIT_SECOND / 10,
    64,           AMBIT_VERDICT_OFF, AMBIT_VERDICT_OFF};

static inline void set_all_limits(const int64_t *limits) {
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        ambit_verdict_limit_set((ambit_verdict_kind)kind,
                                limits ? limits[kind] : AMBIT_VERDICT_OFF);
}

/* Nothing is alive, whatever the line. */
static inline void assert_nothing_lives(void) {
    ambit_census *census = NULL;
    assert_ok(ambit_census_take(&census));
    if (ambit_census_rows(census)) {
        const ambit_site *site = ambit_census_row_at(census, 0)->site;
        fail_msg("still alive: %s:%u", site->file, site->line);
    }
    ambit_census_free(census);
}

/* A fixture: only what a test switches on gives verdicts, and time passes only when it says so. */
static inline int with_virtual_clock(void **state) {
    static const ambit_clock clock = {read_virtual_clock, NULL};
    (void)state;
    set_virtual_clock(1000 * AMBIT_SECOND);
    ambit_clock_set(&clock);
    set_all_limits(NULL);
    return 0;
}
static inline int without_virtual_clock(void **state) {
    (void)state;
    ambit_verdict_check(NULL, NULL); /* what still stands returns, with all limits off */
    assert_nothing_lives();
    ambit_timer_stop(); /* its thread reads the clock */
    ambit_clock_set(NULL);
    set_all_limits(limits_at_start);
    return 0;
}

#define TEXT_BYTES (4u << 20)
struct text {
    char *bytes;
    size_t length;
};
static inline int collect(const char *bytes, size_t length, void *user) {
    struct text *text = user;
    if (!text->bytes) text->bytes = malloc(TEXT_BYTES);
    if (!text->bytes || length > TEXT_BYTES - 1 - text->length) return -1;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
    return 0;
}
static inline void text_free(struct text *text) {
    free(text->bytes);
    *text = (struct text){NULL, 0};
}

#endif
