#include "timer/slots.h"

#include <stddef.h>

#include "base/clock.h"

static void link_init(ambit__timer_link *head) { head->next = head->previous = head; }

void ambit__wheel_init(ambit__wheel *wheel, int64_t now_ns) {
    for (int level = 0; level < AMBIT__LEVELS; level++) {
        wheel->used[level] = 0;
        for (int slot = 0; slot < AMBIT__SLOTS; slot++) link_init(&wheel->slots[level][slot]);
    }
    link_init(&wheel->due);
    wheel->tick = ambit__tick_at(now_ns);
    ambit__store_relaxed(&wheel->wake_tick, AMBIT__TICK_NEVER);
    wheel->visits = 0;
    ambit__store_relaxed(&wheel->inserted, 0);
    ambit__store_relaxed(&wheel->removed, 0);
    ambit__bias_init(&wheel->lock);
    AMBIT__RANK_SET(&wheel->lock.lock, AMBIT__RANK_WHEEL);
}

int64_t ambit__wheel_next(const ambit__wheel *wheel) {
    if (wheel->due.next != &wheel->due) return wheel->tick;
    for (unsigned level = 0; level < AMBIT__LEVELS; level++)
        if (wheel->used[level])
            return ambit__slot_begin(wheel, level, (unsigned)__builtin_ctzll(wheel->used[level]));
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
    ambit__timer_link *at = ambit__wheel_armed(wheel) ? empty_slots(wheel) : NULL;
    wheel->tick = ambit__tick_at(now_ns);
    for (ambit__timer_link *next; at; at = next) {
        next = at->next;
        (void)ambit__wheel_place(wheel, ambit__timer_node_of(at));
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
        ambit__timer_node *node = ambit__timer_node_of(at);
        next = at->next;
        if (ambit__tick_after(node->deadline_ns) <= wheel->tick) {
            node->slot = AMBIT__SLOT_DUE;
            ambit__link_append(&wheel->due, at);
        } else {
            (void)ambit__wheel_place(wheel, node);
        }
    }
}

/* Within the tick under way: a program's own clock may stand at the very time that is waited for. */
static void take_reached(ambit__wheel *wheel, int64_t now_ns) {
    uint64_t tick = (uint64_t)wheel->tick + 1;
    for (unsigned level = 0; level < AMBIT__LEVELS; level++) {
        unsigned slot = (unsigned)(tick >> (level * AMBIT__GROUP_BITS)) % AMBIT__SLOTS;
        if (!(wheel->used[level] >> slot & 1)) continue;
        ambit__timer_link *head = &wheel->slots[level][slot];
        for (ambit__timer_link *at = head->next, *next; at != head; at = next) {
            ambit__timer_node *node = ambit__timer_node_of(at);
            next = at->next;
            if (node->deadline_ns > now_ns) continue;
            at->previous->next = next;
            next->previous = at->previous;
            node->slot = AMBIT__SLOT_DUE;
            ambit__link_append(&wheel->due, at);
        }
        if (head->next == head) wheel->used[level] &= ~(UINT64_C(1) << slot);
    }
}

void ambit__wheel_advance(ambit__wheel *wheel, int64_t now_ns) {
    int64_t now = ambit__tick_at(now_ns);
    for (unsigned level = 0; level < AMBIT__LEVELS;) {
        if (!wheel->used[level]) {
            level++;
            continue;
        }
        unsigned slot = (unsigned)__builtin_ctzll(wheel->used[level]);
        int64_t begin = ambit__slot_begin(wheel, level, slot);
        if (begin > now) break;
        wheel->tick = begin;
        open_slot(wheel, level, slot);
        level = 0; /* nodes may have come down */
    }
    if (now > wheel->tick) wheel->tick = now;
    if (ambit__unlikely(ambit__clock_is_custom())) take_reached(wheel, now_ns);
}
