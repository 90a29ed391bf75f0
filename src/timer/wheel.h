/* The timing wheel as the rooms above use it: a node in the caller's type-stable object. */
#ifndef AMBIT_TIMER_WHEEL_H
#define AMBIT_TIMER_WHEEL_H

#include "ambit/timer.h"
#include "base/thread.h"

typedef struct ambit__timer_link {
    struct ambit__timer_link *next, *previous;
} ambit__timer_link;

/* Zero is an idle node. What a disarm reads comes first, so that it lies together. */
typedef struct ambit__timer_node {
    /* under the lock of `wheel` */
    ambit__timer_link link; /* first: a link is cast back to its node */
    uint64_t generation;    /* one more each time the node becomes idle */
    /* any thread */
    _Atomic(struct ambit__wheel *) wheel; /* it stands in, or stood in last */
    _Atomic(uint32_t) state;              /* AMBIT__TIMER_* */
    /* under the lock of `wheel` */
    uint32_t slot;  /* level * 64 + slot; AMBIT__SLOT_DUE while it waits for its turn to fire */
    uint32_t epoch; /* of the process: a fork leaves the nodes of before behind */
    /* any thread */
    _Atomic(uint32_t) thread; /* ambit__thread_id() of the thread that fires it */
    /* fixed while armed */
    int64_t deadline_ns;
    void (*fire)(struct ambit__timer_node *node); /* on the timer thread, no lock held */
    /* Read after `fire`, which may set it, and before the node becomes idle; called after that, as
     * the last touch. NULL for none. */
    void (*fired)(struct ambit__timer_node *node);
} ambit__timer_node;

enum { AMBIT__TIMER_IDLE, AMBIT__TIMER_ARMED, AMBIT__TIMER_FIRING, AMBIT__TIMER_AWAITED };

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
