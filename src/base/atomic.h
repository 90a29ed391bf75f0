/* Atomics, with every order spelled out. The only way for the other rooms to reach <stdatomic.h>.
 */
#ifndef AMBIT_BASE_ATOMIC_H
#define AMBIT_BASE_ATOMIC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define ambit__load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define ambit__load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define ambit__store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define ambit__store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define ambit__add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define ambit__add_release(p, v) atomic_fetch_add_explicit((p), (v), memory_order_release)
#define ambit__add_acq_rel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define ambit__sub_release(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_release)
#define ambit__sub_acq_rel(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_acq_rel)
#define ambit__and_relaxed(p, v) atomic_fetch_and_explicit((p), (v), memory_order_relaxed)
#define ambit__or_acq_rel(p, v) atomic_fetch_or_explicit((p), (v), memory_order_acq_rel)
#define ambit__or_release(p, v) atomic_fetch_or_explicit((p), (v), memory_order_release)
#define ambit__or_relaxed(p, v) atomic_fetch_or_explicit((p), (v), memory_order_relaxed)
#define ambit__exchange_relaxed(p, v) atomic_exchange_explicit((p), (v), memory_order_relaxed)
#define ambit__exchange_acquire(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)
#define ambit__exchange_acq_rel(p, v) atomic_exchange_explicit((p), (v), memory_order_acq_rel)
#define ambit__exchange_release(p, v) atomic_exchange_explicit((p), (v), memory_order_release)
/* `expected` is updated when the exchange fails. */
#define ambit__swap_acquire(p, expected, v)                                                        \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acquire,            \
                                            memory_order_relaxed)

/* These may fail without a reason. */
#define ambit__swap_relaxed(p, expected, v)                                                        \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_relaxed,              \
                                          memory_order_relaxed)
#define ambit__swap_release(p, expected, v)                                                        \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_release,              \
                                          memory_order_relaxed)

/* An add by the only thread that ever writes `p`: no locked instruction. */
#define ambit__bump_release(p, v) ambit__store_release((p), ambit__load_relaxed(p) + (v))
#define ambit__bump_relaxed(p, v) ambit__store_relaxed((p), ambit__load_relaxed(p) + (v))

#define ambit__likely(x) __builtin_expect(!!(x), 1)
#define ambit__unlikely(x) __builtin_expect(!!(x), 0)

#endif
