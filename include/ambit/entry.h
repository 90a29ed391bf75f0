/* What the census reads of every object that it counts, and the atomics of the inline calls. Shown
 * because the fast calls are inline; not to be touched by a program. */
#ifndef AMBIT_ENTRY_H
#define AMBIT_ENTRY_H

#include <stdint.h>

#include "ambit/site.h"

/* C and C++ lay these out alike; C++ reads them through the compiler's built-ins. */
#ifdef __cplusplus
#define AMBIT__ATOMIC(T) T
#define AMBIT__LOAD_ACQUIRE(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define AMBIT__LOAD_RELAXED(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define AMBIT__STORE_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define AMBIT__STORE_RELAXED(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define AMBIT__LIGHT_BARRIER() __atomic_signal_fence(__ATOMIC_SEQ_CST)
#else
#include <stdatomic.h>
#define AMBIT__ATOMIC(T) _Atomic(T)
#define AMBIT__LOAD_ACQUIRE(p) atomic_load_explicit((p), memory_order_acquire)
#define AMBIT__LOAD_RELAXED(p) atomic_load_explicit((p), memory_order_relaxed)
#define AMBIT__STORE_RELEASE(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define AMBIT__STORE_RELAXED(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define AMBIT__LIGHT_BARRIER() atomic_signal_fence(memory_order_seq_cst)
#endif

#define AMBIT__INLINE static inline __attribute__((always_inline))

/* The first field of every object that the census counts. Written by the owner, read by walks. */
typedef struct ambit__entry {
    AMBIT__ATOMIC(const ambit_site *) site; /* NULL while free; last at birth, first at death */
    AMBIT__ATOMIC(int64_t) birth_ns;        /* coarse clock */
    AMBIT__ATOMIC(uint64_t) bytes;
    AMBIT__ATOMIC(uint32_t) marks; /* AMBIT__MARK_*: set by anyone, cleared at birth */
    AMBIT__ATOMIC(uint32_t) stack; /* with AMBIT__MARK_SAMPLED: its number */
} ambit__entry;

/* What inline births read, each in a cache line of its own. */
/* One object in so many gets a stack; 0 while that is switched off. */
extern struct ambit__sampling {
    AMBIT__ATOMIC(uint32_t) mean;
} __attribute__((aligned(64))) ambit__sampling;
/* The coarse clock as it was up to a tenth of a second ago, for those to whom even that is dear; 0 while
 * nobody renews it: see src/timer/stamp.c. */
extern struct ambit__stamp {
    AMBIT__ATOMIC(int64_t) now_ns;
} __attribute__((aligned(64))) ambit__stamp;

#endif
