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
bool ambit__census_add(ambit_census *census, const ambit_census_row *one);
void ambit__census_sort(ambit_census *census);

#endif
