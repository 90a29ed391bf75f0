/* What shadow.c, arena.c, mapping.c and wrap_heap.c tell each other, and nobody else. */
#ifndef AMBIT_SCHEDULE_HEAP_H
#define AMBIT_SCHEDULE_HEAP_H

#include <sys/types.h>

#include "schedule/inside.h"

typedef struct ambit__block {
    uintptr_t address;
    size_t bytes;
    const void *site, *freed_site;
    uint32_t epoch; /* of the allocation, as if it were a write of the whole */
    uint8_t thread;
    bool blank; /* it was not zeroed */
    bool freed;
    bool kept;     /* `before` made it: it is there in every schedule */
    bool reached;  /* the search for leaks has found a pointer to it */
    bool given_up; /* of one that is kept: it was freed already, or is between schedules */
    uint32_t next; /* in that search */
} ambit__block;

/* The last block that begins at or before `address`, NULL if there is none: the caller looks where
 * it ends. */
const ambit__block *ambit__arena_block(uintptr_t address);
/* Its number in the order of allocation, from 1 on, for reports. */
unsigned ambit__arena_number(const ambit__block *block);
static inline bool ambit__block_has(const ambit__block *block, uintptr_t address) {
    return block && address - block->address < block->bytes;
}
/* With the undo: kept blocks that the schedule freed are there again. The schedule's own keep their
 * names until the next one begins, as its failure may be told yet. */
void ambit__arena_revive(void);
/* What blank memory holds at this multiple of 8. */
uint64_t ambit__arena_pattern(uintptr_t address);

/* An access under way. */
typedef struct ambit__attempt {
    uintptr_t address;
    size_t bytes;
    bool writes, atomic, copies;
    const void *site;
    uintptr_t blank_from; /* of a read: all behind is blank; 0: not known yet */
} ambit__attempt;

/* bad_access.c: the schedule has failed. */
#define AMBIT__FAILS __attribute__((noreturn, cold))
AMBIT__FAILS void ambit__fail_race(const ambit__granule *granule, const ambit__access *earlier,
                                   const ambit__attempt *now);
/* Bytes that were freed, or are no block's. */
AMBIT__FAILS void ambit__fail_bad_bytes(const ambit__granule *granule, const ambit__attempt *now);
AMBIT__FAILS void ambit__fail_bad_pointer(const ambit__attempt *now);
AMBIT__FAILS void ambit__fail_blank(const ambit__attempt *now);
AMBIT__FAILS void ambit__fail_free(const ambit__granule *granule, const ambit__access *earlier,
                                   const void *site);
/* Whether that write is the allocation of its block. */
bool ambit__is_allocation(const ambit__access *earlier, uintptr_t granule);

/* Saves what stands in a kept block, which is about to be changed behind the compiler's back. */
void ambit__shadow_save(uintptr_t address, size_t bytes);
/* Whether memory outside of the arena was given back at this very address; tells who did it. */
bool ambit__shadow_was_freed(uintptr_t address, const void **site);

/* mapping.c: the program's mmap() and munmap(). */
bool ambit__mapping_owns(uintptr_t address); /* made in this schedule */
void ambit__mappings_reset(void);            /* those of the schedule go, after the undo */
void ambit__mappings_keep(void);

void *__real_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset);
int __real_munmap(void *address, size_t bytes);

/* Address space that costs nothing until it is touched. Does not return without. */
void *ambit__reserve(size_t bytes, const char *what);

#endif
