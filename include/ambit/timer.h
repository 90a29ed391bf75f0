/* Timers: a function called once, at a time or later, on ambit's timer thread.
 *
 * A hierarchical timing wheel (Varghese and Lauck, SOSP 1987) for each arming thread: arm and
 * disarm are O(1) from 1 ms to 200 years ahead. No timer fires early; how late they were is kept.
 * The timer thread starts when the first timer is armed and ends on request.
 *
 * A timer is a small handle, copied freely: it stays valid to name after the timer has fired, and
 * then says so. Disarming from any thread takes the timer out at once: nothing stays pinned.
 *
 * FORK: armed timers stay with the parent; in the child their handles say that they have fired. */
#ifndef AMBIT_TIMER_H
#define AMBIT_TIMER_H

#include <stdint.h>

#include "ambit/clock.h"
#include "ambit/site.h"
#include "ambit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ambit_timer {
    struct ambit__timer_entry *entry;
    uint64_t generation;
} ambit_timer;

typedef void ambit_timer_fn(void *argument);

/* Has `run(argument)` called once at or after `deadline_ns`. The function should be short: it holds
 * up the timers behind it. `*out` is zero on failure.
 * Thread: any. Blocks: no. Returns AMBIT_OK, AMBIT_EMEMORY, AMBIT_ETHREAD. */
#define ambit_timer_arm(deadline_ns, run, argument, out)                                           \
    ambit_timer_arm_at((deadline_ns), (run), (argument), (out), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_timer_arm_at(int64_t deadline_ns, ambit_timer_fn *run,
                                                 void *argument, ambit_timer *out,
                                                 const ambit_site *site);

typedef enum ambit_disarm {
    AMBIT_DISARMED = 0,   /* it will not fire */
    AMBIT_FIRED = 1,      /* it has fired and its function has returned, or was disarmed before */
    AMBIT_FIRING_HERE = 2 /* this call is made from inside its function */
} ambit_disarm;

/* Takes the timer back. If its function runs on the timer thread this waits until it has returned.
 * Thread: any. Blocks: for a function that is running. Cannot fail. */
ambit_disarm ambit_timer_disarm(ambit_timer timer);

/* Moves an armed timer to another time, without letting go of it: for time limits that are renewed
 * again and again, such as that of an idle connection. To a later time it stays where it stands,
 * and is moved when its old time comes, so that a renewal costs a few stores. Returns 1 if it is
 * armed for the new time, 0 if it has fired, its function runs right now, or it was disarmed: then
 * arm anew. Thread: any. Blocks: no. Cannot fail. */
int ambit_timer_reset(ambit_timer timer, int64_t deadline_ns);

typedef struct ambit_timer_stats {
    uint64_t armed;          /* in the wheel now: contexts' deadlines and timers */
    uint64_t fired;          /* since the start */
    int64_t lateness_max_ns; /* since the start: how long after its time a timer fired */
    int64_t lateness_sum_ns;
    int thread_running;
} ambit_timer_stats;

/* Thread: any. Blocks: for a moment. Cannot fail. */
void ambit_timer_stats_read(ambit_timer_stats *stats);

/* Ends the timer thread and waits for it; armed timers stay armed and fire once another is armed.
 * From inside a timer's function it only asks. Thread: any. Cannot fail; idempotent. */
void ambit_timer_stop(void);

#ifdef __cplusplus
}
#endif
#endif
