/* Which file a code address belongs to: what the dynamic linker has loaded, taken when a report is
 * written. */
#ifndef AMBIT_CENSUS_MAPPING_H
#define AMBIT_CENSUS_MAPPING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An executable segment. */
typedef struct ambit__mapping {
    uintptr_t start, limit; /* whole pages */
    uintptr_t offset;       /* of `start` in the file */
    uintptr_t bias;         /* an address minus this is one that addr2line understands */
    char path[512];
    char build_id[65]; /* in hexadecimal; empty if it has none */
} ambit__mapping;

typedef struct ambit__mappings {
    ambit__mapping *items; /* the program first */
    size_t used, capacity;
} ambit__mappings;

/* False when there is no memory. */
bool ambit__mappings_take(ambit__mappings *out);
void ambit__mappings_discard(ambit__mappings *mappings);
const ambit__mapping *ambit__mapping_of(const ambit__mappings *mappings, uintptr_t address);

/* The function at the address as the dynamic linker knows it: exported ones only. NULL for others;
 * good as long as its file is loaded. */
const char *ambit__symbol_of(uintptr_t address);

#endif
