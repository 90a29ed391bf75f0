/* The clock that all deadlines are measured by: monotonic nanoseconds, from an arbitrary start.
 *
 * Deadlines are absolute. A program may put a clock of its own in place (tests do); waits then wake
 * once a millisecond of real time to read it, so that a virtual clock that jumps is seen. A clock
 * that steps back is tolerated: nothing that has ended starts to live again. */
#ifndef AMBIT_CLOCK_H
#define AMBIT_CLOCK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AMBIT_NEVER INT64_MAX /* a deadline that does not come */

#define AMBIT_MICROSECOND INT64_C(1000)
#define AMBIT_MILLISECOND INT64_C(1000000)
#define AMBIT_SECOND INT64_C(1000000000)

typedef struct ambit_clock {
    int64_t (*now_ns)(void *user); /* must be callable from any thread, and not block */
    void *user;
} ambit_clock;

/* Now, to the nanosecond as far as the machine can tell. Thread: any. Blocks: no. Cannot fail. */
int64_t ambit_clock_now_ns(void);

/* Puts `clock` in place for the whole process; NULL puts the system's back. The struct is copied.
 * Thread: any, but while no context is open and no timer armed. Blocks: no. Cannot fail. */
void ambit_clock_set(const ambit_clock *clock);

#ifdef __cplusplus
}
#endif
#endif
