/* The timing wheel as the rooms above use it: a node in the caller's type-stable object. */
#ifndef AMBIT_TIMER_WHEEL_H
#define AMBIT_TIMER_WHEEL_H

#include "ambit/timer.h"
#include "base/thread.h"

typedef struct ambit__timer_node {
    /* under the lock of `shard` */
    struct ambit__timer_node *next, *previous;
    int64_t deadline_ns;
    uint16_t slot; /* level and slot it stands in */
    /* any thread */
    _Atomic(void *) shard;    /* the wheel it stands in; set at arm, kept until the next arm */
    _Atomic(uint32_t) state;  /* idle, armed, firing (with waiters) */
    _Atomic(uint32_t) thread; /* ambit__thread_id of the thread that fires it */
    /* fixed while armed: called on the timer thread, no lock held */
    void (*fire)(struct ambit__timer_node *node);
} ambit__timer_node;

/* Arms an idle node; its memory must stay until disarmed or fired. AMBIT_OK, AMBIT_EMEMORY,
 * AMBIT_ETHREAD: the node is idle then. */
ambit_status ambit__timer_node_arm(ambit__timer_node *node, int64_t deadline_ns,
                                   void (*fire)(ambit__timer_node *node));
/* Takes it out. Waits for a `fire` that runs on another thread; after AMBIT_FIRING_HERE `fire` is
 * still on this thread's stack and will touch the node once more when it returns. Cannot fail. */
ambit_disarm ambit__timer_node_disarm(ambit__timer_node *node);

#endif
