#include "base/clock.h"

#include <stddef.h>
#include <time.h>

#include "base/atomic.h"

static ambit_clock custom;
static _Atomic(int) custom_set;
static _Atomic(uint32_t) changes;

static int64_t read_clock(clockid_t id) {
    struct timespec time;
    (void)clock_gettime(id, &time); /* cannot fail for these clocks */
    return (int64_t)time.tv_sec * AMBIT_SECOND + time.tv_nsec;
}

int ambit__clock_is_custom(void) {
    /* Acquire pairs with the release in ambit_clock_set(): the struct stands before the flag. */
    return ambit__load_acquire(&custom_set);
}

uint32_t ambit__clock_changes(void) {
    /* Acquire pairs with the release in ambit_clock_set(): who sees the change reads the new clock. */
    return ambit__load_acquire(&changes);
}

int64_t ambit__clock_now(void) {
    if (ambit__unlikely(ambit__clock_is_custom())) return custom.now_ns(custom.user);
    return read_clock(CLOCK_MONOTONIC);
}

int64_t ambit__clock_coarse(void) {
    if (ambit__unlikely(ambit__clock_is_custom())) return custom.now_ns(custom.user);
    return read_clock(CLOCK_MONOTONIC_COARSE);
}

int64_t ambit__clock_lag(void) {
    static _Atomic(int64_t) lag_ns;
    if (ambit__unlikely(ambit__clock_is_custom())) return 0;
    /* Relaxed: every thread that finds 0 computes the same number. */
    int64_t known = ambit__load_relaxed(&lag_ns);
    if (ambit__unlikely(!known)) {
        struct timespec tick = {0, 0};
        (void)clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
        known = 3 * ((int64_t)tick.tv_sec * AMBIT_SECOND + tick.tv_nsec);
        if (known < 32 * AMBIT_MILLISECOND) known = 32 * AMBIT_MILLISECOND;
        ambit__store_relaxed(&lag_ns, known);
    }
    return known;
}

int64_t ambit_clock_now_ns(void) { return ambit__clock_now(); }

void ambit_clock_set(const ambit_clock *clock) {
    if (clock) custom = *clock;
    /* Release pairs with ambit__clock_is_custom(). */
    ambit__store_release(&custom_set, clock != NULL);
    /* Release pairs with ambit__clock_changes(). */
    ambit__store_release(&changes, ambit__load_relaxed(&changes) + 1);
}
