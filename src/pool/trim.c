/* Trimming: what a burst left behind goes back.
 *
 * A period's surplus is the smallest number of objects that the depot had during it: so many were never
 * needed. What two periods in a row had no need for is destroyed (the working set of Bonwick and Adams,
 * USENIX 2001). What rests in magazines of threads that used none of it for a period counts as free from
 * the next one on. The timer runs while there are objects, and destroys some at a time, since it holds
 * up other timers. */
#include "pool/pool.h"

enum { AT_A_TIME = 1024, TAKEN = 64 };
#define SOON_NS AMBIT_MILLISECOND

static ambit_pool *pool_of(ambit__timer_node *node) {
    return (ambit_pool *)(void *)((char *)node - offsetof(ambit_pool, timer));
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Takes up to TAKEN of `wanted` objects out of the depot. */
static uint32_t take_surplus(ambit_pool *pool, ambit__object **out, uint32_t wanted) {
    uint32_t count = 0;
    ambit__spin_lock(&pool->lock);
    wanted = smaller(smaller(wanted, pool->surplus), TAKEN);
    while (count < wanted && (out[count] = ambit__depot_pop(pool))) count++;
    pool->surplus = count < wanted ? 0 : pool->surplus - count;
    /* What goes by our own hand was not needed by anyone. */
    pool->lowest_before = smaller(pool->lowest_before, pool->depot);
    ambit__spin_unlock(&pool->lock);
    return count;
}

static size_t destroy_surplus(ambit_pool *pool, size_t limit) {
    ambit__object *taken[TAKEN];
    size_t done = 0;
    for (uint32_t count = 1; count && done < limit; done += count) {
        uint32_t wanted = limit - done < TAKEN ? (uint32_t)(limit - done) : TAKEN;
        count = take_surplus(pool, taken, wanted);
        for (uint32_t i = 0; i < count; i++) ambit__object_end(taken[i]);
    }
    return done;
}

size_t ambit_pool_trim(ambit_pool *pool) {
    ambit__pool_check(pool, __func__, NULL);
    ambit__spin_lock(&pool->lock);
    ambit__magazines_rest(pool, true);
    pool->surplus = pool->depot;
    ambit__spin_unlock(&pool->lock);
    return destroy_surplus(pool, SIZE_MAX) + ambit__quarantine_empty(pool);
}

/* ---- By time --------------------------------------------------------------------------------- */

static void end_period(ambit_pool *pool) {
    ambit__spin_lock(&pool->lock);
    if (!pool->surplus) {
        pool->surplus = smaller(pool->lowest, pool->lowest_before);
        pool->lowest_before = pool->lowest;
        ambit__magazines_rest(pool, false);
        pool->lowest = pool->depot;
    }
    ambit__spin_unlock(&pool->lock);
}

static void fire(ambit__timer_node *node) {
    ambit_pool *pool = pool_of(node);
    end_period(pool);
    (void)destroy_surplus(pool, AT_A_TIME);
}

static void arm(ambit_pool *pool, int64_t after_ns) {
    if (ambit__timer_node_arm(&pool->timer, ambit__clock_now() + after_ns, fire))
        /* No memory or no thread: the next object that is made tries again. Release pairs with the acquire
         * in ambit__trim_wake(): the node is that one's then. */
        ambit__store_release(&pool->trimming, 0);
}

static void fired(ambit__timer_node *node) {
    ambit_pool *pool = pool_of(node);
    ambit__spin_lock(&pool->lock);
    bool soon = pool->surplus != 0;
    bool idle = !pool->objects;
    ambit__spin_unlock(&pool->lock);
    if (idle)
        /* Relaxed: the object of who wakes it next counts, under the lock, after that was looked at. */
        ambit__store_relaxed(&pool->trimming, 0);
    else
        arm(pool, soon ? SOON_NS : pool->options.trim_ns);
}

void ambit__trim_wake(ambit_pool *pool) {
    if (pool->options.trim_ns == AMBIT_NEVER || ambit__load_relaxed(&pool->trimming) ||
        ambit__exchange_acquire(&pool->trimming, 1))
        return;
    pool->timer.fired = fired;
    arm(pool, pool->options.trim_ns);
}

/* The timer's own `fired` may be about to arm it again. Relaxed: it has had the pool's lock before, which
 * the caller takes after. */
void ambit__trim_stop(ambit_pool *pool) {
    for (unsigned attempt = 0; ambit__load_relaxed(&pool->trimming); attempt++) {
        ambit_disarm found = ambit__timer_node_disarm(&pool->timer);
        if (found == AMBIT_FIRING_HERE)
            ambit__bug("ambit_pool_close", "expected a call from outside of the pool's hooks", NULL,
                       NULL);
        if (found == AMBIT_DISARMED)
            ambit__store_relaxed(&pool->trimming, 0);
        else
            ambit__backoff(attempt);
    }
}

void ambit__trim_forked(ambit_pool *pool) {
    pool->timer = (ambit__timer_node){.wheel = NULL};
    ambit__store_relaxed(&pool->trimming, 0);
}
