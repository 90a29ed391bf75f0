/* The long way of a get. */
#include "pool/pool.h"

#include "timer/stamp.h"

static ambit__object *take(ambit_pool *pool) {
    ambit__object *object = NULL;
    ambit__spin_lock(&pool->lock);
    ambit__magazine *magazine = ambit__magazine_own(pool);
    if (magazine) {
        if (!ambit__load_relaxed(&magazine->count)) ambit__magazine_fill(pool, magazine);
        uint32_t count = ambit__load_relaxed(&magazine->count);
        if (count) {
            object = magazine->items[count - 1];
            ambit__store_relaxed(&magazine->count, count - 1);
        }
    } else {
        object = ambit__depot_pop(pool);
    }
    if (object) pool->gets++;
    ambit__spin_unlock(&pool->lock);
    return object;
}

static ambit__object *make(ambit_pool *pool) {
    ambit__object *object = ambit__object_new(pool);
    if (!object) return NULL;
    ambit__spin_lock(&pool->lock);
    pool->gets++;
    ambit__spin_unlock(&pool->lock);
    ambit__trim_wake(pool);
    return object;
}

void *ambit__pool_get(ambit_pool *pool, const ambit_site *site) {
    /* A3. Nothing was done on the way here, but the visitor that sees this one may not see the one before,
     * of the last call, which released what that has done. */
    ambit__store_release(&ambit__pools_of_thread.inside, 0);
    ambit__pool_check(pool, "ambit_pool_get", site);
    ambit__object *object = take(pool);
    if (!object) object = make(pool);
    if (!object) return NULL;
    ambit__entry *entry = &object->entry;
    const ambit_site *taken = ambit__load_relaxed(&entry->site);
    if (ambit__unlikely(taken != NULL))
        ambit__bug(
            "ambit_pool_get",
            "expected a free object, found one that was put twice: by another put too, and is out "
            "since",
            ambit__load_relaxed(&object->put_site), taken);
    int64_t now_ns = ambit__load_relaxed(&ambit__stamp.now_ns);
    /* As in ambit_pool_get_at(). */
    ambit__store_release(&entry->birth_ns, now_ns ? now_ns : ambit__stamp_wake());
    if (ambit__unlikely(ambit__load_relaxed(&ambit__sampling.mean))) ambit__slab_sample(entry);
    ambit__store_release(&entry->site, site);
    AMBIT__UNPOISON(ambit__object_memory(object), pool->options.object_bytes);
    return ambit__object_memory(object);
}
