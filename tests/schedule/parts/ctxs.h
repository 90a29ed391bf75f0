/* What the parts of contexts share. A schedule begins with everything made: the threads have records, and
 * these have contexts and holds at hand, so that none of its steps is about that. */
#ifndef AMBIT_SCHEDULE_CTXS_H
#define AMBIT_SCHEDULE_CTXS_H

#include <ambit/schedule.h>

#include "ctx/ctx.h"

enum { CREW = 4 };
static ambit__thread *crew[CREW];

/* This thread goes by the record with this number. It is not handed back when the thread ends. */
static inline void be(unsigned number) { ambit__thread_record = crew[number]; }

static inline ambit_ctx *open_below(ambit_ctx *parent) {
    ambit_ctx *ctx;
    ambit_schedule_assert(!ambit_ctx_open(parent, &ctx));
    return ctx;
}
static inline ambit_hold *hold_of(ambit_ctx *ctx) {
    ambit_hold *hold;
    ambit_schedule_assert(!ambit_ctx_hold(ctx, &hold));
    return hold;
}

static inline void fill_caches(void) {
    ambit_ctx *ctx = open_below(ambit_background());
    ambit_hold *hold = hold_of(ctx);
    ambit_ctx_drop(&hold);
    ambit_ctx_close(&ctx);
}

/* One record more than the crew: the C library gives the last one back when this thread ends. */
static inline void muster(void *argument) {
    (void)argument;
    for (unsigned i = 0; i <= CREW; i++) {
        ambit__thread_record = NULL;
        ambit__thread *record = ambit__thread_register();
        ambit_schedule_assert(record);
        fill_caches();
        if (i < CREW) crew[i] = record;
    }
    be(0);
}

/* Runs on another thread, which goes by that record. One at a time for each. */
typedef struct crewman {
    unsigned number;
    void (*run)(void);
} crewman;
static crewman crewmen[CREW];

static inline void go_to_work(void *argument) {
    const crewman *mine = argument;
    be(mine->number);
    mine->run();
}
static inline ambit_schedule_thread start(unsigned number, void (*run)(void)) {
    crewmen[number] = (crewman){number, run};
    return ambit_schedule_spawn(go_to_work, &crewmen[number]);
}

#endif
