/* Objects by address: locks and the like, and the numbers that addresses have in a schedule. */
#include "schedule/inside.h"

#define OBJECTS 1024 /* a power of 2 */
#define ORDINALS 16384

uint32_t ambit__schedule_number;

typedef struct slot {
    uint32_t schedule;
    ambit__object object;
} slot;
static slot slots[OBJECTS];
static unsigned used;
/* What `before` left. */
static ambit__object kept[OBJECTS / 4];
static unsigned kept_count;

static struct {
    const void *address;
    uint32_t schedule, number;
} ordinals[ORDINALS];
static uint32_t ordinal_count;

static size_t spread(const void *address) {
    return (size_t)((uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

/* Numbered as they are met, so that the hash of a schedule knows addresses apart and not by
 * value. */
uint32_t ambit__ordinal(const void *address) {
    if (!address) return 0;
    for (size_t i = spread(address);; i++) {
        i %= ORDINALS;
        if (ordinals[i].schedule != ambit__schedule_number) {
            if (ordinal_count > ORDINALS / 2) return 1; /* a schedule this long may do without */
            ordinals[i].schedule = ambit__schedule_number;
            ordinals[i].address = address;
            return ordinals[i].number = ++ordinal_count;
        }
        if (ordinals[i].address == address) return ordinals[i].number;
    }
}

ambit__object *ambit__object_at(const void *address, ambit__object_kind kind) {
    for (size_t i = spread(address) + kind;; i++) {
        slot *at = &slots[i % OBJECTS];
        if (at->schedule == ambit__schedule_number) {
            if (at->object.address == address && at->object.kind == kind) return &at->object;
            continue;
        }
        if (++used > OBJECTS * 3 / 4)
            ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL,
                        "expected at most %d locks and other objects in a schedule",
                        OBJECTS * 3 / 4);
        at->schedule = ambit__schedule_number;
        memset(&at->object, 0, sizeof at->object);
        at->object.address = address;
        at->object.kind = kind;
        return &at->object;
    }
}

void ambit__objects_reset(void) {
    used = 0;
    ordinal_count = 0;
    for (unsigned i = 0; i < kept_count; i++)
        *ambit__object_at(kept[i].address, kept[i].kind) = kept[i];
}

void ambit__objects_keep(void) {
    kept_count = 0;
    for (unsigned i = 0; i < OBJECTS && kept_count < OBJECTS / 4; i++) {
        if (slots[i].schedule != ambit__schedule_number) continue;
        ambit__object *object = &kept[kept_count++];
        *object = slots[i].object;
        memset(&object->released, 0, sizeof object->released); /* all that was before is known */
    }
}

void ambit__objects_forget(void) { kept_count = 0; }

void ambit__release_to(ambit__vector *released) {
    ambit__schedule_thread *self = ambit__self;
    ambit__vector_join(released, &self->happens);
    self->happens.at[self->index]++; /* what it does from here on is not in it */
}

void ambit__acquire_from(const ambit__vector *released) {
    ambit__vector_join(&ambit__self->happens, released);
}
