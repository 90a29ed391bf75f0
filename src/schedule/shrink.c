/* A shorter schedule that fails in the same way: what is in the table should be there for a reason.
 *
 * A schedule is taken as turns (so many steps of a thread) and surprises (what was decided
 * otherwise than usual, by whom, at which of its steps), because a list of decisions has no meaning
 * any more once one in the middle is gone. Four kinds of change are tried, greedily, until none
 * helps or enough was tried:
 *   1. One switch less from a thread that could go on: its next turn comes at once; or this turn
 *   joins
 *      the next one; or its turns are all that is left of it.
 *   2. Fewer surprises: all of them away, a half, a quarter, and so on down to each (Zeller and
 *   Hildebrandt,
 *      Simplifying and Isolating Failure-Inducing Input, 2002).
 *   3. Fewer steps: a turn away, or half of it, then one step less.
 *   4. A smaller surprise: a store that is not as old.
 * A change stays if the schedule fails at the same places and is simpler: fewer such switches, else
 * fewer surprises, else fewer steps, else fewer turns, else smaller surprises. Nothing is random:
 * the same comes out each time. */
#include <stdio.h>
#include <stdlib.h>

#include "schedule/report.h"

#define TRIES_MOST 2000
#define STEPS_MOST UINT64_C(4000000) /* of all tries, for schedules that are long */

typedef struct turn {
    uint8_t thread;
    bool preempts; /* the one before could have gone on */
    uint32_t steps;
} turn;

/* The `nth` decision of this kind in this step of the thread. */
typedef struct surprise {
    uint8_t thread, kind, nth, chosen;
    uint32_t step;
} surprise;

typedef struct plan {
    turn *turns;
    size_t turn_count, turn_room;
    surprise *surprises;
    size_t surprise_count, surprise_room;
} plan;

typedef struct cost {
    size_t preemptions, surprises;
    uint64_t steps;
    size_t turns, sizes; /* sizes: of surprises */
} cost;

static plan best, tried, taken; /* `taken`: what became of `tried` as it was played */
static cost best_cost, taken_cost;
static ambit__written *best_decisions;
static size_t best_count, decisions_most;
static unsigned tries;
static uint64_t tried_steps;

/* ---- Plans ----------------------------------------------------------------------------------- */

static void *room_for(void *array, size_t count, size_t *room, size_t size) {
    if (count <= *room) return array;
    *room = count * 2;
    void *grown = realloc(array, *room * size);
    if (!grown) {
        (void)fputs("ambit::schedule: no memory for a shorter schedule\n", stderr);
        abort();
    }
    return grown;
}

static void clear(plan *of) { of->turn_count = of->surprise_count = 0; }

static void add_turn(plan *to, turn added) {
    if (added.steps == 0) return;
    turn *last = to->turn_count ? &to->turns[to->turn_count - 1] : NULL;
    if (last && last->thread == added.thread) {
        last->steps += added.steps;
        return;
    }
    to->turns = room_for(to->turns, to->turn_count + 1, &to->turn_room, sizeof *to->turns);
    to->turns[to->turn_count++] = added;
}

static void add_surprise(plan *to, surprise added) {
    to->surprises =
        room_for(to->surprises, to->surprise_count + 1, &to->surprise_room, sizeof *to->surprises);
    to->surprises[to->surprise_count++] = added;
}

static void copy_plan(plan *to, const plan *from) {
    clear(to);
    for (size_t i = 0; i < from->turn_count; i++) add_turn(to, from->turns[i]);
    for (size_t i = 0; i < from->surprise_count; i++) add_surprise(to, from->surprises[i]);
}

/* ---- Playing a plan -------------------------------------------------------------------------- */

static bool follows; /* the first time the decisions are followed, to see what the plan is */
static size_t turn_at;
static uint32_t turn_left;
static uint32_t steps_of[AMBIT__THREADS];
static uint8_t asked[AMBIT__THREADS][AMBIT__DECIDE_USER + 1]; /* in the step of each thread */
static bool preempts;
static size_t matter; /* so many decisions: those behind are usual, and need not be written */

static void begin(uint64_t seed) {
    if (follows) ambit__strategy_follow.begin(seed);
    clear(&taken);
    taken_cost = (cost){0};
    turn_at = 0;
    turn_left = tried.turn_count ? tried.turns[0].steps : 0;
    memset(steps_of, 0, sizeof steps_of);
    memset(asked, 0, sizeof asked);
    preempts = false;
    matter = 0;
}

static void next_turn(void) {
    turn_at++;
    turn_left = turn_at < tried.turn_count ? tried.turns[turn_at].steps : 0;
}

static bool waits(unsigned thread) {
    const ambit__operation *announced = ambit__threads[thread].next;
    return announced && announced->ready && !announced->ready(announced->argument);
}

static unsigned planned(uint32_t enabled, unsigned current) {
    while (turn_at < tried.turn_count && !(enabled >> tried.turns[turn_at].thread & 1)) next_turn();
    if (turn_at < tried.turn_count) return tried.turns[turn_at].thread;
    return enabled >> current & 1 ? current : (unsigned)__builtin_ctz(enabled);
}

static unsigned pick(uint32_t enabled, unsigned current) {
    unsigned chosen =
        follows ? ambit__strategy_follow.pick(enabled, current) : planned(enabled, current);
    if (chosen != (enabled >> current & 1 ? current : (unsigned)__builtin_ctz(enabled)))
        matter = ambit__decision_count + 1;
    preempts = chosen != current && enabled >> current & 1 && !waits(current);
    return chosen;
}

static unsigned planned_surprise(unsigned thread, ambit__decision kind, unsigned nth,
                                 unsigned usual) {
    for (size_t i = 0; i < tried.surprise_count; i++) {
        const surprise *at = &tried.surprises[i];
        if (at->thread == thread && at->step == steps_of[thread] && at->kind == kind &&
            at->nth == nth)
            return at->chosen;
    }
    return usual;
}

/* Those that wait come early when it is their turn. */
static unsigned decide_early(void) {
    if (turn_at == tried.turn_count) return 0;
    unsigned thread = tried.turns[turn_at].thread;
    return ambit__threads[thread].state == AMBIT__THREAD_LIVE && waits(thread);
}

static unsigned decide(ambit__decision kind, unsigned count, unsigned usual) {
    unsigned thread = ambit__self->index, nth = asked[thread][kind]++, chosen;
    if (follows)
        chosen = ambit__strategy_follow.decide(kind, count, usual);
    else if (kind == AMBIT__DECIDE_EARLY)
        chosen = decide_early();
    else
        chosen = planned_surprise(thread, kind, nth, usual);
    if (chosen >= count) chosen = usual;
    if (chosen != usual) matter = ambit__decision_count + 1;
    if (chosen == usual || kind == AMBIT__DECIDE_EARLY) return chosen;
    taken_cost.sizes += chosen;
    add_surprise(&taken, (surprise){.thread = (uint8_t)thread,
                                    .kind = (uint8_t)kind,
                                    .nth = (uint8_t)nth,
                                    .chosen = (uint8_t)chosen,
                                    .step = steps_of[thread]});
    return chosen;
}

static void stepped(const ambit__operation *operation) {
    unsigned thread = operation->thread;
    steps_of[thread]++;
    memset(asked[thread], 0, sizeof asked[thread]);
    taken_cost.steps++;
    taken_cost.preemptions += preempts;
    /* What comes early, or for nothing, is a surprise too. */
    if (operation->ready && !operation->ready(operation->argument)) taken_cost.surprises++;
    add_turn(&taken, (turn){.thread = (uint8_t)thread, .preempts = preempts, .steps = 1});
    preempts = false;
    if (turn_at < tried.turn_count && tried.turns[turn_at].thread == thread && --turn_left == 0)
        next_turn();
}

static const ambit__strategy strategy_plan = {.name = "plan",

                                              .begin = begin,
                                              .pick = pick,
                                              .decide = decide,
                                              .stepped = stepped};

/* ---- Trying ---------------------------------------------------------------------------------- */

static struct {
    ambit_schedule_fn *run;
    void *argument;
    ambit_schedule_failure failure;
    const void *site, *other_site;
} scenario;

/* Two that race may be found in either order. */
static bool fails_the_same(void) {
    const ambit__finding *found = &ambit__found;
    if (found->failure != scenario.failure) return false;
    return (found->site == scenario.site && found->other_site == scenario.other_site) ||
           (found->site == scenario.other_site && found->other_site == scenario.site);
}

static bool is_simpler(const cost *one, const cost *than) {
    if (one->preemptions != than->preemptions) return one->preemptions < than->preemptions;
    if (one->surprises != than->surprises) return one->surprises < than->surprises;
    if (one->steps != than->steps) return one->steps < than->steps;
    if (one->turns != than->turns) return one->turns < than->turns;
    return one->sizes < than->sizes;
}

static void keep_taken(void) {
    copy_plan(&best, &taken);
    best_cost = taken_cost;
    best_count = matter;
    memcpy(best_decisions, ambit__decisions, best_count * sizeof *best_decisions);
}

static bool is_enough(void) { return tries >= TRIES_MOST || tried_steps >= STEPS_MOST; }

/* Plays `tried`; true if it is the best now. */
static bool try_it(void) {
    if (is_enough()) return false;
    bool clean = ambit__play(&strategy_plan, 0, scenario.run, scenario.argument);
    tries++;
    tried_steps += taken_cost.steps;
    taken_cost.surprises += taken.surprise_count;
    taken_cost.turns = taken.turn_count;
    if (clean || !fails_the_same() || !is_simpler(&taken_cost, &best_cost)) return false;
    if (matter > decisions_most) return false; /* there is no room for it */
    keep_taken();
    return true;
}

/* ---- Fewer switches -------------------------------------------------------------------------- */

static size_t next_of(unsigned thread, size_t from) {
    while (from < best.turn_count && best.turns[from].thread != thread) from++;
    return from;
}

/* The best plan with the steps of the turn `from` moved to the turn `to`. */
static void move_turn(size_t from, size_t to) {
    clear(&tried);
    for (size_t i = 0; i < best.turn_count; i++) {
        turn at = best.turns[i];
        if (i == from) continue;
        if (i == to) at.steps += best.turns[from].steps;
        add_turn(&tried, at);
    }
    for (size_t i = 0; i < best.surprise_count; i++) add_surprise(&tried, best.surprises[i]);
}

/* Thread of the turn `at` goes on as far as it can. */
static void run_on(size_t at) {
    clear(&tried);
    for (size_t i = 0; i < best.turn_count; i++) {
        turn copy = best.turns[i];
        if (i == at) copy.steps = UINT32_MAX / 2;
        if (i <= at || copy.thread != best.turns[at].thread) add_turn(&tried, copy);
    }
    for (size_t i = 0; i < best.surprise_count; i++) add_surprise(&tried, best.surprises[i]);
}

static bool without_switch(size_t index) {
    size_t before = index - 1, later = next_of(best.turns[before].thread, index);
    if (later < best.turn_count) {
        move_turn(later, before);
        if (try_it()) return true;
        move_turn(before, later);
        if (try_it()) return true;
    }
    run_on(before);
    return try_it();
}

static bool fewer_switches(void) {
    bool helped = false;
    for (size_t i = 1; i < best.turn_count && !is_enough();) {
        bool now = best.turns[i].preempts && without_switch(i);
        helped |= now;
        if (!now) i++;
    }
    return helped;
}

/* ---- Fewer surprises ------------------------------------------------------------------------- */

static bool without_surprises(size_t from, size_t count) {
    copy_plan(&tried, &best);
    tried.surprise_count = 0;
    for (size_t i = 0; i < best.surprise_count; i++)
        if (i < from || i >= from + count) add_surprise(&tried, best.surprises[i]);
    return try_it();
}

static bool fewer_surprises(void) {
    bool helped = false;
    for (size_t count = best.surprise_count; count && !is_enough(); count /= 2)
        for (size_t from = 0; from < best.surprise_count;) {
            bool now = without_surprises(from, count);
            helped |= now;
            if (!now) from += count;
        }
    return helped;
}

/* ---- Fewer steps ----------------------------------------------------------------------------- */

static bool with_turn_of(size_t index, uint32_t steps) {
    clear(&tried);
    for (size_t i = 0; i < best.turn_count; i++) {
        turn at = best.turns[i];
        if (i == index) at.steps = steps;
        add_turn(&tried, at);
    }
    for (size_t i = 0; i < best.surprise_count; i++) add_surprise(&tried, best.surprises[i]);
    return try_it();
}

static bool fewer_steps(void) {
    bool helped = false;
    for (size_t i = best.turn_count; i-- > 0 && !is_enough();) {
        if (i >= best.turn_count) continue;
        uint32_t steps = best.turns[i].steps;
        helped |= with_turn_of(i, 0) || (steps > 2 && with_turn_of(i, steps / 2)) ||
                  (steps > 1 && with_turn_of(i, steps - 1));
    }
    return helped;
}

/* ---- Smaller surprises ----------------------------------------------------------------------- */

static bool smaller_surprises(void) {
    bool helped = false;
    for (size_t i = 0; i < best.surprise_count && !is_enough(); i++) {
        copy_plan(&tried, &best);
        for (unsigned chosen = 1; chosen < best.surprises[i].chosen; chosen++) {
            tried.surprises[i].chosen = (uint8_t)chosen;
            if (!try_it()) continue;
            helped = true;
            break;
        }
    }
    return helped;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* What the decisions do, as a plan. False: they do not fail. */
static bool start(const ambit__written *decisions, size_t count) {
    ambit__follow_set(decisions, count);
    clear(&tried);
    follows = true;
    bool clean = ambit__play(&strategy_plan, 0, scenario.run, scenario.argument);
    follows = false;
    if (clean || matter > decisions_most) return false;
    scenario.failure = ambit__found.failure;
    scenario.site = ambit__found.site;
    scenario.other_site = ambit__found.other_site;
    taken_cost.surprises += taken.surprise_count;
    taken_cost.turns = taken.turn_count;
    keep_taken();
    return true;
}

bool ambit__shrink(ambit_schedule_fn *run, void *argument, ambit__written *decisions,
                   size_t *count) {
    scenario.run = run;
    scenario.argument = argument;
    tries = 0;
    tried_steps = 0;
    decisions_most = *count;
    best_decisions = realloc(best_decisions, (*count + 1) * sizeof *best_decisions);
    if (!best_decisions) return false;
    if (!start(decisions, *count)) return false;
    for (bool helped = true; helped;) {
        /* Each may make room for the others. */
        helped = fewer_switches();
        helped |= fewer_surprises();
        helped |= fewer_steps();
        helped |= smaller_surprises();
    }
    ambit__follow_set(best_decisions, best_count);
    if (ambit__play(&ambit__strategy_follow, 0, run, argument) || !fails_the_same()) return true;
    memcpy(decisions, best_decisions, best_count * sizeof *decisions);
    *count = best_count;
    return true;
}
