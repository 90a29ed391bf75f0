/* One wheel: eight levels of 64 slots over ticks of 2^20 ns, a little more than a millisecond. That
 * is more than the 585 years which 64 bits of nanoseconds can name, those below zero as well.
 *
 * A node stands at the level of the highest group of six bits in which its tick differs from the
 * wheel's (Varghese and Lauck's hierarchical wheel, with the levels aligned). So every slot in use
 * lies ahead of the wheel at its level, the lowest level in use has the next one, and moving the
 * wheel forward up to that slot changes no node's place. */
#ifndef AMBIT_TIMER_SLOTS_H
#define AMBIT_TIMER_SLOTS_H

#include "base/bias.h"
#include "timer/wheel.h"

#define AMBIT__LEVELS 8
#define AMBIT__SLOTS 64
#define AMBIT__SLOT_DUE (AMBIT__LEVELS * AMBIT__SLOTS)
#define AMBIT__TICK_NEVER INT64_MAX
#define AMBIT__TICK_BITS 20
#define AMBIT__SIGN (UINT64_C(1) << 63)
#define AMBIT__GROUP_BITS 6 /* of a level */

typedef struct ambit__wheel {
    struct ambit__wheel *next; /* all wheels, newest first; fixed */
    ambit__bias lock;          /* the owner is the thread that arms in it */
    /* written under the lock, read by anyone */
    _Atomic(int64_t) wake_tick;          /* the service looks again at this tick, or was told to */
    _Atomic(uint64_t) inserted, removed; /* since ever; two, so that neither waits for the other */
    /* under the lock */
    int64_t tick;                 /* everything up to here has been taken out */
    uint32_t clock;               /* ambit__clock_changes() when `tick` was set */
    uint32_t visits;              /* disarms by other threads, lately */
    uint64_t used[AMBIT__LEVELS]; /* a bit for each slot that holds a node */
    ambit__timer_link slots[AMBIT__LEVELS][AMBIT__SLOTS];
    ambit__timer_link due;
} ambit__wheel;

void ambit__wheel_init(ambit__wheel *wheel, int64_t now_ns);
/* All below with the lock held. Sets the wheel by another clock, which may read less: every node in a
 * slot is placed anew. */
void ambit__wheel_move(ambit__wheel *wheel, int64_t now_ns);
/* Moves what is due at `now_ns` to the due list. */
void ambit__wheel_advance(ambit__wheel *wheel, int64_t now_ns);
/* The next tick at which advancing does something; AMBIT__TICK_NEVER if the wheel is empty. */
int64_t ambit__wheel_next(const ambit__wheel *wheel);

/* The tick that a time lies in. They are counted from INT64_MIN, so that none is negative: a program's
 * clock may be. */
static inline int64_t ambit__tick_at(int64_t time_ns) {
    return (int64_t)(((uint64_t)time_ns ^ AMBIT__SIGN) >> AMBIT__TICK_BITS);
}
/* The first tick that does not begin before the time: nothing fires early. */
static inline int64_t ambit__tick_after(int64_t time_ns) {
    uint64_t part_ns = (uint64_t)time_ns & ((UINT64_C(1) << AMBIT__TICK_BITS) - 1);
    return ambit__tick_at(time_ns) + (part_ns != 0);
}
/* When it begins. */
static inline int64_t ambit__tick_ns(int64_t tick) {
    if (tick >= INT64_C(1) << (64 - AMBIT__TICK_BITS)) return AMBIT_NEVER;
    return (int64_t)((uint64_t)tick << AMBIT__TICK_BITS ^ AMBIT__SIGN);
}

static inline void ambit__link_append(ambit__timer_link *head, ambit__timer_link *link) {
    ambit__timer_link *last = head->previous;
    link->next = head;
    link->previous = last;
    last->next = link;
    head->previous = link;
}

/* Where a node stands decides when it is looked at: at the beginning of its slot. */
static inline int64_t ambit__slot_begin(const ambit__wheel *wheel, unsigned level, unsigned slot) {
    unsigned shift = level * AMBIT__GROUP_BITS;
    uint64_t above = (uint64_t)wheel->tick >> shift >> AMBIT__GROUP_BITS << AMBIT__GROUP_BITS;
    return (int64_t)((above | slot) << shift);
}

/* Puts it into a slot. Returns the tick at which it has to be looked at next. */
static inline int64_t ambit__wheel_place(ambit__wheel *wheel, ambit__timer_node *node) {
    int64_t tick = ambit__tick_after(node->deadline_ns);
    if (tick <= wheel->tick) tick = wheel->tick + 1;
    unsigned level = (63u - (unsigned)__builtin_clzll((uint64_t)tick ^ (uint64_t)wheel->tick)) /
                     AMBIT__GROUP_BITS;
    unsigned slot = (unsigned)((uint64_t)tick >> (level * AMBIT__GROUP_BITS)) % AMBIT__SLOTS;
    node->slot = (uint16_t)(level * AMBIT__SLOTS + slot);
    uint64_t bit = UINT64_C(1) << slot;
    if (!(wheel->used[level] & bit)) wheel->used[level] |= bit;
    ambit__link_append(&wheel->slots[level][slot], &node->link);
    return ambit__slot_begin(wheel, level, slot);
}

/* How many nodes are armed. For who does not hold the lock, about so many. */
static inline uint64_t ambit__wheel_armed(const ambit__wheel *wheel) {
    uint64_t removed = ambit__load_relaxed(&wheel->removed);
    uint64_t inserted = ambit__load_relaxed(&wheel->inserted);
    return inserted > removed ? inserted - removed : 0;
}

static inline int64_t ambit__wheel_insert(ambit__wheel *wheel, ambit__timer_node *node) {
    ambit__bump_relaxed(&wheel->inserted, 1);
    return ambit__wheel_place(wheel, node);
}

static inline void ambit__wheel_remove(ambit__wheel *wheel, ambit__timer_node *node) {
    ambit__timer_link *next = node->link.next;
    ambit__timer_link *previous = node->link.previous;
    next->previous = previous;
    previous->next = next;
    ambit__bump_relaxed(&wheel->removed, 1);
    /* Both neighbours are the head of a slot that is empty now. */
    if (ambit__unlikely(next == previous) && node->slot != AMBIT__SLOT_DUE &&
        next == &wheel->slots[node->slot / AMBIT__SLOTS][node->slot % AMBIT__SLOTS])
        wheel->used[node->slot / AMBIT__SLOTS] &= ~(UINT64_C(1) << (node->slot % AMBIT__SLOTS));
}

#endif
