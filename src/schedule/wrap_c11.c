/* <threads.h>: the same as pthreads, in C11's words. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <threads.h>

#include "schedule/sync.h"

static int status_of(int error) {
    switch (error) {
    case 0:
        return thrd_success;
    case ENOMEM:
        return thrd_nomem;
    case ETIMEDOUT:
        return thrd_timedout;
    case EBUSY:
        return thrd_busy;
    default:
        return thrd_error;
    }
}

/* ---- Threads --------------------------------------------------------------------------------- */

int __real_thrd_create(thrd_t *, thrd_start_t, void *);
int __wrap_thrd_create(thrd_t *, thrd_start_t, void *);
int __wrap_thrd_create(thrd_t *handle, thrd_start_t start, void *argument) {
    if (!ambit__self) return __real_thrd_create(handle, start, argument);
    /* It returns an int in the register where a pointer would be: join looks at no more than that.
     * The C library does the same. */
    void *(*as_pthread)(void *) = (void *(*)(void *))(void (*)(void))start;
    return status_of(
        ambit__thread_make(handle, false, as_pthread, argument, AMBIT__CALL("thrd_create")));
}

int __real_thrd_join(thrd_t, int *);
int __wrap_thrd_join(thrd_t, int *);
int __wrap_thrd_join(thrd_t handle, int *result) {
    if (!ambit__self) return __real_thrd_join(handle, result);
    ambit__call call = AMBIT__CALL("thrd_join");
    ambit__schedule_thread *thread = ambit__thread_of(handle);
    int error = ambit__thread_join(handle, NULL, AMBIT__FOREVER, call);
    if (!error && result) {
        ambit__sync_result(result, sizeof *result, call);
        *result = (int)(intptr_t)thread->returned;
    }
    return status_of(error);
}

int __real_thrd_detach(thrd_t);
int __wrap_thrd_detach(thrd_t);
int __wrap_thrd_detach(thrd_t handle) {
    if (!ambit__self) return __real_thrd_detach(handle);
    ambit__thread_detach(handle, AMBIT__CALL("thrd_detach"));
    return thrd_success;
}

thrd_t __real_thrd_current(void);
thrd_t __wrap_thrd_current(void);
thrd_t __wrap_thrd_current(void) {
    return ambit__self ? ambit__self->handle : __real_thrd_current();
}

void __real_thrd_exit(int) __attribute__((noreturn));
void __wrap_thrd_exit(int) __attribute__((noreturn));
void __wrap_thrd_exit(int result) {
    if (!ambit__self) __real_thrd_exit(result);
    ambit__thread_exit((void *)(intptr_t)result);
}

/* ---- Mutexes --------------------------------------------------------------------------------- */

int __real_mtx_init(mtx_t *, int);
int __wrap_mtx_init(mtx_t *, int);
int __wrap_mtx_init(mtx_t *mutex, int type) {
    if (!ambit__self) return __real_mtx_init(mutex, type);
    if (type & ~(mtx_plain | mtx_timed | mtx_recursive)) return thrd_error;
    ambit__mutex_make(mutex, type & mtx_recursive ? AMBIT__MUTEX_RECURSIVE : AMBIT__MUTEX_NORMAL,
                      false, AMBIT__CALL("mtx_init"));
    return thrd_success;
}

void __real_mtx_destroy(mtx_t *);
void __wrap_mtx_destroy(mtx_t *);
void __wrap_mtx_destroy(mtx_t *mutex) {
    if (ambit__self)
        ambit__mutex_unmake(mutex, AMBIT__CALL("mtx_destroy"));
    else
        __real_mtx_destroy(mutex);
}

int __real_mtx_lock(mtx_t *);
int __wrap_mtx_lock(mtx_t *);
int __wrap_mtx_lock(mtx_t *mutex) {
    if (!ambit__self) return __real_mtx_lock(mutex);
    return status_of(ambit__mutex_lock(mutex, AMBIT__FOREVER, AMBIT__CALL("mtx_lock")));
}

int __real_mtx_timedlock(mtx_t *, const struct timespec *);
int __wrap_mtx_timedlock(mtx_t *, const struct timespec *);
int __wrap_mtx_timedlock(mtx_t *mutex, const struct timespec *time) {
    if (!ambit__self) return __real_mtx_timedlock(mutex, time);
    int64_t deadline_ns = 0;
    bool valid = ambit__sync_deadline(time, &deadline_ns);
    int error = ambit__mutex_lock(mutex, deadline_ns, AMBIT__CALL("mtx_timedlock"));
    return status_of(error == ETIMEDOUT && !valid ? EINVAL : error);
}

int __real_mtx_trylock(mtx_t *);
int __wrap_mtx_trylock(mtx_t *);
int __wrap_mtx_trylock(mtx_t *mutex) {
    if (!ambit__self) return __real_mtx_trylock(mutex);
    return status_of(ambit__mutex_trylock(mutex, AMBIT__CALL("mtx_trylock")));
}

int __real_mtx_unlock(mtx_t *);
int __wrap_mtx_unlock(mtx_t *);
int __wrap_mtx_unlock(mtx_t *mutex) {
    if (!ambit__self) return __real_mtx_unlock(mutex);
    return status_of(ambit__mutex_unlock(mutex, AMBIT__CALL("mtx_unlock")));
}

/* ---- Conditions ------------------------------------------------------------------------------ */

int __real_cnd_init(cnd_t *);
int __wrap_cnd_init(cnd_t *);
int __wrap_cnd_init(cnd_t *condition) {
    if (!ambit__self) return __real_cnd_init(condition);
    ambit__condition_make(condition, AMBIT__CALL("cnd_init"));
    return thrd_success;
}

void __real_cnd_destroy(cnd_t *);
void __wrap_cnd_destroy(cnd_t *);
void __wrap_cnd_destroy(cnd_t *condition) {
    if (ambit__self)
        ambit__condition_unmake(condition, AMBIT__CALL("cnd_destroy"));
    else
        __real_cnd_destroy(condition);
}

int __real_cnd_wait(cnd_t *, mtx_t *);
int __wrap_cnd_wait(cnd_t *, mtx_t *);
int __wrap_cnd_wait(cnd_t *condition, mtx_t *mutex) {
    if (!ambit__self) return __real_cnd_wait(condition, mutex);
    return status_of(
        ambit__condition_wait(condition, mutex, AMBIT__FOREVER, AMBIT__CALL("cnd_wait")));
}

int __real_cnd_timedwait(cnd_t *, mtx_t *, const struct timespec *);
int __wrap_cnd_timedwait(cnd_t *, mtx_t *, const struct timespec *);
int __wrap_cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *time) {
    if (!ambit__self) return __real_cnd_timedwait(condition, mutex, time);
    int64_t deadline_ns;
    if (!ambit__sync_deadline(time, &deadline_ns)) return thrd_error;
    return status_of(
        ambit__condition_wait(condition, mutex, deadline_ns, AMBIT__CALL("cnd_timedwait")));
}

int __real_cnd_signal(cnd_t *);
int __wrap_cnd_signal(cnd_t *);
int __wrap_cnd_signal(cnd_t *condition) {
    if (!ambit__self) return __real_cnd_signal(condition);
    ambit__condition_wake(condition, false, AMBIT__CALL("cnd_signal"));
    return thrd_success;
}

int __real_cnd_broadcast(cnd_t *);
int __wrap_cnd_broadcast(cnd_t *);
int __wrap_cnd_broadcast(cnd_t *condition) {
    if (!ambit__self) return __real_cnd_broadcast(condition);
    ambit__condition_wake(condition, true, AMBIT__CALL("cnd_broadcast"));
    return thrd_success;
}

/* ---- Once, and what each thread has ---------------------------------------------------------- */

void __real_call_once(once_flag *, void (*)(void));
void __wrap_call_once(once_flag *, void (*)(void));
void __wrap_call_once(once_flag *once, void (*run)(void)) {
    if (ambit__self)
        ambit__once(once, run, AMBIT__CALL("call_once"));
    else
        __real_call_once(once, run);
}

int __real_tss_create(tss_t *, tss_dtor_t);
int __wrap_tss_create(tss_t *, tss_dtor_t);
int __wrap_tss_create(tss_t *key, tss_dtor_t destructor) {
    if (!ambit__self) return __real_tss_create(key, destructor);
    return status_of(ambit__key_make(key, destructor, AMBIT__CALL("tss_create")));
}

void __real_tss_delete(tss_t);
void __wrap_tss_delete(tss_t);
void __wrap_tss_delete(tss_t key) {
    if (ambit__self)
        (void)ambit__key_unmake(key, AMBIT__CALL("tss_delete"));
    else
        __real_tss_delete(key);
}

void *__real_tss_get(tss_t);
void *__wrap_tss_get(tss_t);
void *__wrap_tss_get(tss_t key) {
    return ambit__self ? ambit__key_get(key, AMBIT__CALL("tss_get")) : __real_tss_get(key);
}

int __real_tss_set(tss_t, void *);
int __wrap_tss_set(tss_t, void *);
int __wrap_tss_set(tss_t key, void *value) {
    if (!ambit__self) return __real_tss_set(key, value);
    return status_of(ambit__key_set(key, value, AMBIT__CALL("tss_set")));
}
