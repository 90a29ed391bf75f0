/* A lock that belongs to one thread, which takes it with two plain stores; others may take it as
 * well, and pay for it.
 *
 *     the owner                                    another (a visitor)
 *     O1  inside = 1                               V1  takes `lock`
 *         (light barrier)                          V2  visited = 1
 *     O2  not visited? then it has the lock            (heavy barrier)
 *         visited? inside = 0 (release), and       V3  waits until not inside (acquire);
 *         it takes `lock` like a visitor                then it has the lock
 *     O3  inside = 0 (release)                     V4  visited = 0 (release), gives `lock` back
 *
 * Dekker's algorithm, with membarrier(2) in the place of the owner's fence (the idea is in liburcu's
 * memb flavour). If O1 came before the heavy barrier, V3 sees it and waits; if after, O2 sees V2. Who
 * has the lock therefore excludes the other; O3 with V3 and V4 with O2, or `lock`, order what they
 * did.
 *
 * STAYING. The barrier costs a system call and interrupts every running thread of the process, so
 * a visitor who is to come again soon, or one of many, leaves `visited` set at V4: then the owner
 * takes `lock` as well, at the price of one locked instruction, and visitors make no barrier.
 * Without membarrier `visited` is set for ever. A child of fork() begins anew with ambit__bias_init.
 */
#ifndef AMBIT_BASE_BIAS_H
#define AMBIT_BASE_BIAS_H

#include "base/park.h"
#include "base/thread.h"

typedef struct AMBIT__CAPABILITY ambit__bias {
    _Atomic(uint32_t) inside;  /* the owner's */
    _Atomic(uint32_t) visited; /* under `lock`; the owner reads it without */
    ambit__spin lock;
} ambit__bias;

void ambit__bias_init(ambit__bias *bias);

static inline void ambit__bias_lock_owner(ambit__bias *bias) AMBIT__ACQUIRES(bias);
static inline void ambit__bias_unlock_owner(ambit__bias *bias) AMBIT__RELEASES(bias);

AMBIT__UNCHECKED static inline void ambit__bias_lock_owner(ambit__bias *bias) {
    ambit__store_relaxed(&bias->inside, 1); /* O1 */
    ambit__light_barrier();
    /* O2; acquire pairs with the release at V4. */
    if (ambit__likely(!ambit__load_acquire(&bias->visited))) return;
    ambit__store_release(&bias->inside, 0);
    ambit__spin_lock(&bias->lock);
}

AMBIT__UNCHECKED static inline void ambit__bias_unlock_owner(ambit__bias *bias) {
    if (ambit__likely(ambit__load_relaxed(&bias->inside))) /* its own word */
        ambit__store_release(&bias->inside, 0);            /* O3 */
    else
        ambit__spin_unlock(&bias->lock);
}

void ambit__bias_lock_visitor(ambit__bias *bias) AMBIT__ACQUIRES(bias);
/* `stays`: a visitor comes again soon. */
void ambit__bias_unlock_visitor(ambit__bias *bias, bool stays) AMBIT__RELEASES(bias);

#endif
