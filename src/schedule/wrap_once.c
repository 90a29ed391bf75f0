/* pthread_once() and keys.
 *
 * KEYS. A schedule's keys have numbers from FIRST_KEY on, which the C library does not come to. A
 * key that was made before the schedule, by a constructor say, has no value yet in any thread of
 * it; its destructor is known if the call that made it went through here, not if a shared library
 * made it for itself.
 *
 * ORDER. Who finds a once done acquires what its function has done. Keys order nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "schedule/sync.h"

/* ---- Once ------------------------------------------------------------------------------------ */

static const ambit__sync_class once_class = {AMBIT__OBJECT_ONCE, "once", sizeof(pthread_once_t)};

enum { REAL_ONCE_DONE = 2 }; /* of the C library's: what stands in its memory after it */

typedef struct once_waiter {
    ambit__object *object; /* owned while its function runs; `count` is 1 when it is done */
    ambit__operation operation;
} once_waiter;

static bool once_is_at_rest(void *argument) {
    once_waiter *waiter = argument;
    if (!waiter->object->owner) return true;
    waiter->operation.holder = (uint8_t)(waiter->object->owner - 1);
    waiter->operation.holder_site = waiter->object->site;
    waiter->operation.holder_ended = ambit__sync_owner_ended(waiter->object);
    return false;
}

static void once_wait(ambit__object *object, ambit__call call) {
    once_waiter waiter = {.object = object,
                          .operation = {.kind = AMBIT__OP_LOCK,
                                        .name = call.name,
                                        .site = call.site,
                                        .address = object->address,
                                        .writes = !object->count,
                                        .ready = once_is_at_rest,
                                        .argument = &waiter,
                                        .deadline_ns = AMBIT__FOREVER,
                                        .waits_for = "once",
                                        .holder_known = true}};
    ambit__step(&waiter.operation);
}

void ambit__once(const void *once, void (*run)(void), ambit__call call) {
    ambit__object *object = ambit__sync_use(once, &once_class, call);
    if (!object->made) object->count = *(const int *)once == REAL_ONCE_DONE;
    object->made = true;
    once_wait(object, call);
    if (object->count) {
        ambit__acquire_from(&object->released);
        return;
    }
    ambit__sync_own(object, call);
    run();
    ambit__operation operation = {.kind = AMBIT__OP_UNLOCK,
                                  .name = "once is done",
                                  .site = call.site,
                                  .address = once,
                                  .writes = true};
    ambit__step(&operation);
    ambit__sync_disown(object);
    object->count = 1;
    ambit__release_to(&object->released);
}

int __real_pthread_once(pthread_once_t *, void (*)(void));
int __wrap_pthread_once(pthread_once_t *, void (*)(void));
int __wrap_pthread_once(pthread_once_t *once, void (*run)(void)) {
    if (!ambit__self) return __real_pthread_once(once, run);
    ambit__once(once, run, AMBIT__CALL("pthread_once"));
    return 0;
}

/* ---- Keys ------------------------------------------------------------------------------------ */

#define FIRST_KEY 512
#define REAL_KEYS 1024 /* PTHREAD_KEYS_MAX */

typedef void destructor_fn(void *);

/* Of those made outside of schedules, by number. */
static destructor_fn *real_destructors[REAL_KEYS];

/* A place of ambit__schedule_thread.keys. Its object is `made` while the key is there, `count` is
 * its number, `site` where it was made or unmade. */
enum { DESTRUCTOR = 0 }; /* of `state` */
/* The last object is about all places: sets of them. */
enum { USED = 0, REAL = 1 }; /* of its `state` */
static const char places[AMBIT__KEYS + 1];
_Static_assert(AMBIT__KEYS <= 64, "a bit for each place");

static ambit__object *place_at(unsigned place) {
    return ambit__object_at(&places[place], AMBIT__OBJECT_KEY);
}

static uint64_t *set_of(unsigned which) { return &place_at(AMBIT__KEYS)->state[which]; }

static bool is_in(unsigned which, unsigned place) { return *set_of(which) >> place & 1; }

static void occupy(unsigned place, unsigned key, destructor_fn *destructor, const void *site) {
    ambit__object *object = place_at(place);
    object->made = true;
    object->state[DESTRUCTOR] = (uintptr_t)destructor;
    object->count = key;
    object->site = site;
    *set_of(USED) |= UINT64_C(1) << place;
    for (unsigned i = 0; i < AMBIT__THREADS; i++) ambit__threads[i].keys[place] = NULL;
}

/* One that was never used, so that who still uses an old key is found; else one whose key is
 * gone. */
static unsigned free_place(void) {
    for (unsigned i = 0; i < AMBIT__KEYS; i++)
        if (!is_in(USED, i)) return i;
    for (unsigned i = 0; i < AMBIT__KEYS; i++)
        if (!is_in(REAL, i) && !place_at(i)->made) return i;
    return AMBIT__KEYS;
}

int ambit__key_make(unsigned *key, void (*destructor)(void *), ambit__call call) {
    unsigned place = free_place();
    if (place == AMBIT__KEYS) return EAGAIN;
    occupy(place, FIRST_KEY + place, destructor, call.site);
    ambit__sync_result(key, sizeof *key, call);
    *key = FIRST_KEY + place;
    return 0;
}

/* A key of before gets a place when a value is first set. AMBIT__KEYS if it has none. */
static unsigned place_of_real(unsigned key) {
    for (unsigned i = AMBIT__KEYS; i-- > 0 && is_in(USED, i);)
        if (is_in(REAL, i) && place_at(i)->made && place_at(i)->count == (int64_t)key) return i;
    return AMBIT__KEYS;
}

/* AMBIT__KEYS if it has none. Fails the schedule if the key is of this schedule, and not there. */
static unsigned place_of(unsigned key, ambit__call call) {
    if (key < FIRST_KEY || key >= FIRST_KEY + AMBIT__KEYS) return place_of_real(key);
    unsigned place = key - FIRST_KEY;
    if (!is_in(USED, place) || is_in(REAL, place))
        AMBIT__MISUSE(call, 0, "%s: this is no key", call.name);
    const ambit__object *object = place_at(place);
    if (!object->made)
        AMBIT__MISUSE(call, (uintptr_t)object->site,
                      "%s: the key has been deleted (the other place)", call.name);
    return place;
}

int ambit__key_unmake(unsigned key, ambit__call call) {
    unsigned place = place_of(key, call);
    if (place == AMBIT__KEYS) return key < REAL_KEYS ? 0 : EINVAL;
    ambit__object *object = place_at(place);
    object->made = false;
    object->site = call.site;
    return 0;
}

void *ambit__key_get(unsigned key, ambit__call call) {
    unsigned place = place_of(key, call);
    return place == AMBIT__KEYS ? NULL : ambit__self->keys[place];
}

int ambit__key_set(unsigned key, const void *value, ambit__call call) {
    unsigned place = place_of(key, call);
    if (place == AMBIT__KEYS) {
        if (key >= REAL_KEYS) return EINVAL;
        /* From the end: the numbers of the schedule's own keys are those of places. */
        while (place > 0 && is_in(USED, place - 1)) place--;
        if (place == 0) return ENOMEM;
        occupy(--place, key, real_destructors[key], call.site);
        *set_of(REAL) |= UINT64_C(1) << place;
    }
    ambit__self->keys[place] = (void *)(uintptr_t)value;
    return 0;
}

/* Each value goes to its destructor, which may set values anew: then once more, a few times. */
void ambit__keys_thread_ends(ambit__schedule_thread *thread) {
    bool again = true;
    for (unsigned round = 0; again && round < PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
        again = false;
        for (unsigned i = 0; i < AMBIT__KEYS; i++) {
            void *value = thread->keys[i];
            if (!value) continue;
            const ambit__object *object = place_at(i);
            destructor_fn *destructor = (destructor_fn *)(uintptr_t)object->state[DESTRUCTOR];
            if (!object->made || !destructor) continue;
            thread->keys[i] = NULL;
            destructor(value);
            again = true;
        }
    }
}

int __real_pthread_key_create(pthread_key_t *, void (*)(void *));
int __wrap_pthread_key_create(pthread_key_t *, void (*)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    if (ambit__self) return ambit__key_make(key, destructor, AMBIT__CALL("pthread_key_create"));
    int error = __real_pthread_key_create(key, destructor);
    if (!error && *key < REAL_KEYS)
        __atomic_store_n(&real_destructors[*key], destructor,
                         __ATOMIC_RELAXED); /* one write each */
    return error;
}

int __real_pthread_key_delete(pthread_key_t);
int __wrap_pthread_key_delete(pthread_key_t);
int __wrap_pthread_key_delete(pthread_key_t key) {
    if (!ambit__self) return __real_pthread_key_delete(key);
    return ambit__key_unmake(key, AMBIT__CALL("pthread_key_delete"));
}

void *__real_pthread_getspecific(pthread_key_t);
void *__wrap_pthread_getspecific(pthread_key_t);
void *__wrap_pthread_getspecific(pthread_key_t key) {
    if (!ambit__self) return __real_pthread_getspecific(key);
    return ambit__key_get(key, AMBIT__CALL("pthread_getspecific"));
}

int __real_pthread_setspecific(pthread_key_t, const void *);
int __wrap_pthread_setspecific(pthread_key_t, const void *);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value) {
    if (!ambit__self) return __real_pthread_setspecific(key, value);
    return ambit__key_set(key, value, AMBIT__CALL("pthread_setspecific"));
}
