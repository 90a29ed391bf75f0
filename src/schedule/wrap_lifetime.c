/* Locks and the like, from being made to being destroyed: what is the same for all of them. */
#include <stdio.h>

#include "schedule/sync.h"

enum { OWNER_HANDLE = 3 }; /* of `state`: of the kinds that are owned */

static uint64_t write_of(unsigned thread, uint32_t epoch) { return (uint64_t)epoch << 8 | thread; }

/* Whether the program has written the memory since it destroyed what was there: a variable of a
 * function that is called again has its static initialiser again, too. */
static bool is_renewed(const ambit__object *object) {
    unsigned thread = 0;
    uint32_t epoch = 0;
    const ambit__granule *granule = ambit__shadow_at((uintptr_t)object->address & ~(uintptr_t)7);
    if (!granule || !ambit__shadow_last_write(granule, 0xff, &thread, &epoch)) return false;
    return write_of(thread, epoch) != object->state[AMBIT__SYNC_GONE_AT];
}

static void clear(ambit__object *object) {
    const ambit__object before = *object;
    memset(object, 0, sizeof *object);
    object->address = before.address;
    object->kind = before.kind;
}

void ambit__sync_still(const ambit__object *object, const ambit__sync_class *class,
                       ambit__call call) {
    uint64_t gone = object->state[AMBIT__SYNC_GONE];
    if (gone)
        AMBIT__MISUSE(call, gone, "%s: the %s has been destroyed (the other place)", call.name,
                      class->what);
}

ambit__object *ambit__sync_use(const void *address, const ambit__sync_class *class,
                               ambit__call call) {
    ambit__object *object = ambit__object_at(address, class->kind);
    if (object->state[AMBIT__SYNC_GONE] && is_renewed(object)) clear(object);
    ambit__sync_still(object, class, call);
    ambit__shadow_access((uintptr_t)address, sizeof(int), false, true, call.site);
    return object;
}

ambit__object *ambit__sync_make(const void *address, const ambit__sync_class *class,
                                ambit__call call) {
    ambit__object *object = ambit__object_at(address, class->kind);
    if (object->owner && !ambit__sync_owner_ended(object))
        AMBIT__MISUSE(call, (uintptr_t)object->site, "%s: %s holds the %s (the other place)",
                      call.name, ambit__sync_owner(object), class->what);
    clear(object);
    object->made = true;
    ambit__shadow_access((uintptr_t)address, class->bytes, true, false, call.site);
    return object;
}

ambit__object *ambit__sync_end(const void *address, const ambit__sync_class *class,
                               ambit__call call) {
    (void)ambit__sync_use(address, class, call);
    ambit__operation operation = {.kind = AMBIT__OP_CALL,
                                  .name = call.name,
                                  .site = call.site,
                                  .address = address,
                                  .writes = true};
    ambit__step(&operation);
    ambit__object *object = ambit__object_at(address, class->kind);
    ambit__sync_still(object, class, call);
    return object;
}

void ambit__sync_unmake(ambit__object *object, const ambit__sync_class *class, ambit__call call) {
    const ambit__schedule_thread *self = ambit__self;
    ambit__shadow_access((uintptr_t)object->address, class->bytes, true, false, call.site);
    clear(object);
    object->state[AMBIT__SYNC_GONE] = (uintptr_t)call.site;
    object->state[AMBIT__SYNC_GONE_AT] = write_of(self->index, self->happens.at[self->index]);
    /* What the thread writes from here on is later than that write. */
    ambit__release_to(&object->released);
}

void ambit__sync_result(const void *address, size_t bytes, ambit__call call) {
    ambit__shadow_access((uintptr_t)address, bytes, true, false, call.site);
}

/* ---- Owners ---------------------------------------------------------------------------------- */

bool ambit__sync_is_mine(const ambit__object *object) {
    return object->owner && object->state[OWNER_HANDLE] == ambit__self->handle;
}

void ambit__sync_own(ambit__object *object, ambit__call call) {
    object->owner = ambit__self->index + 1;
    object->state[OWNER_HANDLE] = ambit__self->handle;
    object->site = call.site;
}

void ambit__sync_disown(ambit__object *object) { object->owner = 0; }

bool ambit__sync_owner_ended(const ambit__object *object) {
    const ambit__schedule_thread *thread = ambit__thread_of(object->state[OWNER_HANDLE]);
    return object->owner && (!thread || thread->state == AMBIT__THREAD_ENDED);
}

void ambit__sync_acquire_from_owner(const ambit__object *object) {
    const ambit__schedule_thread *owner = &ambit__threads[object->owner - 1];
    /* Else another thread has its place, whose first step came after what it did. */
    if (owner->handle == object->state[OWNER_HANDLE]) ambit__acquire_from(&owner->happens);
}

const char *ambit__sync_owner(const ambit__object *object) {
    static char text[64];
    unsigned index = (unsigned)object->owner - 1;
    bool ended = ambit__sync_owner_ended(object);
    const char *name = ended ? NULL : ambit__thread_name(index);
    (void)snprintf(text, sizeof text, "thread %u%s%s%s%s", index, name ? " (" : "",
                   name ? name : "", name ? ")" : "", ended ? ", which has ended," : "");
    return text;
}

/* ---- Time ------------------------------------------------------------------------------------ */

#define SECOND_NS INT64_C(1000000000)

bool ambit__sync_deadline(const struct timespec *time, int64_t *deadline_ns) {
    if (time->tv_nsec < 0 || time->tv_nsec >= SECOND_NS) return false;
    if (time->tv_sec < 0)
        *deadline_ns = 0; /* long ago */
    else if (time->tv_sec >= AMBIT__FOREVER / SECOND_NS)
        *deadline_ns = AMBIT__FOREVER;
    else
        *deadline_ns = (int64_t)time->tv_sec * SECOND_NS + time->tv_nsec;
    return true;
}

/* In a schedule both show the same time. */
bool ambit__sync_clock_is_known(clockid_t clock) {
    return clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
}
