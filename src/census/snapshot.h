/* The inside of a snapshot, for the writers. */
#ifndef AMBIT_CENSUS_SNAPSHOT_H
#define AMBIT_CENSUS_SNAPSHOT_H

#include <stdbool.h>

#include "ambit/census.h"
#include "ambit/entry.h"
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

/* What a sampled object's stack was at one moment of its life. */
typedef struct ambit__sampled {
    uint32_t number; /* 0 if it has none */
    ambit__stack_copy stack;
} ambit__sampled;
/* Of an object that had these marks. False if it has gone meanwhile. */
bool ambit__sampled_read(const ambit__entry *entry, uint32_t marks, ambit__sampled *out);
/* Whether it was the same object all the time, and its stack the same. */
bool ambit__sampled_is_still(const ambit__entry *entry, const ambit_site *site, int64_t birth_ns,
                             const ambit__sampled *sampled);

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
