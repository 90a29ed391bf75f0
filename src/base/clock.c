#include "base/clock.h"

#include <stddef.h>

static ambit_clock custom;
_Atomic(bool) ambit__clock_custom;
static _Atomic(uint32_t) changes;

uint32_t ambit__clock_changes(void) {
    /* Acquire pairs with the release in ambit_clock_set(): who sees the change reads the new clock. */
    return ambit__load_acquire(&changes);
}

int64_t ambit__clock_custom_now(void) { return custom.now_ns(custom.user); }

int64_t ambit__clock_now(void) {
    if (ambit__unlikely(ambit__clock_is_custom())) return ambit__clock_custom_now();
    return ambit__clock_system(CLOCK_MONOTONIC);
}

int64_t ambit__clock_system_lag_ns = 32 * AMBIT_MILLISECOND;

__attribute__((constructor)) static void measure_lag(void) {
    struct timespec tick = {0, 0};
    (void)clock_getres(CLOCK_MONOTONIC_COARSE, &tick);
    int64_t three_ns = 3 * ((int64_t)tick.tv_sec * AMBIT_SECOND + tick.tv_nsec);
    if (three_ns > ambit__clock_system_lag_ns) ambit__clock_system_lag_ns = three_ns;
}

int64_t ambit_clock_now_ns(void) { return ambit__clock_now(); }

void ambit_clock_set(const ambit_clock *clock) {
    if (clock) custom = *clock;
    /* Release pairs with the acquire in ambit__clock_is_custom(). */
    ambit__store_release(&ambit__clock_custom, clock != NULL);
    /* Release pairs with ambit__clock_changes(). */
    ambit__store_release(&changes, ambit__load_relaxed(&changes) + 1);
}
