/* Times as programs pass them to the kernel, and as the schedule counts them. */
#ifndef AMBIT_SCHEDULE_TIMES_H
#define AMBIT_SCHEDULE_TIMES_H

#include <time.h>

#include "schedule/inside.h"

#define AMBIT__SECOND_NS INT64_C(1000000000)

/* False if it is no time (EINVAL). What is too large to count is for ever. */
static inline bool ambit__time_ns(const struct timespec *time, int64_t *ns) {
    if (time->tv_sec < 0 || time->tv_nsec < 0 || time->tv_nsec >= AMBIT__SECOND_NS) return false;
    if (time->tv_sec >= AMBIT__FOREVER / AMBIT__SECOND_NS)
        *ns = AMBIT__FOREVER;
    else
        *ns = (int64_t)time->tv_sec * AMBIT__SECOND_NS + time->tv_nsec;
    return true;
}

/* When `ns` from now will be. */
static inline int64_t ambit__time_after(int64_t ns) {
    int64_t now = ambit__now();
    return ns > AMBIT__FOREVER - now ? AMBIT__FOREVER : now + ns;
}

static inline struct timespec ambit__time_spec(int64_t ns) {
    return (struct timespec){ns / AMBIT__SECOND_NS, ns % AMBIT__SECOND_NS};
}

#endif
