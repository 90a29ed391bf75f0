/* Read-write locks. As in the GNU C library readers come first, unless the lock was made with
 * PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP: then a reader waits while a writer does.
 *
 * ORDER. Who locks, for reading or writing, acquires what writers have released; who locks for
 * writing also what readers have. Readers learn nothing of one another. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>

#include "schedule/sync.h"

static const ambit__sync_class rwlock_class = {AMBIT__OBJECT_RWLOCK, "read-write lock",
                                               sizeof(pthread_rwlock_t)};

/* Of `state`. `count` is how often it is locked for reading, `owner` the writer. */
enum {
    DEPTHS = 0, /* a byte for each thread: how often it reads */
    WRITERS_FIRST = 1,
    LAST_UNLOCK = 2
};
_Static_assert(AMBIT__THREADS <= sizeof(uint64_t), "a byte for each thread");

#define DEPTH_MOST 255

static unsigned depth_of(const ambit__object *object, unsigned index) {
    return (unsigned)(object->state[DEPTHS] >> 8 * index & 0xff);
}

static void depth_add(ambit__object *object, int by) {
    uint64_t one = UINT64_C(1) << 8 * ambit__self->index;
    object->state[DEPTHS] += by > 0 ? one : -one;
    object->count += by;
}

/* What the readers have released: an object beside the lock's own. */
static ambit__vector *released_by_readers(const ambit__object *object) {
    return &ambit__object_at((const char *)object->address + 1, AMBIT__OBJECT_RWLOCK)->released;
}

static ambit__object *use(const void *rwlock, ambit__call call) {
    ambit__object *object = ambit__sync_use(rwlock, &rwlock_class, call);
    if (object->made) return object;
    object->made = true;
    object->state[WRITERS_FIRST] = ((const pthread_rwlock_t *)rwlock)->__data.__flags ==
                                   PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
    return object;
}

/* ---- Waiting --------------------------------------------------------------------------------- */

typedef struct rwlock_waiter {
    ambit__object *object;
    ambit__operation operation;
    bool writes;
} rwlock_waiter;

static bool may_lock(void *argument);

static bool writer_waits(const ambit__object *object) {
    for (unsigned i = 0; i < ambit__thread_count; i++) {
        const ambit__operation *next = ambit__threads[i].next;
        if (ambit__threads[i].state == AMBIT__THREAD_LIVE && next && next->ready == may_lock &&
            next->address == object->address && ((const rwlock_waiter *)next->argument)->writes)
            return true;
    }
    return false;
}

static bool is_free(const ambit__object *object, bool to_write) {
    if (object->owner) return false;
    if (to_write) return !object->count;
    return !object->state[WRITERS_FIRST] || !writer_waits(object);
}

/* One of those in whose way it is: the writer, or the reader with the lowest number. */
static unsigned holder_of(const ambit__object *object) {
    if (object->owner) return (unsigned)object->owner - 1;
    unsigned index = 0;
    while (index < AMBIT__THREADS - 1 && !depth_of(object, index)) index++;
    return index;
}

static bool may_lock(void *argument) {
    rwlock_waiter *waiter = argument;
    ambit__object *object = waiter->object;
    if (object->state[AMBIT__SYNC_GONE] || is_free(object, waiter->writes)) return true;
    /* For the report, should this be the last time that anyone asks. */
    waiter->operation.holder = (uint8_t)holder_of(object);
    waiter->operation.holder_site = object->site;
    waiter->operation.holder_ended = ambit__sync_owner_ended(object);
    return false;
}

/* ---- Locking --------------------------------------------------------------------------------- */

static int finish(ambit__operation *operation, int error) {
    operation->failed = error;
    ambit__filled(operation);
    return error;
}

static void take(ambit__object *object, bool to_write, ambit__call call) {
    ambit__acquire_from(&object->released);
    if (to_write) {
        ambit__acquire_from(released_by_readers(object));
        ambit__sync_own(object, call);
    } else {
        depth_add(object, 1);
        object->site = call.site;
    }
}

static int lock(const void *rwlock, bool to_write, int64_t deadline_ns, ambit__call call) {
    ambit__object *object = use(rwlock, call);
    if (ambit__sync_is_mine(object)) return EDEADLK;
    if (!to_write && depth_of(object, ambit__self->index) == DEPTH_MOST) return EAGAIN;
    rwlock_waiter waiter = {.object = object,
                            .writes = to_write,
                            .operation = {.kind = AMBIT__OP_LOCK,
                                          .name = call.name,
                                          .site = call.site,
                                          .address = rwlock,
                                          .writes = true,
                                          .ready = may_lock,
                                          .argument = &waiter,
                                          .deadline_ns = deadline_ns,
                                          .waits_for = "read-write lock",
                                          .holder_known = true}};
    ambit__step(&waiter.operation);
    ambit__sync_still(object, &rwlock_class, call);
    if (!is_free(object, to_write)) return finish(&waiter.operation, ETIMEDOUT);
    take(object, to_write, call);
    return 0;
}

/* A time that is none counts only for who would have to wait. */
static int lock_until(const void *rwlock, bool to_write, const struct timespec *time,
                      ambit__call call) {
    int64_t deadline_ns = 0;
    bool valid = ambit__sync_deadline(time, &deadline_ns);
    int error = lock(rwlock, to_write, deadline_ns, call);
    return error == ETIMEDOUT && !valid ? EINVAL : error;
}

/* It can be tried at any time, but changes nothing where it fails: as little as a read. */
static bool may_try(void *argument) {
    rwlock_waiter *waiter = argument;
    waiter->operation.writes = is_free(waiter->object, waiter->writes);
    return true;
}

static int try_lock(const void *rwlock, bool to_write, ambit__call call) {
    ambit__object *object = use(rwlock, call);
    rwlock_waiter waiter = {.object = object,
                            .writes = to_write,
                            .operation = {.kind = AMBIT__OP_TRY_LOCK,
                                          .name = call.name,
                                          .site = call.site,
                                          .address = rwlock,
                                          .writes = true,
                                          .ready = may_try,
                                          .argument = &waiter,
                                          .deadline_ns = AMBIT__FOREVER}};
    ambit__operation *operation = &waiter.operation;
    ambit__step(operation);
    ambit__sync_still(object, &rwlock_class, call);
    if (!is_free(object, to_write)) {
        ambit__spin_reads((uint64_t)ambit__ordinal(rwlock) << 32 | (uint32_t)object->count);
        return finish(operation, EBUSY);
    }
    if (!to_write && depth_of(object, ambit__self->index) == DEPTH_MOST)
        return finish(operation, EAGAIN);
    take(object, to_write, call);
    return 0;
}

static void unlock(const void *rwlock, ambit__call call) {
    ambit__object *object = use(rwlock, call);
    ambit__operation operation = {.kind = AMBIT__OP_UNLOCK,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = rwlock,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_still(object, &rwlock_class, call);
    if (ambit__sync_is_mine(object)) {
        ambit__sync_disown(object);
        ambit__release_to(&object->released);
    } else if (depth_of(object, ambit__self->index)) {
        depth_add(object, -1);
        ambit__release_to(released_by_readers(object));
    } else if (object->owner || object->count) {
        AMBIT__MISUSE(
            call, (uintptr_t)object->site,
            "%s: not this thread but thread %u holds the read-write lock (the other place)",
            call.name, holder_of(object));
    } else {
        AMBIT__MISUSE(
            call, object->state[LAST_UNLOCK], "%s: nobody holds the read-write lock%s", call.name,
            object->state[LAST_UNLOCK] ? "; it was last unlocked at the other place" : "");
    }
    object->state[LAST_UNLOCK] = (uintptr_t)call.site;
}

/* ---- In the place of pthread's --------------------------------------------------------------- */

int __real_pthread_rwlock_init(pthread_rwlock_t *, const pthread_rwlockattr_t *);
int __wrap_pthread_rwlock_init(pthread_rwlock_t *, const pthread_rwlockattr_t *);
int __wrap_pthread_rwlock_init(pthread_rwlock_t *rwlock, const pthread_rwlockattr_t *attributes) {
    if (!ambit__self) return __real_pthread_rwlock_init(rwlock, attributes);
    int kind = PTHREAD_RWLOCK_DEFAULT_NP;
    if (attributes) (void)pthread_rwlockattr_getkind_np(attributes, &kind);
    ambit__object *object =
        ambit__sync_make(rwlock, &rwlock_class, AMBIT__CALL("pthread_rwlock_init"));
    object->state[WRITERS_FIRST] = kind == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
    memset(released_by_readers(object), 0, sizeof(ambit__vector));
    return 0;
}

int __real_pthread_rwlock_destroy(pthread_rwlock_t *);
int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *);
int __wrap_pthread_rwlock_destroy(pthread_rwlock_t *rwlock) {
    if (!ambit__self) return __real_pthread_rwlock_destroy(rwlock);
    ambit__call call = AMBIT__CALL("pthread_rwlock_destroy");
    ambit__object *object = ambit__sync_end(rwlock, &rwlock_class, call);
    if (object->owner || object->count)
        AMBIT__MISUSE(call, (uintptr_t)object->site,
                      "%s: thread %u holds the read-write lock (the other place)", call.name,
                      holder_of(object));
    ambit__sync_unmake(object, &rwlock_class, call);
    return 0;
}

int __real_pthread_rwlock_rdlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_rdlock(pthread_rwlock_t *rwlock) {
    if (!ambit__self) return __real_pthread_rwlock_rdlock(rwlock);
    return lock(rwlock, false, AMBIT__FOREVER, AMBIT__CALL("pthread_rwlock_rdlock"));
}

int __real_pthread_rwlock_wrlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_wrlock(pthread_rwlock_t *rwlock) {
    if (!ambit__self) return __real_pthread_rwlock_wrlock(rwlock);
    return lock(rwlock, true, AMBIT__FOREVER, AMBIT__CALL("pthread_rwlock_wrlock"));
}

int __real_pthread_rwlock_tryrdlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_tryrdlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_tryrdlock(pthread_rwlock_t *rwlock) {
    if (!ambit__self) return __real_pthread_rwlock_tryrdlock(rwlock);
    return try_lock(rwlock, false, AMBIT__CALL("pthread_rwlock_tryrdlock"));
}

int __real_pthread_rwlock_trywrlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_trywrlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_trywrlock(pthread_rwlock_t *rwlock) {
    if (!ambit__self) return __real_pthread_rwlock_trywrlock(rwlock);
    return try_lock(rwlock, true, AMBIT__CALL("pthread_rwlock_trywrlock"));
}

int __real_pthread_rwlock_timedrdlock(pthread_rwlock_t *, const struct timespec *);
int __wrap_pthread_rwlock_timedrdlock(pthread_rwlock_t *, const struct timespec *);
int __wrap_pthread_rwlock_timedrdlock(pthread_rwlock_t *rwlock, const struct timespec *time) {
    if (!ambit__self) return __real_pthread_rwlock_timedrdlock(rwlock, time);
    return lock_until(rwlock, false, time, AMBIT__CALL("pthread_rwlock_timedrdlock"));
}

int __real_pthread_rwlock_timedwrlock(pthread_rwlock_t *, const struct timespec *);
int __wrap_pthread_rwlock_timedwrlock(pthread_rwlock_t *, const struct timespec *);
int __wrap_pthread_rwlock_timedwrlock(pthread_rwlock_t *rwlock, const struct timespec *time) {
    if (!ambit__self) return __real_pthread_rwlock_timedwrlock(rwlock, time);
    return lock_until(rwlock, true, time, AMBIT__CALL("pthread_rwlock_timedwrlock"));
}

int __real_pthread_rwlock_clockrdlock(pthread_rwlock_t *, clockid_t, const struct timespec *);
int __wrap_pthread_rwlock_clockrdlock(pthread_rwlock_t *, clockid_t, const struct timespec *);
int __wrap_pthread_rwlock_clockrdlock(pthread_rwlock_t *rwlock, clockid_t clock,
                                      const struct timespec *time) {
    if (!ambit__self) return __real_pthread_rwlock_clockrdlock(rwlock, clock, time);
    if (!ambit__sync_clock_is_known(clock)) return EINVAL;
    return lock_until(rwlock, false, time, AMBIT__CALL("pthread_rwlock_clockrdlock"));
}

int __real_pthread_rwlock_clockwrlock(pthread_rwlock_t *, clockid_t, const struct timespec *);
int __wrap_pthread_rwlock_clockwrlock(pthread_rwlock_t *, clockid_t, const struct timespec *);
int __wrap_pthread_rwlock_clockwrlock(pthread_rwlock_t *rwlock, clockid_t clock,
                                      const struct timespec *time) {
    if (!ambit__self) return __real_pthread_rwlock_clockwrlock(rwlock, clock, time);
    if (!ambit__sync_clock_is_known(clock)) return EINVAL;
    return lock_until(rwlock, true, time, AMBIT__CALL("pthread_rwlock_clockwrlock"));
}

int __real_pthread_rwlock_unlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *);
int __wrap_pthread_rwlock_unlock(pthread_rwlock_t *rwlock) {
    if (!ambit__self) return __real_pthread_rwlock_unlock(rwlock);
    unlock(rwlock, AMBIT__CALL("pthread_rwlock_unlock"));
    return 0;
}
