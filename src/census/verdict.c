/* Verdicts: their names, limits, counts and lines. They are given in check.c. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "base/bug.h"
#include "census/verdict.h"

_Atomic(int64_t) ambit__verdict_limits[AMBIT_VERDICT_KINDS] = {
    [AMBIT_VERDICT_OVERDUE] = AMBIT_SECOND,
    [AMBIT_VERDICT_ZOMBIE] = 10 * AMBIT_SECOND,
    [AMBIT_VERDICT_OLD] = 600 * AMBIT_SECOND,
    [AMBIT_VERDICT_LARGE] = INT64_C(1) << 20,
    [AMBIT_VERDICT_SLOW_CALLBACK] = 100 * AMBIT_MILLISECOND,
    [AMBIT_VERDICT_DEEP] = 64,
    [AMBIT_VERDICT_CHILDREN] = AMBIT_VERDICT_OFF,
    [AMBIT_VERDICT_CROWDED] = AMBIT_VERDICT_OFF,
};
ambit__verdict_tally ambit__verdict_tallies[AMBIT_VERDICT_KINDS];

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
    case AMBIT_VERDICT_CROWDED:
        return "crowded";
    }
    return "unknown";
}

static ambit_verdict_kind checked(ambit_verdict_kind kind, const char *function) {
    if ((unsigned)kind >= AMBIT_VERDICT_KINDS)
        ambit__bug(function, "expected a kind of verdict, found another number", NULL, NULL);
    return kind;
}

void ambit_verdict_limit_set(ambit_verdict_kind kind, int64_t limit) {
    ambit__store_relaxed(&ambit__verdict_limits[checked(kind, __func__)], limit);
}
int64_t ambit_verdict_limit(ambit_verdict_kind kind) {
    return ambit__load_relaxed(&ambit__verdict_limits[checked(kind, __func__)]);
}

ambit_verdict_counts ambit_verdict_counts_read(ambit_verdict_kind kind) {
    const ambit__verdict_tally *tally = &ambit__verdict_tallies[checked(kind, __func__)];
    /* Acquire pairs with the release in ambit__verdict_returned(): returned first, so that it is never
     * more than reported. */
    uint64_t returned = ambit__load_acquire(&tally->returned);
    return (ambit_verdict_counts){ambit__load_relaxed(&tally->reported), returned,
                                  ambit__load_relaxed(&tally->lost)};
}

/* ---- Lines ----------------------------------------------------------------------------------- */

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

/* What comes before the sites. */
static int describe(const ambit_verdict *verdict, char *text, size_t size) {
    const char *object = ambit_kind_name(verdict->object);
    const char *what = ambit_verdict_name(verdict->kind);
    if (is_time(verdict->kind))
        return snprintf(text, size, "%s %s: %.3f s (limit %.3f s)%s, %" PRIu64 " bytes", object,
                        what, (double)verdict->measured / 1e9, (double)verdict->limit / 1e9,
                        verdict->ended ? ", returned" : "", verdict->bytes);
    return snprintf(text, size, "%s %s: %" PRId64 " (limit %" PRId64 "), age %.3f s", object, what,
                    verdict->measured, verdict->limit, (double)verdict->age_ns / 1e9);
}

int ambit_verdict_format(const ambit_verdict *verdict, char *text, size_t size) {
    bool callback = verdict->kind == AMBIT_VERDICT_SLOW_CALLBACK;
    int length = describe(verdict, text, size);
    length =
        append(text, size, length, callback ? "; registered at " : "; opened at ", verdict->site);
    length = append(text, size, length, "; closed at ", verdict->closed);
    return append(text, size, length, "; kept by ", verdict->keeper);
}
