/* What memory is when it is touched for the first time in a schedule, and when it goes.
 *
 * THE HEAP asks nothing when memory is given out: arena.c uses no address twice in a schedule, so
 * the granule finds out from its block what it is when it is touched. The allocation counts as a
 * write.
 *
 * What is older than the schedule and given back in it stays, as the end puts everything back:
 * there is a list of it. */
#include "schedule/host.h"
#include "schedule/shadow.h"

#define GONE 512

/* Memory outside of the arena that was given back in this schedule. */
typedef struct gone {
    uintptr_t low, high;
    const void *site;
} gone;

static gone gones[GONE];
static unsigned gone_count;
static uintptr_t stack_low[AMBIT__THREADS], stack_high[AMBIT__THREADS];

/* ---- The beginning --------------------------------------------------------------------------- */

static bool on_a_stack(uintptr_t address) {
    unsigned self = ambit__self ? ambit__self->index : 0;
    if (!stack_high[self]) ambit__host_bounds(self, &stack_low[self], &stack_high[self]);
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (address >= stack_low[i] && address < stack_high[i]) return true;
    return false;
}

static void begin_in_heap(ambit__cell *cell) {
    ambit__granule *granule = &cell->granule;
    const ambit__block *block = ambit__arena_block(granule->address);
    granule->place = AMBIT__IN_HEAP;
    if (!ambit__block_has(block, granule->address)) {
        granule->freed = 0xff;
        return;
    }
    uint8_t inside =
        ambit__mask_within(granule->address, block->address, block->address + block->bytes);
    granule->freed = block->freed ? 0xff : (uint8_t)~inside;
    granule->freed_site = block->freed_site;
    if (block->blank) granule->blank = inside;
    if (block->kept) {
        granule->place = AMBIT__OUTSIDE;
        return;
    }
    granule->accesses[granule->count++] =
        (ambit__access){block->epoch, block->thread, inside, true, false, block->site};
    cell->allocated = block->site;
}

static void begin_outside(ambit__granule *granule) {
    granule->place = on_a_stack(granule->address)            ? AMBIT__ON_STACK
                     : ambit__mapping_owns(granule->address) ? AMBIT__MAPPED
                                                             : AMBIT__OUTSIDE;
    for (unsigned i = 0; i < gone_count; i++) {
        uint8_t mask = ambit__mask_within(granule->address, gones[i].low, gones[i].high);
        if (!mask) continue;
        granule->freed |= mask;
        granule->freed_site = gones[i].site;
    }
}

void ambit__shadow_begin(ambit__cell *cell, uintptr_t address) {
    ambit__granule *granule = &cell->granule;
    granule->address = address;
    granule->count = granule->freed = granule->blank = granule->written = granule->renewed = 0;
    granule->freed_site = NULL;
    granule->locations = NULL;
    cell->allocated = NULL;
    if (ambit__arena_owns(address))
        begin_in_heap(cell);
    else
        begin_outside(granule);
}

/* ---- What is alike --------------------------------------------------------------------------- */

/* A border between `address` and `*end` becomes the end. */
static void clip(uintptr_t address, uintptr_t *end, uintptr_t low, uintptr_t high) {
    if (low > address && low < *end) *end = low;
    if (high > address && high < *end) *end = high;
}

uintptr_t ambit__shadow_alike(uintptr_t address, uintptr_t end) {
    if (ambit__arena_owns(address)) {
        const ambit__block *block = ambit__arena_block(address);
        if (!ambit__block_has(block, address)) return address;
        clip(address, &end, block->address, block->address + block->bytes);
        return end & ~(uintptr_t)7;
    }
    (void)on_a_stack(address); /* so that this thread's is known */
    for (unsigned i = 0; i < AMBIT__THREADS; i++) clip(address, &end, stack_low[i], stack_high[i]);
    for (unsigned i = 0; i < gone_count; i++) clip(address, &end, gones[i].low, gones[i].high);
    return end & ~(uintptr_t)7; /* mappings are whole pages */
}

/* ---- Memory that goes, and comes ------------------------------------------------------------- */

static void free_granule(ambit__cell *cell, uint8_t mask, ambit__attempt *now) {
    ambit__granule *granule = &cell->granule;
    const ambit__schedule_thread *self = ambit__self;
    for (unsigned i = 0; self && i < granule->count; i++) {
        const ambit__access *earlier = &granule->accesses[i];
        if (!(earlier->mask & mask) || earlier->thread == self->index ||
            earlier->epoch <= self->happens.at[earlier->thread])
            continue;
        ambit__fail_free(granule, earlier, now->site);
    }
    granule->freed |= mask;
    granule->freed_site = now->site;
}

void ambit__shadow_freed(uintptr_t address, size_t bytes, const void *site) {
    ambit__shadow_each_known(free_granule,
                             &(ambit__attempt){.address = address, .bytes = bytes, .site = site});
    if (ambit__arena_owns(address)) return;
    if (gone_count == GONE)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "one schedule frees more than %d blocks that are older than it", GONE);
    gones[gone_count++] = (gone){address, address + bytes, site};
}

bool ambit__shadow_was_freed(uintptr_t address, const void **site) {
    for (unsigned i = 0; i < gone_count; i++) {
        if (gones[i].low != address) continue;
        *site = gones[i].site;
        return true;
    }
    return false;
}

static void give_granule(ambit__cell *cell, uint8_t mask, ambit__attempt *now) {
    (void)now;
    cell->granule.freed &= (uint8_t)~mask;
}

/* In the arena no granule of new memory can be there. Outside of it only what was given back before
 * can come again. */
void ambit__shadow_allocated(uintptr_t address, size_t bytes) {
    if (ambit__arena_owns(address)) return;
    uintptr_t end = address + bytes;
    unsigned kept = 0;
    for (unsigned i = 0; i < gone_count; i++)
        if (gones[i].low < address || gones[i].high > end) gones[kept++] = gones[i];
    gone_count = kept;
    ambit__shadow_each_known(give_granule, &(ambit__attempt){.address = address, .bytes = bytes});
}

void ambit__shadow_none_gone(void) { gone_count = 0; }
