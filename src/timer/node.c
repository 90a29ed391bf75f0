/* Arming and disarming, for the rooms above; the short ways are in service.h. */
#include <stddef.h>

#include "timer/service.h"

ambit_status ambit__timer_node_arm(ambit__timer_node *node, int64_t deadline_ns,
                                   void (*fire)(ambit__timer_node *node)) {
    return ambit__timer_arm(ambit__thread_self(), node, deadline_ns, fire);
}

/* Under the wheel's lock: what a disarm finds. `*wait` is set if another thread fires it. */
static ambit_disarm take_locked(ambit__wheel *wheel, ambit__timer_node *node, bool *wait) {
    *wait = false;
    if (ambit__unlikely(node->epoch != ambit__load_relaxed(&ambit__timer_epoch)))
        return AMBIT_FIRED;
    uint32_t state = ambit__load_relaxed(&node->state);
    if (ambit__likely(state == AMBIT__TIMER_ARMED)) {
        ambit__wheel_remove(wheel, node);
        ambit__timer_node_rests(node);
        return AMBIT_DISARMED;
    }
    if (state == AMBIT__TIMER_IDLE) return AMBIT_FIRED;
    if (ambit__load_relaxed(&node->thread) == ambit__thread_id()) return AMBIT_FIRING_HERE;
    /* Release as in fire_one(), for the next one who wants it back. */
    ambit__store_release(&node->state, AMBIT__TIMER_AWAITED);
    *wait = true;
    return AMBIT_FIRED;
}

AMBIT__UNCHECKED static void lock_for_disarm(ambit__wheel *wheel, bool owner) {
    if (owner) {
        ambit__bias_lock_owner(&wheel->lock);
        return;
    }
    ambit__bias_lock_visitor(&wheel->lock);
    if (wheel->visits < AMBIT__VISITS_MOST) wheel->visits++;
}

AMBIT__UNCHECKED static void unlock_for_disarm(ambit__wheel *wheel, bool owner) {
    if (owner)
        ambit__bias_unlock_owner(&wheel->lock);
    else
        ambit__bias_unlock_visitor(&wheel->lock, ambit__wheel_is_visited(wheel));
}

ambit_disarm ambit__timer_take(ambit__timer_node *node, bool any, uint64_t generation) {
    const ambit__thread *self = ambit__thread_record;
    for (;;) {
        /* As in ambit__timer_disarm(). */
        if (ambit__load_acquire(&node->state) == AMBIT__TIMER_IDLE) return AMBIT_FIRED;
        ambit__wheel *wheel = ambit__load_relaxed(&node->wheel);
        bool owner = self && self->timer_wheel == wheel;
        bool wait = false;
        ambit_disarm found = AMBIT_FIRED;
        lock_for_disarm(wheel, owner);
        /* It may have become idle, and been armed anew in another wheel, by now. */
        bool here = ambit__load_acquire(&node->state) != AMBIT__TIMER_IDLE &&
                    ambit__load_relaxed(&node->wheel) == wheel;
        if (here && (any || node->generation == generation))
            found = take_locked(wheel, node, &wait);
        unlock_for_disarm(wheel, owner);
        if (!wait) return found;
        (void)ambit__park_until(&node->state, AMBIT__TIMER_AWAITED, AMBIT_NEVER);
    }
}

ambit_disarm ambit__timer_node_disarm(ambit__timer_node *node) {
    return ambit__timer_disarm(node, true, 0);
}

void ambit__timer_node_disarm_armed(ambit__timer_node *node) {
    /* As in ambit__timer_disarm(). */
    if (ambit__load_acquire(&node->state) == AMBIT__TIMER_IDLE) return;
    ambit__wheel *wheel = ambit__load_relaxed(&node->wheel);
    const ambit__thread *self = ambit__thread_record;
    bool owner = self && self->timer_wheel == wheel;
    bool wait = false;
    lock_for_disarm(wheel, owner);
    if (ambit__load_acquire(&node->state) == AMBIT__TIMER_ARMED &&
        ambit__load_relaxed(&node->wheel) == wheel)
        (void)take_locked(wheel, node, &wait);
    unlock_for_disarm(wheel, owner);
}

bool ambit__timer_reset(ambit__timer_node *node, uint64_t generation, int64_t deadline_ns) {
    /* As in ambit__timer_disarm(). */
    if (ambit__load_acquire(&node->state) == AMBIT__TIMER_IDLE) return false;
    ambit__wheel *wheel = ambit__load_relaxed(&node->wheel);
    const ambit__thread *self = ambit__thread_record;
    bool owner = self && self->timer_wheel == wheel;
    bool sooner = false;
    lock_for_disarm(wheel, owner);
    bool armed = ambit__load_acquire(&node->state) == AMBIT__TIMER_ARMED &&
                 ambit__load_relaxed(&node->wheel) == wheel &&
                 node->epoch == ambit__load_relaxed(&ambit__timer_epoch) &&
                 node->generation == generation;
    if (ambit__likely(armed)) {
        sooner = ambit__wheel_follow_clock(wheel);
        sooner |= ambit__timer_reset_locked(wheel, node, deadline_ns);
    }
    unlock_for_disarm(wheel, owner);
    if (ambit__unlikely(sooner)) ambit__timer_ring();
    return armed;
}
