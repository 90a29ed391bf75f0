/* Order mutants. Every atomic operation asks ambit__order() which order counts: as a rule at once
 * the one that stands in the source. While the sites are noted, or one of them is weakened, a hash
 * table by return address knows each. */
#include <stdlib.h>
#include <sys/mman.h>

#include "schedule/mutant.h"

#define SITES 8192 /* a power of 2 */

typedef struct noted {
    const void *site;
    uint8_t kind, order; /* the strongest that was seen */
} noted;

static bool asked;           /* somebody is interested */
static noted *sites;         /* shared with children */
static uint32_t *site_count; /* so is this */
static bool weakened[SITES]; /* and this not: it is of one child */
static int weakened_to;
static ambit__mutant *list;

/* ---- When an operation asks ------------------------------------------------------------------ */

static noted *site_at(const void *site) {
    size_t at = (size_t)((uintptr_t)site * UINT64_C(0x9e3779b97f4a7c15) >> 40);
    for (;; at++) {
        noted *here = &sites[at % SITES];
        if (here->site == site || !here->site) return here;
    }
}

/* What is left of an order where only `to` may be. */
static int weaker(ambit__operation_kind kind, int order, int to) {
    switch (to) {
    case AMBIT__ACQUIRE:
        return ambit__order_acquires(order) ? AMBIT__ACQUIRE : AMBIT__RELAXED;
    case AMBIT__RELEASE:
        return ambit__order_releases(order) ? AMBIT__RELEASE : AMBIT__RELAXED;
    case AMBIT__ACQ_REL:
        if (order != AMBIT__SEQ_CST) return order;
        if (kind == AMBIT__OP_LOAD) return AMBIT__ACQUIRE;
        return kind == AMBIT__OP_STORE ? AMBIT__RELEASE : AMBIT__ACQ_REL;
    default:
        return AMBIT__RELAXED;
    }
}

static int order_of_noted(const void *site, ambit__operation_kind kind, int order) {
    noted *here = site_at(site);
    if (!here->site) {
        if (*site_count >= SITES / 2) return order; /* more than that are not weakened */
        ++*site_count;
        *here = (noted){.site = site, .kind = (uint8_t)kind};
    }
    if (order > here->order) {
        here->order = (uint8_t)order;
        here->kind = (uint8_t)kind;
    }
    return weakened[here - sites] ? weaker(kind, order, weakened_to) : order;
}

int ambit__order(const void *site, ambit__operation_kind kind, int order) {
    if (__builtin_expect(!asked, 1)) return order;
    return order_of_noted(site, kind, order);
}

/* ---- The list -------------------------------------------------------------------------------- */

bool ambit__mutants_watch(void) {
    if (!sites) {
        size_t bytes = SITES * sizeof *sites + sizeof *site_count;
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return false;
        sites = memory;
        site_count = (uint32_t *)(void *)(sites + SITES);
    }
    memset(sites, 0, SITES * sizeof *sites);
    *site_count = 0;
    ambit__mutants_weaken(NULL);
    asked = true;
    return true;
}

static bool has(const char *text, const char *part, size_t length) {
    for (const char *at = text; strlen(at) >= length; at++)
        if (strncmp(at, part, length) == 0) return true;
    return false;
}

/* By a part of its file's path, or that, a colon, and its function. */
static bool is_covered(const ambit__place *place, const char *covers) {
    if (!covers || !covers[strspn(covers, " ")]) return true;
    while (place->file && *(covers += strspn(covers, " "))) {
        size_t length = strcspn(covers, " "), path = strcspn(covers, " :");
        bool found = has(place->file, covers, path);
        if (found && path < length)
            found = place->function && strlen(place->function) == length - path - 1 &&
                    strncmp(place->function, covers + path + 1, length - path - 1) == 0;
        if (found) return true;
        covers += length;
    }
    return false;
}

static bool same_place(const noted *one, const ambit__place *place) {
    const ambit__place *other;
    (void)ambit__places(one->site, &other);
    return other->file && place->file && strcmp(other->file, place->file) == 0 &&
           other->line == place->line && other->column == place->column;
}

static int by_place(const void *one, const void *other) {
    const ambit__mutant *a = one, *b = other;
    int files = strcmp(a->place.file ? a->place.file : "", b->place.file ? b->place.file : "");
    if (files) return files;
    if (a->place.line != b->place.line) return a->place.line < b->place.line ? -1 : 1;
    if (a->place.column != b->place.column) return a->place.column < b->place.column ? -1 : 1;
    return (int)a->to - (int)b->to; /* relaxed is the lowest */
}

static bool is_barrier(ambit__operation_kind kind) {
    return kind == AMBIT__OP_LIGHT_BARRIER || kind == AMBIT__OP_HEAVY_BARRIER;
}

static unsigned add_halves(ambit__mutant *whole) {
    unsigned count = 1;
    if (is_barrier(whole->kind)) return count;
    if (whole->from == AMBIT__SEQ_CST) {
        whole[count] = *whole;
        whole[count++].to = AMBIT__ACQ_REL;
    }
    if (whole->from == AMBIT__ACQ_REL) {
        whole[count] = whole[count + 1] = *whole;
        whole[count++].to = AMBIT__ACQUIRE;
        whole[count++].to = AMBIT__RELEASE;
    }
    return count;
}

/* The place of a site that is to be listed, or NULL: it is another's, not covered, or relaxed. */
static ambit__mutant *listed(const noted *here, const char *covers, ambit__mutant *found,
                             unsigned count) {
    const ambit__place *place;
    if (!here->site || here->order == AMBIT__RELAXED) return NULL;
    (void)ambit__places(here->site, &place);
    if (!is_covered(place, covers)) return NULL;
    for (unsigned i = 0; i < count; i++) {
        if (!same_place(here, &found[i].place)) continue;
        if (here->order > found[i].from) found[i].from = here->order;
        return NULL;
    }
    found[count] = (ambit__mutant){.place = *place,
                                   .kind = (ambit__operation_kind)here->kind,
                                   .from = here->order,
                                   .to = AMBIT__RELAXED,
                                   .site = here->site};
    return &found[count];
}

unsigned ambit__mutants_list(const char *covers, bool halves, const ambit__mutant **mutants) {
    *mutants = NULL;
    if (!sites) return 0;
    free(list);
    ambit__mutant *places = calloc(*site_count + 1, sizeof *places);
    list = calloc(3 * (size_t)*site_count + 3, sizeof *list);
    unsigned place_count = 0, count = 0;
    for (size_t i = 0; places && list && i < SITES; i++)
        if (listed(&sites[i], covers, places, place_count)) place_count++;
    for (unsigned i = 0; list && i < place_count; i++) {
        list[count] = places[i];
        count += halves ? add_halves(&list[count]) : 1;
    }
    free(places);
    if (list && count) qsort(list, count, sizeof *list, by_place);
    *mutants = list;
    return count;
}

void ambit__mutants_weaken(const ambit__mutant *mutant) {
    if (!sites) return;
    for (size_t i = 0; i < SITES; i++)
        if (sites[i].site)
            weakened[i] =
                mutant && (sites[i].site == mutant->site || same_place(&sites[i], &mutant->place));
    weakened_to = mutant ? mutant->to : AMBIT__RELAXED;
    asked = mutant != NULL;
}
