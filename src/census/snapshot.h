/* The inside of a snapshot, for the writers. */
#ifndef AMBIT_CENSUS_SNAPSHOT_H
#define AMBIT_CENSUS_SNAPSHOT_H

#include <stdbool.h>

#include "ambit/census.h"
#include "census/stack.h"

/* Objects of one row with the same stack. */
typedef struct ambit__census_stack {
    ambit_kind kind;
    unsigned age_band;
    const ambit_site *site;
    uint64_t taken;   /* how many such stacks there are */
    uint64_t objects; /* how many objects they stand for, by the rate at which each was taken */
    uint64_t bytes;   /* what those own, on the same assumption */
    uint32_t depth;
    uintptr_t frames[AMBIT__STACK_FRAMES];
} ambit__census_stack;

/* While it is filled `rows` is a hash table of `capacity` (a power of two), a row without a count
 * is free; after ambit__census_sort() the first `used` are the rows in order. */
struct ambit_census {
    ambit_census_row *rows;
    size_t capacity;
    size_t used;
    ambit__census_stack *stacks; /* sorted by kind, site and age band once the snapshot is taken */
    size_t stack_capacity;
    size_t stacks_used;
};

ambit_census *ambit__census_new(void); /* NULL when there is no memory */
/* The row of that kind and site in band 0, before the sort; NULL if there is none. */
const ambit_census_row *ambit__census_find(const ambit_census *census, ambit_kind kind,
                                           const ambit_site *site);
bool ambit__census_add(ambit_census *census, const ambit_census_row *one);
void ambit__census_sort(ambit_census *census);

/* snapshot_stacks.c */
bool ambit__census_add_stack(ambit_census *census, const ambit_census_row *one,
                             const ambit__stack_copy *stack);
void ambit__census_merge_stacks(ambit_census *census);
void ambit__census_free_stacks(ambit_census *census);
/* Those of a row: from `*first` up to `*end`. */
void ambit__census_stacks_of(const ambit_census *census, const ambit_census_row *row, size_t *first,
                             size_t *end);

#endif
