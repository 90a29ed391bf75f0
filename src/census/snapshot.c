/* A snapshot: one walk over all slabs, counted by (kind, site, age band). */
#include "census/snapshot.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "census/slab.h"
#include "census/walk.h"

enum { FIRST_CAPACITY = 64 };

const char *ambit_kind_name(ambit_kind kind) {
    switch (kind) {
    case AMBIT_KIND_CTX:
        return "context";
    case AMBIT_KIND_HOLD:
        return "hold";
    case AMBIT_KIND_TIMER:
        return "timer";
    case AMBIT_KIND_OBJECT:
        return "object";
    }
    return "unknown";
}

const char *ambit_age_band_name(unsigned band) {
    static const char *const names[AMBIT_AGE_BANDS] = {"<1s", "<10s", "<1m", "<10m", "<1h", ">=1h"};
    return band < AMBIT_AGE_BANDS ? names[band] : "unknown";
}

static unsigned age_band(int64_t age_ns) {
    static const int64_t limits_s[AMBIT_AGE_BANDS - 1] = {1, 10, 60, 600, 3600};
    unsigned band = 0;
    while (band < AMBIT_AGE_BANDS - 1 && age_ns >= limits_s[band] * AMBIT_SECOND) band++;
    return band;
}

static size_t slot_of(const ambit_census *census, ambit_kind kind, const ambit_site *site,
                      unsigned band) {
    uint64_t hash = ((uint64_t)(uintptr_t)site >> 3) * UINT64_C(0x9E3779B97F4A7C15) +
                    (uint64_t)kind * 31 + band;
    size_t slot = (size_t)(hash ^ hash >> 32) & (census->capacity - 1);
    for (;; slot = (slot + 1) & (census->capacity - 1)) {
        const ambit_census_row *row = &census->rows[slot];
        if (!row->count || (row->kind == kind && row->site == site && row->age_band == band))
            return slot;
    }
}

static bool allocate_rows(ambit_census *census, size_t capacity) {
    ambit_census_row *rows =
        ambit__allocate_zero(capacity * sizeof *rows, _Alignof(ambit_census_row));
    if (!rows) return false;
    ambit_census old = *census;
    census->rows = rows;
    census->capacity = capacity;
    for (size_t i = 0; i < old.capacity; i++) {
        const ambit_census_row *row = &old.rows[i];
        if (row->count) rows[slot_of(census, row->kind, row->site, row->age_band)] = *row;
    }
    ambit__release(old.rows, old.capacity * sizeof *rows, _Alignof(ambit_census_row));
    return true;
}

bool ambit__census_add(ambit_census *census, const ambit_census_row *one) {
    if (census->used * 2 >= census->capacity && !allocate_rows(census, census->capacity * 2))
        return false;
    ambit_census_row *row = &census->rows[slot_of(census, one->kind, one->site, one->age_band)];
    if (!row->count) {
        row->kind = one->kind;
        row->site = one->site;
        row->age_band = one->age_band;
        census->used++;
    }
    row->count += one->count;
    row->bytes += one->bytes;
    row->zombies += one->zombies;
    row->long_lived += one->long_lived;
    if (one->oldest_ns > row->oldest_ns) row->oldest_ns = one->oldest_ns;
    return true;
}

const ambit_census_row *ambit__census_find(const ambit_census *census, ambit_kind kind,
                                           const ambit_site *site) {
    const ambit_census_row *row = &census->rows[slot_of(census, kind, site, 0)];
    return row->count ? row : NULL;
}

struct taking {
    ambit_census *census;
    int64_t now_ns;
    bool failed;
};

bool ambit__sampled_read(const ambit__entry *entry, uint32_t marks, ambit__sampled *out) {
    /* Acquire pairs with the release in sample.c: a number newer than the marks may be in a new chunk. */
    out->number = marks & AMBIT__MARK_SAMPLED ? ambit__load_acquire(&entry->stack) : 0;
    return !out->number || ambit__stack_read(out->number, &out->stack);
}

/* The object first, see stack.h. */
bool ambit__sampled_is_still(const ambit__entry *entry, const ambit_site *site, int64_t birth_ns,
                             const ambit__sampled *sampled) {
    if (ambit__load_acquire(&entry->site) != site ||
        ambit__load_relaxed(&entry->birth_ns) != birth_ns)
        return false;
    /* One of the same site and time may be here now, without a stack, and the number be that of
     * another's. Acquire pairs with the release in sample.c: if it has one, that is seen. */
    return !sampled->number || (ambit__load_acquire(&entry->marks) & AMBIT__MARK_SAMPLED &&
                                ambit__load_relaxed(&entry->stack) == sampled->number &&
                                ambit__stack_is(sampled->number, sampled->stack.version));
}

static void count_object(ambit__slab *slab, ambit__entry *entry, void *argument) {
    struct taking *taking = argument;
    ambit__sampled sampled;
    /* The birth first: one that is born here later, at the same line, is told by its own. All with acquire,
     * so that is_still() sees it if one of them is another's: see ambit__slab_born(). */
    int64_t birth_ns = ambit__load_acquire(&entry->birth_ns);
    const ambit_site *site = ambit__load_acquire(&entry->site);
    if (!site || taking->failed) return; /* it went meanwhile */
    int64_t age_ns = taking->now_ns > birth_ns ? taking->now_ns - birth_ns : 0;
    uint64_t bytes = ambit__load_acquire(&entry->bytes);
    uint32_t marks = ambit__load_acquire(&entry->marks);
    ambit_census_row one = {
        .kind = slab->kind,
        .site = site,
        .age_band = age_band(age_ns),
        .count = 1,
        .bytes = bytes,
        .zombies = (marks & AMBIT__MARK_CLOSED) != 0,
        .long_lived = (marks & AMBIT__MARK_LONG_LIVED) != 0,
        .oldest_ns = age_ns,
    };
    /* Another by now, and the two mixed: neither was there all the time. */
    if (!ambit__sampled_read(entry, marks, &sampled) ||
        !ambit__sampled_is_still(entry, site, birth_ns, &sampled))
        return;
    if (!ambit__census_add(taking->census, &one) ||
        (sampled.number && !ambit__census_add_stack(taking->census, &one, &sampled.stack)))
        taking->failed = true;
}

static int most_first(const void *left, const void *right) {
    const ambit_census_row *a = left, *b = right;
    if (a->bytes != b->bytes) return a->bytes < b->bytes ? 1 : -1;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return (a->age_band < b->age_band) - (a->age_band > b->age_band);
}

ambit_census *ambit__census_new(void) {
    ambit_census *census = ambit__allocate_zero(sizeof *census, _Alignof(ambit_census));
    if (census && !allocate_rows(census, FIRST_CAPACITY)) {
        ambit__release(census, sizeof *census, _Alignof(ambit_census));
        return NULL;
    }
    return census;
}

void ambit__census_sort(ambit_census *census) {
    size_t used = 0;
    for (size_t i = 0; i < census->capacity; i++)
        if (census->rows[i].count) census->rows[used++] = census->rows[i];
    qsort(census->rows, used, sizeof *census->rows, most_first);
}

ambit_status ambit_census_take(ambit_census **out) {
    struct taking taking = {ambit__census_new(), ambit__clock_coarse(), false};
    *out = NULL;
    if (!taking.census) return AMBIT_EMEMORY;
    ambit__walk_begin();
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        ambit__slab_walk(ambit__slab_of((ambit_kind)kind), count_object, &taking);
    ambit__walk_end();
    if (taking.failed) {
        ambit_census_free(taking.census);
        return AMBIT_EMEMORY;
    }
    ambit__census_sort(taking.census);
    ambit__census_merge_stacks(taking.census);
    *out = taking.census;
    return AMBIT_OK;
}

void ambit_census_free(ambit_census *census) {
    if (!census) return;
    ambit__release(census->rows, census->capacity * sizeof *census->rows,
                   _Alignof(ambit_census_row));
    ambit__census_free_stacks(census);
    ambit__release(census, sizeof *census, _Alignof(ambit_census));
}

size_t ambit_census_rows(const ambit_census *census) { return census->used; }

const ambit_census_row *ambit_census_row_at(const ambit_census *census, size_t index) {
    return index < census->used ? &census->rows[index] : NULL;
}

uint64_t ambit_census_count(const ambit_census *census, ambit_kind kind) {
    uint64_t count = 0;
    for (size_t i = 0; i < census->used; i++)
        if (census->rows[i].kind == kind) count += census->rows[i].count;
    return count;
}

uint64_t ambit_census_bytes(const ambit_census *census, ambit_kind kind) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < census->used; i++)
        if (census->rows[i].kind == kind) bytes += census->rows[i].bytes;
    return bytes;
}
