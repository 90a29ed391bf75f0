/* Threads: pthread_create() and what is done to threads by their handle.
 *
 * A handle is a number that no other thread of the schedule has had: one that is used after its
 * thread was joined is found. What only a real thread has (a stack's size, a processor, a priority,
 * signals) is accepted where it makes no difference to the program, and said not to be known where
 * it would. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "schedule/sync.h"

/* ---- What is known of a handle --------------------------------------------------------------- */

/* Where each happened; 0: it did not. Of the `state` of the handle's object. */
enum { JOINS = 0, JOINED = 1, DETACHED = 2 };

static ambit__object *record_of(unsigned long handle) {
    return ambit__object_at((const void *)(uintptr_t)handle, AMBIT__OBJECT_THREAD);
}

/* The thread, which nobody has joined or detached, nor is about to. */
static ambit__schedule_thread *thread_to_end(unsigned long handle, ambit__call call) {
    const ambit__object *record = record_of(handle);
    ambit__schedule_thread *thread = ambit__thread_of(handle);
    if (record->state[JOINED])
        AMBIT__MISUSE(call, record->state[JOINED],
                      "%s: the thread has been joined already (the other place)", call.name);
    if (record->state[DETACHED])
        AMBIT__MISUSE(call, record->state[DETACHED], "%s: the thread is detached (the other place)",
                      call.name);
    if (!thread) AMBIT__MISUSE(call, 0, "%s: there is no such thread", call.name);
    if (record->state[JOINS])
        AMBIT__MISUSE(call, record->state[JOINS],
                      "%s: another thread is joining it (the other place)", call.name);
    return thread;
}

int ambit__thread_make(unsigned long *handle, bool detached, void *(*start)(void *), void *argument,
                       ambit__call call) {
    ambit__schedule_thread *thread = ambit__spawn(start, NULL, argument, call.site);
    thread->detached = detached;
    if (detached) record_of(thread->handle)->state[DETACHED] = (uintptr_t)call.site;
    /* Only now, and as a plain write: the thread itself may not look for its handle there. */
    ambit__sync_result(handle, sizeof *handle, call);
    *handle = thread->handle;
    return 0;
}

/* Whether the thread is joining this one, or one that is, and so on: then all of them wait for
 * ever. */
static const ambit__operation *joins_this(const ambit__schedule_thread *thread) {
    for (unsigned i = 0; i < AMBIT__THREADS && thread->state == AMBIT__THREAD_LIVE; i++) {
        const ambit__operation *next = thread->next;
        if (!next || next->kind != AMBIT__OP_JOIN) break;
        if (!next->waits_for || next->deadline_ns != AMBIT__FOREVER) break;
        if (next->address == ambit__self) return next;
        thread = next->address;
    }
    return NULL;
}

int ambit__thread_join(unsigned long handle, void **returned, int64_t deadline_ns,
                       ambit__call call) {
    if (handle == ambit__self->handle)
        AMBIT__MISUSE(call, 0, "%s: a thread cannot join itself", call.name);
    ambit__schedule_thread *thread = thread_to_end(handle, call);
    const ambit__operation *circle = joins_this(thread);
    if (circle && deadline_ns == AMBIT__FOREVER)
        ambit__fail(AMBIT_SCHEDULE_DEADLOCK, call.site, circle->site,
                    "%s: the thread is itself about to join this one (the other place)", call.name);
    ambit__object *record = record_of(handle);
    record->state[JOINS] = (uintptr_t)call.site;
    bool timed = deadline_ns != AMBIT__FOREVER;
    bool ended = ambit__join(thread, deadline_ns, timed ? call.name : NULL, call.site);
    record->state[JOINS] = 0;
    if (!ended) return ETIMEDOUT;
    record->state[JOINED] = (uintptr_t)call.site;
    if (returned) {
        ambit__sync_result(returned, sizeof *returned, call);
        *returned = thread->returned;
    }
    return 0;
}

void ambit__thread_detach(unsigned long handle, ambit__call call) {
    ambit__operation operation = {.kind = AMBIT__OP_CALL,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = thread_to_end(handle, call),
                                  .writes = true};
    ambit__step(&operation);
    ambit__schedule_thread *thread = thread_to_end(handle, call);
    record_of(handle)->state[DETACHED] = (uintptr_t)call.site;
    thread->detached = true;
    if (thread->state == AMBIT__THREAD_ENDED) thread->state = AMBIT__THREAD_UNUSED;
}

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_create(pthread_t *handle, const pthread_attr_t *attributes,
                          void *(*start)(void *), void *argument) {
    if (!ambit__self) return __real_pthread_create(handle, attributes, start, argument);
    int detached = PTHREAD_CREATE_JOINABLE;
    if (attributes) (void)pthread_attr_getdetachstate(attributes, &detached);
    return ambit__thread_make(handle, detached == PTHREAD_CREATE_DETACHED, start, argument,
                              AMBIT__CALL("pthread_create"));
}

int __real_pthread_join(pthread_t, void **);
int __wrap_pthread_join(pthread_t, void **);
int __wrap_pthread_join(pthread_t handle, void **returned) {
    if (!ambit__self) return __real_pthread_join(handle, returned);
    return ambit__thread_join(handle, returned, AMBIT__FOREVER, AMBIT__CALL("pthread_join"));
}

typedef struct joiner {
    const ambit__schedule_thread *thread;
    ambit__operation operation;
} joiner;

/* It can be tried at any time, but changes nothing where it fails: as little as a read. */
static bool may_try(void *argument) {
    joiner *joins = argument;
    joins->operation.writes = joins->thread->state == AMBIT__THREAD_ENDED;
    return true;
}

static int try_join(pthread_t handle, void **returned, ambit__call call) {
    const ambit__schedule_thread *thread = thread_to_end(handle, call);
    joiner joins = {.thread = thread,
                    .operation = {.kind = AMBIT__OP_JOIN,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = thread,
                                  .value = thread->index,
                                  .writes = true,
                                  .ready = may_try,
                                  .argument = &joins,
                                  .deadline_ns = AMBIT__FOREVER}};
    ambit__step(&joins.operation);
    if (thread_to_end(handle, call)->state == AMBIT__THREAD_ENDED)
        return ambit__thread_join(handle, returned, AMBIT__FOREVER, call);
    joins.operation.failed = true;
    ambit__filled(&joins.operation);
    ambit__spin_reads(handle);
    return EBUSY;
}

int __real_pthread_tryjoin_np(pthread_t, void **);
int __wrap_pthread_tryjoin_np(pthread_t, void **);
int __wrap_pthread_tryjoin_np(pthread_t handle, void **returned) {
    if (!ambit__self) return __real_pthread_tryjoin_np(handle, returned);
    return try_join(handle, returned, AMBIT__CALL("pthread_tryjoin_np"));
}

static int join_until(pthread_t handle, void **returned, const struct timespec *time,
                      ambit__call call) {
    int64_t deadline_ns = AMBIT__FOREVER; /* no time: as pthread_join() */
    bool valid = !time || ambit__sync_deadline(time, &deadline_ns);
    int error = ambit__thread_join(handle, returned, valid ? deadline_ns : 0, call);
    return error && !valid ? EINVAL : error;
}

int __real_pthread_timedjoin_np(pthread_t, void **, const struct timespec *);
int __wrap_pthread_timedjoin_np(pthread_t, void **, const struct timespec *);
int __wrap_pthread_timedjoin_np(pthread_t handle, void **returned, const struct timespec *time) {
    if (!ambit__self) return __real_pthread_timedjoin_np(handle, returned, time);
    return join_until(handle, returned, time, AMBIT__CALL("pthread_timedjoin_np"));
}

int __real_pthread_clockjoin_np(pthread_t, void **, clockid_t, const struct timespec *);
int __wrap_pthread_clockjoin_np(pthread_t, void **, clockid_t, const struct timespec *);
int __wrap_pthread_clockjoin_np(pthread_t handle, void **returned, clockid_t clock,
                                const struct timespec *time) {
    if (!ambit__self) return __real_pthread_clockjoin_np(handle, returned, clock, time);
    if (!ambit__sync_clock_is_known(clock)) return EINVAL;
    return join_until(handle, returned, time, AMBIT__CALL("pthread_clockjoin_np"));
}

int __real_pthread_detach(pthread_t);
int __wrap_pthread_detach(pthread_t);
int __wrap_pthread_detach(pthread_t handle) {
    if (!ambit__self) return __real_pthread_detach(handle);
    ambit__thread_detach(handle, AMBIT__CALL("pthread_detach"));
    return 0;
}

pthread_t __real_pthread_self(void);
pthread_t __wrap_pthread_self(void);
pthread_t __wrap_pthread_self(void) {
    return ambit__self ? ambit__self->handle : __real_pthread_self();
}
