/* Mutexes: normal, recursive, error-checking, robust. Adaptive ones are normal; priorities do not
 * count.
 *
 * A normal mutex that its owner locks again waits for ever, and so is a dead lock. What POSIX calls
 * undefined fails the schedule; what it gives an error for returns that error.
 *
 * ORDER. A lock acquires what all unlocks before it have released. A trylock that fails orders
 * nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>

#include "schedule/sync.h"

static const ambit__sync_class mutex_class = {AMBIT__OBJECT_MUTEX, "mutex",
                                              sizeof(pthread_mutex_t)};

enum { FLAGS = 0, LAST_UNLOCK = 1, TURNS = 2 }; /* of `state` */
enum {
    KIND_MASK = 3,
    ROBUST = 4,
    INCONSISTENT = 8, /* its owner has ended, and the next one has not said that it is in order */
    NOT_RECOVERABLE = 16
};

/* Of the C library's mutexes: bits of __kind. */
enum { REAL_KIND = 3, REAL_ROBUST = 16, REAL_PROTECTED = 64, REAL_ALL = 0x3f3 };

/* A mutex that this schedule has not made: what a static initialiser, or a call before it, has
 * left. */
static void adopt(ambit__object *object, ambit__call call) {
    const pthread_mutex_t *mutex = object->address;
    int kind = mutex->__data.__kind;
    if (kind & ~REAL_ALL)
        AMBIT__MISUSE(call, 0, "%s: this is no mutex: it was never initialised", call.name);
    if (mutex->__data.__lock && !(kind & REAL_PROTECTED))
        AMBIT__MISUSE(call, 0, "%s: the mutex was locked before the schedule began", call.name);
    object->made = true;
    if ((kind & REAL_KIND) == PTHREAD_MUTEX_RECURSIVE_NP)
        object->state[FLAGS] = AMBIT__MUTEX_RECURSIVE;
    if ((kind & REAL_KIND) == PTHREAD_MUTEX_ERRORCHECK_NP)
        object->state[FLAGS] = AMBIT__MUTEX_ERRORCHECK;
    if (kind & REAL_ROBUST) object->state[FLAGS] |= ROBUST;
}

static ambit__object *use(const void *mutex, ambit__call call) {
    ambit__object *object = ambit__sync_use(mutex, &mutex_class, call);
    if (!object->made) adopt(object, call);
    return object;
}

static ambit__mutex_kind kind_of(const ambit__object *object) {
    return (ambit__mutex_kind)(object->state[FLAGS] & KIND_MASK);
}

/* Its owner has ended and it tells so. */
static bool is_orphan(const ambit__object *object) {
    return object->owner && object->state[FLAGS] & ROBUST && ambit__sync_owner_ended(object);
}

static bool is_free(const ambit__object *object) {
    return !object->owner || is_orphan(object) || object->state[AMBIT__SYNC_GONE];
}

/* ---- Locking --------------------------------------------------------------------------------- */

typedef struct mutex_waiter {
    ambit__object *object;
    ambit__operation operation;
    bool answers; /* the owner itself, and it is told so at once */
} mutex_waiter;

static bool may_lock(void *argument) {
    mutex_waiter *waiter = argument;
    /* For the report, should this be the last time that anyone asks. */
    if (waiter->object->owner) {
        waiter->operation.holder = (uint8_t)(waiter->object->owner - 1);
        waiter->operation.holder_site = waiter->object->site;
        waiter->operation.holder_ended = ambit__sync_owner_ended(waiter->object);
    }
    return waiter->answers || is_free(waiter->object);
}

/* It is this thread's, by a call of whatever kind. */
static int take(ambit__object *object, ambit__call call) {
    bool orphan = is_orphan(object);
    ambit__acquire_from(&object->released);
    if (orphan) ambit__sync_acquire_from_owner(object);
    if (object->state[FLAGS] & NOT_RECOVERABLE) return ENOTRECOVERABLE;
    ambit__sync_own(object, call);
    object->count = 1;
    object->state[TURNS]++;
    if (orphan) object->state[FLAGS] |= INCONSISTENT;
    return orphan ? EOWNERDEAD : 0;
}

/* The owner itself, not of a normal one. */
static int take_again(ambit__object *object) {
    if (kind_of(object) == AMBIT__MUTEX_ERRORCHECK) return EDEADLK;
    if (object->count == UINT32_MAX) return EAGAIN;
    object->count++;
    return 0;
}

static int finish(ambit__operation *operation, int error) {
    operation->failed = error && error != EOWNERDEAD;
    ambit__filled(operation);
    return error;
}

int ambit__mutex_lock(const void *mutex, int64_t deadline_ns, ambit__call call) {
    ambit__object *object = use(mutex, call);
    bool again = ambit__sync_is_mine(object) && kind_of(object) != AMBIT__MUTEX_NORMAL;
    mutex_waiter waiter = {.object = object,
                           .answers = again,
                           .operation = {.kind = AMBIT__OP_LOCK,
                                         .name = call.name,
                                         .site = call.site,
                                         .address = mutex,
                                         .writes = true,
                                         .ready = may_lock,
                                         .argument = &waiter,
                                         .deadline_ns = deadline_ns,
                                         .waits_for = "mutex",
                                         .holder_known = true}};
    ambit__step(&waiter.operation);
    ambit__sync_still(object, &mutex_class, call);
    if (again) return finish(&waiter.operation, take_again(object));
    if (!is_free(object)) return finish(&waiter.operation, ETIMEDOUT);
    return finish(&waiter.operation, take(object, call));
}

/* It can be tried at any time, but changes nothing where it fails: as little as a read. */
static bool may_try(void *argument) {
    mutex_waiter *waiter = argument;
    waiter->operation.writes = waiter->answers || is_free(waiter->object);
    return true;
}

int ambit__mutex_trylock(const void *mutex, ambit__call call) {
    ambit__object *object = use(mutex, call);
    bool again = ambit__sync_is_mine(object) && kind_of(object) == AMBIT__MUTEX_RECURSIVE;
    mutex_waiter waiter = {.object = object,
                           .answers = again,
                           .operation = {.kind = AMBIT__OP_TRY_LOCK,
                                         .name = call.name,
                                         .site = call.site,
                                         .address = mutex,
                                         .writes = true,
                                         .ready = may_try,
                                         .argument = &waiter,
                                         .deadline_ns = AMBIT__FOREVER}};
    ambit__operation *operation = &waiter.operation;
    ambit__step(operation);
    ambit__sync_still(object, &mutex_class, call);
    if (is_free(object)) return finish(operation, take(object, call));
    if (again) return finish(operation, take_again(object));
    /* A loop of these waits for whoever has it; when another has taken it since, it has seen
     * news. */
    ambit__spin_reads((uint64_t)ambit__ordinal(mutex) << 32 | (uint32_t)object->state[TURNS]);
    return finish(operation, EBUSY);
}

/* ---- Unlocking ------------------------------------------------------------------------------- */

/* Not this thread's: EPERM where POSIX says so, else the schedule fails. */
static int not_held(const ambit__object *object, ambit__call call) {
    if (kind_of(object) != AMBIT__MUTEX_NORMAL || object->state[FLAGS] & ROBUST) return EPERM;
    if (object->owner)
        AMBIT__MISUSE(call, (uintptr_t)object->site,
                      "%s: not this thread but %s holds the mutex"
                      " (the other place)",
                      call.name, ambit__sync_owner(object));
    if (object->state[LAST_UNLOCK])
        AMBIT__MISUSE(call, object->state[LAST_UNLOCK],
                      "%s: nobody holds the mutex; it was last unlocked at the other place",
                      call.name);
    AMBIT__MISUSE(call, 0, "%s: nobody has ever locked the mutex", call.name);
}

int ambit__mutex_check_held(const void *mutex, ambit__call call) {
    const ambit__object *object = use(mutex, call);
    if (!ambit__sync_is_mine(object)) return not_held(object, call);
    if (object->count > 1)
        AMBIT__MISUSE(
            call, (uintptr_t)object->site,
            "%s: this thread holds the mutex %lld times: waiting would give it back only once",
            call.name, (long long)object->count);
    return 0;
}

int ambit__mutex_unlock(const void *mutex, ambit__call call) {
    ambit__object *object = use(mutex, call);
    ambit__operation operation = {.kind = AMBIT__OP_UNLOCK,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = mutex,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_still(object, &mutex_class, call);
    if (!ambit__sync_is_mine(object)) return finish(&operation, not_held(object, call));
    if (--object->count) return 0;
    if (object->state[FLAGS] & INCONSISTENT) object->state[FLAGS] |= NOT_RECOVERABLE;
    ambit__sync_disown(object);
    object->state[LAST_UNLOCK] = (uintptr_t)call.site;
    ambit__release_to(&object->released);
    return 0;
}

/* ---- Making and unmaking --------------------------------------------------------------------- */

void ambit__mutex_make(const void *mutex, ambit__mutex_kind kind, bool robust, ambit__call call) {
    ambit__object *object = ambit__sync_make(mutex, &mutex_class, call);
    object->state[FLAGS] = (uint64_t)kind | (robust ? ROBUST : 0);
}

void ambit__mutex_unmake(const void *mutex, ambit__call call) {
    (void)use(mutex, call);
    ambit__object *object = ambit__sync_end(mutex, &mutex_class, call);
    if (object->owner && !is_orphan(object))
        AMBIT__MISUSE(call, (uintptr_t)object->site, "%s: %s holds the mutex (the other place)",
                      call.name, ambit__sync_owner(object));
    ambit__sync_unmake(object, &mutex_class, call);
}

/* ---- In the place of pthread's --------------------------------------------------------------- */

int __real_pthread_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int __wrap_pthread_mutex_init(pthread_mutex_t *, const pthread_mutexattr_t *);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attributes) {
    if (!ambit__self) return __real_pthread_mutex_init(mutex, attributes);
    int type = PTHREAD_MUTEX_DEFAULT, robust = PTHREAD_MUTEX_STALLED;
    if (attributes) {
        (void)pthread_mutexattr_gettype(attributes, &type);
        (void)pthread_mutexattr_getrobust(attributes, &robust);
    }
    ambit__mutex_make(mutex,
                      type == PTHREAD_MUTEX_RECURSIVE    ? AMBIT__MUTEX_RECURSIVE
                      : type == PTHREAD_MUTEX_ERRORCHECK ? AMBIT__MUTEX_ERRORCHECK
                                                         : AMBIT__MUTEX_NORMAL,
                      robust == PTHREAD_MUTEX_ROBUST, AMBIT__CALL("pthread_mutex_init"));
    return 0;
}

int __real_pthread_mutex_destroy(pthread_mutex_t *);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *);
int __wrap_pthread_mutex_destroy(pthread_mutex_t *mutex) {
    if (!ambit__self) return __real_pthread_mutex_destroy(mutex);
    ambit__mutex_unmake(mutex, AMBIT__CALL("pthread_mutex_destroy"));
    return 0;
}

int __real_pthread_mutex_lock(pthread_mutex_t *);
int __wrap_pthread_mutex_lock(pthread_mutex_t *);
int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
    if (!ambit__self) return __real_pthread_mutex_lock(mutex);
    return ambit__mutex_lock(mutex, AMBIT__FOREVER, AMBIT__CALL("pthread_mutex_lock"));
}

int __real_pthread_mutex_trylock(pthread_mutex_t *);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex) {
    if (!ambit__self) return __real_pthread_mutex_trylock(mutex);
    return ambit__mutex_trylock(mutex, AMBIT__CALL("pthread_mutex_trylock"));
}

/* A time that is none counts only for who would have to wait. */
static int lock_until(pthread_mutex_t *mutex, const struct timespec *time, ambit__call call) {
    int64_t deadline_ns = 0;
    bool valid = ambit__sync_deadline(time, &deadline_ns);
    int error = ambit__mutex_lock(mutex, deadline_ns, call);
    return error == ETIMEDOUT && !valid ? EINVAL : error;
}

int __real_pthread_mutex_timedlock(pthread_mutex_t *, const struct timespec *);
int __wrap_pthread_mutex_timedlock(pthread_mutex_t *, const struct timespec *);
int __wrap_pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *time) {
    if (!ambit__self) return __real_pthread_mutex_timedlock(mutex, time);
    return lock_until(mutex, time, AMBIT__CALL("pthread_mutex_timedlock"));
}

int __real_pthread_mutex_clocklock(pthread_mutex_t *, clockid_t, const struct timespec *);
int __wrap_pthread_mutex_clocklock(pthread_mutex_t *, clockid_t, const struct timespec *);
int __wrap_pthread_mutex_clocklock(pthread_mutex_t *mutex, clockid_t clock,
                                   const struct timespec *time) {
    if (!ambit__self) return __real_pthread_mutex_clocklock(mutex, clock, time);
    if (!ambit__sync_clock_is_known(clock)) return EINVAL;
    return lock_until(mutex, time, AMBIT__CALL("pthread_mutex_clocklock"));
}

int __real_pthread_mutex_unlock(pthread_mutex_t *);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (!ambit__self) return __real_pthread_mutex_unlock(mutex);
    return ambit__mutex_unlock(mutex, AMBIT__CALL("pthread_mutex_unlock"));
}

int __real_pthread_mutex_consistent(pthread_mutex_t *);
int __wrap_pthread_mutex_consistent(pthread_mutex_t *);
int __wrap_pthread_mutex_consistent(pthread_mutex_t *mutex) {
    if (!ambit__self) return __real_pthread_mutex_consistent(mutex);
    ambit__object *object = use(mutex, AMBIT__CALL("pthread_mutex_consistent"));
    if (!ambit__sync_is_mine(object) || !(object->state[FLAGS] & INCONSISTENT)) return EINVAL;
    object->state[FLAGS] &= ~(uint64_t)INCONSISTENT;
    return 0;
}
