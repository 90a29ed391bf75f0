/* Opening and closing, and all pools there are. */
#include "pool/pool.h"

#include "base/memory.h"

enum { ALIGNMENT_MAX = 4096, DEFAULT_ALIGNMENT = 16, MAGAZINE_BYTES = 64 * 1024 };
#define DEFAULT_TRIM_NS (5 * AMBIT_SECOND)

static ambit__spin lock = {AMBIT__RANKED(AMBIT__RANK_POOLS)};
static _Atomic(ambit_pool *) pools; /* newest first; only ever added to, under the lock */
static uint64_t indexes AMBIT__GUARDED_BY(lock); /* a bit for each in use */
static _Atomic(uint32_t) hooking, hooked;        /* the hooks of forks and of threads' ends */

/* Acquire pairs with the release in add_pool(). */
ambit_pool *ambit__pools(void) { return ambit__load_acquire(&pools); }

__attribute__((noreturn, cold, noinline)) static void
check_failed(ambit_pool *pool, const char *function, const ambit_site *site) {
    if (!pool) ambit__bug(function, "expected a pool, found NULL", site, NULL);
    ambit__bug(function, "expected an open pool, found one that was closed", site,
               ambit__load_relaxed(&pool->closed_site));
}

void ambit__pool_check(ambit_pool *pool, const char *function, const ambit_site *site) {
    if (ambit__unlikely(!pool || !ambit__load_relaxed(&pool->site)))
        check_failed(pool, function, site);
}

/* ---- Opening --------------------------------------------------------------------------------- */

static bool accept(ambit_pool_options *options) {
    if (!options->alignment) options->alignment = DEFAULT_ALIGNMENT;
    if (!options->trim_ns) options->trim_ns = DEFAULT_TRIM_NS;
    bool good = options->object_bytes && options->object_bytes <= AMBIT_POOL_OBJECT_MAX &&
                options->alignment <= ALIGNMENT_MAX &&
                !(options->alignment & (options->alignment - 1)) && options->trim_ns > 0 &&
                options->quarantine <= AMBIT_POOL_QUARANTINE_MAX;
    if (options->alignment < _Alignof(ambit__object)) options->alignment = _Alignof(ambit__object);
    return good;
}

/* As many as fit into MAGAZINE_BYTES, at least two. */
static uint32_t capacity_for(size_t object_bytes) {
    size_t fit = MAGAZINE_BYTES / object_bytes;
    if (fit < 2) return 2;
    return fit < AMBIT__MAGAZINE_ITEMS ? (uint32_t)fit : AMBIT__MAGAZINE_ITEMS;
}

/* In the child, alone. */
AMBIT__UNCHECKED static void forked(void) {
    ambit__spin_reset(&lock);
    ambit__store_relaxed(&ambit__pools_of_thread.inside, 0);
    for (ambit_pool *pool = ambit__load_relaxed(&pools); pool; pool = pool->next) {
        ambit__spin_reset(&pool->lock);
        ambit__magazines_forked(pool);
        ambit__roster_forked(pool);
        ambit__trim_forked(pool);
    }
}

/* Who returns from here has the hooks. Acquire pairs with the release: who goes on from here ends after the
 * hooks are there, and so is told. */
static void hook_once(void) {
    for (unsigned attempt = 0; !ambit__load_acquire(&hooked); ambit__backoff(attempt++)) {
        if (ambit__exchange_relaxed(&hooking, 1)) continue;
        ambit__census_ready();
        ambit__on_fork(forked);
        ambit__thread_on_exit(ambit__magazines_thread_ends);
        ambit__store_release(&hooked, 1);
        return;
    }
}

static ambit_pool *take_closed(void) {
    ambit_pool *pool = ambit__load_relaxed(&pools);
    while (pool && pool->used) pool = pool->next;
    if (pool) pool->used = true;
    return pool;
}

static void add_pool(ambit_pool *pool) {
    AMBIT__RANK_SET(&pool->lock, AMBIT__RANK_POOL);
    pool->used = true;
    pool->next = ambit__load_relaxed(&pools);
    ambit__store_release(&pools, pool); /* pairs with the acquire in ambit__pools() */
}

/* A struct that is not in use, new or used before. */
static ambit_pool *take_struct(void) {
    ambit__spin_lock(&lock);
    ambit_pool *pool = take_closed();
    ambit__spin_unlock(&lock);
    if (pool) return pool;
    pool = ambit__allocate_zero(sizeof *pool, 64);
    if (!pool) return NULL;
    ambit__spin_lock(&lock);
    add_pool(pool);
    ambit__spin_unlock(&lock);
    return pool;
}

/* Without the heavy barrier nobody could visit a magazine, so there are none. */
static uint32_t take_index(void) {
    if (!ambit__heavy_barrier_works()) return AMBIT__POOLS_FAST;
    ambit__spin_lock(&lock);
    uint32_t index = ~indexes ? (uint32_t)__builtin_ctzll(~indexes) : AMBIT__POOLS_FAST;
    if (index < AMBIT__POOLS_FAST) indexes |= UINT64_C(1) << index;
    ambit__spin_unlock(&lock);
    return index;
}

static void give_back(ambit_pool *pool, uint32_t index) {
    ambit__spin_lock(&lock);
    if (index < AMBIT__POOLS_FAST) indexes &= ~(UINT64_C(1) << index);
    pool->used = false;
    ambit__spin_unlock(&lock);
}

static void fill(ambit_pool *pool, const ambit_pool_options *options, uint32_t index) {
    pool->options = *options;
    size_t alignment = options->alignment;
    pool->offset = (sizeof(ambit__object) + alignment - 1) & ~(alignment - 1);
    pool->capacity = capacity_for(options->object_bytes);
    pool->depot = pool->objects = pool->lowest = pool->lowest_before = pool->surplus = 0;
    pool->gets = pool->constructed = pool->destroyed = pool->refused = pool->starved = 0;
    pool->rest_first = pool->rest_count = 0;
    bool careful = options->reset || options->owned || options->quarantine || AMBIT__POISONS;
    ambit__store_relaxed(&pool->head.get_index, index);
    ambit__store_relaxed(&pool->head.put_index, careful ? AMBIT__POOLS_FAST : index);
}

ambit_status ambit_pool_open_at(const ambit_pool_options *given, ambit_pool **out,
                                const ambit_site *site) {
    *out = NULL;
    if (!given) ambit__bug("ambit_pool_open", "expected options, found NULL", site, NULL);
    ambit_pool_options options = *given;
    if (!accept(&options)) return AMBIT_EINVALID;
    hook_once();
    ambit_pool *pool = take_struct();
    if (!pool) return AMBIT_EMEMORY;
    ambit__object **quarantine = NULL;
    if (options.quarantine) {
        quarantine = ambit__allocate_zero(options.quarantine * sizeof(void *), sizeof(void *));
        if (!quarantine) {
            give_back(pool, AMBIT__POOLS_FAST);
            return AMBIT_EMEMORY;
        }
    }
    uint32_t index = take_index();
    ambit__spin_lock(&pool->lock);
    pool->quarantine = quarantine;
    fill(pool, &options, index);
    ambit__store_relaxed(&pool->site, site);
    ambit__spin_unlock(&pool->lock);
    *out = pool;
    return AMBIT_OK;
}

/* ---- Closing --------------------------------------------------------------------------------- */

static bool anything_out(ambit_pool *pool) {
    ambit__spin_lock(&pool->lock);
    ambit__cartridge *cartridges = ambit__magazines_remove(pool);
    bool out = pool->objects != pool->depot + pool->rest_count;
    ambit__spin_unlock(&pool->lock);
    ambit__magazines_release(cartridges);
    return out;
}

ambit_status ambit_pool_close_at(ambit_pool **given, const ambit_site *site) {
    ambit_pool *pool = *given;
    ambit__pool_check(pool, "ambit_pool_close", site);
    ambit__trim_stop(pool); /* what it destroys at this moment is not out */
    if (anything_out(pool)) {
        ambit__trim_wake(pool);
        return AMBIT_BUSY;
    }
    (void)ambit_pool_trim(pool);
    uint32_t index = ambit__pool_index(pool);
    ambit__spin_lock(&pool->lock);
    ambit__store_relaxed(&pool->closed_site, site);
    ambit__store_relaxed(&pool->site, NULL);
    ambit__store_relaxed(&pool->head.get_index, AMBIT__POOLS_FAST);
    ambit__store_relaxed(&pool->head.put_index, AMBIT__POOLS_FAST);
    ambit__spin_unlock(&pool->lock);
    ambit__roster_release(pool);
    ambit__release(pool->quarantine, pool->options.quarantine * sizeof(void *), sizeof(void *));
    give_back(pool, index);
    *given = NULL;
    return AMBIT_OK;
}
