/* The inside of verdicts, for the files of this room and for those whom they watch.
 *
 * WHO COUNTS WHAT. A check sets the bit of a kind in an object's marks and counts it as reported;
 * whoever clears the bit counts it as returned: the thread that gives the object back, the thread
 * whose callback has ended, or a later check that finds it within the limit. Clearing goes through
 * ambit__verdict_take_back() or ambit__verdict_gone() alone, so each report returns once at most. */
#ifndef AMBIT_CENSUS_VERDICT_H
#define AMBIT_CENSUS_VERDICT_H

#include "base/clock.h"
#include "census/slab.h"
#include "census/snapshot.h"

/* Set by anyone, at any time. */
extern _Atomic(int64_t) ambit__verdict_limits[AMBIT_VERDICT_KINDS]
    __attribute__((visibility("hidden")));

typedef struct ambit__verdict_tally {
    _Atomic(uint64_t) reported, returned, lost;
} ambit__verdict_tally;
extern ambit__verdict_tally ambit__verdict_tallies[AMBIT_VERDICT_KINDS]
    __attribute__((visibility("hidden")));

/* One run of ambit_verdict_check(). */
typedef struct ambit__check {
    ambit_verdict_hook *hook; /* NULL: only count */
    void *user;
    int64_t now_ns;
    uint64_t given;
    ambit_census *sites; /* living objects by kind and site; NULL: not asked for, or no memory */
} ambit__check;
/* Hands one verdict to the hook and counts it. */
void ambit__check_give(ambit__check *check, const ambit_verdict *verdict);

/* Counts one as returned for each bit. */
void ambit__verdict_returned(uint32_t bits);
/* Clears these bits in the object's marks and counts those that were set as returned. Returns them.
 * Thread: any. Takes a spin lock. */
uint32_t ambit__verdict_take_back(ambit__entry *entry, uint32_t bits);
/* The same for all bits of an object that is given back. */
void ambit__verdict_gone(ambit__entry *entry);

/* slow.c: a cancel callback that took so long has ended, after its context's `callback_since_ns` was
 * set to 0. */
void ambit__slow_callback_ended(ambit__entry *entry, const ambit_site *site, int64_t took_ns);
static inline void ambit__verdict_callback_ended(ambit__entry *entry, const ambit_site *site,
                                                 int64_t took_ns) {
    uint32_t bit = 1u << AMBIT_VERDICT_SLOW_CALLBACK;
    /* Between that 0 and the look at the marks; pairs with the heavy one in flush() in check.c,
     * which comes between the mark and the check's look at the time: one of the two sees the
     * other. */
    ambit__light_barrier();
    if (ambit__unlikely(
            took_ns > ambit__load_relaxed(&ambit__verdict_limits[AMBIT_VERDICT_SLOW_CALLBACK]) ||
            ambit__load_relaxed(&entry->marks) & bit))
        ambit__slow_callback_ended(entry, site, took_ns);
}
/* Reports those that have ended since the last check. */
void ambit__slow_callbacks_give(ambit__check *check);

/* crowd.c: before the walk, for each object of it, and after it. One check at a time. */
void ambit__crowd_begin(ambit__check *check);
void ambit__crowd_count(ambit__check *check, ambit_kind kind, const ambit_site *site,
                        int64_t age_ns, uint64_t bytes);
void ambit__crowd_give(ambit__check *check);

/* In the child of a fork(), alone. */
void ambit__verdict_forked(void);
void ambit__slow_callbacks_forked(void);
void ambit__watcher_forked(void);

#endif
