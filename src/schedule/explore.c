/* Every schedule, up to the order of steps that do not meet (explore_meet.h says which do).
 *
 * A depth-first search over decisions, without a copy of any state: a schedule repeats the
 * decisions of the one before up to the last that has another way to go, takes that, and goes on as
 * it likes. What is kept between schedules is the path: a node for each step, a choice for each
 * other decision.
 *
 * WITHOUT A BOUND: dynamic partial-order reduction (Flanagan and Godefroid, POPL 2005) with source
 * sets (Abdulla, Aronis, Jonsson, Sagonas, POPL 2014) and sleep sets (Godefroid 1996). When a step
 * is taken that meets an earlier one of another thread, and nothing between orders the two, they
 * could come the other way round: then in front of the earlier one a thread is tried with which
 * such an order begins, unless one of these is to be tried there already. It is looked for when the
 * later step is taken and not when it is announced, since with sleep sets it matters what else came
 * between; for those that wait to the very end, at the end. A thread that was tried in front of a
 * step sleeps until a step meets what it is about to do: until then the orders that begin with it
 * are known. Where all that could go on sleep, the schedule is of a known kind; it is played to its
 * end, since it runs already, and nothing is learned from it.
 *   Other decisions (which store a load sees, who is woken) belong to the step before them, and all
 * their values are tried before its thread counts as tried.
 *
 * WITH A BOUND ON PREEMPTIONS: plain search (Musuvathi and Qadeer, PLDI 2007), which needs no
 * proof. The bound takes away schedules that the reduction counts on, so that with it the reduction
 * would have to try more threads at more nodes (Coons, Musuvathi, McKinley, OOPSLA 2013), and sleep
 * sets would be wrong. A preemption is a switch away from a thread that could go on and has neither
 * yielded nor been found spinning.
 *
 * WHAT IS LEFT OUT, on purpose, or there would be no end:
 *   - A thread that spins is not there while others can run; its rounds that see nothing new are
 *     one.
 *   - A weak exchange does not fail for nothing twice in a row in a thread, nor do more waits end
 *     for nothing in a schedule than step.c allows.
 *   - Stores stand in modification order as they are executed (inside.h: ambit__stores_are_placed).
 *   - Time: timers that are due soon may come at any step, others when all wait; see
 *     explore_meet.c. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedule/explore_meet.h"

#define NOBODY UINT8_MAX

/* A step of the path. Masks are of threads. */
typedef struct node {
    uint8_t thread;  /* that takes it in the schedules being played */
    uint8_t enabled; /* could have */
    uint8_t live;
    uint8_t asleep;       /* known without being tried: from nodes above */
    uint8_t wanted;       /* to be tried */
    uint8_t tried;        /* and all that follows was seen */
    uint8_t going;        /* bounded search: another one than this is a preemption */
    uint32_t preemptions; /* bounded search: before it */
    ambit__touch touch;
    /* For each thread the number of steps, by its last step of which this one knows: the order that
     * meeting makes, which has nothing to do with that of memory. */
    uint32_t clock[AMBIT__THREADS];
    /* Before it, a step's number + 1: each thread's last one, or that which made it; and a later
     * one that let it go on with what it waits for. */
    uint32_t last[AMBIT__THREADS], woken[AMBIT__THREADS];
} node;

/* Another decision. */
typedef struct choice {
    uint32_t step; /* so many steps were taken before */
    uint8_t kind, count, usual;
    uint8_t number; /* 0: the usual one; then the others, upwards */
} choice;

static node *nodes;
static choice *choices;
static size_t node_count, node_room, choice_count, choice_room;
static unsigned bound;
static bool ended_early; /* the last one, before the way that it should take */

/* Of the schedule under way. */
static size_t step, chosen_count;
static size_t repeated; /* so many steps are as in the one before */
static bool known;      /* nothing is learned from the rest */
static uint8_t slow;    /* threads that yielded just now */
static uint8_t failed_weakly;

void ambit__explore_set(unsigned preemptions) {
    bound = preemptions;
    ended_early = false;
    node_count = choice_count = repeated = 0;
}

static void begin(uint64_t seed) {
    (void)seed;
    step = chosen_count = 0;
    known = false;
    slow = failed_weakly = 0;
}

static void *room_for(void *array, size_t count, size_t *room, size_t size) {
    if (count < *room) return array;
    *room = *room ? *room * 2 : 1024;
    void *grown = realloc(array, *room * size);
    if (!grown) {
        (void)fputs("ambit::schedule: no memory for the schedules yet to be tried\n", stderr);
        abort();
    }
    return grown;
}

static uint8_t bit(unsigned thread) { return (uint8_t)(1u << thread); }
static bool has(uint32_t mask, unsigned thread) { return mask >> thread & 1; }

static void diverged(const char *what) {
    ambit__fail(AMBIT_SCHEDULE_DIVERGED, NULL, NULL,
                "the same decisions went another way, at step %zu: %s. The code depends on "
                "addresses, on real "
                "time, or on what an earlier schedule left behind",
                step + 1, what);
}

/* ---- What threads are about to do ------------------------------------------------------------ */

static uint8_t live_threads(const ambit__operation *taken) {
    uint8_t live = 0;
    for (unsigned i = 0; i < ambit__thread_count; i++)
        if (ambit__threads[i].state == AMBIT__THREAD_LIVE &&
            (ambit__threads[i].next || (taken && taken->thread == i)))
            live |= bit(i);
    return live;
}

/* `taken` is announced no more. */
static const ambit__operation *next_of(unsigned thread, const ambit__operation *taken) {
    return taken && taken->thread == thread ? taken : ambit__threads[thread].next;
}

static bool waits(const ambit__operation *operation) {
    return operation->ready && !operation->ready(operation->argument);
}

/* ---- Partial-order reduction ----------------------------------------------------------------- */

/* What this thread knows before the step at `at`. */
static void clock_before(const node *at, unsigned thread, uint32_t clock[AMBIT__THREADS]) {
    memset(clock, 0, AMBIT__THREADS * sizeof *clock);
    if (at->last[thread])
        memcpy(clock, nodes[at->last[thread] - 1].clock, AMBIT__THREADS * sizeof *clock);
}

static void join(uint32_t clock[AMBIT__THREADS], const uint32_t other[AMBIT__THREADS]) {
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (other[i] > clock[i]) clock[i] = other[i];
}

/* In front of step `index` one of `of` has to be tried; if there is none that can, all that can. */
static void want(size_t index, uint8_t of, unsigned rather) {
    node *at = &nodes[index];
    of &= at->enabled;
    if (!of)
        at->wanted |= at->enabled;
    else if (!(of & (at->wanted | at->asleep)))
        at->wanted |= has(of, rather) ? bit(rather) : (uint8_t)(of & -of);
}

/* The threads that could come first in front of step `index` if all up to step `end` happened that
 * does not know of it, and `end`: that other order of things begins with any of these. */
static uint8_t initials(size_t index, size_t end) {
    size_t first[AMBIT__THREADS]; /* of each thread's steps without it */
    uint8_t found = 0;
    for (unsigned i = 0; i < AMBIT__THREADS; i++) first[i] = SIZE_MAX;
    for (size_t i = index + 1; i <= end; i++) {
        const node *later = &nodes[i];
        bool knows_it = i != end && index < later->clock[nodes[index].thread];
        if (knows_it || first[later->thread] != SIZE_MAX) continue;
        first[later->thread] = i;
        bool knows_none = true;
        for (unsigned other = 0; other < AMBIT__THREADS; other++)
            if (other != later->thread && first[other] < later->clock[other]) knows_none = false;
        if (knows_none) found |= bit(later->thread);
    }
    return found;
}

/* What `waiting` is about to do has to come after step `index`, since only then it could be done:
 * it waited already, for something that this step has changed. Something else might have let it go
 * on; but that would have to meet the step, as both are about the one thing it waits for, and is
 * found by itself. And a spinning thread has seen in the rounds before what it would see now. */
static bool is_bound_to(size_t index, const node *waiting, bool for_one) {
    return waiting->last[waiting->thread] <= index && for_one &&
           !has(nodes[index].enabled, waiting->thread);
}

/* Each step that this one meets, and that neither its thread nor a later one that it meets knows
 * of, might as well come after it. */
static void look_for_races(size_t index, const ambit__operation *operation) {
    const node *at = &nodes[index];
    bool for_one = !operation->ready || ambit__waits_for_one(operation);
    uint32_t clock[AMBIT__THREADS];
    clock_before(at, at->thread, clock);
    if (at->woken[at->thread]) join(clock, nodes[at->woken[at->thread] - 1].clock);
    for (size_t i = index; i-- > 0;) {
        const node *earlier = &nodes[i];
        if (i < clock[earlier->thread] || !ambit__touches_meet(&earlier->touch, &at->touch) ||
            ambit__never_together(&earlier->touch, &at->touch) || is_bound_to(i, at, for_one))
            continue;
        want(i, initials(i, index), at->thread);
        /* Only where it could really come before this step is that order the way to those
         * before. */
        if (!operation->ready) join(clock, earlier->clock);
    }
}

/* Whom the step before has made, or has let go on without naming what they wait for. */
static void follow_last(size_t index, const ambit__touch touches[], const ambit__operation *taken) {
    node *at = &nodes[index];
    const node *before = &nodes[index - 1];
    memcpy(at->last, before->last, sizeof at->last);
    memcpy(at->woken, before->woken, sizeof at->woken);
    at->last[before->thread] = (uint32_t)index;
    at->woken[before->thread] = 0;
    for (unsigned i = 0; i < AMBIT__THREADS; i++) {
        if (!has(at->live, i) || i == before->thread) continue;
        const ambit__operation *next = next_of(i, taken);
        if (!has(before->live, i)) {
            at->last[i] = (uint32_t)index;
            at->woken[i] = 0;
        } else if (has(at->enabled & ~before->enabled, i) && next->ready &&
                   !ambit__touches_meet(&before->touch, &touches[i]) && !waits(next)) {
            at->woken[i] = (uint32_t)index;
            nodes[index - 1].wanted |= before->enabled;
        }
    }
}

static void reduce(size_t index, const ambit__operation *taken) {
    if (index == 0) return;
    node *at = &nodes[index];
    const node *before = &nodes[index - 1];
    ambit__touch touches[AMBIT__THREADS];
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (has(at->live, i)) ambit__touch_of(next_of(i, taken), &touches[i]);
    follow_last(index, touches, taken);
    uint8_t asleep = before->asleep | before->tried;
    asleep &= at->enabled & before->live & (uint8_t)~bit(before->thread);
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (has(asleep, i) && !ambit__touches_meet(&before->touch, &touches[i]))
            at->asleep |= bit(i);
}

/* `at` is the step of this operation. */
static void place(size_t index, const ambit__operation *operation) {
    node *at = &nodes[index];
    at->thread = operation->thread;
    ambit__touch_of(operation, &at->touch);
    clock_before(at, at->thread, at->clock);
    if (at->woken[at->thread]) join(at->clock, nodes[at->woken[at->thread] - 1].clock);
    for (size_t i = index; i-- > 0;)
        if (i >= at->clock[nodes[i].thread] && ambit__touches_meet(&nodes[i].touch, &at->touch))
            join(at->clock, nodes[i].clock);
    at->clock[at->thread] = (uint32_t)index + 1;
    look_for_races(index, operation);
}

/* The schedule has ended. Those that wait for ever, or are daemons, would have met something too.
 * Their operations are on stacks that nobody has used since. */
static void place_those_that_wait(void) {
    nodes = room_for(nodes, node_count, &node_room, sizeof *nodes);
    nodes[node_count] = (node){.live = live_threads(NULL)};
    reduce(node_count, NULL);
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (has(nodes[node_count].live, i)) place(node_count, ambit__threads[i].next);
}

/* ---- The strategy ---------------------------------------------------------------------------- */

/* Whoever goes on without a surprise: the same thread, neither early nor just after it has
 * yielded. */
static unsigned usual_thread(uint8_t among, unsigned current) {
    uint8_t best = 0;
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (has(among, i) && !waits(ambit__threads[i].next)) best |= bit(i);
    if (!best) best = among;
    if (best & ~slow) best &= (uint8_t)~slow;
    return has(best, current) ? current : (unsigned)__builtin_ctz(best);
}

/* The bounded search: whom the bound allows. */
static void limit(size_t index, unsigned current) {
    node *at = &nodes[index];
    if (index) {
        const node *before = &nodes[index - 1];
        at->preemptions = before->preemptions;
        if (before->going != NOBODY && before->thread != before->going) at->preemptions++;
    }
    at->going = NOBODY;
    if (has(at->enabled, current) && at->enabled != bit(current) && !has(slow, current) &&
        !waits(ambit__threads[current].next))
        at->going = (uint8_t)current;
    bool may = at->going == NOBODY || at->preemptions < bound;
    at->wanted = may ? at->enabled : bit(current);
}

/* Makes the node of a step that no schedule has taken yet. `taken`: there is nothing to pick. */
static void look(uint32_t enabled, unsigned current, const ambit__operation *taken) {
    nodes = room_for(nodes, node_count, &node_room, sizeof *nodes);
    node *at = &nodes[node_count];
    *at = (node){.enabled = (uint8_t)enabled, .live = live_threads(taken)};
    if (bound)
        limit(node_count, current);
    else
        reduce(node_count, taken);
    uint8_t awake = (uint8_t)(at->enabled & ~at->asleep);
    known = !awake;
    if (known) return;
    node_count++;
    if (bound) awake = at->wanted;
    at->thread = (uint8_t)(taken ? taken->thread : usual_thread(awake, current));
    at->wanted |= bit(at->thread);
}

static unsigned pick(uint32_t enabled, unsigned current) {
    if (!known && step == node_count) look(enabled, current, NULL);
    if (known) return usual_thread((uint8_t)enabled, current);
    if (nodes[step].enabled != enabled) diverged("other threads can run");
    return nodes[step].thread;
}

static void stepped(const ambit__operation *operation) {
    unsigned thread = operation->thread;
    if (ended_early) diverged("the schedule had ended before");
    if (!known && step == node_count) look(bit(thread), thread, operation);
    slow = 0;
    if (known) return;
    node *at = &nodes[step];
    if (at->thread != thread) diverged("another thread goes on");
    if (step < repeated) {
        ambit__touch touch;
        ambit__touch_of(operation, &touch);
        if (!ambit__touches_same(&touch, &at->touch)) diverged("it does something else");
    } else if (!bound) {
        place(step, operation);
    } else {
        ambit__touch_of(operation, &at->touch);
    }
    step++;
}

static void demote(unsigned thread) { slow |= bit(thread); }

static unsigned value_of(const choice *of) {
    if (of->number == 0) return of->usual;
    return of->number - 1u < of->usual ? of->number - 1u : of->number;
}

static unsigned choose(ambit__decision kind, unsigned count, unsigned usual) {
    if (chosen_count == choice_count) {
        choices = room_for(choices, choice_count, &choice_room, sizeof *choices);
        choices[choice_count++] = (choice){.step = (uint32_t)step,
                                           .kind = (uint8_t)kind,
                                           .count = (uint8_t)count,
                                           .usual = (uint8_t)usual};
    }
    const choice *at = &choices[chosen_count];
    if (at->step != step || at->kind != kind || at->count != count || at->usual != usual)
        diverged("there is something else to be decided");
    chosen_count++;
    return value_of(at);
}

static unsigned decide(ambit__decision kind, unsigned count, unsigned usual) {
    if (known) return usual;
    /* Those that may come early are threads like others: picking says whether they come. */
    if (kind == AMBIT__DECIDE_EARLY) return 1;
    if (kind != AMBIT__DECIDE_WEAK) return choose(kind, count, usual);
    uint8_t self = bit(ambit__self->index);
    unsigned chosen = usual;
    if (!(failed_weakly & self)) chosen = choose(kind, count, usual);
    if (chosen == usual)
        failed_weakly &= (uint8_t)~self;
    else
        failed_weakly |= self;
    return chosen;
}

/* The last decision that has another way to go takes it; what came after is forgotten. */
static bool advance(void) {
    while (node_count || choice_count) {
        if (choice_count && choices[choice_count - 1].step == node_count) {
            choice *last = &choices[choice_count - 1];
            repeated = node_count;
            if (++last->number < last->count) return true;
            choice_count--;
            continue;
        }
        node *last = &nodes[node_count - 1];
        last->tried |= bit(last->thread);
        uint8_t left = (uint8_t)(last->wanted & ~last->tried & ~last->asleep);
        repeated = node_count - 1;
        last->thread = (uint8_t)__builtin_ctz(left | 1u << AMBIT__THREADS);
        if (left) return true;
        node_count--;
    }
    return false;
}

static bool finish(void) {
    /* It can be told only by a schedule: the next one does. */
    ended_early = !known && (step < node_count || chosen_count < choice_count) &&
                  ambit__found.failure == AMBIT_SCHEDULE_CLEAN;
    if (ended_early) return true;
    if (!known && !bound) place_those_that_wait();
    return advance();
}

const ambit__strategy ambit__strategy_explore = {.name = "exhaustive",
                                                 .begin = begin,
                                                 .pick = pick,
                                                 .decide = decide,
                                                 .stepped = stepped,
                                                 .demote = demote,
                                                 .finish = finish};
