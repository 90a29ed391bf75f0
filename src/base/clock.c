#include "base/clock.h"

#include <stddef.h>

#include "ambit/entry.h"
#include "base/bug.h"
#include "base/park.h"

/* The program's own clock: two words that belong together. Readers may come at any time, also while
 * another clock is put in place, such as a pass of the timer's after its last timer has fired. So it
 * is a sequence lock, whose number is `ambit__clock_version`. Not beside a fork(): the child would
 * wait for a writer that did not come along. */
typedef int64_t now_function(void *user);
enum { CUSTOM = 1, WRITING = 2, NEXT = 4 };
static ambit__spin setting = {AMBIT__RANKED(AMBIT__RANK_CLOCK)};
static _Atomic(now_function *) custom_now;
static _Atomic(void *) custom_user;
_Atomic(uint32_t) ambit__clock_version;

bool ambit__clock_read_custom(int64_t *now_ns) {
    for (unsigned attempt = 0;; attempt++) {
        /* Acquire pairs with the releases in ambit_clock_set(): the words of that change are seen,
         * or later ones, and who sees a later one sees the number changed. */
        uint32_t before = ambit__load_acquire(&ambit__clock_version);
        now_function *now = ambit__load_acquire(&custom_now);
        void *user = ambit__load_acquire(&custom_user);
        if (!(before & WRITING) && ambit__load_relaxed(&ambit__clock_version) == before) {
            if (before & CUSTOM) *now_ns = now(user);
            return before & CUSTOM;
        }
        ambit__backoff(attempt);
    }
}

int64_t ambit__clock_now(void) {
    int64_t now_ns;
    if (ambit__unlikely(ambit__clock_is_custom()) && ambit__clock_read_custom(&now_ns))
        return now_ns;
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
    if (clock && !clock->now_ns)
        ambit__bug(__func__, "expected a function that tells the time, found NULL", NULL, NULL);
    ambit__spin_lock(&setting);
    uint32_t next = (ambit__load_relaxed(&ambit__clock_version) & ~(uint32_t)(NEXT - 1)) + NEXT;
    ambit__store_relaxed(&ambit__clock_version, next | WRITING);
    /* Release, here and below, pairs with the acquire in ambit__clock_read_custom(). */
    ambit__store_release(&custom_now, clock ? clock->now_ns : NULL);
    ambit__store_release(&custom_user, clock ? clock->user : NULL);
    ambit__store_release(&ambit__clock_version, next | (clock ? CUSTOM : 0));
    ambit__store_relaxed(&ambit__stamp.now_ns, 0); /* it was another clock's */
    ambit__spin_unlock(&setting);
}

struct ambit__stamp ambit__stamp;

void ambit__stamp_set(int64_t now_ns) {
    ambit__spin_lock(&setting);
    ambit__store_relaxed(&ambit__stamp.now_ns, ambit__clock_is_custom() ? 0 : now_ns);
    ambit__spin_unlock(&setting);
}

void ambit__stamp_forked(void) {
    ambit__spin_reset(&setting); /* the timer thread may have had it */
    ambit__store_relaxed(&ambit__stamp.now_ns, 0);
}
