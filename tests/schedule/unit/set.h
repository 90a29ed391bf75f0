/* Sets of numbers, which are made of other things by mixing those. */
#ifndef AMBIT_TESTS_SET_H
#define AMBIT_TESTS_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

static inline uint64_t mixed(uint64_t with, uint64_t what) {
    uint64_t z = (with ^ what) * UINT64_C(0x9e3779b97f4a7c15) + 0x632be5ab;
    return z ^ z >> 29;
}

typedef struct set {
    uint64_t *items;
    size_t count, room;
} set;

static inline bool set_has(const set *of, uint64_t item) {
    for (size_t slot = item % (of->room ? of->room : 1); of->room; slot = (slot + 1) % of->room) {
        if (of->items[slot] == item) return true;
        if (of->items[slot] == 0) return false;
    }
    return false;
}

static inline void set_add(set *to, uint64_t item) {
    item |= 1;
    if (set_has(to, item)) return;
    if (to->count * 2 >= to->room) {
        set grown = {.room = to->room ? to->room * 2 : 64};
        grown.items = calloc(grown.room, sizeof *grown.items);
        for (size_t i = 0; i < to->room; i++)
            if (to->items[i]) set_add(&grown, to->items[i]);
        free(to->items);
        *to = grown;
    }
    size_t slot = item % to->room;
    while (to->items[slot]) slot = (slot + 1) % to->room;
    to->items[slot] = item;
    to->count++;
}

static inline bool set_is_same(const set *one, const set *other) {
    if (one->count != other->count) return false;
    for (size_t i = 0; i < one->room; i++)
        if (one->items[i] && !set_has(other, one->items[i])) return false;
    return true;
}

static inline void set_free(set *of) {
    free(of->items);
    *of = (set){0};
}

#endif
