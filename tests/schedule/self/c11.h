/* What C11 allows a litmus program to show: all its executions are made, and the axioms asked.
 *
 * An execution says which write each read has read from and how the writes of each object follow each other
 * (modification order). It is judged by the axioms of RC11 (Lahav, Vafeiadis, Kang, Hur, Dreyer: Repairing
 * sequential consistency in C/C++11, PLDI 2017), which C17 and C++20 have come to, but for two things:
 *   - Release sequences are C11's: a store by the thread that heads it continues one, as long as
 *     no other thread's store stands between (C++20 has dropped this, see litmus_cxx20; RC11 does not ask
 *     for the latter).
 *   - RC11 forbids that an execution needs a read before a write that it depends on or just follows
 *     (cycles of program order and reads-from), which C11 leaves open. What only this forbids is told
 *     apart.
 *
 * A verdict is a set of these: */
#ifndef AMBIT_TESTS_C11_H
#define AMBIT_TESTS_C11_H

#include "litmus.h"

enum {
    C11_ALLOWED = 1, /* as C11 has it: load buffering is allowed */
    C11_IN_TURN = 2, /* and some order of execution has each read after the write that it reads */
    C11_TOTAL = 4,   /* and what is sequentially consistent is executed in its order */
    C11_IN_PLACE = 8 /* and stores enter modification order as they are executed */
};

enum { C11_EVENTS = 24 };

typedef struct c11_relation {
    uint32_t row[C11_EVENTS]; /* bit j of row i: i is before j */
} c11_relation;

typedef struct c11_event {
    const litmus_operation *operation; /* NULL: what the object holds at first */
    unsigned thread, index, place;
    int order;
    bool reads, writes, fence;
    unsigned read, written; /* values */
    bool known;
    unsigned from, position; /* who it reads, where it is in modification order */
} c11_event;

typedef struct c11_execution {
    const litmus_program *program;
    litmus_outcomes *outcomes;
    unsigned count;
    c11_event events[C11_EVENTS];
    c11_relation sb, rf, mo, rb, hb, eco;
} c11_execution;

/* ---- Relations ------------------------------------------------------------------------------- */

HIDDEN static void c11_put(c11_relation *in, unsigned from, unsigned to) {
    in->row[from] |= 1U << to;
}
HIDDEN static bool c11_has(const c11_relation *in, unsigned from, unsigned to) {
    return in->row[from] >> to & 1;
}
HIDDEN static c11_relation c11_or(const c11_relation *one, const c11_relation *two) {
    c11_relation made;
    for (unsigned i = 0; i < C11_EVENTS; i++) made.row[i] = one->row[i] | two->row[i];
    return made;
}
/* one ; two */
HIDDEN static c11_relation c11_then(const c11_relation *one, const c11_relation *two) {
    c11_relation made;
    for (unsigned i = 0; i < C11_EVENTS; i++) {
        made.row[i] = 0;
        for (uint32_t left = one->row[i]; left; left &= left - 1)
            made.row[i] |= two->row[__builtin_ctz(left)];
    }
    return made;
}
HIDDEN static void c11_close(c11_relation *in) {
    for (unsigned by = 0; by < C11_EVENTS; by++)
        for (unsigned i = 0; i < C11_EVENTS; i++)
            if (c11_has(in, i, by)) in->row[i] |= in->row[by];
}
HIDDEN static bool c11_acyclic(const c11_relation *in) {
    c11_relation closed = *in;
    c11_close(&closed);
    for (unsigned i = 0; i < C11_EVENTS; i++)
        if (c11_has(&closed, i, i)) return false;
    return true;
}

/* ---- Happens-before -------------------------------------------------------------------------- */

HIDDEN static bool c11_acquires(const c11_event *event) {
    return event->order == 2 || event->order >= 4;
}
HIDDEN static bool c11_releases(const c11_event *event) { return event->order >= 3; }

/* Whether `head` heads a release sequence, if it is a release, that `write` is in. */
HIDDEN static bool c11_heads(const c11_execution *in, const c11_event *head,
                             const c11_event *write) {
    if (!head->writes || !head->operation || head->place != write->place) return false;
    if (head->position > write->position) return false;
    for (unsigned i = 0; i < in->count; i++) {
        const c11_event *between = &in->events[i];
        if (!between->writes || between->place != head->place) continue;
        if (between->position <= head->position || between->position > write->position) continue;
        bool own = between->thread == head->thread && !litmus_cxx20;
        if (!own && !between->reads) return false;
    }
    return true;
}
/* This event, if it is of that kind, and the fences before it (or after it) that are. */
HIDDEN static uint32_t c11_with_fences(const c11_execution *in, unsigned at, bool release) {
    const c11_event *event = &in->events[at];
    uint32_t found = (release ? c11_releases(event) : c11_acquires(event)) ? 1U << at : 0;
    for (unsigned i = 0; i < in->count; i++) {
        const c11_event *fence = &in->events[i];
        if (!fence->fence || fence->thread != event->thread) continue;
        if (release ? fence->index < event->index && c11_releases(fence)
                    : fence->index > event->index && c11_acquires(fence))
            found |= 1U << i;
    }
    return found;
}
HIDDEN static void c11_synchronise(c11_execution *in) {
    in->hb = in->sb;
    for (unsigned i = 0; i < in->count; i++) {
        if (!in->events[i].reads) continue;
        uint32_t sinks = c11_with_fences(in, i, false);
        for (unsigned head = 0; head < in->count; head++) {
            if (!c11_heads(in, &in->events[head], &in->events[in->events[i].from])) continue;
            for (uint32_t left = c11_with_fences(in, head, true); left; left &= left - 1)
                in->hb.row[__builtin_ctz(left)] |= sinks;
        }
    }
    c11_close(&in->hb);
}

/* ---- Axioms ---------------------------------------------------------------------------------- */

HIDDEN static bool c11_is_coherent(const c11_execution *in) {
    for (unsigned i = 0; i < in->count; i++) {
        const c11_event *event = &in->events[i];
        if (c11_has(&in->hb, i, i)) return false;
        /* Nothing comes between a read-modify-write and what it has read. */
        if (event->reads && event->writes &&
            in->events[event->from].position + 1 != event->position)
            return false;
        for (unsigned j = 0; j < in->count; j++)
            if (c11_has(&in->hb, i, j) && c11_has(&in->eco, j, i)) return false;
    }
    return true;
}

/* Sequential consistency asks for a partial order over those events, by what is between them. With `total`
 * happens-before counts as well (as in C11's first text), whatever objects it goes by. */
HIDDEN static c11_relation c11_sequence(const c11_execution *in, bool total) {
    c11_relation apart = {{0}}, here = {{0}}, self = {{0}}, all = {{0}}, fences = {{0}};
    for (unsigned i = 0; i < in->count; i++) {
        c11_put(&all, i, i);
        if (in->events[i].order == 5) c11_put(&self, i, i);
        if (in->events[i].order == 5 && in->events[i].fence) c11_put(&fences, i, i);
        for (unsigned j = 0; j < in->count; j++) {
            const c11_event *one = &in->events[i], *two = &in->events[j];
            bool same = !one->fence && !two->fence && one->place == two->place;
            if (c11_has(&in->sb, i, j) && !same) c11_put(&apart, i, j);
            if (c11_has(&in->hb, i, j) && same) c11_put(&here, i, j);
        }
    }
    c11_relation between = c11_then(&apart, &in->hb);
    between = c11_then(&between, &apart);
    between = c11_or(&between, &in->sb);
    between = c11_or(&between, &here);
    between = c11_or(&between, &in->mo);
    between = c11_or(&between, &in->rb);
    if (total) between = c11_or(&between, &in->hb);

    c11_relation maybe = c11_or(&in->hb, &all);
    c11_relation from = c11_then(&fences, &maybe), to = c11_then(&maybe, &fences);
    from = c11_or(&from, &self);
    to = c11_or(&to, &self);
    c11_relation base = c11_then(&from, &between);
    base = c11_then(&base, &to);

    c11_relation strong = c11_then(&in->hb, &in->eco);
    strong = c11_then(&strong, &in->hb);
    strong = c11_or(&strong, &in->hb);
    strong = c11_then(&fences, &strong);
    strong = c11_then(&strong, &fences);
    return c11_or(&base, &strong);
}

HIDDEN static void c11_judge(c11_execution *in) {
    c11_relation none = {{0}};
    in->rf = in->mo = in->rb = none;
    for (unsigned i = 0; i < in->count; i++) {
        if (in->events[i].reads) c11_put(&in->rf, in->events[i].from, i);
        for (unsigned j = 0; j < in->count; j++) {
            const c11_event *one = &in->events[i], *two = &in->events[j];
            if (i == j || !two->writes || one->fence || one->place != two->place) continue;
            if (one->writes && one->position < two->position) c11_put(&in->mo, i, j);
            if (one->reads && in->events[one->from].position < two->position)
                c11_put(&in->rb, i, j);
        }
    }
    in->eco = c11_or(&in->rf, &in->mo);
    in->eco = c11_or(&in->eco, &in->rb);
    c11_close(&in->eco);
    c11_synchronise(in);
    if (!c11_is_coherent(in)) return;
    c11_relation sequence = c11_sequence(in, false);
    if (!c11_acyclic(&sequence)) return;

    unsigned verdict = C11_ALLOWED;
    c11_relation turn = c11_or(&in->sb, &in->rf);
    if (c11_acyclic(&turn)) verdict |= C11_IN_TURN;
    sequence = c11_sequence(in, true);
    turn = c11_or(&turn, &sequence);
    if (c11_acyclic(&turn)) verdict |= C11_TOTAL;
    turn = c11_or(&turn, &in->mo);
    if (c11_acyclic(&turn)) verdict |= C11_IN_PLACE;

    uint64_t key = 0;
    for (unsigned i = 0; i < in->count; i++) {
        const c11_event *event = &in->events[i];
        if (event->reads) key |= (uint64_t)event->read << (4 * event->operation->reads);
        if (!in->program->finals || !event->writes) continue;
        bool last = true;
        for (unsigned j = 0; j < in->count; j++) last &= !c11_has(&in->mo, i, j);
        if (last) key |= (uint64_t)event->written << (4 * (in->program->reads + event->place));
    }
    litmus_outcome_of(in->outcomes, key)->verdict |= verdict;
}

/* ---- All executions -------------------------------------------------------------------------- */

/* Goes on with the write that comes at `position` in the modification order of `place`. */
HIDDEN static void c11_order(c11_execution *in, unsigned place, unsigned position,
                             uint32_t placed) {
    if (place == LITMUS_PLACES) {
        c11_judge(in);
        return;
    }
    bool none = true;
    for (unsigned i = 0; i < in->count; i++) {
        c11_event *event = &in->events[i];
        if (!event->writes || event->place != place || placed >> i & 1) continue;
        none = false;
        if (!position && event->operation) continue; /* what was there is the first */
        bool early = false; /* one that its own thread made before is still to come */
        for (unsigned j = 0; j < in->count; j++)
            early |= in->events[j].writes && in->events[j].place == place && !(placed >> j & 1) &&
                     c11_has(&in->sb, j, i);
        if (early) continue;
        event->position = position;
        c11_order(in, place, position + 1, placed | 1U << i);
    }
    if (none) c11_order(in, place + 1, 0, placed);
}

/* Fills in the values; false if there are none, as when two additions read each other. */
HIDDEN static bool c11_values(c11_execution *in) {
    unsigned left = 0;
    for (unsigned i = 0; i < in->count; i++) {
        c11_event *event = &in->events[i];
        event->known = !event->reads;
        left += event->reads;
        if (event->operation && event->reads) {
            char kind = event->operation->kind;
            event->writes = kind != 'R';
            event->order = event->operation->order;
            event->written = event->operation->value;
            if (kind == 'E') event->known = true; /* for who reads it; its own value comes below */
        }
    }
    for (unsigned round = 0; left && round <= in->count; round++)
        for (unsigned i = 0; i < in->count; i++) {
            c11_event *event = &in->events[i];
            if (!event->reads) continue;
            const c11_event *from = &in->events[event->from];
            if (!from->known) continue;
            if (!event->known) left--;
            event->read = from->written;
            if (event->operation->kind == 'A')
                event->written = from->written + event->operation->value;
            if (event->operation->kind == 'C') {
                event->writes = event->read == event->operation->value;
                event->written = event->operation->desired;
                if (!event->writes) event->order = event->operation->failure;
            }
            event->known = true;
        }
    for (unsigned i = 0; i < in->count; i++) {
        if (!in->events[i].known) return false;
        if (in->events[i].reads && !in->events[in->events[i].from].writes) return false;
    }
    return true;
}

HIDDEN static void c11_read(c11_execution *in, unsigned at) {
    while (at < in->count && !in->events[at].reads) at++;
    if (at == in->count) {
        if (c11_values(in)) c11_order(in, 0, 0, 0);
        return;
    }
    for (unsigned i = 0; i < in->count; i++) {
        const c11_event *from = &in->events[i];
        bool may = i != at && !from->fence && from->place == in->events[at].place &&
                   (!from->operation || from->operation->kind != 'R');
        /* Its own thread's later writes are never read. */
        if (!may || c11_has(&in->sb, at, i)) continue;
        in->events[at].from = i;
        c11_read(in, at + 1);
    }
}

/* The outcomes of the program, with their verdicts; those that are not there are forbidden. */
HIDDEN static void c11_outcomes(const litmus_program *program, litmus_outcomes *outcomes) {
    static c11_execution in;
    c11_relation none = {{0}};
    in.program = program;
    in.outcomes = outcomes;
    in.count = 0;
    in.sb = none;
    for (unsigned place = 0; place < LITMUS_PLACES; place++)
        in.events[in.count++] =
            (c11_event){.thread = LITMUS_THREADS, .place = place, .writes = true};
    for (unsigned thread = 0; thread < program->threads; thread++)
        for (unsigned i = 0; i < program->count[thread]; i++) {
            const litmus_operation *operation = &program->operations[thread][i];
            if (operation->kind == 'F' && !operation->order) continue;
            for (unsigned j = 0; j < in.count; j++)
                if (!in.events[j].operation || in.events[j].thread == thread)
                    c11_put(&in.sb, j, in.count);
            in.events[in.count++] =
                (c11_event){.operation = operation,
                            .thread = thread,
                            .index = i,
                            .place = operation->place,
                            .order = operation->order,
                            .reads = operation->kind != 'W' && operation->kind != 'F',
                            .writes = operation->kind == 'W',
                            .written = operation->value,
                            .fence = operation->kind == 'F'};
        }
    c11_read(&in, 0);
}

#endif
