/* Which atomic objects there are, and what they hold at first.
 *
 * An object is an address and a size. Who comes with another size, as code does that changes a pointer and its
 * tag at once and reads the pointer alone, finds what is newest of what overlaps, as one store that gives out what
 * those gave; C has no such accesses, and processors do that at least. A plain store begins an object anew. */
#include <stdio.h>
#include <stdlib.h>

#include "schedule/location.h"

static ambit__location **pool; /* never given back, used anew by each schedule */
static size_t pool_count, pool_room;

void ambit__locations_reset(void) { pool_count = 0; }

static ambit__value memory_read(const volatile void *address, unsigned size) {
    switch (size) {
    case 1:
        return __atomic_load_n((const volatile uint8_t *)address, __ATOMIC_RELAXED);
    case 2:
        return __atomic_load_n((const volatile uint16_t *)address, __ATOMIC_RELAXED);
    case 4:
        return __atomic_load_n((const volatile uint32_t *)address, __ATOMIC_RELAXED);
    case 8:
        return __atomic_load_n((const volatile uint64_t *)address, __ATOMIC_RELAXED);
    default: /* one thread runs at a time */
        return *(const volatile ambit__value *)address;
    }
}

void ambit__memory_write(volatile void *address, unsigned size, ambit__value value) {
    switch (size) {
    case 1:
        __atomic_store_n((volatile uint8_t *)address, (uint8_t)value, __ATOMIC_RELAXED);
        break;
    case 2:
        __atomic_store_n((volatile uint16_t *)address, (uint16_t)value, __ATOMIC_RELAXED);
        break;
    case 4:
        __atomic_store_n((volatile uint32_t *)address, (uint32_t)value, __ATOMIC_RELAXED);
        break;
    case 8:
        __atomic_store_n((volatile uint64_t *)address, (uint64_t)value, __ATOMIC_RELAXED);
        break;
    default:
        *(volatile ambit__value *)address = value;
    }
}

static ambit__location *new_location(uintptr_t address, unsigned size, ambit__granule *granule) {
    if (pool_count == pool_room) {
        size_t room = pool_room ? pool_room * 2 : 256;
        ambit__location **grown = __real_realloc(pool, room * sizeof(ambit__location *));
        ambit__location *more = __real_realloc(NULL, (room - pool_room) * sizeof *more);
        if (!grown || !more) {
            (void)fprintf(stderr, "ambit::schedule: no memory for the histories of atomics\n");
            abort();
        }
        pool = grown;
        for (size_t i = pool_room; i < room; i++) pool[i] = &more[i - pool_room];
        pool_room = room;
    }
    ambit__location *made = pool[pool_count++];
    made->address = address;
    made->size = (uint8_t)size;
    made->half = NULL;
    made->next = granule->locations;
    granule->locations = made;
    return made;
}

/* The object is what stands in memory, by whoever wrote it last. */
static void seed(ambit__location *at, const ambit__vector *released) {
    ambit__store *first = &at->stores[0];
    memset(first, 0, sizeof *first);
    first->value = memory_read((const void *)at->address, at->size);
    first->released = *released;
    at->count = 1;
    at->order[0] = 0;
}

static uint8_t mask_of(uintptr_t address, unsigned size) {
    return (uint8_t)((size >= 8 ? 0xffu : (1u << size) - 1u) << (address & 7));
}

static void unlink_from(ambit__granule *granule, const ambit__location *gone) {
    ambit__location **link = &granule->locations;
    while (*link != gone) link = &(*link)->next;
    *link = gone->next;
}

/* Takes away what overlaps with the object in this granule without being it; what those gave is not lost. */
static void drop_others(ambit__granule *granule, uint8_t mask, uintptr_t address, unsigned size,
                        ambit__vector *released) {
    for (ambit__location *at = granule->locations, *next; at; at = next) {
        next = at->next;
        ambit__location *whole = at->size ? at : at->half;
        if (whole->address == address && whole->size == size) continue;
        if (at->half || mask_of(at->address, at->size) & mask) {
            ambit__vector_join(released, &ambit__newest_of(whole)->released);
            unlink_from(granule, at);
            if (at->half) unlink_from(ambit__shadow_at(at->half->address), at->half);
        }
    }
}

static ambit__location *find(const ambit__granule *granule, uintptr_t address, unsigned size) {
    for (ambit__location *at = granule->locations; at; at = at->next)
        if (at->address == address && at->size == size) return at;
    return NULL;
}

ambit__location *ambit__location_at(const volatile void *object, unsigned size) {
    uintptr_t address = (uintptr_t)object;
    ambit__granule *granule = ambit__shadow_at(address);
    ambit__granule *second = size > 8 ? ambit__shadow_at(address + 8) : NULL;
    uint8_t mask = mask_of(address, size);
    ambit__location *found = find(granule, address, size);
    bool renewed = granule->renewed & mask || (second && second->renewed);
    if (__builtin_expect(!found, 0)) {
        ambit__vector released = {{0}};
        drop_others(granule, mask, address, size, &released);
        if (second) drop_others(second, 0xff, address, size, &released);
        if (renewed) released = (ambit__vector){{0}};
        found = new_location(address, size, granule);
        if (second) {
            found->half = new_location(address + 8, 0, second);
            found->half->half = found;
        }
        seed(found, &released);
    } else if (__builtin_expect(renewed, 0)) {
        seed(found, &(ambit__vector){{0}});
    }
    granule->renewed &= (uint8_t)~mask;
    if (second) second->renewed = 0;
    return found;
}
