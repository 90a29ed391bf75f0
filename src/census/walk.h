/* Memory that walks read and that is given back some day, unlike a slab's: not while anyone walks who
 * may have found it.
 *
 * Who gives it back has first taken it out, under a lock, of where walks find it. One that begins later
 * does not find it; one that has found it began before, and is counted here. */
#ifndef AMBIT_CENSUS_WALK_H
#define AMBIT_CENSUS_WALK_H

#include <stddef.h>
#include <stdint.h>

/* Somewhere in the memory, where no walk reads. */
typedef struct ambit__retired {
    struct ambit__retired *next;
    void *memory;
    size_t bytes, alignment;
} ambit__retired;

/* A walk begins, and ends with all that it has found. Thread: any. */
void ambit__walk_begin(void);
void ambit__walk_end(void);

/* Releases the memory in which `retired`, filled but for `next`, lies: now, or when no walk goes on that
 * may have found it. Thread: any, with no lock. Cannot fail. */
void ambit__walk_release(ambit__retired *retired);

/* In the child of a fork(), alone, where so many walks go on. */
void ambit__walks_forked(uint32_t go_on);

#endif
