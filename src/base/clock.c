#include "base/clock.h"

#include <stddef.h>
#include <time.h>

#include "base/atomic.h"
#include "base/bug.h"
#include "base/park.h"

/* The program's own clock: two words that belong together. Readers may come at any time, also while
 * another clock is put in place, such as a pass of the timer's after its last timer has fired. So it
 * is a sequence lock: `changes` is odd while the words are written. Not beside a fork(): the child
 * would wait for a writer that did not come along. */
typedef int64_t now_function(void *user);
static ambit__spin setting;
static _Atomic(now_function *) custom_now; /* NULL: the system's clock is in place */
static _Atomic(void *) custom_user;
static _Atomic(uint32_t) changes;

static int64_t read_clock(clockid_t id) {
    struct timespec time;
    (void)clock_gettime(id, &time); /* cannot fail for these clocks */
    return (int64_t)time.tv_sec * AMBIT_SECOND + time.tv_nsec;
}

int ambit__clock_is_custom(void) {
    /* Relaxed: read_custom() looks closer. */
    return ambit__load_relaxed(&custom_now) != NULL;
}

uint32_t ambit__clock_changes(void) {
    /* Acquire pairs with the release in ambit_clock_set(): who sees the change reads the new clock. */
    return ambit__load_acquire(&changes);
}

/* False if there is none, or no longer. */
static bool read_custom(int64_t *now_ns) {
    for (unsigned attempt = 0;; attempt++) {
        /* Acquire pairs with the releases in ambit_clock_set(): at an even number the words of that
         * change are seen, or later ones, and who sees a later one sees the number changed. */
        uint32_t before = ambit__load_acquire(&changes);
        now_function *now = ambit__load_acquire(&custom_now);
        void *user = ambit__load_acquire(&custom_user);
        if (before % 2 == 0 && ambit__load_relaxed(&changes) == before) {
            if (now) *now_ns = now(user);
            return now != NULL;
        }
        ambit__backoff(attempt);
    }
}

int64_t ambit__clock_now(void) {
    int64_t now_ns;
    if (ambit__unlikely(ambit__clock_is_custom()) && read_custom(&now_ns)) return now_ns;
    return read_clock(CLOCK_MONOTONIC);
}

int64_t ambit__clock_coarse(void) {
    int64_t now_ns;
    if (ambit__unlikely(ambit__clock_is_custom()) && read_custom(&now_ns)) return now_ns;
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
    if (clock && !clock->now_ns)
        ambit__bug(__func__, "expected a function that tells the time, found NULL", NULL, NULL);
    ambit__spin_lock(&setting);
    uint32_t before = ambit__load_relaxed(&changes);
    ambit__store_relaxed(&changes, before + 1);
    /* Release, here and below, pairs with the acquire in read_custom(). */
    ambit__store_release(&custom_now, clock ? clock->now_ns : NULL);
    ambit__store_release(&custom_user, clock ? clock->user : NULL);
    ambit__store_release(&changes, before + 2);
    ambit__spin_unlock(&setting);
}
