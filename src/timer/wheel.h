/* The timing wheel as the rooms above use it: a node in the caller's type-stable object. */
#ifndef AMBIT_TIMER_WHEEL_H
#define AMBIT_TIMER_WHEEL_H

#include <stddef.h>

#include "ambit/timer.h"
#include "base/thread.h"

typedef struct ambit__timer_link {
    struct ambit__timer_link *next, *previous;
} ambit__timer_link;

/* Zero is an idle node. What comes first, 32 bytes, is all that a reset to a later time needs: behind
 * a census entry it ends a cache line. */
typedef struct ambit__timer_node {
    /* any thread */
    _Atomic(struct ambit__wheel *) wheel; /* it stands in, or stood in last */
    _Atomic(uint32_t) state;              /* AMBIT__TIMER_* */
    /* under the lock of `wheel` */
    uint16_t slot;  /* level * 64 + slot; AMBIT__SLOT_DUE while it waits for its turn to fire */
    uint16_t epoch; /* of the process: a fork leaves the nodes of before behind */
    uint64_t generation; /* one more each time the node becomes idle */
    int64_t deadline_ns;
    ambit__timer_link link;
    /* fixed while armed */
    void (*fire)(struct ambit__timer_node *node); /* on the timer thread, no lock held */
    /* Read after `fire`, which may set it, and before the node becomes idle; called after that, as
     * the last touch. NULL for none. */
    void (*fired)(struct ambit__timer_node *node);
    /* any thread */
    _Atomic(uint32_t) thread; /* ambit__thread_id() of the thread that fires it */
} ambit__timer_node;

static inline ambit__timer_node *ambit__timer_node_of(ambit__timer_link *link) {
    return (ambit__timer_node *)(void *)((char *)link - offsetof(ambit__timer_node, link));
}

enum { AMBIT__TIMER_IDLE, AMBIT__TIMER_ARMED, AMBIT__TIMER_FIRING, AMBIT__TIMER_AWAITED };

/* Under the lock of its wheel: a node that was armed is not any more. Release pairs with the
 * acquires in ambit__timer_disarm() and ambit__timer_take(): who finds it idle comes after all
 * that it has been, also if it asks for one that has fired before this one was armed. */
static inline void ambit__timer_node_rests(ambit__timer_node *node) {
    node->generation++;
    ambit__store_release(&node->state, AMBIT__TIMER_IDLE);
}

/* Arms an idle node; its memory must stay until disarmed or fired. AMBIT_OK, AMBIT_EMEMORY,
 * AMBIT_ETHREAD: the node is idle then. */
ambit_status ambit__timer_node_arm(ambit__timer_node *node, int64_t deadline_ns,
                                   void (*fire)(ambit__timer_node *node));

/* Takes it out. Waits for a `fire` that runs on another thread; after AMBIT_FIRING_HERE `fire` is
 * still on this thread's stack, and the node is touched once more when it returns. Cannot fail. */
ambit_disarm ambit__timer_node_disarm(ambit__timer_node *node);
/* The same if it is armed; a node that fires is left alone, so this does not wait. */
void ambit__timer_node_disarm_armed(ambit__timer_node *node);

#endif
