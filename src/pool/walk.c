/* What is out, for the census and for the program, and the figures. */
#include "pool/pool.h"

#include "base/clock.h"

/* ---- The census ------------------------------------------------------------------------------ */

static void inspect(const ambit__entry *entry, ambit__facts *facts) {
    (void)entry;
    facts->deadline_ns = AMBIT_NEVER;
}

struct visiting {
    ambit__slab_visit *visit;
    void *argument;
};

static void visit_one(ambit__object *object, void *argument) {
    const struct visiting *visiting = argument;
    /* A glance, as in ambit__slab_walk(). */
    if (ambit__load_relaxed(&object->entry.site))
        visiting->visit(&ambit__slab_object, &object->entry, visiting->argument);
}

static void walk(ambit__slab_visit *visit, void *argument) {
    struct visiting visiting = {visit, argument};
    for (ambit_pool *pool = ambit__pools(); pool; pool = pool->next)
        ambit__roster_walk(pool, visit_one, &visiting);
}

ambit__slab ambit__slab_object = {AMBIT__SLAB_LOCK, .kind = AMBIT_KIND_OBJECT, .inspect = inspect,
                                  .walk = walk};

/* ---- The program ----------------------------------------------------------------------------- */

struct telling {
    ambit_pool_teller *tell;
    void *user;
    int64_t now_ns;
    size_t told;
};

static void tell_one(ambit__object *object, void *argument) {
    struct telling *telling = argument;
    int64_t birth_ns = ambit__load_acquire(&object->entry.birth_ns);
    const ambit_site *site = ambit__load_acquire(&object->entry.site);
    if (!site || ambit__load_relaxed(&object->entry.birth_ns) != birth_ns) return;
    int64_t age_ns = telling->now_ns > birth_ns ? telling->now_ns - birth_ns : 0;
    telling->told++;
    telling->tell(ambit__object_memory(object), site, age_ns, telling->user);
}

size_t ambit_pool_each_out(ambit_pool *pool, ambit_pool_teller *tell, void *user) {
    ambit__pool_check(pool, __func__, NULL);
    struct telling telling = {tell, user, ambit__clock_coarse(), 0};
    ambit__walk_begin();
    ambit__roster_walk(pool, tell_one, &telling);
    ambit__walk_end();
    return telling.told;
}

void ambit_pool_stats_read(ambit_pool *pool, ambit_pool_stats *stats) {
    ambit__pool_check(pool, __func__, NULL);
    ambit__spin_lock(&pool->lock);
    uint64_t idle = pool->depot, gets = pool->gets, magazines = 0;
    for (const ambit__cartridge *at = pool->cartridges; at; at = at->next) {
        idle += ambit__load_relaxed(&at->magazine.count);
        gets += ambit__load_relaxed(&at->magazine.gets);
        magazines++;
    }
    uint64_t objects = pool->objects - pool->rest_count;
    uint64_t leaves = pool->last_leaf ? pool->last_leaf->number + 1u : 0;
    *stats = (ambit_pool_stats){
        .free = idle < objects ? idle : objects,
        .out = objects - (idle < objects ? idle : objects),
        .quarantined = pool->rest_count,
        .bytes = pool->objects * (pool->offset + pool->options.object_bytes) +
                 magazines * sizeof(ambit__cartridge) + leaves * sizeof(ambit__leaf),
        .gets = gets,
        .constructed = pool->constructed,
        .destroyed = pool->destroyed,
        .refused = pool->refused,
        .starved = pool->starved,
    };
    ambit__spin_unlock(&pool->lock);
}
