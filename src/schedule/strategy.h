/* Strategies: who decides which thread comes next, and what else may happen. Included by inside.h,
 * whose operations and decisions they are about. */
#ifndef AMBIT_SCHEDULE_STRATEGY_H
#define AMBIT_SCHEDULE_STRATEGY_H

#include "schedule/inside.h"

typedef struct ambit__strategy {
    const char *name;
    /* A schedule begins. */
    void (*begin)(uint64_t seed);
    /* One of the threads in the mask, none empty; `current` ran last and may be in it. */
    unsigned (*pick)(uint32_t enabled, unsigned current);
    unsigned (*decide)(ambit__decision kind, unsigned count, unsigned usual);
    /* A thread has announced, a step was taken: may be NULL. */
    void (*stepped)(const ambit__operation *operation);
    /* It spins or yields: it should come last. May be NULL. */
    void (*demote)(unsigned thread);
    /* The schedule has ended. False: there is no other. May be NULL. */
    bool (*finish)(void);
} ambit__strategy;
extern const ambit__strategy ambit__strategy_random, ambit__strategy_pct, ambit__strategy_mixed,
    ambit__strategy_explore, ambit__strategy_follow;

/* random.c: their settings. */
void ambit__pct_set(unsigned depth, uint64_t steps);
/* explore.c: begins anew. 0: any number, and so by partial orders. */
void ambit__explore_set(unsigned preemptions);
/* follow.c: plays decisions as they were written down; beyond their end, or where one no longer
 * fits, the usual ones: the same thread, the newest store. */
typedef struct ambit__written {
    uint8_t kind, count, chosen;
} ambit__written;
void ambit__follow_set(const ambit__written *decisions, size_t count);

/* Every decision of the schedule under way, in order (step.c writes them down). */
extern ambit__written *ambit__decisions;
extern size_t ambit__decision_count;

#endif
