/* Much memory at once: memset(), copies, blocks that are freed.
 *
 * A long range is gone through page by page, and in a page by runs of granules to which all has
 * been done together until now. Such a run shares one cell, so that what is done to it next is done
 * once. Where the range ends in the middle of a run, the run is parted, and the part gets a cell
 * like the old one; where two that have become the same lie side by side, they are one again. A
 * granule that is touched by itself gets a cell of its own (shadow_table.c), and when a page has no
 * room for another shared cell, each granule does. */
#include "schedule/shadow.h"

/* Less is not worth a page. */
#define RANGE_LEAST (16 * (size_t)8)

unsigned ambit__shadow_run_end(const ambit__page *page, unsigned from, unsigned end) {
    const uint8_t *of = page->of;
    if (memcmp(&of[from], &of[from + 1], end - from - 1) == 0) return end; /* all are the same */
    unsigned at = from + 1;
    while (of[at] == of[from]) at++;
    return at;
}

static bool shares(unsigned number) {
    return number != AMBIT__UNTOUCHED && number != AMBIT__OWN_CELL;
}

static unsigned free_cell(const ambit__page *page) {
    unsigned number = 1;
    while (number <= AMBIT__PAGE_CELLS && page->granules[number]) number++;
    return number <= AMBIT__PAGE_CELLS ? number : 0;
}

static void assign(ambit__page *page, unsigned from, unsigned end, unsigned number) {
    memset(&page->of[from], (int)number, end - from);
    page->granules[number] = (uint16_t)(page->granules[number] + end - from);
}

static void save_old(ambit__page *page, unsigned from, unsigned end, const void *site) {
    const void *memory = (const void *)(page->address + 8 * from);
    ambit__reading_for = site;
    __asm__ volatile("" ::: "memory"); /* it need not be there: not before, and not after */
    memcpy(&page->old[from], memory, 8 * (end - from));
    __asm__ volatile("" ::: "memory");
    ambit__reading_for = NULL;
}

/* A shared cell that stands for this run and no other granule; NULL if there is no room. */
static ambit__cell *cell_of_run(ambit__page *page, unsigned from, unsigned end, const void *site) {
    unsigned before = page->of[from], number = before;
    uintptr_t address = page->address + 8 * from;
    if (before == AMBIT__UNTOUCHED || page->granules[before] != end - from) {
        number = free_cell(page);
        if (!number) return NULL;
        ambit__cell *cell = &page->cells[number];
        if (before == AMBIT__UNTOUCHED) {
            ambit__shadow_begin(cell, address);
            if (cell->granule.place == AMBIT__OUTSIDE) save_old(page, from, end, site);
        } else {
            *cell = page->cells[before];
            page->granules[before] = (uint16_t)(page->granules[before] - (end - from));
        }
        assign(page, from, end, number);
    }
    page->cells[number].granule.address = address;
    return &page->cells[number];
}

/* They are of one block, since those are apart; so where it was allocated is the same. */
static bool are_same(const ambit__granule *one, const ambit__granule *other) {
    size_t from = offsetof(ambit__granule, count);
    return one->count == other->count &&
           memcmp((const char *)one + from, (const char *)other + from,
                  offsetof(ambit__granule, accesses) - from +
                      one->count * sizeof one->accesses[0]) == 0;
}

/* The run shares another cell, if nothing tells the two apart any more. */
static void join(ambit__page *page, unsigned from, unsigned end, unsigned into) {
    unsigned number = page->of[from];
    if (!shares(into) || !are_same(&page->cells[number].granule, &page->cells[into].granule))
        return;
    page->granules[number] = (uint16_t)(page->granules[number] - (end - from));
    assign(page, from, end, into);
}

static void do_single(uintptr_t at, uint8_t mask, ambit__cell_fn *what, ambit__attempt *now) {
    what(ambit__shadow_get(at, now->site), mask, now);
}

/* From a granule on that is whole; returns where it goes on. `before`: the cell of the last run
 * that it was done to in this page. */
static unsigned do_run(ambit__page *page, unsigned from, unsigned end, unsigned *before,
                       ambit__cell_fn *what, ambit__attempt *now) {
    uintptr_t address = page->address + 8 * from;
    end = ambit__shadow_run_end(page, from, end);
    if (page->of[from] == AMBIT__UNTOUCHED)
        end = (unsigned)(ambit__shadow_alike(address, page->address + 8 * end) - page->address) / 8;
    ambit__cell *cell = end > from ? cell_of_run(page, from, end, now->site) : NULL;
    if (!cell) {
        do_single(address, 0xff, what, now);
        return from + 1;
    }
    what(cell, 0xff, now);
    join(page, from, end, *before);
    if (from > 0) join(page, from, end, page->of[from - 1]);
    if (end < AMBIT__PAGE_GRANULES) join(page, from, end, page->of[end]);
    *before = page->of[from];
    return end;
}

/* `known`: to those that were touched only. */
static void do_page(ambit__page *page, uintptr_t low, uintptr_t high, bool known,
                    ambit__cell_fn *what, ambit__attempt *now) {
    unsigned at = (unsigned)(low - page->address) / 8;
    unsigned whole = (unsigned)(high - page->address) / 8, before = AMBIT__UNTOUCHED;
    while (page->address + 8 * at < high) {
        uint8_t mask = ambit__mask_within(page->address + 8 * at, low, high);
        if (page->of[at] == AMBIT__UNTOUCHED && known) {
            at++;
        } else if (mask != 0xff || page->of[at] == AMBIT__OWN_CELL) {
            do_single(page->address + 8 * at, mask, what, now);
            at++;
        } else {
            at = do_run(page, at, whole, &before, what, now);
        }
    }
}

static uintptr_t end_within(uintptr_t address, uintptr_t unit, uintptr_t end) {
    uintptr_t next = (address | (unit - 1)) + 1;
    return next < end ? next : end;
}

void ambit__shadow_each(ambit__cell_fn *what, ambit__attempt *now) {
    uintptr_t low = now->address, high = low + now->bytes;
    if (now->bytes < RANGE_LEAST) {
        for (uintptr_t at = low & ~(uintptr_t)7; at < high; at += 8)
            do_single(at, ambit__mask_within(at, low, high), what, now);
        return;
    }
    for (uintptr_t at = low, end; at < high; at = end) {
        end = end_within(at, AMBIT__PAGE, high);
        do_page(ambit__shadow_page_make(at), at, end, false, what, now);
    }
}

/* ---- What is known --------------------------------------------------------------------------- */

/* Of one stretch, where there is no page. */
static void do_stretch(uintptr_t low, uintptr_t high, ambit__cell_fn *what, ambit__attempt *now) {
    for (uintptr_t at = low & ~(uintptr_t)7; at < high; at += 8) {
        ambit__cell *cell = ambit__shadow_find(at);
        if (cell) what(cell, ambit__mask_within(at, low, high), now);
    }
}

static void do_known(uintptr_t low, uintptr_t high, ambit__cell_fn *what, ambit__attempt *now) {
    for (uintptr_t at = low, end; at < high; at = end) {
        ambit__page *page = ambit__shadow_page_at(at);
        end = end_within(at, page ? AMBIT__PAGE : AMBIT__STRETCH, high);
        if (page)
            do_page(page, at, end, true, what, now);
        else if (ambit__shadow_has_cells(at))
            do_stretch(at, end, what, now);
    }
}

/* By address, or all that is known, if that is less. */
void ambit__shadow_each_known(ambit__cell_fn *what, ambit__attempt *now) {
    uintptr_t low = now->address, high = low + now->bytes;
    if (now->bytes / AMBIT__STRETCH <= ambit__shadow.cells + ambit__shadow.pages) {
        do_known(low, high, what, now);
        return;
    }
    uint32_t cells = ambit__shadow.cells; /* `what` is done to no other */
    for (uint32_t i = 0; i < ambit__shadow.pages; i++) {
        ambit__page *page = ambit__shadow_page(i);
        uintptr_t from = low > page->address ? low : page->address;
        uintptr_t end = end_within(page->address, AMBIT__PAGE, high);
        if (from < end) do_page(page, from, end, true, what, now);
    }
    for (uint32_t i = 0; i < cells; i++) {
        ambit__cell *cell = ambit__shadow_cell(i);
        uint8_t mask = ambit__mask_within(cell->granule.address, low, high);
        if (mask) what(cell, mask, now);
    }
}
