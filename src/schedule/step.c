/* Steps: which thread comes next, who waits, what time it is, and how a schedule fails.
 *
 * A thread that is not running has announced its next operation, so that at each pick all that
 * could happen is known. Whether a waiting one may go is asked of its `ready`, and not told by
 * whoever changed something: nobody can forget to tell.
 *
 * TIME moves when the clock is read, and when all wait: then to the earliest deadline. It may also
 * jump to a deadline while others run, if that is near: a program must not rely on being faster
 * than its timers. Loops that only read (spin locks, waiting for a flag) are left out while another
 * thread can run, since the strategy might choose them for ever; what they loop for is another's
 * change. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedule/host.h"
#include "schedule/inside.h"

#define BEGINNING (1000 * INT64_C(1000000000)) /* so that subtracting from it is no surprise */
#define SPIN_PATIENCE 8                        /* reads of the same, since it changed anything */
#define SPIN_PATIENCE_ALL 2                    /* of a strategy that tries every choice */
#define IDLE_PATIENCE 64                       /* picks of those that spin, before time passes */
#define IDLE_END 4096                          /* and before that is an end */
#define LOOP_SHORT 200                         /* steps of a loop that goes on alone */
#define LOOP_LONG 2000                         /* the same, which is rarer */
#define SPURIOUS_MOST 2                        /* of a schedule */

ambit__schedule_thread *ambit__self;
ambit__schedule_thread ambit__threads[AMBIT__THREADS];
unsigned ambit__thread_count;
volatile uint64_t ambit__step_total;
bool ambit__recording;
ambit__finding ambit__found;
ambit__operation *ambit__rows;
size_t ambit__row_count;
ambit__written *ambit__decisions;
size_t ambit__decision_count;

static size_t row_room, decision_room;
static const ambit__strategy *strategy;
static uint64_t steps, hash, steps_alone;
static int64_t now_ns, clock_advance_ns;
static unsigned idle_picks, spurious_wakes;
static bool timed_out[AMBIT__THREADS];

/* ---- What is written down -------------------------------------------------------------------- */

static void *grow(void *array, size_t *room, size_t size) {
    *room = *room ? *room * 2 : 4096;
    void *grown = __real_realloc(array, *room * size);
    if (!grown) {
        (void)fprintf(stderr, "ambit::schedule: no memory for the schedule's steps\n");
        abort();
    }
    return grown;
}

static void mix(uint64_t what) { hash = (hash ^ what) * UINT64_C(0x100000001b3); }

static void write_decision(ambit__decision kind, unsigned count, unsigned chosen) {
    if (ambit__decision_count == decision_room)
        ambit__decisions = grow(ambit__decisions, &decision_room, sizeof *ambit__decisions);
    ambit__decisions[ambit__decision_count++] =
        (ambit__written){(uint8_t)kind, (uint8_t)count, (uint8_t)chosen};
}

static size_t write_row(const ambit__operation *operation) {
    if (ambit__row_count == row_room)
        ambit__rows = grow(ambit__rows, &row_room, sizeof *ambit__rows);
    ambit__operation *row = &ambit__rows[ambit__row_count];
    *row = *operation;
    row->thread = ambit__self->index;
    row->time_ns = now_ns;
    return ambit__row_count++;
}

void ambit__tell(const ambit__operation *operation) {
    if (ambit__recording && ambit__self) (void)write_row(operation);
}

void ambit__filled(const ambit__operation *operation) {
    if (!ambit__recording) return;
    ambit__operation *row = &ambit__rows[operation->row];
    row->value = operation->value;
    row->before = operation->before;
    row->failed = operation->failed;
    row->stale = operation->stale;
    row->order = operation->order;
}

/* ---- Time ------------------------------------------------------------------------------------ */

int64_t ambit__now(void) { return now_ns; }

int64_t ambit__read_clock(void) {
    /* Who reads the clock again and again, and does nothing else, waits for time to pass. */
    ambit__spin_reads((uint64_t)(uintptr_t)&now_ns);
    if (ambit__self && (ambit__self->spinning || ambit__self->spin_repeats >= SPIN_PATIENCE)) {
        if (clock_advance_ns < INT64_C(1000000000)) clock_advance_ns *= 2;
    } else {
        clock_advance_ns = 1;
    }
    return now_ns += clock_advance_ns;
}

/* ---- Spinning -------------------------------------------------------------------------------- */

void ambit__spin(void) {
    if (!ambit__self) return;
    ambit__self->spinning = true;
    /* Each time: among those that spin the others come first, or one would be picked for ever. */
    if (strategy->demote) strategy->demote(ambit__self->index);
}

/* A loop is noticed: does it go on alone? */
static void decide_loop(ambit__schedule_thread *self) {
    if (!self->loop_decided && ambit__stores_are_placed()) {
        uint64_t left = (ambit__options->steps - steps) / 8;
        self->loop_decided = true;
        uint64_t most[] = {0, LOOP_SHORT, LOOP_LONG};
        uint64_t wanted = most[ambit__decide(AMBIT__DECIDE_LOOP, 3, 0)];
        self->loops_until = steps + (wanted < left ? wanted : left);
    }
}

void ambit__loops(void) {
    if (!ambit__self) return;
    decide_loop(ambit__self);
    if (steps >= ambit__self->loops_until) ambit__spin();
}

void ambit__spin_reads(uint64_t what) {
    ambit__schedule_thread *self = ambit__self;
    if (!self) return;
    what = what * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (unsigned i = 0; i < self->spin_count; i++) {
        if (self->spin_seen[i] != what) continue;
        unsigned patience = ambit__stores_are_placed() ? SPIN_PATIENCE : SPIN_PATIENCE_ALL;
        decide_loop(self);
        if (++self->spin_repeats >= patience) ambit__loops();
        return;
    }
    /* Something new: what it was waiting for, perhaps. */
    self->spinning = false;
    self->spin_repeats = 0;
    if (self->spin_count == AMBIT__SPIN_SEEN) self->spin_count = 0;
    self->spin_seen[self->spin_count++] = what;
}

void ambit__progress(void) {
    idle_picks = 0;
    for (unsigned i = 0; i < ambit__thread_count; i++) ambit__threads[i].spinning = false;
    if (!ambit__self) return;
    ambit__self->spin_count = 0;
    ambit__self->spin_repeats = 0;
    ambit__self->loop_decided = false;
    ambit__self->loops_until = 0;
}

/* ---- Picking --------------------------------------------------------------------------------- */

typedef struct candidates {
    uint32_t ready, early, spinning;
    bool waiting; /* somebody waits who is not a daemon */
    int64_t earliest;
} candidates;

static void ask_all(candidates *found) {
    *found = (candidates){.earliest = AMBIT__FOREVER};
    for (unsigned i = 0; i < ambit__thread_count; i++) {
        const ambit__schedule_thread *thread = &ambit__threads[i];
        if (thread->state != AMBIT__THREAD_LIVE) continue;
        const ambit__operation *next = thread->next;
        bool reached =
            next->ready && next->deadline_ns != AMBIT__FOREVER && next->deadline_ns <= now_ns;
        bool ready = !next->ready || next->ready(next->argument);
        timed_out[i] = !ready;
        if (ready || reached) {
            if (thread->spinning)
                found->spinning |= 1u << i;
            else
                found->ready |= 1u << i;
            continue;
        }
        if (!thread->daemon) found->waiting = true;
        if (next->spurious && spurious_wakes < SPURIOUS_MOST) {
            found->early |= 1u << i;
            timed_out[i] = false;
        }
        if (next->deadline_ns == AMBIT__FOREVER) continue;
        if (next->deadline_ns < found->earliest) found->earliest = next->deadline_ns;
        if (next->deadline_ns - now_ns <= ambit__options->early_ns) {
            found->early |= 1u << i;
            timed_out[i] = true;
        }
    }
}

static void fail_stuck(void) {
    bool locked = false;
    for (unsigned i = 0; i < ambit__thread_count; i++)
        if (ambit__threads[i].state == AMBIT__THREAD_LIVE && ambit__threads[i].next->holder_known)
            locked = true;
    const void *site = NULL, *join = NULL; /* who only waits for a thread is not the one to blame */
    for (unsigned i = ambit__thread_count; i-- > 0;) {
        const ambit__schedule_thread *thread = &ambit__threads[i];
        if (thread->state != AMBIT__THREAD_LIVE || thread->daemon) continue;
        if (thread->next->kind == AMBIT__OP_JOIN)
            join = thread->next->site;
        else if (!locked || thread->next->holder_known)
            site = thread->next->site;
    }
    if (!site) site = join;
    ambit__fail(locked ? AMBIT_SCHEDULE_DEADLOCK : AMBIT_SCHEDULE_LOST_WAKEUP, site, NULL,
                locked ? "dead lock: all threads wait, and at least one for a lock"
                       : "lost wake-up: all threads wait, and nobody is left to wake them");
}

/* Only those that spin can run: they may, for a while, since what they read may yet be a newer
 * store; then time passes; and then it is an end without one. False if they cannot. */
static bool may_idle(const candidates *found) {
    if (!found->spinning) return false;
    idle_picks++;
    if (idle_picks > IDLE_END)
        ambit__fail(AMBIT_SCHEDULE_LIVELOCK, ambit__self->next ? ambit__self->next->site : NULL,
                    NULL, "livelock: every thread that can run waits in a loop for another");
    return found->earliest == AMBIT__FOREVER || idle_picks % IDLE_PATIENCE != 0;
}

/* Those that spin take turns, whatever the strategy: it might choose the same one for ever. */
static uint32_t next_of(uint32_t spinning) {
    uint32_t above = spinning & ~(uint32_t)((2u << ambit__self->index) - 1);
    uint32_t from = above ? above : spinning;
    return from & (0 - from);
}

/* The thread to come next, or AMBIT__THREADS when the schedule has ended. */
static unsigned pick(void) {
    candidates found;
    for (ask_all(&found); !found.ready; ask_all(&found)) {
        if (may_idle(&found)) {
            found.ready = next_of(found.spinning);
            break;
        }
        if (found.earliest != AMBIT__FOREVER)
            now_ns = found.earliest;
        else if (found.waiting)
            fail_stuck();
        else
            return AMBIT__THREADS;
    }
    unsigned current = ambit__self->index;
    if (steps < ambit__self->loops_until && found.ready >> current & 1) {
        steps_alone++;
        return current;
    }
    uint32_t enabled = found.ready;
    if (found.early && ambit__decide(AMBIT__DECIDE_EARLY, 2, 0)) enabled |= found.early;
    unsigned chosen = enabled & (enabled - 1) ? strategy->pick(enabled, current)
                                              : (unsigned)__builtin_ctz(enabled);
    if (enabled & (enabled - 1)) write_decision(AMBIT__DECIDE_THREAD, AMBIT__THREADS, chosen);
    if (found.early >> chosen & 1 && !(found.ready >> chosen & 1)) {
        ambit__operation *next = ambit__threads[chosen].next;
        if (!timed_out[chosen])
            spurious_wakes++;
        else if (next->deadline_ns > now_ns)
            now_ns = next->deadline_ns;
    }
    return chosen;
}

/* Picks and goes there; returns when it is this thread's turn again. */
static void give_way(void) {
    unsigned self = ambit__self->index;
    unsigned chosen = pick();
    if (chosen == self) return;
    if (chosen == AMBIT__THREADS) ambit__host_leave();
    ambit__self = &ambit__threads[chosen];
    ambit__host_switch(self, chosen);
}

/* The announced operation is done from here on. */
static void take(ambit__operation *operation) {
    ambit__schedule_thread *self = ambit__self;
    operation->timed_out = operation->ready && timed_out[self->index];
    self->next = NULL;
    self->happens.at[self->index]++;
    ambit__step_total++;
    ambit__plain_count = 0;
    steps++;
    mix((uint64_t)self->index << 8 | operation->kind);
    mix(ambit__ordinal(operation->address) << 1 | operation->timed_out);
    if (strategy->stepped) strategy->stepped(operation);
    if (ambit__recording) operation->row = write_row(operation);
    /* What atomics change, history.c tells itself: it knows whether they do. */
    if (operation->writes && operation->kind > AMBIT__OP_HEAVY_BARRIER &&
        operation->kind != AMBIT__OP_YIELD)
        ambit__progress();
}

void ambit__step(ambit__operation *operation) {
    operation->thread = ambit__self->index;
    ambit__self->next = operation;
    if (!operation->ready) operation->deadline_ns = AMBIT__FOREVER;
    if (steps >= ambit__options->steps)
        ambit__fail(AMBIT_SCHEDULE_LIVELOCK, operation->site, NULL,
                    "livelock: no end after %llu steps", (unsigned long long)steps);
    give_way();
    take(operation);
}

void ambit__take_first(void) { take(ambit__self->next); }

void ambit__go_on_without_me(void) {
    give_way();
    __builtin_unreachable(); /* it has ended */
}

bool ambit__stores_are_placed(void) {
    return ambit__options->strategy != AMBIT_SCHEDULE_EXHAUSTIVE;
}

unsigned ambit__decide(ambit__decision kind, unsigned count, unsigned usual) {
    if (count < 2 || !ambit__self) return 0;
    unsigned chosen = strategy->decide(kind, count, usual);
    write_decision(kind, count, chosen);
    mix((uint64_t)kind << 8 | chosen);
    return chosen;
}

/* ---- Failing --------------------------------------------------------------------------------- */

void ambit__fail(ambit_schedule_failure failure, const void *site, const void *other_site,
                 const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (!ambit__self) {
        (void)fputs("ambit::schedule: ", stderr);
        (void)vfprintf(stderr, format, arguments);
        (void)fputc('\n', stderr);
        abort();
    }
    ambit__found.failure = failure;
    (void)vsnprintf(ambit__found.message, sizeof ambit__found.message, format, arguments);
    va_end(arguments);
    ambit__found.site = site;
    ambit__found.other_site = other_site;
    ambit__found.thread = ambit__self->index;
    for (unsigned i = 0; i < ambit__thread_count; i++) {
        const ambit__operation *next = ambit__threads[i].next;
        ambit__found.waiting[i] = ambit__threads[i].state == AMBIT__THREAD_LIVE && next
                                      ? *next
                                      : (ambit__operation){.kind = AMBIT__OP_KINDS};
    }
    ambit__host_leave();
}

/* ---- A schedule from start to end ------------------------------------------------------------ */

static void begin(const ambit__strategy *with, uint64_t seed) {
    strategy = with;
    steps = steps_alone = 0;
    hash = UINT64_C(0xcbf29ce484222325);
    now_ns = BEGINNING;
    clock_advance_ns = 1;
    idle_picks = spurious_wakes = 0;
    ambit__row_count = ambit__decision_count = 0;
    ambit__found = (ambit__finding){.failure = AMBIT_SCHEDULE_CLEAN};
    ambit__reset_all();
    strategy->begin(seed);
}

bool ambit__play(const ambit__strategy *with, uint64_t seed, ambit_schedule_fn *scenario,
                 void *argument) {
    begin(with, seed);
    ambit__self = ambit__spawn_first(scenario, argument);
    ambit__host_enter(0);
    ambit__self = NULL;
    ambit__found.hash = hash;
    ambit__found.steps = steps;
    ambit__found.picked = steps - steps_alone;
    if (ambit__found.failure == AMBIT_SCHEDULE_CLEAN && !ambit__options->no_leaks)
        ambit__look_for_leaks();
    if (!ambit__keeping) ambit__undo_all();
    return ambit__found.failure == AMBIT_SCHEDULE_CLEAN;
}
