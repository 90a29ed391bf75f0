/* Lists of those who wait, and the parts of a busy context that each thread has for itself.
 *
 * A context that many threads use at once (a server's root) would be one cache line that all of
 * them write: its count of keepers at each open and close of a child, its list at each wait. Once
 * that shows, the context gets shards: each thread counts in a cell of its own and waits in a list
 * of its own. Contexts of requests never come to that, and pay nothing for it.
 *
 * COUNTING. The idea is Linux's percpu_ref (Kent Overstreet, 2013) with membarrier(2) in the place
 * of its grace period. While `head.shards` stands, a keep or unkeep is
 *
 *     the thread (count_by_thread)                 the closer (ambit__ctx_fold)
 *     T1  cell = count | busy                      C1  head.shards = NULL
 *         (light barrier)                              (heavy barrier)
 *     T2  does head.shards still stand?            C2  for each cell: wait until not busy (acquire)
 *     T3  cell = count + 1, not busy (release)     C3  keepers += sum of the cells - BIAS
 *         or, if it does not, the old count;
 *         then it counts in `keepers`
 *
 * The heavy barrier puts a full one into every running thread. So either the thread stored T1
 * before it, and C2 sees it busy and waits for T3; or it stores T1 after it, and T2 sees C1. Each
 * change is therefore counted once: in a cell that is summed, or in `keepers`. T3 is the thread's
 * last touch: whoever frees the context has read the cell after it. A cell may be negative: what
 * one thread opens another may close. From the first cell to C3 `keepers` is raised by BIAS, so
 * that threads beyond AMBIT__SHARDS, which count there, never take it to zero. */
#ifndef AMBIT_CTX_SHARD_H
#define AMBIT_CTX_SHARD_H

#include "ambit/ctx.h"
#include "base/park.h"
#include "base/thread.h"

/* As many threads count for themselves; those beyond share `keepers`. */
#ifndef AMBIT__SHARDS
#define AMBIT__SHARDS 256
#endif

typedef struct ambit__list {
    ambit__spin lock;
    _Atomic(uint32_t) contended; /* how often the lock was found taken */
    ambit_cancel *first;         /* under the lock */
} ambit__list;

typedef struct ambit__shard {
    _Atomic(int64_t) cell; /* twice the count, odd while its thread is inside */
    ambit__list list;      /* threads whose index is the same modulo AMBIT__SHARDS share it */
} __attribute__((aligned(64))) ambit__shard;

/* Type-stable: a walk may read it at any time. */
typedef struct ambit__shards {
    struct ambit__shards *next_free;
    ambit__shard shard[AMBIT__SHARDS];
} ambit__shards;

/* Another thread than the last time counts in `keepers`. Too often, and the context gets shards. */
void ambit__ctx_note_turn(ambit_ctx *ctx, ambit__thread *self);
/* Has everything counted in `keepers` from here on. The owner only, once it has ended. */
void ambit__ctx_fold(ambit_ctx *ctx);
/* Gives the shards back; their lists are empty and their counts folded. */
void ambit__ctx_free_shards(ambit_ctx *ctx);
/* How many keepers there are, for a walk: not exact while they change. */
uint64_t ambit__ctx_keepers(const ambit_ctx *ctx);

/* Takes the list's lock, which was found taken; counts that, and then may give the context shards.
 */
void ambit__list_lock_contended(ambit_ctx *ctx, ambit__list *list) AMBIT__ACQUIRES(&list->lock);

/* States of an ambit_cancel. */
enum {
    AMBIT__NODE_IDLE = 0,
    AMBIT__NODE_LISTED = 1,
    AMBIT__NODE_RUNNING = 2,
    AMBIT__NODE_AWAITED = 3, /* running, and another thread waits for it */
    AMBIT__NODE_DONE = 4
};

static inline void ambit__list_push(ambit__list *list, ambit_cancel *node, uint32_t number) {
    node->shard = number;
    node->previous = NULL;
    node->next = list->first;
    if (list->first) list->first->previous = node;
    list->first = node;
    /* Release pairs with the acquire in unlink_from(), which then looks for the list. */
    ambit__store_release(&node->state, AMBIT__NODE_LISTED);
}

/* Takes the node out; its state is left to the caller. */
static inline void ambit__list_remove(ambit__list *list, ambit_cancel *node) {
    if (node->previous)
        node->previous->next = node->next;
    else
        list->first = node->next;
    if (node->next) node->next->previous = node->previous;
}

#endif
