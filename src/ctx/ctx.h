/* The inside of a context, for the files of this room.
 *
 * WHO KEEPS WHAT. `keepers` counts the owner, the open children, the contexts merged with or
 * detached from this one, and the holds. The one who takes it to zero runs the destructors and
 * gives the memory back (ambit__ctx_unkeep).
 *
 * WHO MAY TOUCH WHAT
 *   fixed after open     parent, deadline, depth, origin, second
 *   under `lock`         state and cause until set, first, claimed, deliverer
 *   externally serialised (put, own, alloc, defer): slots, arena, deferred
 *
 * STATES
 *   head.state   0 -> status, once, under the lock (ambit__ctx_end_locked)
 *   claimed      false -> true, once, under the lock: that thread delivers the end to callbacks and
 *                armed children; a state may be set before it is claimed, by one who only read it
 *   deliverer    0 -> thread id -> 0: that thread is between the claim and the last callback below
 *   armed        0 -> ARMING -> ARMED (or back to 0 when arming failed): linked into its parent's
 *                list, and its deadline in the wheel unless the parent's is as early
 *
 * LOCK ORDER: a parent's lock before a child's; the wheel's locks are never held together with one.
 */
#ifndef AMBIT_CTX_INSIDE_H
#define AMBIT_CTX_INSIDE_H

#include "ambit/ctx.h"
#include "base/bug.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/park.h"
#include "census/slab.h"
#include "timer/wheel.h"

#define AMBIT__INLINE_SLOTS 8
#define AMBIT__CTX_BYTES 1472 /* an odd multiple of 64, so that headers spread over cache sets */

typedef struct ambit__slot {
    const ambit_key *key;
    const void *value;
    size_t bytes;
} ambit__slot;

typedef struct ambit__slots {
    struct ambit__slots *next;
    ambit__slot slots[AMBIT__INLINE_SLOTS];
} ambit__slots;

typedef struct ambit__deferred {
    struct ambit__deferred *next;
    void (*run)(void *argument);
    void *argument;
} ambit__deferred;

typedef struct ambit__block {
    struct ambit__block *next;
    size_t bytes; /* with this header */
} ambit__block;

enum { AMBIT__UNARMED = 0, AMBIT__ARMING = 1, AMBIT__ARMED = 2 };

struct ambit_ctx {
    struct ambit__ctx_head head;

    _Atomic(uint32_t) keepers;
    _Atomic(uint32_t) armed;
    _Atomic(ambit_ctx *) origin; /* where values are looked up next, and whose memory is kept */
    _Atomic(ambit_ctx *) second; /* merged with */

    ambit__spin lock;
    bool claimed;
    bool close_pending; /* closed from inside its own delivery; that thread only */
    bool firing;        /* its own timer is calling, on that thread only */
    bool order_children;
    _Atomic(uint32_t) deliverer;
    int event_fd; /* under the lock; -1 for none */
    ambit_cancel *first;

    /* arena and values */
    unsigned char *free_bytes, *free_end;
    ambit__block *blocks;
    ambit__deferred *deferred;
    size_t budget_bytes;
    _Atomic(uint32_t) value_count;
    ambit__slots values;

    /* set when it ends */
    ambit_cause cause;
    int64_t ended_ns;
    _Atomic(const ambit_site *) closed_site;
    _Atomic(int64_t) closed_ns;

    /* while armed or ending */
    ambit_ctx *next_arm;  /* of the thread that arms it: the next one down */
    ambit_ctx *next_work; /* of the thread that delivers or frees it */
    _Atomic(int64_t) callback_since_ns;
    _Atomic(const ambit_site *) callback_site;
    ambit_cancel link, second_link; /* in the lists of parent and second */
    ambit_cancel fd_node;
    ambit__timer_node timer;
};

#define AMBIT__CTX_HEADER ((sizeof(struct ambit_ctx) + 15u) & ~(size_t)15u)

/* A hold: a slab object that names its line. */
struct ambit_hold {
    ambit__entry entry;
    _Atomic(ambit_ctx *) ctx;
    _Atomic(const ambit_site *) dropped_site;
    uint64_t unused[2];
};

static inline ambit__entry *ambit__ctx_entry(const ambit_ctx *ctx) {
    return (ambit__entry *)(uintptr_t)ctx;
}
static inline int64_t ambit__ctx_deadline(const ambit_ctx *ctx) {
    return ambit__load_relaxed(&ctx->head.deadline_ns);
}
static inline ambit_ctx *ambit__ctx_parent(const ambit_ctx *ctx) {
    return (ambit_ctx *)(uintptr_t)ctx->head.parent;
}
static inline bool ambit__ctx_is_background(const ambit_ctx *ctx) {
    return ctx == ambit_background();
}

/* Stops unless `ctx` is open or kept. Thread: any. */
void ambit__ctx_check(const ambit_ctx *ctx, const char *function, const ambit_site *site);

/* close.c: one keeper more or less. The caller is a keeper, or borrows from one. */
void ambit__ctx_keep(ambit_ctx *ctx);
void ambit__ctx_unkeep(ambit_ctx *ctx);

/* cancel.c */
/* Sets cause and state if it lives. The lock is held. */
void ambit__ctx_end_locked(ambit_ctx *ctx, const ambit_cause *cause, int64_t ended_ns);
/* Ends it with the cause unless an ancestor or the deadline ended it before, and delivers. `now_ns`
 * is when that happens. */
void ambit__ctx_end(ambit_ctx *ctx, const ambit_cause *cause, int64_t now_ns);
/* Waits until no other thread delivers; true if this thread does, further down its stack. */
bool ambit__ctx_wait_delivered(ambit_ctx *ctx);
/* Runs the node's callback now; it is RUNNING and in no list. */
void ambit__cancel_run(ambit_cancel *node);

/* arm.c */
/* Links it and its ancestors, deadlines included. AMBIT_OK, AMBIT_EMEMORY, AMBIT_ETHREAD: then
 * nothing of `ctx` itself is armed. */
ambit_status ambit__ctx_arm(ambit_ctx *ctx);
/* Takes it out of the lists of its parents. Idempotent. */
void ambit__ctx_unlink(ambit_ctx *ctx);
/* Links `ctx` below `above`, which is armed; false if that has ended. */
bool ambit__ctx_link(ambit_ctx *above, ambit_ctx *ctx, ambit_cancel *link);

/* States of an ambit_cancel. */
enum {
    AMBIT__NODE_IDLE = 0,
    AMBIT__NODE_LISTED = 1,
    AMBIT__NODE_RUNNING = 2,
    AMBIT__NODE_AWAITED = 3, /* running, and another thread waits for it */
    AMBIT__NODE_DONE = 4
};
static inline void ambit__list_push(ambit_ctx *ctx, ambit_cancel *node) {
    node->previous = NULL;
    node->next = ctx->first;
    if (ctx->first) ctx->first->previous = node;
    ctx->first = node;
    ambit__store_relaxed(&node->state, AMBIT__NODE_LISTED);
}
static inline void ambit__list_remove(ambit_ctx *ctx, ambit_cancel *node) {
    if (node->previous)
        node->previous->next = node->next;
    else
        ctx->first = node->next;
    if (node->next) node->next->previous = node->previous;
    ambit__store_relaxed(&node->state, AMBIT__NODE_IDLE);
}

/* bind.c */
extern _Thread_local ambit_binding *ambit__innermost_binding
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

#endif
