/* Conditions: pthread_cond_*.
 *
 * WAITING is four steps: enter the queue, unlock the mutex, sleep, lock it again. POSIX wants the
 * first two to be one. That the thread is in the queue a little earlier cannot be told from a
 * signal that came right after both; two steps are better since each is about one object.
 *
 * A signal wakes any one of the queue, and none if it is empty: lost. Sleepers may wake for
 * nothing.
 *
 * ORDER. A signal orders nothing: the mutex does. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>

#include "schedule/sync.h"

static const ambit__sync_class condition_class = {AMBIT__OBJECT_CONDITION, "condition",
                                                  sizeof(pthread_cond_t)};

/* Of `state`. The queue has a byte for each thread, its index + 1, the first to come lowest. */
enum { QUEUE = 0, WOKEN = 1, MUTEX = 2, WAITED_AT = 3 };
_Static_assert(AMBIT__THREADS <= sizeof(uint64_t), "a byte for each thread");

static unsigned queue_count(uint64_t queue) {
    unsigned count = 0;
    for (; queue; queue >>= 8) count++;
    return count;
}

static void queue_push(uint64_t *queue, unsigned index) {
    *queue |= (uint64_t)(index + 1) << 8 * queue_count(*queue);
}

static unsigned queue_take(uint64_t *queue, unsigned place) {
    unsigned index = (unsigned)(*queue >> 8 * place & 0xff) - 1;
    uint64_t before = *queue & ((UINT64_C(1) << 8 * place) - 1);
    uint64_t after = *queue >> 8 * place >> 8;
    *queue = before | after << 8 * place;
    return index;
}

static void queue_leave(uint64_t *queue, unsigned index) {
    for (unsigned i = queue_count(*queue); i-- > 0;)
        if ((*queue >> 8 * i & 0xff) == index + 1) (void)queue_take(queue, i);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

typedef struct condition_waiter {
    ambit__object *object;
    uint64_t bit;
} condition_waiter;

static bool is_woken(void *argument) {
    const condition_waiter *sleeper = argument;
    return sleeper->object->state[WOKEN] & sleeper->bit;
}

static void enter(ambit__object *object, const void *mutex, ambit__call call) {
    ambit__operation operation = {.kind = AMBIT__OP_WAIT,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = object->address,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_still(object, &condition_class, call);
    if (object->state[QUEUE] && object->state[MUTEX] != (uintptr_t)mutex)
        AMBIT__MISUSE(
            call, object->state[WAITED_AT],
            "%s: another thread waits for the condition with another mutex (the other place)",
            call.name);
    object->state[MUTEX] = (uintptr_t)mutex;
    object->state[WAITED_AT] = (uintptr_t)call.site;
    queue_push(&object->state[QUEUE], ambit__self->index);
}

/* Until it is woken, or for nothing, or `timed_out`. */
static void sleep_until(ambit__object *object, int64_t deadline_ns, ambit__operation *operation) {
    condition_waiter sleeper = {object, UINT64_C(1) << ambit__self->index};
    operation->ready = is_woken;
    operation->argument = &sleeper;
    operation->deadline_ns = deadline_ns;
    ambit__step(operation);
    bool woken = is_woken(&sleeper);
    object->state[WOKEN] &= ~sleeper.bit;
    if (!woken) queue_leave(&object->state[QUEUE], ambit__self->index);
    operation->failed = operation->timed_out;
    ambit__filled(operation);
}

int ambit__condition_wait(const void *condition, const void *mutex, int64_t deadline_ns,
                          ambit__call call) {
    ambit__object *object = ambit__sync_use(condition, &condition_class, call);
    int error = ambit__mutex_check_held(mutex, call);
    if (error) return error;
    enter(object, mutex, call);
    error = ambit__mutex_unlock(mutex, (ambit__call){"give back", call.site});
    if (error) return error;
    ambit__operation operation = {.kind = AMBIT__OP_WAIT,
                                  .name = "wake up from",
                                  .site = call.site,
                                  .address = condition,
                                  .writes = true,
                                  .waits_for = "condition",
                                  .spurious = !ambit__options->no_spurious};
    sleep_until(object, deadline_ns, &operation);
    error = ambit__mutex_lock(mutex, AMBIT__FOREVER, (ambit__call){"take back", call.site});
    if (error) return error;
    return operation.timed_out ? ETIMEDOUT : 0;
}

/* ---- Waking ---------------------------------------------------------------------------------- */

void ambit__condition_wake(const void *condition, bool all, ambit__call call) {
    ambit__object *object = ambit__sync_use(condition, &condition_class, call);
    ambit__operation operation = {.kind = AMBIT__OP_WAKE,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = condition,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_still(object, &condition_class, call);
    for (unsigned count; (count = queue_count(object->state[QUEUE])); operation.value++) {
        if (!all && operation.value) break;
        unsigned place = all ? 0 : ambit__decide(AMBIT__DECIDE_WAKE, count, 0);
        object->state[WOKEN] |= UINT64_C(1) << queue_take(&object->state[QUEUE], place);
    }
    ambit__filled(&operation);
}

/* ---- Making and unmaking --------------------------------------------------------------------- */

void ambit__condition_make(const void *condition, ambit__call call) {
    (void)ambit__sync_make(condition, &condition_class, call);
}

void ambit__condition_unmake(const void *condition, ambit__call call) {
    ambit__object *object = ambit__sync_end(condition, &condition_class, call);
    if (object->state[QUEUE])
        AMBIT__MISUSE(call, object->state[WAITED_AT],
                      "%s: a thread still waits for the condition (the other place)", call.name);
    ambit__sync_unmake(object, &condition_class, call);
}

/* ---- In the place of pthread's --------------------------------------------------------------- */

int __real_pthread_cond_init(pthread_cond_t *, const pthread_condattr_t *);
int __wrap_pthread_cond_init(pthread_cond_t *, const pthread_condattr_t *);
int __wrap_pthread_cond_init(pthread_cond_t *condition, const pthread_condattr_t *attributes) {
    if (!ambit__self) return __real_pthread_cond_init(condition, attributes);
    ambit__condition_make(condition, AMBIT__CALL("pthread_cond_init"));
    return 0;
}

int __real_pthread_cond_destroy(pthread_cond_t *);
int __wrap_pthread_cond_destroy(pthread_cond_t *);
int __wrap_pthread_cond_destroy(pthread_cond_t *condition) {
    if (!ambit__self) return __real_pthread_cond_destroy(condition);
    ambit__condition_unmake(condition, AMBIT__CALL("pthread_cond_destroy"));
    return 0;
}

int __real_pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int __wrap_pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    if (!ambit__self) return __real_pthread_cond_wait(condition, mutex);
    return ambit__condition_wait(condition, mutex, AMBIT__FOREVER,
                                 AMBIT__CALL("pthread_cond_wait"));
}

int __real_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
int __wrap_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *time) {
    if (!ambit__self) return __real_pthread_cond_timedwait(condition, mutex, time);
    int64_t deadline_ns;
    if (!ambit__sync_deadline(time, &deadline_ns)) return EINVAL;
    return ambit__condition_wait(condition, mutex, deadline_ns,
                                 AMBIT__CALL("pthread_cond_timedwait"));
}

int __real_pthread_cond_clockwait(pthread_cond_t *, pthread_mutex_t *, clockid_t,
                                  const struct timespec *);
int __wrap_pthread_cond_clockwait(pthread_cond_t *, pthread_mutex_t *, clockid_t,
                                  const struct timespec *);
int __wrap_pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  clockid_t clock, const struct timespec *time) {
    if (!ambit__self) return __real_pthread_cond_clockwait(condition, mutex, clock, time);
    int64_t deadline_ns;
    if (!ambit__sync_clock_is_known(clock) || !ambit__sync_deadline(time, &deadline_ns))
        return EINVAL;
    return ambit__condition_wait(condition, mutex, deadline_ns,
                                 AMBIT__CALL("pthread_cond_clockwait"));
}

int __real_pthread_cond_signal(pthread_cond_t *);
int __wrap_pthread_cond_signal(pthread_cond_t *);
int __wrap_pthread_cond_signal(pthread_cond_t *condition) {
    if (!ambit__self) return __real_pthread_cond_signal(condition);
    ambit__condition_wake(condition, false, AMBIT__CALL("pthread_cond_signal"));
    return 0;
}

int __real_pthread_cond_broadcast(pthread_cond_t *);
int __wrap_pthread_cond_broadcast(pthread_cond_t *);
int __wrap_pthread_cond_broadcast(pthread_cond_t *condition) {
    if (!ambit__self) return __real_pthread_cond_broadcast(condition);
    ambit__condition_wake(condition, true, AMBIT__CALL("pthread_cond_broadcast"));
    return 0;
}
