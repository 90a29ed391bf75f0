#include "census/stack.h"

#include <stddef.h>

#include "ambit/census.h"
#include "base/memory.h"
#include "base/park.h"

#ifndef AMBIT__CHUNK_STACKS /* the controlled scheduler's build has a few, and few chunks */
#define AMBIT__CHUNK_STACKS 256
#define AMBIT__STACKS_MAX AMBIT_STACKS_MAX
#endif
enum { CHUNK_STACKS = AMBIT__CHUNK_STACKS, CHUNKS = AMBIT__STACKS_MAX / CHUNK_STACKS };

/* Fixed once set, in their order, under the lock. */
static _Atomic(ambit__stack *) chunks[CHUNKS];
static _Atomic(uint32_t) chunk_count;
static ambit__spin lock = {AMBIT__RANKED(AMBIT__RANK_STACKS)};
static _Atomic(uint32_t) first_free; /* written under the lock; whole at any time, for a fork */
static _Atomic(uint64_t) live;       /* written under the lock */

static ambit__stack *stack_of(uint32_t number) {
    /* Relaxed: who has the number of a stack has it after install(). From the list, under the lock; as
     * its owner; or from the owner's entry, with an acquire. */
    ambit__stack *chunk = ambit__load_relaxed(&chunks[(number - 1) / CHUNK_STACKS]);
    return &chunk[(number - 1) % CHUNK_STACKS];
}

static bool install(ambit__stack *chunk) {
    ambit__spin_lock(&lock);
    uint32_t index = ambit__load_relaxed(&chunk_count);
    if (index < CHUNKS) {
        uint32_t first = index * CHUNK_STACKS + 1;
        for (uint32_t i = 0; i < CHUNK_STACKS; i++)
            ambit__store_relaxed(&chunk[i].next_free, i + 1 < CHUNK_STACKS
                                                          ? first + i + 1
                                                          : ambit__load_relaxed(&first_free));
        ambit__store_relaxed(&chunks[index], chunk);
        ambit__store_relaxed(&chunk_count, index + 1);
        /* Others come after the lock. Release is for a fork's child, here and in
         * ambit__stack_put(): what hangs on the list is there before it. */
        ambit__store_release(&first_free, first);
    }
    ambit__spin_unlock(&lock);
    return index < CHUNKS;
}

/* Allocates without the lock: a program's hook may take its time, or other locks. */
static bool grow(void) {
    const size_t bytes = CHUNK_STACKS * sizeof(ambit__stack);
    if (ambit__load_relaxed(&chunk_count) == CHUNKS) return false;
    ambit__stack *chunk = ambit__allocate_zero(bytes, 64);
    if (!chunk) return false;
    if (install(chunk)) return true;
    ambit__release(chunk, bytes, 64);
    return false;
}

static uint32_t take_free(void) {
    ambit__spin_lock(&lock);
    uint32_t number = ambit__load_relaxed(&first_free);
    if (number) {
        ambit__store_relaxed(&first_free, ambit__load_relaxed(&stack_of(number)->next_free));
        ambit__bump_relaxed(&live, 1);
    }
    ambit__spin_unlock(&lock);
    return number;
}

uint32_t ambit__stack_get(void) {
    uint32_t number;
    while (!(number = take_free()))
        if (!grow()) return take_free(); /* another's chunk may have been the last */
    return number;
}

void ambit__stack_put(uint32_t number) {
    ambit__spin_lock(&lock);
    ambit__store_relaxed(&stack_of(number)->next_free, ambit__load_relaxed(&first_free));
    ambit__store_release(&first_free, number);
    ambit__store_relaxed(&live, ambit__load_relaxed(&live) - 1);
    ambit__spin_unlock(&lock);
}

void ambit__stack_write(uint32_t number, const uintptr_t *frames, uint32_t depth, uint32_t weight) {
    ambit__stack *stack = stack_of(number);
    uint32_t version = ambit__load_relaxed(&stack->version);
    ambit__store_relaxed(&stack->version, version + 1);
    /* Releases pair with the acquires in ambit__stack_read(): who sees one of these words sees the
     * odd version, or a later one. */
    ambit__store_release(&stack->depth, depth);
    ambit__store_release(&stack->weight, weight);
    for (uint32_t i = 0; i < depth; i++) ambit__store_release(&stack->frames[i], frames[i]);
    /* Release pairs with the acquire of the version: even, so all of it is there. */
    ambit__store_release(&stack->version, version + 2);
}

bool ambit__stack_read(uint32_t number, ambit__stack_copy *copy) {
    ambit__stack *stack = stack_of(number);
    copy->version = ambit__load_acquire(&stack->version);
    copy->depth = ambit__load_acquire(&stack->depth);
    copy->weight = ambit__load_acquire(&stack->weight);
    for (uint32_t i = 0; i < copy->depth; i++)
        copy->frames[i] = ambit__load_acquire(&stack->frames[i]);
    return copy->version % 2 == 0;
}

bool ambit__stack_is(uint32_t number, uint32_t version) {
    return ambit__load_relaxed(&stack_of(number)->version) == version;
}

void ambit__stacks_forked(void) { ambit__spin_reset(&lock); }

uint64_t ambit__stacks_live(void) { return ambit__load_relaxed(&live); }
