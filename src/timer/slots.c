#include "timer/slots.h"

#include <stddef.h>

enum { GROUP_BITS = 6, GROUP_MASK = AMBIT__SLOTS - 1 };
#define TICK_NS AMBIT_MILLISECOND
/* Ticks are counted from below INT64_MIN, so that none is negative: a program's clock may be. */
#define ORIGIN (INT64_MAX / TICK_NS + 2)

int64_t ambit__tick_ns(int64_t tick) {
    int64_t from_zero = tick - ORIGIN; /* ticks are not negative */
    if (from_zero > INT64_MAX / TICK_NS) return AMBIT_NEVER;
    return from_zero < INT64_MIN / TICK_NS ? INT64_MIN : from_zero * TICK_NS;
}

/* The tick that the time lies in. */
static int64_t tick_at(int64_t time_ns) {
    return ORIGIN + time_ns / TICK_NS - (time_ns % TICK_NS < 0);
}

/* The first tick that does not begin before the time: nothing fires early. */
static int64_t tick_of(int64_t time_ns) {
    return ORIGIN + time_ns / TICK_NS + (time_ns % TICK_NS > 0);
}

static void link_init(ambit__timer_link *head) { head->next = head->previous = head; }

static void link_append(ambit__timer_link *head, ambit__timer_link *link) {
    link->next = head;
    link->previous = head->previous;
    head->previous->next = link;
    head->previous = link;
}

void ambit__wheel_init(ambit__wheel *wheel, int64_t now_ns) {
    for (int level = 0; level < AMBIT__LEVELS; level++) {
        wheel->used[level] = 0;
        for (int slot = 0; slot < AMBIT__SLOTS; slot++) link_init(&wheel->slots[level][slot]);
    }
    link_init(&wheel->due);
    wheel->tick = tick_at(now_ns);
    wheel->wake_tick = AMBIT__TICK_NEVER;
    wheel->armed = 0;
    ambit__store_relaxed(&wheel->lock.locked, 0);
}

/* Where a node stands decides when it is looked at: at the beginning of its slot. */
static int64_t slot_begin(const ambit__wheel *wheel, unsigned level, unsigned slot) {
    unsigned shift = level * GROUP_BITS;
    uint64_t above = (uint64_t)wheel->tick >> (shift + GROUP_BITS) << (shift + GROUP_BITS);
    return (int64_t)(above | (uint64_t)slot << shift);
}

static int64_t place(ambit__wheel *wheel, ambit__timer_node *node) {
    int64_t tick = tick_of(node->deadline_ns);
    if (tick <= wheel->tick) tick = wheel->tick + 1;
    unsigned level =
        (63u - (unsigned)__builtin_clzll((uint64_t)tick ^ (uint64_t)wheel->tick)) / GROUP_BITS;
    unsigned slot = (unsigned)((uint64_t)tick >> (level * GROUP_BITS)) & GROUP_MASK;
    node->slot = level * AMBIT__SLOTS + slot;
    wheel->used[level] |= UINT64_C(1) << slot;
    link_append(&wheel->slots[level][slot], &node->link);
    return slot_begin(wheel, level, slot);
}

int64_t ambit__wheel_insert(ambit__wheel *wheel, ambit__timer_node *node) {
    wheel->armed++;
    return place(wheel, node);
}

void ambit__wheel_remove(ambit__wheel *wheel, ambit__timer_node *node) {
    ambit__timer_link *next = node->link.next;
    next->previous = node->link.previous;
    node->link.previous->next = next;
    wheel->armed--;
    if (node->slot == AMBIT__SLOT_DUE || next->next != next) return;
    /* `next` is alone: the head of a slot that is empty now. */
    wheel->used[node->slot / AMBIT__SLOTS] &= ~(UINT64_C(1) << (node->slot % AMBIT__SLOTS));
}

int64_t ambit__wheel_next(const ambit__wheel *wheel) {
    if (wheel->due.next != &wheel->due) return wheel->tick;
    for (unsigned level = 0; level < AMBIT__LEVELS; level++)
        if (wheel->used[level])
            return slot_begin(wheel, level, (unsigned)__builtin_ctzll(wheel->used[level]));
    return AMBIT__TICK_NEVER;
}

/* All nodes in slots, as a chain by `next` that ends with NULL; the slots are empty after it. */
static ambit__timer_link *empty_slots(ambit__wheel *wheel) {
    ambit__timer_link *chain = NULL;
    for (unsigned level = 0; level < AMBIT__LEVELS; level++) {
        for (unsigned slot = 0; slot < AMBIT__SLOTS; slot++) {
            ambit__timer_link *head = &wheel->slots[level][slot];
            for (ambit__timer_link *at = head->next, *next; at != head; at = next) {
                next = at->next;
                at->next = chain;
                chain = at;
            }
            link_init(head);
        }
        wheel->used[level] = 0;
    }
    return chain;
}

void ambit__wheel_move(ambit__wheel *wheel, int64_t now_ns) {
    ambit__timer_link *at = wheel->armed ? empty_slots(wheel) : NULL;
    wheel->tick = tick_at(now_ns);
    for (ambit__timer_link *next; at; at = next) {
        next = at->next;
        (void)place(wheel, (ambit__timer_node *)(void *)at);
    }
}

/* Empties the slot that begins at the wheel's tick: what is due goes to the due list, the rest to
 * lower levels. */
static void open_slot(ambit__wheel *wheel, unsigned level, unsigned slot) {
    ambit__timer_link *head = &wheel->slots[level][slot];
    wheel->used[level] &= ~(UINT64_C(1) << slot);
    ambit__timer_link *at = head->next;
    link_init(head);
    for (ambit__timer_link *next; at != head; at = next) {
        ambit__timer_node *node = (ambit__timer_node *)(void *)at;
        next = at->next;
        if (tick_of(node->deadline_ns) <= wheel->tick) {
            node->slot = AMBIT__SLOT_DUE;
            link_append(&wheel->due, at);
        } else {
            (void)place(wheel, node);
        }
    }
}

void ambit__wheel_advance(ambit__wheel *wheel, int64_t now_ns) {
    int64_t now = tick_at(now_ns);
    for (unsigned level = 0; level < AMBIT__LEVELS;) {
        if (!wheel->used[level]) {
            level++;
            continue;
        }
        unsigned slot = (unsigned)__builtin_ctzll(wheel->used[level]);
        int64_t begin = slot_begin(wheel, level, slot);
        if (begin > now) break;
        wheel->tick = begin;
        open_slot(wheel, level, slot);
        level = 0; /* nodes may have come down */
    }
    if (now > wheel->tick) wheel->tick = now;
}
