/* Making objects and ending them. */
#include "pool/pool.h"

#include "base/memory.h"

static size_t memory_bytes(const ambit_pool *pool) {
    return pool->offset + pool->options.object_bytes;
}
static size_t memory_alignment(const ambit_pool *pool) { return pool->options.alignment; }

bool ambit__object_construct(ambit__object *object) {
    ambit_pool *pool = object->pool;
    const ambit_pool_options *options = &pool->options;
    if (options->construct && options->construct(ambit__object_memory(object), options->user)) {
        ambit__spin_lock(&pool->lock);
        pool->refused++;
        ambit__spin_unlock(&pool->lock);
        return false;
    }
    ambit__spin_lock(&pool->lock);
    pool->constructed++;
    ambit__spin_unlock(&pool->lock);
    return true;
}

void ambit__object_destroy(ambit__object *object) {
    ambit_pool *pool = object->pool;
    AMBIT__UNPOISON(ambit__object_memory(object), pool->options.object_bytes);
    if (pool->options.destroy)
        pool->options.destroy(ambit__object_memory(object), pool->options.user);
    ambit__spin_lock(&pool->lock);
    pool->destroyed++;
    ambit__spin_unlock(&pool->lock);
}

/* A walk may still read its entry, which is that of a free one. */
void ambit__object_release(ambit__object *object) {
    ambit_pool *pool = object->pool;
    _Static_assert(sizeof *object >= sizeof object->entry + sizeof(ambit__retired),
                   "the note of the release stands behind the entry");
    ambit__roster_give_back(pool, object->place);
    ambit__retired *retired = (ambit__retired *)(void *)(&object->entry + 1);
    *retired = (ambit__retired){NULL, (char *)ambit__object_memory(object) - pool->offset,
                                memory_bytes(pool), memory_alignment(pool)};
    ambit__walk_release(retired);
}

void ambit__object_end(ambit__object *object) {
    ambit__object_destroy(object);
    ambit__object_release(object);
}

static ambit__object *make(ambit_pool *pool, uintptr_t place) {
    char *memory = ambit__allocate(memory_bytes(pool), memory_alignment(pool));
    if (!memory) return NULL;
    ambit__object *object = (ambit__object *)(void *)(memory + pool->offset) - 1;
    *object = (ambit__object){.pool = pool, .place = place};
    ambit__store_relaxed(&object->entry.bytes, pool->options.object_bytes);
    return object;
}

static void note_starved(ambit_pool *pool) {
    ambit__spin_lock(&pool->lock);
    pool->starved++;
    ambit__spin_unlock(&pool->lock);
}

ambit__object *ambit__object_new(ambit_pool *pool) {
    uintptr_t place;
    if (!ambit__roster_take(pool, &place)) {
        note_starved(pool);
        return NULL;
    }
    ambit__object *object = make(pool, place);
    if (!object) {
        ambit__roster_give_back(pool, place);
        note_starved(pool);
        return NULL;
    }
    if (!ambit__object_construct(object)) {
        ambit__object_release(object);
        return NULL;
    }
    ambit__roster_set(pool, place, object);
    return object;
}
