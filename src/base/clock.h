/* The clock as ambit's own rooms read it. */
#ifndef AMBIT_BASE_CLOCK_H
#define AMBIT_BASE_CLOCK_H

#include "ambit/clock.h"
#include "base/atomic.h"
#include "base/vdso.h"

/* Another number after each clock put in place: times of before and after do not compare. Its lowest
 * bit is set while that is a program's own, the next one while it is being exchanged. */
extern _Atomic(uint32_t) ambit__clock_version __attribute__((visibility("hidden")));
static inline uint32_t ambit__clock_changes(void) {
    /* Relaxed: who sees the change and reads the clock loads this word again, with acquire, in
     * ambit__clock_read_custom(), and sees that change or a later one. */
    return ambit__load_relaxed(&ambit__clock_version);
}
static inline bool ambit__clock_is_custom(void) { return ambit__clock_changes() & 3; }

int64_t ambit__clock_now(void);
/* False if there is no clock of the program's, or no longer. */
bool ambit__clock_read_custom(int64_t *now_ns);

static inline int64_t ambit__clock_system(clockid_t id) {
    struct timespec time;
    (void)ambit__clock_gettime(id, &time); /* cannot fail for the two monotonic clocks */
    return (int64_t)time.tv_sec * AMBIT_SECOND + time.tv_nsec;
}

/* Stores `ambit__stamp` (ambit/entry.h), but 0 if the clock is a program's own: that may be read by each
 * who wants to know. Thread: any. */
void ambit__stamp_set(int64_t now_ns);
/* In the child of a fork(), alone: nobody renews it. */
void ambit__stamp_forked(void);

/* At most ambit__clock_lag() behind ambit__clock_now, never ahead; an eighth of its price. */
static inline int64_t ambit__clock_coarse(void) {
    int64_t now_ns;
    if (ambit__unlikely(ambit__clock_is_custom()) && ambit__clock_read_custom(&now_ns))
        return now_ns;
    return ambit__clock_system(CLOCK_MONOTONIC_COARSE);
}

/* How far the coarse clock may be behind; 0 under a program's own clock. It moves with the kernel's
 * tick, which comes late on a busy or virtual machine: 11.8 ms behind was seen at a tick of 10 ms,
 * so this is three ticks, and 32 ms at least. */
extern int64_t ambit__clock_system_lag_ns __attribute__((visibility("hidden")));
static inline int64_t ambit__clock_lag(void) {
    return ambit__unlikely(ambit__clock_is_custom()) ? 0 : ambit__clock_system_lag_ns;
}

/* ambit__clock_now() >= time_ns, at the coarse clock's price unless the time is near. */
static inline bool ambit__clock_reached(int64_t time_ns) {
    int64_t now_ns;
    if (ambit__unlikely(ambit__clock_is_custom()) && ambit__clock_read_custom(&now_ns))
        return now_ns >= time_ns;
    /* Not `time_ns - lag`, which may be less than the least number. */
    now_ns = ambit__clock_system(CLOCK_MONOTONIC_COARSE);
    if (ambit__likely(now_ns + ambit__clock_system_lag_ns < time_ns)) return false;
    return ambit__clock_system(CLOCK_MONOTONIC) >= time_ns;
}

#endif
