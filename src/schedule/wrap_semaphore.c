/* Semaphores without a name.
 *
 * ORDER. Who takes from a semaphore acquires what all posts before it have released, as each of
 * them is a read-modify-write of one counter. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <semaphore.h>

#include "schedule/sync.h"

static const ambit__sync_class semaphore_class = {AMBIT__OBJECT_SEMAPHORE, "semaphore",
                                                  sizeof(sem_t)};

int __real_sem_getvalue(sem_t *, int *);

/* `count` is its value. */
static ambit__object *semaphore_use(sem_t *semaphore, ambit__call call) {
    ambit__object *object = ambit__sync_use(semaphore, &semaphore_class, call);
    if (object->made) return object;
    int value = 0; /* made before the schedule */
    (void)__real_sem_getvalue(semaphore, &value);
    object->made = true;
    object->count = value;
    return object;
}

static int answer(ambit__operation *operation, int error) {
    operation->failed = error;
    ambit__filled(operation);
    if (!error) return 0;
    errno = error;
    return -1;
}

static bool semaphore_is_up(void *argument) {
    const ambit__object *object = argument;
    return object->count > 0 || object->state[AMBIT__SYNC_GONE];
}

static void semaphore_take(ambit__object *object, ambit__call call) {
    object->count--;
    object->site = call.site;
    ambit__acquire_from(&object->released);
}

static int semaphore_wait(sem_t *semaphore, int64_t deadline_ns, ambit__call call) {
    ambit__object *object = semaphore_use(semaphore, call);
    ambit__operation operation = {.kind = AMBIT__OP_LOCK,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = semaphore,
                                  .writes = true,
                                  .ready = semaphore_is_up,
                                  .argument = object,
                                  .deadline_ns = deadline_ns,
                                  .waits_for = "semaphore"};
    ambit__step(&operation);
    ambit__sync_still(object, &semaphore_class, call);
    if (!object->count) return answer(&operation, ETIMEDOUT);
    semaphore_take(object, call);
    return answer(&operation, 0);
}

static int semaphore_wait_until(sem_t *semaphore, const struct timespec *time, ambit__call call) {
    int64_t deadline_ns = 0;
    bool valid = ambit__sync_deadline(time, &deadline_ns);
    int result = semaphore_wait(semaphore, deadline_ns, call);
    if (result && !valid) errno = EINVAL; /* counts only for who would have to wait */
    return result;
}

typedef struct semaphore_try {
    const ambit__object *object;
    ambit__operation operation;
} semaphore_try;

/* It can be tried at any time, but changes nothing where it fails: as little as a read. */
static bool may_try(void *argument) {
    semaphore_try *try = argument;
    try->operation.writes = try->object->count > 0;
    return true;
}

static int semaphore_trywait(sem_t *semaphore, ambit__call call) {
    ambit__object *object = semaphore_use(semaphore, call);
    semaphore_try try = {.object = object,
                         .operation = {.kind = AMBIT__OP_TRY_LOCK,
                                       .name = call.name,
                                       .site = call.site,
                                       .address = semaphore,
                                       .writes = true,
                                       .ready = may_try,
                                       .argument = &try,
                                       .deadline_ns = AMBIT__FOREVER}};
    ambit__step(&try.operation);
    ambit__sync_still(object, &semaphore_class, call);
    if (!object->count) {
        ambit__spin_reads((uint64_t)ambit__ordinal(semaphore) << 32);
        return answer(&try.operation, EAGAIN);
    }
    semaphore_take(object, call);
    return answer(&try.operation, 0);
}

static int semaphore_post(sem_t *semaphore, ambit__call call) {
    ambit__object *object = semaphore_use(semaphore, call);
    ambit__operation operation = {.kind = AMBIT__OP_UNLOCK,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = semaphore,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_still(object, &semaphore_class, call);
    if (object->count == SEM_VALUE_MAX) return answer(&operation, EOVERFLOW);
    object->count++;
    operation.value = (uint64_t)object->count;
    ambit__release_to(&object->released);
    return answer(&operation, 0);
}

static bool semaphore_is_waited_for(const ambit__object *object, const void **site) {
    for (unsigned i = 0; i < ambit__thread_count; i++) {
        const ambit__operation *next = ambit__threads[i].next;
        if (ambit__threads[i].state != AMBIT__THREAD_LIVE || !next) continue;
        if (next->ready != semaphore_is_up || next->argument != object) continue;
        *site = next->site;
        return true;
    }
    return false;
}

int __real_sem_init(sem_t *, int, unsigned);
int __wrap_sem_init(sem_t *, int, unsigned);
int __wrap_sem_init(sem_t *semaphore, int shared, unsigned value) {
    if (!ambit__self) return __real_sem_init(semaphore, shared, value);
    if (value > SEM_VALUE_MAX) {
        errno = EINVAL;
        return -1;
    }
    ambit__sync_make(semaphore, &semaphore_class, AMBIT__CALL("sem_init"))->count = value;
    return 0;
}

int __real_sem_destroy(sem_t *);
int __wrap_sem_destroy(sem_t *);
int __wrap_sem_destroy(sem_t *semaphore) {
    if (!ambit__self) return __real_sem_destroy(semaphore);
    ambit__call call = AMBIT__CALL("sem_destroy");
    const void *site = NULL;
    ambit__object *object = ambit__sync_end(semaphore, &semaphore_class, call);
    /* Who has been posted for is as good as gone. */
    if (!object->count && semaphore_is_waited_for(object, &site))
        AMBIT__MISUSE(call, site, "%s: a thread still waits for the semaphore (the other place)",
                      call.name);
    ambit__sync_unmake(object, &semaphore_class, call);
    return 0;
}

int __real_sem_wait(sem_t *);
int __wrap_sem_wait(sem_t *);
int __wrap_sem_wait(sem_t *semaphore) {
    if (!ambit__self) return __real_sem_wait(semaphore);
    return semaphore_wait(semaphore, AMBIT__FOREVER, AMBIT__CALL("sem_wait"));
}

int __real_sem_trywait(sem_t *);
int __wrap_sem_trywait(sem_t *);
int __wrap_sem_trywait(sem_t *semaphore) {
    if (!ambit__self) return __real_sem_trywait(semaphore);
    return semaphore_trywait(semaphore, AMBIT__CALL("sem_trywait"));
}

int __real_sem_timedwait(sem_t *, const struct timespec *);
int __wrap_sem_timedwait(sem_t *, const struct timespec *);
int __wrap_sem_timedwait(sem_t *semaphore, const struct timespec *time) {
    if (!ambit__self) return __real_sem_timedwait(semaphore, time);
    return semaphore_wait_until(semaphore, time, AMBIT__CALL("sem_timedwait"));
}

int __real_sem_clockwait(sem_t *, clockid_t, const struct timespec *);
int __wrap_sem_clockwait(sem_t *, clockid_t, const struct timespec *);
int __wrap_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *time) {
    if (!ambit__self) return __real_sem_clockwait(semaphore, clock, time);
    if (!ambit__sync_clock_is_known(clock)) {
        errno = EINVAL;
        return -1;
    }
    return semaphore_wait_until(semaphore, time, AMBIT__CALL("sem_clockwait"));
}

int __real_sem_post(sem_t *);
int __wrap_sem_post(sem_t *);
int __wrap_sem_post(sem_t *semaphore) {
    if (!ambit__self) return __real_sem_post(semaphore);
    return semaphore_post(semaphore, AMBIT__CALL("sem_post"));
}

int __wrap_sem_getvalue(sem_t *, int *);
int __wrap_sem_getvalue(sem_t *semaphore, int *value) {
    if (!ambit__self) return __real_sem_getvalue(semaphore, value);
    ambit__call call = AMBIT__CALL("sem_getvalue");
    const ambit__object *object = semaphore_use(semaphore, call);
    ambit__operation operation = {
        .kind = AMBIT__OP_CALL, .name = call.name, .site = call.site, .address = semaphore};
    ambit__step(&operation);
    ambit__sync_still(object, &semaphore_class, call);
    ambit__spin_reads((uint64_t)ambit__ordinal(semaphore) << 32 | (uint64_t)object->count);
    ambit__sync_result(value, sizeof *value, call);
    *value = (int)object->count;
    operation.value = (uint64_t)object->count;
    ambit__filled(&operation);
    return 0;
}

__attribute__((noreturn)) static void no_named(const char *name, const void *site) {
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                "%s: semaphores with names are not known to a schedule", name);
}

sem_t *__real_sem_open(const char *, int, ...);
sem_t *__wrap_sem_open(const char *, int, mode_t, unsigned);
sem_t *__wrap_sem_open(const char *name, int flags, mode_t mode, unsigned value) {
    if (!ambit__self) return __real_sem_open(name, flags, mode, value);
    no_named("sem_open", __builtin_return_address(0));
}

int __real_sem_close(sem_t *);
int __wrap_sem_close(sem_t *);
int __wrap_sem_close(sem_t *semaphore) {
    if (ambit__self) no_named("sem_close", __builtin_return_address(0));
    return __real_sem_close(semaphore);
}

int __real_sem_unlink(const char *);
int __wrap_sem_unlink(const char *);
int __wrap_sem_unlink(const char *name) {
    if (ambit__self) no_named("sem_unlink", __builtin_return_address(0));
    return __real_sem_unlink(name);
}
