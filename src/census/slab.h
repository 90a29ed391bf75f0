/* Slabs: type-stable memory for everything the census counts.
 *
 * An object's memory is never given back and never becomes another type, so a walk may read any of
 * it at any time; a free object has no site. Each thread keeps a small stack of free objects and
 * exchanges half a stack with the shared depot: Bonwick's magazines (USENIX 2001). */
#ifndef AMBIT_CENSUS_SLAB_H
#define AMBIT_CENSUS_SLAB_H

#include "ambit/census.h"
#include "ambit/entry.h"
#include "base/park.h"
#include "base/thread.h"

#define AMBIT__MARK_LONG_LIVED (1u << 31)
#define AMBIT__MARK_CLOSED (1u << 30)  /* a zombie */
#define AMBIT__MARK_SAMPLED (1u << 29) /* it owns a stack */
/* bits 0 .. AMBIT_VERDICT_KINDS - 1: reported for that verdict */
#define AMBIT__MARK_REPORTED ((1u << AMBIT_VERDICT_KINDS) - 1)

/* What a walk reads of an object beside its entry. Zero where the kind has no such thing. */
typedef struct ambit__facts {
    int64_t deadline_ns;        /* AMBIT_NEVER if none */
    int64_t closed_ns;          /* when a zombie was closed */
    const ambit_site *closed;   /* where */
    const void *keeps;          /* the object whose memory this one keeps */
    const void *keeps_too;      /* a second one */
    int64_t callback_since_ns;  /* a callback has been running since, 0 for none */
    const ambit_site *callback; /* where it was registered */
    uint32_t depth;
    uint64_t keepers; /* how many children and holds keep it */
} ambit__facts;

/* What a free object in the depot holds behind its entry. The link is atomic because a walk that
 * saw the object alive a moment ago may be reading these bytes; it is released so that such a
 * walk, if it takes the link for a fact (with acquire), finds that the site has gone. */
typedef struct ambit__free {
    ambit__entry entry;
    _Atomic(struct ambit__free *) next;
} ambit__free;
static inline void ambit__free_link(ambit__free *free_object, ambit__free *next) {
    ambit__store_release(&free_object->next, next);
}

/* Registers the census's fork handler, once. Called by whatever has a state that a child must reset.
 */
void ambit__census_ready(void);

struct ambit__slab;
typedef void ambit__slab_visit(struct ambit__slab *slab, ambit__entry *entry, void *argument);

/* Kinds are static; everything but the first group is zero at the start. */
typedef struct ambit__slab {
    /* fixed */
    ambit_kind kind;
    uint32_t object_bytes; /* a multiple of 64 */
    /* Reads what it can with atomic loads; the object may be freed and born again meanwhile. */
    void (*inspect)(const ambit__entry *object, ambit__facts *facts);
    /* For a kind whose objects are not in chunks of this file's: visits them. What it visits stays
     * readable until the walk has ended (walk.h). */
    void (*walk)(ambit__slab_visit *visit, void *argument);
    /* any thread */
    _Atomic(struct ambit__chunk *) chunks; /* newest first, only ever added to */
    ambit__spin lock;
    _Atomic(struct ambit__free *) depot; /* written under the lock; whole at any time, for a fork */
} ambit__slab;

#define AMBIT__SLAB_LOCK .lock = {AMBIT__RANKED(AMBIT__RANK_SLAB)}

/* Refills the thread's stack and takes one. NULL when there is no memory. */
void *ambit__slab_refill(ambit__slab *slab, ambit__thread *self);
/* Makes room in the thread's stack and puts one. Cannot fail. */
void ambit__slab_spill(ambit__slab *slab, ambit__thread *self, void *object);

/* A free object, its entry without a site. NULL when there is no memory. `kind` is the slab's: a
 * constant here saves a load on the way. */
static inline void *ambit__slab_get(ambit__slab *slab, ambit_kind kind, ambit__thread *self) {
    ambit__cache *cache = &self->caches[kind];
    if (ambit__likely(cache->count)) return cache->items[--cache->count];
    return ambit__slab_refill(slab, self);
}

/* Where the next one is, drawn with a random number: so many births are passed over. */
uint64_t ambit__sample_skip(uint32_t mean, uint64_t random);
/* Gives the object a stack, if it is its turn. */
void ambit__slab_sample(ambit__entry *entry);

/* The object is alive from here: the site is stored last, so that a visit that sees it sees the rest
 * (its acquire load pairs with this release).
 *
 * The others release too, the birth first: a visit that still believes the one before alive, and finds a
 * word of the new one (with acquire), then finds that the old site has gone, or another birth if both are
 * of one line, and drops what it has mixed (is_still() in snapshot.c, judge() in check.c). So does what is
 * added to `bytes` later; `marks` changes only by exchanges, which pass on what this store has released. */
static inline void ambit__slab_born(ambit__entry *entry, const ambit_site *site, int64_t now_ns) {
    ambit__store_release(&entry->birth_ns, now_ns);
    ambit__store_release(&entry->bytes, 0);
    ambit__store_release(&entry->marks, 0);
    if (ambit__unlikely(ambit__load_relaxed(&ambit__sampling.mean))) ambit__slab_sample(entry);
    ambit__store_release(&entry->site, site);
}

/* For an object that goes and was reported, or has a stack. */
void ambit__slab_gone(ambit__entry *entry);

/* Gives the object back; `self` may be NULL when the thread could not be registered. */
static inline void ambit__slab_put(ambit__slab *slab, ambit_kind kind, ambit__thread *self,
                                   ambit__entry *entry) {
    /* Relaxed: who sees that there is none reads no further, and the next one's site is released. */
    ambit__store_relaxed(&entry->site, NULL);
    /* First the site, then the marks; a check does it the other way round, with the heavy barrier
     * between (flush() in check.c): one of the two sees the other, so that what is reported is
     * counted as returned, once. */
    ambit__light_barrier();
    if (ambit__unlikely(ambit__load_relaxed(&entry->marks) &
                        (AMBIT__MARK_REPORTED | AMBIT__MARK_SAMPLED)))
        ambit__slab_gone(entry);
    if (ambit__likely(self && self->caches[kind].count < AMBIT__CACHE_ITEMS)) {
        ambit__cache *cache = &self->caches[kind];
        cache->items[cache->count++] = entry;
        return;
    }
    ambit__slab_spill(slab, self, entry);
}

/* Calls `visit` for every living object; it may go meanwhile. The visit reads the birth, then the site, both
 * with acquire, then the rest, and then looks whether those two are the same. */
void ambit__slab_walk(ambit__slab *slab, ambit__slab_visit *visit, void *argument);

/* The slabs of the process by kind, each defined by the room that owns the type. */
extern ambit__slab ambit__slab_ctx, ambit__slab_hold, ambit__slab_timer, ambit__slab_object;
ambit__slab *ambit__slab_of(ambit_kind kind);

#endif
