/* Which operations meet: two that do not may change places, and nobody could tell. */
#ifndef AMBIT_SCHEDULE_EXPLORE_MEET_H
#define AMBIT_SCHEDULE_EXPLORE_MEET_H

#include "schedule/inside.h"

/* What an operation is about. Things that are no memory have a bit each. */
typedef struct ambit__touch {
    uintptr_t low, high; /* first and last byte; none if low > high */
    uint8_t kind;
    bool writes;         /* that memory */
    bool everything;     /* nobody knows what it is about */
    bool exclusive;      /* of a lock that only one can have */
    uint8_t thing_reads; /* bits of things */
    uint8_t thing_writes;
} ambit__touch;

void ambit__touch_of(const ambit__operation *operation, ambit__touch *touch);

/* They do not commute. */
static inline bool ambit__touches_meet(const ambit__touch *one, const ambit__touch *other) {
    if (one->everything || other->everything) return true;
    if (one->thing_writes & (other->thing_reads | other->thing_writes)) return true;
    if (one->thing_reads & other->thing_writes) return true;
    return one->low <= other->high && other->low <= one->high && (one->writes || other->writes);
}

static inline bool ambit__touches_same(const ambit__touch *one, const ambit__touch *other) {
    return one->low == other->low && one->high == other->high && one->kind == other->kind &&
           one->writes == other->writes && one->everything == other->everything &&
           one->exclusive == other->exclusive && one->thing_reads == other->thing_reads &&
           one->thing_writes == other->thing_writes;
}

/* They meet, but wherever `taken` can be taken, `waiting` cannot: there is no other order of the
 * two. */
bool ambit__never_together(const ambit__touch *taken, const ambit__touch *waiting);

/* It waits for one thing, and whatever lets it go on writes that thing. */
bool ambit__waits_for_one(const ambit__operation *operation);

#endif
