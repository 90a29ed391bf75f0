/* Magazines: the long way of what pool_inline.h does in a few instructions, and visits. */
#include "pool/pool.h"

#include "base/memory.h"

__thread ambit__pool_local ambit__pools_of_thread;

/* ---- A thread's own -------------------------------------------------------------------------- */

static void link_cartridge(ambit_pool *pool, ambit__cartridge *cartridge) {
    cartridge->next = pool->cartridges;
    if (pool->cartridges) pool->cartridges->previous = cartridge;
    pool->cartridges = cartridge;
}

static void unlink_cartridge(ambit_pool *pool, ambit__cartridge *cartridge) {
    if (cartridge->next) cartridge->next->previous = cartridge->previous;
    if (cartridge->previous)
        cartridge->previous->next = cartridge->next;
    else
        pool->cartridges = cartridge->next;
}

static ambit__cartridge *new_cartridge(ambit_pool *pool) {
    /* Whoever has a magazine is told when it ends. */
    if (!ambit__thread_self()) return NULL;
    ambit__cartridge *cartridge = ambit__allocate_zero(sizeof *cartridge, 64);
    if (!cartridge) return NULL;
    cartridge->magazine.capacity = pool->capacity;
    cartridge->pool = pool;
    cartridge->local = &ambit__pools_of_thread;
    return cartridge;
}

static _Atomic(ambit__magazine *) *slot_of(const ambit__cartridge *cartridge) {
    return &cartridge->local->magazines[ambit__pool_index(cartridge->pool)];
}

/* With the lock nobody visits, so an empty slot of this thread's says that it has none. */
AMBIT__UNCHECKED ambit__magazine *ambit__magazine_own(ambit_pool *pool) {
    uint32_t index = ambit__pool_index(pool);
    if (index == AMBIT__POOLS_FAST) return NULL;
    ambit__magazine *magazine = ambit__load_relaxed(&ambit__pools_of_thread.magazines[index]);
    if (ambit__likely(magazine != NULL)) return magazine;
    ambit__spin_unlock(&pool->lock);
    ambit__cartridge *cartridge = new_cartridge(pool);
    ambit__spin_lock(&pool->lock);
    if (!cartridge) return NULL;
    link_cartridge(pool, cartridge);
    ambit__store_relaxed(slot_of(cartridge), &cartridge->magazine); /* this thread's own */
    return &cartridge->magazine;
}

static void take_items(ambit_pool *pool, ambit__magazine *magazine, uint32_t down_to) {
    uint32_t count = ambit__load_relaxed(&magazine->count);
    while (count > down_to) ambit__depot_push(pool, magazine->items[--count]);
    ambit__store_relaxed(&magazine->count, count);
}

void ambit__magazine_fill(ambit_pool *pool, ambit__magazine *magazine) {
    uint32_t count = ambit__load_relaxed(&magazine->count);
    ambit__object *object;
    while (count < (magazine->capacity + 1) / 2 && (object = ambit__depot_pop(pool))) {
        __builtin_prefetch(object, 1);
        magazine->items[count++] = object;
    }
    ambit__store_relaxed(&magazine->count, count);
}

void ambit__magazine_spill(ambit_pool *pool, ambit__magazine *magazine) {
    take_items(pool, magazine, magazine->capacity / 2);
}

/* ---- Visits ---------------------------------------------------------------------------------- */

/* Sends the owner away; a heavy barrier has to follow, and wait_outside(). */
static void close_slot(ambit__cartridge *cartridge) {
    ambit__store_relaxed(slot_of(cartridge), NULL); /* V1 */
}

static void wait_outside(const ambit__cartridge *cartridge) {
    for (unsigned attempt = 0; ambit__load_acquire(&cartridge->local->inside);) /* V2 */
        ambit__backoff(attempt++);
}

/* Whether nobody has used it since the last look, and there is something in it. */
static bool rests(ambit__cartridge *cartridge) {
    uint64_t gets = ambit__load_relaxed(&cartridge->magazine.gets);
    uint32_t count = ambit__load_relaxed(&cartridge->magazine.count);
    bool same = gets == cartridge->gets_before && count == cartridge->count_before;
    cartridge->gets_before = gets;
    cartridge->count_before = count;
    return same && count;
}

void ambit__magazines_rest(ambit_pool *pool, bool all) {
    bool any = false;
    for (ambit__cartridge *at = pool->cartridges; at; at = at->next) {
        at->visited = rests(at) || (all && at->count_before);
        if (at->visited) close_slot(at);
        any |= at->visited;
    }
    if (!any) return;
    ambit__heavy_barrier();
    for (ambit__cartridge *at = pool->cartridges; at; at = at->next) {
        if (!at->visited) continue;
        wait_outside(at);
        take_items(pool, &at->magazine, 0);
        at->count_before = 0;
        ambit__store_release(slot_of(at), &at->magazine); /* V3 */
    }
}

ambit__cartridge *ambit__magazines_remove(ambit_pool *pool) {
    ambit__cartridge *all = pool->cartridges;
    for (ambit__cartridge *at = all; at; at = at->next) close_slot(at);
    if (all) ambit__heavy_barrier();
    for (ambit__cartridge *at = all; at; at = at->next) {
        wait_outside(at);
        take_items(pool, &at->magazine, 0);
        pool->gets += ambit__load_relaxed(&at->magazine.gets);
    }
    pool->cartridges = NULL;
    return all;
}

void ambit__magazines_release(ambit__cartridge *cartridges) {
    while (cartridges) {
        ambit__cartridge *next = cartridges->next;
        ambit__release(cartridges, sizeof *cartridges, 64);
        cartridges = next;
    }
}

/* ---- Threads that end, and a fork ------------------------------------------------------------ */

static void thread_leaves(ambit_pool *pool, ambit__pool_local *local) {
    ambit__cartridge *cartridge = NULL;
    ambit__spin_lock(&pool->lock);
    for (ambit__cartridge *at = pool->cartridges; at && !cartridge; at = at->next)
        if (at->local == local) cartridge = at;
    if (cartridge) {
        close_slot(cartridge);
        take_items(pool, &cartridge->magazine, 0);
        pool->gets += ambit__load_relaxed(&cartridge->magazine.gets);
        unlink_cartridge(pool, cartridge);
    }
    ambit__spin_unlock(&pool->lock);
    ambit__release(cartridge, sizeof *cartridge, 64);
}

void ambit__magazines_thread_ends(ambit__thread *unused) {
    (void)unused;
    for (ambit_pool *pool = ambit__pools(); pool; pool = pool->next)
        thread_leaves(pool, &ambit__pools_of_thread);
}

/* The memory of those that did not come along is lost: they are few, and it may be in use by a copy that
 * was half made. */
AMBIT__UNCHECKED void ambit__magazines_forked(ambit_pool *pool) {
    ambit__cartridge *own = NULL;
    for (ambit__cartridge *at = pool->cartridges; at; at = at->next) {
        if (at->local == &ambit__pools_of_thread)
            own = at;
        else
            pool->gets += ambit__load_relaxed(&at->magazine.gets);
    }
    pool->cartridges = own;
    if (!own) return;
    own->next = own->previous = NULL;
    /* A visitor that did not come along may have sent this thread away. */
    ambit__store_relaxed(slot_of(own), &own->magazine);
    ambit__store_relaxed(&own->magazine.count, 0); /* what is in it is found in the roster */
}
