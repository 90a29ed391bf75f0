/* What all schedules of a simulated program lead to: by brute force, and as the exhaustive strategy
 * finds. */
#ifndef AMBIT_TESTS_SURVEY_H
#define AMBIT_TESTS_SURVEY_H

#include "simulator.h"

#include "schedule/explore.c"
#include "schedule/explore_meet.c"

/* ---- Brute force ----------------------------------------------------------------------------- */

static struct {
    unsigned taken[4 * STEPS_OF_WORLD], most[4 * STEPS_OF_WORLD];
    uint32_t masks[4 * STEPS_OF_WORLD];
    size_t count, at;
} path;

/* In this schedule: switches away from who could go on, and has not just yielded. */
static unsigned preemptions;

static inline void brute_begin(uint64_t seed) {
    (void)seed;
    path.at = 0;
    preemptions = 0;
}

static inline unsigned brute_next(unsigned count) {
    if (path.at == path.count) {
        assert_true(path.count < 4 * STEPS_OF_WORLD);
        path.taken[path.count] = 0;
        path.most[path.count++] = count;
    }
    assert_int_equal(path.most[path.at], count);
    return path.taken[path.at++];
}

static inline unsigned brute_pick(uint32_t enabled, unsigned current) {
    uint32_t left = enabled;
    for (unsigned skip = brute_next((unsigned)__builtin_popcount(enabled)); skip; skip--)
        left &= left - 1;
    unsigned chosen = (unsigned)__builtin_ctz(left);
    bool yielded =
        world.step_count && world.steps[world.step_count - 1].touch.kind == AMBIT__OP_YIELD;
    preemptions += chosen != current && enabled >> current & 1 && !yielded;
    return chosen;
}

static inline unsigned brute_decide(ambit__decision kind, unsigned count, unsigned usual) {
    (void)usual;
    return kind == AMBIT__DECIDE_EARLY ? 1 : brute_next(count);
}

static inline bool brute_finish(void) {
    while (path.count && ++path.taken[path.count - 1] == path.most[path.count - 1]) path.count--;
    return path.count > 0;
}

static const ambit__strategy brute = {.name = "brute force",
                                      .begin = brute_begin,
                                      .pick = brute_pick,
                                      .decide = brute_decide,
                                      .finish = brute_finish};

/* ---- What all schedules of a program lead to ------------------------------------------------- */

typedef struct survey {
    size_t schedules, repeated; /* the latter were known before they ended */
    set outcomes, traces;
} survey;

static inline survey survey_with(const ambit__strategy *strategy, const program *of, size_t most) {
    survey found = {0};
    path.count = 0;
    do {
        assert_true(found.schedules++ < most);
        simulated_play(strategy, 0, NULL, (void *)(uintptr_t)of);
        assert_int_equal(simulated_found.failure, AMBIT_SCHEDULE_CLEAN);
        if (strategy == &simulated_strategy_explore && known)
            found.repeated++;
        else
            set_add(&found.traces, trace());
        set_add(&found.outcomes, outcome());
    } while (strategy->finish());
    return found;
}

static inline void survey_free(survey *of) {
    set_free(&of->outcomes);
    set_free(&of->traces);
}

static inline survey explore(const program *of, unsigned preemptions) {
    simulated_explore_set(preemptions);
    return survey_with(&simulated_strategy_explore, of, 4000000);
}

static inline size_t count_new(const program *of) {
    survey found = explore(of, 0);
    size_t count = found.schedules - found.repeated;
    assert_int_equal(count, found.traces.count); /* none twice */
    survey_free(&found);
    return count;
}

/* Explores, and compares with brute force. */
static inline void assert_all_found(const program *of) {
    survey all = survey_with(&brute, of, 4000000);
    survey found = explore(of, 0);
    assert_true(set_is_same(&all.outcomes, &found.outcomes));
    assert_true(set_is_same(&all.traces, &found.traces));
    assert_int_equal(found.schedules - found.repeated, found.traces.count);
    assert_true(found.schedules <= all.schedules);
    survey_free(&all);
    survey_free(&found);
}

#endif
