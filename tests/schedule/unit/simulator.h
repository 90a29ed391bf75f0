/* Small programs of threads on variables, played by a strategy in the way of step.c, without the runtime:
 * what all their schedules lead to can be counted by hand or by brute force.
 *
 * Loads may see old stores, within what a thread has seen; mutexes and SC fences pass on what was seen.
 * Waits are futexes' without a value: two steps, one that begins it, and one that is woken, or comes for
 * nothing, up to twice a schedule. */
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

/* The sources under test are included, with all that they see of the runtime under other names: the library
 * is linked too, and has its own. */
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
    FAIL_IF, /* no step: fails if the register is `value`, here; for variable 1 or 2 nowhere; for 2 as misuse */
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

/* What may end for nothing does when nothing else can go on. Unlike step.c, which calls that stuck; but then
 * what a schedule leads to is the same for all orders of what does not meet. */
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

static inline bool is_unlocked(void *argument) { return world.owner[*(const int *)argument] == 0; }
static inline bool is_woken(void *argument) { return ((const simulated_thread *)argument)->woken; }
static inline bool are_ended(void *argument) {
    for (unsigned i = 0; i < world.program->threads; i++)
        if (&world.threads[i] != argument && !world.threads[i].ended) return false;
    return true;
}

static inline int which_ended(void) {
    int mask = 0;
    for (unsigned i = 0; i < world.program->threads; i++)
        if (world.threads[i].ended) mask |= 1 << i;
    return mask;
}
static inline bool is_any_ended(void *argument) {
    (void)argument;
    return which_ended() != 0;
}

static inline const action *action_of(unsigned thread) {
    return &world.program->actions[thread][world.threads[thread].next];
}

/* What is no step is done at once, and then the next operation announced. */
/* To the next action that is a step. */
static inline void skip_to_step(unsigned index) {
    simulated_thread *thread = &world.threads[index];
    for (;; thread->next++) {
        const action *next = action_of(index);
        if (next->kind == SKIP && thread->reg == 0)
            thread->next += (unsigned)next->value;
        else if (next->kind == SKIP_UNLESS_ZERO && thread->reg != 0)
            thread->next += (unsigned)next->value;
        else if (next->kind == CHOOSE)
            thread->regs =
                mixed(thread->regs, (uint64_t)(thread->reg = (int)world_decide(
                                                   AMBIT__DECIDE_USER, (unsigned)next->value, 0)));
        else if (next->kind == FAIL_IF && thread->reg == next->value)
            simulated_fail(next->variable == 2 ? AMBIT_SCHEDULE_MISUSE : AMBIT_SCHEDULE_ASSERTION,
                           next->variable ? NULL : (const void *)next, NULL, "failed");
        else if (next->kind == UNLOCK && world.owner[next->variable] != (int)index + 1)
            continue; /* no step: it was not got */
        else if (next->kind != SKIP && next->kind != SKIP_UNLESS_ZERO && next->kind != FAIL_IF)
            break;
    }
}

/* What it waits for, if it does. */
static inline void wait_for(const action *next, simulated_thread *thread) {
    ambit__operation *operation = &thread->operation;
    if (next->kind == LOCK) {
        operation->ready = is_unlocked;
        operation->argument = (void *)(uintptr_t)&next->variable;
        operation->waits_for = "mutex";
    }
    if ((next->kind == WAIT || next->kind == WAIT_SPURIOUS) && !thread->waiting) {
        operation->kind = AMBIT__OP_LOAD;
        operation->name = "compare";
    } else if (next->kind == WAIT || next->kind == WAIT_SPURIOUS) {
        operation->ready = is_woken;
        operation->argument = thread;
        operation->spurious = next->kind == WAIT_SPURIOUS;
    }
    if (next->kind == JOIN_ALL) {
        operation->ready = are_ended;
        operation->argument = thread;
    }
    if (next->kind == JOIN_ANY || next->kind == POLL_ANY) {
        operation->ready = is_any_ended;
        operation->argument = thread;
        operation->waits_for = "any";
    }
}

static inline void announce(unsigned index) {
    simulated_thread *thread = &world.threads[index];
    skip_to_step(index);
    const action *next = action_of(index);
    static const ambit__operation_kind kinds[] = {[LOAD] = AMBIT__OP_LOAD,
                                                  [STORE] = AMBIT__OP_STORE,
                                                  [ADD] = AMBIT__OP_EXCHANGE,
                                                  [LOAD_SC] = AMBIT__OP_LOAD,
                                                  [STORE_SC] = AMBIT__OP_STORE,
                                                  [FENCE_SC] = AMBIT__OP_FENCE,
                                                  [LOCK] = AMBIT__OP_LOCK,
                                                  [UNLOCK] = AMBIT__OP_UNLOCK,
                                                  [TRY_LOCK] = AMBIT__OP_TRY_LOCK,
                                                  [WAIT] = AMBIT__OP_WAIT,
                                                  [WAIT_SPURIOUS] = AMBIT__OP_WAIT,
                                                  [WAKE] = AMBIT__OP_WAKE,
                                                  [SPIN] = AMBIT__OP_LOAD,
                                                  [JOIN_ALL] = AMBIT__OP_JOIN,
                                                  [JOIN_ANY] = AMBIT__OP_JOIN,
                                                  [POLL_ANY] = AMBIT__OP_WAIT,
                                                  [YIELD] = AMBIT__OP_YIELD,
                                                  [ADD_WEAKLY] = AMBIT__OP_COMPARE_EXCHANGE,
                                                  [END] = AMBIT__OP_EXIT};
    ambit__operation *operation = &thread->operation;
    *operation = (ambit__operation){.kind = kinds[next->kind],
                                    .thread = (uint8_t)index,
                                    .size = 4,
                                    .address = world.objects[next->variable],
                                    .deadline_ns = AMBIT__FOREVER};
    operation->writes = next->kind == ADD_WEAKLY || next->kind == STORE || next->kind == ADD ||
                        next->kind == STORE_SC;
    if (next->kind == LOAD_SC || next->kind == STORE_SC || next->kind == FENCE_SC)
        operation->order = AMBIT__SEQ_CST;
    if (next->kind == FENCE_SC) operation->address = NULL;
    if (next->kind == END || next->kind == JOIN_ALL || next->kind == JOIN_ANY)
        operation->address = &simulated_threads[index];
    wait_for(next, thread);
    simulated_threads[index].next = operation;
}

static inline void see(seen *into, const seen *other) {
    for (int i = 0; i < VARIABLES; i++)
        if (other->at_least[i] > into->at_least[i]) into->at_least[i] = other->at_least[i];
}

static inline void progress(void) {
    for (unsigned i = 0; i < world.program->threads; i++) world.threads[i].spinning = false;
}

static inline void load(simulated_thread *self, const action *of, bool sc) {
    history *at = &world.variables[of->variable];
    int lowest = self->seen.at_least[of->variable];
    if (sc && world.fences.at_least[of->variable] > lowest)
        lowest = world.fences.at_least[of->variable];
    int back = (int)world_decide(AMBIT__DECIDE_READ, (unsigned)(at->count - lowest), 0);
    self->seen.at_least[of->variable] = at->count - 1 - back;
    self->reg = at->values[at->count - 1 - back];
}

static inline void store(simulated_thread *self, int variable, int value) {
    history *at = &world.variables[variable];
    assert_true(at->count < STORES_MOST);
    self->seen.at_least[variable] = at->count;
    at->values[at->count++] = value;
    progress();
}

static inline void wake(const action *of) {
    unsigned found[AMBIT__THREADS], count = 0;
    for (unsigned i = 0; i < world.program->threads; i++)
        if (world.threads[i].waiting && !world.threads[i].woken &&
            action_of(i)->variable == of->variable)
            found[count++] = i;
    if (count) world.threads[found[world_decide(AMBIT__DECIDE_WAKE, count, 0)]].woken = true;
}

static inline void perform(unsigned index) {
    simulated_thread *self = &world.threads[index];
    const action *of = action_of(index);
    switch (of->kind) {
    case LOAD:
    case LOAD_SC:
        load(self, of, of->kind == LOAD_SC);
        break;
    case STORE:
    case STORE_SC:
        store(self, of->variable, of->value);
        break;
    case ADD_WEAKLY:
        if (world_decide(AMBIT__DECIDE_WEAK, 2, 0)) {
            announce(index);
            return;
        }
        __attribute__((fallthrough));
    case ADD:
        self->reg = world.variables[of->variable].values[world.variables[of->variable].count - 1];
        store(self, of->variable, self->reg + of->value);
        break;
    case FENCE_SC:
        see(&world.fences, &self->seen);
        self->seen = world.fences;
        break;
    case LOCK:
        world.owner[of->variable] = (int)index + 1;
        see(&self->seen, &world.released[of->variable]);
        break;
    case TRY_LOCK:
        self->reg = world.owner[of->variable] == 0;
        if (self->reg) {
            world.owner[of->variable] = (int)index + 1;
            see(&self->seen, &world.released[of->variable]);
        }
        break;
    case UNLOCK:
        world.owner[of->variable] = 0;
        world.released[of->variable] = self->seen;
        break;
    case WAIT:
    case WAIT_SPURIOUS:
        self->waiting = !self->waiting;
        if (self->waiting) {
            self->woken = false;
            announce(index);
            return;
        }
        self->reg = self->woken;
        break;
    case WAKE:
        wake(of);
        break;
    case POLL_ANY:
        self->reg = which_ended();
        break;
    case YIELD:
        if (world.strategy->demote) world.strategy->demote(index);
        break;
    case SPIN: {
        history *at = &world.variables[of->variable];
        self->reg = at->values[at->count - 1];
        self->seen.at_least[of->variable] = at->count - 1;
        if (self->reg == of->value) break;
        self->spinning = true;
        if (world.strategy->demote) world.strategy->demote(index);
        announce(index);
        return;
    }
    case END:
        self->ended = true;
        simulated_threads[index].state = AMBIT__THREAD_ENDED;
        simulated_threads[index].next = NULL;
        return;
    default:
        break;
    }
    self->regs = mixed(self->regs, (uint64_t)self->reg);
    self->next++;
    announce(index);
}

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

/* The same for all orders of the same steps that differ only where they do not meet: always the lowest thread
 * whose step meets none that is still to come before it. */
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
