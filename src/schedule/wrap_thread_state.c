/* What a thread has besides its function: a name, a mask of signals, what is to be cleaned up, a
 * number and a processor. All of it ends with its schedule. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "schedule/sync.h"

#define NAME_BYTES 16 /* the kernel's */
#define CLEANUPS 32

typedef struct thread_extra {
    uint32_t schedule;    /* it is of this one, */
    unsigned long handle; /* and this thread */
    char name[NAME_BYTES];
    sigset_t mask;
    int cancel_state, cancel_type;
    /* pthread_cleanup_push(): the last is the innermost. */
    unsigned cleanup_count;
    struct {
        __pthread_unwind_buf_t *buffer;
        unsigned calls; /* under way at the time */
    } cleanups[CLEANUPS];
    void *returned; /* pthread_exit() is under way, with this */
} thread_extra;
static thread_extra extras[AMBIT__THREADS];

static bool is_current(unsigned index) {
    return extras[index].schedule == ambit__schedule_number &&
           extras[index].handle == ambit__threads[index].handle;
}

static thread_extra *extra_of(const ambit__schedule_thread *thread) {
    thread_extra *extra = &extras[thread->index];
    if (is_current(thread->index)) return extra;
    memset(extra, 0, sizeof *extra);
    extra->schedule = ambit__schedule_number;
    extra->handle = thread->handle;
    return extra;
}

__attribute__((noreturn)) static void not_known(ambit__call call, const char *why) {
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, call.site, NULL, "%s: %s", call.name, why);
}

/* ESRCH if it has ended; the schedule fails if there never was one, or it is gone. */
static int find(pthread_t handle, ambit__schedule_thread **thread, ambit__call call) {
    *thread = ambit__thread_of(handle);
    if (!*thread)
        ambit__fail(AMBIT_SCHEDULE_MISUSE, call.site, NULL,
                    "%s: there is no such thread (any more)", call.name);
    return (*thread)->state == AMBIT__THREAD_ENDED ? ESRCH : 0;
}

/* ---- Names ----------------------------------------------------------------------------------- */

const char *ambit__thread_name(unsigned index) {
    return is_current(index) && extras[index].name[0] ? extras[index].name : NULL;
}

int __real_pthread_setname_np(pthread_t, const char *);
int __wrap_pthread_setname_np(pthread_t, const char *);
int __wrap_pthread_setname_np(pthread_t handle, const char *name) {
    if (!ambit__self) return __real_pthread_setname_np(handle, name);
    ambit__schedule_thread *thread;
    int error = find(handle, &thread, AMBIT__CALL("pthread_setname_np"));
    size_t length = strnlen(name, NAME_BYTES);
    if (length == NAME_BYTES) return ERANGE;
    if (!error) memcpy(extra_of(thread)->name, name, length + 1);
    return error;
}

int __real_pthread_getname_np(pthread_t, char *, size_t);
int __wrap_pthread_getname_np(pthread_t, char *, size_t);
int __wrap_pthread_getname_np(pthread_t handle, char *name, size_t bytes) {
    if (!ambit__self) return __real_pthread_getname_np(handle, name, bytes);
    ambit__call call = AMBIT__CALL("pthread_getname_np");
    ambit__schedule_thread *thread;
    int error = find(handle, &thread, call);
    if (bytes < NAME_BYTES) return ERANGE;
    if (error) return error;
    ambit__sync_result(name, NAME_BYTES, call);
    memcpy(name, extra_of(thread)->name, NAME_BYTES);
    return 0;
}

/* ---- Signals and cancellation ---------------------------------------------------------------- */

/* All threads are one of the kernel's, so its mask must not change: each has one that is only
 * told. */
int __real_pthread_sigmask(int, const sigset_t *, sigset_t *);
int __wrap_pthread_sigmask(int, const sigset_t *, sigset_t *);
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old) {
    if (!ambit__self) return __real_pthread_sigmask(how, set, old);
    sigset_t *mask = &extra_of(ambit__self)->mask;
    sigset_t before = *mask;
    if (set && how == SIG_BLOCK)
        (void)sigorset(mask, &before, set);
    else if (set && how == SIG_SETMASK)
        *mask = *set;
    else if (set && how == SIG_UNBLOCK)
        for (int signal = 1; signal < NSIG; signal++) {
            if (sigismember(set, signal) == 1) (void)sigdelset(mask, signal);
        }
    else if (set)
        return EINVAL;
    if (old) {
        ambit__sync_result(old, sizeof *old, AMBIT__CALL("pthread_sigmask"));
        *old = before;
    }
    return 0;
}

int __real_pthread_kill(pthread_t, int);
int __wrap_pthread_kill(pthread_t, int);
int __wrap_pthread_kill(pthread_t handle, int signal) {
    if (!ambit__self) return __real_pthread_kill(handle, signal);
    ambit__schedule_thread *thread;
    if (!signal) return find(handle, &thread, AMBIT__CALL("pthread_kill"));
    not_known(AMBIT__CALL("pthread_kill"), "a schedule has no signals");
}

int __real_pthread_sigqueue(pthread_t, int, const union sigval);
int __wrap_pthread_sigqueue(pthread_t, int, const union sigval);
int __wrap_pthread_sigqueue(pthread_t handle, int signal, const union sigval value) {
    if (!ambit__self) return __real_pthread_sigqueue(handle, signal, value);
    not_known(AMBIT__CALL("pthread_sigqueue"), "a schedule has no signals");
}

int __real_pthread_cancel(pthread_t);
int __wrap_pthread_cancel(pthread_t);
int __wrap_pthread_cancel(pthread_t handle) {
    if (!ambit__self) return __real_pthread_cancel(handle);
    not_known(AMBIT__CALL("pthread_cancel"), "threads of a schedule cannot be cancelled");
}

void __real_pthread_testcancel(void);
void __wrap_pthread_testcancel(void);
void __wrap_pthread_testcancel(void) {
    if (!ambit__self) __real_pthread_testcancel();
}

static int exchange(int *kept, int wanted, int most, int *old, ambit__call call) {
    if (wanted < 0 || wanted > most) return EINVAL;
    if (old) {
        ambit__sync_result(old, sizeof *old, call);
        *old = *kept;
    }
    *kept = wanted;
    return 0;
}

int __real_pthread_setcancelstate(int, int *);
int __wrap_pthread_setcancelstate(int, int *);
int __wrap_pthread_setcancelstate(int state, int *old) {
    if (!ambit__self) return __real_pthread_setcancelstate(state, old);
    return exchange(&extra_of(ambit__self)->cancel_state, state, PTHREAD_CANCEL_DISABLE, old,
                    AMBIT__CALL("pthread_setcancelstate"));
}

int __real_pthread_setcanceltype(int, int *);
int __wrap_pthread_setcanceltype(int, int *);
int __wrap_pthread_setcanceltype(int type, int *old) {
    if (!ambit__self) return __real_pthread_setcanceltype(type, old);
    return exchange(&extra_of(ambit__self)->cancel_type, type, PTHREAD_CANCEL_ASYNCHRONOUS, old,
                    AMBIT__CALL("pthread_setcanceltype"));
}

/* ---- Ending, and what is cleaned up then ----------------------------------------------------- */

/* In C without exceptions pthread_cleanup_push() is a setjmp(); its place is registered, jumped to
 * at the end, and runs the function, which then asks for the next. */
void __real_siglongjmp(void *buffer, int value) __attribute__((noreturn, weak));

__attribute__((noreturn)) static void clean_up(void) {
    thread_extra *extra = extra_of(ambit__self);
    if (!extra->cleanup_count) ambit__exit(extra->returned);
    unsigned last = --extra->cleanup_count;
    ambit__self->call_count = extra->cleanups[last].calls;
    __real_siglongjmp(extra->cleanups[last].buffer->__cancel_jmp_buf, 1);
}

void ambit__thread_exit(void *returned) {
    extra_of(ambit__self)->returned = returned;
    clean_up();
}

void __real___pthread_register_cancel(__pthread_unwind_buf_t *);
void __wrap___pthread_register_cancel(__pthread_unwind_buf_t *);
void __wrap___pthread_register_cancel(__pthread_unwind_buf_t *buffer) {
    if (!ambit__self) {
        __real___pthread_register_cancel(buffer);
        return;
    }
    thread_extra *extra = extra_of(ambit__self);
    if (extra->cleanup_count == CLEANUPS)
        not_known(AMBIT__CALL("pthread_cleanup_push"), "so many of them are not expected");
    extra->cleanups[extra->cleanup_count].buffer = buffer;
    extra->cleanups[extra->cleanup_count++].calls = ambit__self->call_count;
}

void __real___pthread_unregister_cancel(__pthread_unwind_buf_t *);
void __wrap___pthread_unregister_cancel(__pthread_unwind_buf_t *);
void __wrap___pthread_unregister_cancel(__pthread_unwind_buf_t *buffer) {
    if (!ambit__self) {
        __real___pthread_unregister_cancel(buffer);
        return;
    }
    thread_extra *extra = extra_of(ambit__self);
    if (extra->cleanup_count) extra->cleanup_count--;
}

void __real___pthread_unwind_next(__pthread_unwind_buf_t *) __attribute__((noreturn));
void __wrap___pthread_unwind_next(__pthread_unwind_buf_t *) __attribute__((noreturn));
void __wrap___pthread_unwind_next(__pthread_unwind_buf_t *buffer) {
    if (!ambit__self) __real___pthread_unwind_next(buffer);
    clean_up();
}

void __real_pthread_exit(void *) __attribute__((noreturn));
void __wrap_pthread_exit(void *) __attribute__((noreturn));
void __wrap_pthread_exit(void *returned) {
    if (!ambit__self) __real_pthread_exit(returned);
    ambit__thread_exit(returned);
}

/* ---- Handlers of fork() ---------------------------------------------------------------------- */

#define HANDLERS 32

static struct {
    uint32_t schedule;
    unsigned count, kept; /* those that `before` has registered are there in each schedule */
    void (*prepare[HANDLERS])(void);
    void (*parent[HANDLERS])(void);
} handlers;

static void handlers_of_this_schedule(void) {
    if (handlers.schedule == ambit__schedule_number) return;
    handlers.schedule = ambit__schedule_number;
    handlers.count = handlers.kept;
}

int __real_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));
int __wrap_pthread_atfork(void (*)(void), void (*)(void), void (*)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    if (!ambit__self) return __real_pthread_atfork(prepare, parent, child);
    /* Nothing forks in a schedule: they run when the scenario says so. */
    handlers_of_this_schedule();
    if (handlers.count == HANDLERS) return ENOMEM;
    handlers.prepare[handlers.count] = prepare;
    handlers.parent[handlers.count++] = parent;
    if (ambit__keeping) handlers.kept = handlers.count;
    return 0;
}

void ambit_schedule_fork_in_parent(void) {
    if (!ambit__self) return;
    handlers_of_this_schedule();
    unsigned count = handlers.count;
    for (unsigned i = count; i-- > 0;)
        if (handlers.prepare[i]) handlers.prepare[i]();
    for (unsigned i = 0; i < count; i++)
        if (handlers.parent[i]) handlers.parent[i]();
}

void ambit__atfork_forget(void) { handlers.kept = 0; }
