/* What the tests of timers begin and end with. */
#ifndef AMBIT_SCHEDULE_TIMERS_H
#define AMBIT_SCHEDULE_TIMERS_H

#include <ambit/schedule.h>
#include <stdlib.h>

#include "census/slab.h"
#include "timer/service.h"

/* Timers may fire while others run: a wheel is looked at up to two ticks after their time. */
#define TIMER_TEST(test, ...)                                                                      \
    AMBIT_SCHEDULE_TEST_WITH(test, .cxx20_release_sequences = true,                                \
                             .early_ns = 3 * AMBIT_MILLISECOND, __VA_ARGS__)

static int64_t start_ns; /* of the timers' times */

/* ---- Where schedules begin ------------------------------------------------------------------- */

static inline void make_wheel(void) {
    ambit__thread *self = ambit__thread_self();
    if (!self->timer_wheel) ambit_schedule_assert(ambit__wheel_new(self));
    (void)ambit__thread_id();
}

static inline void be_second(void *argument) {
    (void)argument;
    make_wheel();
}

static inline void ignore(void *argument) { (void)argument; }

/* Two records without a wheel: the first timer of each thread makes it. */
static inline void make_records(void *argument) {
    (void)ambit__thread_self();
    (void)ambit__thread_id();
    start_ns = ambit__clock_now();
    if (!argument) ambit_schedule_join(ambit_schedule_spawn(make_records, &start_ns));
}

/* Two records with their wheels, a chunk of timers, and a service that is not running. */
static inline void make(void *argument) {
    ambit_timer timer;
    (void)argument;
    make_wheel();
    ambit_schedule_join(ambit_schedule_spawn(be_second, NULL));
    ambit_schedule_assert(ambit_timer_arm(AMBIT_NEVER, ignore, NULL, &timer) == AMBIT_OK);
    ambit_schedule_assert(ambit_timer_disarm(timer) == AMBIT_DISARMED);
    ambit_timer_stop();
    start_ns = ambit__clock_now();
}

/* ---- Where they end -------------------------------------------------------------------------- */

static unsigned timers_alive;

static inline void count_timer(ambit__slab *slab, ambit__entry *entry, void *argument) {
    (void)slab;
    (void)entry;
    (void)argument;
    timers_alive++;
}

/* Nothing is left: neither in a wheel, nor as an object. */
static inline void check_none_left(void) {
    ambit_timer_stats stats;
    ambit_timer_stats_read(&stats);
    ambit_schedule_assert(stats.armed == 0 && !stats.thread_running);
    ambit__slab_walk(&ambit__slab_timer, count_timer, NULL);
    ambit_schedule_assert(timers_alive == 0);
}

/* ---- Nodes ----------------------------------------------------------------------------------- */

typedef struct alarm {
    ambit__timer_node node;
    unsigned fired; /* plain: who reads it has to come after the function */
    int64_t not_before_ns;
    _Atomic(uint32_t) done; /* for who waits */
} alarm;

static inline alarm *new_alarm(void) {
    alarm *made = calloc(1, sizeof *made);
    ambit_schedule_assert(made);
    return made;
}

static inline void fire_alarm(ambit__timer_node *node) {
    alarm *fired = (alarm *)(void *)((char *)node - offsetof(alarm, node));
    ambit_schedule_assert(ambit__clock_now() >= fired->not_before_ns);
    fired->fired++;
    ambit__store_release(&fired->done, 1);
    ambit__unpark(&fired->done, 1);
}

static inline void arm(alarm *it, int64_t after_ns) {
    it->not_before_ns = start_ns + after_ns;
    ambit_schedule_assert(ambit__timer_node_arm(&it->node, it->not_before_ns, fire_alarm) ==
                          AMBIT_OK);
}

static inline void wait_for(alarm *it) {
    while (!ambit__load_acquire(&it->done)) (void)ambit__park_until(&it->done, 0, AMBIT_NEVER);
}

/* It has fired, or it has not and will not; then its memory is somebody else's. */
static inline void disarm_and_free(alarm *it) {
    ambit_disarm found = ambit__timer_node_disarm(&it->node);
    ambit_schedule_assert(found == AMBIT_DISARMED || found == AMBIT_FIRED);
    ambit_schedule_assert(it->fired == (found == AMBIT_FIRED));
    free(it);
}

/* ---- Public timers --------------------------------------------------------------------------- */

typedef struct bell {
    unsigned rings;
    int64_t not_before_ns, rung_ns;
} bell;

static inline void ring(void *argument) {
    bell *rung = argument;
    rung->rung_ns = ambit__clock_now();
    ambit_schedule_assert(rung->rung_ns >= rung->not_before_ns);
    rung->rings++;
}

static inline ambit_timer arm_bell(bell *it, int64_t after_ns) {
    ambit_timer timer;
    it->not_before_ns = start_ns + after_ns;
    ambit_schedule_assert(ambit_timer_arm(it->not_before_ns, ring, it, &timer) == AMBIT_OK);
    return timer;
}

/* ---- A clock of the program's ---------------------------------------------------------------- */

static _Atomic(int64_t) own_ns;

static inline int64_t read_own(void *user) {
    (void)user;
    return ambit__load_relaxed(&own_ns);
}

static inline void make_with_own_clock(void *argument) {
    const ambit_clock own = {read_own, NULL};
    ambit__store_relaxed(&own_ns, 5 * AMBIT_SECOND);
    ambit_clock_set(&own);
    make(argument);
}

static inline void move_own(void *argument) {
    ambit__add_relaxed(&own_ns, (int64_t)(intptr_t)argument);
}

#endif
