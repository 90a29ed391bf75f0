/* Slabs: chunks of objects of one type, never given back. */
#include "census/slab.h"

#include <stddef.h>

#include "base/memory.h"

enum { CHUNK_BYTES = 64 * 1024, MOVED = AMBIT__CACHE_ITEMS / 2 };

typedef struct ambit__chunk {
    struct ambit__chunk *next;
    uint32_t count;
} __attribute__((aligned(64))) ambit__chunk;

/* What a free object in the depot holds behind its entry. The link is atomic because a walk that
 * saw the object alive a moment ago may be reading these bytes. */
typedef struct ambit__free {
    ambit__entry entry;
    _Atomic(struct ambit__free *) next;
} ambit__free;

static ambit__entry *object_at(const ambit__slab *slab, ambit__chunk *chunk, uint32_t index) {
    return (ambit__entry *)(void *)((char *)(chunk + 1) + (size_t)index * slab->object_bytes);
}

static void depot_push_locked(ambit__slab *slab, void *object) {
    ambit__free *free_object = object;
    ambit__store_relaxed(&free_object->next, slab->depot);
    slab->depot = free_object;
}

/* Fills the stack from the depot. */
static void take_from_depot(ambit__slab *slab, ambit__cache *cache) {
    ambit__spin_lock(&slab->lock);
    while (cache->count < MOVED && slab->depot) {
        ambit__free *object = slab->depot;
        slab->depot = ambit__load_relaxed(&object->next);
        cache->items[cache->count++] = object;
    }
    ambit__spin_unlock(&slab->lock);
}

static void add_chunk(ambit__slab *slab, ambit__cache *cache) {
    uint32_t count = (uint32_t)((CHUNK_BYTES - sizeof(ambit__chunk)) / slab->object_bytes);
    ambit__chunk *chunk =
        ambit__allocate_zero(sizeof *chunk + (size_t)count * slab->object_bytes, 64);
    if (!chunk) return;
    chunk->count = count;
    ambit__spin_lock(&slab->lock);
    for (uint32_t i = count; i-- > 0;) {
        if (i < MOVED)
            cache->items[cache->count++] = object_at(slab, chunk, i);
        else
            depot_push_locked(slab, object_at(slab, chunk, i));
    }
    chunk->next = ambit__load_relaxed(&slab->chunks);
    /* Release pairs with the acquire in ambit__slab_walk(): the chunk is zero before it is seen. */
    ambit__store_release(&slab->chunks, chunk);
    ambit__spin_unlock(&slab->lock);
}

void *ambit__slab_refill(ambit__slab *slab, ambit__thread *self) {
    ambit__cache *cache = &self->caches[slab->kind];
    /* Before anyone takes the lock: relaxed, since who sees a chunk comes after that. */
    if (ambit__unlikely(!ambit__load_relaxed(&slab->chunks))) ambit__fork_holds(&slab->lock);
    take_from_depot(slab, cache);
    if (!cache->count) add_chunk(slab, cache);
    return cache->count ? cache->items[--cache->count] : NULL;
}

void ambit__slab_spill(ambit__slab *slab, ambit__thread *self, void *object) {
    ambit__spin_lock(&slab->lock);
    depot_push_locked(slab, object);
    if (self) {
        ambit__cache *cache = &self->caches[slab->kind];
        while (cache->count > MOVED) depot_push_locked(slab, cache->items[--cache->count]);
    }
    ambit__spin_unlock(&slab->lock);
}

void ambit__slab_walk(ambit__slab *slab,
                      void (*visit)(ambit__slab *slab, ambit__entry *entry, void *argument),
                      void *argument) {
    /* Acquire pairs with the release in add_chunk(). */
    for (ambit__chunk *chunk = ambit__load_acquire(&slab->chunks); chunk; chunk = chunk->next) {
        for (uint32_t i = 0; i < chunk->count; i++) {
            ambit__entry *entry = object_at(slab, chunk, i);
            /* Acquire pairs with the release in ambit__slab_born(). */
            if (ambit__load_acquire(&entry->site)) visit(slab, entry, argument);
        }
    }
}

ambit__slab *ambit__slab_of(ambit_kind kind) {
    switch (kind) {
    case AMBIT_KIND_CTX:
        return &ambit__slab_ctx;
    case AMBIT_KIND_HOLD:
        return &ambit__slab_hold;
    case AMBIT_KIND_TIMER:
        return &ambit__slab_timer;
    }
    return NULL;
}
