/* Stacks of sampled objects: type-stable, bounded, read by walks at any time.
 *
 * A stack belongs to one living object and is given back when that goes. It is written under a
 * version that is odd meanwhile. A walk reads the version, the stack, whose it is, and the version
 * again: the data words release and acquire, so that who sees a word of a newer stack sees the newer
 * version too, and drops what it has read. */
#ifndef AMBIT_CENSUS_STACK_H
#define AMBIT_CENSUS_STACK_H

#include "base/atomic.h"

#ifndef AMBIT__STACK_FRAMES /* the controlled scheduler's build has a few */
#define AMBIT__STACK_FRAMES 30
#endif

/* 256 bytes. */
typedef struct ambit__stack {
    _Atomic(uint32_t) version;
    _Atomic(uint32_t) depth;
    _Atomic(uint32_t) weight;    /* how many objects it stands for: the mean when it was taken */
    _Atomic(uint32_t) next_free; /* a number, see below; while it is free */
    _Atomic(uintptr_t) frames[AMBIT__STACK_FRAMES];
} ambit__stack;

typedef struct ambit__stack_copy {
    uint32_t version;
    uint32_t depth;
    uint32_t weight;
    uintptr_t frames[AMBIT__STACK_FRAMES];
} ambit__stack_copy;

/* Stacks are named by numbers from 1. */
/* A free one; 0 when as many as are allowed are in use, or when there is no memory. */
uint32_t ambit__stack_get(void);
void ambit__stack_put(uint32_t number);
/* By its owner. */
void ambit__stack_write(uint32_t number, const uintptr_t *frames, uint32_t depth, uint32_t weight);
/* False while it is written. The copy is good if ambit__stack_is() agrees after its owner was found
 * to be the same still. */
bool ambit__stack_read(uint32_t number, ambit__stack_copy *copy);
bool ambit__stack_is(uint32_t number, uint32_t version);

uint64_t ambit__stacks_live(void); /* how many are in use */

/* In the child of a fork(), alone. */
void ambit__stacks_forked(void);

#endif
