/* Cancel callbacks that took too long and have ended: kept here until the next check.
 *
 * WHO REPORTS. A callback is reported by the check that finds it running, or, if it has ended when
 * the check looks again, from here; never by both. The thread that ran it sets callback_since_ns to
 * 0 and then clears the bit in the marks; the check reads callback_since_ns once more and sets the
 * bit, and reads it again before it reports. All of that is made under one lock: if the bit came
 * first it is found, and counted as returned; if the clearing came first the check sees the 0, and
 * leaves it. A callback that was quick, by a limit that has been changed since, looks for the bit
 * without the lock: there the light barrier in ambit__verdict_callback_ended() has one of the two
 * see the other. */
#include "census/verdict.h"

enum { KEPT = 64 };

static ambit__spin lock = {AMBIT__RANKED(AMBIT__RANK_SLOW)};
/* Under the lock. */
static ambit_verdict kept[KEPT];
static uint32_t kept_count;

void ambit__slow_callback_ended(ambit__entry *entry, const ambit_site *site, int64_t took_ns) {
    ambit__verdict_tally *tally = &ambit__verdict_tallies[AMBIT_VERDICT_SLOW_CALLBACK];
    int64_t limit = ambit__load_relaxed(&ambit__verdict_limits[AMBIT_VERDICT_SLOW_CALLBACK]);
    if (ambit__verdict_take_back(entry, 1u << AMBIT_VERDICT_SLOW_CALLBACK)) return;
    if (took_ns <= limit) return;
    ambit_verdict verdict = {
        .kind = AMBIT_VERDICT_SLOW_CALLBACK,
        .object = AMBIT_KIND_CTX,
        .site = site,
        .age_ns = ambit__clock_coarse() - ambit__load_relaxed(&entry->birth_ns),
        .bytes = ambit__load_relaxed(&entry->bytes),
        .measured = took_ns,
        .limit = limit,
        .ended = true,
    };
    ambit__spin_lock(&lock);
    bool fits = kept_count < KEPT;
    if (fits) kept[kept_count++] = verdict;
    ambit__spin_unlock(&lock);
    if (!fits) ambit__add_relaxed(&tally->lost, 1);
}

void ambit__slow_callbacks_give(ambit__check *check) {
    ambit_verdict taken[KEPT]; /* so that the hook is called without the lock */
    ambit__spin_lock(&lock);
    uint32_t count = kept_count;
    for (uint32_t i = 0; i < count; i++) taken[i] = kept[i];
    kept_count = 0;
    ambit__spin_unlock(&lock);
    for (uint32_t i = 0; i < count; i++) {
        ambit__check_give(check, &taken[i]);
        ambit__verdict_returned(1u << AMBIT_VERDICT_SLOW_CALLBACK);
    }
}

/* The parent reports what was kept at the fork. */
void ambit__slow_callbacks_forked(void) {
    ambit__spin_reset(&lock);
    kept_count = 0;
}
