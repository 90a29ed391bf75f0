/* Where it stands who has touched what.
 *
 * An open hash table leads from a granule's address to its cell, and from a page's to the page. All
 * of it belongs to one schedule: an entry with another's number is an empty one, so that beginning
 * anew costs nothing, however much the last schedule has touched. */
#include "schedule/shadow.h"

#define PAGE_CHUNK_BITS 6
#define PAGE_CHUNKS 1024
#define FIRST_TABLE_BITS 12
#define NEAR 4096

static ambit__cell no_cell = {.granule = {.address = 1}}; /* no granule's address */
static ambit__page no_page = {.address = 1};              /* no page's */
struct ambit__shadow_table ambit__shadow = {.last = &no_cell, .last_page = &no_page};
ambit__cell *ambit__shadow_chunks[AMBIT__CELLS_CHUNKS];
static ambit__page *page_chunks[PAGE_CHUNKS];
static uint32_t near[NEAR]; /* the schedule that last made a cell in a stretch that falls there */

ambit__page *ambit__shadow_page(uint32_t index) {
    return &page_chunks[index >> PAGE_CHUNK_BITS][index & ((1u << PAGE_CHUNK_BITS) - 1)];
}

/* ---- The table ------------------------------------------------------------------------------- */

static void insert(uintptr_t address, uint32_t index) {
    uint32_t wrap = (1u << ambit__shadow.bits) - 1, i = ambit__slot_of(address);
    while (ambit__shadow.slots[i].schedule == ambit__shadow.schedule) i = (i + 1) & wrap;
    ambit__shadow.slots[i] = (ambit__slot){address, ambit__shadow.schedule, index};
}

/* Twice as large; the old table's pages are the price of never moving in the hot path. */
static void grow(void) {
    struct ambit__shadow_table *table = &ambit__shadow;
    if (table->slots) (void)__real_munmap(table->slots, sizeof(ambit__slot) << table->bits);
    table->bits = table->slots ? table->bits + 1 : FIRST_TABLE_BITS;
    table->slots =
        ambit__reserve(sizeof(ambit__slot) << table->bits, "the table of what is touched");
    if (!table->schedule) table->schedule = 1;
    for (uint32_t i = 0; i < table->cells; i++) insert(ambit__shadow_cell(i)->granule.address, i);
    for (uint32_t i = 0; i < table->pages; i++) insert(ambit__shadow_page(i)->address | 1, i);
}

static inline void make_room(void) {
    if (!ambit__shadow.slots ||
        (ambit__shadow.cells + ambit__shadow.pages) >> (ambit__shadow.bits - 1))
        grow();
}

void ambit__shadow_clear(void) {
    ambit__shadow.last = &no_cell;
    ambit__shadow.last_page = &no_page;
    ambit__shadow.cells = ambit__shadow.pages = 0;
    if (++ambit__shadow.schedule) return;
    /* After 2^32 schedules entries of the first ones would come to life again. */
    ambit__shadow.schedule = 1;
    if (ambit__shadow.slots)
        memset(ambit__shadow.slots, 0, sizeof(ambit__slot) << ambit__shadow.bits);
}

static void __attribute__((noreturn, cold)) too_much(void) {
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL,
                "more than %u MiB of memory is touched in one schedule",
                AMBIT__CELLS_CHUNKS >> (20 - AMBIT__CELLS_BITS) << 3);
}

/* ---- Cells ----------------------------------------------------------------------------------- */

static inline uint32_t *near_of(uintptr_t address) {
    return &near[address / AMBIT__STRETCH % NEAR];
}

bool ambit__shadow_has_cells(uintptr_t address) {
    return *near_of(address) == ambit__shadow.schedule;
}

static ambit__cell *new_cell(void) {
    uint32_t chunk = ambit__shadow.cells >> AMBIT__CELLS_BITS;
    if (chunk == AMBIT__CELLS_CHUNKS) too_much();
    if (!ambit__shadow_chunks[chunk])
        ambit__shadow_chunks[chunk] =
            ambit__reserve(sizeof(ambit__cell) << AMBIT__CELLS_BITS, "what is known of memory");
    return ambit__shadow_cell(ambit__shadow.cells);
}

/* From now on what is done to this granule is not done to the others. False: it is untouched. */
static bool part(ambit__page *page, unsigned granule, ambit__cell *cell) {
    unsigned number = page->of[granule];
    if (number == AMBIT__UNTOUCHED) return false;
    const ambit__cell *shared = &page->cells[number];
    memcpy(cell, shared,
           offsetof(ambit__cell, granule.accesses) +
               shared->granule.count * sizeof shared->granule.accesses[0]);
    cell->granule.address = page->address + 8 * granule;
    cell->old = page->old[granule];
    page->granules[number]--;
    return true;
}

ambit__cell *ambit__shadow_make(uintptr_t address, const void *site) {
    make_room();
    ambit__cell *cell = new_cell();
    ambit__page *page = ambit__shadow.pages ? ambit__shadow_page_at(address) : NULL;
    if (!page || !part(page, address % AMBIT__PAGE / 8, cell)) {
        ambit__shadow_begin(cell, address);
        if (cell->granule.place == AMBIT__OUTSIDE) {
            ambit__reading_for = site;
            cell->old = *(const volatile uint64_t *)address;
            ambit__reading_for = NULL;
        }
    }
    if (page) page->of[address % AMBIT__PAGE / 8] = AMBIT__OWN_CELL;
    *near_of(address) = ambit__shadow.schedule;
    insert(address, ambit__shadow.cells++);
    return ambit__shadow.last = cell;
}

ambit__granule *ambit__shadow_at(uintptr_t address) {
    return &ambit__shadow_get(address & ~(uintptr_t)7, NULL)->granule;
}

/* ---- Pages ----------------------------------------------------------------------------------- */

ambit__page *ambit__shadow_page_at(uintptr_t address) {
    address &= ~(AMBIT__PAGE - 1);
    if (ambit__shadow.last_page->address == address) return ambit__shadow.last_page;
    if (!ambit__shadow.pages) return NULL;
    const ambit__slot *slots = ambit__shadow.slots;
    uint32_t wrap = (1u << ambit__shadow.bits) - 1;
    for (uint32_t i = ambit__slot_of(address); slots[i].schedule == ambit__shadow.schedule;
         i = (i + 1) & wrap)
        if (slots[i].address == (address | 1))
            return ambit__shadow.last_page = ambit__shadow_page(slots[i].index);
    return NULL;
}

ambit__page *ambit__shadow_page_make(uintptr_t address) {
    ambit__page *page = ambit__shadow_page_at(address);
    if (page) return page;
    make_room();
    uint32_t chunk = ambit__shadow.pages >> PAGE_CHUNK_BITS;
    if (chunk == PAGE_CHUNKS) too_much();
    if (!page_chunks[chunk])
        page_chunks[chunk] =
            ambit__reserve(sizeof(ambit__page) << PAGE_CHUNK_BITS, "what is known of pages");
    page = ambit__shadow_page(ambit__shadow.pages);
    page->address = address & ~(AMBIT__PAGE - 1);
    memset(page->granules, 0, sizeof page->granules);
    memset(page->of, AMBIT__UNTOUCHED, sizeof page->of);
    for (unsigned i = 0; i < AMBIT__PAGE_GRANULES; i++) {
        uintptr_t granule = page->address + 8 * i;
        if (!ambit__shadow_has_cells(granule))
            i += AMBIT__STRETCH / 8 - 1; /* it began with this one */
        else if (ambit__shadow_find(granule))
            page->of[i] = AMBIT__OWN_CELL;
    }
    insert(page->address | 1, ambit__shadow.pages++);
    return ambit__shadow.last_page = page;
}
