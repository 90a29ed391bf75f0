/* The stacks of a snapshot: copied one by one during the walk, then sorted, and equal ones put
 * together. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "census/snapshot.h"

enum { FIRST_CAPACITY = 64 };

static bool reserve(ambit_census *census) {
    if (census->stacks_used < census->stack_capacity) return true;
    size_t capacity = census->stack_capacity ? census->stack_capacity * 2 : FIRST_CAPACITY;
    ambit__census_stack *stacks =
        ambit__allocate(capacity * sizeof *stacks, _Alignof(ambit__census_stack));
    if (!stacks) return false;
    if (census->stacks_used) memcpy(stacks, census->stacks, census->stacks_used * sizeof *stacks);
    ambit__census_free_stacks(census);
    census->stacks = stacks;
    census->stack_capacity = capacity;
    return true;
}

bool ambit__census_add_stack(ambit_census *census, const ambit_census_row *one,
                             const ambit__stack_copy *stack) {
    if (!reserve(census)) return false;
    ambit__census_stack *out = &census->stacks[census->stacks_used++];
    out->kind = one->kind;
    out->age_band = one->age_band;
    out->site = one->site;
    out->taken = 1;
    out->objects = stack->weight;
    out->bytes = one->bytes * stack->weight;
    out->depth = stack->depth;
    memcpy(out->frames, stack->frames, stack->depth * sizeof *stack->frames);
    return true;
}

void ambit__census_free_stacks(ambit_census *census) {
    ambit__release(census->stacks, census->stack_capacity * sizeof *census->stacks,
                   _Alignof(ambit__census_stack));
}

static int by_row(const ambit__census_stack *a, ambit_kind kind, const ambit_site *site,
                  unsigned band) {
    if (a->kind != kind) return a->kind < kind ? -1 : 1;
    if (a->site != site) return a->site < site ? -1 : 1;
    return (a->age_band > band) - (a->age_band < band);
}

static int by_row_and_frames(const void *left, const void *right) {
    const ambit__census_stack *a = left, *b = right;
    int order = by_row(a, b->kind, b->site, b->age_band);
    if (order) return order;
    if (a->depth != b->depth) return a->depth < b->depth ? -1 : 1;
    return memcmp(a->frames, b->frames, a->depth * sizeof *a->frames);
}

void ambit__census_merge_stacks(ambit_census *census) {
    size_t used = 0;
    if (!census->stacks_used) return;
    qsort(census->stacks, census->stacks_used, sizeof *census->stacks, by_row_and_frames);
    for (size_t i = 0; i < census->stacks_used; i++) {
        const ambit__census_stack *one = &census->stacks[i];
        ambit__census_stack *last = used ? &census->stacks[used - 1] : NULL;
        if (!last || by_row_and_frames(last, one)) {
            census->stacks[used++] = *one;
            continue;
        }
        last->taken += one->taken;
        last->objects += one->objects;
        last->bytes += one->bytes;
    }
    census->stacks_used = used;
}

/* The first that does not come before the row's age band in its kind and site. */
static size_t lower_bound(const ambit_census *census, const ambit_census_row *row, unsigned band) {
    size_t low = 0, high = census->stacks_used;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_row(&census->stacks[middle], row->kind, row->site, band) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void ambit__census_stacks_of(const ambit_census *census, const ambit_census_row *row, size_t *first,
                             size_t *end) {
    *first = lower_bound(census, row, row->age_band);
    *end = lower_bound(census, row, row->age_band + 1);
}
