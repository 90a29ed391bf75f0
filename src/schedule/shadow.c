/* Who has touched which byte of the program's memory, in this schedule.
 *
 * A *granule* is 8 bytes; it comes to be when the first of them is touched. An open hash table leads
 * from its address to it. Both belong to one schedule: an entry with another's number is an empty one, so
 * that beginning anew costs nothing, however much the last schedule has touched.
 *
 * RACES. A granule keeps the accesses that a later one may still race with: two that overlap, by different
 * threads, at least one a write, not both atomic, and the earlier not known to the later's vector clock. An
 * access is forgotten once every access that races with it also races with a later one that is kept:
 *   - a plain write takes the place of all before it that lie within it, as it races with whatever
 *     they do;
 *   - an atomic write, only of atomic ones that happen before it: it does not race with atomics, which
 *     a plain one before it does, and it tells nothing about who knows an access that it does not know;
 *   - a read, of its own thread's earlier reads that are atomic if it is.
 * What still does not fit drives out the oldest read: a race may then be missed, never invented.
 *
 * THE HEAP asks nothing when memory is given out: arena.c uses no address twice in a schedule, so the
 * granule finds out from its block what it is when it is touched. The allocation counts as a write.
 *
 * GOING BACK. The compiler's call comes before the store, so a granule that comes to be still sees what
 * stood there. At the end the bytes that were written get it back: only those, since the rest of the
 * 8 may belong to a variable of somebody else. Stacks are left alone, they begin anew. */
#include "schedule/heap.h"

#define CHUNK_BITS 10 /* granules that are made room for at a time: 256 KiB */
#define CHUNKS 32768
#define GONE 512
#define FIRST_TABLE_BITS 12

enum { HEAP, STACK, OUTSIDE, MAPPED }; /* where a granule is */

typedef struct shadow_cell {
    ambit__granule granule;
    uint64_t old;          /* OUTSIDE, and in kept blocks: what stood there at first */
    const void *allocated; /* where, if the allocation is among the accesses */
    uint8_t written;       /* bytes of it */
    uint8_t where;
} __attribute__((aligned(64))) shadow_cell;

typedef struct slot {
    uintptr_t address;
    uint32_t schedule, index;
} slot;

/* Memory outside of the arena that was given back in this schedule. */
typedef struct gone {
    uintptr_t low, high;
    const void *site;
} gone;

uint64_t ambit__shadow_evictions;

static shadow_cell nothing = {.granule = {.address = 1}}; /* no granule's address */
static shadow_cell *last = &nothing; /* touched; most accesses come in flocks */
static uint32_t schedule;
static slot *table;
static unsigned table_bits;
static shadow_cell *chunks[CHUNKS];
static uint32_t used;
static gone gones[GONE];
static unsigned gone_count;
static uintptr_t stack_low[AMBIT__THREADS], stack_high[AMBIT__THREADS];

/* ---- Granules -------------------------------------------------------------------------------- */

static shadow_cell *cell_at(uint32_t index) {
    return &chunks[index >> CHUNK_BITS][index & ((1u << CHUNK_BITS) - 1)];
}

static inline uint32_t slot_of(uintptr_t address) {
    return (uint32_t)((address >> 3) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - table_bits));
}

static inline shadow_cell *find(uintptr_t address) {
    if (__builtin_expect(last->granule.address == address, 1)) return last;
    if (__builtin_expect(!table, 0)) return NULL;
    uint32_t wrap = (1u << table_bits) - 1;
    for (uint32_t i = slot_of(address); table[i].schedule == schedule; i = (i + 1) & wrap)
        if (table[i].address == address) return last = cell_at(table[i].index);
    return NULL;
}

static void insert(uintptr_t address, uint32_t index) {
    uint32_t wrap = (1u << table_bits) - 1, i = slot_of(address);
    while (table[i].schedule == schedule) i = (i + 1) & wrap;
    table[i] = (slot){address, schedule, index};
}

/* Twice as large; the old table's pages are the price of never moving in the hot path. */
static void grow_table(void) {
    if (table) (void)__real_munmap(table, sizeof(slot) << table_bits);
    table_bits = table ? table_bits + 1 : FIRST_TABLE_BITS;
    table = ambit__reserve(sizeof(slot) << table_bits, "the table of what is touched");
    if (!schedule) schedule = 1;
    for (uint32_t i = 0; i < used; i++) insert(cell_at(i)->granule.address, i);
}

static shadow_cell *new_cell(void) {
    uint32_t chunk = used >> CHUNK_BITS;
    if (chunk == CHUNKS)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL,
                    "more than %u MiB of memory is touched in one schedule",
                    CHUNKS >> (20 - CHUNK_BITS) << 3);
    if (!chunks[chunk])
        chunks[chunk] =
            ambit__reserve(sizeof(shadow_cell) << CHUNK_BITS, "what is known of memory");
    return cell_at(used);
}

static bool on_a_stack(uintptr_t address) {
    unsigned self = ambit__self ? ambit__self->index : 0;
    if (!stack_high[self]) ambit__host_bounds(self, &stack_low[self], &stack_high[self]);
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (address >= stack_low[i] && address < stack_high[i]) return true;
    return false;
}

/* The bytes of the granule that lie in a stretch of memory. */
static inline uint8_t mask_within(uintptr_t granule, uintptr_t low, uintptr_t high) {
    unsigned mask = 0xff;
    if (low > granule) mask &= low - granule < 8 ? 0xffu << (low - granule) : 0;
    if (high < granule + 8) mask &= high > granule ? 0xffu >> (8 - (high - granule)) : 0;
    return (uint8_t)mask;
}

/* Bytes that are as the allocation left them. */
static uint8_t still_blank(uintptr_t address) {
    uint64_t different = *(const uint64_t *)address ^ ambit__arena_pattern(address);
    unsigned mask = 0;
    for (unsigned i = 0; i < 8; i++)
        if (!(different >> i * 8 & 0xff)) mask |= 1u << i;
    return (uint8_t)mask;
}

static void begin_in_heap(shadow_cell *cell) {
    ambit__granule *granule = &cell->granule;
    const ambit__block *block = ambit__arena_block(granule->address);
    cell->where = HEAP;
    if (!ambit__block_has(block, granule->address)) {
        granule->freed = 0xff;
        return;
    }
    uint8_t inside = mask_within(granule->address, block->address, block->address + block->bytes);
    granule->freed = block->freed ? 0xff : (uint8_t)~inside;
    granule->freed_site = block->freed_site;
    if (block->blank) granule->blank = inside;
    if (block->kept) {
        cell->where = OUTSIDE;
        cell->old = *(const uint64_t *)granule->address;
        return;
    }
    granule->accesses[granule->count++] =
        (ambit__access){block->epoch, block->thread, inside, true, false, block->site};
    cell->allocated = block->site;
}

static void begin_outside(shadow_cell *cell, const void *site) {
    ambit__granule *granule = &cell->granule;
    cell->where = on_a_stack(granule->address)            ? STACK
                  : ambit__mapping_owns(granule->address) ? MAPPED
                                                          : OUTSIDE;
    if (cell->where == OUTSIDE) {
        ambit__reading_for = site;
        cell->old = *(const volatile uint64_t *)granule->address;
        ambit__reading_for = NULL;
    }
    for (unsigned i = 0; i < gone_count; i++) {
        uint8_t mask = mask_within(granule->address, gones[i].low, gones[i].high);
        if (!mask) continue;
        granule->freed |= mask;
        granule->freed_site = gones[i].site;
    }
}

static shadow_cell *make(uintptr_t address, const void *site) {
    if (!table || used >> (table_bits - 1)) grow_table();
    shadow_cell *cell = new_cell();
    ambit__granule *granule = &cell->granule;
    granule->address = address;
    granule->schedule = schedule;
    granule->count = granule->freed = granule->blank = granule->renewed = 0;
    granule->freed_site = NULL;
    granule->locations = NULL;
    cell->written = 0;
    cell->allocated = NULL;
    if (ambit__arena_owns(address))
        begin_in_heap(cell);
    else
        begin_outside(cell, site);
    insert(address, used++);
    return last = cell;
}

static inline shadow_cell *get(uintptr_t address, const void *site) {
    shadow_cell *cell = find(address);
    return __builtin_expect(cell != NULL, 1) ? cell : make(address, site);
}

ambit__granule *ambit__shadow_at(uintptr_t address) {
    return &get(address & ~(uintptr_t)7, NULL)->granule;
}

/* ---- Accesses -------------------------------------------------------------------------------- */

/* A read of bytes none of which was written by code that we see. Libraries write as well, so the
 * memory must still hold what the allocation filled it with; if not, somebody did. */
static void __attribute__((cold)) read_blank(const ambit__touch *now) {
    for (uintptr_t at = now->address & ~(uintptr_t)7; at < now->address + now->bytes; at += 8) {
        ambit__granule *granule = &get(at, now->site)->granule;
        uint8_t mask = mask_within(at, now->address, now->address + now->bytes);
        if ((granule->blank & mask) != mask) return;
        if ((granule->blank & still_blank(at)) != granule->blank) {
            granule->blank = 0;
            return;
        }
    }
    ambit__fail_blank(now);
}

static void forget(ambit__granule *granule, unsigned dropped) {
    unsigned kept = 0;
    for (unsigned i = 0; i < granule->count; i++)
        if (!(dropped >> i & 1)) granule->accesses[kept++] = granule->accesses[i];
    granule->count = (uint8_t)kept;
}

/* The oldest read goes, for want of one the oldest write: the array is in the order of execution. */
static void __attribute__((cold)) evict(ambit__granule *granule) {
    unsigned oldest = 0;
    while (oldest < granule->count && granule->accesses[oldest].writes) oldest++;
    if (oldest == granule->count) oldest = 0;
    forget(granule, 1u << oldest);
    ambit__shadow_evictions++;
}

/* Whether `earlier`, which lies within the new access's bytes, has no more to say than the new one: see the
 * head of the file. `known`: it happens before. */
static inline bool superseded(const ambit__access *earlier, const ambit__touch *now, bool own,
                              bool known) {
    if (!now->writes) return own && !earlier->writes && earlier->atomic >= now->atomic;
    return !now->atomic || (earlier->atomic && known);
}

/* The same once more, with nothing learnt or told since: whoever came between and races with this one has
 * raced with that one. Not of the allocation: the line that writes is more to the point. */
static inline bool again(const shadow_cell *cell, uint8_t mask, bool writes, bool atomic) {
    const ambit__granule *granule = &cell->granule;
    const ambit__schedule_thread *self = ambit__self;
    if ((granule->freed | granule->blank) & mask || granule->locations) return false;
    uint32_t epoch = self->happens.at[self->index];
    for (unsigned i = granule->count; i-- > 0;) {
        const ambit__access *earlier = &granule->accesses[i];
        if (earlier->epoch == epoch && earlier->thread == self->index &&
            (earlier->mask & mask) == mask && earlier->writes >= writes &&
            earlier->atomic <= atomic && earlier->site != cell->allocated)
            return true;
    }
    return false;
}

static void write_down(ambit__granule *granule, unsigned dropped, ambit__access access) {
    if (granule->count == 1 && dropped == 1) { /* as nearly always */
        granule->accesses[0] = access;
        return;
    }
    if (dropped) forget(granule, dropped);
    if (granule->count == AMBIT__ACCESSES) evict(granule);
    granule->accesses[granule->count++] = access;
}

/* Checks and writes down an access to the bytes `mask` of one granule. */
static __attribute__((noinline)) void check(shadow_cell *cell, uint8_t mask,
                                            const ambit__touch *now) {
    ambit__granule *granule = &cell->granule;
    const ambit__schedule_thread *self = ambit__self;
    if (__builtin_expect(granule->freed & mask, 0)) ambit__fail_bad_bytes(granule, now);
    if (now->writes) {
        cell->written |= mask;
        granule->blank &= (uint8_t)~mask;
        if (!now->atomic && granule->locations) granule->renewed |= mask;
    } else if (__builtin_expect((granule->blank & mask) == mask && !now->copies, 0)) {
        read_blank(now);
    }
    unsigned dropped = 0;
    for (unsigned i = 0; i < granule->count; i++) {
        const ambit__access *earlier = &granule->accesses[i];
        if (!(earlier->mask & mask)) continue;
        bool own = earlier->thread == self->index;
        bool known = own || earlier->epoch <= self->happens.at[earlier->thread];
        if (!known && (now->writes || earlier->writes) && !(now->atomic && earlier->atomic))
            ambit__fail_race(granule, earlier, now);
        if (!(earlier->mask & ~mask) && superseded(earlier, now, own, known)) dropped |= 1u << i;
    }
    write_down(granule, dropped,
               (ambit__access){self->happens.at[self->index], self->index, mask, now->writes,
                               now->atomic, now->site});
}

static void check_all(ambit__touch *now) {
    uintptr_t address = now->address, end = address + now->bytes;
    for (uintptr_t at = address & ~(uintptr_t)7; at < end; at += 8) {
        uint8_t mask = mask_within(at, address, end);
        if (now->bytes > 16 && at > address) { /* of a range, tell where it has come to */
            now->address = at;
            now->bytes = end - at;
        }
        check(get(at, now->site), mask, now);
    }
}

static inline bool is_bad_pointer(uintptr_t address) {
    return address < 4096 || address >> 47 != 0;
}

static __attribute__((noinline)) void touch(ambit__touch now) {
    if (!ambit__self || !now.bytes) return;
    if (is_bad_pointer(now.address)) ambit__fail_bad_pointer(&now);
    check_all(&now);
}

void ambit__shadow_access(uintptr_t address, size_t bytes, bool writes, bool atomic,
                          const void *site) {
    unsigned start = address & 7;
    if (__builtin_expect(bytes - 1 < 8 - start && ambit__self && !is_bad_pointer(address), 1)) {
        uint8_t mask = (uint8_t)(((1u << bytes) - 1) << start);
        shadow_cell *cell = get(address - start, site);
        if (again(cell, mask, writes, atomic)) return;
        check(cell, mask, &(ambit__touch){address, bytes, writes, atomic, false, site});
        return;
    }
    touch((ambit__touch){address, bytes, writes, atomic, false, site});
}

void ambit__shadow_copy(uintptr_t address, size_t bytes, bool writes, const void *site) {
    touch((ambit__touch){address, bytes, writes, false, true, site});
}

void ambit__shadow_unchecked(uintptr_t address, size_t bytes) {
    if (!ambit__self || is_bad_pointer(address)) return; /* the store itself will tell */
    uintptr_t end = address + bytes;
    for (uintptr_t at = address & ~(uintptr_t)7; at < end; at += 8) {
        shadow_cell *cell = get(at, NULL);
        uint8_t mask = mask_within(at, address, end);
        cell->written |= mask;
        cell->granule.blank &= (uint8_t)~mask;
        if (cell->granule.locations) cell->granule.renewed |= mask;
    }
}

bool ambit__shadow_last_write(const ambit__granule *granule, uint8_t mask, unsigned *thread,
                              uint32_t *epoch) {
    for (unsigned i = granule->count; i-- > 0;) {
        const ambit__access *earlier = &granule->accesses[i];
        if (!earlier->writes || earlier->atomic || !(earlier->mask & mask)) continue;
        *thread = earlier->thread;
        *epoch = earlier->epoch;
        return true;
    }
    return false;
}

/* ---- Memory that goes ------------------------------------------------------------------------ */

static void free_granule(shadow_cell *cell, uintptr_t low, uintptr_t high, const void *site) {
    ambit__granule *granule = &cell->granule;
    const ambit__schedule_thread *self = ambit__self;
    uint8_t mask = mask_within(granule->address, low, high);
    for (unsigned i = 0; self && i < granule->count; i++) {
        const ambit__access *earlier = &granule->accesses[i];
        if (!(earlier->mask & mask) || earlier->thread == self->index ||
            earlier->epoch <= self->happens.at[earlier->thread])
            continue;
        ambit__fail_free(granule, earlier, site);
    }
    granule->freed |= mask;
    granule->freed_site = site;
}

void ambit__shadow_freed(uintptr_t address, size_t bytes, const void *site) {
    uintptr_t end = address + bytes;
    /* Of granules that nobody touched there is nothing to check: by address, or all, if those are fewer. */
    if (bytes / 8 < used) {
        for (uintptr_t at = address & ~(uintptr_t)7; at < end; at += 8) {
            shadow_cell *cell = find(at);
            if (cell) free_granule(cell, address, end, site);
        }
    } else {
        for (uint32_t i = 0; i < used; i++) {
            shadow_cell *cell = cell_at(i);
            if (cell->granule.address < end && cell->granule.address + 8 > address)
                free_granule(cell, address, end, site);
        }
    }
    if (ambit__arena_owns(address)) return;
    if (gone_count == GONE)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "one schedule frees more than %d blocks that are older than it", GONE);
    gones[gone_count++] = (gone){address, end, site};
}

bool ambit__shadow_was_freed(uintptr_t address, const void **site) {
    for (unsigned i = 0; i < gone_count; i++) {
        if (gones[i].low != address) continue;
        *site = gones[i].site;
        return true;
    }
    return false;
}

/* In the arena no granule of new memory can be there. Outside of it only what was given back before can
 * come again. */
void ambit__shadow_allocated(uintptr_t address, size_t bytes) {
    if (ambit__arena_owns(address)) return;
    uintptr_t end = address + bytes;
    unsigned kept = 0;
    for (unsigned i = 0; i < gone_count; i++)
        if (gones[i].low < address || gones[i].high > end) gones[kept++] = gones[i];
    gone_count = kept;
    for (uint32_t i = 0; i < used; i++) {
        ambit__granule *granule = &cell_at(i)->granule;
        if (granule->address < end && granule->address + 8 > address)
            granule->freed &= (uint8_t)~mask_within(granule->address, address, end);
    }
}

/* ---- Schedules ------------------------------------------------------------------------------- */

void ambit__shadow_reset(void) {
    last = &nothing;
    used = 0;
    gone_count = 0;
    if (++schedule) return;
    /* After 2^32 schedules entries of the first ones would come to life again. */
    schedule = 1;
    if (table) memset(table, 0, sizeof(slot) << table_bits);
}

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

void ambit__shadow_undo(void) {
    for (uint32_t i = 0; i < used; i++) {
        const shadow_cell *cell = cell_at(i);
        if (cell->written && cell->where == OUTSIDE)
            put_back(cell->granule.address, cell->old, cell->written);
    }
    ambit__arena_revive();
    used = 0;
    last = &nothing;
    if (!++schedule) ambit__shadow_reset();
}

/* What `before` changed stays for this run's schedules; the next run begins without it. */
static struct change {
    uintptr_t address;
    uint64_t old;
    uint8_t bytes; /* a mask */
} * changes;
static size_t change_count, change_room;

static void note_change(const shadow_cell *cell) {
    if (change_count == change_room) {
        change_room = change_room ? 2 * change_room : 1024;
        changes = __real_realloc(changes, change_room * sizeof *changes);
        if (!changes) ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL, "no memory");
    }
    changes[change_count++] = (struct change){cell->granule.address, cell->old, cell->written};
}

void ambit__shadow_keep(void) {
    for (uint32_t i = 0; i < used; i++) {
        const shadow_cell *cell = cell_at(i);
        if (cell->written && cell->where == OUTSIDE) note_change(cell);
    }
    ambit__shadow_reset();
}

void ambit__shadow_forget(void) {
    while (change_count) {
        const struct change *change = &changes[--change_count];
        put_back(change->address, change->old, change->bytes);
    }
}

void ambit__shadow_renew(uintptr_t low, uintptr_t high) {
    for (uint32_t i = 0; i < used; i++) {
        shadow_cell *cell = cell_at(i);
        ambit__granule *granule = &cell->granule;
        if (granule->address < low || granule->address >= high || cell->where != OUTSIDE) continue;
        put_back(granule->address, cell->old, cell->written);
        granule->count = granule->freed = granule->renewed = 0;
        granule->locations = NULL;
        cell->written = 0;
    }
}

void ambit__shadow_save(uintptr_t address, size_t bytes) {
    for (uintptr_t at = address & ~(uintptr_t)7; at < address + bytes; at += 8)
        get(at, NULL)->written = 0xff;
}

void ambit__shadow_each_root(void (*visit)(uintptr_t value, void *argument), void *argument) {
    for (uint32_t i = 0; i < used; i++) {
        const shadow_cell *cell = cell_at(i);
        if ((cell->where == OUTSIDE || cell->where == MAPPED) && cell->granule.freed != 0xff)
            visit(*(const uintptr_t *)cell->granule.address, argument);
    }
}
