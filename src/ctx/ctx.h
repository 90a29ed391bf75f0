/* The inside of a context, for the files of this room.
 *
 * WHO KEEPS WHAT. `keepers` counts the owner, the open children, the contexts merged with or
 * detached from this one, and the holds; of a busy context most are counted by thread (shard.h).
 * The one who takes it to zero runs the destructors and gives the memory back (ambit__ctx_unkeep).
 *
 * WHO MAY TOUCH WHAT
 *   fixed after open     parent, deadline, depth, origin, second
 *   under `waiting.lock` state and cause until set, claimed, deliverer, event_fd, lists until set
 *   under a list's lock  the list, and the states of the nodes in it
 *   externally serialised (put, own, alloc, defer): slots, arena, destructors
 *   the deliverer only   next_work, next_list
 *
 * STATES
 *   head.state   0 -> status, once, under the lock (ambit__ctx_end_locked)
 *   claimed      false -> true, once, under the lock: that thread delivers the end to callbacks and
 *                armed children; a state may be set before it is claimed, by one who only read it
 *   deliverer    0 -> thread id -> 0: that thread is between the claim and the last callback below;
 *                with AMBIT__AWAITED somebody is parked on it
 *   armed        0 -> ARMING -> ARMED (or back to 0 when arming failed): linked into its parent's
 *                list, and its deadline in the wheel unless the parent's is as early
 *   A context in its slab is as clean as a new one but for what open() writes (give_back()).
 *
 * LOCK ORDER: a parent's list before a child's; the wheel's locks are never held together with one.
 */
#ifndef AMBIT_CTX_INSIDE_H
#define AMBIT_CTX_INSIDE_H

#include "ambit/ctx.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/park.h"
#include "census/slab.h"
#include "ctx/shard.h"
#include "timer/wheel.h"

#define AMBIT__CTX_BYTES 1984 /* an odd multiple of 64, so that headers spread over cache sets */

typedef struct ambit__slots {
    struct ambit__slots *next;
    ambit__slot slots[AMBIT__INLINE_SLOTS];
} ambit__slots;

/* More arena, all of it given back at the end. What was filled before is kept here for its stack of
 * destructors, which run after those of this block. */
typedef struct ambit__block {
    struct ambit__block *next;  /* all of the context */
    struct ambit__block *below; /* filled before, NULL for what is inside the context */
    size_t bytes;               /* with this header */
    unsigned char *free_bytes, *free_end, *block_top; /* of what was filled before */
} __attribute__((aligned(AMBIT__GRANULE))) ambit__block;

enum { AMBIT__UNARMED = 0, AMBIT__ARMING = 1, AMBIT__ARMED = 2 };
#define AMBIT__AWAITED (1u << 31)

/* Padded on purpose: see `waiting`. */
struct ambit_ctx { // NOLINT(clang-analyzer-optin.performance.Padding)
    struct ambit__ctx_head head;

    /* what children and holders write, on a line of its own */
    _Alignas(64) ambit__list waiting; /* callbacks, and the links of armed children */
    _Atomic(uint64_t) keepers;
    _Atomic(uint32_t) last_keeper; /* ambit__ctx_keep(): how often threads take turns, since when */
    _Atomic(uint32_t) turns;
    _Atomic(int64_t) turns_since_ns;
    _Atomic(uint32_t) armed;
    _Atomic(uint32_t) deliverer;
    bool claimed;
    bool close_pending;       /* closed from inside its own delivery; that thread only */
    bool firing;              /* its own timer is calling, on that thread only */
    _Atomic(bool) unusual;    /* something that scrub() has to undo */
    _Atomic(bool) destroying; /* its last keeper runs the destructors */

    _Atomic(ambit_ctx *) second;    /* merged with */
    _Atomic(ambit__shards *) lists; /* once set, new nodes go to these lists */
    ambit_ctx *next_arm;            /* of the thread that arms it: the next one down */
    ambit_ctx *next_work;           /* of the thread that delivers or frees it */
    uint32_t next_list;             /* the shard to be delivered next, plus one */
    int event_fd_plus_one;          /* 0 for none */
    uint32_t fd_epoch;              /* of the process that has made it */
    _Atomic(const ambit_site *) closed_site;
    _Atomic(int64_t) closed_ns;
    _Atomic(int64_t) callback_since_ns;
    _Atomic(const ambit_site *) callback_site;
    ambit__block *blocks;
    ambit__block *filling; /* the arena stands in this one; NULL: inside the context */
    ambit_cause cause;     /* set when it ends */
    int64_t ended_ns;

    /* while armed */
    ambit_cancel link, second_link; /* in the lists of parent and second */
    ambit_cancel fd_node;
    ambit__timer_node timer;
};

/* WHAT WALKS READ. A walk may still take this for the context that was here before (its site has
 * an acquire load before all and one after). So each fact is stored with release and read with
 * acquire, in inspect(): who finds one of the newer context comes after the store that took away
 * the older one's site, and drops what it has mixed. What only goes away (NULL, 0) needs none of
 * that: it is nothing to tell of. */
static inline void ambit__ctx_show(ambit_ctx *ctx, uint32_t depth, int64_t deadline_ns,
                                   ambit_ctx *origin) {
    ambit__store_release(&ctx->head.depth, depth);
    ambit__store_release(&ctx->head.deadline_ns, deadline_ns);
    ambit__store_release(&ctx->head.origin, origin);
    ambit__store_release(&ctx->keepers, 1); /* and changed by exchanges, which pass it on */
}
static inline void ambit__ctx_show_second(ambit_ctx *ctx, ambit_ctx *second) {
    ambit__store_release(&ctx->second, second);
}
static inline void ambit__ctx_show_closed_site(ambit_ctx *ctx, const ambit_site *site) {
    ambit__store_release(&ctx->closed_site, site);
}
static inline void ambit__ctx_show_closed(ambit_ctx *ctx, int64_t now_ns) {
    ambit__store_release(&ctx->closed_ns, now_ns);
}
/* The line first: who sees the time sees it, or that of a later callback, and then that this
 * time is over. */
static inline void ambit__ctx_show_callback(ambit_ctx *ctx, const ambit_site *site,
                                            int64_t since_ns) {
    ambit__store_release(&ctx->callback_site, site);
    ambit__store_release(&ctx->callback_since_ns, since_ns);
}

#define AMBIT__CTX_HEADER                                                                          \
    ((sizeof(struct ambit_ctx) + AMBIT__GRANULE - 1) & ~(size_t)(AMBIT__GRANULE - 1))

/* A hold: a slab object that names its line. */
struct ambit_hold {
    ambit__entry entry;
    _Atomic(ambit_ctx *) ctx;
    _Atomic(const ambit_site *) dropped_site;
    uint64_t unused[2];
};

static inline ambit__entry *ambit__ctx_entry(const ambit_ctx *ctx) {
    return &ambit__head_of(ctx)->entry;
}
static inline int64_t ambit__ctx_deadline(const ambit_ctx *ctx) {
    return ambit__load_relaxed(&ctx->head.deadline_ns);
}
/* Without a deadline, but merged or below a merged one: ambit_ctx_err() then takes the long way, as it
 * does for a deadline, and that one looks at both sides. */
#define AMBIT__MERGED_NEVER (AMBIT_NEVER - 1)
/* In `depth`: the same, whatever the deadline. */
#define AMBIT__DEPTH_MERGED (1u << 31)
static inline bool ambit__ctx_is_merged(const ambit_ctx *ctx) {
    return ambit__load_relaxed(&ctx->head.depth) & AMBIT__DEPTH_MERGED;
}
static inline bool ambit__ctx_has_deadline(const ambit_ctx *ctx) {
    return ambit__ctx_deadline(ctx) <
           (ambit__ctx_is_merged(ctx) ? AMBIT__MERGED_NEVER : AMBIT_NEVER);
}
static inline ambit_ctx *ambit__ctx_parent(const ambit_ctx *ctx) {
    return (ambit_ctx *)(uintptr_t)ctx->head.parent;
}

extern ambit_ctx ambit__ctx_background __attribute__((visibility("hidden")));
static inline bool ambit__ctx_is_background(const ambit_ctx *ctx) {
    return ctx == &ambit__ctx_background;
}

/* Stops unless `ctx` is open or kept. Thread: any. */
void ambit__ctx_check_failed(const ambit_ctx *ctx, const char *function, const ambit_site *site);
static inline void ambit__ctx_check(const ambit_ctx *ctx, const char *function,
                                    const ambit_site *site) {
    if (ambit__unlikely(!ctx || !ambit__load_relaxed(&ctx->head.entry.site)))
        ambit__ctx_check_failed(ctx, function, site);
}

/* One keeper more or less in the cell of this thread. False if that is not to be: then it is to be
 * counted in `keepers`. After a true answer to a keeper less the context may be gone. */
static inline bool ambit__ctx_count_by_thread(ambit_ctx *ctx, ambit__shards *shards,
                                              const ambit__thread *self, int64_t change) {
    if (ambit__unlikely(!self || self->index >= AMBIT__SHARDS)) return false;
    _Atomic(int64_t) *cell = &shards->shard[self->index].cell;
    int64_t count = ambit__load_relaxed(cell); /* written by this thread only */
    ambit__store_relaxed(cell, count | 1);     /* T1 */
    ambit__light_barrier();
    bool stands = ambit__load_relaxed(&ctx->head.shards) == shards; /* T2 */
    /* T3; release pairs with the acquire in idle_cell(). */
    ambit__store_release(cell, stands ? count + 2 * change : count);
    return stands;
}

/* One keeper more. The caller is one itself, or borrows from one. */
static inline void ambit__ctx_keep(ambit_ctx *ctx, ambit__thread *self) {
    if (ambit__ctx_is_background(ctx)) return;
    /* Acquire pairs with the release in give_shards(): the cells are as they were made. */
    ambit__shards *shards = ambit__load_acquire(&ctx->head.shards);
    if (shards && ambit__ctx_count_by_thread(ctx, shards, self, 1)) return;
    /* Relaxed: the caller is kept itself, so the count cannot be zero, and nothing is read by it. */
    ambit__add_relaxed(&ctx->keepers, 1);
    if (ambit__unlikely(ambit__load_relaxed(&ctx->last_keeper) != self->index))
        ambit__ctx_note_turn(ctx, self);
}

/* The list in which this thread's nodes wait, and its number for `shard` of a node. */
static inline ambit__list *ambit__ctx_list(ambit_ctx *ctx, uint32_t *number) {
    ambit__shards *lists = ambit__load_acquire(&ctx->lists);
    *number = 0;
    if (ambit__likely(!lists)) return &ctx->waiting;
    if (ambit__load_relaxed(&ctx->head.order_children)) return &ctx->waiting;
    const ambit__thread *self = ambit__thread_self();
    uint32_t index = self ? self->index % AMBIT__SHARDS : 0;
    *number = index + 1;
    return &lists->shard[index].list;
}

/* The list that a node stands in. Relaxed: who may read `node->shard` comes after the thread that has
 * written it, and that one found the lists by the acquire in ambit__ctx_list(). */
static inline ambit__list *ambit__ctx_list_of(ambit_ctx *ctx, const ambit_cancel *node) {
    ambit__shards *lists = node->shard ? ambit__load_relaxed(&ctx->lists) : NULL;
    return lists ? &lists->shard[node->shard - 1].list : &ctx->waiting;
}

static inline void ambit__list_lock(ambit_ctx *ctx, ambit__list *list) AMBIT__ACQUIRES(&list->lock);
AMBIT__UNCHECKED static inline void ambit__list_lock(ambit_ctx *ctx, ambit__list *list) {
    if (ambit__unlikely(!ambit__spin_try(&list->lock))) ambit__list_lock_contended(ctx, list);
}

/* close.c: one keeper less. `self` may be NULL. */
void ambit__ctx_unkeep(ambit_ctx *ctx, ambit__thread *self);

/* cancel.c */
/* Sets cause and state if it lives. The lock is held, or nobody else knows the context. */
void ambit__ctx_end_locked(ambit_ctx *ctx, const ambit_cause *cause, int64_t ended_ns);
/* Ends it with the cause unless an ancestor or the deadline ended it before, and delivers. `now_ns`
 * is when that happens. False if its end is still being delivered: by another thread, or by this
 * one further down its stack. */
bool ambit__ctx_end(ambit_ctx *ctx, const ambit_cause *cause, int64_t now_ns);
/* True if all who waited have been told, and the thread that did so has let go of it. */
bool ambit__ctx_is_delivered(ambit_ctx *ctx);
/* Waits until no other thread delivers; true if this thread does, further down its stack. */
bool ambit__ctx_wait_delivered(ambit_ctx *ctx);
/* Runs the node's callback now; it is RUNNING on this thread and in no list. False if it has freed
 * its node. */
bool ambit__cancel_run(ambit_cancel *node);
/* Under the lock of its list: the callback has returned. True if somebody has to be woken. */
bool ambit__cancel_done_locked(ambit_cancel *node);

/* arm.c */
/* Links it and its ancestors, deadlines included. AMBIT_OK, AMBIT_EMEMORY, AMBIT_ETHREAD: then
 * nothing of `ctx` itself is armed. */
ambit_status ambit__ctx_arm(ambit_ctx *ctx);
/* The same; `*fresh` says that this very call armed it. Then the caller, if it finds under
 * `waiting.lock` that the context has ended, must call ambit__ctx_disarm_if_ended(). */
ambit_status ambit__ctx_arm_unchecked(ambit_ctx *ctx, bool *fresh);
void ambit__ctx_disarm_if_ended(ambit_ctx *ctx);
/* Takes it out of the lists of its parents and out of the wheel. Idempotent; true if called from
 * inside its own timer. */
bool ambit__ctx_disarm(ambit_ctx *ctx);
/* Links `ctx` below `above`, which is armed; false if that has ended. */
bool ambit__ctx_link(ambit_ctx *above, ambit_ctx *ctx, ambit_cancel *link);

/* value.c: runs the destructors, the newest first, until none is left. */
void ambit__ctx_run_deferred(ambit_ctx *ctx);

/* bind.c */
extern _Thread_local ambit_binding *ambit__innermost_binding
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

#endif
