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
static _Atomic(uint32_t) running; /* the service takes timers */
static _Atomic(uint32_t) epoch;
static ambit__mutex life; /* start, stop, and pushing a wheel */
static _Atomic(uint32_t) stop_wanted;
static ambit__worker worker; /* under `life` */
static bool worker_started;  /* under `life`: to be joined */
static bool fork_hook_set;   /* under `life` */
static _Atomic(uint32_t) service_thread;
static _Atomic(uint64_t) fired_count;
static _Atomic(int64_t) lateness_max_ns, lateness_sum_ns;

static void ring(void) {
    /* Release pairs with the acquire in serve(): who sees the number sees the timer. */
    ambit__add_release(&doorbell, 1);
    ambit__unpark(&doorbell, 1);
}

/* ---- Firing -------------------------------------------------------------------------------------
 */

static void note_lateness(int64_t late_ns) {
    ambit__bump_relaxed(&fired_count, 1); /* one service thread at a time writes these */
    ambit__bump_relaxed(&lateness_sum_ns, late_ns);
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

    note_lateness(ambit__clock_now() - node->deadline_ns);
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

/* One pass over one wheel; returns the tick at which it has to be looked at again. */
static int64_t serve_wheel(ambit__wheel *wheel) {
    ambit__spin_lock(&wheel->lock);
    ambit__wheel_advance(wheel, ambit__clock_now());
    ambit__spin_unlock(&wheel->lock);
    while (!ambit__load_relaxed(&stop_wanted) && fire_one(wheel)) {
    }
    ambit__spin_lock(&wheel->lock);
    int64_t next = wheel->wake_tick = ambit__wheel_next(wheel);
    ambit__spin_unlock(&wheel->lock);
    return next;
}

static void serve(void *unused) {
    (void)unused;
    ambit__store_relaxed(&service_thread, ambit__thread_id());
    while (!ambit__load_acquire(&stop_wanted)) {
        uint32_t rung = ambit__load_acquire(&doorbell);
        int64_t next = AMBIT__TICK_NEVER;
        for (ambit__wheel *wheel = ambit__load_acquire(&wheels); wheel; wheel = wheel->next) {
            int64_t tick = serve_wheel(wheel);
            if (tick < next) next = tick;
        }
        int64_t until_ns = next == AMBIT__TICK_NEVER ? AMBIT_NEVER : ambit__tick_ns(next);
        if (!ambit__load_acquire(&stop_wanted)) (void)ambit__park_until(&doorbell, rung, until_ns);
    }
    ambit__store_relaxed(&service_thread, 0);
}

/* ---- Start, stop, fork --------------------------------------------------------------------------
 */

static void forget_parent(void) {
    ambit__add_relaxed(&epoch, 1);
    ambit__store_relaxed(&running, 0);
    ambit__store_relaxed(&stop_wanted, 0);
    ambit__store_relaxed(&life.state, 0);
    worker_started = false;
    for (ambit__wheel *wheel = ambit__load_relaxed(&wheels); wheel; wheel = wheel->next)
        ambit__wheel_init(wheel, ambit__clock_now());
}

static ambit_status start_service(void) {
    ambit_status status = AMBIT_OK;
    ambit__mutex_lock(&life);
    if (!ambit__load_relaxed(&running)) {
        if (!fork_hook_set) {
            ambit__on_fork(forget_parent);
            fork_hook_set = true;
        }
        if (worker_started) { /* it was asked to stop from inside, and goes */
            ambit__worker_join(&worker);
            worker_started = false;
        }
        ambit__store_relaxed(&stop_wanted, 0);
        status = ambit__worker_start(&worker, "ambit-timer", serve, NULL);
        worker_started = !status;
        /* Release pairs with the acquire in ambit__timer_node_arm(). */
        ambit__store_release(&running, status ? 0u : 1u);
    }
    ambit__mutex_unlock(&life);
    return status;
}

void ambit_timer_stop(void) {
    bool here = ambit__load_relaxed(&service_thread) == ambit__thread_id();
    ambit__mutex_lock(&life);
    if (worker_started) {
        ambit__store_release(&running, 0);
        ambit__store_release(&stop_wanted, 1);
        ring();
        if (!here) {
            ambit__worker_join(&worker);
            worker_started = false;
        }
    }
    ambit__mutex_unlock(&life);
}

static ambit__wheel *wheel_of(ambit__thread *self) {
    if (ambit__likely(self->timer_wheel != NULL)) return self->timer_wheel;
    ambit__wheel *wheel = ambit__allocate(sizeof *wheel, 64);
    if (!wheel) return NULL;
    ambit__wheel_init(wheel, ambit__clock_now());
    ambit__mutex_lock(&life);
    wheel->next = ambit__load_relaxed(&wheels);
    /* Release pairs with the acquire in serve(). */
    ambit__store_release(&wheels, wheel);
    ambit__mutex_unlock(&life);
    return self->timer_wheel = wheel;
}

/* ---- Arm and disarm -----------------------------------------------------------------------------
 */

ambit_status ambit__timer_node_arm(ambit__timer_node *node, int64_t deadline_ns,
                                   void (*fire)(ambit__timer_node *node)) {
    ambit__thread *self = ambit__thread_self();
    ambit__wheel *wheel = self ? wheel_of(self) : NULL;
    if (ambit__unlikely(!wheel)) return AMBIT_EMEMORY;
    if (ambit__unlikely(!ambit__load_acquire(&running))) {
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
    int64_t tick = ambit__wheel_insert(wheel, node);
    bool sooner = tick < wheel->wake_tick;
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
    *stats = (ambit_timer_stats){
        .fired = ambit__load_relaxed(&fired_count),
        .lateness_max_ns = ambit__load_relaxed(&lateness_max_ns),
        .lateness_sum_ns = ambit__load_relaxed(&lateness_sum_ns),
        .thread_running = ambit__load_relaxed(&running) != 0,
    };
    for (ambit__wheel *wheel = ambit__load_acquire(&wheels); wheel; wheel = wheel->next) {
        ambit__spin_lock(&wheel->lock);
        stats->armed += wheel->armed;
        ambit__spin_unlock(&wheel->lock);
    }
}
