/* Arming, disarming, and the one thread that fires.
 *
 * Each thread arms in a wheel of its own, under a lock that only it takes, but for the service's
 * passes and disarms from elsewhere. The service sleeps on `doorbell` until the earliest tick that
 * any wheel told it. Nothing is lost between its look at a wheel and its sleep: it reads the
 * doorbell before the pass, and who arms something earlier than the wheel's wake_tick rings after,
 * so the futex finds another number and does not sleep. */
#include <stddef.h>

#include "base/clock.h"
#include "base/memory.h"
#include "timer/slots.h"

static _Atomic(ambit__wheel *) wheels; /* newest first; only ever added to */
static _Atomic(uint32_t) doorbell;
static _Atomic(uint32_t) epoch;
static ambit__mutex life; /* start, stop, and pushing a wheel */
/* The service's life, changed under `life`:
 *   NONE -> RUNNING     start
 *   RUNNING -> ASKED    stop
 *   ASKED -> RUNNING    start, before the service has seen the question: it goes on
 *   ASKED -> ENDED      the service; it fires nothing from here on
 *   ENDED -> NONE       start or stop, after joining it
 * A stop waits, without the lock, until its question (`asks`) is answered, so a function that runs
 * meanwhile may arm: it finds ASKED, and neither waits for nor joins its own thread. */
enum { NONE, RUNNING, ASKED, ENDED };
static _Atomic(uint32_t) state_of_service;
static _Atomic(uint32_t) asks, answered; /* stored under `life` */
static ambit__worker worker;             /* under `life` */
static bool fork_hook_set;               /* under `life` */
static _Thread_local bool serving;
static _Atomic(uint64_t) fired_count;
static _Atomic(int64_t) lateness_max_ns, lateness_sum_ns;

static void ring(void) {
    /* Release pairs with the acquire in serve(): who sees the number sees the timer. */
    ambit__add_release(&doorbell, 1);
    ambit__unpark(&doorbell, 1);
}

/* ---- Firing ---------------------------------------------------------------------------------- */

static void note_lateness(int64_t now_ns, int64_t deadline_ns) {
    int64_t sum_ns = ambit__load_relaxed(&lateness_sum_ns);
    int64_t late_ns = 0; /* a clock that stepped back */
    /* Further than there are numbers: a deadline of long ago, or a clock that leapt. */
    if (now_ns > deadline_ns && __builtin_sub_overflow(now_ns, deadline_ns, &late_ns))
        late_ns = INT64_MAX;
    if (late_ns > INT64_MAX - sum_ns) sum_ns = INT64_MAX - late_ns;
    ambit__bump_relaxed(&fired_count, 1); /* one service thread at a time writes these */
    ambit__store_relaxed(&lateness_sum_ns, sum_ns + late_ns);
    if (late_ns > ambit__load_relaxed(&lateness_max_ns))
        ambit__store_relaxed(&lateness_max_ns, late_ns);
}

/* Fires one due node; false if there is none. */
static bool fire_one(ambit__wheel *wheel) {
    ambit__spin_lock(&wheel->lock);
    ambit__timer_link *link = wheel->due.next;
    if (link == &wheel->due) {
        ambit__spin_unlock(&wheel->lock);
        return false;
    }
    ambit__timer_node *node = (ambit__timer_node *)(void *)link;
    ambit__wheel_remove(wheel, node);
    ambit__store_relaxed(&node->thread, ambit__thread_id());
    ambit__store_relaxed(&node->state, AMBIT__TIMER_FIRING);
    ambit__spin_unlock(&wheel->lock);

    note_lateness(ambit__clock_now(), node->deadline_ns);
    node->fire(node);

    ambit__spin_lock(&wheel->lock);
    void (*fired)(ambit__timer_node *) = node->fired;
    uint32_t before = ambit__load_relaxed(&node->state);
    node->generation++;
    /* Release pairs with the acquire in wait_until_idle(): what `fire` did is done. From the unlock
     * on the node may be gone; a waiter takes the lock once before it lets anyone free it. */
    ambit__store_release(&node->state, AMBIT__TIMER_IDLE);
    ambit__spin_unlock(&wheel->lock);
    if (before == AMBIT__TIMER_AWAITED) ambit__unpark(&node->state, AMBIT__ALL);
    if (fired) fired(node);
    return true;
}

/* Somebody asks the service to end, or this is the child of a fork from inside a function. */
static bool must_look(uint32_t mine) {
    /* Relaxed: hints to take the lock; the doorbell was rung after they were stored. */
    return ambit__load_relaxed(&asks) != ambit__load_relaxed(&answered) ||
           ambit__load_relaxed(&epoch) != mine;
}

/* Answers those who ask. True if the service has to end. */
static bool leave(uint32_t mine) {
    if (ambit__likely(!must_look(mine))) return false;
    if (ambit__load_relaxed(&epoch) != mine) return true;
    ambit__mutex_lock(&life);
    bool ends = ambit__load_relaxed(&state_of_service) == ASKED;
    if (ends) ambit__store_relaxed(&state_of_service, ENDED);
    /* Release pairs with the acquire in wait_answered(). */
    ambit__store_release(&answered, ambit__load_relaxed(&asks));
    ambit__mutex_unlock(&life);
    ambit__unpark(&answered, AMBIT__ALL);
    return ends;
}

/* Under the wheel's lock. Sets the wheel anew if another clock was put in place, or a program's own was
 * set back; true then: the time to wake at may be an earlier one. */
static bool follow_clock(ambit__wheel *wheel) {
    uint32_t changes = ambit__clock_changes();
    if (ambit__likely(wheel->clock == changes && !ambit__clock_is_custom())) return false;
    int64_t now_ns = ambit__clock_now();
    if (wheel->clock == changes && now_ns >= ambit__tick_ns(wheel->tick)) return false;
    ambit__wheel_move(wheel, now_ns);
    wheel->clock = changes;
    return true;
}

/* One pass over one wheel; returns the tick at which it has to be looked at again. */
static int64_t serve_wheel(ambit__wheel *wheel, uint32_t mine) {
    ambit__spin_lock(&wheel->lock);
    (void)follow_clock(wheel);
    ambit__wheel_advance(wheel, ambit__clock_now());
    ambit__spin_unlock(&wheel->lock);
    while (!must_look(mine) && fire_one(wheel)) {
    }
    if (must_look(mine)) return 0; /* a look at once; a wheel of before a fork is not touched */
    ambit__spin_lock(&wheel->lock);
    int64_t next = wheel->wake_tick = ambit__wheel_next(wheel);
    ambit__spin_unlock(&wheel->lock);
    return next;
}

static void serve(void *argument) {
    uint32_t mine = (uint32_t)(uintptr_t)argument;
    serving = true;
    while (!leave(mine)) {
        uint32_t rung = ambit__load_acquire(&doorbell);
        int64_t next = AMBIT__TICK_NEVER;
        ambit__wheel *wheel = ambit__load_acquire(&wheels);
        for (; wheel && !must_look(mine); wheel = wheel->next) {
            int64_t tick = serve_wheel(wheel, mine);
            if (tick < next) next = tick;
        }
        int64_t until_ns = next == AMBIT__TICK_NEVER ? AMBIT_NEVER : ambit__tick_ns(next);
        if (!must_look(mine)) (void)ambit__park_until(&doorbell, rung, until_ns);
    }
}

/* ---- Start, stop, fork ----------------------------------------------------------------------- */

static void forget_parent(void) {
    ambit__add_relaxed(&epoch, 1);
    ambit__store_relaxed(&state_of_service, NONE);
    ambit__store_relaxed(&answered, ambit__load_relaxed(&asks));
    ambit__store_relaxed(&life.state, 0);
    serving = false;
    for (ambit__wheel *wheel = ambit__load_relaxed(&wheels); wheel; wheel = wheel->next)
        ambit__wheel_init(wheel, ambit__clock_now());
}

static void join_ended(void) AMBIT__REQUIRES(&life) {
    if (ambit__load_relaxed(&state_of_service) != ENDED) return;
    ambit__worker_join(&worker);
    ambit__store_relaxed(&state_of_service, NONE);
}

static ambit_status start_locked(void) AMBIT__REQUIRES(&life) {
    if (!fork_hook_set) ambit__on_fork(forget_parent);
    fork_hook_set = true;
    join_ended();
    if (ambit__load_relaxed(&state_of_service) == NONE) {
        void *mine = (void *)(uintptr_t)ambit__load_relaxed(&epoch);
        ambit_status status = ambit__worker_start(&worker, "ambit-timer", serve, mine);
        if (status) return status;
    }
    /* Release pairs with the acquire in ambit__timer_node_arm(). */
    ambit__store_release(&state_of_service, RUNNING);
    return AMBIT_OK;
}

static ambit_status start_service(void) {
    ambit__mutex_lock(&life);
    ambit_status status = start_locked();
    ambit__mutex_unlock(&life);
    return status;
}

static void wait_answered(uint32_t ask) {
    for (;;) {
        /* Acquire pairs with the release in leave(). */
        uint32_t seen = ambit__load_acquire(&answered);
        if ((int32_t)(seen - ask) >= 0) return;
        (void)ambit__park_until(&answered, seen, AMBIT_NEVER);
    }
}

void ambit_timer_stop(void) {
    uint32_t ask = 0;
    ambit__mutex_lock(&life);
    uint32_t state = ambit__load_relaxed(&state_of_service);
    bool asked = state == RUNNING || state == ASKED;
    if (asked) {
        ambit__store_relaxed(&state_of_service, ASKED);
        ask = ambit__add_relaxed(&asks, 1) + 1;
    }
    ambit__mutex_unlock(&life);
    if (asked) ring();
    if (serving) return;
    if (asked) wait_answered(ask);
    ambit__mutex_lock(&life);
    join_ended();
    ambit__mutex_unlock(&life);
}

static ambit__wheel *wheel_of(ambit__thread *self) {
    if (ambit__likely(self->timer_wheel != NULL)) return self->timer_wheel;
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

/* ---- Arm and disarm -------------------------------------------------------------------------- */

ambit_status ambit__timer_node_arm(ambit__timer_node *node, int64_t deadline_ns,
                                   void (*fire)(ambit__timer_node *node)) {
    ambit__thread *self = ambit__thread_self();
    ambit__wheel *wheel = self ? wheel_of(self) : NULL;
    if (ambit__unlikely(!wheel)) return AMBIT_EMEMORY;
    if (ambit__unlikely(ambit__load_acquire(&state_of_service) != RUNNING)) {
        ambit_status status = start_service();
        if (status) return status;
    }
    ambit__spin_lock(&wheel->lock);
    node->deadline_ns = deadline_ns;
    node->fire = fire;
    node->epoch = ambit__load_relaxed(&epoch);
    ambit__store_relaxed(&node->wheel, wheel);
    /* Release pairs with the acquire in disarm(): who sees it armed sees in which wheel, and waits
     * there for the lock. */
    ambit__store_release(&node->state, AMBIT__TIMER_ARMED);
    bool anew = follow_clock(wheel);
    int64_t tick = ambit__wheel_insert(wheel, node);
    bool sooner = anew || tick < wheel->wake_tick;
    if (sooner) wheel->wake_tick = tick;
    ambit__spin_unlock(&wheel->lock);
    if (ambit__unlikely(sooner)) ring();
    return AMBIT_OK;
}

/* Under the wheel's lock: what a disarm finds. `*wait` is set if another thread fires it. */
static ambit_disarm take_locked(ambit__wheel *wheel, ambit__timer_node *node, bool *wait) {
    *wait = false;
    if (ambit__unlikely(node->epoch != ambit__load_relaxed(&epoch))) return AMBIT_FIRED;
    uint32_t state = ambit__load_relaxed(&node->state);
    if (ambit__likely(state == AMBIT__TIMER_ARMED)) {
        ambit__wheel_remove(wheel, node);
        node->generation++;
        ambit__store_relaxed(&node->state, AMBIT__TIMER_IDLE);
        return AMBIT_DISARMED;
    }
    if (state == AMBIT__TIMER_IDLE) return AMBIT_FIRED;
    if (ambit__load_relaxed(&node->thread) == ambit__thread_id()) return AMBIT_FIRING_HERE;
    ambit__store_relaxed(&node->state, AMBIT__TIMER_AWAITED);
    *wait = true;
    return AMBIT_FIRED;
}

static ambit_disarm disarm(ambit__timer_node *node, bool any, uint64_t generation) {
    for (;;) {
        /* Idle: nothing to take, and nothing may be read, since another thread may be about to arm.
         * Acquire pairs with the releases in ambit__timer_node_arm() and fire_one(). */
        if (ambit__load_acquire(&node->state) == AMBIT__TIMER_IDLE) return AMBIT_FIRED;
        ambit__wheel *wheel = ambit__load_relaxed(&node->wheel);
        bool wait = false;
        ambit_disarm found = AMBIT_FIRED;
        ambit__spin_lock(&wheel->lock);
        /* It may have become idle, and been armed anew in another wheel, by now. */
        bool here = ambit__load_acquire(&node->state) != AMBIT__TIMER_IDLE &&
                    ambit__load_relaxed(&node->wheel) == wheel;
        if (here && (any || node->generation == generation))
            found = take_locked(wheel, node, &wait);
        ambit__spin_unlock(&wheel->lock);
        if (!wait) return found;
        (void)ambit__park_until(&node->state, AMBIT__TIMER_AWAITED, AMBIT_NEVER);
    }
}

ambit_disarm ambit__timer_node_disarm(ambit__timer_node *node) { return disarm(node, true, 0); }

ambit_disarm ambit__timer_node_disarm_generation(ambit__timer_node *node, uint64_t generation) {
    return disarm(node, false, generation);
}

void ambit_timer_stats_read(ambit_timer_stats *stats) {
    uint32_t state = ambit__load_relaxed(&state_of_service);
    *stats = (ambit_timer_stats){
        .fired = ambit__load_relaxed(&fired_count),
        .lateness_max_ns = ambit__load_relaxed(&lateness_max_ns),
        .lateness_sum_ns = ambit__load_relaxed(&lateness_sum_ns),
        .thread_running = state == RUNNING || state == ASKED,
    };
    for (ambit__wheel *wheel = ambit__load_acquire(&wheels); wheel; wheel = wheel->next) {
        ambit__spin_lock(&wheel->lock);
        stats->armed += wheel->armed;
        ambit__spin_unlock(&wheel->lock);
    }
}
