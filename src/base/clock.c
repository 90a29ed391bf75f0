#include "base/clock.h"

#include <stddef.h>

static ambit_clock custom;
_Atomic(uint32_t) ambit__clock_version;

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
    uint32_t next = ambit__load_relaxed(&ambit__clock_version) + 1;
    if ((next & 1) != (clock != NULL)) next++;
    /* Release pairs with the acquire in ambit__clock_changes(): the struct stands before it. */
    ambit__store_release(&ambit__clock_version, next);
}
