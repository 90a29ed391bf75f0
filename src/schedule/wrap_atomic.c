/* Atomics of any size: what compilers call for those that the processor has no instruction for, an
 * _Atomic struct of 24 bytes say. libatomic's are never called, so that a program needs no
 * -latomic.
 *
 * Those that a processor has are history.c's, whoever calls. The others have no history: the newest is seen
 * always, and one call is one step. What an acquiring load of it learns stands in the object's `released`: what
 * its last store gave out, and the read-modify-writes since. */
#include "schedule/wraps.h"

#define SITE __builtin_return_address(0)

/* Outside of schedules other threads may be about. */
static char lock;
static void enter(void) {
    while (!ambit__self && __atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) {
    }
}
static void leave(void) {
    if (!ambit__self) __atomic_clear(&lock, __ATOMIC_RELEASE);
}

/* What a loop that waits for another value looks at. */
static uint64_t content(const void *at, size_t bytes) {
    uint64_t hash = ambit__ordinal(at);
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const unsigned char *)at)[i]) * 0x100000001b3;
    return hash;
}

static bool has_history(const void *at, size_t bytes) {
    return ambit__self && (bytes & (bytes - 1)) == 0 && bytes <= 16 && (uintptr_t)at % bytes == 0;
}

/* Takes the step. NULL outside of a schedule. */
static ambit__object *begin(const void *at, size_t bytes, ambit__operation_kind kind, int *order,
                            const void *site) {
    if (!ambit__self) return NULL;
    *order = ambit__order(site, kind, *order & 7);
    ambit__operation operation = {.kind = kind,
                                  .order = (uint8_t)*order,
                                  .size = (uint8_t)(bytes < 255 ? bytes : 255),
                                  .writes = kind != AMBIT__OP_LOAD,
                                  .address = at,
                                  .site = site};
    ambit__step(&operation);
    ambit__shadow_access((uintptr_t)at, bytes, kind != AMBIT__OP_LOAD, true, site);
    ambit__filled(&operation);
    return ambit__object_at(at, AMBIT__OBJECT_OTHER);
}

static void learn(const ambit__object *object, int order) {
    if (!object) return;
    if (ambit__order_acquires(order))
        ambit__acquire_from(&object->released);
    else
        ambit__vector_join(&ambit__self->fence_acquire, &object->released);
}

/* `modifies`: what it replaces it has read. C11's release sequences go on with stores of who began them. */
static void give(ambit__object *object, bool modifies, int order) {
    ambit__schedule_thread *self = ambit__self;
    bool goes_on =
        modifies || (object->owner == self->index + 1 && !ambit__options->cxx20_release_sequences);
    if (!goes_on) {
        object->released = (ambit__vector){{0}};
        object->owner = 0;
    }
    if (ambit__order_releases(order)) {
        ambit__release_to(&object->released);
        object->owner = self->index + 1;
    } else {
        ambit__vector_join(&object->released, &self->fence_release);
    }
}

static void change(void *at, const void *value, size_t bytes) {
    if (ambit__self && memcmp(at, value, bytes) != 0) ambit__progress();
    memcpy(at, value, bytes);
}

/* The caller's own copies are plain memory. */
static void reads(const void *copy, size_t bytes, const void *site) {
    if (ambit__self) ambit__shadow_copy((uintptr_t)copy, bytes, false, site);
}
static void writes(const void *copy, size_t bytes, const void *site) {
    if (ambit__self) ambit__shadow_access((uintptr_t)copy, bytes, true, false, site);
}

static ambit__value value_at(const void *from, size_t bytes) {
    ambit__value value = 0;
    memcpy(&value, from, bytes);
    return value;
}

void __wrap___atomic_load(size_t bytes, const void *at, void *result, int order);
void __wrap___atomic_load(size_t bytes, const void *at, void *result, int order) {
    if (has_history(at, bytes)) {
        ambit__value value = ambit__history_load(at, (unsigned)bytes, order & 7, SITE);
        writes(result, bytes, SITE);
        memcpy(result, &value, bytes);
        return;
    }
    enter();
    ambit__object *object = begin(at, bytes, AMBIT__OP_LOAD, &order, SITE);
    learn(object, order);
    if (object) ambit__spin_reads(content(at, bytes));
    writes(result, bytes, SITE);
    memcpy(result, at, bytes);
    leave();
}

void __wrap___atomic_store(size_t bytes, void *at, const void *value, int order);
void __wrap___atomic_store(size_t bytes, void *at, const void *value, int order) {
    reads(value, bytes, SITE);
    if (has_history(at, bytes)) {
        ambit__history_store(at, (unsigned)bytes, value_at(value, bytes), order & 7, SITE);
        return;
    }
    enter();
    ambit__object *object = begin(at, bytes, AMBIT__OP_STORE, &order, SITE);
    if (object) give(object, false, order);
    change(at, value, bytes);
    leave();
}

void __wrap___atomic_exchange(size_t bytes, void *at, const void *value, void *result, int order);
void __wrap___atomic_exchange(size_t bytes, void *at, const void *value, void *result, int order) {
    reads(value, bytes, SITE);
    if (has_history(at, bytes)) {
        ambit__value old = ambit__history_exchange(at, (unsigned)bytes, AMBIT__RMW_EXCHANGE,
                                                   value_at(value, bytes), order & 7, SITE);
        writes(result, bytes, SITE);
        memcpy(result, &old, bytes);
        return;
    }
    enter();
    ambit__object *object = begin(at, bytes, AMBIT__OP_EXCHANGE, &order, SITE);
    learn(object, order);
    if (object) give(object, true, order);
    writes(result, bytes, SITE);
    /* The two may be the same. */
    for (size_t done = 0, some; done < bytes; done += some) {
        char next[64], old[64];
        some = bytes - done < sizeof old ? bytes - done : sizeof old;
        memcpy(next, (const char *)value + done, some);
        memcpy(old, (char *)at + done, some);
        change((char *)at + done, next, some);
        memcpy((char *)result + done, old, some);
    }
    leave();
}

static bool compare(size_t bytes, void *at, void *expected, const void *desired, int order,
                    int failure_order, const void *site) {
    int asked = order;
    enter();
    ambit__object *object = begin(at, bytes, AMBIT__OP_COMPARE_EXCHANGE, &order, site);
    if (order != (asked & 7) && (failure_order & 7) > order) failure_order = AMBIT__RELAXED;
    bool same = memcmp(at, expected, bytes) == 0;
    learn(object, same ? order : failure_order & 7);
    if (same) {
        if (object) give(object, true, order);
        change(at, desired, bytes);
    } else {
        if (object) ambit__spin_reads(content(at, bytes));
        writes(expected, bytes, site);
        memcpy(expected, at, bytes);
    }
    leave();
    return same;
}

bool __wrap___atomic_compare_exchange(size_t bytes, void *at, void *expected, const void *desired,
                                      int order, int failure_order);
bool __wrap___atomic_compare_exchange(size_t bytes, void *at, void *expected, const void *desired,
                                      int order, int failure_order) {
    reads(expected, bytes, SITE);
    reads(desired, bytes, SITE);
    if (!has_history(at, bytes))
        return compare(bytes, at, expected, desired, order, failure_order, SITE);
    ambit__value seen = value_at(expected, bytes);
    bool done =
        ambit__history_compare_exchange(at, (unsigned)bytes, &seen, value_at(desired, bytes),
                                        order & 7, failure_order & 7, false, SITE);
    if (done) return true;
    writes(expected, bytes, SITE);
    memcpy(expected, &seen, bytes);
    return false;
}

/* ---- 16 bytes by value: clang 19 calls them at times, in spite of -fsanitize=thread ---------- */

ambit__value __wrap___atomic_load_16(const void *at, int order);
ambit__value __wrap___atomic_load_16(const void *at, int order) {
    if (ambit__self) return ambit__history_load(at, 16, order & 7, SITE);
    enter();
    ambit__value result = value_at(at, sizeof result);
    leave();
    return result;
}

void __wrap___atomic_store_16(void *at, ambit__value value, int order);
void __wrap___atomic_store_16(void *at, ambit__value value, int order) {
    if (ambit__self) {
        ambit__history_store(at, 16, value, order & 7, SITE);
        return;
    }
    enter();
    memcpy(at, &value, sizeof value);
    leave();
}

ambit__value __wrap___atomic_exchange_16(void *at, ambit__value value, int order);
ambit__value __wrap___atomic_exchange_16(void *at, ambit__value value, int order) {
    if (ambit__self)
        return ambit__history_exchange(at, 16, AMBIT__RMW_EXCHANGE, value, order & 7, SITE);
    enter();
    ambit__value old = value_at(at, sizeof old);
    memcpy(at, &value, sizeof value);
    leave();
    return old;
}

bool __wrap___atomic_compare_exchange_16(void *at, void *expected, ambit__value desired, int order,
                                         int failure_order);
bool __wrap___atomic_compare_exchange_16(void *at, void *expected, ambit__value desired, int order,
                                         int failure_order) {
    if (!ambit__self)
        return compare(sizeof desired, at, expected, &desired, order, failure_order, SITE);
    reads(expected, sizeof desired, SITE);
    ambit__value seen = value_at(expected, sizeof seen);
    if (ambit__history_compare_exchange(at, 16, &seen, desired, order & 7, failure_order & 7, false,
                                        SITE))
        return true;
    writes(expected, sizeof desired, SITE);
    memcpy(expected, &seen, sizeof seen);
    return false;
}
