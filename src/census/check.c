/* The check: one walk that finds what is beyond its limit.
 *
 * The walk marks what it finds and puts it aside; a full batch is looked at again, and what still
 * stands is given to the hook. Between marking and the second look lies a barrier on all running
 * threads. An owner that gives the object back clears its site and then reads the marks, without a
 * barrier of its own: either it sees the mark and counts the report as returned, or the second look
 * sees that the object is another, and takes the mark away unreported. */
#include <stddef.h>

#include "base/bug.h"
#include "base/park.h"
#include "base/thread.h"
#include "census/verdict.h"
#include "census/walk.h"

enum { BATCH = 64, KEPT_SLOTS = 256 };

struct pending {
    ambit__entry *entry;
    int64_t birth_ns;
    int64_t callback_since_ns;
    bool returned; /* its mark was taken back meanwhile */
    ambit_verdict verdict;
};

static ambit__mutex checking = {AMBIT__RANKED(AMBIT__RANK_CHECK)};
static _Atomic(uint32_t) checker; /* the thread that holds `checking`, 0 for none */

/* Written by the checker under `lock`; `returned` by anyone under it. */
static ambit__spin lock = {AMBIT__RANKED(AMBIT__RANK_MARKS)};
static struct pending batch[BATCH];
static uint32_t batch_count, batch_confirmed; /* the confirmed ones come first */

/* The checker only: the zombies of a batch by address, as index + 1 (open addressing). */
static uint8_t kept_slots[KEPT_SLOTS];

void ambit__verdict_returned(uint32_t bits) {
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        /* Release pairs with the acquire in ambit_verdict_counts_read(). */
        if (bits & 1u << kind) ambit__add_release(&ambit__verdict_tallies[kind].returned, 1);
}

static void count_as_reported(ambit_verdict_kind kind) {
    ambit__add_relaxed(&ambit__verdict_tallies[kind].reported, 1);
}

/* What is not reported yet is counted by the check, after the report. A callback has ended before its
 * context goes, and knows of a mark that came in time: one that is found later is not a report. */
static uint32_t take_back(ambit__entry *entry, uint32_t bits, uint32_t too_late) {
    uint32_t for_check = 0;
    ambit__spin_lock(&lock);
    /* Relaxed, as all that the checks do to marks: the lock orders this and confirm(). */
    uint32_t found = ambit__and_relaxed(&entry->marks, ~bits) & bits;
    for (uint32_t i = batch_confirmed; found && i < batch_count; i++) {
        uint32_t bit = 1u << batch[i].verdict.kind;
        if (batch[i].entry != entry || !(found & bit)) continue;
        batch[i].returned = !(too_late & bit);
        for_check |= bit;
    }
    ambit__spin_unlock(&lock);
    ambit__verdict_returned(found & ~for_check);
    return found;
}

uint32_t ambit__verdict_take_back(ambit__entry *entry, uint32_t bits) {
    return take_back(entry, bits, 0);
}
void ambit__verdict_gone(ambit__entry *entry) {
    (void)take_back(entry, AMBIT__MARK_REPORTED, 1u << AMBIT_VERDICT_SLOW_CALLBACK);
}

static void tell(ambit__check *check, const ambit_verdict *verdict) {
    check->given++;
    if (check->hook) check->hook(verdict, check->user);
}

void ambit__check_give(ambit__check *check, const ambit_verdict *verdict) {
    count_as_reported(verdict->kind);
    tell(check, verdict);
}

/* ---- Who keeps the zombies ------------------------------------------------------------------- */

static unsigned first_slot(const void *object) {
    uint64_t hash = ((uint64_t)(uintptr_t)object >> 6) * UINT64_C(0x9E3779B97F4A7C15);
    return (unsigned)(hash >> 56) & (KEPT_SLOTS - 1);
}

/* One who keeps it: the last one seen wins. */
static void note_keeper(const void *kept, const ambit_site *keeper) {
    if (!kept) return;
    for (unsigned slot = first_slot(kept); kept_slots[slot]; slot = (slot + 1) % KEPT_SLOTS) {
        struct pending *zombie = &batch[kept_slots[slot] - 1];
        if (zombie->entry == kept) zombie->verdict.keeper = keeper;
    }
}

static void look_for_keepers(ambit__slab *slab, ambit__entry *entry, void *unused) {
    (void)unused;
    ambit__facts facts = {0};
    const ambit_site *site = ambit__load_acquire(&entry->site);
    slab->inspect(entry, &facts);
    /* What another one keeps, who was born here meanwhile, is not kept by this line. */
    if (!site || ambit__load_relaxed(&entry->site) != site) return;
    note_keeper(facts.keeps, site);
    if (facts.keeps_too != facts.keeps) note_keeper(facts.keeps_too, site);
}

static void find_keepers(void) {
    bool any = false;
    for (int slot = 0; slot < KEPT_SLOTS; slot++) kept_slots[slot] = 0;
    for (uint32_t i = 0; i < batch_count; i++) {
        if (batch[i].verdict.kind != AMBIT_VERDICT_ZOMBIE) continue;
        unsigned slot = first_slot(batch[i].entry);
        while (kept_slots[slot]) slot = (slot + 1) % KEPT_SLOTS;
        kept_slots[slot] = (uint8_t)(i + 1);
        any = true;
    }
    if (!any) return;
    /* Holds last, so that they win: they name the line to blame. */
    ambit__slab_walk(ambit__slab_of(AMBIT_KIND_CTX), look_for_keepers, NULL);
    ambit__slab_walk(ambit__slab_of(AMBIT_KIND_HOLD), look_for_keepers, NULL);
}

/* ---- The second look ------------------------------------------------------------------------- */

/* Under the lock, which the thread that runs a slow callback takes at its end. */
static bool still_runs(const ambit__entry *entry, ambit_kind object, int64_t since_ns) {
    ambit__facts facts = {0};
    ambit__slab_of(object)->inspect(entry, &facts);
    return facts.callback_since_ns == since_ns;
}

static bool still_stands(const struct pending *item) {
    ambit__entry *entry = item->entry;
    uint32_t bit = 1u << item->verdict.kind;
    /* The site first: one that was born here meanwhile is seen with its cleared marks (acquire
     * pairs with the release in ambit__slab_born()). */
    const ambit_site *site = ambit__load_acquire(&entry->site);
    /* Relaxed: take_back() clears the bit under the lock that is held here, see confirm(). */
    if (!site || ambit__load_relaxed(&entry->birth_ns) != item->birth_ns ||
        !(ambit__load_relaxed(&entry->marks) & bit))
        return false;
    if (item->verdict.kind != AMBIT_VERDICT_SLOW_CALLBACK) return site == item->verdict.site;
    return still_runs(entry, item->verdict.object, item->callback_since_ns);
}

/* True if it is to be reported: it stands, or has gone since it was marked. */
static bool confirm(struct pending *item) {
    ambit_verdict_kind kind = item->verdict.kind;
    ambit__spin_lock(&lock);
    bool good = item->returned || still_stands(item);
    /* Under the lock, so that who takes the mark back from here on counts after it. */
    if (good)
        count_as_reported(kind);
    else /* Only checks set bits, so this one is ours, whoever lives there now. */
        (void)ambit__and_relaxed(&item->entry->marks, ~(1u << kind));
    batch_confirmed++;
    ambit__spin_unlock(&lock);
    if (item->returned) ambit__verdict_returned(1u << kind);
    return good;
}

static void flush(ambit__check *check) {
    if (!batch_count) return;
    /* Between the marks set and the sites read again; pairs with the light one in
     * ambit__slab_put(). Where the kernel has none a report may stay without its return. */
    (void)ambit__heavy_barrier();
    find_keepers();
    for (uint32_t i = 0; i < batch_count; i++)
        if (confirm(&batch[i])) tell(check, &batch[i].verdict);
    ambit__spin_lock(&lock);
    batch_count = batch_confirmed = 0;
    ambit__spin_unlock(&lock);
}

/* ---- The first look -------------------------------------------------------------------------- */

/* At most INT64_MAX: a deadline may lie further back than there are numbers. */
static int64_t since(int64_t time_ns, int64_t now_ns) {
    int64_t span_ns;
    return __builtin_sub_overflow(now_ns, time_ns, &span_ns) ? INT64_MAX : span_ns;
}

/* What is compared with the limit of `kind`; INT64_MIN where the kind does not apply. */
static int64_t measure(ambit_verdict_kind kind, const ambit__facts *facts,
                       const ambit_verdict *seen, uint32_t marks, int64_t now_ns) {
    bool closed = marks & AMBIT__MARK_CLOSED;
    switch (kind) {
    case AMBIT_VERDICT_OVERDUE:
        return closed || facts->deadline_ns > now_ns ? INT64_MIN
                                                     : since(facts->deadline_ns, now_ns);
    case AMBIT_VERDICT_ZOMBIE:
        return closed ? now_ns - facts->closed_ns : INT64_MIN;
    case AMBIT_VERDICT_OLD:
        return closed || marks & AMBIT__MARK_LONG_LIVED ? INT64_MIN : seen->age_ns;
    case AMBIT_VERDICT_LARGE:
        return seen->bytes > INT64_MAX ? INT64_MAX : (int64_t)seen->bytes;
    case AMBIT_VERDICT_SLOW_CALLBACK:
        return facts->callback_since_ns ? now_ns - facts->callback_since_ns : INT64_MIN;
    case AMBIT_VERDICT_DEEP:
        return facts->depth;
    case AMBIT_VERDICT_CHILDREN:
        return (int64_t)facts->keepers;
    case AMBIT_VERDICT_CROWDED: /* of lines, not of objects */
        break;
    }
    return INT64_MIN;
}

static void put_aside(ambit__check *check, ambit__entry *entry, int64_t birth_ns,
                      int64_t callback_since_ns, const ambit_verdict *verdict) {
    if (batch_count == BATCH) flush(check);
    ambit__spin_lock(&lock);
    /* A callback that has ended has not found its mark: the next one's end would take it. */
    if (verdict->kind != AMBIT_VERDICT_SLOW_CALLBACK ||
        still_runs(entry, verdict->object, callback_since_ns)) {
        batch[batch_count++] =
            (struct pending){entry, birth_ns, callback_since_ns, false, *verdict};
        /* Relaxed: who finds the bit takes the lock after this. */
        (void)ambit__or_relaxed(&entry->marks, 1u << verdict->kind);
    }
    ambit__spin_unlock(&lock);
}

struct seen {
    ambit__entry *entry;
    int64_t birth_ns;
    uint32_t marks;
    ambit__facts facts;
};

static void judge_kind(ambit__check *check, ambit_verdict_kind kind, const struct seen *seen,
                       ambit_verdict verdict) {
    verdict.kind = kind;
    verdict.limit = ambit__load_relaxed(&ambit__verdict_limits[kind]);
    verdict.measured = measure(kind, &seen->facts, &verdict, seen->marks, check->now_ns);
    bool marked = seen->marks & 1u << kind;
    if (verdict.measured <= verdict.limit) {
        /* A callback that has ended takes its mark back itself, and must find it. */
        bool ended = kind == AMBIT_VERDICT_SLOW_CALLBACK && !seen->facts.callback_since_ns;
        if (marked && !ended) (void)ambit__verdict_take_back(seen->entry, 1u << kind);
        return;
    }
    if (marked) return;
    if (kind == AMBIT_VERDICT_ZOMBIE) verdict.closed = seen->facts.closed;
    if (kind == AMBIT_VERDICT_SLOW_CALLBACK && seen->facts.callback)
        verdict.site = seen->facts.callback;
    put_aside(check, seen->entry, seen->birth_ns, seen->facts.callback_since_ns, &verdict);
}

/* A timer is never old: it waits for its time, and then it goes. */
static bool applies(ambit_verdict_kind kind, ambit_kind object) {
    if (object == AMBIT_KIND_CTX) return true;
    return kind == AMBIT_VERDICT_OLD && (object == AMBIT_KIND_HOLD || object == AMBIT_KIND_OBJECT);
}

/* Its memory is a context's for ever, whoever lives there now. */
static bool keeps_long_lived(const ambit__facts *facts) {
    const ambit__entry *kept = facts->keeps;
    return kept && ambit__load_relaxed(&kept->marks) & AMBIT__MARK_LONG_LIVED;
}

static void judge(ambit__slab *slab, ambit__entry *entry, void *argument) {
    ambit__check *check = argument;
    struct seen seen = {.entry = entry};
    /* First, and all with acquire: one that is born here later, at the same line, is told by its birth, and
     * one at another line by its site: see ambit__slab_born(). */
    seen.birth_ns = ambit__load_acquire(&entry->birth_ns);
    const ambit_site *site = ambit__load_acquire(&entry->site);
    /* Before the facts: what is marked as closed has its time of closing (acquire pairs with the
     * release with which it is marked in close_shared()). */
    seen.marks = ambit__load_acquire(&entry->marks);
    slab->inspect(entry, &seen.facts);
    ambit_verdict verdict = {.object = slab->kind,
                             .site = site,
                             .age_ns = check->now_ns - seen.birth_ns,
                             .bytes = ambit__load_acquire(&entry->bytes)};
    /* The same one from first to last, or not at all. What was read above and is another's has come with
     * acquire: it orders these two. */
    if (!site || ambit__load_relaxed(&entry->site) != site ||
        ambit__load_relaxed(&entry->birth_ns) != seen.birth_ns)
        return;
    if (slab->kind == AMBIT_KIND_HOLD && keeps_long_lived(&seen.facts))
        seen.marks |= AMBIT__MARK_LONG_LIVED;
    if (verdict.age_ns < 0) verdict.age_ns = 0; /* born since the check began, or a clock back */
    ambit__crowd_count(check, slab->kind, site, verdict.age_ns, verdict.bytes);
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        if (applies((ambit_verdict_kind)kind, slab->kind))
            judge_kind(check, (ambit_verdict_kind)kind, &seen, verdict);
}

uint64_t ambit_verdict_check(ambit_verdict_hook *hook, void *user) {
    ambit__check check = {.hook = hook, .user = user};
    if (ambit__load_relaxed(&checker) == ambit__thread_id())
        ambit__bug(__func__, "expected a call from outside of the hook", NULL, NULL);
    ambit__census_ready();
    (void)ambit__heavy_barrier_works(); /* it must be asked once, and is cheap */
    ambit__mutex_lock(&checking);
    ambit__store_relaxed(&checker, ambit__thread_id());
    check.now_ns = ambit__clock_coarse();
    ambit__walk_begin();
    ambit__crowd_begin(&check);
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        ambit__slab_walk(ambit__slab_of((ambit_kind)kind), judge, &check);
    flush(&check);
    ambit__slow_callbacks_give(&check);
    ambit__crowd_give(&check);
    ambit__walk_end();
    ambit__store_relaxed(&checker, 0);
    ambit__mutex_unlock(&checking);
    return check.given;
}

/* A check by a thread that did not come along is over: what it had marked and not reported is as if
 * it had not been seen. A hook that forks goes on with its check. */
void ambit__verdict_forked(void) {
    ambit__spin_reset(&lock);
    ambit__slow_callbacks_forked();
    bool goes_on = ambit__load_relaxed(&checker) == ambit__thread_id();
    ambit__walks_forked(goes_on ? 1 : 0);
    if (goes_on) return;
    for (uint32_t i = batch_confirmed; i < batch_count; i++)
        (void)ambit__and_relaxed(&batch[i].entry->marks, ~(1u << batch[i].verdict.kind));
    batch_count = batch_confirmed = 0;
    ambit__store_relaxed(&checker, 0);
    ambit__store_relaxed(&checking.state, 0);
}
