/* Small programs of threads on variables, played by a strategy in the way of step.c, without the
 * runtime: what all their schedules lead to can be counted by hand or by brute force.
 *
 * Loads may see old stores, within what a thread has seen; mutexes and SC fences pass on what was
 * seen. Waits are futexes' without a value: two steps, one that begins it, and one that is woken,
 * or comes for nothing, up to twice a schedule. */
#ifndef AMBIT_TESTS_SIMULATOR_H
#define AMBIT_TESTS_SIMULATOR_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The sources under test are included, with all that they see of the runtime under other names: the
 * library is linked too, and has its own. */
#define ambit__threads simulated_threads
#define ambit__thread_count simulated_thread_count
#define ambit__self simulated_self
#define ambit__fail simulated_fail
#define ambit__found simulated_found
#define ambit__play simulated_play
#define ambit__decisions simulated_decisions
#define ambit__decision_count simulated_decision_count
#define ambit__strategy_explore simulated_strategy_explore
#define ambit__strategy_follow simulated_strategy_follow
#define ambit__explore_set simulated_explore_set
#define ambit__follow_set simulated_follow_set
#define ambit__choices_print simulated_choices_print
#define ambit__choices_read simulated_choices_read
#define ambit__touch_of simulated_touch_of
#define ambit__never_together simulated_never_together
#define ambit__waits_for_one simulated_waits_for_one
#define ambit__shrink simulated_shrink
#include "schedule/inside.h"

#include "schedule/explore_meet.h"

#include "set.h"

#define VARIABLES 6
#define STORES_MOST 40
#define ACTIONS_MOST 20
#define STEPS_OF_WORLD 400
#define SPURIOUS_OF_WORLD 2

typedef enum action_kind {
    LOAD,    /* register = variable; any store that may be seen */
    STORE,   /* variable = value */
    ADD,     /* register = variable; variable += value */
    LOAD_SC, /* not older than what SC fences have passed on */
    STORE_SC,
    FENCE_SC,
    LOCK,
    UNLOCK,
    TRY_LOCK, /* register = 1 if it was got */
    WAIT,     /* to be woken */
    WAIT_SPURIOUS,
    WAKE, /* one of those that wait */
    SKIP, /* no step: the next `value` actions, if the register is zero */
    SKIP_UNLESS_ZERO,
    CHOOSE, /* no step: register = one of `value` */
    SPIN,   /* until variable == value: one load a round */
    /* No step: fails if the register is `value`, here; for variable 1 or 2 nowhere; for 2 as
     * misuse. */
    FAIL_IF,
    JOIN_ALL, /* waits for the ends of all others, and names none */
    JOIN_ANY, /* of any other, and says so of none */
    POLL_ANY, /* the same, but says that it may be about anything; register = which have ended */
    YIELD,
    ADD_WEAKLY, /* ADD, again and again until it does not fail for nothing */
    END
} action_kind;

typedef struct action {
    action_kind kind;
    int variable, value;
} action;

typedef struct program {
    unsigned threads;
    action actions[AMBIT__THREADS][ACTIONS_MOST];
} program;

typedef struct history {
    int count, values[STORES_MOST];
} history;

typedef struct seen {
    int at_least[VARIABLES];
} seen;

typedef struct taken_step {
    uint8_t thread;
    ambit__touch touch;
    uint64_t chosen; /* what was decided in it, mixed */
} taken_step;

typedef struct simulated_thread {
    unsigned next;
    int reg;
    uint64_t regs; /* all that it has read, mixed */
    seen seen;
    bool waiting, woken, ended, spinning;
    bool (*ready)(void *);
    ambit__operation operation;
} simulated_thread;

ambit__schedule_thread simulated_threads[AMBIT__THREADS];
unsigned simulated_thread_count;
ambit__schedule_thread *simulated_self;
ambit__finding simulated_found;
ambit__written *simulated_decisions;
size_t simulated_decision_count;

static struct {
    const program *program;
    const ambit__strategy *strategy;
    simulated_thread threads[AMBIT__THREADS];
    history variables[VARIABLES];
    int owner[VARIABLES]; /* thread + 1 */
    seen released[VARIABLES], fences;
    taken_step steps[STEPS_OF_WORLD];
    size_t step_count;
    uint64_t chosen; /* before all steps */
    unsigned spurious, switches;
    bool stuck;
    jmp_buf failing;
    ambit__written written[4 * STEPS_OF_WORLD];
    char objects[VARIABLES][64]; /* what has their addresses */
} world;

/* ---- The world ------------------------------------------------------------------------------- */

/* What may end for nothing does when nothing else can go on. Unlike step.c, which calls that stuck;
 * but then what a schedule leads to is the same for all orders of what does not meet. */
static bool never_stuck_early = true;

static inline void write_down(ambit__decision kind, unsigned count, unsigned chosen) {
    world.written[simulated_decision_count++] =
        (ambit__written){(uint8_t)kind, (uint8_t)count, (uint8_t)chosen};
}

static inline unsigned world_decide(ambit__decision kind, unsigned count, unsigned usual) {
    if (count < 2) return 0;
    unsigned chosen = world.strategy->decide(kind, count, usual);
    assert_true(chosen < count);
    write_down(kind, count, chosen);
    if (kind != AMBIT__DECIDE_EARLY) {
        uint64_t *in = world.step_count ? &world.steps[world.step_count - 1].chosen : &world.chosen;
        *in = mixed(*in, (uint64_t)kind << 8 | chosen);
    }
    return chosen;
}

void simulated_fail(ambit_schedule_failure failure, const void *site, const void *other_site,
                    const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(simulated_found.message, sizeof simulated_found.message, format, arguments);
    va_end(arguments);
    simulated_found.failure = failure;
    simulated_found.site = site;
    simulated_found.other_site = other_site;
    longjmp(world.failing, 1);
}

#include "simulator_actions.h"

/* ---- Schedules ------------------------------------------------------------------------------- */

/* AMBIT__THREADS if there is none. */
static inline unsigned pick_next(unsigned current) {
    uint32_t enabled = 0, early = 0;
    for (unsigned i = 0; i < world.program->threads; i++) {
        const ambit__operation *next = simulated_threads[i].next;
        if (!next) continue;
        if (world.threads[i].spinning) continue;
        if (!next->ready || next->ready(next->argument))
            enabled |= 1u << i;
        else if (next->spurious && world.spurious < SPURIOUS_OF_WORLD)
            early |= 1u << i;
    }
    if (!enabled && !never_stuck_early) early = 0;
    if (!enabled && !early) {
        for (unsigned i = 0; i < world.program->threads; i++)
            if (!world.threads[i].ended) world.stuck = true;
        return AMBIT__THREADS;
    }
    uint32_t ready = enabled;
    if (early && (!enabled || world_decide(AMBIT__DECIDE_EARLY, 2, 0))) enabled |= early;
    unsigned chosen = (unsigned)__builtin_ctz(enabled);
    if (enabled & (enabled - 1)) {
        chosen = world.strategy->pick(enabled, current);
        assert_true(enabled >> chosen & 1);
        write_down(AMBIT__DECIDE_THREAD, AMBIT__THREADS, chosen);
    }
    if (!(ready >> chosen & 1)) world.spurious++;
    return chosen;
}

static inline void run_world(void) {
    unsigned current = 0;
    for (unsigned i = 0; i < world.program->threads; i++) announce(i);
    for (;;) {
        unsigned chosen = pick_next(current);
        if (chosen == AMBIT__THREADS) return;
        if (chosen != current) world.switches++;
        current = chosen;
        simulated_self = &simulated_threads[chosen];
        ambit__operation *taken = simulated_self->next;
        simulated_self->next = NULL;
        assert_true(world.step_count < STEPS_OF_WORLD);
        taken_step *step = &world.steps[world.step_count++];
        step->thread = (uint8_t)chosen;
        step->chosen = 0;
        simulated_touch_of(taken, &step->touch);
        if (world.strategy->stepped) world.strategy->stepped(taken);
        perform(chosen);
    }
}

bool simulated_play(const ambit__strategy *strategy, uint64_t seed, ambit_schedule_fn *scenario,
                    void *argument) {
    (void)scenario;
    memset(&world, 0, sizeof world);
    memset(simulated_threads, 0, sizeof simulated_threads);
    world.program = argument;
    world.strategy = strategy;
    simulated_found = (ambit__finding){.failure = AMBIT_SCHEDULE_CLEAN};
    simulated_decisions = world.written;
    simulated_decision_count = 0;
    simulated_thread_count = world.program->threads;
    simulated_self = &simulated_threads[0];
    for (unsigned i = 0; i < VARIABLES; i++) world.variables[i].count = 1;
    for (unsigned i = 0; i < simulated_thread_count; i++) {
        simulated_threads[i].index = (uint8_t)i;
        simulated_threads[i].state = AMBIT__THREAD_LIVE;
    }
    strategy->begin(seed);
    if (!setjmp(world.failing)) run_world();
    simulated_found.steps = world.step_count;
    return simulated_found.failure == AMBIT_SCHEDULE_CLEAN;
}

/* What came out: all that was read, all variables, and whether it got stuck. */
static inline uint64_t outcome(void) {
    uint64_t hash = world.stuck ? 7 : 11;
    for (unsigned i = 0; i < world.program->threads; i++)
        hash = mixed(hash, world.threads[i].regs + world.threads[i].next);
    for (unsigned i = 0; i < VARIABLES; i++)
        hash = mixed(hash, (uint64_t)world.variables[i].values[world.variables[i].count - 1]);
    return hash;
}

/* The same for all orders of the same steps that differ only where they do not meet: always the
 * lowest thread whose step meets none that is still to come before it. */
static inline uint64_t trace(void) {
    bool done[STEPS_OF_WORLD] = {false};
    uint64_t hash = world.chosen;
    for (size_t count = 0; count < world.step_count; count++) {
        size_t best = world.step_count;
        for (size_t i = 0; i < world.step_count; i++) {
            if (done[i]) continue;
            bool first =
                best == world.step_count || world.steps[i].thread < world.steps[best].thread;
            for (size_t j = 0; first && j < i; j++)
                if (!done[j] && (world.steps[j].thread == world.steps[i].thread ||
                                 ambit__touches_meet(&world.steps[j].touch, &world.steps[i].touch)))
                    first = false;
            if (first) best = i;
        }
        done[best] = true;
        hash = mixed(hash, world.steps[best].thread * 31u + world.steps[best].touch.kind);
        hash = mixed(hash, world.steps[best].chosen);
    }
    return hash;
}

#endif
