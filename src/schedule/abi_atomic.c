/* The compiler's calls for atomics: ThreadSanitizer's interface, as clang and gcc emit it.
 *
 * Outside of schedules the operation is done as it stands, sequentially consistent. */
#include "schedule/inside.h"

#define SITE __builtin_return_address(0)
/* gcc may set flags above C's orders. */
#define ORDER(order) ((order)&7)

#define LOAD_AND_STORE(bits)                                                                       \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order);       \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value,            \
                                     int order);                                                   \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order) {      \
        if (!ambit__self) return __atomic_load_n(at, __ATOMIC_SEQ_CST);                            \
        return (uint##bits##_t)ambit__history_load(at, bits / 8, ORDER(order), SITE);              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value,            \
                                     int order) {                                                  \
        if (!ambit__self)                                                                          \
            __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                         \
        else                                                                                       \
            ambit__history_store(at, bits / 8, value, ORDER(order), SITE);                         \
    }

#define MODIFY(bits, name, how, builtin)                                                           \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t value, \
                                                int order);                                        \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *at, uint##bits##_t value, \
                                                int order) {                                       \
        if (!ambit__self) return builtin(at, value, __ATOMIC_SEQ_CST);                             \
        return (uint##bits##_t)ambit__history_exchange(at, bits / 8, how, value, ORDER(order),     \
                                                       SITE);                                      \
    }

#define COMPARE(bits, name, weak)                                                                  \
    int __tsan_atomic##bits##_compare_exchange_##name(                                             \
        volatile uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t desired, int order,  \
        int failure_order);                                                                        \
    int __tsan_atomic##bits##_compare_exchange_##name(                                             \
        volatile uint##bits##_t *at, uint##bits##_t *expected, uint##bits##_t desired, int order,  \
        int failure_order) {                                                                       \
        if (!ambit__self)                                                                          \
            return __atomic_compare_exchange_n(at, expected, desired, false, __ATOMIC_SEQ_CST,     \
                                               __ATOMIC_SEQ_CST);                                  \
        ambit__value seen = *expected;                                                             \
        bool done = ambit__history_compare_exchange(at, bits / 8, &seen, desired, ORDER(order),    \
                                                    ORDER(failure_order), weak, SITE);             \
        if (!done) *expected = (uint##bits##_t)seen;                                               \
        return done;                                                                               \
    }

#define COMPARE_VALUE(bits)                                                                        \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                     \
        volatile uint##bits##_t *at, uint##bits##_t expected, uint##bits##_t desired, int order,   \
        int failure_order);                                                                        \
    uint##bits##_t __tsan_atomic##bits##_compare_exchange_val(                                     \
        volatile uint##bits##_t *at, uint##bits##_t expected, uint##bits##_t desired, int order,   \
        int failure_order) {                                                                       \
        ambit__value seen = expected;                                                              \
        if (!ambit__self) {                                                                        \
            (void)__atomic_compare_exchange_n(at, &expected, desired, false, __ATOMIC_SEQ_CST,     \
                                              __ATOMIC_SEQ_CST);                                   \
            return expected;                                                                       \
        }                                                                                          \
        (void)ambit__history_compare_exchange(at, bits / 8, &seen, desired, ORDER(order),          \
                                              ORDER(failure_order), false, SITE);                  \
        return (uint##bits##_t)seen;                                                               \
    }

#define ALL(bits)                                                                                  \
    LOAD_AND_STORE(bits)                                                                           \
    MODIFY(bits, exchange, AMBIT__RMW_EXCHANGE, __atomic_exchange_n)                               \
    MODIFY(bits, fetch_add, AMBIT__RMW_ADD, __atomic_fetch_add)                                    \
    MODIFY(bits, fetch_sub, AMBIT__RMW_SUB, __atomic_fetch_sub)                                    \
    MODIFY(bits, fetch_and, AMBIT__RMW_AND, __atomic_fetch_and)                                    \
    MODIFY(bits, fetch_or, AMBIT__RMW_OR, __atomic_fetch_or)                                       \
    MODIFY(bits, fetch_xor, AMBIT__RMW_XOR, __atomic_fetch_xor)                                    \
    MODIFY(bits, fetch_nand, AMBIT__RMW_NAND, __atomic_fetch_nand)                                 \
    COMPARE(bits, strong, false)                                                                   \
    COMPARE(bits, weak, true)                                                                      \
    COMPARE_VALUE(bits)

ALL(8)
ALL(16)
ALL(32)
ALL(64)

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order) {
    if (!ambit__self)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    else
        ambit__history_fence(ORDER(order), SITE);
}

/* Only the full one is the light side of membarrier(2); the others are for signal handlers. */
void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order) {
    if (ambit__self && ORDER(order) == AMBIT__SEQ_CST) ambit__history_light_barrier(SITE);
}

/* ---- Weak exchanges, by clang: schedule_liburcu/stdatomic.h ---------------------------------- */

/* It calls compare_exchange_val() for a weak one as for a strong one, and takes what was expected for success: so
 * that it failed for nothing is told before. */
bool ambit__schedule_weak_fails(const volatile void *object, void *expected, unsigned bytes,
                                int failure_order);
bool ambit__schedule_weak_fails(const volatile void *object, void *expected, unsigned bytes,
                                int failure_order) {
    bool known = (bytes & (bytes - 1)) == 0 && bytes <= sizeof(ambit__value);
    if (!ambit__self || !known || !ambit__history_weak_fails()) return false;
    ambit__value seen = ambit__history_load(object, bytes, ORDER(failure_order), SITE);
    ambit__shadow_access((uintptr_t)expected, bytes, true, false, SITE);
    memcpy(expected, &seen, bytes);
    return true;
}
