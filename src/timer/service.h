/* The service as arming and disarming see it, and the two themselves: inline, since they stand in
 * the middle of requests. */
#ifndef AMBIT_TIMER_SERVICE_H
#define AMBIT_TIMER_SERVICE_H

#include "base/clock.h"
#include "timer/slots.h"

#define AMBIT__SERVICE_RUNNING 1

extern _Atomic(uint32_t) ambit__timer_service __attribute__((visibility("hidden")));
/* Of the process: one more in each child of a fork. */
extern _Atomic(uint16_t) ambit__timer_epoch __attribute__((visibility("hidden")));

ambit_status ambit__timer_service_start(void);
/* Has the service look at all wheels. */
void ambit__timer_ring(void);
/* Makes this thread's wheel; NULL when there is no memory. */
ambit__wheel *ambit__wheel_new(ambit__thread *self);

/* So many disarms by other threads since the last passes, each of which halves the number, and the
 * wheel stays visited. */
enum { AMBIT__VISITS = 4, AMBIT__VISITS_MOST = 64 };
static inline bool ambit__wheel_is_visited(const ambit__wheel *wheel) {
    return wheel->visits >= AMBIT__VISITS;
}

/* Under the lock. Sets the wheel anew if another clock was put in place, or a program's own was set
 * back; true then: the time to wake at may be an earlier one. */
static inline bool ambit__wheel_follow_clock(ambit__wheel *wheel) {
    uint32_t changes = ambit__clock_changes();
    bool same = wheel->clock == changes;
    if (ambit__likely(same && !(changes & 3))) return false;
    int64_t now_ns = ambit__clock_now();
    if (same && now_ns >= ambit__tick_ns(wheel->tick)) return false;
    ambit__wheel_move(wheel, now_ns);
    wheel->clock = changes;
    return true;
}

static inline ambit_status ambit__timer_arm(ambit__thread *self, ambit__timer_node *node,
                                            int64_t deadline_ns,
                                            void (*fire)(ambit__timer_node *node)) {
    ambit__wheel *wheel = self ? self->timer_wheel : NULL;
    if (ambit__unlikely(!wheel)) {
        wheel = self ? ambit__wheel_new(self) : NULL;
        if (!wheel) return AMBIT_EMEMORY;
    }
    /* Relaxed: nothing that a start makes is read here. Who comes after a stop sees it; who does not is
     * beside it, and the timer waits for the next arm. */
    if (ambit__unlikely(ambit__load_relaxed(&ambit__timer_service) != AMBIT__SERVICE_RUNNING)) {
        ambit_status status = ambit__timer_service_start();
        if (status) return status;
    }
    ambit__bias_lock_owner(&wheel->lock);
    node->deadline_ns = deadline_ns;
    node->fire = fire;
    node->epoch = ambit__load_relaxed(&ambit__timer_epoch);
    ambit__store_relaxed(&node->wheel, wheel);
    /* Release pairs with the acquire in ambit__timer_take(): who sees it armed sees in which wheel,
     * and waits there for the lock. */
    ambit__store_release(&node->state, AMBIT__TIMER_ARMED);
    bool anew = ambit__wheel_follow_clock(wheel);
    int64_t tick = ambit__wheel_insert(wheel, node);
    bool sooner = anew || tick < ambit__load_relaxed(&wheel->wake_tick);
    if (sooner) ambit__store_relaxed(&wheel->wake_tick, tick);
    ambit__bias_unlock_owner(&wheel->lock);
    if (ambit__unlikely(sooner)) ambit__timer_ring();
    return AMBIT_OK;
}

/* Under the lock, for a node that is armed in the wheel. A later time is not before the slot that it
 * stands in, which sends it on when it is opened. True if the service has to be told. */
static inline bool ambit__timer_reset_locked(ambit__wheel *wheel, ambit__timer_node *node,
                                             int64_t deadline_ns) {
    bool later = deadline_ns >= node->deadline_ns && node->slot != AMBIT__SLOT_DUE;
    if (ambit__likely(later)) {
        node->deadline_ns = deadline_ns;
        return false;
    }
    ambit__wheel_remove(wheel, node);
    node->deadline_ns = deadline_ns;
    int64_t tick = ambit__wheel_insert(wheel, node);
    bool sooner = tick < ambit__load_relaxed(&wheel->wake_tick);
    if (sooner) ambit__store_relaxed(&wheel->wake_tick, tick);
    return sooner;
}

/* The long ways of a disarm: by a visitor, or of what is not simply armed. */
ambit_disarm ambit__timer_take(ambit__timer_node *node, bool any, uint64_t generation);

/* Disarms the node, if `any` or if it is still of that generation. */
static inline ambit_disarm ambit__timer_disarm(ambit__timer_node *node, bool any,
                                               uint64_t generation) {
    /* Idle: nothing to take, and nothing may be read, since another thread may be about to arm.
     * Acquire pairs with the releases in ambit__timer_arm() and fire_one(). */
    if (ambit__load_acquire(&node->state) == AMBIT__TIMER_IDLE) return AMBIT_FIRED;
    ambit__wheel *wheel = ambit__load_relaxed(&node->wheel);
    const ambit__thread *self = ambit__thread_record;
    if (ambit__unlikely(!self || self->timer_wheel != wheel))
        return ambit__timer_take(node, any, generation);
    ambit__bias_lock_owner(&wheel->lock);
    /* Acquire: of the wheel that it is armed in now. */
    bool taken = ambit__load_acquire(&node->state) == AMBIT__TIMER_ARMED &&
                 ambit__load_relaxed(&node->wheel) == wheel &&
                 node->epoch == ambit__load_relaxed(&ambit__timer_epoch) &&
                 (any || node->generation == generation);
    if (ambit__likely(taken)) {
        ambit__wheel_remove(wheel, node);
        ambit__timer_node_rests(node);
    }
    ambit__bias_unlock_owner(&wheel->lock);
    return ambit__likely(taken) ? AMBIT_DISARMED : ambit__timer_take(node, any, generation);
}

/* Moves the node to another time if it is armed and of that generation; false if not. */
bool ambit__timer_reset(ambit__timer_node *node, uint64_t generation, int64_t deadline_ns);

#endif
