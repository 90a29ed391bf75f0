/* pthread's barriers and spin locks.
 *
 * ORDER. Each thread that leaves a barrier acquires what those released that came to it in the same
 * round. Spin locks are as mutexes. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>

#include "schedule/sync.h"

/* ---- Barriers -------------------------------------------------------------------------------- */

static const ambit__sync_class barrier_class = {AMBIT__OBJECT_BARRIER, "barrier",
                                                sizeof(pthread_barrier_t)};

/* Of `state`. `count` is how many have come in this round. */
enum { WANTED = 0, ROUND = 1 };

/* Where the C library keeps how many are wanted: of a barrier made before the schedule. */
enum { REAL_WANTED = 2 };

static ambit__object *barrier_use(const void *barrier, ambit__call call) {
    ambit__object *object = ambit__sync_use(barrier, &barrier_class, call);
    if (object->made) return object;
    object->made = true;
    object->state[WANTED] = ((const unsigned *)barrier)[REAL_WANTED];
    if (!object->state[WANTED])
        AMBIT__MISUSE(call, 0, "%s: this is no barrier: it was never initialised", call.name);
    return object;
}

/* What those give out who come in this round. Two rounds can be under way: some still leave the one
 * before, when others have come already. */
static ambit__vector *released_in(const ambit__object *object, uint64_t round) {
    const char *beside = (const char *)object->address + 1 + round % 2;
    return &ambit__object_at(beside, AMBIT__OBJECT_BARRIER)->released;
}

typedef struct barrier_waiter {
    const ambit__object *object;
    uint64_t round;
} barrier_waiter;

static bool round_is_over(void *argument) {
    const barrier_waiter *waiter = argument;
    return waiter->object->state[ROUND] != waiter->round;
}

static int barrier_wait(const void *barrier, ambit__call call) {
    ambit__object *object = barrier_use(barrier, call);
    ambit__operation come = {.kind = AMBIT__OP_WAIT,
                             .name = call.name,
                             .site = call.site,
                             .address = barrier,
                             .writes = true};
    ambit__step(&come);
    ambit__sync_still(object, &barrier_class, call);
    barrier_waiter waiter = {object, object->state[ROUND]};
    ambit__vector *released = released_in(object, waiter.round);
    if (!object->count) memset(released, 0, sizeof *released);
    ambit__release_to(released);
    object->site = call.site;
    if (++object->count == (int64_t)object->state[WANTED]) {
        object->count = 0;
        object->state[ROUND]++;
        ambit__acquire_from(released);
        return PTHREAD_BARRIER_SERIAL_THREAD;
    }
    ambit__operation leave = {.kind = AMBIT__OP_WAIT,
                              .name = "leave the barrier",
                              .site = call.site,
                              .address = barrier,
                              .writes = true,
                              .ready = round_is_over,
                              .argument = &waiter,
                              .deadline_ns = AMBIT__FOREVER,
                              .waits_for = "barrier"};
    ambit__step(&leave);
    ambit__acquire_from(released);
    return 0;
}

int __real_pthread_barrier_init(pthread_barrier_t *, const pthread_barrierattr_t *, unsigned);
int __wrap_pthread_barrier_init(pthread_barrier_t *, const pthread_barrierattr_t *, unsigned);
int __wrap_pthread_barrier_init(pthread_barrier_t *barrier, const pthread_barrierattr_t *attributes,
                                unsigned count) {
    if (!ambit__self) return __real_pthread_barrier_init(barrier, attributes, count);
    if (!count) return EINVAL;
    ambit__object *object =
        ambit__sync_make(barrier, &barrier_class, AMBIT__CALL("pthread_barrier_init"));
    object->state[WANTED] = count;
    return 0;
}

int __real_pthread_barrier_destroy(pthread_barrier_t *);
int __wrap_pthread_barrier_destroy(pthread_barrier_t *);
int __wrap_pthread_barrier_destroy(pthread_barrier_t *barrier) {
    if (!ambit__self) return __real_pthread_barrier_destroy(barrier);
    ambit__call call = AMBIT__CALL("pthread_barrier_destroy");
    ambit__object *object = ambit__sync_end(barrier, &barrier_class, call);
    if (object->count)
        AMBIT__MISUSE(call, (uintptr_t)object->site,
                      "%s: a thread still waits at the barrier (the other place)", call.name);
    ambit__sync_unmake(object, &barrier_class, call);
    return 0;
}

int __real_pthread_barrier_wait(pthread_barrier_t *);
int __wrap_pthread_barrier_wait(pthread_barrier_t *);
int __wrap_pthread_barrier_wait(pthread_barrier_t *barrier) {
    if (!ambit__self) return __real_pthread_barrier_wait(barrier);
    return barrier_wait(barrier, AMBIT__CALL("pthread_barrier_wait"));
}

/* ---- Spin locks ------------------------------------------------------------------------------ */

static const ambit__sync_class spin_class = {AMBIT__OBJECT_SPIN, "spin lock",
                                             sizeof(pthread_spinlock_t)};

enum { LAST_UNLOCK = 0, TURNS = 1 }; /* of `state` */

typedef struct spin_waiter {
    ambit__object *object;
    ambit__operation operation;
} spin_waiter;

static bool spin_is_free(void *argument) {
    spin_waiter *spinner = argument;
    if (!spinner->object->owner || spinner->object->state[AMBIT__SYNC_GONE]) return true;
    spinner->operation.holder = (uint8_t)(spinner->object->owner - 1);
    spinner->operation.holder_site = spinner->object->site;
    spinner->operation.holder_ended = ambit__sync_owner_ended(spinner->object);
    return false;
}

static void spin_take(ambit__object *object, ambit__call call) {
    ambit__acquire_from(&object->released);
    ambit__sync_own(object, call);
    object->state[TURNS]++;
}

int __real_pthread_spin_init(pthread_spinlock_t *, int);
int __wrap_pthread_spin_init(pthread_spinlock_t *, int);
int __wrap_pthread_spin_init(pthread_spinlock_t *lock, int shared) {
    if (!ambit__self) return __real_pthread_spin_init(lock, shared);
    (void)ambit__sync_make((const void *)lock, &spin_class, AMBIT__CALL("pthread_spin_init"));
    return 0;
}

int __real_pthread_spin_destroy(pthread_spinlock_t *);
int __wrap_pthread_spin_destroy(pthread_spinlock_t *);
int __wrap_pthread_spin_destroy(pthread_spinlock_t *lock) {
    if (!ambit__self) return __real_pthread_spin_destroy(lock);
    ambit__call call = AMBIT__CALL("pthread_spin_destroy");
    ambit__object *object = ambit__sync_end((const void *)lock, &spin_class, call);
    if (object->owner)
        AMBIT__MISUSE(call, (uintptr_t)object->site, "%s: %s holds the spin lock (the other place)",
                      call.name, ambit__sync_owner(object));
    ambit__sync_unmake(object, &spin_class, call);
    return 0;
}

int __real_pthread_spin_lock(pthread_spinlock_t *);
int __wrap_pthread_spin_lock(pthread_spinlock_t *);
int __wrap_pthread_spin_lock(pthread_spinlock_t *lock) {
    if (!ambit__self) return __real_pthread_spin_lock(lock);
    ambit__call call = AMBIT__CALL("pthread_spin_lock");
    ambit__object *object = ambit__sync_use((const void *)lock, &spin_class, call);
    spin_waiter spinner = {.object = object,
                           .operation = {.kind = AMBIT__OP_LOCK,
                                         .name = call.name,
                                         .site = call.site,
                                         .address = (const void *)lock,
                                         .writes = true,
                                         .ready = spin_is_free,
                                         .argument = &spinner,
                                         .deadline_ns = AMBIT__FOREVER,
                                         .waits_for = "spin lock",
                                         .holder_known = true}};
    ambit__step(&spinner.operation);
    ambit__sync_still(object, &spin_class, call);
    spin_take(object, call);
    return 0;
}

/* It can be tried at any time, but changes nothing where it fails: as little as a read. */
static bool may_try(void *argument) {
    spin_waiter *spinner = argument;
    spinner->operation.writes = !spinner->object->owner;
    return true;
}

int __real_pthread_spin_trylock(pthread_spinlock_t *);
int __wrap_pthread_spin_trylock(pthread_spinlock_t *);
int __wrap_pthread_spin_trylock(pthread_spinlock_t *lock) {
    if (!ambit__self) return __real_pthread_spin_trylock(lock);
    ambit__call call = AMBIT__CALL("pthread_spin_trylock");
    ambit__object *object = ambit__sync_use((const void *)lock, &spin_class, call);
    spin_waiter spinner = {.object = object,
                           .operation = {.kind = AMBIT__OP_TRY_LOCK,
                                         .name = call.name,
                                         .site = call.site,
                                         .address = (const void *)lock,
                                         .writes = true,
                                         .ready = may_try,
                                         .argument = &spinner,
                                         .deadline_ns = AMBIT__FOREVER}};
    ambit__step(&spinner.operation);
    ambit__sync_still(object, &spin_class, call);
    spinner.operation.failed = object->owner;
    ambit__filled(&spinner.operation);
    if (!object->owner) {
        spin_take(object, call);
        return 0;
    }
    ambit__spin_reads((uint64_t)ambit__ordinal((const void *)lock) << 32 |
                      (uint32_t)object->state[TURNS]);
    return EBUSY;
}

int __real_pthread_spin_unlock(pthread_spinlock_t *);
int __wrap_pthread_spin_unlock(pthread_spinlock_t *);
int __wrap_pthread_spin_unlock(pthread_spinlock_t *lock) {
    if (!ambit__self) return __real_pthread_spin_unlock(lock);
    ambit__call call = AMBIT__CALL("pthread_spin_unlock");
    ambit__object *object = ambit__sync_use((const void *)lock, &spin_class, call);
    ambit__operation operation = {.kind = AMBIT__OP_UNLOCK,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = (const void *)lock,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_still(object, &spin_class, call);
    if (object->owner && !ambit__sync_is_mine(object))
        AMBIT__MISUSE(call, (uintptr_t)object->site,
                      "%s: not this thread but %s holds the spin lock (the other place)", call.name,
                      ambit__sync_owner(object));
    if (!object->owner)
        AMBIT__MISUSE(
            call, object->state[LAST_UNLOCK], "%s: nobody holds the spin lock%s", call.name,
            object->state[LAST_UNLOCK] ? "; it was last unlocked at the other place" : "");
    ambit__sync_disown(object);
    object->state[LAST_UNLOCK] = (uintptr_t)call.site;
    ambit__release_to(&object->released);
    return 0;
}
