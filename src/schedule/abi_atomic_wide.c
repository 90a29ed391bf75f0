/* Atomics of 16 bytes: ThreadSanitizer's interface, as abi_atomic.c has it for the smaller ones. */
#include "schedule/inside.h"

#define SITE __builtin_return_address(0)
#define ORDER(order) ((order)&7)

typedef ambit__value wide;

/* Outside of schedules these are plain accesses, and no lock-free ones. */
wide __tsan_atomic128_load(const volatile wide *at, int order);
wide __tsan_atomic128_load(const volatile wide *at, int order) {
    return ambit__self ? ambit__history_load(at, 16, ORDER(order), SITE) : *at;
}

void __tsan_atomic128_store(volatile wide *at, wide value, int order);
void __tsan_atomic128_store(volatile wide *at, wide value, int order) {
    if (ambit__self)
        ambit__history_store(at, 16, value, ORDER(order), SITE);
    else
        *at = value;
}

#define MODIFY(name, how, combined)                                                                \
    wide __tsan_atomic128_##name(volatile wide *at, wide value, int order);                        \
    wide __tsan_atomic128_##name(volatile wide *at, wide value, int order) {                       \
        if (ambit__self) return ambit__history_exchange(at, 16, how, value, ORDER(order), SITE);   \
        wide old = *at;                                                                            \
        *at = combined;                                                                            \
        return old;                                                                                \
    }
MODIFY(exchange, AMBIT__RMW_EXCHANGE, value)
MODIFY(fetch_add, AMBIT__RMW_ADD, old + value)
MODIFY(fetch_sub, AMBIT__RMW_SUB, old - value)
MODIFY(fetch_and, AMBIT__RMW_AND, old &value)
MODIFY(fetch_or, AMBIT__RMW_OR, old | value)
MODIFY(fetch_xor, AMBIT__RMW_XOR, old ^ value)
MODIFY(fetch_nand, AMBIT__RMW_NAND, ~(old &value))

static bool compare(volatile wide *at, wide *expected, wide desired, int order, int failure_order,
                    bool weak, const void *site) {
    if (ambit__self)
        return ambit__history_compare_exchange(at, 16, expected, desired, order, failure_order,
                                               weak, site);
    wide old = *at;
    bool same = old == *expected;
    if (same)
        *at = desired;
    else
        *expected = old;
    return same;
}

#define COMPARE(name, weak)                                                                        \
    int __tsan_atomic128_compare_exchange_##name(volatile wide *at, wide *expected, wide desired,  \
                                                 int order, int failure_order);                    \
    int __tsan_atomic128_compare_exchange_##name(volatile wide *at, wide *expected, wide desired,  \
                                                 int order, int failure_order) {                   \
        wide seen = *expected;                                                                     \
        bool done = compare(at, &seen, desired, ORDER(order), ORDER(failure_order), weak, SITE);   \
        if (!done) *expected = seen;                                                               \
        return done;                                                                               \
    }
COMPARE(strong, false)
COMPARE(weak, true)

wide __tsan_atomic128_compare_exchange_val(volatile wide *at, wide expected, wide desired,
                                           int order, int failure_order);
wide __tsan_atomic128_compare_exchange_val(volatile wide *at, wide expected, wide desired,
                                           int order, int failure_order) {
    (void)compare(at, &expected, desired, ORDER(order), ORDER(failure_order), false, SITE);
    return expected;
}
