/* The alarm for lines that have too many living objects. A check counts by kind and site, in memory
 * that it takes only while the alarm is on; which lines were reported is kept from check to check. */
#include <stddef.h>

#include "census/verdict.h"

static ambit_census
    *standing; /* reported and not back yet; under the lock of checks; may be NULL */

static int64_t limit(void) {
    return ambit__load_relaxed(&ambit__verdict_limits[AMBIT_VERDICT_CROWDED]);
}

void ambit__crowd_begin(ambit__check *check) {
    check->sites = NULL;
    if (limit() == AMBIT_VERDICT_OFF) return;
    check->sites = ambit__census_new();
    if (!check->sites) ambit__add_relaxed(&ambit__verdict_tallies[AMBIT_VERDICT_CROWDED].lost, 1);
}

static void give_up(ambit__check *check) {
    ambit_census_free(check->sites);
    check->sites = NULL;
    ambit__add_relaxed(&ambit__verdict_tallies[AMBIT_VERDICT_CROWDED].lost, 1);
}

void ambit__crowd_count(ambit__check *check, ambit_kind kind, const ambit_site *site,
                        int64_t age_ns, uint64_t bytes) {
    ambit_census_row one = {
        .kind = kind, .site = site, .count = 1, .bytes = bytes, .oldest_ns = age_ns};
    if (check->sites && !ambit__census_add(check->sites, &one)) give_up(check);
}

static bool is_crowded(const ambit_census_row *row, int64_t above) {
    return row->count > INT64_MAX || (int64_t)row->count > above;
}

static void report(ambit__check *check, const ambit_census_row *row, int64_t above) {
    ambit_verdict verdict = {
        .kind = AMBIT_VERDICT_CROWDED,
        .object = row->kind,
        .site = row->site,
        .age_ns = row->oldest_ns,
        .bytes = row->bytes,
        .measured = (int64_t)row->count,
        .limit = above,
    };
    ambit__check_give(check, &verdict);
}

/* Counts the lines that were reported and are not in `crowded` as returned. */
static void return_those_not_in(const ambit_census *crowded) {
    for (size_t i = 0; standing && i < standing->capacity; i++) {
        const ambit_census_row *row = &standing->rows[i];
        if (row->count && !(crowded && ambit__census_find(crowded, row->kind, row->site)))
            ambit__verdict_returned(1u << AMBIT_VERDICT_CROWDED);
    }
}

/* Those above the limit; NULL when there is no memory. */
static ambit_census *crowded_of(const ambit_census *sites, int64_t above) {
    ambit_census *crowded = ambit__census_new();
    for (size_t i = 0; crowded && i < sites->capacity; i++) {
        const ambit_census_row *row = &sites->rows[i];
        if (row->count && is_crowded(row, above) && !ambit__census_add(crowded, row)) {
            ambit_census_free(crowded);
            crowded = NULL;
        }
    }
    return crowded;
}

void ambit__crowd_give(ambit__check *check) {
    int64_t above = limit();
    ambit_census *crowded = NULL;
    if (above != AMBIT_VERDICT_OFF) {
        if (!check->sites) return; /* no memory: what stands stays for the next check */
        crowded = crowded_of(check->sites, above);
        if (!crowded) {
            give_up(check);
            return;
        }
    }
    return_those_not_in(crowded);
    ambit_census *before = standing;
    standing = crowded; /* before the hook is called, which may fork */
    for (size_t i = 0; crowded && i < crowded->capacity; i++) {
        const ambit_census_row *row = &crowded->rows[i];
        if (row->count && !(before && ambit__census_find(before, row->kind, row->site)))
            report(check, row, above);
    }
    ambit_census_free(before);
    ambit_census_free(check->sites);
    check->sites = NULL;
}
