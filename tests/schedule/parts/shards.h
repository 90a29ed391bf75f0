/* What the tests of shards begin with: contexts with and without them. */
#ifndef AMBIT_SCHEDULE_SHARDS_H
#define AMBIT_SCHEDULE_SHARDS_H

#include <ambit/schedule.h>

#include "ctx/ctx.h"

/* What shard.c has as well: so many turns of threads, or collisions, before the one that gives shards. */
enum { TURNS = 64, COLLISIONS = 8 };

static ambit_ctx *ctx;
static unsigned ends; /* of `ctx` */

static inline void note_end(void *argument) {
    (void)argument;
    ends++;
}

/* Leaves records for three threads, so that in a schedule they are only taken. The first to be taken is
 * that of the last shard. */
static ambit_schedule_thread early[AMBIT__SHARDS - 1];
static _Atomic(unsigned) early_count;

static inline void register_early(void *before) {
    (void)ambit__thread_self();
    ambit__add_acq_rel(&early_count, 1);
    while (ambit__load_acquire(&early_count) < AMBIT__SHARDS - 1) ambit_schedule_yield();
    if (before) ambit_schedule_join(*(ambit_schedule_thread *)before);
}

static inline void register_threads(void) {
    (void)ambit__thread_self();
    (void)ambit__thread_id();
    for (unsigned i = 0; i < AMBIT__SHARDS - 1; i++) {
        early[i] = ambit_schedule_spawn(register_early, i ? &early[i - 1] : NULL);
        while (ambit__load_acquire(&early_count) == i) ambit_schedule_yield();
    }
    ambit_schedule_join(early[AMBIT__SHARDS - 2]);
}

static inline ambit_ctx *open_root(void) {
    ambit_ctx *root;
    ambit_schedule_assert(ambit_ctx_open(ambit_background(), &root) == AMBIT_OK);
    return root;
}

/* The next who finds the list's lock taken gives shards. */
static inline void let_a_collision_give(ambit_ctx *root) {
    ambit__store_relaxed(&root->waiting.contended, COLLISIONS);
}

AMBIT__UNCHECKED static inline void collide(ambit_ctx *root) {
    ambit__list_lock_contended(root, &root->waiting);
    ambit__spin_unlock(&root->waiting.lock);
}

/* The next keeper, whose thread is not the last one's, gives them. */
static inline void let_a_turn_give(ambit_ctx *root) {
    ambit__store_relaxed(&root->last_keeper, UINT32_MAX);
    ambit__store_relaxed(&root->turns, 2 * TURNS - 1);
    ambit__store_relaxed(&root->turns_since_ns, ambit__clock_coarse());
}

static inline void give(ambit_ctx *root) {
    let_a_collision_give(root);
    collide(root);
    ambit_schedule_assert(ambit__load_relaxed(&root->head.shards));
}

static inline void make_plain(void *argument) {
    (void)argument;
    register_threads();
    ctx = open_root();
    ambit_schedule_assert(ambit_ctx_defer(ctx, note_end, NULL) == AMBIT_OK);
}

static inline void keep_here(unsigned count) {
    while (count--) ambit__ctx_keep(ctx, ambit__thread_self());
}

static inline void make_sharded(void *argument) {
    make_plain(argument);
    give(ctx);
    keep_here(2);
}

static inline void touch(void) { ambit_schedule_assert(!ends); }

#endif
