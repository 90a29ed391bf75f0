/* What shadow*.c tell each other, and nobody else: what is known of memory, and where it stands. */
#ifndef AMBIT_SCHEDULE_SHADOW_H
#define AMBIT_SCHEDULE_SHADOW_H

#include "schedule/heap.h"

#pragma GCC visibility push(hidden) /* near: most of this is in the path of each access */

/* Where a granule is. */
enum { AMBIT__IN_HEAP, AMBIT__ON_STACK, AMBIT__OUTSIDE, AMBIT__MAPPED };

/* The first access is in the same cache line as all else: mostly there is no other. */
typedef struct ambit__cell {
    uint64_t old;          /* outside, and in kept blocks: what stood there at first */
    const void *allocated; /* where, if the allocation is among the accesses */
    ambit__granule granule;
} __attribute__((aligned(64))) ambit__cell;

#define AMBIT__PAGE ((uintptr_t)4096)
#define AMBIT__PAGE_GRANULES (AMBIT__PAGE / 8)
#define AMBIT__PAGE_CELLS 15
enum { AMBIT__UNTOUCHED = 0, AMBIT__OWN_CELL = 0xff };

/* A page of memory of which long ranges were touched. Granules to all of which the same was done
 * share one cell. Those stand for whole granules only: all masks in them are 0 or 0xff. */
typedef struct ambit__page {
    uintptr_t address;
    uint16_t granules[1 + AMBIT__PAGE_CELLS]; /* that each cell stands for; 0: it is free */
    /* Of each granule: untouched, with a cell of its own in the table, or the number of the shared
     * one. */
    uint8_t of[AMBIT__PAGE_GRANULES];
    ambit__cell cells[1 + AMBIT__PAGE_CELLS]; /* the first is not used */
    uint64_t old[AMBIT__PAGE_GRANULES];       /* of those that share a cell which is outside */
} ambit__page;

/* ---- shadow_table.c: where it stands --------------------------------------------------------- */

typedef struct ambit__slot {
    uintptr_t address; /* a granule's, or a page's with the lowest bit set */
    uint32_t schedule, index;
} ambit__slot;

extern struct ambit__shadow_table {
    ambit__cell *last;      /* touched; most accesses come in flocks */
    ambit__page *last_page; /* the same */
    ambit__slot *slots;
    uint32_t schedule; /* what is of another one is void */
    unsigned bits;     /* of the number of slots */
    uint32_t cells, pages;
} ambit__shadow;

#define AMBIT__CELLS_BITS 10 /* cells that are made room for at a time: 256 KiB */
#define AMBIT__CELLS_CHUNKS 32768
extern ambit__cell *ambit__shadow_chunks[AMBIT__CELLS_CHUNKS];
static inline ambit__cell *ambit__shadow_cell(uint32_t index) {
    return &ambit__shadow_chunks[index >> AMBIT__CELLS_BITS]
                                [index & ((1u << AMBIT__CELLS_BITS) - 1)];
}

ambit__page *ambit__shadow_page(uint32_t index);
/* A granule that was not touched, or shares a cell, gets one of its own. */
ambit__cell *ambit__shadow_make(uintptr_t address, const void *site);
ambit__page *ambit__shadow_page_at(uintptr_t address); /* NULL if there is none */
ambit__page *ambit__shadow_page_make(uintptr_t address);
/* Whether a granule near this one may have a cell of its own: in the same stretch of so many bytes.
 * It may say so and be wrong. */
#define AMBIT__STRETCH ((uintptr_t)128)
bool ambit__shadow_has_cells(uintptr_t address);
void ambit__shadow_clear(void);

static inline uint32_t ambit__slot_of(uintptr_t address) {
    return (uint32_t)((address >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - ambit__shadow.bits));
}

/* The granule's own cell; NULL if it has none. */
static inline ambit__cell *ambit__shadow_find(uintptr_t address) {
    if (__builtin_expect(ambit__shadow.last->granule.address == address, 1))
        return ambit__shadow.last;
    const ambit__slot *slots = ambit__shadow.slots;
    if (__builtin_expect(!slots, 0)) return NULL;
    uint32_t wrap = (1u << ambit__shadow.bits) - 1, schedule = ambit__shadow.schedule;
    for (uint32_t i = ambit__slot_of(address); slots[i].schedule == schedule; i = (i + 1) & wrap)
        if (slots[i].address == address)
            return ambit__shadow.last = ambit__shadow_cell(slots[i].index);
    return NULL;
}

/* The cell that a granule shares; NULL if there is none. */
static inline ambit__cell *ambit__shadow_shared(uintptr_t address) {
    if (!ambit__shadow.pages) return NULL;
    ambit__page *page = ambit__shadow_page_at(address);
    if (!page) return NULL;
    unsigned number = page->of[address % AMBIT__PAGE / 8];
    return number == AMBIT__UNTOUCHED || number == AMBIT__OWN_CELL ? NULL : &page->cells[number];
}

static inline ambit__cell *ambit__shadow_get(uintptr_t address, const void *site) {
    ambit__cell *cell = ambit__shadow_find(address);
    return __builtin_expect(cell != NULL, 1) ? cell : ambit__shadow_make(address, site);
}

/* The bytes of the granule that lie in a stretch of memory. */
static inline uint8_t ambit__mask_within(uintptr_t granule, uintptr_t low, uintptr_t high) {
    unsigned mask = 0xff;
    if (low > granule) mask &= low - granule < 8 ? 0xffu << (low - granule) : 0;
    if (high < granule + 8) mask &= high > granule ? 0xffu >> (8 - (high - granule)) : 0;
    return (uint8_t)mask;
}

/* ---- shadow_begin.c: what memory is when it is touched first --------------------------------- */

/* All but `old`. */
void ambit__shadow_begin(ambit__cell *cell, uintptr_t address);
/* To where, and not beyond `end`, granules of the same page would begin like this one but for their
 * address and `old`; `address` itself if that is not to be said. */
uintptr_t ambit__shadow_alike(uintptr_t address, uintptr_t end);
/* Nothing has been given back yet. */
void ambit__shadow_none_gone(void);

/* ---- shadow_range.c: much at once ------------------------------------------------------------ */

/* What is done to the bytes `mask` of a granule; to a shared cell, for all granules that it stands
 * for, of which it has the first one's address. */
typedef void ambit__cell_fn(ambit__cell *cell, uint8_t mask, ambit__attempt *now);
/* To all granules of the range that `now` is. */
void ambit__shadow_each(ambit__cell_fn *what, ambit__attempt *now);
/* To those that were touched. */
void ambit__shadow_each_known(ambit__cell_fn *what, ambit__attempt *now);
/* The end of the granules from this one on that have the same in `of`. */
unsigned ambit__shadow_run_end(const ambit__page *page, unsigned from, unsigned end);

#pragma GCC visibility pop

#endif
