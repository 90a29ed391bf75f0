/* One wheel: eight levels of 64 slots over ticks of a millisecond, so 2^48 ticks or 8,900 years, of
 * which the times that 64 bits of nanoseconds can name, below zero as well, are 585.
 *
 * A node stands at the level of the highest group of six bits in which its tick differs from the
 * wheel's (Varghese and Lauck's hierarchical wheel, with the levels aligned). So every slot in use
 * lies ahead of the wheel at its level, the lowest level in use has the next one, and moving the
 * wheel forward up to that slot changes no node's place. */
#ifndef AMBIT_TIMER_SLOTS_H
#define AMBIT_TIMER_SLOTS_H

#include "base/park.h"
#include "timer/wheel.h"

#define AMBIT__LEVELS 8
#define AMBIT__SLOTS 64
#define AMBIT__SLOT_DUE (AMBIT__LEVELS * AMBIT__SLOTS)
#define AMBIT__TICK_NEVER INT64_MAX

typedef struct ambit__wheel {
    struct ambit__wheel *next; /* all wheels, newest first; fixed */
    ambit__spin lock;
    /* under the lock */
    int64_t tick;      /* everything up to here has been taken out */
    int64_t wake_tick; /* the service looks again at this tick, or was told to */
    uint64_t armed;
    uint32_t clock;               /* ambit__clock_changes() when `tick` was set */
    uint64_t used[AMBIT__LEVELS]; /* a bit for each slot that holds a node */
    ambit__timer_link slots[AMBIT__LEVELS][AMBIT__SLOTS];
    ambit__timer_link due;
} ambit__wheel;

void ambit__wheel_init(ambit__wheel *wheel, int64_t now_ns);
/* All with the lock held. Insert returns the tick at which the node has to be looked at next. */
int64_t ambit__wheel_insert(ambit__wheel *wheel, ambit__timer_node *node);
void ambit__wheel_remove(ambit__wheel *wheel, ambit__timer_node *node);
/* Sets the wheel by another clock, which may read less: every node in a slot is placed anew. */
void ambit__wheel_move(ambit__wheel *wheel, int64_t now_ns);
/* Moves what is due at `now_ns` to the due list. */
void ambit__wheel_advance(ambit__wheel *wheel, int64_t now_ns);
/* The next tick at which advancing does something; AMBIT__TICK_NEVER if the wheel is empty. */
int64_t ambit__wheel_next(const ambit__wheel *wheel);
int64_t ambit__tick_ns(int64_t tick);

#endif
