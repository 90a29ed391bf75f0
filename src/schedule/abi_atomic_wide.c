/* Atomics of 16 bytes. They have no history: the newest is seen always, and what was released to
 * them is what has been released to them since the last plain store to them; see history.c's
 * limits. */
#include "schedule/inside.h"

#define SITE __builtin_return_address(0)
#define ORDER(order) ((order)&7)

typedef unsigned __int128 wide;

/* One thread runs at a time, in a schedule; outside of one this is a plain access, and no lock-free
 * one. */
static wide step(volatile wide *at, ambit__operation_kind kind, int order, const void *site,
                 ambit__object **object) {
    if (!ambit__self) return *at;
    order = ambit__order(site, kind, order);
    ambit__operation operation = {.kind = kind,
                                  .order = (uint8_t)order,
                                  .size = 16,
                                  .writes = kind != AMBIT__OP_LOAD,
                                  .address = (const void *)(uintptr_t)at,
                                  .site = site};
    ambit__step(&operation);
    ambit__shadow_access((uintptr_t)at, 16, kind != AMBIT__OP_LOAD, true, site);
    *object = ambit__object_at((const void *)(uintptr_t)at, AMBIT__OBJECT_OTHER);
    if (kind != AMBIT__OP_STORE && ambit__order_acquires(order))
        ambit__acquire_from(&(*object)->released);
    operation.before = (uint64_t)*at;
    ambit__filled(&operation);
    return *at;
}

static void change(volatile wide *at, wide value, int order, const ambit__object *seen) {
    ambit__object *object = (ambit__object *)(uintptr_t)seen;
    if (object && ambit__order_releases(order)) ambit__release_to(&object->released);
    if (object && *at != value) ambit__progress();
    *at = value;
}

wide __tsan_atomic128_load(const volatile wide *at, int order);
wide __tsan_atomic128_load(const volatile wide *at, int order) {
    ambit__object *object = NULL;
    return step((volatile wide *)(uintptr_t)at, AMBIT__OP_LOAD, ORDER(order), SITE, &object);
}

void __tsan_atomic128_store(volatile wide *at, wide value, int order);
void __tsan_atomic128_store(volatile wide *at, wide value, int order) {
    ambit__object *object = NULL;
    (void)step(at, AMBIT__OP_STORE, ORDER(order), SITE, &object);
    change(at, value, ORDER(order), object);
}

#define MODIFY(name, combined)                                                                     \
    wide __tsan_atomic128_##name(volatile wide *at, wide value, int order);                        \
    wide __tsan_atomic128_##name(volatile wide *at, wide value, int order) {                       \
        ambit__object *object = NULL;                                                              \
        wide old = step(at, AMBIT__OP_EXCHANGE, ORDER(order), SITE, &object);                      \
        change(at, combined, ORDER(order), object);                                                \
        return old;                                                                                \
    }
MODIFY(exchange, value)
MODIFY(fetch_add, old + value)
MODIFY(fetch_sub, old - value)
MODIFY(fetch_and, old &value)
MODIFY(fetch_or, old | value)
MODIFY(fetch_xor, old ^ value)
MODIFY(fetch_nand, ~(old &value))

static wide compare(volatile wide *at, wide expected, wide desired, int order, const void *site) {
    ambit__object *object = NULL;
    wide old = step(at, AMBIT__OP_COMPARE_EXCHANGE, ORDER(order), site, &object);
    if (old == expected)
        change(at, desired, ORDER(order), object);
    else
        ambit__spin_reads((uint64_t)(uintptr_t)at * 31 + (uint64_t)old);
    return old;
}

#define COMPARE(name)                                                                              \
    int __tsan_atomic128_compare_exchange_##name(volatile wide *at, wide *expected, wide desired,  \
                                                 int order, int failure_order);                    \
    int __tsan_atomic128_compare_exchange_##name(volatile wide *at, wide *expected, wide desired,  \
                                                 int order, int failure_order) {                   \
        (void)failure_order;                                                                       \
        wide old = compare(at, *expected, desired, ORDER(order), SITE);                            \
        if (old == *expected) return 1;                                                            \
        *expected = old;                                                                           \
        return 0;                                                                                  \
    }
COMPARE(strong)
COMPARE(weak)

wide __tsan_atomic128_compare_exchange_val(volatile wide *at, wide expected, wide desired,
                                           int order, int failure_order);
wide __tsan_atomic128_compare_exchange_val(volatile wide *at, wide expected, wide desired,
                                           int order, int failure_order) {
    (void)failure_order;
    return compare(at, expected, desired, ORDER(order), SITE);
}
