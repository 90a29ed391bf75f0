/* The long ways of a put, and what is wrong with one. */
#include "pool/pool.h"

#include "census/verdict.h"

static void leave(void) { ambit__store_release(&ambit__pools_of_thread.inside, 0); /* A3 */ }

/* ---- Wrong puts ------------------------------------------------------------------------------ */

struct search {
    const ambit__object *wanted;
    ambit__object *found;
};

static void compare(ambit__object *object, void *argument) {
    struct search *search = argument;
    if (object == search->wanted) search->found = object;
}

/* By address alone: nobody knows what is there. */
static ambit__object *find(const ambit__object *wanted) {
    struct search search = {wanted, NULL};
    ambit__walk_begin();
    for (ambit_pool *pool = ambit__pools(); pool && !search.found; pool = pool->next)
        ambit__roster_walk(pool, compare, &search);
    ambit__walk_end();
    return search.found;
}

__attribute__((noreturn, cold)) static void put_of_stranger(const ambit__object *given,
                                                            const ambit_site *site) {
    ambit__object *object = find(given);
    if (!object)
        ambit__bug("ambit_pool_put",
                   "expected an object of this pool, found memory that no pool has given", site,
                   NULL);
    const ambit_site *got = ambit__load_relaxed(&object->entry.site);
    ambit__bug("ambit_pool_put", "expected an object of this pool, found one of another pool", site,
               got ? got : ambit__load_relaxed(&object->put_site));
}

__attribute__((noreturn, cold)) static void put_twice(const ambit__object *object,
                                                      const ambit_site *site) {
    ambit__bug("ambit_pool_put", "expected an object that is out, found one that was put already",
               site, ambit__load_relaxed(&object->put_site));
}

/* ---- Right ones ------------------------------------------------------------------------------ */

/* Beyond its limit the depot gives one up. */
static ambit__object *crowded_out(ambit_pool *pool) {
    uint32_t limit = pool->options.free_max;
    return limit && pool->depot > limit ? ambit__depot_pop(pool) : NULL;
}

void ambit__object_keep(ambit__object *object) {
    ambit_pool *pool = object->pool;
    AMBIT__POISON(ambit__object_memory(object), pool->options.object_bytes);
    ambit__spin_lock(&pool->lock);
    ambit__magazine *magazine = ambit__magazine_own(pool);
    if (magazine) {
        if (ambit__load_relaxed(&magazine->count) == magazine->capacity)
            ambit__magazine_spill(pool, magazine);
        uint32_t count = ambit__load_relaxed(&magazine->count);
        magazine->items[count] = object;
        ambit__store_relaxed(&magazine->count, count + 1);
    } else {
        ambit__depot_push(pool, object);
    }
    ambit__object *last = crowded_out(pool);
    ambit__spin_unlock(&pool->lock);
    while (last) {
        ambit__object_end(last);
        ambit__spin_lock(&pool->lock);
        last = crowded_out(pool);
        ambit__spin_unlock(&pool->lock);
    }
}

static void untie(ambit__object *object, const ambit_site *site) {
    if (ambit__load_relaxed(&object->entry.marks) & AMBIT__POOL_MARK_TIED &&
        !ambit__tie_cut(object))
        ambit__bug("ambit_pool_put",
                   "expected an object that is out, found one that its context is giving back",
                   site, NULL);
}

/* It has no site any more. */
static void finish(ambit__object *object) {
    const ambit_pool_options *options = &object->pool->options;
    void *memory = ambit__object_memory(object);
    if (ambit__load_relaxed(&object->entry.marks)) {
        untie(object, ambit__load_relaxed(&object->put_site));
        ambit__slab_gone(&object->entry);
        (void)ambit__and_relaxed(&object->entry.marks,
                                 ~(AMBIT__MARK_SAMPLED | AMBIT__MARK_LONG_LIVED));
    }
    /* Of two that put it at once, both of which found it out, one comes second here. */
    if (options->quarantine &&
        ambit__or_relaxed(&object->entry.marks, AMBIT__POOL_MARK_PUT) & AMBIT__POOL_MARK_PUT)
        put_twice(object, NULL);
    if (options->reset) options->reset(memory, options->user);
    if (options->owned && options->owned(memory, options->user) > options->owned_max)
        ambit__object_end(object);
    else if (options->quarantine)
        ambit__quarantine_put(object);
    else
        ambit__object_keep(object);
}

void ambit__pool_put(ambit_pool *pool, void *memory, const ambit_site *site) {
    ambit__pool_check(pool, "ambit_pool_put", site);
    ambit__object *object = (ambit__object *)memory - 1;
    if (object->pool != pool) put_of_stranger(object, site);
    put_twice(object, site);
}

void ambit__pool_put_rest(ambit__object *object) {
    leave();
    finish(object);
}
