/* Atomics of any size: what compilers call for those that the processor has no instruction for, an
 * _Atomic struct of 24 bytes say. libatomic's are never called, so that a program needs no
 * -latomic.
 *
 * As those of 16 bytes they have no history: the newest is seen always. One call is one step. */
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
    ambit__object *object = ambit__object_at(at, AMBIT__OBJECT_OTHER);
    if (kind != AMBIT__OP_STORE && ambit__order_acquires(*order))
        ambit__acquire_from(&object->released);
    ambit__filled(&operation);
    return object;
}

static void change(void *at, const void *value, size_t bytes, int order, ambit__object *object) {
    if (object && ambit__order_releases(order)) ambit__release_to(&object->released);
    if (object && memcmp(at, value, bytes) != 0) ambit__progress();
    memcpy(at, value, bytes);
}

/* The caller's own copies are plain memory. */
static void reads(const void *copy, size_t bytes, const void *site) {
    if (ambit__self) ambit__shadow_copy((uintptr_t)copy, bytes, false, site);
}
static void writes(const void *copy, size_t bytes, const void *site) {
    if (ambit__self) ambit__shadow_access((uintptr_t)copy, bytes, true, false, site);
}

void __wrap___atomic_load(size_t bytes, const void *at, void *result, int order);
void __wrap___atomic_load(size_t bytes, const void *at, void *result, int order) {
    enter();
    if (begin(at, bytes, AMBIT__OP_LOAD, &order, SITE)) ambit__spin_reads(content(at, bytes));
    writes(result, bytes, SITE);
    memcpy(result, at, bytes);
    leave();
}

void __wrap___atomic_store(size_t bytes, void *at, const void *value, int order);
void __wrap___atomic_store(size_t bytes, void *at, const void *value, int order) {
    enter();
    reads(value, bytes, SITE);
    ambit__object *object = begin(at, bytes, AMBIT__OP_STORE, &order, SITE);
    change(at, value, bytes, order, object);
    leave();
}

void __wrap___atomic_exchange(size_t bytes, void *at, const void *value, void *result, int order);
void __wrap___atomic_exchange(size_t bytes, void *at, const void *value, void *result, int order) {
    enter();
    reads(value, bytes, SITE);
    ambit__object *object = begin(at, bytes, AMBIT__OP_EXCHANGE, &order, SITE);
    writes(result, bytes, SITE);
    /* The two may be the same. */
    for (size_t done = 0, some; done < bytes; done += some) {
        char next[64], old[64];
        some = bytes - done < sizeof old ? bytes - done : sizeof old;
        memcpy(next, (const char *)value + done, some);
        memcpy(old, (char *)at + done, some);
        change((char *)at + done, next, some, order, object);
        memcpy((char *)result + done, old, some);
    }
    leave();
}

bool __wrap___atomic_compare_exchange(size_t bytes, void *at, void *expected, const void *desired,
                                      int order, int failure_order);
bool __wrap___atomic_compare_exchange(size_t bytes, void *at, void *expected, const void *desired,
                                      int order, int failure_order) {
    (void)failure_order;
    enter();
    reads(expected, bytes, SITE);
    reads(desired, bytes, SITE);
    ambit__object *object = begin(at, bytes, AMBIT__OP_COMPARE_EXCHANGE, &order, SITE);
    bool same = memcmp(at, expected, bytes) == 0;
    if (same) {
        change(at, desired, bytes, order, object);
    } else {
        if (object) ambit__spin_reads(content(at, bytes));
        writes(expected, bytes, SITE);
        memcpy(expected, at, bytes);
    }
    leave();
    return same;
}

/* ---- 16 bytes by value: clang 19 calls them at times, in spite of -fsanitize=thread
 *   ------------ */

typedef unsigned __int128 wide;

wide __wrap___atomic_load_16(const void *at, int order);
wide __wrap___atomic_load_16(const void *at, int order) {
    wide result;
    enter();
    if (begin(at, sizeof result, AMBIT__OP_LOAD, &order, SITE))
        ambit__spin_reads(content(at, sizeof result));
    memcpy(&result, at, sizeof result);
    leave();
    return result;
}

void __wrap___atomic_store_16(void *at, wide value, int order);
void __wrap___atomic_store_16(void *at, wide value, int order) {
    enter();
    ambit__object *object = begin(at, sizeof value, AMBIT__OP_STORE, &order, SITE);
    change(at, &value, sizeof value, order, object);
    leave();
}

wide __wrap___atomic_exchange_16(void *at, wide value, int order);
wide __wrap___atomic_exchange_16(void *at, wide value, int order) {
    wide old;
    enter();
    ambit__object *object = begin(at, sizeof value, AMBIT__OP_EXCHANGE, &order, SITE);
    memcpy(&old, at, sizeof old);
    change(at, &value, sizeof value, order, object);
    leave();
    return old;
}

bool __wrap___atomic_compare_exchange_16(void *at, void *expected, wide desired, int order,
                                         int failure_order);
bool __wrap___atomic_compare_exchange_16(void *at, void *expected, wide desired, int order,
                                         int failure_order) {
    (void)failure_order;
    enter();
    reads(expected, sizeof desired, SITE);
    ambit__object *object = begin(at, sizeof desired, AMBIT__OP_COMPARE_EXCHANGE, &order, SITE);
    bool same = memcmp(at, expected, sizeof desired) == 0;
    if (same) {
        change(at, &desired, sizeof desired, order, object);
    } else {
        if (object) ambit__spin_reads(content(at, sizeof desired));
        writes(expected, sizeof desired, SITE);
        memcpy(expected, at, sizeof desired);
    }
    leave();
    return same;
}
