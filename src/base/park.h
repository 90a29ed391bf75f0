/* Waiting: the one place where a thread of ambit's sleeps, and the locks built on it. */
#ifndef AMBIT_BASE_PARK_H
#define AMBIT_BASE_PARK_H

#include "ambit/clock.h"
#include "base/atomic.h"
#include "base/rank.h"

/* Lock annotations, checked by clang. */
#ifdef __clang__
#define AMBIT__CAPABILITY __attribute__((capability("mutex")))
#define AMBIT__ACQUIRES(lock) __attribute__((acquire_capability(lock)))
#define AMBIT__RELEASES(lock) __attribute__((release_capability(lock)))
#define AMBIT__REQUIRES(lock) __attribute__((requires_capability(lock)))
#define AMBIT__GUARDED_BY(lock) __attribute__((guarded_by(lock)))
#define AMBIT__UNCHECKED __attribute__((no_thread_safety_analysis))
#else
#define AMBIT__CAPABILITY
#define AMBIT__ACQUIRES(lock)
#define AMBIT__RELEASES(lock)
#define AMBIT__REQUIRES(lock)
#define AMBIT__GUARDED_BY(lock)
#define AMBIT__UNCHECKED
#endif

/* Sleeps while `*word == expected`, until unparked or the absolute time. May return early for no
 * reason: the caller looks again in a loop. False when the time has come. EINTR is not a reason. */
bool ambit__park_until(_Atomic(uint32_t) *word, uint32_t expected, int64_t deadline_ns);
/* Wakes up to `count` threads parked on `word`. Touches nothing but the address, so the memory may
 * be gone already. Never blocks. */
void ambit__unpark(_Atomic(uint32_t) *word, uint32_t count);
#define AMBIT__ALL INT32_MAX

/* One step of waiting for something that another running thread is about to do: pauses the
 * processor, then, from the `attempt` at which that is hopeless, sleeps for a little. */
void ambit__backoff(unsigned attempt);

/* A lock for a few instructions that never block, allocate or call out. An uncontended pair is one
 * locked instruction. Zero is unlocked. */
typedef struct AMBIT__CAPABILITY ambit__spin {
    _Atomic(uint32_t) locked;
#ifdef AMBIT_TESTING
    ambit__rank rank;
#endif
} ambit__spin;

void ambit__spin_wait(ambit__spin *lock);

static inline void ambit__spin_lock(ambit__spin *lock) AMBIT__ACQUIRES(lock);
static inline void ambit__spin_unlock(ambit__spin *lock) AMBIT__RELEASES(lock);

AMBIT__UNCHECKED static inline void ambit__spin_lock(ambit__spin *lock) {
    ambit__rank_wants(lock->rank);
    /* Acquire pairs with the release in ambit__spin_unlock. */
    if (ambit__unlikely(ambit__exchange_acquire(&lock->locked, 1))) ambit__spin_wait(lock);
    ambit__rank_took(lock->rank);
}
AMBIT__UNCHECKED static inline void ambit__spin_unlock(ambit__spin *lock) {
    ambit__rank_gave(lock->rank);
    ambit__store_release(&lock->locked, 0);
}
/* True if it was free, and then it is locked. */
AMBIT__UNCHECKED static inline bool ambit__spin_try(ambit__spin *lock) {
    if (ambit__exchange_acquire(&lock->locked, 1)) return false;
    ambit__rank_took(lock->rank);
    return true;
}
/* Opens it whoever has it: in a child of fork(), where that thread is not. */
static inline void ambit__spin_reset(ambit__spin *lock) { ambit__store_relaxed(&lock->locked, 0); }

/* A mutex that parks (Drepper, "Futexes are tricky", the third one: 0 free, 1 locked, 2 contended).
 */
typedef struct AMBIT__CAPABILITY ambit__mutex {
    _Atomic(uint32_t) state;
#ifdef AMBIT_TESTING
    ambit__rank rank;
#endif
} ambit__mutex;

void ambit__mutex_lock(ambit__mutex *mutex) AMBIT__ACQUIRES(mutex);
void ambit__mutex_unlock(ambit__mutex *mutex) AMBIT__RELEASES(mutex);

#endif
