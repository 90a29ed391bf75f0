/* What was done to the program's memory, byte by byte, and what may not be done to it any more.
 *
 * A *granule* is 8 bytes; it comes to be when the first of them is touched, with a cell in which
 * stands what is known of it. Granules of long ranges share one (shadow_range.c).
 *
 * RACES. A granule keeps the accesses that a later one may still race with: two that overlap, by
 * different threads, at least one a write, not both atomic, and the earlier not known to the
 * later's vector clock. An access is forgotten once every access that races with it also races with
 * a later one that is kept:
 *   - a plain write takes the place of all before it that lie within it, as it races with whatever
 *     they do;
 *   - an atomic write, only of atomic ones that happen before it: it does not race with atomics,
 *     which a plain one before it does, and it tells nothing about who knows an access that it does
 *     not know;
 *   - a read, of its own thread's earlier reads that are atomic if it is.
 * What still does not fit drives out the oldest read: a race may then be missed, never invented. */
#include "schedule/shadow.h"

uint64_t ambit__shadow_evictions;

/* ---- Blank memory ---------------------------------------------------------------------------- */

/* Bytes that are as the allocation left them. */
static uint8_t still_blank(uintptr_t address) {
    uint64_t different = *(const uint64_t *)address ^ ambit__arena_pattern(address);
    unsigned mask = 0;
    for (unsigned i = 0; i < 8; i++)
        if (!(different >> i * 8 & 0xff)) mask |= 1u << i;
    return (uint8_t)mask;
}

/* Libraries write as well, so the memory must still hold what the allocation filled it with; if
 * not, somebody wrote it. */
static bool is_blank(uintptr_t address, uint8_t mask) {
    ambit__cell untouched, *own = ambit__shadow_find(address);
    ambit__cell *cell = own ? own : ambit__shadow_shared(address);
    if (!cell) ambit__shadow_begin(cell = &untouched, address);
    uint8_t blank = cell->granule.blank;
    if ((blank & mask) != mask) return false;
    if ((blank & still_blank(address)) == blank) return true;
    if (own) own->granule.blank = 0;
    return false;
}

static uintptr_t find_blank(const ambit__attempt *now) {
    uintptr_t end = now->address + now->bytes, from = end;
    for (uintptr_t at = (end - 1) & ~(uintptr_t)7; at + 8 > now->address; at -= 8) {
        if (!is_blank(at, ambit__mask_within(at, now->address, end))) break;
        from = at;
    }
    return from;
}

/* It has come to bytes that nobody wrote. Wrong is a read of nothing else, to its end: copies of
 * structs read what stands between the members. */
static void __attribute__((cold)) read_blank(ambit__attempt *now) {
    if (!now->blank_from) now->blank_from = find_blank(now);
    if (now->blank_from <= (now->address & ~(uintptr_t)7)) ambit__fail_blank(now);
}

/* ---- Accesses -------------------------------------------------------------------------------- */

static void forget(ambit__granule *granule, unsigned dropped) {
    unsigned kept = 0;
    for (unsigned i = 0; i < granule->count; i++)
        if (!(dropped >> i & 1)) granule->accesses[kept++] = granule->accesses[i];
    granule->count = (uint8_t)kept;
}

/* The oldest read goes, for want of one the oldest write: the array is in the order of
 * execution. */
static void __attribute__((cold)) evict(ambit__granule *granule) {
    unsigned oldest = 0;
    while (oldest < granule->count && granule->accesses[oldest].writes) oldest++;
    if (oldest == granule->count) oldest = 0;
    forget(granule, 1u << oldest);
    ambit__shadow_evictions++;
}

/* Whether `earlier`, which lies within the new access's bytes, has no more to say than the new one:
 * see the head of the file. `known`: it happens before. */
static inline bool superseded(const ambit__access *earlier, const ambit__attempt *now, bool own,
                              bool known) {
    if (!now->writes) return own && !earlier->writes && earlier->atomic >= now->atomic;
    return !now->atomic || (earlier->atomic && known);
}

/* The same once more, with nothing learnt or told since: whoever came between and races with this
 * one has raced with that one. Not of the allocation: the line that writes is more to the point. */
static inline bool again(const ambit__cell *cell, uint8_t mask, bool writes, bool atomic) {
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
static __attribute__((noinline)) void check(ambit__cell *cell, uint8_t mask, ambit__attempt *now) {
    ambit__granule *granule = &cell->granule;
    const ambit__schedule_thread *self = ambit__self;
    if (__builtin_expect(granule->freed & mask, 0)) ambit__fail_bad_bytes(granule, now);
    if (now->writes) {
        granule->written |= mask;
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

/* Of a range, tells where it has come to. */
static void check_in_range(ambit__cell *cell, uint8_t mask, ambit__attempt *now) {
    if (cell->granule.address > now->address) {
        now->bytes -= cell->granule.address - now->address;
        now->address = cell->granule.address;
    }
    check(cell, mask, now);
}

static inline bool is_bad_pointer(uintptr_t address) {
    return address < 4096 || address >> 47 != 0;
}

static __attribute__((noinline)) void touch(ambit__attempt now) {
    if (!ambit__self || !now.bytes) return;
    if (is_bad_pointer(now.address)) ambit__fail_bad_pointer(&now);
    uintptr_t end = now.address + now.bytes;
    bool is_range = now.bytes > 16;
    ambit__shadow_each(is_range ? check_in_range : check, &now);
    if (!is_range || !now.blank_from || now.blank_from == end) return;
    /* It begins in the middle of granules that were checked together. */
    now.bytes = end - now.blank_from;
    now.address = now.blank_from;
    ambit__fail_blank(&now);
}

/* In most schedules no granule shares a cell. */
static __attribute__((noinline)) bool again_in_page(uintptr_t address, uint8_t mask, bool writes,
                                                    bool atomic) {
    const ambit__cell *shared = ambit__shadow_shared(address);
    return shared && again(shared, mask, writes, atomic);
}

void ambit__shadow_access(uintptr_t address, size_t bytes, bool writes, bool atomic,
                          const void *site) {
    unsigned start = address & 7;
    if (__builtin_expect(bytes - 1 < 8 - start && ambit__self && !is_bad_pointer(address), 1)) {
        uint8_t mask = (uint8_t)(((1u << bytes) - 1) << start);
        ambit__cell *cell = ambit__shadow_find(address - start);
        if (__builtin_expect(cell != NULL, 1)) {
            if (again(cell, mask, writes, atomic)) return;
        } else {
            if (ambit__shadow.pages && again_in_page(address - start, mask, writes, atomic)) return;
            cell = ambit__shadow_make(address - start, site);
        }
        check(cell, mask,
              &(ambit__attempt){address, bytes, writes, atomic, .copies = false, .site = site});
        return;
    }
    touch((ambit__attempt){address, bytes, writes, atomic, .copies = false, .site = site});
}

void ambit__shadow_copy(uintptr_t address, size_t bytes, bool writes, const void *site) {
    touch((ambit__attempt){address, bytes, writes, .copies = true, .site = site});
}

static void note_write(ambit__cell *cell, uint8_t mask, ambit__attempt *now) {
    ambit__granule *granule = &cell->granule;
    (void)now;
    granule->written |= mask;
    granule->blank &= (uint8_t)~mask;
    if (granule->locations) granule->renewed |= mask;
}

void ambit__shadow_unchecked(uintptr_t address, size_t bytes) {
    if (!ambit__self || is_bad_pointer(address)) return; /* the store itself will tell */
    ambit__shadow_each(note_write, &(ambit__attempt){.address = address, .bytes = bytes});
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
