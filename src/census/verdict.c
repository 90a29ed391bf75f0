/* Verdicts: what is open, kept, old, large, slow, deep or crowded beyond its limit. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/park.h"
#include "census/slab.h"

static _Atomic(int64_t) limits[AMBIT_VERDICT_KINDS] = {
    [AMBIT_VERDICT_OVERDUE] = AMBIT_SECOND,
    [AMBIT_VERDICT_ZOMBIE] = 10 * AMBIT_SECOND,
    [AMBIT_VERDICT_OLD] = 600 * AMBIT_SECOND,
    [AMBIT_VERDICT_LARGE] = 1024 * 1024,
    [AMBIT_VERDICT_SLOW_CALLBACK] = 100 * AMBIT_MILLISECOND,
    [AMBIT_VERDICT_DEEP] = 64,
    [AMBIT_VERDICT_CHILDREN] = AMBIT_VERDICT_OFF,
};
static _Atomic(uint64_t) reported[AMBIT_VERDICT_KINDS], returned[AMBIT_VERDICT_KINDS];
static ambit__mutex checking;

const char *ambit_verdict_name(ambit_verdict_kind kind) {
    switch (kind) {
    case AMBIT_VERDICT_OVERDUE:
        return "overdue";
    case AMBIT_VERDICT_ZOMBIE:
        return "closed but kept";
    case AMBIT_VERDICT_OLD:
        return "old";
    case AMBIT_VERDICT_LARGE:
        return "large";
    case AMBIT_VERDICT_SLOW_CALLBACK:
        return "slow callback";
    case AMBIT_VERDICT_DEEP:
        return "deep";
    case AMBIT_VERDICT_CHILDREN:
        return "many children";
    }
    return "unknown";
}

void ambit_verdict_limit_set(ambit_verdict_kind kind, int64_t limit) {
    ambit__store_relaxed(&limits[kind], limit);
}
int64_t ambit_verdict_limit(ambit_verdict_kind kind) { return ambit__load_relaxed(&limits[kind]); }

ambit_verdict_counts ambit_verdict_counts_read(ambit_verdict_kind kind) {
    return (ambit_verdict_counts){ambit__load_relaxed(&reported[kind]),
                                  ambit__load_relaxed(&returned[kind])};
}

void ambit__slab_returned(uint32_t marks) {
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        if (marks & 1u << kind) ambit__add_relaxed(&returned[kind], 1);
}

struct check {
    ambit_verdict_hook *hook;
    void *user;
    int64_t now_ns;
    uint64_t given;
};

struct search {
    const void *kept;
    const ambit_site *keeper;
};

static void look_for_keeper(ambit__slab *slab, ambit__entry *entry, void *argument) {
    struct search *search = argument;
    ambit__facts facts = {0};
    slab->inspect(entry, &facts);
    if (facts.keeps == search->kept || facts.keeps_too == search->kept)
        search->keeper = ambit__load_acquire(&entry->site);
}

/* One who keeps the object. Holds are asked last, so that they win: they name the line to blame. */
static const ambit_site *keeper_of(const ambit__entry *entry) {
    struct search search = {entry, NULL};
    ambit__slab_walk(ambit__slab_of(AMBIT_KIND_CTX), look_for_keeper, &search);
    ambit__slab_walk(ambit__slab_of(AMBIT_KIND_HOLD), look_for_keeper, &search);
    return search.keeper;
}

/* What is compared with the limit of `kind`; INT64_MIN where the kind does not apply. */
static int64_t measure(ambit_verdict_kind kind, const ambit__facts *facts,
                       const ambit_verdict *seen, uint32_t marks, int64_t now_ns) {
    bool closed = marks & AMBIT__MARK_CLOSED;
    switch (kind) {
    case AMBIT_VERDICT_OVERDUE:
        return closed || facts->deadline_ns == AMBIT_NEVER || facts->deadline_ns > now_ns
                   ? INT64_MIN
                   : now_ns - facts->deadline_ns;
    case AMBIT_VERDICT_ZOMBIE:
        return closed ? now_ns - facts->closed_ns : INT64_MIN;
    case AMBIT_VERDICT_OLD:
        return closed || marks & AMBIT__MARK_LONG_LIVED ? INT64_MIN : seen->age_ns;
    case AMBIT_VERDICT_LARGE:
        return (int64_t)seen->bytes;
    case AMBIT_VERDICT_SLOW_CALLBACK:
        return facts->callback_since_ns ? now_ns - facts->callback_since_ns : INT64_MIN;
    case AMBIT_VERDICT_DEEP:
        return facts->depth;
    case AMBIT_VERDICT_CHILDREN:
        return (int64_t)facts->keepers;
    }
    return INT64_MIN;
}

static void judge_kind(struct check *check, ambit_verdict_kind kind, ambit__entry *entry,
                       const ambit__facts *facts, ambit_verdict verdict) {
    uint32_t marks = ambit__load_relaxed(&entry->marks);
    verdict.limit = ambit__load_relaxed(&limits[kind]);
    verdict.measured = measure(kind, facts, &verdict, marks, check->now_ns);
    if (verdict.measured <= verdict.limit || marks & 1u << kind) return;
    /* The owner may close it right here: then the mark falls on nobody, or on the next one of the
     * same memory, which loses one verdict of this kind. It is never read as something it is not.
     */
    if (ambit__load_acquire(&entry->site) != verdict.site) return;
    if (ambit__or_relaxed(&entry->marks, 1u << kind) & 1u << kind) return;
    ambit__add_relaxed(&reported[kind], 1);
    verdict.kind = kind;
    if (kind == AMBIT_VERDICT_ZOMBIE) {
        verdict.closed = facts->closed;
        verdict.keeper = keeper_of(entry);
    }
    if (kind == AMBIT_VERDICT_SLOW_CALLBACK && facts->callback) verdict.site = facts->callback;
    check->given++;
    if (check->hook) check->hook(&verdict, check->user);
}

static void judge(ambit__slab *slab, ambit__entry *entry, void *argument) {
    struct check *check = argument;
    ambit__facts facts = {0};
    const ambit_site *site = ambit__load_acquire(&entry->site);
    int64_t birth_ns = ambit__load_relaxed(&entry->birth_ns);
    slab->inspect(entry, &facts);
    ambit_verdict verdict = {.object = slab->kind,
                             .site = site,
                             .age_ns = check->now_ns - birth_ns,
                             .bytes = ambit__load_relaxed(&entry->bytes)};
    /* The same one from first to last, or not at all. */
    if (!site || ambit__load_acquire(&entry->site) != site ||
        ambit__load_relaxed(&entry->birth_ns) != birth_ns)
        return;
    for (int kind = 0; kind < AMBIT_VERDICT_KINDS; kind++)
        if (slab->kind == AMBIT_KIND_CTX || kind == AMBIT_VERDICT_OLD)
            judge_kind(check, (ambit_verdict_kind)kind, entry, &facts, verdict);
}

uint64_t ambit_verdict_check(ambit_verdict_hook *hook, void *user) {
    struct check check = {hook, user, ambit__clock_coarse(), 0};
    ambit__mutex_lock(&checking);
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        ambit__slab_walk(ambit__slab_of((ambit_kind)kind), judge, &check);
    ambit__mutex_unlock(&checking);
    return check.given;
}

static bool is_time(ambit_verdict_kind kind) {
    return kind == AMBIT_VERDICT_OVERDUE || kind == AMBIT_VERDICT_ZOMBIE ||
           kind == AMBIT_VERDICT_OLD || kind == AMBIT_VERDICT_SLOW_CALLBACK;
}

static int append(char *text, size_t size, int length, const char *lead, const ambit_site *site) {
    if (!site) return length;
    size_t at = (size_t)length < size ? (size_t)length : size;
    return length + snprintf(size ? text + at : NULL, size - at, "%s%s:%" PRIu32 " in %s()", lead,
                             site->file, site->line, site->function);
}

int ambit_verdict_format(const ambit_verdict *verdict, char *text, size_t size) {
    int length;
    const char *object = ambit_kind_name(verdict->object),
               *what = ambit_verdict_name(verdict->kind);
    if (is_time(verdict->kind))
        length =
            snprintf(text, size, "%s %s: %.3f s (limit %.3f s), %" PRIu64 " bytes", object, what,
                     (double)verdict->measured / 1e9, (double)verdict->limit / 1e9, verdict->bytes);
    else
        length = snprintf(text, size, "%s %s: %" PRId64 " (limit %" PRId64 "), age %.3f s", object,
                          what, verdict->measured, verdict->limit, (double)verdict->age_ns / 1e9);
    length = append(text, size, length, "; opened at ", verdict->site);
    length = append(text, size, length, "; closed at ", verdict->closed);
    return append(text, size, length, "; kept by ", verdict->keeper);
}
