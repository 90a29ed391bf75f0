/* Atomic objects and their last stores: history.c's, as location.c keeps them. */
#ifndef AMBIT_SCHEDULE_LOCATION_H
#define AMBIT_SCHEDULE_LOCATION_H

#include "schedule/inside.h"

#define AMBIT__STORES 16

typedef struct ambit__store {
    ambit__value value;
    uint32_t epoch;   /* of the thread's step; 0: from before all */
    uint32_t sc_time; /* of an SC store, else 0 */
    uint8_t thread;
    bool modifies;  /* a read-modify-write: it stands right behind what it read */
    bool continues; /* a release sequence of its own thread, from the store before it */
    bool heads;     /* one that it began or, being plain, continues: `own` is what that gave out */
    ambit__vector released;           /* what an acquiring load learns */
    ambit__vector own;                /* the part that its own thread gave */
    uint32_t read_at[AMBIT__THREADS]; /* the step of each thread's first read of it; 0: none */
} ambit__store;

typedef struct ambit__location {
    uintptr_t address;
    struct ambit__location *next; /* in the same granule */
    struct ambit__location
        *half; /* of 16 bytes: what stands for it in the other granule, and back */
    uint8_t size, count;
    uint8_t order[AMBIT__STORES]; /* indices into `stores`, the oldest first */
    ambit__store stores[AMBIT__STORES];
} ambit__location;

void ambit__locations_reset(void);
/* The object, with what stands in memory as its only store if it has none yet. The access has been told to shadow.c. */
ambit__location *ambit__location_at(const volatile void *object, unsigned size);
/* What is newest there stands in memory too: for the program's end, for who looks plainly, for the kernel. */
void ambit__memory_write(volatile void *address, unsigned size, ambit__value value);

static inline ambit__store *ambit__store_at(ambit__location *at, unsigned place) {
    return &at->stores[at->order[place]];
}
static inline ambit__store *ambit__newest_of(ambit__location *at) {
    return ambit__store_at(at, at->count - 1u);
}

#endif
