/* A run: many schedules of one scenario. What ambit_schedule_run() is made of, for the command
 * line. */
#ifndef AMBIT_SCHEDULE_RUN_H
#define AMBIT_SCHEDULE_RUN_H

#include "schedule/report.h"

/* What a run may do besides what its options say. Zero: what ambit_schedule_run() does. */
typedef struct ambit__plan {
    bool search_only;              /* looks for a failure, and neither shortens nor tells it */
    const ambit__written *choices; /* if not NULL: plays these, once */
    size_t choice_count;
    uint64_t replays;      /* plays the first seed so many times, whatever comes of it */
    uint64_t replays_same; /* filled in: with the same hash as the first time */
} ambit__plan;
int ambit__run(ambit_schedule_fn *scenario, const ambit_schedule_options *options,
               ambit__plan *plan);

/* The run under way. */
typedef struct ambit__run_state {
    ambit_schedule_fn *scenario;
    ambit_schedule_options options; /* defaults filled in */
    ambit__plan *plan;
    const ambit__strategy *strategy;
    uint64_t seed;           /* of the schedule that was played last */
    ambit__finding first;    /* the failure, as it was found */
    ambit__written *choices; /* its decisions */
    size_t choice_count;
    bool diverged;
    bool before_failed; /* `scenario` is what the options call `before` */
    unsigned threads_most;
    uint64_t pct_steps; /* k */
} ambit__run_state;

/* again.c: plays the last schedule once more, with other addresses. False: it went another way;
 * then ambit__found says so as a failure. */
bool ambit__again_same(ambit__run_state *run);
/* The last schedule has failed: plays it again, shortens it, and tells it on standard error unless
 * quiet. ambit__found is then what was told. */
void ambit__again_explain(ambit__run_state *run);
/* Keeps what the last schedule has found, and its decisions. */
void ambit__again_keep(ambit__run_state *run);

const char *ambit__strategy_name(ambit_schedule_strategy strategy);

#endif
