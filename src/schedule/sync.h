/* What the parts share that stand in for pthreads, semaphores and C11's threads.
 *
 * STATE of a mutex and the like is an ambit__object, found by its address; what the program's own
 * pthread_mutex_t holds is only read, once, for what its static initialiser or an initialisation
 * before the schedule says. Its memory is all the same accessed as far as races go: making and
 * unmaking are plain writes to all of it, every other call is an atomic read. So a lock in memory
 * that was freed or never initialised is found, and one that is destroyed beside a call that
 * nothing orders.
 *
 * ORDER. A call is a step about one object, or several steps: what explores schedules may take it
 * that steps about different objects can change places. */
#ifndef AMBIT_SCHEDULE_SYNC_H
#define AMBIT_SCHEDULE_SYNC_H

#include <time.h>

#include "schedule/inside.h"

/* Which function the program has called, and from where: each has its name in the table. */
typedef struct ambit__call {
    const char *name;
    const void *site;
} ambit__call;
#define AMBIT__CALL(function) ((ambit__call){function, __builtin_return_address(0)})

/* ---- wrap_lifetime.c ------------------------------------------------------------------------- */

/* These of an object's `state` are the same for all kinds; the others are each kind's own. */
enum {
    AMBIT__SYNC_GONE = 4,   /* where it was destroyed, else 0 */
    AMBIT__SYNC_GONE_AT = 5 /* by whom and when: that write to its memory */
};

/* What kind of thing, for the texts, and how much memory. */
typedef struct ambit__sync_class {
    ambit__object_kind kind;
    const char *what;
    size_t bytes;
} ambit__sync_class;

/* The object, used by `call`; fails the schedule if it was destroyed. */
ambit__object *ambit__sync_use(const void *address, const ambit__sync_class *class,
                               ambit__call call);
/* Again after a wait: it may be gone by now. */
void ambit__sync_still(const ambit__object *object, const ambit__sync_class *class,
                       ambit__call call);
/* Made by the program's call, all of it zero; no step. */
ambit__object *ambit__sync_make(const void *address, const ambit__sync_class *class,
                                ambit__call call);
/* The step before it is unmade: the caller looks whether it may be. */
ambit__object *ambit__sync_end(const void *address, const ambit__sync_class *class,
                               ambit__call call);
void ambit__sync_unmake(ambit__object *object, const ambit__sync_class *class, ambit__call call);
/* The program's memory, of a result: written plainly. */
void ambit__sync_result(const void *address, size_t bytes, ambit__call call);

/* Whether this thread has it: not one that had this thread's place before. */
bool ambit__sync_is_mine(const ambit__object *object);
void ambit__sync_own(ambit__object *object, ambit__call call);
void ambit__sync_disown(ambit__object *object);
/* "thread 2", with " (name)" if it has one, and ", which has ended". */
const char *ambit__sync_owner(const ambit__object *object);
bool ambit__sync_owner_ended(const ambit__object *object);
/* What the owner knew when it ended. */
void ambit__sync_acquire_from_owner(const ambit__object *object);

/* The virtual time; false if it is no time (EINVAL). */
bool ambit__sync_deadline(const struct timespec *time, int64_t *deadline_ns);
bool ambit__sync_clock_is_known(clockid_t clock);

/* Fails, naming a second place. */
#define AMBIT__MISUSE(call, other_site, ...)                                                       \
    ambit__fail(AMBIT_SCHEDULE_MISUSE, (call).site, (const void *)(uintptr_t)(other_site),         \
                __VA_ARGS__)

/* ---- wrap_mutex.c ---------------------------------------------------------------------------- */

typedef enum ambit__mutex_kind {
    AMBIT__MUTEX_NORMAL,
    AMBIT__MUTEX_RECURSIVE,
    AMBIT__MUTEX_ERRORCHECK
} ambit__mutex_kind;
/* All answer as pthread_mutex_*() do. */
void ambit__mutex_make(const void *mutex, ambit__mutex_kind kind, bool robust, ambit__call call);
void ambit__mutex_unmake(const void *mutex, ambit__call call);
int ambit__mutex_lock(const void *mutex, int64_t deadline_ns, ambit__call call);
int ambit__mutex_trylock(const void *mutex, ambit__call call);
int ambit__mutex_unlock(const void *mutex, ambit__call call);
/* Held once by this thread, as who waits on a condition must; else EPERM, or the schedule fails. */
int ambit__mutex_check_held(const void *mutex, ambit__call call);

/* ---- wrap_condition.c ------------------------------------------------------------------------ */

void ambit__condition_make(const void *condition, ambit__call call);
void ambit__condition_unmake(const void *condition, ambit__call call);
int ambit__condition_wait(const void *condition, const void *mutex, int64_t deadline_ns,
                          ambit__call call);
void ambit__condition_wake(const void *condition, bool all, ambit__call call);

/* ---- wrap_once.c ----------------------------------------------------------------------------- */

void ambit__once(const void *once, void (*run)(void), ambit__call call);
int ambit__key_make(unsigned *key, void (*destructor)(void *), ambit__call call);
int ambit__key_unmake(unsigned key, ambit__call call);
void *ambit__key_get(unsigned key, ambit__call call);
int ambit__key_set(unsigned key, const void *value, ambit__call call);

/* ---- wrap_thread.c --------------------------------------------------------------------------- */

int ambit__thread_make(unsigned long *handle, bool detached, void *(*start)(void *), void *argument,
                       ambit__call call);
/* ETIMEDOUT when the time came first. */
int ambit__thread_join(unsigned long handle, void **returned, int64_t deadline_ns,
                       ambit__call call);
void ambit__thread_detach(unsigned long handle, ambit__call call);
/* pthread_exit(): what was pushed for clean-up runs first. */
void ambit__thread_exit(void *returned) __attribute__((noreturn));

#endif
