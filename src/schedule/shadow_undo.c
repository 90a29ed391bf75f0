/* Going back: at the end of a schedule all memory is as it was before.
 *
 * The compiler's call comes before the store, so a granule that comes to be still sees what stood
 * there. At the end the bytes that were written get it back: only those, since the rest of the 8
 * may belong to a variable of somebody else. Stacks are left alone, they begin anew; so does the
 * heap. */
#include "schedule/shadow.h"

/* ---- Putting back ---------------------------------------------------------------------------- */

static void put_back(uintptr_t address, uint64_t old, uint8_t bytes) {
    uint64_t *memory = (uint64_t *)address;
    if (*memory == old) return; /* it may be read-only by now, or always */
    if (bytes == 0xff) {
        *memory = old;
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        if (bytes >> i & 1) ((uint8_t *)memory)[i] = (uint8_t)(old >> i * 8);
}

static bool is_put_back(const ambit__granule *granule) {
    return granule->written && granule->place == AMBIT__OUTSIDE;
}

/* Calls `visit` for each run of granules in a page that share a cell. */
typedef void visit_run(ambit__page *page, const ambit__cell *cell, unsigned from, unsigned end);
static void each_run(ambit__page *page, visit_run *visit) {
    for (unsigned from = 0, end; from < AMBIT__PAGE_GRANULES; from = end) {
        end = ambit__shadow_run_end(page, from, AMBIT__PAGE_GRANULES);
        if (page->of[from] != AMBIT__UNTOUCHED && page->of[from] != AMBIT__OWN_CELL)
            visit(page, &page->cells[page->of[from]], from, end);
    }
}

/* A page is read-only as a whole, so that if some of it has changed, all of it can be written. */
static void put_back_run(ambit__page *page, const ambit__cell *cell, unsigned from, unsigned end) {
    void *memory = (void *)(page->address + 8 * from);
    if (is_put_back(&cell->granule) && memcmp(memory, &page->old[from], 8 * (end - from)) != 0)
        memcpy(memory, &page->old[from], 8 * (end - from));
}

void ambit__shadow_undo(void) {
    for (uint32_t i = 0; i < ambit__shadow.cells; i++) {
        const ambit__cell *cell = ambit__shadow_cell(i);
        if (is_put_back(&cell->granule))
            put_back(cell->granule.address, cell->old, cell->granule.written);
    }
    for (uint32_t i = 0; i < ambit__shadow.pages; i++)
        each_run(ambit__shadow_page(i), put_back_run);
    ambit__arena_revive();
    ambit__shadow_clear();
}

void ambit__shadow_reset(void) {
    ambit__shadow_clear();
    ambit__shadow_none_gone();
}

/* ---- What `before` changed ------------------------------------------------------------------- */

/* It stays for this run's schedules; the next run begins without it. */
static struct change {
    uintptr_t address;
    uint64_t old;
    uint8_t bytes; /* a mask */
} * changes;
static size_t change_count, change_room;

static void note_change(uintptr_t address, uint64_t old, uint8_t bytes) {
    if (change_count == change_room) {
        change_room = change_room ? 2 * change_room : 1024;
        changes = __real_realloc(changes, change_room * sizeof *changes);
        if (!changes) ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL, "no memory");
    }
    changes[change_count++] = (struct change){address, old, bytes};
}

static void note_run(ambit__page *page, const ambit__cell *cell, unsigned from, unsigned end) {
    if (!is_put_back(&cell->granule)) return;
    for (unsigned i = from; i < end; i++) note_change(page->address + 8 * i, page->old[i], 0xff);
}

void ambit__shadow_keep(void) {
    for (uint32_t i = 0; i < ambit__shadow.cells; i++) {
        const ambit__cell *cell = ambit__shadow_cell(i);
        if (is_put_back(&cell->granule))
            note_change(cell->granule.address, cell->old, cell->granule.written);
    }
    for (uint32_t i = 0; i < ambit__shadow.pages; i++) each_run(ambit__shadow_page(i), note_run);
    ambit__shadow_reset();
}

void ambit__shadow_forget(void) {
    while (change_count) {
        const struct change *change = &changes[--change_count];
        put_back(change->address, change->old, change->bytes);
    }
}

/* ---- In the middle of a schedule ------------------------------------------------------------- */

static void renew_page(ambit__page *page, uintptr_t low, uintptr_t high) {
    for (unsigned i = 0; i < AMBIT__PAGE_GRANULES; i++) {
        uintptr_t address = page->address + 8 * i;
        unsigned number = page->of[i];
        if (address < low || address >= high || number == AMBIT__UNTOUCHED ||
            number == AMBIT__OWN_CELL || page->cells[number].granule.place != AMBIT__OUTSIDE)
            continue;
        put_back(address, page->old[i], page->cells[number].granule.written);
        page->granules[number]--;
        page->of[i] = AMBIT__UNTOUCHED;
    }
}

void ambit__shadow_renew(uintptr_t low, uintptr_t high) {
    for (uint32_t i = 0; i < ambit__shadow.cells; i++) {
        ambit__cell *cell = ambit__shadow_cell(i);
        ambit__granule *granule = &cell->granule;
        if (granule->address < low || granule->address >= high || granule->place != AMBIT__OUTSIDE)
            continue;
        put_back(granule->address, cell->old, granule->written);
        granule->count = granule->freed = granule->renewed = granule->written = 0;
        granule->locations = NULL;
    }
    for (uint32_t i = 0; i < ambit__shadow.pages; i++) {
        ambit__page *page = ambit__shadow_page(i);
        if (page->address < high && page->address + AMBIT__PAGE > low) renew_page(page, low, high);
    }
}

static void save(ambit__cell *cell, uint8_t mask, ambit__attempt *now) {
    (void)mask, (void)now;
    cell->granule.written = 0xff;
}

void ambit__shadow_save(uintptr_t address, size_t bytes) {
    ambit__shadow_each(save, &(ambit__attempt){.address = address, .bytes = bytes});
}

/* ---- Roots ----------------------------------------------------------------------------------- */

static bool has_roots(const ambit__granule *granule) {
    return (granule->place == AMBIT__OUTSIDE || granule->place == AMBIT__MAPPED) &&
           granule->freed != 0xff;
}

static void (*visit_roots)(const uintptr_t *values, size_t count);

static void visit_run_of_roots(ambit__page *page, const ambit__cell *cell, unsigned from,
                               unsigned end) {
    if (has_roots(&cell->granule))
        visit_roots((const uintptr_t *)(page->address + 8 * from), end - from);
}

void ambit__shadow_each_root(void (*visit)(const uintptr_t *values, size_t count)) {
    for (uint32_t i = 0; i < ambit__shadow.cells; i++) {
        const ambit__granule *granule = &ambit__shadow_cell(i)->granule;
        if (has_roots(granule)) visit((const uintptr_t *)granule->address, 1);
    }
    visit_roots = visit;
    for (uint32_t i = 0; i < ambit__shadow.pages; i++)
        each_run(ambit__shadow_page(i), visit_run_of_roots);
}
