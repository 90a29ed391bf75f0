/* Quarantine: what is put rests, destroyed and overwritten, until so many others have been put; then it
 * is looked at. Who wrote to it meanwhile has used it after its put. */
#include "pool/pool.h"

#include <string.h>

enum { PATTERN = 0xDB };

static void wake_up(ambit__object *object) {
    ambit_pool *pool = object->pool;
    const unsigned char *at = ambit__object_memory(object);
    AMBIT__UNPOISON(at, pool->options.object_bytes);
    for (size_t i = 0; i < pool->options.object_bytes; i++)
        if (at[i] != PATTERN)
            ambit__bug("ambit_pool_put",
                       "expected nobody to write to an object after it was put, found it changed",
                       NULL, ambit__load_relaxed(&object->put_site));
    (void)ambit__and_relaxed(&object->entry.marks,
                             ~(AMBIT__POOL_MARK_RESTS | AMBIT__POOL_MARK_PUT));
}

/* The one that has rested longest, to make room or to empty; NULL if there is none to go. */
static ambit__object *take_oldest(ambit_pool *pool, uint32_t more_than) {
    if (pool->rest_count <= more_than) return NULL;
    ambit__object *object = pool->quarantine[pool->rest_first];
    pool->rest_first = (pool->rest_first + 1) % pool->options.quarantine;
    pool->rest_count--;
    return object;
}

void ambit__quarantine_put(ambit__object *object) {
    ambit_pool *pool = object->pool;
    uint32_t size = pool->options.quarantine;
    ambit__object_destroy(object);
    memset(ambit__object_memory(object), PATTERN, pool->options.object_bytes);
    AMBIT__POISON(ambit__object_memory(object), pool->options.object_bytes);
    (void)ambit__or_relaxed(&object->entry.marks, AMBIT__POOL_MARK_RESTS);
    ambit__spin_lock(&pool->lock);
    ambit__object *oldest = take_oldest(pool, size - 1);
    pool->quarantine[(pool->rest_first + pool->rest_count++) % size] = object;
    ambit__spin_unlock(&pool->lock);
    if (!oldest) return;
    wake_up(oldest);
    if (ambit__object_construct(oldest))
        ambit__object_keep(oldest);
    else
        ambit__object_release(oldest);
}

size_t ambit__quarantine_empty(ambit_pool *pool) {
    for (size_t count = 0;; count++) {
        ambit__spin_lock(&pool->lock);
        ambit__object *object = take_oldest(pool, 0);
        ambit__spin_unlock(&pool->lock);
        if (!object) return count;
        wake_up(object);
        ambit__object_release(object);
    }
}
