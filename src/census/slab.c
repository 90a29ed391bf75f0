/* Slabs: chunks of objects of one type, never given back. */
#include "census/slab.h"

#include <stddef.h>

#include "base/memory.h"
#include "census/stack.h"
#include "census/verdict.h"

#ifndef AMBIT__CHUNK_OBJECTS /* the controlled scheduler's build has a few */
#define AMBIT__CHUNK_OBJECTS ((64 * 1024 - sizeof(ambit__chunk)) / slab->object_bytes)
#endif
enum { MOVED = AMBIT__CACHE_ITEMS / 2 };

/* Two lines are fetched at once on most machines, and a timer is two. */
typedef struct ambit__chunk {
    struct ambit__chunk *next;
    uint32_t count;
} __attribute__((aligned(128))) ambit__chunk;

static ambit__entry *object_at(const ambit__slab *slab, ambit__chunk *chunk, uint32_t index) {
    return (ambit__entry *)(void *)((char *)(chunk + 1) + (size_t)index * slab->object_bytes);
}

/* The depot is one word, and its chain whole before and after each store to it: a child of fork()
 * that came in between finds it whole and has only to open the lock. Release keeps the link's store
 * in front of it. */
static void depot_push_locked(ambit__slab *slab, void *object) {
    ambit__free *free_object = object;
    ambit__free_link(free_object, ambit__load_relaxed(&slab->depot));
    ambit__store_release(&slab->depot, free_object);
}

/* Fills the stack from the depot. */
static void take_from_depot(ambit__slab *slab, ambit__cache *cache) {
    ambit__spin_lock(&slab->lock);
    ambit__free *object;
    while (cache->count < MOVED && (object = ambit__load_relaxed(&slab->depot))) {
        ambit__store_relaxed(&slab->depot, ambit__load_relaxed(&object->next));
        cache->items[cache->count++] = object;
    }
    ambit__spin_unlock(&slab->lock);
}

static void add_chunk(ambit__slab *slab, ambit__cache *cache) {
    ambit__census_ready();
    uint32_t count = (uint32_t)AMBIT__CHUNK_OBJECTS;
    ambit__chunk *chunk =
        ambit__allocate_zero(sizeof *chunk + (size_t)count * slab->object_bytes, 128);
    if (!chunk) return;
    chunk->count = count;
    ambit__spin_lock(&slab->lock);
    chunk->next = ambit__load_relaxed(&slab->chunks);
    /* Before its objects can be had, so that walks see them all. Release pairs with the acquire in
     * ambit__slab_walk(): the chunk is zero before it is seen. */
    ambit__store_release(&slab->chunks, chunk);
    for (uint32_t i = count; i-- > 0;) {
        if (i < MOVED)
            cache->items[cache->count++] = object_at(slab, chunk, i);
        else
            depot_push_locked(slab, object_at(slab, chunk, i));
    }
    ambit__spin_unlock(&slab->lock);
}

void *ambit__slab_refill(ambit__slab *slab, ambit__thread *self) {
    ambit__cache *cache = &self->caches[slab->kind];
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

void ambit__slab_walk(ambit__slab *slab, ambit__slab_visit *visit, void *argument) {
    if (slab->walk) slab->walk(visit, argument);
    /* Acquire pairs with the release in add_chunk(). */
    for (ambit__chunk *chunk = ambit__load_acquire(&slab->chunks); chunk; chunk = chunk->next) {
        for (uint32_t i = 0; i < chunk->count; i++) {
            ambit__entry *entry = object_at(slab, chunk, i);
            /* A glance: who visits reads the site again, with acquire. */
            if (ambit__load_relaxed(&entry->site)) visit(slab, entry, argument);
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
    case AMBIT_KIND_OBJECT:
        return &ambit__slab_object;
    }
    return NULL;
}

/* ---- What goes, and what a fork leaves ------------------------------------------------------- */

void ambit__slab_gone(ambit__entry *entry) {
    uint32_t marks = ambit__load_relaxed(&entry->marks);
    if (marks & AMBIT__MARK_REPORTED) ambit__verdict_gone(entry);
    if (marks & AMBIT__MARK_SAMPLED) ambit__stack_put(ambit__load_relaxed(&entry->stack));
}

/* Alone in the child. Threads that held one of these locks did not come along. */
static void forked(void) {
    for (int kind = 0; kind < AMBIT_KIND_COUNT; kind++)
        ambit__spin_reset(&ambit__slab_of((ambit_kind)kind)->lock);
    ambit__stacks_forked();
    ambit__verdict_forked();
    ambit__watcher_forked();
}

void ambit__census_ready(void) {
    static _Atomic(uint32_t) registered; /* nothing is read by it, so it orders nothing */
    if (!ambit__load_relaxed(&registered) && !ambit__or_relaxed(&registered, 1))
        ambit__on_fork(forked);
}
