/* Arming, disarming, and the one thread that fires.
 *
 * Each thread arms in a wheel of its own, whose lock is biased to it (base/bias.h); the service's
 * passes and disarms from elsewhere visit. The service sleeps on `doorbell` until the earliest tick that
 * any wheel told it. Nothing is lost between its look at a wheel and its sleep: it reads the
 * doorbell before the pass, and who arms something earlier than the wheel's wake_tick rings after,
 * so the futex finds another number and does not sleep. */
#include <stddef.h>

#include "base/clock.h"
#include "base/memory.h"
#include "timer/service.h"
#include "timer/stamp.h"

static _Atomic(ambit__wheel *) wheels; /* newest first; only ever added to */
static _Atomic(uint32_t) doorbell;
_Atomic(uint16_t) ambit__timer_epoch;
/* Start, stop, and pushing a wheel. */
static ambit__mutex life = {AMBIT__RANKED(AMBIT__RANK_TIMER)};
/* The service's life, changed under `life`:
 *   NONE -> RUNNING     start
 *   RUNNING -> ASKED    stop
 *   ASKED -> RUNNING    start, before the service has seen the question: it goes on
 *   ASKED -> ENDED      the service; it fires nothing from here on
 *   ENDED -> NONE       start or stop, after joining it
 * A stop waits, without the lock, until its question (`asks`) is answered, so a function that runs
 * meanwhile may arm: it finds ASKED, and neither waits for nor joins its own thread. */
enum { NONE = 0, RUNNING = AMBIT__SERVICE_RUNNING, ASKED, ENDED };
_Atomic(uint32_t) ambit__timer_service;
static _Atomic(uint32_t) asks, answered; /* stored under `life` */
static ambit__worker worker;             /* under `life` */
static bool fork_hook_set;               /* under `life` */
static _Thread_local bool serving;
static _Atomic(uint64_t) fired_count;
static _Atomic(int64_t) lateness_max_ns, lateness_sum_ns;

void ambit__timer_ring(void) {
    /* Release pairs with the acquire in serve(): who sees the number sees the timer. */
    ambit__add_release(&doorbell, 1);
    ambit__unpark(&doorbell, 1);
}

/* ---- Firing ---------------------------------------------------------------------------------- */

static void note_lateness(int64_t now_ns, int64_t deadline_ns) {
    int64_t sum_ns = ambit__load_relaxed(&lateness_sum_ns);
    int64_t late_ns;
    if (__builtin_sub_overflow(now_ns, deadline_ns, &late_ns)) late_ns = INT64_MAX;
    if (now_ns < deadline_ns) late_ns = 0;                          /* a clock that stepped back */
    if (late_ns > INT64_MAX - sum_ns) sum_ns = INT64_MAX - late_ns; /* a clock that leapt */
    ambit__bump_relaxed(&fired_count, 1); /* one service thread at a time writes these */
    ambit__store_relaxed(&lateness_sum_ns, sum_ns + late_ns);
    if (late_ns > ambit__load_relaxed(&lateness_max_ns))
        ambit__store_relaxed(&lateness_max_ns, late_ns);
}

/* Fires one due node; false if there is none. The service stays, since it comes again. */
static bool fire_one(ambit__wheel *wheel) {
    ambit__bias_lock_visitor(&wheel->lock);
    ambit__timer_link *link = wheel->due.next;
    if (link == &wheel->due) {
        ambit__bias_unlock_visitor(&wheel->lock, true);
        return false;
    }
    ambit__timer_node *node = ambit__timer_node_of(link);
    ambit__wheel_remove(wheel, node);
    ambit__store_relaxed(&node->thread, ambit__thread_id());
    /* Release, as where it is armed: who finds it firing and wants it back finds the wheel as it was
     * made. */
    ambit__store_release(&node->state, AMBIT__TIMER_FIRING);
    ambit__bias_unlock_visitor(&wheel->lock, true);

    note_lateness(ambit__clock_now(), node->deadline_ns);
    node->fire(node);

    ambit__bias_lock_visitor(&wheel->lock);
    void (*fired)(ambit__timer_node *) = node->fired;
    uint32_t before = ambit__load_relaxed(&node->state);
    node->generation++;
    /* Release pairs with the acquire in ambit__timer_disarm() and ambit__timer_take(): what `fire`
     * did is done. From here on the node may be gone, and only its address is used. */
    ambit__store_release(&node->state, AMBIT__TIMER_IDLE);
    ambit__bias_unlock_visitor(&wheel->lock, true);
    if (before == AMBIT__TIMER_AWAITED) ambit__unpark(&node->state, AMBIT__ALL);
    if (fired) fired(node);
    return true;
}

/* Somebody asks the service to end, or this is the child of a fork from inside a function. */
static bool must_look(uint32_t mine) {
    /* Relaxed: hints to take the lock; the doorbell was rung after they were stored. */
    return ambit__load_relaxed(&asks) != ambit__load_relaxed(&answered) ||
           ambit__load_relaxed(&ambit__timer_epoch) != mine;
}

/* Answers those who ask. True if the service has to end. */
static bool leave(uint32_t mine) {
    if (ambit__likely(!must_look(mine))) return false;
    if (ambit__load_relaxed(&ambit__timer_epoch) != mine) return true;
    ambit__mutex_lock(&life);
    bool ends = ambit__load_relaxed(&ambit__timer_service) == ASKED;
    if (ends) ambit__store_relaxed(&ambit__timer_service, ENDED);
    if (ends) ambit__stamp_stop();
    ambit__store_relaxed(&answered, ambit__load_relaxed(&asks));
    ambit__mutex_unlock(&life);
    ambit__unpark(&answered, AMBIT__ALL);
    return ends;
}

/* One pass over one wheel; returns the tick at which it has to be looked at again. */
static int64_t serve_wheel(ambit__wheel *wheel, uint32_t mine) {
    ambit__bias_lock_visitor(&wheel->lock);
    (void)ambit__wheel_follow_clock(wheel);
    ambit__wheel_advance(wheel, ambit__clock_now());
    ambit__bias_unlock_visitor(&wheel->lock, true);
    while (!must_look(mine) && fire_one(wheel)) {
    }
    if (must_look(mine)) return 0; /* a look at once; a wheel of before a fork is not touched */
    ambit__bias_lock_visitor(&wheel->lock);
    int64_t next = ambit__wheel_next(wheel);
    ambit__store_relaxed(&wheel->wake_tick, next);
    wheel->visits /= 2;
    ambit__bias_unlock_visitor(&wheel->lock, ambit__wheel_is_visited(wheel));
    return next;
}

/* Whether a pass is for nothing: no visit, and so no barrier, for a wheel whose time has not come. A
 * wake_tick that is made sooner just now is no loss: then the doorbell rings. */
static bool has_time(const ambit__wheel *wheel, uint32_t clock, uint32_t clock_before) {
    if (clock != clock_before || clock & 3) return false;
    return ambit__tick_ns(ambit__load_relaxed(&wheel->wake_tick)) > ambit__clock_now();
}

static void serve(void *argument) {
    uint32_t mine = (uint32_t)(uintptr_t)argument;
    uint32_t clock_before = ~ambit__clock_changes();
    serving = true;
    while (!leave(mine)) {
        uint32_t rung = ambit__load_acquire(&doorbell);
        uint32_t clock = ambit__clock_changes();
        int64_t next = AMBIT__TICK_NEVER;
        ambit__wheel *wheel = ambit__load_acquire(&wheels);
        for (; wheel && !must_look(mine); wheel = wheel->next) {
            int64_t tick = has_time(wheel, clock, clock_before)
                               ? ambit__load_relaxed(&wheel->wake_tick)
                               : serve_wheel(wheel, mine);
            if (tick < next) next = tick;
        }
        clock_before = clock;
        int64_t until_ns = next == AMBIT__TICK_NEVER ? AMBIT_NEVER : ambit__tick_ns(next);
        if (!must_look(mine)) (void)ambit__park_until(&doorbell, rung, until_ns);
    }
}

/* ---- Start, stop, fork ----------------------------------------------------------------------- */

static void forget_parent(void) {
    ambit__add_relaxed(&ambit__timer_epoch, 1);
    ambit__store_relaxed(&ambit__timer_service, NONE);
    ambit__store_relaxed(&answered, ambit__load_relaxed(&asks));
    ambit__store_relaxed(&life.state, 0);
    serving = false;
    ambit__stamp_renewal_forked();
    for (ambit__wheel *wheel = ambit__load_relaxed(&wheels); wheel; wheel = wheel->next)
        ambit__wheel_init(wheel, ambit__clock_now());
}

static void join_ended(void) AMBIT__REQUIRES(&life) {
    if (ambit__load_relaxed(&ambit__timer_service) != ENDED) return;
    ambit__worker_join(&worker);
    ambit__store_relaxed(&ambit__timer_service, NONE);
}

static ambit_status start_locked(void) AMBIT__REQUIRES(&life) {
    if (!fork_hook_set) ambit__on_fork(forget_parent);
    fork_hook_set = true;
    join_ended();
    if (ambit__load_relaxed(&ambit__timer_service) == NONE) {
        void *mine = (void *)(uintptr_t)ambit__load_relaxed(&ambit__timer_epoch);
        ambit_status status = ambit__worker_start(&worker, "ambit-timer", serve, mine);
        if (status) return status;
    }
    ambit__store_relaxed(&ambit__timer_service, RUNNING);
    return AMBIT_OK;
}

ambit_status ambit__timer_service_start(void) {
    ambit__mutex_lock(&life);
    ambit_status status = start_locked();
    ambit__mutex_unlock(&life);
    return status;
}

static void wait_answered(uint32_t ask) {
    for (;;) {
        /* Relaxed: it is stored under `life`, which the caller takes next. */
        uint32_t seen = ambit__load_relaxed(&answered);
        if ((int32_t)(seen - ask) >= 0) return;
        (void)ambit__park_until(&answered, seen, AMBIT_NEVER);
    }
}

void ambit_timer_stop(void) {
    uint32_t ask = 0;
    ambit__mutex_lock(&life);
    uint32_t state = ambit__load_relaxed(&ambit__timer_service);
    bool asked = state == RUNNING || state == ASKED;
    if (asked) {
        ambit__store_relaxed(&ambit__timer_service, ASKED);
        ask = ambit__add_relaxed(&asks, 1) + 1;
    }
    ambit__mutex_unlock(&life);
    if (asked) ambit__timer_ring();
    if (serving) return;
    if (asked) wait_answered(ask);
    ambit__mutex_lock(&life);
    join_ended();
    ambit__mutex_unlock(&life);
}

ambit__wheel *ambit__wheel_new(ambit__thread *self) {
    ambit__wheel *wheel = ambit__allocate(sizeof *wheel, 64);
    if (!wheel) return NULL;
    wheel->clock = ambit__clock_changes(); /* first: the clock is that one or a later one */
    ambit__wheel_init(wheel, ambit__clock_now());
    ambit__mutex_lock(&life);
    wheel->next = ambit__load_relaxed(&wheels);
    /* Release pairs with the acquire in serve(). */
    ambit__store_release(&wheels, wheel);
    ambit__mutex_unlock(&life);
    return self->timer_wheel = wheel;
}

void ambit_timer_stats_read(ambit_timer_stats *stats) {
    uint32_t state = ambit__load_relaxed(&ambit__timer_service);
    *stats = (ambit_timer_stats){
        .fired = ambit__load_relaxed(&fired_count),
        .lateness_max_ns = ambit__load_relaxed(&lateness_max_ns),
        .lateness_sum_ns = ambit__load_relaxed(&lateness_sum_ns),
        .thread_running = state == RUNNING || state == ASKED,
    };
    for (ambit__wheel *wheel = ambit__load_acquire(&wheels); wheel; wheel = wheel->next)
        stats->armed += ambit__wheel_armed(wheel);
}
