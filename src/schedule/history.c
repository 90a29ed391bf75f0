/* Atomic memory as C11 allows it, by store histories.
 *
 * For each atomic object the last stores stand in modification order, each with who made it, when,
 * and what an acquiring load of it learns. A load may see any store that is not older than one that
 *   - happens before the load,                          (C11 5.1.2.4p22: write-read coherence)
 *   - was read by a read that happens before it,        (read-read coherence)
 *   - an SC fence, or being SC itself, makes it see     (7.17.3p6-p11).
 * A store may go into modification order before others that are not bound the same way, unless
 * those are read-modify-writes, which read the store before them. This is the model of C11Tester
 * (Luo and Demsky, ASPLOS 2021) and of CDSChecker, in the simple form that executes in program
 * order: what happens before is one vector clock a thread, and modification order is decided at the
 * store.
 *
 * SC. Fences keep a common view, apart from happens-before: each adds what its thread knows and
 * takes what the others have added, so that later loads see that or newer, while plain accesses
 * stay unordered by it. The order of SC operations is that of execution. The light barrier (a
 * signal fence) and the heavy one (membarrier(2)) do the same between the two kinds only: P1202R5's
 * asymmetric fences.
 *
 * RELEASE SEQUENCES are C11's: read-modify-writes by anyone, and stores by the thread that began
 * it. The latter are no part of them in C++20 (P0982R1), by an option.
 *
 * NOT SHOWN: a load that sees a store that is executed later (load buffering); stores older than the last
 * STORES of an object; objects of more than 16 bytes, of which the newest is seen always (wrap_atomic.c).
 */
#include "schedule/location.h"

#define STORES AMBIT__STORES

typedef ambit__store store;
typedef ambit__location location;

static ambit__vector fences;  /* what SC fences have made common */
static ambit__vector heavies; /* the same, of heavy barriers */
static uint32_t sc_clock;

void ambit__history_reset(void) {
    ambit__locations_reset();
    memset(&fences, 0, sizeof fences);
    memset(&heavies, 0, sizeof heavies);
    sc_clock = 0;
}

static store *store_at(location *at, unsigned place) { return ambit__store_at(at, place); }
static store *newest_of(location *at) { return ambit__newest_of(at); }

/* ---- What may be seen ------------------------------------------------------------------------ */

static bool knows(const ambit__vector *clock, const store *of) {
    if (clock->at[of->thread] >= of->epoch) return true;
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (of->read_at[i] && clock->at[i] >= of->read_at[i]) return true;
    return false;
}

/* The oldest place that this thread may see, or in front of which it may put nothing. */
static unsigned floor_of(location *at, int order) {
    const ambit__schedule_thread *self = ambit__self;
    for (unsigned place = at->count - 1u; place > 0; place--) {
        const store *of = store_at(at, place);
        if (knows(&self->happens, of) || knows(&self->view, of)) return place;
        if (of->sc_time && of->sc_time <= self->fence_time) return place;
        if (order == AMBIT__SEQ_CST && (of->sc_time || knows(&fences, of))) return place;
    }
    return 0;
}

static void note_read(store *of) {
    ambit__schedule_thread *self = ambit__self;
    if (!of->read_at[self->index]) of->read_at[self->index] = self->happens.at[self->index];
}

/* What is learned by reading it. */
static void learn(const store *of, int order) {
    if (ambit__order_acquires(order))
        ambit__vector_join(&ambit__self->happens, &of->released);
    else
        ambit__vector_join(&ambit__self->fence_acquire, &of->released);
}

/* The same value at the same line: a key that is compared and not ordered, so addresses may be in it. */
static void look(const location *at, ambit__value value, const void *site) {
    uint64_t both = (uint64_t)value ^ (uint64_t)(value >> 64) * 31;
    ambit__spin_reads(((uint64_t)at->address * 31 + both) * 31 + (uint64_t)(uintptr_t)site);
}

/* Reading the same again and again is waiting for somebody; it then sees the newest store, as any
 * store is seen after a while. */
static bool must_see_newest(location *at, const store *of, const void *site) {
    look(at, of->value, site);
    return ambit__self->spinning;
}

static store *choose_store(location *at, int order, const void *site) {
    unsigned newest = at->count - 1u;
    unsigned lowest = ambit__options->strong_memory ? newest : floor_of(at, order);
    unsigned back = ambit__decide(AMBIT__DECIDE_READ, newest - lowest + 1, 0);
    store *of = store_at(at, newest - back);
    if (must_see_newest(at, of, site)) of = store_at(at, newest);
    return of;
}

/* ---- Stores ---------------------------------------------------------------------------------- */

/* Room for one more at `place`; the oldest is forgotten if there is none. */
static store *make_room(location *at, unsigned *place) {
    unsigned index;
    if (at->count == STORES) {
        index = at->order[0];
        memmove(&at->order[0], &at->order[1], STORES - 1);
        at->count--;
        if (*place) --*place;
    } else {
        index = at->count; /* until the first is forgotten, those below are used */
    }
    memmove(&at->order[*place + 1], &at->order[*place], at->count - *place);
    at->order[*place] = (uint8_t)index;
    at->count++;
    return &at->stores[index];
}

static void fill(store *new, ambit__value value, int order) {
    ambit__schedule_thread *self = ambit__self;
    memset(new, 0, sizeof *new);
    new->value = value;
    new->thread = self->index;
    new->epoch = self->happens.at[self->index];
    if (order == AMBIT__SEQ_CST) new->sc_time = ++sc_clock;
    if (ambit__order_releases(order)) {
        new->heads = true;
        new->released = new->own = self->happens;
        self->happens.at[self->index]++; /* what comes now is not released by it */
    } else {
        new->released = self->fence_release;
    }
}

/* Where a store may go: not before what this thread knows, nor between a read-modify-write, or a
 * release sequence, and what it continues. */
static unsigned choose_place(location *at, int order) {
    if (ambit__options->strong_memory || !ambit__stores_are_placed()) return at->count;
    unsigned lowest = floor_of(at, order) + 1, room = 1, places[STORES + 1] = {at->count};
    for (unsigned place = at->count; place-- > lowest;) {
        const store *behind = store_at(at, place);
        if (!behind->modifies && !behind->continues) places[room++] = place;
    }
    return places[ambit__decide(AMBIT__DECIDE_PLACE, room, 0)];
}

/* The newest store of this thread in front of `place` that began a release sequence which is not over there: only
 * read-modify-writes, and stores of the thread itself, stand behind it. NULL: none. */
static const store *begun_before(location *at, unsigned place) {
    while (place-- > 0) {
        const store *behind = store_at(at, place);
        if (behind->thread == ambit__self->index && behind->heads) return behind;
        if (behind->thread != ambit__self->index && !behind->modifies) return NULL;
    }
    return NULL;
}

static void put(location *at, ambit__value value, int order) {
    unsigned place = choose_place(at, order);
    const store *begun = ambit__order_releases(order) || ambit__options->cxx20_release_sequences
                             ? NULL
                             : begun_before(at, place);
    const ambit__vector own = begun ? begun->own : (ambit__vector){{0}}; /* its room may be taken */
    bool last = place == at->count;
    store *new = make_room(at, &place);
    fill(new, value, order);
    if (begun) {
        new->continues = new->heads = true;
        new->own = own;
        ambit__vector_join(&new->released, &own);
    }
    if (last) ambit__memory_write((void *)at->address, at->size, value);
}

/* Which store a read-modify-write reads, of those with the value `wanted` unless that is NULL: it goes in right
 * behind it, so neither what it must not be put in front of nor another read-modify-write of the same may
 * stand there. It may part a release sequence, of which it becomes a part. `at->count`: there is none. */
static unsigned choose_modified(location *at, int order, const ambit__value *wanted) {
    unsigned newest = at->count - 1u, lowest = newest, room = 0, places[STORES];
    if (!ambit__options->strong_memory && ambit__stores_are_placed()) lowest = floor_of(at, order);
    for (unsigned place = at->count; place-- > lowest;) {
        if (place < newest && store_at(at, place + 1)->modifies) continue;
        if (!wanted || store_at(at, place)->value == *wanted) places[room++] = place;
    }
    if (!room) return at->count;
    /* One that waits in a loop sees the newest, as loads do. */
    return places[ambit__self->spinning ? 0 : ambit__decide(AMBIT__DECIDE_PLACE, room, 0)];
}

/* A read-modify-write of what it has read at `place`. */
static void replace(location *at, unsigned place, ambit__value value, int order) {
    const ambit__vector before = store_at(at, place++)->released; /* its room may be taken */
    bool last = place == at->count;
    store *new = make_room(at, &place);
    fill(new, value, order);
    new->modifies = true;
    ambit__vector_join(&new->released, &before);
    if (last) ambit__memory_write((void *)at->address, at->size, value);
}

/* ---- Operations ------------------------------------------------------------------------------ */

static ambit__operation announce(ambit__operation_kind kind, const volatile void *address,
                                 unsigned size, int order, const void *site) {
    return (ambit__operation){.kind = kind,
                              .order = (uint8_t)order,
                              .size = (uint8_t)size,
                              .address = (const void *)(uintptr_t)address,
                              .site = site,
                              .writes = kind == AMBIT__OP_STORE || kind == AMBIT__OP_EXCHANGE ||
                                        kind == AMBIT__OP_COMPARE_EXCHANGE};
}

static void touch(const volatile void *address, unsigned size, bool writes, const void *site) {
    ambit__shadow_access((uintptr_t)address, size, writes, true, site);
}

static ambit__value truncate_to(ambit__value value, unsigned size) {
    return size >= 16 ? value : value & (((ambit__value)1 << size * 8) - 1);
}

ambit__value ambit__history_load(const volatile void *address, unsigned size, int order,
                                 const void *site) {
    order = ambit__order(site, AMBIT__OP_LOAD, order);
    ambit__operation operation = announce(AMBIT__OP_LOAD, address, size, order, site);
    ambit__step(&operation);
    touch(address, size, false, site);
    location *at = ambit__location_at(address, size);
    store *of = choose_store(at, order, site);
    note_read(of);
    learn(of, order);
    operation.value = (uint64_t)of->value;
    for (unsigned place = at->count; store_at(at, --place) != of;) operation.stale++;
    ambit__filled(&operation);
    return of->value;
}

void ambit__history_store(volatile void *address, unsigned size, ambit__value value, int order,
                          const void *site) {
    order = ambit__order(site, AMBIT__OP_STORE, order);
    ambit__operation operation = announce(AMBIT__OP_STORE, address, size, order, site);
    value = truncate_to(value, size);
    operation.value = (uint64_t)value;
    ambit__step(&operation);
    touch(address, size, true, site);
    location *at = ambit__location_at(address, size);
    if (newest_of(at)->value != value) ambit__progress();
    put(at, value, order);
}

static ambit__value combine(ambit__rmw how, ambit__value old, ambit__value operand) {
    switch (how) {
    case AMBIT__RMW_ADD:
        return old + operand;
    case AMBIT__RMW_SUB:
        return old - operand;
    case AMBIT__RMW_AND:
        return old & operand;
    case AMBIT__RMW_OR:
        return old | operand;
    case AMBIT__RMW_XOR:
        return old ^ operand;
    case AMBIT__RMW_NAND:
        return ~(old & operand);
    default:
        return operand;
    }
}

ambit__value ambit__history_exchange(volatile void *address, unsigned size, ambit__rmw how,
                                     ambit__value operand, int order, const void *site) {
    order = ambit__order(site, AMBIT__OP_EXCHANGE, order);
    ambit__operation operation = announce(AMBIT__OP_EXCHANGE, address, size, order, site);
    ambit__step(&operation);
    touch(address, size, false, site);
    touch(address, size, true, site);
    location *at = ambit__location_at(address, size);
    unsigned place = choose_modified(at, order, NULL);
    store *of = store_at(at, place);
    ambit__value old = of->value;
    ambit__value new = truncate_to(combine(how, old, operand), size);
    if (new == old)
        look(at, old, site); /* as a spin lock that is taken */
    else
        ambit__progress();
    note_read(of);
    learn(of, order);
    replace(at, place, new, order);
    operation.before = (uint64_t)old;
    operation.value = (uint64_t) new;
    ambit__filled(&operation);
    return old;
}

bool ambit__history_weak_fails(void) {
    return !ambit__options->no_spurious && !ambit__self->spinning &&
           ambit__decide(AMBIT__DECIDE_WEAK, 2, 0);
}

/* A weak exchange may fail for nothing; and any may fail because it reads an old store, which the standard
 * does not rule out. NULL: it succeeds, at `place`. */
static store *choose_failure(location *at, ambit__value expected, int order, int failure_order,
                             bool weak, unsigned *place, const void *site) {
    store *of = choose_store(at, failure_order, site);
    if (of->value != expected) return of;
    *place = choose_modified(at, order, &expected);
    if (*place == at->count) return newest_of(at);
    return weak && ambit__history_weak_fails() ? store_at(at, *place) : NULL;
}

bool ambit__history_compare_exchange(volatile void *address, unsigned size, ambit__value *expected,
                                     ambit__value desired, int order, int failure_order, bool weak,
                                     const void *site) {
    int asked = order;
    order = ambit__order(site, AMBIT__OP_COMPARE_EXCHANGE, order);
    if (order != asked && failure_order > order) failure_order = AMBIT__RELAXED;
    ambit__operation operation = announce(AMBIT__OP_COMPARE_EXCHANGE, address, size, order, site);
    ambit__step(&operation);
    touch(address, size, false, site);
    location *at = ambit__location_at(address, size);
    unsigned place;
    store *failure = choose_failure(at, *expected, order, failure_order, weak, &place, site);
    if (!failure) touch(address, size, true, site);
    store *of = failure ? failure : store_at(at, place);
    note_read(of);
    learn(of, failure ? failure_order : order);
    operation.before = (uint64_t)of->value;
    operation.failed = failure != NULL;
    operation.value = (uint64_t)desired;
    ambit__filled(&operation);
    if (failure) {
        *expected = of->value;
        return false;
    }
    if (of->value != desired) ambit__progress();
    replace(at, place, truncate_to(desired, size), order);
    return true;
}

/* ---- Fences ---------------------------------------------------------------------------------- */

void ambit__history_full_barrier(void) {
    ambit__schedule_thread *self = ambit__self;
    ambit__vector_join(&fences, &self->happens);
    ambit__vector_join(&fences, &self->view);
    self->view = fences;
    self->fence_time = ++sc_clock;
}

void ambit__history_fence(int order, const void *site) {
    ambit__schedule_thread *self = ambit__self;
    order = ambit__order(site, AMBIT__OP_FENCE, order);
    ambit__operation operation = announce(AMBIT__OP_FENCE, NULL, 0, order, site);
    ambit__step(&operation);
    if (order == AMBIT__RELAXED) return;
    if (ambit__order_acquires(order)) ambit__vector_join(&self->happens, &self->fence_acquire);
    if (order == AMBIT__SEQ_CST) ambit__history_full_barrier();
    if (!ambit__order_releases(order)) return;
    self->fence_release = self->happens;
    self->happens.at[self->index]++;
}

void ambit__history_light_barrier(const void *site) {
    ambit__schedule_thread *self = ambit__self;
    int order = ambit__order(site, AMBIT__OP_LIGHT_BARRIER, AMBIT__SEQ_CST);
    ambit__operation operation = announce(AMBIT__OP_LIGHT_BARRIER, NULL, 0, order, site);
    ambit__step(&operation);
    if (order == AMBIT__RELAXED) return;
    ambit__vector_join(&self->light, &self->happens);
    ambit__vector_join(&self->light, &self->view);
    ambit__vector_join(&self->view, &heavies);
}

void ambit__history_heavy_barrier(const void *site) {
    int order = ambit__order(site, AMBIT__OP_HEAVY_BARRIER, AMBIT__SEQ_CST);
    ambit__operation operation = announce(AMBIT__OP_HEAVY_BARRIER, NULL, 0, order, site);
    ambit__step(&operation);
    if (order == AMBIT__RELAXED) return;
    ambit__history_full_barrier();
    for (unsigned i = 0; i < ambit__thread_count; i++)
        ambit__vector_join(&ambit__self->view, &ambit__threads[i].light);
    ambit__vector_join(&heavies, &ambit__self->view);
}

ambit__value ambit__history_newest(const volatile void *address, unsigned size, const void *site) {
    touch(address, size, false, site);
    store *of = newest_of(ambit__location_at(address, size));
    note_read(of);
    return of->value;
}
