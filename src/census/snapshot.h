/* The inside of a snapshot, for the writers. */
#ifndef AMBIT_CENSUS_SNAPSHOT_H
#define AMBIT_CENSUS_SNAPSHOT_H

#include <stdbool.h>

#include "ambit/census.h"

/* While it is filled `rows` is a hash table of `capacity` (a power of two), a row without a count
 * is free; after ambit__census_sort() the first `used` are the rows in order. */
struct ambit_census {
    ambit_census_row *rows;
    size_t capacity;
    size_t used;
};

ambit_census *ambit__census_new(void); /* NULL when there is no memory */
/* The row of that kind and site in band 0, before the sort; NULL if there is none. */
const ambit_census_row *ambit__census_find(const ambit_census *census, ambit_kind kind,
                                           const ambit_site *site);
bool ambit__census_add(ambit_census *census, const ambit_census_row *one);
void ambit__census_sort(ambit_census *census);

#endif
