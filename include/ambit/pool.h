/* Object pools: like objects that are built once and lent many times, by any thread to any thread.
 *
 * Each thread has a magazine of free objects for each pool and exchanges half of it with the pool's
 * depot (Bonwick and Adams, "Magazines and Vmem", USENIX 2001): a get and a put that find it neither
 * empty nor full are a few plain instructions. What the depot had no use for during two periods of
 * trimming is destroyed, and what threads that rest have in their magazines goes back to the depot, so
 * the memory of a burst is given back.
 *
 *     static void *buffers_out(ambit_pool *buffers, ambit_ctx *request) {
 *         return ambit_pool_borrow(buffers, request);  // goes back when the request closes
 *     }
 *
 * What is out stands in the census: by line, count, bytes and age. That time is read from a word that
 * is renewed every tenth of a second, so an age may be that much too high.
 *
 * CAUGHT, with both lines: an object put twice, put into another pool than its own, and memory that no
 * pool has given. Two threads that put one object at the very same moment are caught for sure only
 * with a quarantine, and otherwise when the object is given again. With AddressSanitizer a
 * free object may not be touched; without it a quarantine finds writes after a put.
 *
 * FORK: a child has the pool and all that its parent had free; what other threads had out stays out.
 * SIGNALS: no call of these from a signal handler. */
#ifndef AMBIT_POOL_H
#define AMBIT_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "ambit/clock.h"
#include "ambit/ctx.h"
#include "ambit/site.h"
#include "ambit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ambit_pool ambit_pool;

/* Zero is a good value for all but `object_bytes`. Hooks run without a lock of the pool's; they may
 * use any pool, this one too. */
typedef struct ambit_pool_options {
    size_t object_bytes; /* 1 to AMBIT_POOL_OBJECT_MAX */
    size_t alignment;    /* a power of two, at most 4096; 0: 16 */
    const char *name;    /* for messages; must outlive the pool; NULL: none */

    /* Makes an object of memory that holds anything; 0, or it is not one and the get gives NULL. */
    int (*construct)(void *object, void *user);
    /* Called by each put, before anyone else can have the object. */
    void (*reset)(void *object, void *user);
    void (*destroy)(void *object, void *user);
    /* How many bytes the object owns elsewhere. Asked by each put, after `reset`: an object that has
     * more than `owned_max` is destroyed and not kept. */
    size_t (*owned)(const void *object, void *user);
    size_t owned_max;
    void *user; /* for the hooks */

    uint32_t free_max; /* in the depot; a put beyond destroys. 0: no limit */
    int64_t trim_ns;   /* period of trimming; 0: 5 s, AMBIT_NEVER: none but ambit_pool_trim() */
    /* For tests: so many objects rest, destroyed and overwritten, before their memory is made an object
     * again; at most AMBIT_POOL_QUARANTINE_MAX; 0: none. */
    uint32_t quarantine;
} ambit_pool_options;

#define AMBIT_POOL_OBJECT_MAX (UINT64_C(1) << 32)
#define AMBIT_POOL_QUARANTINE_MAX 1000000

/* Opens a pool. The options are copied; `*out` is NULL on failure. Thread: any. Blocks: no. Owns: the
 * caller must close it. Returns AMBIT_OK, AMBIT_EMEMORY, AMBIT_EINVALID (a size or an alignment out of
 * its range, a negative period). */
#define ambit_pool_open(options, out) ambit_pool_open_at((options), (out), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_pool_open_at(const ambit_pool_options *options,
                                                 ambit_pool **out, const ambit_site *site);

/* Destroys what is free and closes; `*pool` becomes NULL. While anything is out nothing is done, and
 * the answer is AMBIT_BUSY: ambit_pool_each_out() tells what. Nobody else may use the pool meanwhile.
 * Thread: any, but no hook of the pool. Blocks: for a trim that is under way.
 * Returns AMBIT_OK, AMBIT_BUSY. */
#define ambit_pool_close(pool) ambit_pool_close_at((pool), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_pool_close_at(ambit_pool **pool, const ambit_site *site);

/* An object as it was constructed, or as it was put. The caller must put it. NULL if there is none
 * free and none could be made: no memory, or `construct` refused (ambit_pool_stats tells them apart).
 * Thread: any. Blocks: as `construct` does. */
#define ambit_pool_get(pool) ambit_pool_get_at((pool), AMBIT_HERE)

/* Gives it back; NULL is fine. Allocates nothing and cannot fail. Thread: any. Blocks: as the hooks
 * do. */
#define ambit_pool_put(pool, object) ambit_pool_put_at((pool), (object), AMBIT_HERE)

/* The same as a get, and the object goes back by itself when the context's destructors run, in its turn
 * among them. It may be put before, by any thread. NULL also if the context's budget has no room for
 * the note of it (40 bytes, used again after an early put, and 16 for the first).
 * Thread: who may put values into the context (ctx.h). Blocks: as `construct` does. */
#define ambit_pool_borrow(pool, ctx) ambit_pool_borrow_at((pool), (ctx), AMBIT_HERE)
AMBIT_MUST_CHECK void *ambit_pool_borrow_at(ambit_pool *pool, ambit_ctx *ctx,
                                            const ambit_site *site);

/* Destroys all that is free, also what rests in the magazines of other threads and in quarantine.
 * Returns how many objects. Thread: any, but no hook of the pool. Blocks: as `destroy` does. */
size_t ambit_pool_trim(ambit_pool *pool);

typedef struct ambit_pool_stats {
    uint64_t out;  /* got and not put */
    uint64_t free; /* in depot and magazines */
    uint64_t quarantined;
    uint64_t bytes; /* of all of these, with the pool's own */
    /* since the opening */
    uint64_t gets;
    uint64_t constructed;
    uint64_t destroyed;
    uint64_t refused; /* by `construct` */
    uint64_t starved; /* gets without memory */
} ambit_pool_stats;
/* Beside other threads the figures may be of slightly different moments; `out` and `free` are never
 * more than there are. Thread: any. Blocks: no. Cannot fail. */
void ambit_pool_stats_read(ambit_pool *pool, ambit_pool_stats *stats);

/* Calls `tell` for each object that is out. What is got or put meanwhile may be told or not.
 * Thread: any. Blocks: as `tell` does. Returns how many were told. */
typedef void ambit_pool_teller(const void *object, const ambit_site *site, int64_t age_ns,
                               void *user);
size_t ambit_pool_each_out(ambit_pool *pool, ambit_pool_teller *tell, void *user);

#ifdef __cplusplus
}
#endif

#include "ambit/pool_inline.h"

#endif
