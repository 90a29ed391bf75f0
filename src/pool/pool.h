/* The inside of an object pool, for the files of this room.
 *
 * WHERE AN OBJECT IS. Out: it has a site. Free: in one magazine, or in the depot, or rests in
 * quarantine. In all states it has a place in the roster, by which walks find it, from its construction
 * to its end. The depot is a stack whose cells lie beside the places of the roster: there are never
 * fewer cells than objects, so a put finds room without allocating.
 *
 * WHO MAY TOUCH WHAT
 *   fixed while open      options, object_bytes, offset, capacity
 *   under `lock`          roster, depot, quarantine, list of magazines, counts
 *   a magazine's items    pool_inline.h
 *   a free object         who has taken it out of where it was
 *
 * LIFE. A pool's struct is never released but used again, so that a call after the close finds that
 * there is no site. */
#ifndef AMBIT_POOL_INSIDE_H
#define AMBIT_POOL_INSIDE_H

#include "ambit/pool.h"
#include "base/atomic.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/park.h"
#include "base/thread.h"
#include "census/slab.h"
#include "census/walk.h"
#include "timer/wheel.h"

#define AMBIT__POOL_MARK_TIED (1u << 28) /* in an object's marks: it goes back with a context */

#define AMBIT__POOL_MARK_RESTS (1u << 27) /* it is in quarantine */
#define AMBIT__POOL_MARK_PUT (1u << 26)   /* the same, and from the put that leads there on */

#ifndef AMBIT__LEAF_PLACES /* the controlled scheduler's build has a few */
#define AMBIT__LEAF_PLACES 64
#endif

/* A piece of the roster: places, and as many cells of the depot. */
typedef struct ambit__leaf {
    struct ambit__leaf *next, *previous;
    uint32_t number;                           /* from 0, in their order */
    uint64_t taken;                            /* a bit for each place in use */
    ambit__object *places[AMBIT__LEAF_PLACES]; /* NULL while it is being constructed */
    ambit__object *cells[AMBIT__LEAF_PLACES];
    ambit__retired retired;
} ambit__leaf;

/* A magazine and what the pool knows of it, under the lock. */
typedef struct ambit__cartridge {
    ambit__magazine magazine;
    ambit_pool *pool;
    ambit__pool_local *local;                 /* its owner's */
    struct ambit__cartridge *next, *previous; /* of the pool */
    uint64_t gets_before;                     /* what trimming found last time */
    uint32_t count_before;
    bool visited; /* during a visit */
} ambit__cartridge;

/* Padded on purpose: what inline calls read is on a line of its own. */
struct ambit_pool { // NOLINT(clang-analyzer-optin.performance.Padding)
    struct ambit__pool_head head;
    _Atomic(const ambit_site *) site; /* where it was opened; NULL while it is closed */
    _Atomic(const ambit_site *) closed_site;
    /* fixed while open */
    ambit_pool_options options;
    size_t offset;     /* of an object in its memory */
    uint32_t capacity; /* of a magazine; half of it is what is exchanged */

    _Alignas(64) ambit__spin lock;
    ambit__leaf *leaves, *last_leaf, *free_leaf; /* before `free_leaf` no place is free */
    ambit__leaf *top;                            /* where the depot's next cell is ... */
    uint32_t top_cell; /* ... and which; at AMBIT__LEAF_PLACES it is in the next leaf */
    uint32_t depot;    /* how many objects */
    uint32_t objects;  /* places taken */
    uint32_t lowest,
        lowest_before; /* of `depot`, in this period of trimming and in the one before */
    ambit__cartridge *cartridges;
    uint32_t surplus;           /* of the depot, to be destroyed */
    ambit__object **quarantine; /* a ring, oldest first */
    uint32_t rest_first, rest_count;
    uint64_t gets; /* other than by magazines that are there */
    uint64_t constructed, destroyed, refused, starved;

    _Atomic(uint32_t) trimming; /* the timer is armed */
    ambit__timer_node timer;
    bool used;        /* under the lock of all pools */
    ambit_pool *next; /* of all; fixed */
};

static inline void *ambit__object_memory(ambit__object *object) { return object + 1; }
static inline uint32_t ambit__pool_index(const ambit_pool *pool) {
    return ambit__load_relaxed(&pool->head.get_index);
}

/* open.c */
ambit_pool *ambit__pools(void); /* all there ever were, to be followed by `next` */
/* Stops unless it is open. */
void ambit__pool_check(ambit_pool *pool, const char *function, const ambit_site *site);

/* roster.c */
/* A place for a new object, which counts as there from now on. False if there is no memory. No lock. */
bool ambit__roster_take(ambit_pool *pool, uintptr_t *place);
void ambit__roster_set(ambit_pool *pool, uintptr_t place, ambit__object *object);
void ambit__roster_give_back(ambit_pool *pool, uintptr_t place);
/* Calls `visit` for each object that has a place. Between ambit__walk_begin() and _end(), no lock. */
void ambit__roster_walk(ambit_pool *pool, void (*visit)(ambit__object *object, void *argument),
                        void *argument);
/* The depot, with the lock. There is room for every object that has a place. */
void ambit__depot_push(ambit_pool *pool, ambit__object *object);
ambit__object *ambit__depot_pop(ambit_pool *pool); /* NULL if it is empty */
/* At the end, when there are no objects. */
void ambit__roster_release(ambit_pool *pool);
/* In the child of a fork(), alone: counts anew and makes a depot of all that is free. */
void ambit__roster_forked(ambit_pool *pool);

/* object.c, no lock held */
/* A new object, which counts as out; NULL if there is no memory or the constructor refuses. */
ambit__object *ambit__object_new(ambit_pool *pool);
/* Ends a free one that nobody else can find but in the roster. */
void ambit__object_end(ambit__object *object);
/* The two halves of an end. Between them the memory is no object, but it has its place. */
void ambit__object_destroy(ambit__object *object);
void ambit__object_release(ambit__object *object);
/* False if the constructor refuses. */
bool ambit__object_construct(ambit__object *object);

/* put.c */
/* An object that has no site any more becomes free. No lock. */
void ambit__object_keep(ambit__object *object);

/* quarantine.c, no lock held */
/* The object rests from now on; another one's rest may end by it. */
void ambit__quarantine_put(ambit__object *object);
/* Ends all that rest. Returns how many. */
size_t ambit__quarantine_empty(ambit_pool *pool);

/* magazine.c, all with the lock */
/* This thread's, made if need be; NULL if it can have none. The lock may be let go of meanwhile. */
ambit__magazine *ambit__magazine_own(ambit_pool *pool);
/* Moves half of what it can hold from the depot to it, or from it to the depot. */
void ambit__magazine_fill(ambit_pool *pool, ambit__magazine *magazine);
void ambit__magazine_spill(ambit_pool *pool, ambit__magazine *magazine);
/* Empties into the depot those that nobody has used since the last time, or all. */
void ambit__magazines_rest(ambit_pool *pool, bool all);
/* Takes all out of the pool, emptied; returns them, to be released without the lock. */
ambit__cartridge *ambit__magazines_remove(ambit_pool *pool);
void ambit__magazines_release(ambit__cartridge *cartridges);
/* In the child of a fork(), alone. */
void ambit__magazines_forked(ambit_pool *pool);
/* Without the lock, on a thread that ends. */
void ambit__magazines_thread_ends(ambit__thread *thread);

/* trim.c */
/* No lock. There are objects: the timer has to run. */
void ambit__trim_wake(ambit_pool *pool);
/* When nobody else uses the pool. */
void ambit__trim_stop(ambit_pool *pool);
/* In the child of a fork(), alone: the timer runs again when another object is made. */
void ambit__trim_forked(ambit_pool *pool);

/* tie.c: the object is put before its context gives it back. False if that is about to. */
bool ambit__tie_cut(ambit__object *object);

#endif
